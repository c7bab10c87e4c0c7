//! The rules of the session log, without files: the writer thread is played by hand, with a map for the files.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::keeper::{Chore, Commit, Keeper, Loaded};
use super::super::ledger::Summary;
use super::super::pace::HOLD_PAUSE;
use super::super::reading::{Allowance, Ask, Found, Judged};
use super::super::record::Stored;
use super::super::testing::record_qos;
use super::super::{
    CommitNumber, Mark, Outcome, Seq, SessionEntry, SessionLogOptions, SessionNumber,
    SessionStanding, Want,
};
use super::*;
use crate::clock::{Timeline, WallTime};
use crate::mqtt::{PacketId, QoS, SubscriptionIds};

const INTERVAL: Duration = Duration::from_millis(100);
const HOLD: Duration = Duration::from_millis(500);
/// From a message that is held to the commit that takes it.
const HELD: Duration = HOLD.saturating_add(INTERVAL);
const WALL: WallTime = WallTime(1_800_000_000_000);
/// A generation is sealed at so many messages.
const GENERATION: u64 = 20;

/// What the files would hold.
#[derive(Clone, Debug, Default)]
struct Disk {
    /// By generation: messages by position.
    files: BTreeMap<u64, BTreeMap<u64, Stored>>,
    rows: BTreeMap<SessionNumber, SessionRow>,
    marks: BTreeSet<Mark>,
}

impl Disk {
    fn write(&mut self, commit: &Commit) -> Summary {
        let active = *self.files.keys().next_back().unwrap();
        let file = self.files.get_mut(&active).unwrap();
        let mut landed = Summary::empty(active);
        for (seq, record) in &commit.records {
            file.insert(*seq, record.clone());
            landed.add(&summary(active, [*seq]));
        }
        self.put(&commit.rows);
        landed
    }

    fn put(&mut self, rows: &super::super::keeper::Rows) {
        if rows.whole {
            self.rows.clear();
            self.marks.clear();
        }
        for (session, row) in &rows.sessions {
            match row {
                Some(row) => {
                    let stored = SessionRow::decode(row.encode().into()).unwrap();
                    self.rows.insert(*session, stored)
                }
                None => self.rows.remove(session),
            };
        }
        for (mark, is_set) in &rows.marks {
            if *is_set {
                self.marks.insert(*mark);
            } else {
                self.marks.remove(mark);
            }
        }
    }

    fn loaded(&self) -> Loaded {
        let files = self.files.iter();
        let files = files.map(|(number, file)| (summary(*number, file.keys().copied()), 1000));
        Loaded {
            epoch: 1,
            sessions: self.rows.clone(),
            marks: self.marks.iter().copied().collect(),
            files: files.collect(),
            ..Loaded::default()
        }
    }
}

fn summary(number: u64, seqs: impl IntoIterator<Item = u64>) -> Summary {
    let mut summary = Summary::empty(number);
    for seq in seqs {
        summary.add(&Summary {
            number,
            first: seq,
            last: seq,
            count: 1,
            bytes: 1 << 20,
            oldest: 0,
            newest: 0,
        });
    }
    summary
}

/// A core with its files.
struct Bench {
    core: SessionCore,
    disk: Disk,
    now: Instant,
    next_id: u16,
}

fn options(hold_bytes: usize) -> SessionLogOptions {
    SessionLogOptions {
        commit_interval: INTERVAL,
        hold: HOLD,
        hold_bytes,
        ..SessionLogOptions::new("none".into())
    }
}

fn bench_with(hold_bytes: usize) -> Bench {
    let mut disk = Disk::default();
    disk.files.insert(1, BTreeMap::new());
    start(disk, hold_bytes, &[])
}

fn bench() -> Bench {
    bench_with(1 << 20)
}

fn start(disk: Disk, hold_bytes: usize, known: &[u64]) -> Bench {
    let now = crate::clock::now();
    let known = known.iter().copied().map(SessionNumber).collect();
    let timeline = Timeline::new(now, 0);
    Bench {
        core: SessionCore::new(now, options(hold_bytes), timeline, &known, disk.loaded()),
        disk,
        now,
        next_id: 1,
    }
}

fn number(session: u64) -> SessionNumber {
    SessionNumber(session)
}

impl Bench {
    fn append(&mut self, sessions: &[u64], qos: QoS) -> u64 {
        self.append_held(sessions, qos, false)
    }

    fn append_held(&mut self, sessions: &[u64], qos: QoS, hold: bool) -> u64 {
        let seq = self.core.next_seq().0;
        let wants = sessions.iter().map(|session| Want {
            session: number(*session),
            packet_id: PacketId::new(self.next_id).unwrap(),
            qos,
            retain: false,
            subscription_ids: SubscriptionIds::default(),
        });
        let wants = wants.collect();
        self.next_id += 1;
        let message = record_qos(qos, seq, 100).message;
        self.core.append(self.now, message, wants, None, hold);
        seq
    }

    fn done(&mut self, session: u64, seq: u64) {
        self.core
            .done(self.now, number(session), seq, Outcome::Delivered);
    }

    fn due_in(&self) -> Option<Duration> {
        let due = self.core.due();
        due.map(|due| due.saturating_duration_since(self.now))
    }

    fn commit(&mut self) -> Option<Vec<u64>> {
        let commit = self.core.commit(self.now, false)?;
        Some(self.land(&commit))
    }

    fn commit_all(&mut self) {
        while let Some(commit) = self.core.commit(self.now, true) {
            self.land(&commit);
        }
    }

    fn land(&mut self, commit: &Commit) -> Vec<u64> {
        let landed = self.disk.write(commit);
        self.core.committed(self.now, &landed);
        commit.records.iter().map(|(seq, _)| *seq).collect()
    }

    /// Rolls a full generation and does what is due about the others.
    fn keep_house(&mut self) {
        let active = self.core.ledger().active().unwrap().summary;
        if active.count >= GENERATION {
            let rows = self.core.carried();
            self.disk.put(&rows);
            self.disk.files.insert(active.number + 1, BTreeMap::new());
            self.core.rolled(active.number + 1, active.bytes);
        }
        match self.core.chore(self.now, WALL) {
            None => {}
            Some(Chore::Unlink(number)) => {
                self.disk.files.remove(&number);
                self.core.unlinked(number);
            }
            Some(Chore::Drop(number)) => {
                self.disk.files.remove(&number);
                self.core.dropped_file(self.now, number);
            }
            Some(Chore::Rewrite(number, survivors)) => {
                let file = self.disk.files.get_mut(&number).unwrap();
                file.retain(|seq, record| {
                    let wants = &mut record.wants;
                    wants.retain(|want| survivors.want(*seq, want.session));
                    !wants.is_empty()
                });
                let left = summary(number, file.keys().copied());
                self.core.rewritten(self.now, &left, 1000);
            }
        }
    }

    fn read(&mut self, session: u64, after: u64, messages: usize) -> (Vec<SessionEntry>, bool) {
        loop {
            let read = self
                .core
                .read(self.now, number(session), after, messages, 1 << 20);
            let (from, until) = match read {
                Reading::Ram(entries, is_all) => return (entries, is_all),
                Reading::Files { from, until } => (from, until),
            };
            let ask = Ask {
                session: Some(number(session)),
                from,
                until,
                messages,
                bytes: 1 << 20,
                takes: true,
            };
            let mut entries = self.answer(ask);
            entries.retain(|entry| entry.seq.0 > after);
            if !entries.is_empty() {
                return (entries, false);
            }
        }
    }

    /// As the thread does it.
    fn answer(&mut self, mut ask: Ask) -> Vec<SessionEntry> {
        loop {
            let mut found = Found {
                reached: ask.from - 1,
                ..Found::default()
            };
            match self.core.holding(&ask) {
                None => found.reached = ask.until,
                Some((generation, until)) => {
                    let mut allowance = Allowance::new(&ask);
                    let mut is_whole = true;
                    for (seq, record) in self.disk.files[&generation].range(ask.from..=until) {
                        match allowance.judge(record) {
                            Judged::TooMuch => {
                                is_whole = false;
                                break;
                            }
                            Judged::Passed => {}
                            Judged::Taken => found.records.push((*seq, 1, record.clone())),
                        }
                        found.reached = *seq;
                    }
                    if is_whole {
                        found.reached = until;
                    }
                }
            }
            let reached = found.reached;
            let entries = self.core.found(self.now, WALL, &ask, found);
            if !entries.is_empty() || reached >= ask.until {
                return entries;
            }
            ask.from = reached + 1;
        }
    }

    fn read_all(&mut self, session: u64, messages: usize) -> Vec<SessionEntry> {
        let mut all: Vec<SessionEntry> = Vec::new();
        loop {
            let after = all.last().map_or(0, |entry| entry.seq.0);
            let (entries, is_all) = self.read(session, after, messages);
            all.extend(entries);
            if is_all {
                return all;
            }
        }
    }

    fn seqs(&mut self, session: u64) -> Vec<u64> {
        let entries = self.read_all(session, 7);
        entries.iter().map(|entry| entry.seq.0).collect()
    }

    fn standing(&self, session: u64) -> SessionStanding {
        self.core.standing(number(session))
    }
}

use QoS::{AtLeastOnce, ExactlyOnce};

#[test]
fn a_message_is_written_once_for_all_who_want_it() {
    let mut bench = bench();
    bench.append(&[1, 2], AtLeastOnce);
    bench.append(&[2], AtLeastOnce);
    bench.now += INTERVAL;
    assert_eq!(bench.commit(), Some(vec![1, 2]));
    assert_eq!(bench.core.progress().covered, Seq(2));
    assert_eq!(bench.seqs(1), [1]);
    assert_eq!(bench.seqs(2), [1, 2]);
    assert_eq!(bench.standing(2).messages, 2);
    assert_eq!(bench.standing(2).last_packet_id, PacketId::new(2));
}

#[test]
fn who_wants_a_message_is_found_whatever_the_order() {
    let mut bench = bench();
    bench.append(&[3, 1, 2], AtLeastOnce);
    for session in [1, 2, 3] {
        assert_eq!(bench.seqs(session), [1]);
    }
    for session in [2, 3, 1] {
        bench.done(session, 1);
        assert!(bench.seqs(session).is_empty());
    }
    assert_eq!(bench.core.progress().covered, Seq(1));
}

#[test]
fn a_message_acknowledged_by_all_while_held_is_covered_and_never_written() {
    let mut bench = bench();
    bench.append_held(&[1, 2], AtLeastOnce, true);
    assert_eq!(bench.due_in(), Some(HELD));
    bench.done(1, 1);
    assert_eq!(bench.core.progress().covered, Seq(0), "2 has not answered");
    bench.done(2, 1);
    assert_eq!(bench.core.progress().covered, Seq(1));
    assert_eq!(bench.due_in(), None);
    assert!(bench.core.commit(bench.now + HELD, true).is_none());
}

#[test]
fn holding_pauses_when_it_spares_less_than_it_writes() {
    let mut bench = bench();
    bench.append_held(&[1], AtLeastOnce, true);
    bench.now += HELD;
    bench.commit();
    bench.append_held(&[1], AtLeastOnce, true);
    assert_eq!(bench.due_in(), Some(INTERVAL), "none spared");
    bench.now += HOLD_PAUSE;
    bench.commit();
    bench.append_held(&[1], AtLeastOnce, true);
    assert_eq!(bench.due_in(), Some(HELD), "tried again");
}

#[test]
fn a_restart_finds_what_was_committed_and_not_done() {
    let mut bench = bench();
    for _ in 0..10 {
        bench.append(&[1], AtLeastOnce);
    }
    bench.commit_all();
    bench.core.sent(number(1), 6);
    for seq in [5, 1, 2] {
        bench.done(1, seq);
    }
    bench.commit_all();
    let mut again = start(bench.disk, 1 << 20, &[1]);
    assert_eq!(again.standing(1).messages, 7);
    assert_eq!(again.standing(1).sent, Seq(6));
    assert_eq!(again.seqs(1), [3, 4, 6, 7, 8, 9, 10]);
    assert_eq!(again.append(&[1], AtLeastOnce), 11);
}

#[test]
fn what_was_done_before_its_commit_ended_stays_done() {
    let mut bench = bench();
    bench.append(&[1], AtLeastOnce);
    bench.append(&[1], AtLeastOnce);
    let commit = bench.core.commit(bench.now, true).unwrap();
    bench.done(1, 1);
    bench.land(&commit);
    assert_eq!(bench.standing(1).messages, 1);
    bench.commit_all();
    let mut again = start(bench.disk, 1 << 20, &[1]);
    assert_eq!(again.seqs(1), [2]);
}

#[test]
fn a_received_mark_names_the_commit_that_holds_it() {
    let mut bench = bench();
    bench.append(&[1], ExactlyOnce);
    let commit = bench.core.commit(bench.now, true).unwrap();
    let number = bench.core.received(bench.now, number(1), 1);
    assert_eq!(number, CommitNumber(2), "the one under way is too early");
    bench.land(&commit);
    assert!(!bench.read_all(1, 9)[0].received);
    bench.commit_all();
    assert_eq!(bench.core.progress().commits, number);
    assert!(bench.read_all(1, 9)[0].received);
    let mut again = start(bench.disk, 1 << 20, &[1]);
    assert!(again.read_all(1, 9)[0].received);
}

#[test]
fn what_is_queued_takes_no_ram_beyond_the_tail() {
    let mut bench = bench_with(2000);
    for _ in 0..200 {
        bench.append(&[1, 2], AtLeastOnce);
        bench.commit_all();
        bench.keep_house();
    }
    for session in bench.core.sessions.values() {
        assert!(session.recent.len() + session.open.len() < 20);
        assert!(session.is_behind());
    }
    assert_eq!(bench.standing(1).messages, 200);
    assert_eq!(bench.seqs(1), (1..=200).collect::<Vec<_>>());
    assert!(!bench.core.sessions[&number(1)].is_behind());
}

#[test]
fn a_generation_goes_when_nobody_wants_it_any_more_and_the_files_say_so() {
    let mut bench = bench_with(2000);
    for _ in 0..50 {
        bench.append(&[1, 2], AtLeastOnce);
        bench.commit_all();
        bench.keep_house();
    }
    assert_eq!(bench.disk.files.len(), 3);
    for seq in bench.seqs(1) {
        bench.done(1, seq);
    }
    bench.commit_all();
    bench.keep_house();
    assert_eq!(bench.disk.files.len(), 3, "2 wants them");
    for seq in bench.seqs(2) {
        bench.done(2, seq);
    }
    bench.keep_house();
    assert_eq!(
        bench.disk.files.len(),
        3,
        "after a crash they would be wanted"
    );
    bench.commit_all();
    bench.keep_house();
    bench.keep_house();
    assert_eq!(bench.disk.files.len(), 1);
    assert_eq!(start(bench.disk, 2000, &[1, 2]).core.stats().messages, 0);
}

#[test]
fn an_old_message_does_not_pin_a_whole_generation() {
    let mut bench = bench_with(2000);
    for seq in 1..=GENERATION {
        let sessions: &[u64] = if seq == 5 { &[1, 2] } else { &[1] };
        bench.append(sessions, AtLeastOnce);
        bench.commit_all();
    }
    bench.keep_house();
    for seq in bench.seqs(1) {
        bench.done(1, seq);
    }
    bench.keep_house();
    bench.commit_all();
    bench.keep_house();
    let left: Vec<_> = bench.disk.files[&1].keys().copied().collect();
    assert_eq!(left, [5]);
    assert_eq!(bench.seqs(2), [5]);
    bench.commit_all();
    assert_eq!(start(bench.disk, 2000, &[1, 2]).seqs(2), [5]);
}

#[test]
fn what_is_to_be_skipped_is_no_reason_to_rewrite() {
    let mut bench = bench_with(2000);
    for _ in 0..2 * GENERATION {
        bench.append(&[1], AtLeastOnce);
        bench.commit_all();
        bench.keep_house();
    }
    bench.core.skip_oldest(bench.now, number(1), GENERATION - 1);
    bench.commit_all();
    assert!(bench.core.chore(bench.now, WALL).is_none());
    assert!(bench.core.rewrite.is_none(), "only its count is known");
    bench.core.skip_oldest(bench.now, number(1), 1);
    bench.commit_all();
    let chore = bench.core.chore(bench.now, WALL);
    assert!(matches!(chore, Some(Chore::Unlink(1))), "{chore:?}");
}

#[test]
fn the_oldest_are_skipped_without_being_read() {
    let mut bench = bench_with(2000);
    for _ in 0..50 {
        bench.append(&[1], AtLeastOnce);
        bench.commit_all();
        bench.keep_house();
    }
    let (entries, _) = bench.read(1, 0, 3);
    assert_eq!(entries.len(), 3);
    bench.core.skip_oldest(bench.now, number(1), 40);
    assert_eq!(bench.standing(1).messages, 10);
    assert_eq!(bench.core.stats().dropped, 40);
    bench.commit_all();
    let mut again = start(bench.disk.clone(), 2000, &[1]);
    let left = [1, 2, 3, 44, 45, 46, 47, 48, 49, 50];
    assert_eq!(again.seqs(1), left);
    assert_eq!(bench.seqs(1), left);
    bench.core.skip_oldest(bench.now, number(1), 40);
    assert_eq!(bench.seqs(1), left, "they were handed out");
}

#[test]
fn a_session_that_ends_wants_nothing_and_leaves_no_row() {
    let mut bench = bench();
    bench.append(&[1, 2], AtLeastOnce);
    bench.append_held(&[1], AtLeastOnce, true);
    bench.commit_all();
    let promised = bench.core.forget(bench.now, number(1));
    bench.done(1, 2);
    bench.commit_all();
    assert!(bench.core.progress().commits >= promised);
    assert!(!bench.disk.rows.contains_key(&number(1)));
    assert_eq!(bench.seqs(1), [] as [u64; 0]);
    assert_eq!(bench.seqs(2), [1]);
    assert_eq!(bench.core.stats().messages, 1);
}

#[test]
fn sessions_that_are_not_known_at_a_start_are_forgotten() {
    let mut bench = bench();
    bench.append(&[1, 2], AtLeastOnce);
    bench.commit_all();
    let mut again = start(bench.disk, 1 << 20, &[2]);
    assert_eq!(again.core.stats().messages, 1);
    again.commit_all();
    assert_eq!(again.disk.rows.len(), 1);
}

#[test]
fn a_full_disk_drops_the_oldest_and_says_whose() {
    let mut bench = bench_with(2000);
    bench.core.options.queued_bytes_total = 30 << 20;
    for _ in 0..60 {
        bench.append(&[1, 2], AtLeastOnce);
        bench.commit_all();
        bench.keep_house();
    }
    let dropped = bench.core.take_dropped();
    let each = dropped[0].1;
    assert!(each >= GENERATION, "{dropped:?}");
    assert_eq!(dropped.len(), 2);
    assert_eq!(bench.core.progress().dropped, 2 * each);
    assert_eq!(bench.seqs(1), (each + 1..=60).collect::<Vec<_>>());
    assert_eq!(bench.core.take_dropped(), []);
}

#[test]
fn a_file_that_was_dropped_before_a_crash_is_counted_after_it() {
    let mut bench = bench_with(2000);
    for _ in 0..30 {
        bench.append(&[1], AtLeastOnce);
        bench.commit_all();
        bench.keep_house();
    }
    bench.disk.files.remove(&1);
    let mut again = start(bench.disk, 2000, &[1]);
    assert_eq!(again.core.take_dropped()[0].1, GENERATION);
    assert_eq!(again.standing(1).messages, 10);
    assert_eq!(again.seqs(1), (21..=30).collect::<Vec<_>>());
}

#[test]
fn messages_know_their_age() {
    let mut bench = bench();
    bench.append(&[1], AtLeastOnce);
    bench.now += Duration::from_secs(5);
    assert_eq!(bench.read_all(1, 9)[0].age, Duration::from_secs(5));
}
