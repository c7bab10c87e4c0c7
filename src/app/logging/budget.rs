//! How many lines of one kind the log may have in a minute, so that neither a stranger nor a fault can fill the disk. No I/O.
//!
//! A kind is the place in the program that says the line and, where it is about a part of the configuration (a device, a
//! bridge), that part: forty devices that go offline at once are forty kinds, while a thousand clients that are refused
//! are one. What has no room is counted, and told in one line when the minute is over.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Lines of one kind in a minute.
pub(super) const LINES: u64 = 20;

/// Kinds that are counted at once.
const KINDS_MAX: usize = 4096;

const MINUTE: Duration = Duration::from_secs(60);

/// Which place in the program, and about what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind<P> {
    pub(super) place: P,
    /// A hash of the subject's name.
    pub(super) subject: Option<u64>,
}

/// The minutes that run.
#[derive(Debug)]
pub(super) struct Budget<P, S> {
    minutes: HashMap<Kind<P>, Minute<S>>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Minute<S> {
    began: Instant,
    lines: u64,
    /// The first line that had no room, and how many there were.
    unsaid: Option<(S, u64)>,
}

impl<P, S> Default for Budget<P, S> {
    fn default() -> Self {
        Self {
            minutes: HashMap::new(),
            swept: None,
        }
    }
}

impl<P: Eq + Hash, S> Budget<P, S> {
    /// Gives the line back where there is room for it.
    pub(super) fn spend(&mut self, now: Instant, mut kind: Kind<P>, line: S) -> Option<S> {
        if self.minutes.len() >= KINDS_MAX && !self.minutes.contains_key(&kind) {
            // All subjects of a place together; there are only so many places.
            kind.subject = None;
        }
        let minute = self.minutes.entry(kind).or_insert(Minute {
            began: now,
            lines: 0,
            unsaid: None,
        });
        minute.lines += 1;
        if minute.lines <= LINES {
            return Some(line);
        }
        match &mut minute.unsaid {
            Some((_, count)) => *count += 1,
            None => minute.unsaid = Some((line, 1)),
        }
        None
    }

    /// Forgets the minutes that are over, and gives what had no room in them. Looks at most once a second.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<(S, u64)> {
        let since = |then: Instant| now.saturating_duration_since(then);
        if self
            .swept
            .is_some_and(|then| since(then) < Duration::from_secs(1))
        {
            return Vec::new();
        }
        self.swept = Some(now);
        let over = self
            .minutes
            .extract_if(|_, minute| since(minute.began) >= MINUTE);
        over.filter_map(|(_, minute)| minute.unsaid).collect()
    }

    /// The same at the end, when no minute will be over.
    pub(super) fn close(&mut self) -> Vec<(S, u64)> {
        let minutes = self.minutes.drain();
        minutes.filter_map(|(_, minute)| minute.unsaid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(place: u8, subject: Option<u64>) -> Kind<u8> {
        Kind { place, subject }
    }

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn a_flood_is_twenty_lines_a_minute_and_a_count() {
        let (mut budget, start) = (Budget::default(), start());
        let told = |budget: &mut Budget<u8, usize>, at, count: usize| {
            (0..count)
                .filter(|&n| budget.spend(at, kind(1, None), n).is_some())
                .count() as u64
        };
        assert_eq!(told(&mut budget, start, 50), LINES);
        let nearly = start + MINUTE - Duration::from_millis(1);
        assert_eq!(budget.sweep(nearly), []);
        assert_eq!(told(&mut budget, nearly, 5), 0);
        assert_eq!(budget.sweep(nearly + Duration::from_secs(1)), [(20, 35)]);
        assert_eq!(told(&mut budget, start + MINUTE, 20), LINES);
        assert_eq!(budget.sweep(start + MINUTE * 3), [], "all had room");
    }

    #[test]
    fn each_part_of_the_configuration_and_each_place_has_a_budget_of_its_own() {
        let (mut budget, start) = (Budget::default(), start());
        for device in 0..40 {
            for _ in 0..LINES {
                assert!(budget.spend(start, kind(1, Some(device)), ()).is_some());
            }
        }
        assert!(budget.spend(start, kind(1, Some(7)), ()).is_none());
        assert!(budget.spend(start, kind(2, Some(7)), ()).is_some());
    }

    #[test]
    fn what_had_no_room_is_told_at_the_end_too() {
        let (mut budget, start) = (Budget::default(), start());
        let told = (0..LINES + 3).filter_map(|n| budget.spend(start, kind(1, None), n));
        assert_eq!(told.count() as u64, LINES);
        assert_eq!(budget.close(), [(LINES, 3)]);
        assert_eq!(budget.close(), []);
    }

    #[test]
    fn more_kinds_than_are_counted_share_the_budget_of_their_place() {
        let (mut budget, start) = (Budget::default(), start());
        let told = (0..10_000)
            .filter(|&subject| budget.spend(start, kind(1, Some(subject)), ()).is_some())
            .count();
        assert_eq!(told, KINDS_MAX + 20);
        assert!(budget.minutes.len() <= KINDS_MAX + 1);
    }
}
