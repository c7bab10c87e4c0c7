//! How the devices answer: wrongly at random, or with lies.
//!
//! What cannot be told from a right reply by anybody is left out: a reply in another's name or of another length that comes
//! late, when it may be the very reply to what is asked by then, or an echo that does; lines have no other names for things.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::simulator::{Asked, Fault, Framing, Script};

use super::field::{Field, word};
use super::ways::{Cut, Way};

/// Of a hundred requests, those that are answered as they should.
const WELL: u32 = 80;
/// Of a thousand, those after which a unit is silent for a while.
const DYING: u32 = 3;
/// Of a thousand, those at which a line is unplugged.
const UNPLUGGED: u32 = 2;

pub struct Random {
    field: Arc<Mutex<Field>>,
    way: Way,
    cut: Cut,
    seed: u64,
    random: fastrand::Rng,
    /// Requests that each unit still leaves without an answer.
    dead: BTreeMap<u8, u32>,
}

impl Random {
    pub fn new(field: &Arc<Mutex<Field>>, way: Way, cut: Cut) -> Self {
        let seed = field.lock().unwrap().seed;
        Self {
            field: Arc::clone(field),
            way,
            cut,
            seed,
            random: fastrand::Rng::with_seed(seed),
            dead: BTreeMap::new(),
        }
    }

    fn choose(&mut self, asked: &Asked) -> Fault {
        let random = &mut self.random;
        let dead = self.dead.entry(asked.unit).or_default();
        if *dead > 0 {
            *dead -= 1;
            return Fault::Silent;
        }
        if random.u32(..1000) < DYING {
            *dead = random.u32(5..40);
        }
        if self.way == Way::Line && random.u32(..1000) < UNPLUGGED {
            self.cut.cut();
            return Fault::Late(Duration::from_millis(random.u64(..300)));
        }
        if random.u32(..100) < WELL {
            return Fault::None;
        }
        match random.u32(..19) {
            0..=3 => Fault::Late(late(random)),
            4 => Fault::Silent,
            5 => Fault::Half,
            6 => Fault::Cut(random.usize(1..6)),
            7 => Fault::Garbage,
            8 => Fault::Noise(random.u64(1..) >> (8 * random.u32(..8))),
            9 => Fault::Trailing,
            10 => Fault::DriverNoise,
            11 => Fault::Twice,
            12 => Fault::Split(late(random)),
            13 => Fault::Exception(random.u8(1..=11)),
            14 if self.way != Way::Line => Fault::Close,
            15 => Fault::WrongChecksum,
            16 => Fault::WrongTransaction,
            _ if asked.waiting > 0 => Fault::None,
            _ => *random
                .choice(&[
                    Fault::WrongUnit,
                    Fault::WrongFunction,
                    Fault::Short,
                    Fault::Long,
                    Fault::Echo,
                ])
                .unwrap(),
        }
    }

    /// Whether no value can come of it.
    fn is_hopeless(&self, fault: Fault) -> bool {
        match fault {
            Fault::WrongTransaction => self.way.framing() == Framing::Tcp,
            Fault::WrongChecksum => self.way.framing() == Framing::Rtu,
            Fault::Silent
            | Fault::Half
            | Fault::Cut(_)
            | Fault::Garbage
            | Fault::Close
            | Fault::Exception(_)
            | Fault::WrongUnit
            | Fault::WrongFunction
            | Fault::Short
            | Fault::Long
            | Fault::Echo => true,
            _ => false,
        }
    }
}

/// Around each of the timeouts, or anywhere; now and then much later.
fn late(random: &mut fastrand::Rng) -> Duration {
    let micros = match random.u32(..50) {
        0 => random.u64(500_000..4_000_000),
        1..=15 => random.u64(195_000..215_000),
        16..=25 => random.u64(55_000..65_000),
        _ => random.u64(..450_000),
    };
    Duration::from_micros(micros)
}

impl Script for Random {
    fn fault(&mut self, asked: &Asked) -> Fault {
        let fault = self.choose(asked);
        let is_hopeless = self.is_hopeless(fault);
        self.field.lock().unwrap().asked(asked, fault, is_hopeless);
        fault
    }

    fn word(&self, asked: &Asked, address: u16) -> u16 {
        word(self.seed, asked.unit, asked.function, address, asked.number)
    }
}

/// Answers as it should, but every hundredth time with what was so at the request before.
pub struct Liar {
    field: Arc<Mutex<Field>>,
    seed: u64,
}

impl Liar {
    pub fn new(field: &Arc<Mutex<Field>>) -> Self {
        let seed = field.lock().unwrap().seed;
        Self {
            field: Arc::clone(field),
            seed,
        }
    }
}

impl Script for Liar {
    fn fault(&mut self, asked: &Asked) -> Fault {
        let mut field = self.field.lock().unwrap();
        field.asked(asked, Fault::None, false);
        Fault::None
    }

    fn word(&self, asked: &Asked, address: u16) -> u16 {
        let lies = asked.number.is_multiple_of(100);
        let number = asked.number - u64::from(lies);
        word(self.seed, asked.unit, asked.function, address, number)
    }
}
