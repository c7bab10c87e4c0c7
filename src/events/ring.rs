//! The entries: what is counted in one, and which go when there is no room. No I/O.
//!
//! Of one place in the program about one subject, twenty different entries are made in ten minutes at most. What is the same
//! counts in the entry that there is; what is different beyond the twenty counts in the last of them, which then says what
//! came last. So a second of any flood costs nothing on the disk, and a link that flaps is a few lines an hour.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::Event;
use super::entry::{Boot, Entry};
use crate::clock::WallTime;

/// So many entries are kept,
pub const ENTRIES_MAX: usize = 1000;
/// and so many bytes of them, whichever is reached first: what is written when the files change turns.
pub const BYTES_MAX: usize = 128 << 10;

/// Longer texts are cut.
const TEXT_MAX: usize = 512;

/// Different entries of one place about one subject,
const DIFFERENT: usize = 20;
/// in this time.
const WINDOW: Duration = Duration::from_secs(600);

/// Places and subjects that are remembered.
const WINDOWS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Ring {
    /// By number, so the oldest change comes first.
    entries: BTreeMap<u64, Entry>,
    bytes: usize,
    newest: u64,
    windows: HashMap<(u64, Option<String>), Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    /// What was the same, and the number that its entry has now.
    made: Vec<(u64, u64)>,
}

impl Ring {
    /// With what was kept.
    pub(super) fn with(entries: Vec<Entry>) -> Self {
        let mut ring = Self::default();
        for entry in entries {
            ring.newest = ring.newest.max(entry.number);
            ring.bytes += entry.bytes();
            if let Some(same) = ring.entries.insert(entry.number, entry) {
                ring.bytes -= same.bytes();
            }
        }
        ring.make_room();
        ring
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// One more; returns its number.
    pub(super) fn push(
        &mut self,
        now: Instant,
        wall: WallTime,
        boot: Option<Boot>,
        event: Event,
    ) -> u64 {
        self.newest += 1;
        let number = self.newest;
        let window = self.window(now, (event.place, event.subject.clone()));
        let same = window
            .made
            .iter()
            .position(|(same, _)| *same == event.sameness);
        let counts_in = same.or_else(|| {
            window
                .made
                .len()
                .checked_sub(1)
                .filter(|_| window.made.len() >= DIFFERENT)
        });
        let before = match counts_in.and_then(|at| window.made.get_mut(at)) {
            Some((sameness, of)) => {
                *sameness = event.sameness;
                Some(std::mem::replace(of, number))
            }
            None => {
                window.made.push((event.sameness, number));
                None
            }
        };
        let before = before.and_then(|before| self.entries.remove(&before));
        if let Some(before) = &before {
            self.bytes -= before.bytes();
        }
        let (id, first, count) = before.map_or((number, wall, 0), |before| {
            (before.id, before.first, before.count)
        });
        let entry = Entry {
            number,
            id,
            at: wall,
            first,
            count: count.saturating_add(1),
            boot,
            severity: event.severity,
            kind: event.kind,
            subject: event.subject,
            text: cut(event.text),
        };
        self.bytes += entry.bytes();
        self.entries.insert(number, entry);
        self.make_room();
        number
    }

    /// See [`super::Events::recent`].
    pub(super) fn recent(&self, count: usize, since: u64) -> Vec<Entry> {
        let since = if since > self.newest { 0 } else { since };
        let new = self.entries.range(since.saturating_add(1)..).rev();
        let mut recent: Vec<Entry> = new.take(count).map(|(_, entry)| entry.clone()).collect();
        recent.reverse();
        recent
    }

    /// The lines of entries that are newer than this number.
    pub(super) fn lines(&self, than: u64) -> String {
        let new = self.entries.range(than.saturating_add(1)..);
        new.map(|(_, entry)| entry.line()).collect()
    }

    fn window(&mut self, now: Instant, key: (u64, Option<String>)) -> &mut Window {
        let is_over = |window: &Window| now.saturating_duration_since(window.began) >= WINDOW;
        if self.windows.len() >= WINDOWS_MAX && !self.windows.contains_key(&key) {
            self.windows.retain(|_, window| !is_over(window));
            if self.windows.len() >= WINDOWS_MAX {
                self.windows.clear();
            }
        }
        let new = || Window {
            began: now,
            made: Vec::new(),
        };
        let window = self.windows.entry(key).or_insert_with(new);
        if is_over(window) {
            *window = new();
        }
        window
    }

    /// The kind that has most entries loses its oldest.
    fn make_room(&mut self) {
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let mut bytes: HashMap<&str, usize> = HashMap::new();
            for entry in self.entries.values() {
                *bytes.entry(&entry.kind).or_default() += entry.bytes();
            }
            let largest = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
            let oldest = largest.and_then(|(kind, _)| {
                let of_kind = self.entries.values().find(|entry| entry.kind == kind);
                of_kind.map(|entry| entry.number)
            });
            match oldest.and_then(|oldest| self.entries.remove(&oldest)) {
                Some(gone) => self.bytes -= gone.bytes(),
                None => return,
            }
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let mut end = TEXT_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    const WALL: WallTime = WallTime(1_795_960_924_123);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn event(place: u64, subject: &str, text: &str, sameness: u64) -> Event {
        Event {
            severity: Severity::Info,
            kind: format!("room/{place}"),
            subject: Some(subject.to_owned()),
            text: text.to_owned(),
            place,
            sameness,
        }
    }

    fn texts(ring: &Ring, since: u64) -> Vec<(u64, String)> {
        let recent = ring.recent(usize::MAX, since).into_iter();
        recent.map(|entry| (entry.count, entry.text)).collect()
    }

    #[test]
    fn what_happens_again_counts_in_one_entry_which_is_new_to_who_follows() {
        let (mut ring, start) = (Ring::default(), start());
        for second in 0..412 {
            let wall = WallTime(WALL.0 + second * 1000);
            let at = start + Duration::from_secs(second);
            ring.push(
                at,
                wall,
                None,
                event(1, "cloud", &format!("lost after {second}"), 7),
            );
            ring.push(at, wall, None, event(2, "cloud", "connected", 8));
        }
        let recent = ring.recent(9, 0);
        assert_eq!(
            texts(&ring, 0),
            [(412, "lost after 411".into()), (412, "connected".into())]
        );
        assert_eq!(
            (recent[0].first, recent[0].at),
            (WALL, WallTime(WALL.0 + 411_000))
        );
        assert_eq!((recent[0].id, recent[1].id), (1, 2));
        let since = ring.newest();
        assert_eq!(ring.recent(9, since), []);
        ring.push(
            start + WINDOW,
            WALL,
            None,
            event(2, "cloud", "connected", 8),
        );
        assert_eq!(
            texts(&ring, since),
            [(1, "connected".into())],
            "a new window"
        );
        ring.push(
            start + WINDOW,
            WALL,
            None,
            event(2, "other", "connected", 8),
        );
        assert_eq!(ring.recent(usize::MAX, 0).len(), 4, "another subject");
    }

    #[test]
    fn a_flood_of_one_kind_is_few_entries_and_pushes_nothing_else_out() {
        let (mut ring, start) = (Ring::default(), start());
        ring.push(start, WALL, None, event(1, "meter", "offline", 1));
        for number in 0..100_000 {
            let at = start + Duration::from_millis(number);
            let text = format!("refused stranger-{number}");
            ring.push(at, WALL, None, event(2, "plant", &text, number));
        }
        let all = texts(&ring, 0);
        assert_eq!(all.len(), 1 + DIFFERENT);
        assert_eq!(
            all.last(),
            Some(&(100_000 - 19, "refused stranger-99999".into()))
        );
        // Over days it is more than there is room for.
        for number in 0..3000 {
            let at = start + Duration::from_secs(number * 60);
            let text = format!("refused stranger-{number}");
            ring.push(at, WALL, None, event(2, "plant", &text, number));
        }
        assert!(ring.entries.len() <= ENTRIES_MAX && ring.bytes <= BYTES_MAX);
        assert_eq!(texts(&ring, 0)[0].1, "offline");
        let bytes: usize = ring.entries.values().map(Entry::bytes).sum();
        assert_eq!(ring.bytes, bytes);
    }

    #[test]
    fn the_last_ones_are_given_oldest_first_and_a_number_of_another_start_gives_all() {
        let (mut ring, start) = (Ring::default(), start());
        for number in 0..5 {
            ring.push(
                start,
                WALL,
                None,
                event(number, "x", &number.to_string(), 0),
            );
        }
        let numbers = |count, since| {
            let recent = ring.recent(count, since).into_iter();
            recent.map(|entry| entry.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(2, 0), [4, 5]);
        assert_eq!(numbers(9, 3), [4, 5]);
        assert_eq!(numbers(2, 1), [4, 5]);
        assert_eq!(numbers(9, u64::MAX), [1, 2, 3, 4, 5]);
        assert_eq!(numbers(0, 0), [0_u64; 0]);
    }

    #[test]
    fn texts_are_cut_between_characters_and_subjects_are_forgotten_rather_than_piled_up() {
        let (mut ring, start) = (Ring::default(), start());
        ring.push(start, WALL, None, event(1, "x", &"aä".repeat(4000), 0));
        assert!(ring.recent(1, 0)[0].text.ends_with("a..."));
        for number in 0..10_000_u64 {
            ring.push(start, WALL, None, event(2, &number.to_string(), "a", 0));
        }
        assert!(ring.windows.len() <= WINDOWS_MAX);
    }
}
