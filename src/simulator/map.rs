//! The registers of one simulated device. No I/O; time is an argument.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::time::Duration;

use tokio_modbus::ExceptionCode;

use super::number::Number;

/// The tables of a Modbus device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimulatedTable {
    /// Function codes 1, 5, 15.
    Coils,
    /// Function code 2.
    DiscreteInputs,
    /// Function codes 3, 6, 16.
    HoldingRegisters,
    /// Function code 4.
    InputRegisters,
}

/// What a device has at an address.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// So many bits or registers as they are; a bit is 0 or 1.
    Words(Vec<u16>),
    /// Two registers, high word first: how often they have been read, this reading included. A reader that gets every
    /// reading through sees every number.
    Counter(u32),
    /// One register, signed: a sine over time.
    Sine {
        /// Its middle.
        mean: f64,
        /// How far it goes from there.
        amplitude: f64,
        /// From one wave to the next.
        period: Duration,
    },
    /// The registers of a number that moves.
    Number(Number),
    /// One bit or register: 1 in the first half of each period, 0 in the second.
    Square {
        /// Of both halves.
        period: Duration,
    },
}

/// A device: a unit with what it has at which address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceMap {
    unit_id: u8,
    signals: BTreeMap<(SimulatedTable, u16), Signal>,
}

impl Signal {
    fn length(&self) -> usize {
        match self {
            Self::Words(words) => words.len(),
            Self::Counter(_) => 2,
            Self::Number(number) => number.registers(),
            Self::Sine { .. } | Self::Square { .. } => 1,
        }
    }

    /// The word at `offset`, `elapsed` after the start.
    fn word(&self, offset: usize, elapsed: Duration) -> Option<u16> {
        match self {
            Self::Words(words) => words.get(offset).copied(),
            Self::Counter(count) => {
                let [a, b, c, d] = count.to_be_bytes();
                [[a, b], [c, d]]
                    .get(offset)
                    .map(|word| u16::from_be_bytes(*word))
            }
            Self::Number(number) => number.words(elapsed).get(offset).copied(),
            Self::Sine {
                mean,
                amplitude,
                period,
            } => {
                let angle = TAU * phase(elapsed, *period);
                let level = mean + amplitude * angle.sin();
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "a cast from float saturates"
                )]
                let level = level.round() as i16;
                Some(level.cast_unsigned())
            }
            Self::Square { period } => Some(u16::from(phase(elapsed, *period) < 0.5)),
        }
    }
}

/// How far into the period, 0 to 1.
pub(super) fn phase(elapsed: Duration, period: Duration) -> f64 {
    let period = period.max(Duration::from_millis(1));
    let nanos = elapsed.as_nanos() % period.as_nanos();
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).div_duration_f64(period)
}

impl DeviceMap {
    /// A device without registers.
    #[must_use]
    pub fn new(unit_id: u8) -> Self {
        Self {
            unit_id,
            signals: BTreeMap::new(),
        }
    }

    /// The same with `signal` from `address` on.
    #[must_use]
    pub fn with(mut self, table: SimulatedTable, address: u16, signal: Signal) -> Self {
        self.signals.insert((table, address), signal);
        self
    }

    /// Its Unit Identifier.
    #[must_use]
    pub fn unit_id(&self) -> u8 {
        self.unit_id
    }

    /// How often the counter at `address` was read; `None` where there is none.
    #[must_use]
    pub fn count(&self, table: SimulatedTable, address: u16) -> Option<u32> {
        match self.signals.get(&(table, address)) {
            Some(Signal::Counter(count)) => Some(*count),
            _ => None,
        }
    }

    /// Replaces what is at `address`.
    pub fn set(&mut self, table: SimulatedTable, address: u16, signal: Signal) {
        self.signals.insert((table, address), signal);
    }

    /// Reads as a device does: all or nothing.
    ///
    /// # Errors
    /// 02 where an address is not mapped, 03 where the quantity is beyond `limit`.
    pub fn read(
        &mut self,
        table: SimulatedTable,
        address: u16,
        quantity: u16,
        limit: u16,
        elapsed: Duration,
    ) -> Result<Vec<u16>, ExceptionCode> {
        if quantity == 0 || quantity > limit {
            return Err(ExceptionCode::IllegalDataValue);
        }
        let end = u32::from(address) + u32::from(quantity);
        if end > 0x1_0000 {
            return Err(ExceptionCode::IllegalDataAddress);
        }
        let addresses = (0..quantity).map(|offset| address.wrapping_add(offset));
        // Nothing counts where the reading is refused.
        if !addresses
            .clone()
            .all(|address| self.find(table, address).is_some())
        {
            return Err(ExceptionCode::IllegalDataAddress);
        }
        let last = address.wrapping_add(quantity - 1);
        for (_, signal) in self.signals.range_mut((table, address)..=(table, last)) {
            if let Signal::Counter(count) = signal {
                *count = count.wrapping_add(1);
            }
        }
        addresses
            .map(|address| {
                self.find(table, address)
                    .and_then(|(offset, signal)| signal.word(offset, elapsed))
                    .ok_or(ExceptionCode::IllegalDataAddress)
            })
            .collect()
    }

    /// Writes as a device does: all or nothing. What is written stays; what moved until then stands still.
    ///
    /// # Errors
    /// 02 where an address is not mapped or has a counter.
    pub fn write(
        &mut self,
        table: SimulatedTable,
        address: u16,
        words: &[u16],
        elapsed: Duration,
    ) -> Result<(), ExceptionCode> {
        let mut cells = Vec::with_capacity(words.len());
        for (offset, word) in words.iter().enumerate() {
            let at = u16::try_from(usize::from(address) + offset)
                .map_err(|_| ExceptionCode::IllegalDataAddress)?;
            cells.push((at, *word));
        }
        let counts = |signal: &Signal| matches!(signal, Signal::Counter(_));
        let refused = |(at, _): &(u16, u16)| self.find(table, *at).is_none_or(|(_, s)| counts(s));
        if cells.iter().any(refused) {
            return Err(ExceptionCode::IllegalDataAddress);
        }
        for (at, word) in cells {
            if let Some(cell) = self.cell(table, at, elapsed) {
                *cell = word;
            }
        }
        Ok(())
    }

    /// The signal that covers `address`, and how far into it.
    fn find(&self, table: SimulatedTable, address: u16) -> Option<(usize, &Signal)> {
        let ((_, start), signal) = self
            .signals
            .range((table, 0)..=(table, address))
            .next_back()?;
        let offset = usize::from(address - start);
        (offset < signal.length()).then_some((offset, signal))
    }

    /// The word at `address`, which stands still from now on.
    fn cell(&mut self, table: SimulatedTable, address: u16, elapsed: Duration) -> Option<&mut u16> {
        let ((_, start), signal) = self
            .signals
            .range_mut((table, 0)..=(table, address))
            .next_back()?;
        if !matches!(signal, Signal::Words(_)) {
            let words = (0..signal.length()).filter_map(|offset| signal.word(offset, elapsed));
            *signal = Signal::Words(words.collect());
        }
        match signal {
            Signal::Words(words) => words.get_mut(usize::from(address - start)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SimulatedTable::{Coils, HoldingRegisters, InputRegisters};
    use super::*;

    const START: Duration = Duration::ZERO;

    #[test]
    fn a_counter_counts_its_readings_and_no_refused_ones() {
        let mut device = DeviceMap::new(1)
            .with(InputRegisters, 0, Signal::Counter(0x0001_FFFE))
            .with(InputRegisters, 2, Signal::Words(vec![7]));
        let mut read = |quantity| device.read(InputRegisters, 0, quantity, 125, START);
        assert_eq!(read(3), Ok(vec![1, 0xFFFF, 7]));
        assert_eq!(read(4), Err(ExceptionCode::IllegalDataAddress));
        assert_eq!(read(0), Err(ExceptionCode::IllegalDataValue));
        assert_eq!(read(2), Ok(vec![2, 0]));
        assert_eq!(device.count(InputRegisters, 0), Some(0x0002_0000));
    }

    #[test]
    fn signals_follow_the_time() {
        let period = Duration::from_secs(8);
        let mut device = DeviceMap::new(1)
            .with(Coils, 0, Signal::Square { period })
            .with(
                InputRegisters,
                0,
                Signal::Sine {
                    mean: -100.0,
                    amplitude: 50.0,
                    period,
                },
            );
        let mut at = |seconds| {
            let elapsed = Duration::from_secs(seconds);
            let sine = device.read(InputRegisters, 0, 1, 125, elapsed).unwrap()[0];
            let square = device.read(Coils, 0, 1, 2000, elapsed).unwrap()[0];
            (sine.cast_signed(), square)
        };
        assert_eq!(
            [at(0), at(2), at(4), at(14)],
            [(-100, 1), (-50, 1), (-100, 0), (-150, 0)]
        );
    }

    #[test]
    fn what_is_written_stays_all_or_none() {
        use crate::simulator::Motion;
        use crate::value::{ByteOrder, TagType};
        let motion = Motion::Growth {
            start: 65_535.0,
            per_hour: 3600.0,
        };
        let moving = Number {
            kind: TagType::Uint32,
            byte_order: ByteOrder::ABCD,
            motion,
        };
        let mut device = DeviceMap::new(1)
            .with(HoldingRegisters, 0, Signal::Words(vec![1, 2]))
            .with(HoldingRegisters, 2, Signal::Counter(0))
            .with(HoldingRegisters, 4, Signal::Number(moving));
        let mut write = |address, words: &[u16]| {
            device.write(HoldingRegisters, address, words, Duration::from_secs(1))
        };
        assert_eq!(write(0, &[8, 9]), Ok(()));
        assert_eq!(write(5, &[7]), Ok(()));
        let refused = Err(ExceptionCode::IllegalDataAddress);
        assert_eq!(write(1, &[5, 5]), refused, "a counter");
        assert_eq!(write(65_535, &[5, 5]), refused);
        assert_eq!(
            device.read(HoldingRegisters, 0, 2, 125, START),
            Ok(vec![8, 9])
        );
        let later = Duration::from_secs(3600);
        assert_eq!(
            device.read(HoldingRegisters, 4, 2, 125, later),
            Ok(vec![1, 7])
        );
    }
}
