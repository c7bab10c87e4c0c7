//! Values of field devices: what a tag reads, how registers become values and values registers, and how values become
//! JSON. No I/O.
//!
//! Invariants: a value is never guessed. Registers that do not make a value of the tag's type are an [`Unfit`], never a
//! zero, a NaN or a cut text; integers are never rounded through a float; nothing here can panic on any registers.

mod deadband;
mod decimal;
mod guess;
mod json;
mod meaning;
mod registers;
mod write;

use std::sync::Arc;

pub use deadband::Deadband;
pub use guess::{Guess, guesses};
pub use json::{write_json_text, write_json_value, write_plain_value};
pub use meaning::Meaning;
pub use registers::{Interpretation, Unfit};
pub use write::{Unwritable, Wanted};

/// A value as a tag has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A coil, a discrete input, or a register as yes or no.
    Bool(bool),
    /// Any integer that JSON readers may or may not hold exactly; printed in full.
    Integer(i128),
    /// A 32 bit float: printed with the digits that a 32 bit float has.
    Float32(f32),
    /// A 64 bit float, and anything scaled.
    Float64(f64),
    /// Bits with a name each, by their number.
    Bits(Vec<(Arc<str>, bool)>),
    /// A string register block without trailing NULs and spaces, or the name of a number.
    Text(String),
}

/// Order of the bytes of a value that spans registers: A is the most significant byte, as it arrives on the wire.
///
/// A value of one register knows only whether its two bytes are swapped (`BADC`, `DCBA`) or not. 64 bits: `CDAB` is the
/// low register first, `BADC` the bytes swapped in each register. Text has no low word: its registers stay in order,
/// `BADC` and `DCBA` swap the two characters of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::upper_case_acronyms, reason = "the field's own notation")]
pub enum ByteOrder {
    /// High word first, high byte first: the standard's own.
    #[default]
    ABCD,
    /// Low word first.
    CDAB,
    /// Bytes swapped in each word.
    BADC,
    /// All reversed.
    DCBA,
}

impl ByteOrder {
    pub(crate) fn swaps_bytes(self) -> bool {
        matches!(self, Self::BADC | Self::DCBA)
    }

    pub(crate) fn swaps_words(self) -> bool {
        matches!(self, Self::CDAB | Self::DCBA)
    }
}

/// Types of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagType {
    /// One bit; a register is true unless 0.
    Bool,
    /// One register, signed.
    Int16,
    /// One register.
    Uint16,
    /// Two registers, signed.
    Int32,
    /// Two registers.
    Uint32,
    /// Four registers, signed.
    Int64,
    /// Four registers.
    Uint64,
    /// Two registers, IEEE 754.
    Float32,
    /// Four registers, IEEE 754.
    Float64,
    /// One register, four decimal digits of 4 bits each.
    Bcd16,
    /// Two registers, eight decimal digits.
    Bcd32,
    /// So many registers, two bytes each.
    Text(u16),
}

impl TagType {
    /// How many registers a value of this type spans.
    #[must_use]
    pub fn registers(self) -> u16 {
        match self {
            Self::Bool | Self::Int16 | Self::Uint16 | Self::Bcd16 => 1,
            Self::Int32 | Self::Uint32 | Self::Float32 | Self::Bcd32 => 2,
            Self::Int64 | Self::Uint64 | Self::Float64 => 4,
            Self::Text(registers) => registers,
        }
    }
}
