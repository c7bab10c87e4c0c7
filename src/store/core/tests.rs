//! The rules of a log, without files: the writer thread is played by hand.

use std::time::{Duration, Instant};

use super::super::keeper::{Commit, Keeper};
use super::super::ledger::{Ledger, Summary};
use super::super::pace::HOLD_PAUSE;
use super::super::reading::{Ask, Found};
use super::super::testing::record_qos;
use super::super::{
    CommitNumber, GapReason, LinkHealth, LogOptions, Outcome, Progress, Seq, WhenFull,
};
use super::*;
use crate::clock::WallTime;

const INTERVAL: Duration = Duration::from_millis(100);
const HOLD: Duration = Duration::from_millis(500);
/// From a message that is held to the commit that takes it.
const HELD: Duration = HOLD.saturating_add(INTERVAL);
const WALL: WallTime = WallTime(1_800_000_000_000);

struct Bench {
    core: Core,
    now: Instant,
}

fn bench_with(hold_bytes: usize) -> Bench {
    bench_of(LogOptions {
        hold_bytes,
        ..LogOptions::new("none".into())
    })
}

fn bench_of(options: LogOptions) -> Bench {
    let options = LogOptions {
        commit_interval: INTERVAL,
        hold_for_upstream: HOLD,
        ..options
    };
    let loaded = Loaded {
        epoch: 1,
        files: vec![(Summary::empty(1), 0)],
        ..Loaded::default()
    };
    Bench {
        core: Core::new(options, loaded),
        now: crate::clock::now(),
    }
}

fn bench() -> Bench {
    bench_with(1 << 20)
}

impl Bench {
    fn up(mut self) -> Self {
        self.core.link(self.now, LinkHealth::Up);
        self
    }

    fn append(&mut self, qos: QoS) -> u64 {
        self.append_sized(qos, 100)
    }

    fn append_sized(&mut self, qos: QoS, size: usize) -> u64 {
        let seq = self.core.next_seq().0;
        self.core.append(self.now, record_qos(qos, seq, size), None);
        seq
    }

    fn due_in(&self) -> Option<Duration> {
        self.core
            .due()
            .map(|due| due.saturating_duration_since(self.now))
    }

    /// Commits what is due; gives the positions written.
    fn commit(&mut self) -> Option<Vec<u64>> {
        let commit = self.core.commit(self.now, false)?;
        Some(self.land(&commit))
    }

    fn land(&mut self, commit: &Commit) -> Vec<u64> {
        let written: Vec<_> = commit.records.iter().map(|(seq, _)| *seq).collect();
        self.core.committed(self.now, &summary(&written));
        written
    }

    fn done(&mut self, seq: u64) {
        self.core.done(self.now, seq, Outcome::Delivered);
    }

    fn progress(&self) -> Progress {
        self.core.progress()
    }

    fn read(&mut self, from: u64) -> Vec<u64> {
        let ask = Ask::of_reader(from, 1000, 1 << 20);
        match self.core.read(self.now, WALL, &ask) {
            Reading::Ram(entries) => entries.iter().map(|entry| entry.seq.0).collect(),
            Reading::Files { from, until } => panic!("{from} to {until} are in the files"),
        }
    }
}

fn summary(written: &[u64]) -> Summary {
    let mut summary = Summary::empty(1);
    if let (Some(first), Some(last)) = (written.first(), written.last()) {
        summary.first = *first;
        summary.last = *last;
        summary.count = written.len() as u64;
        summary.bytes = 100 * summary.count;
    }
    summary
}

use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};

#[test]
fn the_window_runs_from_the_first_message_that_waits() {
    let mut bench = bench();
    bench.append(AtLeastOnce);
    bench.now += Duration::from_millis(60);
    bench.append(AtLeastOnce);
    assert_eq!(bench.due_in(), Some(Duration::from_millis(40)));
    assert_eq!(bench.commit(), None);
    bench.now += Duration::from_millis(40);
    assert_eq!(bench.commit(), Some(vec![1, 2]));
    assert_eq!(bench.progress().covered, Seq(2));
    assert_eq!(bench.due_in(), None, "nothing waits");
}

#[test]
fn qos_1_is_held_while_the_link_is_up_and_qos_2_is_not() {
    let mut bench = bench().up();
    bench.append(AtLeastOnce);
    assert_eq!(bench.due_in(), Some(HELD));
    bench.append(ExactlyOnce);
    assert_eq!(bench.due_in(), Some(INTERVAL));
    bench.now += INTERVAL;
    assert_eq!(
        bench.commit(),
        Some(vec![1, 2]),
        "a commit writes all that waits"
    );
}

#[test]
fn a_message_acknowledged_while_held_is_covered_and_never_written() {
    let mut bench = bench().up();
    for _ in 0..3 {
        bench.append(AtLeastOnce);
    }
    bench.done(2);
    assert_eq!(
        bench.progress().covered,
        Seq(0),
        "the first one still waits"
    );
    bench.done(1);
    assert_eq!(bench.progress().covered, Seq(2));
    bench.now += HELD;
    assert_eq!(bench.commit(), Some(vec![3]));
    assert_eq!(bench.progress().cursor, Seq(2));
    assert_eq!(bench.core.stats().messages, 1);
}

#[test]
fn the_oldest_held_message_sets_the_time() {
    let mut bench = bench().up();
    bench.append(AtLeastOnce);
    bench.now += Duration::from_millis(300);
    bench.append(AtLeastOnce);
    assert_eq!(bench.due_in(), Some(HELD - Duration::from_millis(300)));
    bench.done(1);
    assert_eq!(bench.due_in(), Some(HELD));
}

#[test]
fn a_link_that_goes_down_makes_what_is_held_due() {
    let mut bench = bench().up();
    bench.append(AtLeastOnce);
    bench.core.link(bench.now, LinkHealth::Down);
    assert_eq!(bench.due_in(), Some(INTERVAL));
}

#[test]
fn what_is_appended_leaves_soon_while_the_link_is_up_and_nothing_waits_for_long() {
    let mut bench = bench();
    assert!(!bench.progress().is_prompt, "no link yet");
    bench = bench.up();
    assert!(bench.progress().is_prompt);
    bench.append(AtLeastOnce);
    bench.now += Duration::from_secs(4);
    bench.append(AtLeastOnce);
    assert!(bench.progress().is_prompt);
    bench.now += Duration::from_secs(1);
    bench.append(AtLeastOnce);
    assert!(!bench.progress().is_prompt, "the first waits for 5 s");
    bench.done(1);
    assert!(bench.progress().is_prompt, "the next one for 1 s");
    bench.now += Duration::from_secs(60);
    bench.done(3);
    assert!(!bench.progress().is_prompt);
    bench.done(2);
    assert!(bench.progress().is_prompt, "nothing waits");
    bench.core.link(bench.now, LinkHealth::Down);
    assert!(!bench.progress().is_prompt);
}

#[test]
fn what_is_appended_to_a_log_that_is_nearly_full_does_not_count_as_leaving_soon() {
    for when_full in [WhenFull::DropOldest, WhenFull::Refuse] {
        let mut bench = bench_of(LogOptions {
            max_bytes: 4000,
            when_full,
            ..LogOptions::new("none".into())
        })
        .up();
        bench.append_sized(AtLeastOnce, 2500);
        assert!(bench.progress().is_prompt);
        bench.append_sized(AtLeastOnce, 500);
        assert!(!bench.progress().is_prompt, "three quarters");
        bench.done(1);
        assert!(bench.progress().is_prompt);
        bench.core.medium_full(true);
        assert!(!bench.progress().is_prompt, "no room on the medium");
        bench.done(2);
        assert!(
            bench.progress().is_prompt,
            "nothing waits that could give way"
        );
    }
}

#[test]
fn holding_pauses_when_it_spares_less_than_it_writes() {
    let mut bench = bench().up();
    for _ in 0..10 {
        bench.append(AtLeastOnce);
    }
    for seq in 1..=7 {
        bench.done(seq);
    }
    bench.now += HELD;
    assert_eq!(bench.commit(), Some(vec![8, 9, 10]));
    bench.append(AtLeastOnce);
    assert_eq!(bench.due_in(), Some(HELD), "7 spared, 3 written: worth it");
    bench.now += HELD;
    assert_eq!(bench.commit(), Some(vec![11]));
    bench.append(AtLeastOnce);
    assert_eq!(bench.due_in(), Some(INTERVAL), "none spared");
    bench.now += HOLD_PAUSE;
    bench.commit();
    bench.append(AtLeastOnce);
    assert_eq!(bench.due_in(), Some(HELD), "tried again");
}

#[test]
fn many_bytes_are_committed_at_once_in_commits_of_bounded_size() {
    let mut bench = bench_with(8 << 20);
    for _ in 0..5 {
        assert_ne!(bench.due_in(), Some(Duration::ZERO));
        bench.append_sized(AtLeastOnce, 100 << 10);
        bench.append_sized(AtLeastOnce, 10);
    }
    bench.append_sized(AtLeastOnce, 300 << 10);
    assert_eq!(bench.due_in(), Some(Duration::ZERO));
    bench.append_sized(AtLeastOnce, 10);
    assert_eq!(bench.commit().map(|written| written.len()), Some(11));
    assert_eq!(bench.progress().covered, Seq(11));
    assert_eq!(bench.commit(), Some(vec![12]), "the rest follows at once");
}

#[test]
fn held_bytes_are_bounded() {
    let mut bench = bench_with(100_000).up();
    while bench.due_in() != Some(Duration::ZERO) {
        assert!(bench.core.has_room());
        bench.append_sized(AtLeastOnce, 1000);
    }
    bench.commit();
    assert!(bench.core.has_room());
}

#[test]
fn without_commits_there_is_no_room_and_with_one_there_is() {
    let mut bench = bench_with(10_000);
    for _ in 0..10 {
        bench.append_sized(AtLeastOnce, 1000);
    }
    assert!(!bench.core.has_room());
    bench.commit();
    assert!(bench.core.has_room());
    assert!(matches!(
        bench.core.read(bench.now, WALL, &Ask::of_reader(0, 10, 10)),
        Reading::Files { from: 1, .. }
    ));
}

#[test]
fn qos_0_is_dropped_while_the_link_is_down_and_counted() {
    let mut bench = bench();
    bench.append(AtMostOnce);
    bench.append(AtLeastOnce);
    bench.append(AtMostOnce);
    assert_eq!(bench.core.stats().dropped, 2);
    assert_eq!(bench.read(0), [2]);
    assert_eq!(bench.progress().covered, Seq(1));
    bench.now += INTERVAL;
    bench.commit();
    assert_eq!(bench.progress().covered, Seq(3));
    bench.done(2);
    assert_eq!(bench.core.stats().messages, 0);
}

#[test]
fn qos_0_is_in_order_with_the_others_and_covered_at_once() {
    let mut bench = bench().up();
    bench.append(AtMostOnce);
    assert_eq!(bench.progress().covered, Seq(1));
    assert_eq!(bench.due_in(), None);
    bench.append(AtLeastOnce);
    bench.append(AtMostOnce);
    assert_eq!(bench.read(0), [1, 2, 3]);
    bench.now += HELD;
    assert_eq!(bench.commit(), Some(vec![2]));
}

#[test]
fn qos_0_makes_room_for_what_was_promised() {
    let mut bench = bench_with(20_000).up();
    bench.append_sized(AtLeastOnce, 1000);
    for _ in 0..15 {
        bench.append_sized(AtMostOnce, 1000);
    }
    let before = bench.core.stats().dropped;
    for _ in 0..8 {
        bench.append_sized(AtLeastOnce, 1000);
    }
    let stats = bench.core.stats();
    assert!(stats.dropped > before);
    assert!(bench.core.has_room());
    assert_eq!(stats.messages, 9 + 15 - stats.dropped);
    assert_eq!(bench.read(0).len() as u64, stats.messages);
}

#[test]
fn done_may_come_out_of_order() {
    let mut bench = bench();
    for _ in 0..5 {
        bench.append(AtLeastOnce);
    }
    bench.now += INTERVAL;
    bench.commit();
    for seq in [5, 2, 3] {
        bench.done(seq);
    }
    bench.done(3);
    assert_eq!(bench.read(0), [1, 4]);
    assert_eq!(bench.core.stats().messages, 2);
    bench.done(1);
    let position = bench.core.position();
    assert_eq!(position.cursor, 3);
    assert_eq!(position.done.iter().collect::<Vec<_>>(), [(5, 5)]);
    bench.done(4);
    assert_eq!(bench.core.position().cursor, 5);
}

#[test]
fn acknowledgements_alone_are_committed_within_a_second() {
    let mut bench = bench();
    bench.append(AtLeastOnce);
    bench.now += INTERVAL;
    bench.commit();
    bench.done(1);
    assert_eq!(bench.due_in(), Some(Duration::from_secs(1)));
    assert_eq!(
        bench.progress().cursor,
        Seq(0),
        "a crash would bring it back"
    );
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.commit(), Some(vec![]));
    assert_eq!(bench.progress().cursor, Seq(1));
}

#[test]
fn an_acknowledgement_during_its_commit_is_not_lost() {
    let mut bench = bench();
    bench.append(AtLeastOnce);
    bench.append(AtLeastOnce);
    bench.now += INTERVAL;
    let commit = bench.core.commit(bench.now, false).unwrap();
    bench.done(1);
    bench.land(&commit);
    assert_eq!(bench.core.stats().messages, 1);
    assert_eq!(bench.progress().cursor, Seq(0));
    assert_eq!(bench.due_in(), Some(Duration::from_secs(1)));
}

#[test]
fn a_received_mark_names_the_commit_that_holds_it() {
    let mut bench = bench();
    bench.append(ExactlyOnce);
    bench.now += INTERVAL;
    let commit = bench.core.commit(bench.now, false).unwrap();
    let number = bench.core.received(bench.now, 1);
    assert_eq!(number, CommitNumber(2), "the one under way is too early");
    bench.land(&commit);
    assert_eq!(bench.due_in(), Some(INTERVAL));
    let received =
        |bench: &mut Bench| match bench.core.read(bench.now, WALL, &Ask::of_reader(0, 1, 1)) {
            Reading::Ram(entries) => entries[0].received,
            Reading::Files { .. } => panic!("it is in RAM"),
        };
    assert!(!received(&mut bench));
    bench.now += INTERVAL;
    assert_eq!(bench.commit(), Some(vec![]));
    assert_eq!(bench.progress().commits, number);
    assert!(received(&mut bench));
    bench.done(1);
    assert!(bench.core.position().received.iter().next().is_none());
}

#[test]
fn a_pubrec_of_a_message_that_was_dropped_waits_until_no_power_cut_brings_it_back() {
    let mut bench = bench();
    bench.append(ExactlyOnce);
    bench.now += INTERVAL;
    bench.commit();
    bench.core.rolled(2, 1000);
    assert_eq!(bench.core.drop_generation(bench.now, 1), 1);
    let number = bench.core.received(bench.now, 1);
    assert_eq!(
        number,
        CommitNumber(2),
        "its PUBREL would end the handshake"
    );
    bench.now += INTERVAL;
    assert_eq!(bench.commit(), Some(vec![]));
    assert_eq!(bench.progress().commits, number);
    assert_eq!(bench.core.received(bench.now, 1), number, "nothing waits");
}

#[test]
fn a_session_names_the_commit_that_holds_it_however_often_it_is_asked() {
    let mut bench = bench();
    bench.append(ExactlyOnce);
    bench.now += INTERVAL;
    let commit = bench.core.commit(bench.now, false).unwrap();
    let number = bench.core.keep_session(bench.now, Some("one"));
    assert_eq!(number, CommitNumber(2), "the one under way is too early");
    assert_eq!(bench.core.keep_session(bench.now, Some("one")), number);
    assert_eq!(bench.core.forget_received(bench.now), number);
    bench.land(&commit);
    bench.now += INTERVAL;
    assert_eq!(bench.commit(), Some(vec![]));
    assert_eq!(bench.progress().commits, number);
    bench.core.received(bench.now, 1);
    let void = bench.core.forget_received(bench.now);
    assert_eq!(
        bench.core.forget_received(bench.now),
        void,
        "asked twice, it is still not committed"
    );
    assert!(void > number);
}

#[test]
fn the_note_of_a_session_changes_without_its_marks() {
    let marks = |bench: &Bench| bench.core.position().received.iter().count();
    let mut bench = bench();
    bench.append(ExactlyOnce);
    bench.core.keep_session(bench.now, Some("one\0a"));
    bench.now += INTERVAL;
    bench.commit();
    bench.core.received(bench.now, 1);
    bench.now += INTERVAL;
    bench.commit();
    let number = bench.core.keep_session(bench.now, Some("one\0b"));
    assert!(number > bench.progress().commits);
    bench.now += INTERVAL;
    bench.commit();
    assert_eq!(bench.core.session(), Some("one\0b"));
    assert_eq!(marks(&bench), 1);
    bench.core.keep_session(bench.now, Some("two\0b"));
    assert_eq!(marks(&bench), 0);
}

#[test]
fn files_that_were_salvaged_while_open_end_the_session_and_a_failed_commit_does_not() {
    let mut bench = bench();
    bench.core.keep_session(bench.now, Some("one"));
    bench.now += INTERVAL;
    assert!(bench.core.commit(bench.now, false).is_some());
    let ledger = bench.core.ledger().clone();
    bench.core.reopened(bench.now, loaded(&ledger));
    assert_eq!(bench.core.session(), Some("one"), "it was not in the files");
    bench.now += INTERVAL;
    assert!(bench.commit().is_some(), "so it is committed again");
    bench.core.reopened(bench.now, loaded(&ledger));
    assert_eq!(bench.core.session(), None);
}

#[test]
fn a_commit_that_failed_is_made_again_and_keeps_its_promise() {
    let mut bench = bench();
    bench.append(ExactlyOnce);
    bench.now += INTERVAL;
    let failed = bench.core.commit(bench.now, false).unwrap();
    let number = bench.core.received(bench.now, 1);
    assert_eq!(
        bench.core.commit(bench.now, true).map(|c| c.records.len()),
        None
    );
    let ledger = bench.core.ledger().clone();
    bench.core.reopened(bench.now, loaded(&ledger));
    assert_eq!(bench.progress().covered, Seq(0));
    assert_eq!(bench.commit(), Some(vec![1]), "it was not in the files");
    while bench.progress().commits < number {
        bench.now += INTERVAL;
        assert!(bench.commit().is_some(), "until the promise is kept");
    }
    drop(failed);
}

#[test]
fn a_commit_that_failed_but_is_in_the_files_is_not_made_again() {
    let mut bench = bench();
    bench.append(AtLeastOnce);
    bench.append(AtLeastOnce);
    bench.now += INTERVAL;
    assert!(bench.core.commit(bench.now, false).is_some());
    bench.done(2);
    let mut ledger = bench.core.ledger().clone();
    ledger.landed(&summary(&[1, 2]), 0);
    bench.core.reopened(bench.now, loaded(&ledger));
    assert_eq!(bench.progress().covered, Seq(2));
    assert_eq!(bench.core.stats().messages, 1);
    assert_eq!(bench.commit(), Some(vec![]), "only the position");
}

fn loaded(ledger: &Ledger) -> Loaded {
    Loaded {
        epoch: 1,
        files: ledger.summaries().into_iter().map(|s| (s, 0)).collect(),
        ..Loaded::default()
    }
}

#[test]
fn what_went_with_its_file_before_that_was_committed_gives_nothing_to_the_next_message() {
    let mut position = Position {
        cursor: 5,
        ..Position::default()
    };
    position.received.insert(17, 17);
    let loaded = Loaded {
        epoch: 2,
        position,
        files: vec![(Summary::empty(3), 0)],
        gone: vec![Summary {
            number: 2,
            ..summary(&[4, 17, 50])
        }],
        ..Loaded::default()
    };
    let core = Core::new(LogOptions::new("none".into()), loaded);
    assert_eq!(core.next_seq(), Seq(51));
    assert!(core.position().received.iter().next().is_none());
    assert_eq!(core.stats().dropped, 3);
}

#[test]
fn a_cursor_without_files_needs_no_commit_to_stand() {
    let mut bench = bench().up();
    for _ in 0..100_000_u64 {
        let seq = bench.append(AtLeastOnce);
        bench.done(seq);
    }
    assert_eq!(bench.progress().cursor, Seq(100_000));
    assert_eq!(bench.core.front.tail.bytes(), 0);
    assert!(bench.core.commit(bench.now + HELD, true).is_none());
}

#[test]
fn what_the_reader_does_not_find_in_the_files_is_done() {
    let mut bench = bench_with(2_000).up();
    for number in 0..20 {
        let qos = if number % 2 == 0 {
            AtMostOnce
        } else {
            AtLeastOnce
        };
        bench.append(qos);
        bench.commit();
    }
    bench.now += HELD;
    bench.commit();
    let Reading::Files { from, until } =
        bench
            .core
            .read(bench.now, WALL, &Ask::of_reader(0, 9, 9999))
    else {
        panic!("the tail is too small for this")
    };
    let in_files = (from..=until).filter(|seq| seq % 2 == 0);
    let records = in_files.map(|seq| (seq, 1, record_qos(AtLeastOnce, seq, 100).into()));
    let found = Found {
        records: records.collect(),
        reached: until,
        damaged: Vec::new(),
    };
    let ask = Ask {
        until,
        ..Ask::of_reader(from, 9, 9999)
    };
    let entries = bench.core.found(bench.now, WALL, &ask, found);
    for entry in entries {
        bench.done(entry.seq.0);
    }
    assert!(bench.core.position().cursor >= until);
}

/// Of 1000 bytes, beside which its first file counts for nothing.
fn refusing() -> Bench {
    bench_of(LogOptions {
        max_bytes: 1000,
        when_full: WhenFull::Refuse,
        ..LogOptions::new("none".into())
    })
}

#[test]
fn a_log_that_refuses_is_full_by_what_waits_and_by_what_is_written() {
    let mut bench = refusing();
    assert!(!bench.progress().is_full);
    bench.append_sized(AtLeastOnce, 100);
    assert!(!bench.progress().is_full);
    bench.append_sized(AtLeastOnce, 1000);
    assert!(bench.progress().is_full);
    bench.done(2);
    assert!(!bench.progress().is_full, "it was never written");
    bench.append_sized(ExactlyOnce, 1000);
    bench.now += INTERVAL;
    let commit = bench.core.commit(bench.now, false).unwrap();
    let landed = Summary {
        bytes: 2000,
        ..summary(&[1, 3])
    };
    bench.core.committed(bench.now, &landed);
    assert!(bench.progress().is_full);
    assert_eq!(commit.records.len(), 2);
}

#[test]
fn a_log_that_refuses_takes_a_message_when_it_is_empty_whatever_its_files_take() {
    let mut bench = refusing();
    bench.append_sized(AtLeastOnce, 5000);
    bench.now += INTERVAL;
    let commit = bench.core.commit(bench.now, false).unwrap();
    let landed = Summary {
        bytes: 5000,
        ..summary(&[1])
    };
    bench.core.committed(bench.now, &landed);
    assert!(bench.progress().is_full);
    assert_eq!(commit.records.len(), 1);
    bench.done(1);
    assert!(!bench.progress().is_full);
}

#[test]
fn a_log_that_refuses_drops_for_age_alone() {
    let mut bench = refusing();
    bench.append_sized(AtLeastOnce, 5000);
    bench.now += INTERVAL;
    bench.core.commit(bench.now, false).unwrap();
    let landed = Summary {
        bytes: 5000,
        oldest: WALL.0,
        newest: WALL.0,
        ..summary(&[1])
    };
    bench.core.committed(bench.now, &landed);
    bench.core.rolled(2, 5000);
    bench.append_sized(AtLeastOnce, 5000);
    bench.core.medium_full(true);
    assert!(bench.core.chore(bench.now, WALL).is_none());
    assert!(bench.core.relief().is_none());
    let late = WALL.after(Duration::from_secs(31 * 24 * 3600));
    let chore = bench.core.chore(bench.now, late);
    assert!(
        matches!(chore, Some(super::super::keeper::Chore::Drop(1))),
        "{chore:?}"
    );
}

#[test]
fn a_log_that_refuses_is_full_while_the_medium_is() {
    let mut bench = bench_of(LogOptions {
        when_full: WhenFull::Refuse,
        ..LogOptions::new("none".into())
    });
    bench.append(AtLeastOnce);
    bench.core.medium_full(true);
    assert!(bench.progress().is_full);
    bench.core.refuse(bench.now, WALL, false);
    bench.core.refuse(bench.now, WALL, true);
    let stats = bench.core.stats();
    assert_eq!((stats.refused, stats.dropped), (1, 1));
    bench.core.medium_full(false);
    assert!(!bench.progress().is_full);
}

#[test]
fn what_is_lost_is_shown_as_a_hole_once_it_is_committed() {
    let mut bench = bench();
    for _ in 0..3 {
        bench.append(AtLeastOnce);
    }
    let late = WALL.after(Duration::from_secs(31 * 24 * 3600));
    let read = bench
        .core
        .read(bench.now, late, &Ask::of_reader(0, 1000, 1 << 20));
    assert!(matches!(read, Reading::Ram(entries) if entries.is_empty()));
    assert_eq!(bench.progress().gap, None);
    bench.now += TIDY_DELAY;
    let commit = bench.core.commit(bench.now, false).unwrap();
    // What is lost meanwhile is another hole.
    bench.core.refuse(bench.now, late, true);
    bench.land(&commit);
    let gap = bench.progress().gap.unwrap();
    assert_eq!(
        (gap.number, gap.reason, gap.count),
        (1, GapReason::MaxAge, 3)
    );
    assert_eq!(commit.rows.position.gaps.fixed(), Some(gap));
    bench.core.gap_told(bench.now, 1);
    assert_eq!(bench.progress().gap, None);
    bench.now += TIDY_DELAY;
    bench.commit();
    let gap = bench.progress().gap.unwrap();
    let is = (gap.number, gap.reason, gap.count, gap.first);
    assert_eq!(is, (2, GapReason::NotTaken, 1, late));
}

#[test]
fn a_file_that_went_before_a_crash_is_one_hole_however_many_crashes_follow() {
    let loaded = |position: &Position| Loaded {
        epoch: 1,
        position: position.clone(),
        files: vec![(Summary::empty(2), 0)],
        gone: vec![Summary {
            oldest: 5,
            newest: 9,
            ..summary(&[1, 2, 3])
        }],
        ..Loaded::default()
    };
    let options = || LogOptions::new("none".into());
    let core = Core::new(options(), loaded(&Position::default()));
    let stored = core.position();
    assert_eq!(core.progress().dropped, 3);
    let core = Core::new(options(), loaded(&stored));
    assert_eq!(core.progress().dropped, 0);
    assert_eq!(core.position().gaps, stored.gaps);
    assert_eq!(core.next_seq(), Seq(4), "no position comes again");
}
