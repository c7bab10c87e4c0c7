//! What is committed when, and what is covered by it.

use super::super::tests::{begun, mark, retained, session, subscribed, topic};
use super::*;
use crate::store::StoredPresence;

const URGENT: Duration = Duration::from_millis(100);
const RELAXED: Duration = Duration::from_secs(5);

struct Rig {
    pending: Pending,
    now: Instant,
    last: u64,
}

impl Rig {
    fn new() -> Self {
        Self {
            pending: Pending::new(URGENT, RELAXED, 64 << 10),
            now: crate::clock::now(),
            last: 0,
        }
    }

    fn put(&mut self, change: StateChange, urgent: bool) {
        self.last += 1;
        self.pending
            .put(self.now, Seq(self.last), self.last, change, urgent);
    }

    fn take(&mut self, after: Duration) -> Option<Batch> {
        self.now += after;
        self.pending.take(self.now, false)
    }

    fn covered(&self) -> (u64, u64) {
        let progress = self.pending.progress();
        (progress.covered.0, progress.committed.0)
    }
}

fn changes(batch: &Batch) -> Vec<StateChange> {
    batch.rows().map(|row| row.change.clone()).collect()
}

fn number() -> SessionNumber {
    SessionNumber(7)
}

#[test]
fn nothing_is_due_where_nothing_waits() {
    let mut rig = Rig::new();
    assert_eq!(rig.pending.due(), None);
    assert!(rig.take(RELAXED).is_none());
    assert!(rig.pending.take(rig.now, true).is_none());
}

#[test]
fn an_urgent_change_is_due_an_interval_after_the_first() {
    let mut rig = Rig::new();
    rig.put(retained("a", b"1"), true);
    let due = rig.now + URGENT;
    rig.now += URGENT / 2;
    rig.put(retained("b", b"1"), true);
    assert_eq!(rig.pending.due(), Some(due));
    let batch = rig.take(URGENT / 2).unwrap();
    assert_eq!(changes(&batch).len(), 2);
    assert_eq!(rig.covered(), (0, 0));
    rig.pending.committed(batch);
    assert_eq!(rig.covered(), (2, 2));
    assert_eq!(rig.pending.due(), None);
}

#[test]
fn a_value_that_changes_all_the_time_is_written_once_an_interval() {
    let mut rig = Rig::new();
    for value in 0..50_u8 {
        rig.put(retained("a", &[value]), false);
        assert!(rig.take(RELAXED / 51).is_none());
    }
    let batch = rig.take(RELAXED / 51 * 2).unwrap();
    assert_eq!(changes(&batch), [retained("a", &[49])]);
    rig.pending.committed(batch);
    assert_eq!(rig.covered(), (50, 50));
}

#[test]
fn what_is_not_urgent_does_not_go_with_what_is() {
    let mut rig = Rig::new();
    rig.put(retained("a", b"1"), false);
    rig.put(retained("b", b"1"), true);
    let batch = rig.take(URGENT).unwrap();
    assert_eq!(changes(&batch), [retained("b", b"1")]);
    rig.pending.committed(batch);
    assert_eq!(rig.covered(), (2, 0));
    let batch = rig.take(RELAXED).unwrap();
    assert_eq!(changes(&batch), [retained("a", b"1")]);
}

#[test]
fn a_key_that_becomes_urgent_is_committed_with_the_urgent_ones() {
    let mut rig = Rig::new();
    rig.put(retained("a", b"1"), false);
    rig.put(retained("a", b"2"), true);
    rig.put(retained("a", b"3"), false);
    assert_eq!(rig.covered(), (1, 0));
    let batch = rig.take(URGENT).unwrap();
    assert_eq!(changes(&batch), [retained("a", b"3")]);
    rig.pending.committed(batch);
    assert_eq!(rig.covered(), (3, 3));
    assert!(rig.take(RELAXED).is_none(), "nothing is left of it");
}

#[test]
fn a_change_during_a_commit_waits_for_the_next() {
    let mut rig = Rig::new();
    rig.put(retained("a", b"1"), true);
    let batch = rig.take(URGENT).unwrap();
    rig.put(retained("a", b"2"), true);
    assert_eq!(rig.covered(), (0, 0));
    rig.pending.committed(batch);
    assert_eq!(rig.covered(), (1, 1));
    let batch = rig.take(URGENT).unwrap();
    assert_eq!(changes(&batch), [retained("a", b"2")]);
    rig.pending.committed(batch);
    assert_eq!(rig.covered(), (2, 2));
}

#[test]
fn what_failed_waits_again_less_what_is_newer() {
    let mut rig = Rig::new();
    rig.put(retained("a", b"1"), true);
    rig.put(retained("b", b"1"), true);
    let batch = rig.take(URGENT).unwrap();
    rig.put(retained("a", b"2"), false);
    rig.pending.failed(rig.now, batch);
    assert_eq!(rig.covered(), (0, 0));
    let batch = rig.take(Duration::ZERO).unwrap();
    assert_eq!(changes(&batch), [retained("a", b"2"), retained("b", b"1")]);
    rig.pending.committed(batch);
    assert_eq!(rig.covered(), (3, 3));
    assert_eq!(rig.pending.waiting(), (0, 0));
}

#[test]
fn a_session_that_ends_takes_along_what_waits_for_it() {
    let mut rig = Rig::new();
    rig.put(
        begun(number(), session("a", StoredPresence::Connected)),
        true,
    );
    rig.put(subscribed(number(), "x", 1), true);
    rig.put(subscribed(number(), "y", 1), false);
    rig.put(subscribed(SessionNumber(8), "z", 1), true);
    rig.put(StateChange::SessionGone(number()), false);
    let batch = rig.take(URGENT).unwrap();
    let ended = StateChange::SessionGone(number());
    let other = subscribed(SessionNumber(8), "z", 1);
    assert_eq!(changes(&batch), [ended, other]);
    rig.pending.committed(batch);
    assert_eq!(rig.covered(), (5, 5));
}

#[test]
fn a_subscription_whose_commit_failed_does_not_outlive_its_session() {
    let mut rig = Rig::new();
    rig.put(subscribed(number(), "x", 1), true);
    let batch = rig.take(URGENT).unwrap();
    rig.put(StateChange::SessionGone(number()), true);
    rig.pending.failed(rig.now, batch);
    let batch = rig.take(Duration::ZERO).unwrap();
    assert_eq!(changes(&batch), [StateChange::SessionGone(number())]);
    rig.pending.committed(batch);
    assert_eq!(rig.covered(), (2, 2));
}

#[test]
fn a_bulk_is_committed_in_steps_and_in_order() {
    let mut rig = Rig::new();
    let count = STEP_ROWS as u64 * 2 + 10;
    for filter in 0..count {
        // Names that do not sort as they come.
        let filter = format!("{}", (filter * 7919) % count);
        rig.put(subscribed(number(), &filter, 1), true);
    }
    rig.now += URGENT;
    let mut covered = Vec::new();
    while let Some(batch) = rig.take(Duration::ZERO) {
        rig.pending.committed(batch);
        covered.push(rig.covered().0);
    }
    let step = STEP_ROWS as u64;
    assert_eq!(covered, [step, 2 * step, count]);
}

#[test]
fn a_mark_is_not_committed_before_what_it_marks() {
    let mut rig = Rig::new();
    for place in 0..STEP_ROWS as u64 * 3 / 2 {
        let message = retained(&format!("{}", place * 7919 % 10_000), b"1");
        rig.put(message, place % 10 == 0);
        // Of a session that sorts before all others.
        let packet_id = u16::try_from(place + 1).unwrap();
        rig.put(StateChange::Marked(mark(SessionNumber(0), packet_id)), true);
    }
    let mut there = Vec::new();
    while let Some(batch) = rig.pending.take(rig.now, true) {
        let rows = batch.rows().filter(|row| row.is_urgent);
        let last = rows.map(|row| row.first).max();
        there.extend(last);
        rig.pending.committed(batch);
    }
    assert!(there.len() > 1 && there.is_sorted(), "{there:?}");
}

#[test]
fn a_step_is_bounded_by_its_bytes_too() {
    let mut rig = Rig::new();
    let payload = vec![0; STEP_BYTES / 2];
    for name in ["a", "b", "c", "d", "e"] {
        rig.put(retained(name, &payload), true);
    }
    let batch = rig.take(URGENT).unwrap();
    assert_eq!(changes(&batch).len(), 2);
}

#[test]
fn what_fills_the_ram_is_due_at_once_and_leaves_no_room() {
    let mut rig = Rig::new();
    let payload = vec![0; 30 << 10];
    rig.put(retained("a", &payload), false);
    assert!(rig.pending.due().unwrap() > rig.now);
    rig.put(retained("b", &payload), false);
    assert_eq!(rig.pending.due(), Some(rig.now));
    assert!(rig.pending.has_room());
    rig.put(retained("c", &payload), false);
    assert!(!rig.pending.has_room());
    while let Some(batch) = rig.take(Duration::ZERO) {
        rig.pending.committed(batch);
    }
    assert!(rig.pending.has_room());
    assert_eq!(rig.pending.waiting(), (0, 0));
}

#[test]
fn what_ended_is_committed_like_what_began() {
    let mut rig = Rig::new();
    rig.put(StateChange::RetainedGone(topic("a")), true);
    rig.put(StateChange::SubscriptionGone(number(), "x".into()), true);
    let batch = rig.take(URGENT).unwrap();
    assert_eq!(changes(&batch).len(), 2);
}
