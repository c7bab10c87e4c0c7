//! `--fault KIND[:DEVICE|UNIT][@N]`: which devices are in trouble, and each how many questions.

use std::str::FromStr;
use std::time::Duration;

use crate::simulator::Trouble;

/// How long a device is away that starts anew.
const REBOOT: Duration = Duration::from_secs(5);
/// A device that does nothing but start anew would never be seen.
const REBOOT_EVERY: u32 = 30;
/// Slave device failure.
const EXCEPTION: u8 = 4;

/// One fault as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    kind: Kind,
    /// Name of a device or number of a unit; `None`: all.
    pub(super) of: Option<String>,
    pub(super) every: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Late,
    Short,
    Garbage,
    ForeignUnit,
    Exception,
    Dead,
    Reboot,
}

const KINDS: [(&str, Kind); 7] = [
    ("late", Kind::Late),
    ("short", Kind::Short),
    ("garbage", Kind::Garbage),
    ("foreign-unit", Kind::ForeignUnit),
    ("exception", Kind::Exception),
    ("dead", Kind::Dead),
    ("reboot", Kind::Reboot),
];

/// What is wrong with one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FaultError {
    #[error("`{0}` is none of late, short, garbage, foreign-unit, exception, dead, reboot")]
    Kind(String),
    #[error("`@{0}`: write a number from 1 on, each how many questions it strikes")]
    Every(String),
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (what, every) = match text.rsplit_once('@') {
            Some((what, every)) => (what, Some(every)),
            None => (text, None),
        };
        let (word, of) = match what.split_once(':') {
            Some((word, of)) => (word, Some(of.to_owned())),
            None => (what, None),
        };
        let known = KINDS.iter().find(|(known, _)| *known == word);
        let (_, kind) = *known.ok_or_else(|| FaultError::Kind(word.to_owned()))?;
        let every = match every {
            Some(number) => number
                .parse()
                .ok()
                .filter(|every| *every > 0)
                .ok_or_else(|| FaultError::Every(number.to_owned()))?,
            None if kind == Kind::Reboot => REBOOT_EVERY,
            None => 1,
        };
        Ok(Self { kind, of, every })
    }
}

impl Fault {
    /// Whether it is of the device with this name, and on this unit.
    pub(super) fn is_of(&self, device: &str, unit: Option<u8>) -> bool {
        self.of
            .as_ref()
            .is_none_or(|of| of == device || unit.is_some_and(|unit| of.parse() == Ok(unit)))
    }

    /// What goes wrong where an answer is awaited for `timeout`.
    pub(super) fn trouble(&self, timeout: Duration) -> Trouble {
        match self.kind {
            Kind::Late => Trouble::Late(timeout + timeout / 2),
            Kind::Short => Trouble::Short,
            Kind::Garbage => Trouble::Garbage,
            Kind::ForeignUnit => Trouble::ForeignUnit,
            Kind::Exception => Trouble::Exception(EXCEPTION),
            Kind::Dead => Trouble::Dead,
            Kind::Reboot => Trouble::Reboot(REBOOT),
        }
    }

    /// Whether a serial instrument can have it, which has no units and exceptions.
    pub(super) fn suits_instruments(&self) -> bool {
        !matches!(self.kind, Kind::ForeignUnit | Kind::Exception)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Kind, Option<String>, u32) {
        let Fault { kind, of, every } = text.parse().unwrap();
        (kind, of, every)
    }

    #[test]
    fn faults_are_read_as_they_are_typed() {
        assert_eq!(read("dead"), (Kind::Dead, None, 1));
        assert_eq!(
            read("late:meter1@5"),
            (Kind::Late, Some("meter1".into()), 5)
        );
        assert_eq!(
            read("reboot:3"),
            (Kind::Reboot, Some("3".into()), REBOOT_EVERY)
        );
        for text in ["deaf", "dead@0", "dead@x", "@3"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_fault_is_of_a_device_by_name_or_by_unit() {
        let of = |text: &str| text.parse::<Fault>().unwrap().is_of("meter1", Some(3));
        assert!(of("dead") && of("dead:meter1") && of("dead:3"));
        assert!(!of("dead:meter") && !of("dead:4"));
    }
}
