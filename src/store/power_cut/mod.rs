//! The power goes at each operation of a scripted run, and the oracle looks at what is found afterwards: everything covered
//! and not done is there, in order, as it was appended; nothing is invented; what was durably done or received still is.
//!
//! The script drives the writer step by step, without its thread and with a clock of its own, so that each run is the same.
//! [`lives`] does the same at random, by the thousands.

pub(super) mod lives;
mod medium;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use self::medium::{Honesty, SimulatedFolder, Unsynced};
use super::core::{Core, Reading};
use super::handle::prepare;
use super::reading::Ask;
use super::shared::{Shared, State};
use super::testing::record_qos;
use super::writer::{Step, Writer};
use super::{Entry, LinkHealth, LogOptions, Outcome, Progress, Record, Seq, StoreError};
use crate::clock::WallTime;
use crate::mqtt::QoS;

const GENERATION_BYTES: u64 = 10 << 10;
const WALL: WallTime = WallTime(1_800_000_000_000);

/// A log without its thread.
struct Rig {
    shared: Arc<Shared<Core>>,
    writer: Writer<Core>,
    now: Instant,
    folder: SimulatedFolder,
}

impl Rig {
    fn open(folder: &SimulatedFolder, start: Instant) -> Result<Self, StoreError> {
        let options = LogOptions {
            // Much less than the script appends, so that the reader has to go to the files.
            hold_bytes: 24 << 10,
            ..LogOptions::new("simulated".into())
        };
        Self::open_with(folder, start, options)
    }

    fn open_with(
        folder: &SimulatedFolder,
        start: Instant,
        options: LogOptions,
    ) -> Result<Self, StoreError> {
        let (shared, writer) = prepare(
            start,
            GENERATION_BYTES,
            Box::new(folder.clone()),
            |loaded, _| Ok(Core::new(options, loaded)),
        )?;
        Ok(Self {
            shared,
            writer,
            now: start,
            folder: folder.clone(),
        })
    }

    fn progress(&self) -> Progress {
        *self.shared.progress.borrow()
    }

    /// Lets time pass, and the writer do what is due by then.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        while !self.folder.is_cut() && self.writer.step(self.now, WALL) == Step::Again {}
    }

    fn read_all(&mut self) -> Vec<Entry> {
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let from = all.last().map_or(0, |entry| entry.seq.0 + 1);
            let entries = self.read(from);
            if entries.is_empty() {
                return all;
            }
            all.extend(entries);
        }
    }

    /// Empty when the reader has caught up, or the power is gone.
    fn read(&mut self, mut from: u64) -> Vec<Entry> {
        loop {
            let now = self.now;
            let reading = self
                .shared
                .with(|state| state.core.read(now, WALL, &Ask::of_reader(from, 7, 40_000)));
            let (from_found, until) = match reading {
                Reading::Ram(entries) => return entries,
                Reading::Files { from, until } => (from, until),
            };
            let ask = Ask {
                until,
                ..Ask::of_reader(from_found, 7, 40_000)
            };
            let mut answer = self.shared.ask(ask).unwrap();
            let reply = loop {
                self.writer.step(self.now, WALL);
                if let Ok(reply) = answer.try_recv() {
                    break reply;
                }
            };
            let (entries, reached) = match reply {
                Ok(found) => found,
                Err(StoreError::Unavailable { .. }) => return Vec::new(),
                Err(error) => panic!("{error}"),
            };
            if !entries.is_empty() {
                return entries;
            }
            from = reached + 1;
        }
    }
}

/// What the script did, and how far the log said it was.
#[derive(Clone, Default)]
struct Story {
    appended: BTreeMap<u64, Record>,
    done: BTreeSet<u64>,
    /// With the number of the commit that makes it durable.
    received: BTreeMap<u64, u64>,
    /// Names of sessions in the order they were kept in, each with the number of its commit.
    sessions: Vec<(u64, String)>,
    progress: Progress,
}

impl Story {
    fn append(&mut self, rig: &Rig, qos: QoS, size: usize) {
        let seq = rig.shared.with(|state| state.core.next_seq()).0;
        let record = record_qos(qos, seq, size);
        self.appended.insert(seq, record.clone());
        let now = rig.now;
        rig.shared
            .with(|state| state.core.append(now, record, None));
    }

    fn done(&mut self, rig: &Rig, seq: u64) {
        self.done.insert(seq);
        let now = rig.now;
        rig.shared
            .with(|state| state.core.done(now, seq, Outcome::Delivered));
    }

    fn received(&mut self, rig: &Rig, seq: u64) {
        let now = rig.now;
        let number = rig.shared.with(|state| state.core.received(now, seq));
        self.received.insert(seq, number.0);
    }

    fn keep_session(&mut self, rig: &Rig, name: String) {
        let now = rig.now;
        let kept = |state: &mut State<Core>| state.core.keep_session(now, Some(&name));
        let number = rig.shared.with(kept);
        self.sessions.push((number.0, name));
    }

    /// The session is the last one that was committed, or one that was kept later.
    fn check_session(&self, rig: &Rig) -> Result<(), String> {
        let found = rig
            .shared
            .with(|state| state.core.session().map(str::to_owned));
        let committed = |(number, _): &(u64, String)| *number <= self.progress.commits.0;
        let from = self.sessions.iter().rposition(committed);
        let later = self.sessions.iter().skip(from.unwrap_or(0));
        let is_right = match &found {
            Some(name) => later.into_iter().any(|(_, kept)| kept == name),
            None => from.is_none(),
        };
        is_right
            .then_some(())
            .ok_or_else(|| format!("{found:?} is not the session of {:?}", self.sessions))
    }

    /// What must be found, is; what is found, was appended.
    fn check(&self, found: &[Entry]) -> Result<(), String> {
        let mut last = 0;
        for entry in found {
            let seq = entry.seq.0;
            if seq <= last {
                return Err(format!("{seq} comes after {last}"));
            }
            last = seq;
            if self.appended.get(&seq) != Some(&entry.record) {
                return Err(format!("{seq} was never appended like this"));
            }
            if seq <= self.progress.cursor.0 {
                return Err(format!("{seq} was done and committed as done"));
            }
            let mark = self.received.get(&seq);
            let must = mark.is_some_and(|number| *number <= self.progress.commits.0);
            if must && !entry.received || entry.received && mark.is_none() {
                return Err(format!("{seq}: the mark of its PUBREC is wrong"));
            }
        }
        for (seq, record) in &self.appended {
            let must = *seq <= self.progress.covered.0
                && record.message.qos != QoS::AtMostOnce
                && !self.done.contains(seq);
            if must && !found.iter().any(|entry| entry.seq.0 == *seq) {
                return Err(format!("{seq} was covered and is gone"));
            }
        }
        Ok(())
    }
}

/// Fills several generations, drains some, marks, holds, and mixes all three QoS. Stops when the power is gone.
fn script(folder: &SimulatedFolder, start: Instant) -> Story {
    match Rig::open(folder, start) {
        Ok(mut rig) => play(&mut rig),
        Err(_) => Story::default(),
    }
}

fn play(rig: &mut Rig) -> Story {
    let mut story = Story::default();
    let tick = Duration::from_millis(100);
    for round in 0_u64..20 {
        let up = round % 4 == 3;
        let link = if up { LinkHealth::Up } else { LinkHealth::Down };
        let now = rig.now;
        rig.shared.with(|state| state.core.link(now, link));
        if round < 3 {
            story.keep_session(rig, format!("session {round}"));
        }
        for number in 0..8 {
            let qos = QoS::from_bits((number % 3) as u8).unwrap();
            story.append(rig, qos, 200 + 60 * number as usize);
        }
        rig.pass(tick);
        if round == 5 {
            story.append(rig, QoS::AtLeastOnce, 70_000);
        }
        if round > 2 {
            // The reader is three rounds behind, so it reads from the files.
            for entry in rig.read(0) {
                let seq = entry.seq.0;
                let qos2 = entry.record.message.qos == QoS::ExactlyOnce;
                if qos2 && !story.received.contains_key(&seq) {
                    story.received(rig, seq);
                } else if seq % 5 != 0 || round > 12 {
                    story.done(rig, seq);
                }
            }
        }
        rig.pass(tick * 11);
        if rig.folder.is_cut() {
            break;
        }
    }
    story.progress = rig.progress();
    story
}

/// Opens what the cut left, checks it, goes on with it, and opens it once more.
fn verify(folder: &SimulatedFolder, story: &mut Story, start: Instant) -> Result<(), String> {
    let mut rig = Rig::open(folder, start).map_err(|error| error.to_string())?;
    let found = rig.read_all();
    story.check(&found)?;
    story.check_session(&rig)?;
    if found.iter().any(|entry| !entry.maybe_sent) {
        return Err("a message of an earlier start looks like one of this".to_owned());
    }
    let next = rig.shared.with(|state| state.core.next_seq()).0;
    if next
        <= story
            .progress
            .covered
            .0
            .min(found.last().map_or(0, |entry| entry.seq.0))
    {
        return Err(format!("position {next} is used twice"));
    }
    // What was appended and not covered is gone or not, as it was found; positions that no file tells of come again.
    story.appended.retain(|seq, _| *seq < next);
    story.done.retain(|seq| *seq < next);
    story.progress.cursor = rig.progress().cursor;
    story.received.retain(|seq, _| {
        found
            .iter()
            .any(|entry| entry.seq.0 == *seq && entry.received)
    });
    for number in story.received.values_mut() {
        *number = 0;
    }
    story.append(&rig, QoS::AtLeastOnce, 500);
    rig.pass(Duration::from_secs(1));
    story.progress = Progress {
        covered: rig.progress().covered.min(story.progress.covered),
        ..story.progress
    };
    if rig.progress().covered != Seq(next) {
        return Err("it does not commit any more".to_owned());
    }
    drop(rig);
    let mut rig = Rig::open(&folder.after_cut(Unsynced::Dropped), start)
        .map_err(|error| error.to_string())?;
    let again = rig.read_all();
    story.check(&again)?;
    match again.last() {
        Some(entry) if entry.seq == Seq(next) => Ok(()),
        _ => Err("what was appended after the cut is gone".to_owned()),
    }
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
        if cut.is_multiple_of(5) {
            // The power goes again while the first cut is being dealt with.
            after.cut_after(cut / 5 % 23);
            drop(Rig::open(&after, start));
            after = after.after_cut(*fate);
        }
        verify(&after, &mut story.clone(), start)
    });
    verified.collect()
}

fn operations_of_the_script(start: Instant) -> u64 {
    let folder = SimulatedFolder::new(Honesty::Honest);
    let story = script(&folder, start);
    assert!(story.progress.covered.0 > 90, "{:?}", story.progress);
    assert!(story.progress.cursor.0 > 20, "{:?}", story.progress);
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
fn a_passing_fault_at_any_operation_loses_nothing_and_writes_nothing_twice() {
    let start = crate::clock::now();
    let operations = operations_of_the_script(start);
    for fault in (1..operations).step_by(5) {
        let folder = SimulatedFolder::new(Honesty::Honest);
        let Ok(mut rig) = Rig::open(&folder, start) else {
            panic!("nothing fails yet")
        };
        folder.fail(fault..fault + 1 + fault % 7);
        let mut story = play(&mut rig);
        for _ in 0..10 {
            rig.pass(Duration::from_secs(60));
        }
        story.progress = rig.progress();
        assert_eq!(
            story.progress.covered, story.progress.appended,
            "fault at {fault}"
        );
        assert_eq!(rig.shared.with(|state| state.error.clone()), None);
        let found = rig.read_all();
        assert_eq!(story.check(&found), Ok(()), "fault at {fault}");
        let messages = rig.shared.with(|state| state.core.stats().messages);
        assert_eq!(messages, found.len() as u64, "fault at {fault}");
        drop(rig);
        let after = folder.after_cut(Unsynced::Dropped);
        assert_eq!(
            verify(&after, &mut story, start),
            Ok(()),
            "fault at {fault}"
        );
    }
}
