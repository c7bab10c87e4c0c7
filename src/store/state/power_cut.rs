//! The power goes at each operation of a scripted day, and the oracle looks at what is found afterwards: every key has what
//! it was given last before what is covered, or something newer; nothing is invented; no number of a session comes twice;
//! and nothing had to be salvaged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::power_cut::{Honesty, SimulatedFolder, Unsynced};
use super::super::{Directory, Seq, SessionNumber, StateChange, StoredPresence, StoredSession};
use super::Restored;
use super::row::Key;
use super::tests::{Rig, begun, mark, reading, retained, session, subscribed, topic};

/// What was put under each key, in order; `None`: it ended.
#[derive(Clone, Default)]
pub(super) struct Story {
    keys: BTreeMap<Key, Vec<Put>>,
    pub(super) covered: Seq,
    pub(super) committed: Seq,
    pub(super) numbers: Vec<SessionNumber>,
}

#[derive(Clone)]
struct Put {
    seq: Seq,
    urgent: bool,
    value: Option<StateChange>,
}

impl Story {
    pub(super) fn put(&mut self, rig: &mut Rig, change: StateChange, urgent: bool) {
        let seq = rig.put(change.clone(), urgent);
        let ended = |seq, urgent| Put {
            seq,
            urgent,
            value: None,
        };
        if let StateChange::SessionGone(number) = change {
            for (key, puts) in &mut self.keys {
                if matches!(key, Key::Subscription(of, _) if *of == number) {
                    puts.push(ended(seq, urgent));
                }
            }
        }
        let keeps = !matches!(
            change,
            StateChange::SessionGone(_)
                | StateChange::SubscriptionGone(..)
                | StateChange::RetainedGone(_)
                | StateChange::MarkGone(_)
        );
        let key = Key::of(&change);
        let put = Put {
            value: keeps.then_some(change),
            ..ended(seq, urgent)
        };
        self.keys.entry(key).or_default().push(put);
    }

    fn note_progress(&mut self, rig: &Rig) {
        self.covered = rig.covered();
        self.committed = rig.committed();
    }

    pub(super) fn check(&self, restored: &Restored) -> Result<(), String> {
        if let Some(lost) = restored.lost {
            return Err(format!("the file was damaged, {lost} rows lost"));
        }
        if let Some(number) = self.numbers.iter().max()
            && *number >= restored.next_session
        {
            return Err(format!("{number:?} is given out again"));
        }
        let mut found = found_in(restored);
        for (key, puts) in &self.keys {
            let found = found.remove(key);
            let is_stable =
                |put: &&Put| put.urgent && put.seq <= self.covered || put.seq <= self.committed;
            let floor = puts.iter().rposition(|put| is_stable(&put));
            let may_be = puts.iter().skip(floor.unwrap_or(0));
            let is_right =
                may_be.clone().any(|put| put.value == found) || floor.is_none() && found.is_none();
            if !is_right {
                return Err(format!("{key:?} is {found:?}"));
            }
        }
        match found.keys().next() {
            Some(key) => Err(format!("{key:?} was never put")),
            None => Ok(()),
        }
    }

    /// What was found is what stands, now that it has been looked at.
    pub(super) fn settle(&mut self, restored: &Restored) {
        let found = found_in(restored);
        self.covered = Seq(0);
        self.committed = Seq(0);
        self.keys = found
            .into_iter()
            .map(|(key, value)| {
                let put = Put {
                    seq: Seq(0),
                    urgent: true,
                    value: Some(value),
                };
                (key, vec![put])
            })
            .collect();
    }
}

fn found_in(restored: &Restored) -> BTreeMap<Key, StateChange> {
    let mut found = BTreeMap::new();
    let mut insert = |change: StateChange| found.insert(Key::of(&change), change);
    for (number, session, subscriptions) in restored.sessions.clone() {
        insert(begun(number, session));
        for (filter, subscription) in subscriptions {
            insert(StateChange::Subscription(number, filter, subscription));
        }
    }
    for retained in restored.retained.clone() {
        insert(StateChange::Retained(retained.message, retained.publisher));
    }
    for mark in restored.marks.clone() {
        insert(StateChange::Marked(mark));
    }
    found
}

/// Which of its versions a session has shows in its expiry.
pub(super) fn version(client: u64, version: u32) -> StoredSession {
    let presence = if version.is_multiple_of(2) {
        StoredPresence::Connected
    } else {
        StoredPresence::Away {
            expires_in: None,
            will_in: None,
        }
    };
    StoredSession {
        expiry: version,
        ..session(&format!("client-{client}"), presence)
    }
}

/// Sessions come, subscribe, change and end; topics get values, urgent and not, small and large, and are cleared.
fn play(rig: &mut Rig) -> Story {
    let mut story = Story::default();
    let first = rig.restored.next_session.0;
    for round in 0_u32..45 {
        let begins = (round % 5 == 0).then(|| SessionNumber(first + u64::from(round)));
        if let Some(number) = begins {
            story.numbers.push(number);
            story.put(rig, begun(number, version(number.0, 0)), true);
            for filter in 0..6 {
                let change = subscribed(number, &format!("filter/{filter}"), round + 1);
                story.put(rig, change, true);
            }
        }
        for (place, number) in story.numbers.clone().into_iter().enumerate() {
            match (round as usize + place * 3) % 11 {
                4 => story.put(rig, begun(number, version(number.0, round)), round % 2 == 0),
                6 => story.put(rig, subscribed(number, "filter/2", round + 100), true),
                8 => {
                    let filter = format!("filter/{}", round % 6).into();
                    story.put(rig, StateChange::SubscriptionGone(number, filter), true);
                }
                10 => {
                    story.put(rig, StateChange::SessionGone(number), round % 2 == 0);
                    story.numbers.retain(|kept| *kept != number);
                }
                _ => {}
            }
        }
        for value in 0..4_u32 {
            let name = format!("line/{}", (round * 3 + value) % 9);
            let mut payload = format!("{round}.{value}").into_bytes();
            payload.resize(if round == 9 && value == 1 { 70_000 } else { 40 }, b' ');
            story.put(rig, retained(&name, &payload), value % 2 == 0);
        }
        let mark = mark(SessionNumber(first), u16::try_from(round % 7 + 1).unwrap());
        let marked = if round / 7 % 2 == 0 {
            StateChange::Marked(mark)
        } else {
            StateChange::MarkGone(mark)
        };
        story.put(rig, marked, true);
        if round % 4 == 3 {
            let name = format!("line/{}", round % 9);
            story.put(rig, StateChange::RetainedGone(topic(&name)), round % 8 == 3);
        }
        rig.pass(Duration::from_millis(if round % 6 == 5 {
            5000
        } else {
            150
        }));
        story.note_progress(rig);
    }
    story
}

pub(super) fn clocks() -> crate::clock::ClockReading {
    reading(1_800_000_000_000, 1, 1000)
}

fn script(folder: &SimulatedFolder, start: Instant) -> Story {
    match Rig::open(folder, start, clocks()) {
        Ok(mut rig) => play(&mut rig),
        Err(_) => Story::default(),
    }
}

/// Opens what the cut left, checks it, goes on with it, and opens it once more.
fn verify(folder: &SimulatedFolder, mut story: Story, start: Instant) -> Result<(), String> {
    let open = |folder: &SimulatedFolder| {
        Rig::open(folder, start, clocks()).map_err(|error| error.to_string())
    };
    let mut rig = open(folder)?;
    story.check(&rig.restored)?;
    story.settle(&rig.restored.clone());
    let number = rig.restored.next_session;
    story.numbers = vec![number];
    story.put(&mut rig, begun(number, version(number.0, 0)), true);
    story.put(&mut rig, retained("line/1", b"after the cut"), true);
    rig.pass(Duration::from_secs(1));
    story.note_progress(&rig);
    if rig.covered() != rig.last {
        return Err("it does not commit any more".to_owned());
    }
    drop(rig);
    story.check(&open(&folder.after_cut(Unsynced::Dropped))?.restored)
}

/// Lets the power go at `cut` of the script; gives what is wrong afterwards, for each of `fates`.
fn cut_at(
    cut: u64,
    honesty: Honesty,
    fates: &[Unsynced],
    start: Instant,
) -> Vec<Result<(), String>> {
    let folder = SimulatedFolder::new(honesty);
    folder.cut_after(cut);
    let story = script(&folder, start);
    let verified = fates.iter().map(|fate| {
        let mut after = folder.after_cut(*fate);
        if cut.is_multiple_of(3) {
            // The power goes again while the first cut is being dealt with.
            after.cut_after(cut / 3 % 23);
            drop(Rig::open(&after, start, clocks()));
            after = after.after_cut(*fate);
        }
        verify(&after, story.clone(), start)
    });
    verified.collect()
}

fn operations_of_the_script(start: Instant) -> u64 {
    let folder = SimulatedFolder::new(Honesty::Honest);
    let story = script(&folder, start);
    assert!(story.covered.0 > 100, "{:?}", story.covered);
    folder.operations()
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_is_covered() {
    let start = crate::clock::now();
    let operations = operations_of_the_script(start);
    assert!(operations > 300, "{operations} operations");
    for cut in 0..=operations {
        let fates = [
            Unsynced::Dropped,
            if cut.is_multiple_of(4) {
                Unsynced::Kept
            } else {
                Unsynced::Reordered(cut)
            },
        ];
        let checked = cut_at(cut, Honesty::Honest, &fates, start);
        assert_eq!(
            checked,
            [Ok(()), Ok(())],
            "cut at {cut} of {operations}, {fates:?}"
        );
    }
}

#[test]
fn the_oracle_notices_a_medium_that_lies() {
    let start = crate::clock::now();
    let operations = operations_of_the_script(start);
    for honesty in [Honesty::LiesAboutData, Honesty::LiesAboutNames] {
        let cuts = (0..operations).step_by(11);
        let losses = cuts
            .filter(|cut| cut_at(*cut, honesty, &[Unsynced::Dropped], start) != [Ok(())])
            .count();
        assert!(losses > 10, "{honesty:?}: only {losses} losses noticed");
    }
}

#[test]
fn a_passing_fault_at_any_operation_loses_nothing() {
    let start = crate::clock::now();
    let operations = operations_of_the_script(start);
    for fault in (1..operations).step_by(3) {
        let folder = SimulatedFolder::new(Honesty::Honest);
        let Ok(mut rig) = Rig::open(&folder, start, clocks()) else {
            panic!("nothing fails yet")
        };
        folder.fail(fault..fault + 1 + fault % 7);
        let mut story = play(&mut rig);
        for _ in 0..10 {
            rig.pass(Duration::from_secs(60));
        }
        story.note_progress(&rig);
        assert_eq!(rig.committed(), rig.last, "fault at {fault}");
        assert_eq!(rig.shared.lock().error, None);
        drop(rig);
        let after = folder.after_cut(Unsynced::Dropped);
        assert_eq!(verify(&after, story, start), Ok(()), "fault at {fault}");
    }
}

/// A large file with little in it.
fn sparse(start: Instant) -> (SimulatedFolder, Story) {
    let folder = SimulatedFolder::new(Honesty::Honest);
    let mut rig = Rig::open(&folder, start, clocks()).unwrap();
    let mut story = Story::default();
    let number = rig.restored.next_session;
    story.put(&mut rig, begun(number, version(1, 2)), true);
    story.put(&mut rig, subscribed(number, "a/#", 1), true);
    for line in 0..500 {
        let name = format!("line/{line}");
        story.put(&mut rig, retained(&name, &[b'x'; 400]), true);
    }
    rig.pass(Duration::from_secs(1));
    for line in 0..495 {
        let name = format!("line/{line}");
        story.put(&mut rig, StateChange::RetainedGone(topic(&name)), true);
    }
    rig.pass(Duration::from_secs(1));
    story.note_progress(&rig);
    (folder, story)
}

fn size(folder: &SimulatedFolder) -> u64 {
    let files = folder.list().unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].1
}

#[test]
fn a_large_file_with_little_in_it_is_made_anew_and_loses_nothing_at_any_cut() {
    let start = crate::clock::now();
    let (folder, story) = sparse(start);
    let before = size(&folder);
    let whole = folder.after_cut(Unsynced::Kept);
    drop(Rig::open(&whole, start, clocks()).unwrap());
    let (operations, after) = (whole.operations(), size(&whole));
    assert!(after * 4 < before, "{before} to {after} bytes");
    for cut in 0..=operations {
        for fate in [Unsynced::Dropped, Unsynced::Reordered(cut), Unsynced::Kept] {
            let disk = folder.after_cut(Unsynced::Kept);
            disk.cut_after(cut);
            drop(Rig::open(&disk, start, clocks()));
            let checked = verify(&disk.after_cut(fate), story.clone(), start);
            assert_eq!(checked, Ok(()), "cut at {cut} of {operations}, {fate:?}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_made_anew_is_kept() {
    let start = crate::clock::now();
    let (folder, story) = sparse(start);
    let whole = folder.after_cut(Unsynced::Kept);
    drop(Rig::open(&whole, start, clocks()).unwrap());
    for fault in 1..=whole.operations() {
        let disk = folder.after_cut(Unsynced::Kept);
        disk.fail(fault..fault + 1);
        let opened = Rig::open(&disk, start, clocks());
        if let Ok(rig) = &opened {
            assert_eq!(story.check(&rig.restored), Ok(()));
        }
        drop(opened);
        let checked = verify(&disk, story.clone(), start);
        assert_eq!(checked, Ok(()), "fault at {fault}");
    }
}
