//! A number that moves, as the registers of a device hold it. No I/O; time is an argument.

use std::f64::consts::TAU;
use std::time::Duration;

use super::map::phase;
use crate::value::{ByteOrder, TagType};

/// A raw number: as registers have it, before a reader scales it.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// What its bits mean; of text, nothing does.
    pub kind: TagType,
    /// Order of its bytes.
    pub byte_order: ByteOrder,
    /// How it moves. What the type cannot hold becomes the nearest that it can.
    pub motion: Motion,
}

/// How a number moves.
#[derive(Clone, Debug, PartialEq)]
pub enum Motion {
    /// Up and down.
    Wave {
        /// Its middle.
        mean: f64,
        /// How far it goes from there.
        amplitude: f64,
        /// From one wave to the next.
        period: Duration,
    },
    /// Upwards, as a meter counts.
    Growth {
        /// Where it begins.
        start: f64,
        /// What is added in an hour.
        per_hour: f64,
    },
    /// One of these after the other, from the beginning again.
    Steps {
        /// Which.
        values: Vec<i64>,
        /// How long each stays.
        each: Duration,
    },
}

impl Motion {
    fn at(&self, elapsed: Duration) -> f64 {
        match self {
            Self::Wave {
                mean,
                amplitude,
                period,
            } => mean + amplitude * (TAU * phase(elapsed, *period)).sin(),
            Self::Growth { start, per_hour } => start + per_hour * elapsed.as_secs_f64() / 3600.0,
            Self::Steps { values, each } => {
                let each = each.max(&Duration::from_millis(1)).as_nanos();
                let count = u128::try_from(values.len().max(1)).unwrap_or(1);
                let step = usize::try_from(elapsed.as_nanos() / each % count).unwrap_or(0);
                #[allow(clippy::cast_precision_loss, reason = "steps are small numbers")]
                values.get(step).map_or(0.0, |value| *value as f64)
            }
        }
    }
}

impl Number {
    /// How many registers it takes.
    pub(super) fn registers(&self) -> usize {
        usize::from(self.kind.registers())
    }

    /// Its registers, `elapsed` after the start.
    pub(super) fn words(&self, elapsed: Duration) -> Vec<u16> {
        let bytes = bytes(self.kind, self.motion.at(elapsed));
        let mut words: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| {
                pair.iter()
                    .fold(0, |word, byte| word << 8 | u16::from(*byte))
            })
            .collect();
        if self.byte_order.swaps_words() {
            words.reverse();
        }
        if self.byte_order.swaps_bytes() {
            words.iter_mut().for_each(|word| *word = word.swap_bytes());
        }
        words
    }
}

/// The number in the standard's order.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from float saturates"
)]
fn bytes(kind: TagType, number: f64) -> Vec<u8> {
    let whole = number.round();
    match kind {
        TagType::Bool => u16::from(whole != 0.0).to_be_bytes().to_vec(),
        TagType::Int16 => (whole as i16).to_be_bytes().to_vec(),
        TagType::Uint16 => (whole as u16).to_be_bytes().to_vec(),
        TagType::Int32 => (whole as i32).to_be_bytes().to_vec(),
        TagType::Uint32 => (whole as u32).to_be_bytes().to_vec(),
        TagType::Int64 => (whole as i64).to_be_bytes().to_vec(),
        TagType::Uint64 => (whole as u64).to_be_bytes().to_vec(),
        TagType::Float32 => (number as f32).to_be_bytes().to_vec(),
        TagType::Float64 => number.to_be_bytes().to_vec(),
        TagType::Bcd16 => bcd(whole as u32, 4)
            .to_be_bytes()
            .into_iter()
            .skip(2)
            .collect(),
        TagType::Bcd32 => bcd(whole as u32, 8).to_be_bytes().to_vec(),
        TagType::Text(registers) => vec![0; 2 * usize::from(registers)],
    }
}

/// A decimal digit in each four bits, of at most so many.
fn bcd(number: u32, digits: u32) -> u32 {
    let number = number.min(10_u32.pow(digits) - 1);
    (0..digits).fold(0, |bcd, digit| {
        bcd | (number / 10_u32.pow(digit) % 10) << (4 * digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Interpretation, Value};

    fn number(kind: TagType, byte_order: ByteOrder, start: f64) -> Number {
        let motion = Motion::Growth {
            start,
            per_hour: 3600.0,
        };
        Number {
            kind,
            byte_order,
            motion,
        }
    }

    #[test]
    fn what_is_written_into_registers_is_read_from_them() {
        use TagType::{
            Bcd16, Bcd32, Bool, Float32, Float64, Int16, Int32, Int64, Uint16, Uint32, Uint64,
        };
        let orders = [
            ByteOrder::ABCD,
            ByteOrder::CDAB,
            ByteOrder::BADC,
            ByteOrder::DCBA,
        ];
        let cases = [
            (Bool, 1.0, Value::Bool(true)),
            (Int16, -40_000.0, Value::Integer(-32_768)),
            (Uint16, 51_234.4, Value::Integer(51_234)),
            (Int32, -123_456.0, Value::Integer(-123_456)),
            (Uint32, 3e9, Value::Integer(3_000_000_000)),
            (Int64, -1e15, Value::Integer(-1_000_000_000_000_000)),
            (Uint64, 1e15, Value::Integer(1_000_000_000_000_000)),
            (Float32, 230.5, Value::Float32(230.5)),
            (Float64, -0.1, Value::Float64(-0.1)),
            (Bcd16, 123_456.0, Value::Integer(9999)),
            (Bcd32, 12_345_678.0, Value::Integer(12_345_678)),
        ];
        for byte_order in orders {
            for (kind, raw, value) in &cases {
                let words = number(*kind, byte_order, *raw).words(Duration::ZERO);
                let read = Interpretation::new(*kind, byte_order, 1.0, None).value(&words);
                assert_eq!(read.as_ref(), Ok(value), "{kind:?} {byte_order:?}");
            }
        }
    }

    #[test]
    fn numbers_move_with_the_time() {
        let growing = number(TagType::Uint32, ByteOrder::ABCD, 65_535.0);
        assert_eq!(growing.words(Duration::from_secs(1)), [1, 0]);
        let steps = Motion::Steps {
            values: vec![3, 1],
            each: Duration::from_secs(5),
        };
        let at = |seconds| steps.at(Duration::from_secs(seconds));
        assert_eq!([at(0), at(4), at(5), at(10)], [3.0, 3.0, 1.0, 3.0]);
        let wave = Motion::Wave {
            mean: 10.0,
            amplitude: 2.0,
            period: Duration::from_secs(8),
        };
        assert_eq!(wave.at(Duration::from_secs(2)), 12.0);
    }
}
