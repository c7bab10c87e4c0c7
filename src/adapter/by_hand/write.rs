//! A write by hand: what is decided of it, and the one request that makes it.
//!
//! Invariant: it is made once. Without an answer nobody knows whether it was, and to make it again is up to a person.

use std::fmt;
use std::time::Duration;

use super::{Answer, ByHand, Question, Unanswered};
use crate::adapter::command::{Body, Book, CommandError, Encoded, Part, Place, What};
use crate::adapter::data::Data;
use crate::adapter::modbus::{Ask, Attempt};
use crate::adapter::options::{DeviceOptions, Table, TagOptions, UnitId, WriteFunction};
use crate::adapter::write::{WRITTEN_REGISTERS_MAX, WriteData, WriteRequest};
use crate::value::{ByteOrder, Interpretation, TagType, Value, Wanted};

/// One write, decided on. Its text is what goes out: `40F0 0000 by function 16`.
#[derive(Clone, Debug)]
pub struct Writing {
    request: WriteRequest,
    interpretation: Interpretation,
}

impl Writing {
    /// The value that a person typed, to coils or holding registers of which nothing else is known.
    ///
    /// # Errors
    /// Says why it cannot be written.
    pub fn of_register(
        (table, address): (Table, u16),
        (kind, order): (TagType, ByteOrder),
        function: WriteFunction,
        typed: &str,
    ) -> Result<Self, CommandError> {
        if let Table::DiscreteInputs | Table::InputRegisters = table {
            return Err(CommandError::ReadOnly);
        }
        let interpretation = Interpretation::new(kind, order, 1.0, None);
        let wanted = Wanted::Text(typed.to_owned());
        let data = Encoded::new(&interpretation, table, &wanted)?.data(function);
        if matches!(&data, WriteData::Registers(words) if words.len() > WRITTEN_REGISTERS_MAX) {
            return Err(CommandError::OutOfRange);
        }
        Ok(Self {
            request: WriteRequest { address, data },
            interpretation,
        })
    }

    /// The value that a person typed, to a tag by its own rules, as when it came to its set topic.
    ///
    /// # Errors
    /// Says why it cannot be written.
    pub fn of_tag(
        device: &DeviceOptions,
        tag: &TagOptions,
        typed: &str,
    ) -> Result<Self, CommandError> {
        let place = Place {
            device: 0,
            device_name: &device.name,
            name: &tag.name,
        };
        let body = Body::One(Part::typed(typed));
        match Book::of_device(device).decide(place, &body)?.what {
            What::Write(write) => Ok(Self {
                request: write.request,
                interpretation: tag.interpretation(),
            }),
            What::Tell(_) => Err(CommandError::Unknown),
        }
    }

    /// By which function of Modbus.
    #[must_use]
    pub fn function(&self) -> u8 {
        self.request.function()
    }

    /// What is written, as a tag has it; `None`: single bits are.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        match (&self.request.data, self.request.as_data()) {
            (WriteData::Bits { .. }, _) | (_, Data::Written) => None,
            (_, Data::Bits(bits)) => self.value_of(&Answer::Bits(bits)),
            (_, Data::Registers(words)) => self.value_of(&Answer::Registers(words)),
        }
    }

    /// What was read back, as a tag has it; `None`: it is no value.
    #[must_use]
    pub fn value_of(&self, held: &Answer) -> Option<Value> {
        match held {
            Answer::Bits(bits) => self.interpretation.bit(*bits.first()?),
            Answer::Registers(words) => self.interpretation.value(words),
        }
        .ok()
    }

    /// Whether what was read back is what was written.
    #[must_use]
    pub fn is(&self, held: &Answer) -> bool {
        self.request.is(&match held {
            Answer::Bits(bits) => Data::Bits(bits.clone()),
            Answer::Registers(words) => Data::Registers(words.clone()),
        })
    }
}

impl fmt::Display for Writing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(formatter)
    }
}

impl fmt::Display for WriteRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = self.function();
        match (&self.data, self.as_data()) {
            (WriteData::Bits { bits, to }, _) => {
                write!(formatter, "of the bits {bits:04X} those of {to:04X}")?;
            }
            (_, Data::Bits(bits)) => {
                bits.iter()
                    .try_for_each(|bit| write!(formatter, "{}", u8::from(*bit)))?;
            }
            (_, Data::Registers(words)) => {
                for (index, word) in words.iter().enumerate() {
                    let gap = if index == 0 { "" } else { " " };
                    write!(formatter, "{gap}{word:04X}")?;
                }
            }
            (_, Data::Written) => {}
        }
        write!(formatter, " by function {function}")
    }
}

impl ByHand {
    /// Makes the write, once.
    ///
    /// # Errors
    /// Why it is not confirmed.
    pub async fn write(
        &mut self,
        writing: &Writing,
        unit: UnitId,
        timeout: Duration,
    ) -> Result<(), Unanswered> {
        let attempt = Attempt {
            unit,
            request: Ask::Write(&writing.request, None),
            timeout,
            delay: self.delay(),
            retries: 0,
        };
        self.make(attempt).await.map(|_| ())
    }

    /// What is held where something was written.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn read_back(
        &mut self,
        writing: &Writing,
        unit: UnitId,
        timeout: Duration,
    ) -> Result<Answer, Unanswered> {
        let read = writing.request.read_back();
        let question = Question {
            unit,
            table: read.table,
            address: read.address,
            quantity: read.quantity,
            timeout,
            retries: 1,
        };
        tokio::time::sleep(self.delay()).await;
        self.ask(question).await
    }

    /// The pause that the device wants before each request.
    fn delay(&self) -> Duration {
        let device = self.connection.devices.first();
        device.map_or(Duration::ZERO, |device| device.request_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(place: (Table, u16), kind: TagType, function: WriteFunction, typed: &str) -> String {
        match Writing::of_register(place, (kind, ByteOrder::ABCD), function, typed) {
            Ok(writing) => writing.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_register_is_written_by_the_function_that_fits() {
        let (coil, holding) = ((Table::Coils, 1), (Table::HoldingRegisters, 12));
        let (auto, multiple) = (WriteFunction::Auto, WriteFunction::Multiple);
        for (place, kind, function, typed, expected) in [
            (coil, TagType::Bool, auto, "on", "1 by function 5"),
            (coil, TagType::Bool, multiple, "0", "0 by function 15"),
            (holding, TagType::Int16, auto, "-1", "FFFF by function 6"),
            (
                holding,
                TagType::Int16,
                multiple,
                "-1",
                "FFFF by function 16",
            ),
            (
                holding,
                TagType::Float32,
                auto,
                "7.5",
                "40F0 0000 by function 16",
            ),
            (holding, TagType::Int16, auto, "7.5", "bad_value"),
            (holding, TagType::Int16, auto, "40000", "out_of_range"),
            (holding, TagType::Text(124), auto, "long", "out_of_range"),
            (
                (Table::InputRegisters, 0),
                TagType::Int16,
                auto,
                "1",
                "read_only",
            ),
        ] {
            assert_eq!(out(place, kind, function, typed), expected, "{typed}");
        }
    }
}
