//! The same for the session log: a day of four sessions, cut at every operation. Everything covered is there for every
//! session that wants it, in order and under the same packet id; nothing that was done and committed comes back; marks
//! are there with their messages, and exactly until their removal is committed; nothing is invented.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::handle::prepare;
use super::super::keeper::Keeper;
use super::super::reading::Ask;
use super::super::sessions::{Reading, SessionCore};
use super::super::shared::Shared;
use super::super::testing::record_qos;
use super::super::writer::{Step, Writer};
use super::super::{
    Mark, Outcome, Progress, SessionEntry, SessionLogOptions, SessionNumber, StoreError, Want,
};
use super::medium::{Honesty, SimulatedFolder, Unsynced};
use super::{GENERATION_BYTES, WALL};
use crate::clock::Timeline;
use crate::mqtt::{PacketId, QoS, SubscriptionIds};

/// A session log without its thread.
pub(super) struct Rig {
    pub(super) shared: Arc<Shared<SessionCore>>,
    pub(super) writer: Writer<SessionCore>,
    pub(super) now: Instant,
    folder: SimulatedFolder,
}

fn number(session: u64) -> SessionNumber {
    SessionNumber(session)
}

impl Rig {
    fn open(folder: &SimulatedFolder, start: Instant) -> Result<Self, StoreError> {
        let options = SessionLogOptions {
            // Much less than the script appends, so that readers have to go to the files.
            hold_bytes: 16 << 10,
            ..SessionLogOptions::new("simulated".into())
        };
        let known = (1..=4).map(SessionNumber).collect();
        Self::open_with(folder, start, options, &known)
    }

    pub(super) fn open_with(
        folder: &SimulatedFolder,
        start: Instant,
        options: SessionLogOptions,
        known: &BTreeSet<SessionNumber>,
    ) -> Result<Self, StoreError> {
        let timeline = Timeline::new(start, 0);
        let (shared, writer) = prepare(
            start,
            GENERATION_BYTES,
            Box::new(folder.clone()),
            |loaded, survey| SessionCore::open(start, options, timeline, known, loaded, survey),
        )?;
        Ok(Self {
            shared,
            writer,
            now: start,
            folder: folder.clone(),
        })
    }

    pub(super) fn core<T>(&self, call: impl FnOnce(&mut SessionCore) -> T) -> T {
        self.shared.with(|state| call(&mut state.core))
    }

    pub(super) fn progress(&self) -> Progress {
        *self.shared.progress.borrow()
    }

    /// Lets time pass, and the writer do what is due by then.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        while !self.folder.is_cut() && self.writer.step(self.now, WALL) == Step::Again {}
    }

    pub(super) fn read_all(&mut self, session: u64) -> Vec<SessionEntry> {
        let mut all: Vec<SessionEntry> = Vec::new();
        loop {
            let after = all.last().map_or(0, |entry| entry.seq.0);
            let (entries, is_all) = self.read(session, after);
            all.extend(entries);
            if is_all {
                return all;
            }
        }
    }

    /// As the handle does it; nothing, and all, when the power is gone.
    pub(super) fn read(&mut self, session: u64, after: u64) -> (Vec<SessionEntry>, bool) {
        loop {
            let now = self.now;
            let reading = self.core(|core| core.read(now, number(session), after, 7, 40_000));
            let (from, until) = match reading {
                Reading::Ram(entries, is_all) => return (entries, is_all),
                Reading::Files { from, until } => (from, until),
            };
            let ask = Ask {
                session: Some(number(session)),
                from,
                until,
                messages: 7,
                bytes: 40_000,
                takes: true,
            };
            let mut answer = self.shared.ask(ask).unwrap();
            let reply = loop {
                self.writer.step(self.now, WALL);
                if let Ok(reply) = answer.try_recv() {
                    break reply;
                }
            };
            let mut entries = match reply {
                Ok((entries, _)) => entries,
                Err(StoreError::Unavailable { .. }) => return (Vec::new(), true),
                Err(error) => panic!("{error}"),
            };
            entries.retain(|entry| entry.seq.0 > after);
            if !entries.is_empty() {
                return (entries, false);
            }
        }
    }
}

/// What became of a want.
#[derive(Clone, Debug, Default)]
struct Fate {
    packet_id: u16,
    /// The commit that makes it durable.
    done: Option<u64>,
    received: Option<u64>,
}

/// What the script did, and how far the log said it was.
#[derive(Clone, Default)]
struct Story {
    /// By session and position.
    wants: BTreeMap<u64, BTreeMap<u64, Fate>>,
    /// With the position of the message, and the commit that removes it.
    marks: BTreeMap<Mark, (u64, Option<u64>)>,
    /// The commit that makes it durable.
    forgotten: BTreeMap<u64, u64>,
    next_ids: BTreeMap<u64, u16>,
    progress: Progress,
}

const SIZE: usize = 300;

impl Story {
    fn append(&mut self, rig: &Rig, sessions: &[u64], qos: QoS, hold: bool, marked: bool) -> u64 {
        let seq = rig.core(|core| core.next_seq()).0;
        let mut wants = Vec::new();
        for session in sessions {
            let id = self.next_ids.entry(*session).or_insert(1);
            wants.push(Want {
                session: number(*session),
                packet_id: PacketId::new(*id).unwrap(),
                qos,
                retain: *session == 2,
                subscription_ids: SubscriptionIds::from((*session == 3).then_some(77)),
            });
            let fate = Fate {
                packet_id: *id,
                ..Fate::default()
            };
            self.wants.entry(*session).or_default().insert(seq, fate);
            *id += 1;
        }
        let mark = marked.then(|| Mark {
            session: number(1),
            packet_id: PacketId::new(u16::try_from(seq).unwrap()).unwrap(),
        });
        if let Some(mark) = mark {
            self.marks.insert(mark, (seq, None));
        }
        let message = record_qos(qos, seq, SIZE).message;
        rig.core(|core| core.append(rig.now, message, wants, mark, hold));
        seq
    }

    /// Where no commit is under way, the next one says what is true now.
    fn next_commit(rig: &Rig) -> u64 {
        rig.progress().commits.0 + 1
    }

    fn done(&mut self, rig: &Rig, session: u64, seq: u64) {
        if let Some(fate) = self.wants.entry(session).or_default().get_mut(&seq) {
            fate.done.get_or_insert_with(|| Self::next_commit(rig));
        }
        rig.core(|core| core.done(rig.now, number(session), seq, Outcome::Delivered));
    }

    fn received(&mut self, rig: &Rig, session: u64, seq: u64) {
        let promised = rig.core(|core| core.received(rig.now, number(session), seq));
        if let Some(fate) = self.wants.entry(session).or_default().get_mut(&seq) {
            fate.received.get_or_insert(promised.0);
        }
    }

    /// Of a session that was never handed anything.
    fn skip(&mut self, rig: &Rig, session: u64, count: usize) {
        let next = Self::next_commit(rig);
        let wants = self.wants.entry(session).or_default().values_mut();
        for fate in wants.filter(|fate| fate.done.is_none()).take(count) {
            fate.done = Some(next);
        }
        rig.core(|core| core.skip_oldest(rig.now, number(session), count as u64));
    }

    fn unmark(&mut self, rig: &Rig) {
        let set = self.marks.iter_mut();
        let oldest = set.filter(|(_, (_, removed))| removed.is_none());
        if let Some((mark, (_, removed))) = oldest.min_by_key(|(_, (seq, _))| *seq) {
            *removed = Some(rig.core(|core| core.unmark(rig.now, *mark)).0);
        }
    }

    fn forget(&mut self, rig: &Rig, session: u64) {
        let promised = rig.core(|core| core.forget(rig.now, number(session)));
        self.forgotten.insert(session, promised.0);
    }

    /// What must be found, is; what is found, was appended.
    fn check(
        &self,
        found: &BTreeMap<u64, Vec<SessionEntry>>,
        marks: &[Mark],
    ) -> Result<(), String> {
        let commits = self.progress.commits.0;
        let is_committed = |number: Option<u64>| number.is_some_and(|number| number <= commits);
        for (session, entries) in found {
            let forgotten = self.forgotten.get(session).copied();
            if is_committed(forgotten) && !entries.is_empty() {
                return Err(format!("session {session} was forgotten"));
            }
            let wants = self.wants.get(session).cloned().unwrap_or_default();
            let mut last = 0;
            for entry in entries {
                let seq = entry.seq.0;
                let Some(fate) = wants.get(&seq) else {
                    return Err(format!("{seq} was never wanted by {session}"));
                };
                let message = record_qos(entry.message.qos, seq, SIZE).message;
                let is_right = entry.message == message
                    && entry.want.packet_id.get() == fate.packet_id
                    && entry.want.retain == (*session == 2)
                    && entry.want.subscription_ids.len() == usize::from(*session == 3);
                if seq <= last || !is_right {
                    return Err(format!("{seq} comes after {last}, or is not as it was"));
                }
                if is_committed(fate.done) {
                    return Err(format!("{seq} was done by {session}, and committed"));
                }
                let must = is_committed(fate.received);
                if must && !entry.received || entry.received && fate.received.is_none() {
                    return Err(format!("{seq}: the mark of its PUBREC is wrong"));
                }
                last = seq;
            }
            for (seq, fate) in &wants {
                let must = *seq <= self.progress.covered.0 && fate.done.is_none();
                let is_there = entries.iter().any(|entry| entry.seq.0 == *seq);
                if must && forgotten.is_none() && !is_there {
                    return Err(format!("{seq} was covered and is gone for {session}"));
                }
            }
        }
        self.check_marks(found, marks)
    }

    fn check_marks(
        &self,
        found: &BTreeMap<u64, Vec<SessionEntry>>,
        marks: &[Mark],
    ) -> Result<(), String> {
        if let Some(mark) = marks.iter().find(|mark| !self.marks.contains_key(mark)) {
            return Err(format!("{mark:?} was never set"));
        }
        for (mark, (seq, removed)) in &self.marks {
            let is_set = marks.contains(mark);
            let is_there = found.values().flatten().any(|entry| entry.seq.0 == *seq);
            let mut fates = self.wants.values().filter_map(|wants| wants.get(seq));
            let is_undone = fates.any(|fate| fate.done.is_none());
            let covered = *seq <= self.progress.covered.0;
            if is_set && removed.is_some_and(|number| number <= self.progress.commits.0) {
                return Err(format!("{mark:?} was removed, and committed"));
            }
            if !is_set && removed.is_none() && (covered || is_there) {
                return Err(format!("the mark of {seq} is gone"));
            }
            if is_set && is_undone && !is_there && self.forgotten.is_empty() {
                return Err(format!("{seq} is gone, and its mark is there"));
            }
        }
        Ok(())
    }
}

fn script(folder: &SimulatedFolder, start: Instant) -> Story {
    match Rig::open(folder, start) {
        Ok(mut rig) => play(&mut rig),
        Err(_) => Story::default(),
    }
}

/// Session 1 keeps up and answers out of order, 2 comes by now and then, 3 is away until late, 4 ends.
fn play(rig: &mut Rig) -> Story {
    let mut story = Story::default();
    let tick = Duration::from_millis(100);
    for round in 0_u64..22 {
        for place in 0..6 {
            let qos = if place % 2 == 0 {
                QoS::AtLeastOnce
            } else {
                QoS::ExactlyOnce
            };
            let sessions: &[u64] = match place {
                0 => &[1],
                1 => &[1, 2],
                2 if round % 6 == 0 => &[1, 2, 3],
                3 if round < 6 => &[1, 4],
                4 => &[2],
                _ => &[1],
            };
            let marked = qos == QoS::ExactlyOnce;
            let seq = story.append(rig, sessions, qos, place == 0, marked);
            if place == 0 && round % 2 == 0 {
                story.done(rig, 1, seq);
            }
        }
        rig.pass(tick);
        for (at, entry) in rig.read(1, 0).0.into_iter().rev().enumerate() {
            let is_qos2 = entry.want.qos == QoS::ExactlyOnce;
            rig.core(|core| core.sent(number(1), entry.seq.0));
            if is_qos2 && !entry.received {
                story.received(rig, 1, entry.seq.0);
            } else if at != 3 || round % 2 == 0 {
                story.done(rig, 1, entry.seq.0);
            }
        }
        if round % 4 == 3 {
            for entry in rig.read_all(2) {
                story.done(rig, 2, entry.seq.0);
            }
        }
        if round == 9 {
            story.forget(rig, 4);
        }
        if round == 14 {
            story.skip(rig, 3, 1);
        }
        if round > 18 {
            for entry in rig.read(3, 0).0.into_iter().skip(1) {
                story.done(rig, 3, entry.seq.0);
            }
        }
        if round % 2 == 1 {
            story.unmark(rig);
        }
        rig.pass(tick * 11);
        if rig.folder.is_cut() {
            break;
        }
    }
    story.progress = rig.progress();
    story
}

type Seen = (BTreeMap<u64, Vec<SessionEntry>>, Vec<Mark>);

/// What is there for all sessions; each session's count is as what it gets.
fn look(rig: &mut Rig) -> Result<Seen, String> {
    let mut found = BTreeMap::new();
    for session in 1..=4 {
        let counted = rig.core(|core| core.standing(number(session)).messages);
        let entries = rig.read_all(session);
        if counted != entries.len() as u64 {
            return Err(format!(
                "{session} has {counted}, and gets {}",
                entries.len()
            ));
        }
        found.insert(session, entries);
    }
    let lost = rig.core(|core| core.stats().lost);
    if lost > 0 {
        return Err(format!("{lost} are counted as lost"));
    }
    Ok((found, rig.core(|core| core.marks())))
}

/// Opens what the cut left, checks it, goes on with it, and opens it once more.
fn verify(folder: &SimulatedFolder, story: &mut Story, start: Instant) -> Result<(), String> {
    let mut rig = Rig::open(folder, start).map_err(|error| error.to_string())?;
    let (found, marks) = look(&mut rig)?;
    story.check(&found, &marks)?;
    let next = rig.core(|core| core.next_seq()).0;
    let highest = found.values().flatten().map(|entry| entry.seq.0).max();
    if next <= highest.unwrap_or(0) {
        return Err(format!("position {next} is used twice"));
    }
    // From here on what was found is what there is.
    for (session, wants) in &mut story.wants {
        wants.retain(|seq, _| found[session].iter().any(|entry| entry.seq.0 == *seq));
        for (seq, fate) in wants {
            fate.done = None;
            let entry = found[session].iter().find(|entry| entry.seq.0 == *seq);
            fate.received = entry.and_then(|entry| entry.received.then_some(0));
        }
    }
    story.marks.retain(|mark, _| marks.contains(mark));
    for (_, removed) in story.marks.values_mut() {
        *removed = None;
    }
    story.forgotten.clear();
    story.progress = Progress::default();
    let seq = story.append(&rig, &[1, 3], QoS::ExactlyOnce, false, true);
    rig.pass(Duration::from_secs(2));
    if rig.progress().covered.0 != seq {
        return Err("it does not commit any more".to_owned());
    }
    story.progress = rig.progress();
    drop(rig);
    let mut rig = Rig::open(&folder.after_cut(Unsynced::Dropped), start)
        .map_err(|error| error.to_string())?;
    let (found, marks) = look(&mut rig)?;
    story.check(&found, &marks)
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

/// The script without a cut does what it is there for.
fn operations_of_the_script(start: Instant) -> u64 {
    let folder = SimulatedFolder::new(Honesty::Honest);
    let mut rig = Rig::open(&folder, start).unwrap();
    let story = play(&mut rig);
    assert!(story.progress.covered.0 > 120, "{:?}", story.progress);
    assert_eq!(rig.core(|core| core.stats().lost), 0);
    folder.operations()
}

#[test]
fn the_script_rolls_unlinks_and_rewrites() {
    let start = crate::clock::now();
    let folder = SimulatedFolder::new(Honesty::Honest);
    let mut rig = Rig::open(&folder, start).unwrap();
    let story = play(&mut rig);
    let left = rig.core(|core| core.ledger().summaries());
    let numbers: Vec<_> = left.iter().map(|summary| summary.number).collect();
    assert!(numbers.iter().any(|number| *number >= 4), "{numbers:?}");
    let sealed = left.iter().take(left.len() - 1);
    let kept = sealed.map(|summary| summary.count).min();
    assert!(
        kept.is_some_and(|kept| kept <= 4),
        "{left:?}, {:?}",
        story.progress
    );
}

#[test]
fn a_power_cut_at_any_operation_takes_nothing_from_any_session() {
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
fn the_oracle_of_sessions_notices_a_medium_that_lies() {
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
fn a_passing_fault_at_any_operation_takes_nothing_from_any_session() {
    let start = crate::clock::now();
    let operations = operations_of_the_script(start);
    for fault in (1..operations).step_by(5) {
        let folder = SimulatedFolder::new(Honesty::Honest);
        let mut rig = Rig::open(&folder, start).unwrap();
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
        drop(rig);
        let after = folder.after_cut(Unsynced::Dropped);
        assert_eq!(
            verify(&after, &mut story, start),
            Ok(()),
            "fault at {fault}"
        );
    }
}
