//! One write to a Modbus device: which function carries it, what its registers must read as afterwards. No I/O.
//!
//! Invariant: a write is one request, so the device takes it whole or not at all.

use serde::{Deserialize, Serialize};

use super::data::Data;
use super::options::Table;
use super::plan::ReadRequest;

/// Most coils in one write, by the Modbus specification (section 6.11).
pub const COILS_MAX: usize = 1968;
/// Most registers in one write, by the Modbus specification (section 6.12).
pub const WRITTEN_REGISTERS_MAX: usize = 123;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRequest {
    /// The first address.
    pub(crate) address: u16,
    /// What, and so where to.
    pub(crate) data: WriteData,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteData {
    /// Function code 5.
    Coil(bool),
    /// Function code 6.
    Register(u16),
    /// Function code 15.
    Coils(Vec<bool>),
    /// Function code 16.
    Registers(Vec<u16>),
    /// Function code 22: of one register the bits that are 1 in `bits`, to what they are in `to`.
    Bits {
        /// Which.
        bits: u16,
        /// What they become.
        to: u16,
    },
}

impl WriteRequest {
    /// How many coils or registers.
    pub(crate) fn quantity(&self) -> u16 {
        let quantity = match &self.data {
            WriteData::Coil(_) | WriteData::Register(_) | WriteData::Bits { .. } => 1,
            WriteData::Coils(coils) => coils.len(),
            WriteData::Registers(words) => words.len(),
        };
        u16::try_from(quantity).unwrap_or(u16::MAX)
    }

    /// The function code.
    pub(crate) fn function(&self) -> u8 {
        match self.data {
            WriteData::Coil(_) => 5,
            WriteData::Register(_) => 6,
            WriteData::Coils(_) => 15,
            WriteData::Registers(_) => 16,
            WriteData::Bits { .. } => 22,
        }
    }

    /// The read of what is written.
    pub(crate) fn read_back(&self) -> ReadRequest {
        let table = match self.data {
            WriteData::Coil(_) | WriteData::Coils(_) => Table::Coils,
            WriteData::Register(_) | WriteData::Registers(_) | WriteData::Bits { .. } => {
                Table::HoldingRegisters
            }
        };
        ReadRequest {
            table,
            address: self.address,
            quantity: self.quantity(),
            tags: Vec::new(),
        }
    }

    /// What the device holds when it has done it, of what it was told.
    pub(crate) fn as_data(&self) -> Data {
        match &self.data {
            WriteData::Coil(coil) => Data::Bits(vec![*coil]),
            WriteData::Coils(coils) => Data::Bits(coils.clone()),
            WriteData::Register(word) => Data::Registers(vec![*word]),
            WriteData::Registers(words) => Data::Registers(words.clone()),
            WriteData::Bits { bits, to } => Data::Registers(vec![bits & to]),
        }
    }

    /// Whether what was read back is what was written.
    pub(crate) fn is(&self, read: &Data) -> bool {
        match (&self.data, read) {
            (WriteData::Bits { bits, to }, Data::Registers(read)) => {
                matches!(read[..], [word] if word & bits == to & bits)
            }
            _ => *read == self.as_data(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_counts_as_written() {
        let write = |data| WriteRequest { address: 7, data };
        let bits = write(WriteData::Bits {
            bits: 0b0110,
            to: 0b0100,
        });
        assert!(bits.is(&Data::Registers(vec![0b1101])), "others may differ");
        assert!(!bits.is(&Data::Registers(vec![0b1111])));
        let words = write(WriteData::Registers(vec![1, 2]));
        assert!(words.is(&Data::Registers(vec![1, 2])));
        assert!(!words.is(&Data::Registers(vec![1, 3])));
        assert!(!words.is(&Data::Registers(vec![1])));
        let coil = write(WriteData::Coil(true));
        assert!(coil.is(&Data::Bits(vec![true])) && !coil.is(&Data::Bits(vec![false])));
        assert!(!coil.is(&Data::Registers(vec![1])));
    }

    #[test]
    fn what_is_read_back_is_what_was_written() {
        let words = WriteRequest {
            address: 12,
            data: WriteData::Registers(vec![1, 2]),
        };
        let read = words.read_back();
        assert_eq!(
            (read.table, read.address, read.quantity),
            (Table::HoldingRegisters, 12, 2)
        );
    }
}
