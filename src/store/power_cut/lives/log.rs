//! The log of a bridge, in random lives: messages of every QoS and size come, with marks and without; the link goes and comes;
//! the bridge reads, answers in any order, and begins anew in the same session or another; files are rolled and unlinked, and
//! in some lives the oldest is dropped for `max_bytes`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::watch;

use super::super::super::testing::record_qos;
use super::super::super::{
    Entry, Gap, LinkHealth, LogOptions, Mark, Outcome, Progress, Record, SessionNumber,
};
use super::super::{Rig, SimulatedFolder};
use super::{History, Subject};
use crate::mqtt::{PacketId, QoS};

/// What became of a message.
#[derive(Clone)]
struct Fate {
    record: Record,
    /// A start found it.
    is_found: bool,
    /// The commit that makes it durable.
    done: Option<u64>,
    received: History<bool>,
}

/// What was done to the log.
#[derive(Clone)]
pub(super) struct Story {
    options: LogOptions,
    is_limited: bool,
    messages: BTreeMap<u64, Fate>,
    /// With the position of the message (0: an earlier start has found the mark), and the commit that removes it.
    marks: BTreeMap<Mark, (u64, Option<u64>)>,
    next_mark: u16,
    session: History<Option<String>>,
    /// The highest that was seen.
    epoch: u32,
    /// Holes that were shown, by number, and those that the upstream knows of.
    gaps: BTreeMap<u64, Gap>,
    told: BTreeSet<u64>,
    /// So many messages are gone.
    missing: u64,
}

/// The log, and what its reader knows.
pub(super) struct LogLife {
    rig: Rig,
    read_to: u64,
    /// Read, and not answered in full.
    handed: Vec<Entry>,
}

impl LogLife {
    fn next_commit(&self) -> u64 {
        self.rig.progress().commits.0 + 1
    }

    fn append(&self, story: &mut Story, qos: QoS, size: usize, is_marked: bool) -> u64 {
        let seq = self.rig.shared.with(|state| state.core.next_seq()).0;
        let record = record_qos(qos, seq, size);
        let mark = (is_marked && qos == QoS::ExactlyOnce).then(|| {
            story.next_mark += 1;
            Mark {
                session: SessionNumber(u64::from(story.next_mark % 3)),
                packet_id: PacketId::new(story.next_mark).unwrap(),
            }
        });
        if let Some(mark) = mark {
            story.marks.insert(mark, (seq, None));
        }
        let fate = Fate {
            record: record.clone(),
            is_found: false,
            done: None,
            received: History::new(false),
        };
        story.messages.insert(seq, fate);
        let now = self.rig.now;
        self.rig
            .shared
            .with(|state| state.core.append(now, record, mark));
        seq
    }

    fn append_some(&self, story: &mut Story, random: &mut Rng) {
        for _ in 0..random.usize(1..10) {
            if !self.rig.shared.with(|state| state.core.has_room()) {
                return;
            }
            let lowest = u8::from(story.is_limited);
            let qos = QoS::from_bits(random.u8(lowest..3)).unwrap();
            let size = match random.u8(0..60) {
                0 => random.usize(60_000..80_000),
                1..20 => random.usize(8..40),
                _ => random.usize(40..900),
            };
            self.append(story, qos, size, random.bool());
        }
    }

    /// The reader answers one of the first messages that it has.
    fn answer(&mut self, story: &mut Story, random: &mut Rng) {
        if self.handed.is_empty() {
            return;
        }
        let at = random.usize(0..self.handed.len().min(5));
        let entry = &self.handed[at];
        let (seq, qos) = (entry.seq.0, entry.record.message.qos);
        story.epoch = story.epoch.max(entry.epoch);
        let (now, next) = (self.rig.now, self.next_commit());
        let progress = self.rig.progress();
        let fate = story.messages.get_mut(&seq).unwrap();
        if qos == QoS::ExactlyOnce {
            let (number, is_received) = fate.received.newest();
            if *is_received && number > progress.commits.0 || seq > progress.committed.0 {
                return;
            }
            if !is_received {
                let received = self.rig.shared.with(|state| state.core.received(now, seq));
                fate.received.set(received.0, true);
                return;
            }
        }
        self.handed.remove(at);
        fate.done.get_or_insert(next);
        self.rig
            .shared
            .with(|state| state.core.done(now, seq, Outcome::Delivered));
    }

    /// The bridge has connected: everything again from the first on, perhaps in another session.
    fn connect(&mut self, story: &mut Story, random: &mut Rng) {
        self.read_to = 0;
        self.handed.clear();
        let now = self.rig.now;
        let number = match random.u8(0..4) {
            0 => {
                let name = format!("session {}", random.u8(0..3));
                if story.session.newest().1.as_ref() == Some(&name) {
                    return;
                }
                let kept = |core: &mut super::super::Core| core.keep_session(now, Some(&name));
                let number = self.rig.shared.with(|state| kept(&mut state.core));
                story.session.set(number.0, Some(name));
                number
            }
            1 => self
                .rig
                .shared
                .with(|state| state.core.forget_received(now)),
            _ => return,
        };
        for fate in story.messages.values_mut() {
            if fate.done.is_none() && *fate.received.newest().1 {
                fate.received.set(number.0, false);
            }
        }
    }

    /// A PUBREL came, which it does only after the PUBREC.
    fn unmark(&self, story: &mut Story, random: &mut Rng) {
        let covered = self.rig.progress().covered.0;
        let set = story.marks.iter_mut();
        let set = set.filter(|(_, (seq, removed))| *seq <= covered && removed.is_none());
        let Some((mark, (_, removed))) = random.choice(set.collect::<Vec<_>>()) else {
            return;
        };
        let now = self.rig.now;
        let number = self.rig.shared.with(|state| state.core.unmark(now, *mark));
        *removed = Some(number.0);
    }

    /// The hole that the log shows is the same whenever it shows it; the upstream may come to know of it.
    fn tell_of_gap(&self, story: &mut Story, random: &mut Rng) {
        let Some(gap) = self.rig.progress().gap else {
            return;
        };
        let known = *story.gaps.entry(gap.number).or_insert(gap);
        assert_eq!(known, gap, "a hole is another than before");
        if random.bool() {
            story.told.insert(gap.number);
            let now = self.rig.now;
            self.rig
                .shared
                .with(|state| state.core.gap_told(now, gap.number));
        }
    }

    /// Whatever is gone is in a hole that was told, or will be.
    fn check_gaps(&self, story: &mut Story, missing: u64) -> Result<(), String> {
        story.missing += missing;
        let gaps = self.rig.shared.with(|state| state.core.position().gaps);
        let shown = gaps
            .fixed()
            .and_then(|gap| Some((*story.gaps.get(&gap.number)?, gap)));
        if let Some((known, gap)) = shown.filter(|(known, gap)| known != gap) {
            return Err(format!("the hole {known:?} has become {gap:?}"));
        }
        let told = story
            .told
            .iter()
            .filter_map(|number| story.gaps.get(number));
        let told: u64 = told.map(|gap| gap.count).sum();
        if told + gaps.count() < story.missing {
            let missing = story.missing;
            return Err(format!(
                "{missing} are gone, {told} were told, and {gaps:?}"
            ));
        }
        Ok(())
    }

    fn check_marks(
        &self,
        story: &Story,
        progress: Progress,
        found: &BTreeSet<u64>,
        has_dropped: bool,
    ) -> Result<(), String> {
        let marks = self.rig.shared.with(|state| state.core.marks());
        if let Some(mark) = marks.iter().find(|mark| !story.marks.contains_key(mark)) {
            return Err(format!("{mark:?} was never set"));
        }
        for (mark, (seq, removed)) in &story.marks {
            let is_set = marks.contains(mark);
            if is_set && removed.is_some_and(|number| number <= progress.commits.0) {
                return Err(format!("{mark:?} was removed, and committed"));
            }
            let must = *seq <= progress.covered.0 || found.contains(seq);
            if !is_set && removed.is_none() && must {
                return Err(format!("the mark of {seq} is gone"));
            }
            let message = story.messages.get(seq);
            let is_wanted = message.is_some_and(|fate| fate.done.is_none());
            if is_set && is_wanted && !found.contains(seq) && !has_dropped {
                return Err(format!("{seq} is gone, and its mark is there"));
            }
        }
        Ok(())
    }

    /// Where the oldest was dropped for the limit, no more is missing than is counted.
    fn check_missing(
        &self,
        story: &Story,
        progress: Progress,
        missing: &[u64],
    ) -> Result<(), String> {
        let dropped = self.rig.shared.with(|state| state.core.stats().dropped) + progress.dropped;
        let count = missing.len() as u64;
        if count == 0 || story.is_limited && count <= dropped {
            return Ok(());
        }
        Err(format!(
            "{count} were covered and are gone, {dropped} were dropped: {missing:?}"
        ))
    }
}

fn check_entry(story: &Story, progress: Progress, entry: &Entry) -> Result<(), String> {
    let seq = entry.seq.0;
    let fate = story.messages.get(&seq);
    let Some(fate) = fate.filter(|fate| fate.record == entry.record) else {
        return Err(format!("{seq} was never appended like this"));
    };
    let commits = progress.commits.0;
    if seq <= progress.cursor.0 || fate.done.is_some_and(|number| number <= commits) {
        return Err(format!("{seq} was done and committed as done"));
    }
    if !fate.received.may_be(&entry.received, commits) {
        let (is, was) = (entry.received, &fate.received);
        return Err(format!("{seq}: the mark of its PUBREC is {is}, {was:?}"));
    }
    if !entry.maybe_sent {
        return Err(format!("{seq} of an earlier start looks like one of this"));
    }
    Ok(())
}

impl Subject for LogLife {
    const NAME: &'static str = "a bridge's log";
    type Story = Story;

    fn begin(random: &mut Rng) -> Story {
        let is_limited = random.u8(0..3) == 0;
        let mut options = LogOptions::new("simulated".into());
        // So small that the reader has to go to the files.
        options.hold_bytes = random.usize(10..50) << 10;
        options.commit_interval = Duration::from_millis(random.u64(5..120));
        options.hold_for_upstream = Duration::from_millis(500 * random.u64(0..2));
        if is_limited {
            options.max_bytes = random.u64(150..500) << 10;
        }
        Story {
            options,
            is_limited,
            messages: BTreeMap::new(),
            marks: BTreeMap::new(),
            next_mark: 0,
            session: History::new(None),
            epoch: 0,
            gaps: BTreeMap::new(),
            told: BTreeSet::new(),
            missing: 0,
        }
    }

    fn open(
        folder: &SimulatedFolder,
        now: Instant,
        story: &Story,
        drops: bool,
    ) -> Result<Self, String> {
        let mut options = story.options.clone();
        if !drops {
            options.max_bytes = u64::MAX;
        }
        let rig = Rig::open_with(folder, now, options);
        Ok(Self {
            rig: rig.map_err(|error| error.to_string())?,
            read_to: 0,
            handed: Vec::new(),
        })
    }

    fn progress(&self) -> watch::Receiver<Progress> {
        self.rig.shared.progress.subscribe()
    }

    fn happen(&mut self, story: &mut Story, random: &mut Rng) {
        match random.u8(0..42) {
            0..12 => self.append_some(story, random),
            12..20 => self.rig.pass(Duration::from_millis(random.u64(0..150))),
            20 => self.rig.pass(Duration::from_millis(random.u64(1000..2000))),
            21 => {
                let is_up = random.bool();
                let link = if is_up {
                    LinkHealth::Up
                } else {
                    LinkHealth::Down
                };
                let now = self.rig.now;
                self.rig.shared.with(|state| state.core.link(now, link));
            }
            22..26 if self.handed.len() < 40 => {
                let entries = self.rig.read(self.read_to + 1);
                self.read_to = entries.last().map_or(self.read_to, |entry| entry.seq.0);
                self.handed.extend(entries);
            }
            22..36 => (0..random.u8(1..8)).for_each(|_| self.answer(story, random)),
            36..39 => self.unmark(story, random),
            39 => self.connect(story, random),
            _ => self.tell_of_gap(story, random),
        }
    }

    fn close(&mut self) {
        self.rig.shared.close();
        self.rig.pass(Duration::ZERO);
    }

    fn look(&mut self, story: &mut Story, progress: Progress) -> Result<(), String> {
        let entries = self.rig.read_all();
        if !entries.is_sorted_by(|one, next| one.seq < next.seq) {
            return Err("out of order".to_owned());
        }
        for entry in &entries {
            check_entry(story, progress, entry)?;
        }
        let found: BTreeSet<u64> = entries.iter().map(|entry| entry.seq.0).collect();
        let missing = story.messages.iter().filter(|(seq, fate)| {
            let covered = fate.is_found || **seq <= progress.covered.0;
            let is_wanted = fate.record.message.qos != QoS::AtMostOnce && fate.done.is_none();
            covered && is_wanted && !found.contains(seq)
        });
        let missing: Vec<_> = missing.map(|(seq, _)| *seq).collect();
        self.check_missing(story, progress, &missing)?;
        self.check_gaps(story, missing.len() as u64)?;
        self.check_marks(story, progress, &found, !missing.is_empty())?;
        let (session, stats, marks, next) = self.rig.shared.with(|state| {
            let core = &state.core;
            let session = core.session().map(str::to_owned);
            (session, core.stats(), core.marks(), core.next_seq())
        });
        if !story.session.may_be(&session, progress.commits.0) {
            return Err(format!(
                "the session is {session:?}, of {:?}",
                story.session
            ));
        }
        if stats.messages != entries.len() as u64 || stats.lost > 0 {
            return Err(format!("{} are there, counted as {stats:?}", entries.len()));
        }
        if entries.last().is_some_and(|last| last.seq >= next) {
            return Err(format!("position {next:?} comes again"));
        }
        story.session = History::new(session);
        story.messages.clear();
        for entry in entries {
            story.epoch = story.epoch.max(entry.epoch);
            let fate = Fate {
                record: entry.record,
                is_found: true,
                done: None,
                received: History::new(entry.received),
            };
            story.messages.insert(entry.seq.0, fate);
        }
        story.marks = marks.into_iter().map(|mark| (mark, (0, None))).collect();
        Ok(())
    }

    fn go_on(&mut self, story: &mut Story) -> Result<(), String> {
        let seq = self.append(story, QoS::AtLeastOnce, 500, false);
        let epoch = self.rig.read(seq).first().map_or(0, |entry| entry.epoch);
        if epoch <= story.epoch {
            return Err(format!("epoch {epoch} after {}", story.epoch));
        }
        self.rig.pass(Duration::from_secs(2));
        if self.rig.progress().covered.0 != seq {
            return Err("it does not commit any more".to_owned());
        }
        Ok(())
    }
}
