//! One request by hand as such: of whom, how patiently, what; and why there may be no answer. All of it has a form as JSON, in
//! which it goes to the gateway that has the wire, and the answer comes back. No I/O.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::adapter::modbus::Ask;
use crate::adapter::options::{Table, UnitId};
use crate::adapter::plan::{BITS_MAX, REGISTERS_MAX, ReadRequest};
use crate::adapter::reason::Reason;
use crate::adapter::write::{COILS_MAX, WRITTEN_REGISTERS_MAX, WriteData, WriteRequest};

/// One request, made once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of whom.
    pub unit: UnitId,
    /// How long the reply may take.
    pub timeout: Duration,
    /// What.
    pub what: What,
}

/// What is asked or written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// A read.
    Read {
        /// Where.
        table: Table,
        /// From which 0-based number on.
        address: u16,
        /// How many bits or registers.
        quantity: u16,
    },
    /// A write.
    Write(WriteRequest),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unanswered {
    /// The port or the TCP connection cannot be opened: what the system says.
    #[error("{0}")]
    NotOpen(String),
    /// The device did not answer, refused, or what it said cannot be used.
    #[error("{0}")]
    Reason(Reason),
    /// The gateway that has the wire came to it too late; it was not made.
    #[error("the gateway has no time for it")]
    Busy,
    /// The gateway has given up the wire; it was not made.
    #[error("the gateway has given up the wire")]
    Ended,
    /// The gateway does not make it, and says why.
    #[error("{0}")]
    Refused(String),
    /// What became of it is not known: how the way to the gateway ended.
    #[error("{0}")]
    Lost(String),
}

impl Unanswered {
    /// Whether a write that ended so may have been made all the same.
    #[must_use]
    pub fn leaves_in_doubt(&self) -> bool {
        match self {
            Self::NotOpen(_) | Self::Busy | Self::Ended | Self::Refused(_) => false,
            Self::Reason(reason) => reason.leaves_in_doubt(),
            Self::Lost(_) => true,
        }
    }
}

impl What {
    pub(super) fn of(ask: Ask<'_>) -> Self {
        match ask {
            Ask::Read(read) => Self::Read {
                table: read.table,
                address: read.address,
                quantity: read.quantity,
            },
            Ask::Write(write, _) => Self::Write(write.clone()),
        }
    }

    /// Whether a request of Modbus can say it: what comes from elsewhere may be anything.
    #[must_use]
    pub fn fits(&self) -> bool {
        let (address, quantity, most) = match self {
            Self::Read {
                table,
                address,
                quantity,
            } if table.holds_bits() => (*address, usize::from(*quantity), usize::from(BITS_MAX)),
            Self::Read {
                address, quantity, ..
            } => (*address, usize::from(*quantity), usize::from(REGISTERS_MAX)),
            Self::Write(WriteRequest { address, data }) => match data {
                WriteData::Coil(_) | WriteData::Register(_) | WriteData::Bits { .. } => {
                    (*address, 1, 1)
                }
                WriteData::Coils(coils) => (*address, coils.len(), COILS_MAX),
                WriteData::Registers(words) => (*address, words.len(), WRITTEN_REGISTERS_MAX),
            },
        };
        let last = usize::from(address) + quantity;
        (1..=most).contains(&quantity) && last <= usize::from(u16::MAX) + 1
    }

    /// Whether it changes something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Write(_))
    }

    /// The read that it is, or that of what is written.
    pub(in crate::adapter) fn as_read(&self) -> ReadRequest {
        match self {
            Self::Read {
                table,
                address,
                quantity,
            } => ReadRequest {
                table: *table,
                address: *address,
                quantity: *quantity,
                tags: Vec::new(),
            },
            Self::Write(write) => write.read_back(),
        }
    }
}

impl fmt::Display for What {
    /// For the log: `at 12: 2 by function 3`, `at 12: 40F0 0000 by function 16`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read {
                table,
                address,
                quantity,
            } => {
                let function = table.read_function();
                write!(formatter, "at {address}: {quantity} by function {function}")
            }
            Self::Write(write) => write!(formatter, "at {}: {write}", write.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(table: Table, address: u16, quantity: u16) -> What {
        What::Read {
            table,
            address,
            quantity,
        }
    }

    fn write(address: u16, data: WriteData) -> What {
        What::Write(WriteRequest { address, data })
    }

    #[test]
    fn what_no_request_can_say_does_not_fit() {
        use Table::{Coils, HoldingRegisters};
        for (what, fits) in [
            (read(HoldingRegisters, 0, 125), true),
            (read(HoldingRegisters, 0, 126), false),
            (read(HoldingRegisters, 65_535, 1), true),
            (read(HoldingRegisters, 65_535, 2), false),
            (read(HoldingRegisters, 0, 0), false),
            (read(Coils, 0, 2000), true),
            (read(Coils, 0, 2001), false),
            (write(65_535, WriteData::Coil(true)), true),
            (write(0, WriteData::Coils(vec![true; 1968])), true),
            (write(0, WriteData::Coils(vec![true; 1969])), false),
            (write(0, WriteData::Registers(Vec::new())), false),
            (write(0, WriteData::Registers(vec![0; 123])), true),
            (write(0, WriteData::Registers(vec![0; 124])), false),
            (write(65_535, WriteData::Registers(vec![0; 2])), false),
        ] {
            assert_eq!(what.fits(), fits, "{what:?}");
        }
    }

    #[test]
    fn requests_and_answers_are_small_json() {
        let whats = [
            (
                read(Table::InputRegisters, 7, 2),
                json!({ "read": { "table": "input_registers", "address": 7, "quantity": 2 } }),
            ),
            (
                write(12, WriteData::Bits { bits: 6, to: 4 }),
                json!({ "write": { "address": 12, "data": { "bits": { "bits": 6, "to": 4 } } } }),
            ),
        ];
        for (what, text) in whats {
            assert_eq!(json!(what), text);
            assert_eq!(serde_json::from_value::<What>(text).unwrap(), what);
        }
        let faults = [
            (
                Unanswered::Reason(Reason::Exception(0x0B)),
                json!({ "reason": "exception_0B" }),
            ),
            (Unanswered::Busy, json!("busy")),
            (
                Unanswered::NotOpen("gone".to_owned()),
                json!({ "not_open": "gone" }),
            ),
        ];
        for (fault, text) in faults {
            assert_eq!(json!(fault), text);
            assert_eq!(serde_json::from_value::<Unanswered>(text).unwrap(), fault);
        }
    }

    #[test]
    fn only_what_was_surely_not_made_leaves_no_doubt() {
        let lost = Unanswered::Lost("the socket was closed".to_owned());
        assert!(lost.leaves_in_doubt());
        assert!(Unanswered::Reason(Reason::Timeout).leaves_in_doubt());
        for fault in [
            Unanswered::Busy,
            Unanswered::Ended,
            Unanswered::Refused(String::new()),
        ] {
            assert!(!fault.leaves_in_doubt(), "{fault:?}");
        }
    }
}
