//! What a simulated device does wrong, and when. No I/O; time is an argument.

use std::time::Duration;

/// What goes wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It comes so much later.
    Late(Duration),
    /// Its last part is missing.
    Short,
    /// Bytes that are none come in its place.
    Garbage,
    /// It says that it is from the next unit.
    ForeignUnit,
    /// It is this exception.
    Exception(u8),
    /// There is none.
    Dead,
    /// There is none for so long, as of a device that starts anew.
    Reboot(Duration),
}

/// When trouble strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Troubles {
    trouble: Trouble,
    /// Each time that so many questions have come.
    every: u32,
    questions: u32,
    /// A reboot lasts until then, from the start.
    until: Duration,
}

impl Troubles {
    pub(super) fn new(trouble: Trouble, every: u32) -> Self {
        Self {
            trouble,
            every: every.max(1),
            questions: 0,
            until: Duration::ZERO,
        }
    }

    /// What goes wrong with the answer to the question that came, `elapsed` after the start.
    pub(super) fn of_question(&mut self, elapsed: Duration) -> Option<Trouble> {
        if elapsed < self.until {
            return Some(Trouble::Dead);
        }
        self.questions += 1;
        if self.questions < self.every {
            return None;
        }
        self.questions = 0;
        if let Trouble::Reboot(lasts) = self.trouble {
            self.until = elapsed + lasts;
            return Some(Trouble::Dead);
        }
        Some(self.trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_third_question_goes_wrong() {
        let mut troubles = Troubles::new(Trouble::Short, 3);
        let struck: Vec<bool> = (0..7)
            .map(|_| troubles.of_question(Duration::ZERO).is_some())
            .collect();
        assert_eq!(struck, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn a_reboot_takes_its_time() {
        let mut troubles = Troubles::new(Trouble::Reboot(Duration::from_secs(5)), 2);
        let mut at = |seconds| troubles.of_question(Duration::from_secs(seconds));
        let dead = Some(Trouble::Dead);
        assert_eq!([at(0), at(1), at(2), at(5)], [None, dead, dead, dead]);
        assert_eq!([at(6), at(7)], [None, dead]);
    }
}
