//! The session log, in random lives: sessions begin and end; each message is wanted by some of them; some read and answer in
//! any order, some are away for ever and skip their oldest; files are rolled, rewritten and unlinked, and in some lives the
//! oldest is dropped for `queued_bytes_total`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::watch;

use super::super::super::testing::record_qos;
use super::super::super::{
    Mark, Outcome, Progress, SessionEntry, SessionLogOptions, SessionNumber, Want,
};
use super::super::SimulatedFolder;
use super::super::sessions::Rig;
use super::{History, Subject};
use crate::mqtt::{Message, PacketId, QoS, SubscriptionIds};

/// What became of a want.
#[derive(Clone)]
struct Fate {
    want: Want,
    /// A start found it.
    is_found: bool,
    /// The commit that makes it durable.
    done: Option<u64>,
    received: History<bool>,
}

#[derive(Clone, Default)]
struct Session {
    wants: BTreeMap<u64, Fate>,
    next_id: u16,
    /// The commit that makes it durable.
    forgotten: Option<u64>,
}

/// What was done to the log.
#[derive(Clone)]
pub(super) struct Story {
    options: SessionLogOptions,
    is_limited: bool,
    messages: BTreeMap<u64, Message>,
    sessions: BTreeMap<u64, Session>,
    next_session: u64,
    /// With the position of the message (0: an earlier start has found the mark), and the commit that removes it.
    marks: BTreeMap<Mark, (u64, Option<u64>)>,
    next_mark: u16,
}

/// The log, and what clients have got in this start: up to which position, and what they have not answered in full.
pub(super) struct SessionsLife {
    rig: Rig,
    handed: BTreeMap<u64, (u64, BTreeSet<u64>)>,
}

/// Its client never comes back.
fn is_away(session: u64) -> bool {
    session % 4 == 3
}

/// Of a session that was forgotten the state may still know, or not.
fn is_known(number: u64, session: &Session) -> bool {
    session.forgotten.is_none() || number.is_multiple_of(2)
}

impl Story {
    fn known(&self) -> BTreeSet<SessionNumber> {
        let known = self.sessions.iter();
        let known = known.filter(|(number, session)| is_known(**number, session));
        known.map(|(number, _)| SessionNumber(*number)).collect()
    }

    fn alive(&self) -> Vec<u64> {
        let alive = self.sessions.iter();
        let alive = alive.filter(|(_, session)| session.forgotten.is_none());
        alive.map(|(number, _)| *number).collect()
    }

    fn begin_session(&mut self) -> u64 {
        self.next_session += 1;
        self.sessions.insert(self.next_session, Session::default());
        self.next_session
    }

    fn fates(&self, seq: u64) -> impl Iterator<Item = (&Session, &Fate)> {
        let sessions = self.sessions.values();
        sessions.filter_map(move |session| Some((session, session.wants.get(&seq)?)))
    }
}

impl SessionsLife {
    fn next_commit(&self) -> u64 {
        self.rig.progress().commits.0 + 1
    }

    fn append(&self, story: &mut Story, sessions: &[u64], random: &mut Rng) -> u64 {
        let seq = self.rig.core(|core| core.next_seq()).0;
        let qos = QoS::from_bits(random.u8(1..3)).unwrap();
        let size = match random.u8(0..60) {
            0 => random.usize(60_000..80_000),
            _ => random.usize(8..900),
        };
        let message = record_qos(qos, seq, size).message;
        let mut wants = Vec::new();
        for number in sessions {
            let session = story.sessions.get_mut(number).unwrap();
            session.next_id += 1;
            let want = Want {
                session: SessionNumber(*number),
                packet_id: PacketId::new(session.next_id).unwrap(),
                qos: if random.u8(0..4) == 0 {
                    QoS::AtLeastOnce
                } else {
                    qos
                },
                retain: random.bool(),
                subscription_ids: SubscriptionIds::from(random.bool().then_some(77)),
            };
            let fate = Fate {
                want: want.clone(),
                is_found: false,
                done: None,
                received: History::new(false),
            };
            session.wants.insert(seq, fate);
            wants.push(want);
        }
        let is_at_qos2 = wants.iter().any(|want| want.qos == QoS::ExactlyOnce);
        let mark = (is_at_qos2 && random.bool()).then(|| {
            story.next_mark += 1;
            Mark {
                session: SessionNumber(sessions[0]),
                packet_id: PacketId::new(story.next_mark).unwrap(),
            }
        });
        if let Some(mark) = mark {
            story.marks.insert(mark, (seq, None));
        }
        story.messages.insert(seq, message.clone());
        let hold = !is_at_qos2 && random.bool();
        let now = self.rig.now;
        self.rig
            .core(|core| core.append(now, message, wants, mark, hold));
        seq
    }

    fn append_some(&self, story: &mut Story, random: &mut Rng) {
        for _ in 0..random.usize(1..10) {
            if !self.rig.core(|core| core.has_room()) {
                return;
            }
            let mut sessions = story.alive();
            random.shuffle(&mut sessions);
            sessions.truncate(random.usize(1..4));
            if !sessions.is_empty() {
                self.append(story, &sessions, random);
            }
        }
    }

    fn read(&mut self, story: &Story, random: &mut Rng) {
        let mut readers = story.alive();
        readers.retain(|number| !is_away(*number));
        let Some(number) = random.choice(readers) else {
            return;
        };
        let (after, open) = self.handed.entry(number).or_default();
        if open.len() > 30 {
            return;
        }
        let (entries, _) = self.rig.read(number, *after);
        let Some(last) = entries.last().map(|entry| entry.seq.0) else {
            return;
        };
        *after = last;
        open.extend(entries.iter().map(|entry| entry.seq.0));
        self.rig.core(|core| core.sent(SessionNumber(number), last));
    }

    /// A client answers one of the first messages that it has.
    fn answer(&mut self, story: &mut Story, random: &mut Rng) {
        let progress = self.rig.progress();
        let (now, next) = (self.rig.now, self.next_commit());
        let handed = self.handed.iter_mut();
        let handed: Vec<_> = handed.filter(|(_, (_, open))| !open.is_empty()).collect();
        let Some((number, (_, open))) = random.choice(handed) else {
            return;
        };
        let few: Vec<_> = open.iter().copied().take(5).collect();
        let seq = random.choice(few).unwrap();
        let Some(session) = story.sessions.get_mut(number) else {
            return;
        };
        let fate = session.wants.get_mut(&seq).unwrap();
        let number = SessionNumber(*number);
        if fate.want.qos == QoS::ExactlyOnce {
            let (received, is_received) = fate.received.newest();
            if *is_received && received > progress.commits.0 || seq > progress.committed.0 {
                return;
            }
            if !is_received {
                let received = self.rig.core(|core| core.received(now, number, seq));
                fate.received.set(received.0, true);
                return;
            }
        }
        open.remove(&seq);
        fate.done.get_or_insert(next);
        self.rig
            .core(|core| core.done(now, number, seq, Outcome::Delivered));
    }

    fn skip(&self, story: &mut Story, random: &mut Rng) {
        if story.is_limited {
            return; // what was dropped for the limit would be among the oldest
        }
        let mut away = story.alive();
        away.retain(|number| is_away(*number));
        let Some(number) = random.choice(away) else {
            return;
        };
        let (now, next) = (self.rig.now, self.next_commit());
        let count = random.usize(1..4);
        let wants = story.sessions.get_mut(&number).unwrap().wants.values_mut();
        for fate in wants.filter(|fate| fate.done.is_none()).take(count) {
            fate.done = Some(next);
        }
        self.rig
            .core(|core| core.skip_oldest(now, SessionNumber(number), count as u64));
    }

    fn forget(&mut self, story: &mut Story, random: &mut Rng) {
        let Some(number) = random.choice(story.alive()) else {
            return;
        };
        let now = self.rig.now;
        let promised = self
            .rig
            .core(|core| core.forget(now, SessionNumber(number)));
        self.handed.remove(&number);
        story.sessions.get_mut(&number).unwrap().forgotten = Some(promised.0);
        for (mark, (_, removed)) in &mut story.marks {
            if mark.session.0 == number {
                removed.get_or_insert(promised.0);
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
        *removed = Some(self.rig.core(|core| core.unmark(now, *mark)).0);
    }

    /// What one session gets is as the story tells; gives how much is missing.
    fn check_session(
        &self,
        story: &Story,
        progress: Progress,
        number: u64,
        entries: &[SessionEntry],
    ) -> Result<u64, String> {
        let session = &story.sessions[&number];
        let commits = progress.commits.0;
        let is_over = session
            .forgotten
            .is_some_and(|forgotten| forgotten <= commits);
        if is_over && !entries.is_empty() {
            return Err(format!("session {number} was forgotten"));
        }
        if !entries.is_sorted_by(|one, next| one.seq < next.seq) {
            return Err(format!("session {number}: out of order"));
        }
        for entry in entries {
            let seq = entry.seq.0;
            let fate = session.wants.get(&seq);
            let Some(fate) = fate.filter(|fate| fate.want == entry.want) else {
                return Err(format!("session {number} never wanted {seq} like this"));
            };
            if story.messages.get(&seq) != Some(&entry.message) {
                return Err(format!("{seq} is not as it was"));
            }
            if fate.done.is_some_and(|done| done <= commits) {
                return Err(format!("{seq} was done by {number}, and committed"));
            }
            if !fate.received.may_be(&entry.received, commits) {
                let (is, was) = (entry.received, &fate.received);
                return Err(format!("{seq}: the mark of its PUBREC is {is}, {was:?}"));
            }
        }
        let standing = self.rig.core(|core| core.standing(SessionNumber(number)));
        if standing.messages != entries.len() as u64 {
            let count = entries.len();
            return Err(format!("{number} gets {count}, and has {standing:?}"));
        }
        let highest = entries.iter().map(|entry| entry.want.packet_id).max();
        if standing.last_packet_id < highest {
            return Err(format!(
                "{number}: packet id {highest:?} is given out again"
            ));
        }
        let missing = session.wants.iter().filter(|(seq, fate)| {
            let covered = fate.is_found || **seq <= progress.covered.0;
            let is_there = entries.iter().any(|entry| entry.seq.0 == **seq);
            covered && fate.done.is_none() && session.forgotten.is_none() && !is_there
        });
        Ok(missing.count() as u64)
    }

    fn check_marks(
        &self,
        story: &Story,
        progress: Progress,
        found: &BTreeMap<u64, Vec<SessionEntry>>,
        has_dropped: bool,
    ) -> Result<(), String> {
        let marks = self.rig.core(|core| core.marks());
        if let Some(mark) = marks.iter().find(|mark| !story.marks.contains_key(mark)) {
            return Err(format!("{mark:?} was never set"));
        }
        for (mark, (seq, removed)) in &story.marks {
            let is_set = marks.contains(mark);
            if is_set && removed.is_some_and(|number| number <= progress.commits.0) {
                return Err(format!("{mark:?} was removed, and committed"));
            }
            let is_there = found.values().flatten().any(|entry| entry.seq.0 == *seq);
            // Where all who wanted it ended or skipped it before its commit, nobody is left whom a resend could reach twice.
            let reached = story.fates(*seq).any(|(of, fate)| {
                of.forgotten.is_none() && (fate.done.is_none() || *fate.received.newest().1)
            });
            let must = is_there || *seq == 0 || *seq <= progress.covered.0 && reached;
            if !is_set && removed.is_none() && must {
                return Err(format!("the mark of {seq} is gone"));
            }
            let is_wanted = story
                .fates(*seq)
                .any(|(of, fate)| of.forgotten.is_none() && fate.done.is_none());
            if is_set && is_wanted && !is_there && !has_dropped {
                return Err(format!("{seq} is gone, and its mark is there"));
            }
        }
        Ok(())
    }
}

impl Subject for SessionsLife {
    const NAME: &'static str = "the session log";
    type Story = Story;

    fn begin(random: &mut Rng) -> Story {
        let is_limited = random.u8(0..3) == 0;
        let mut options = SessionLogOptions::new("simulated".into());
        // So small that readers have to go to the files.
        options.hold_bytes = random.usize(10..50) << 10;
        options.commit_interval = Duration::from_millis(random.u64(5..120));
        options.hold = Duration::from_millis(500 * random.u64(0..2));
        if is_limited {
            options.queued_bytes_total = random.u64(150..500) << 10;
        }
        let mut story = Story {
            options,
            is_limited,
            messages: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_session: 0,
            marks: BTreeMap::new(),
            next_mark: 0,
        };
        for _ in 0..random.u8(1..6) {
            story.begin_session();
        }
        story
    }

    fn open(
        folder: &SimulatedFolder,
        now: Instant,
        story: &Story,
        drops: bool,
    ) -> Result<Self, String> {
        let mut options = story.options.clone();
        if !drops {
            options.queued_bytes_total = u64::MAX;
        }
        let rig = Rig::open_with(folder, now, options, &story.known());
        Ok(Self {
            rig: rig.map_err(|error| error.to_string())?,
            handed: BTreeMap::new(),
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
            21..26 => self.read(story, random),
            26..36 => (0..random.u8(1..8)).for_each(|_| self.answer(story, random)),
            36..39 => self.unmark(story, random),
            39 => self.skip(story, random),
            40 => self.forget(story, random),
            _ => {
                story.begin_session();
            }
        }
    }

    fn close(&mut self) {
        self.rig.shared.close();
        self.rig.pass(Duration::ZERO);
    }

    fn look(&mut self, story: &mut Story, progress: Progress) -> Result<(), String> {
        let mut found = BTreeMap::new();
        let mut missing = 0;
        for number in story.known() {
            let entries = self.rig.read_all(number.0);
            let gone = self.check_session(story, progress, number.0, &entries)?;
            missing += gone;
            found.insert(number.0, entries);
        }
        let stats = self.rig.core(|core| core.stats());
        let dropped = stats.dropped + progress.dropped;
        if missing > 0 && (!story.is_limited || missing > dropped) {
            return Err(format!(
                "{missing} were covered and are gone, {dropped} were dropped"
            ));
        }
        if stats.lost > 0 {
            return Err(format!("{} are counted as lost", stats.lost));
        }
        self.check_marks(story, progress, &found, missing > 0)?;
        let next = self.rig.core(|core| core.next_seq());
        let last = found.values().flatten().map(|entry| entry.seq).max();
        if last.is_some_and(|last| last >= next) {
            return Err(format!("position {next:?} comes again"));
        }
        story.messages.clear();
        story
            .sessions
            .retain(|number, _| found.contains_key(number));
        for (number, entries) in found {
            let session = story.sessions.get_mut(&number).unwrap();
            session.forgotten = None;
            session.wants.clear();
            for entry in entries {
                story.messages.insert(entry.seq.0, entry.message);
                let fate = Fate {
                    want: entry.want,
                    is_found: true,
                    done: None,
                    received: History::new(entry.received),
                };
                session.wants.insert(entry.seq.0, fate);
            }
        }
        let marks = self.rig.core(|core| core.marks()).into_iter();
        story.marks = marks.map(|mark| (mark, (0, None))).collect();
        Ok(())
    }

    fn go_on(&mut self, story: &mut Story) -> Result<(), String> {
        let known = story.alive().into_iter().next();
        let number = known.unwrap_or_else(|| story.begin_session());
        let seq = self.append(story, &[number], &mut Rng::with_seed(1));
        self.rig.pass(Duration::from_secs(2));
        if self.rig.progress().covered.0 != seq {
            return Err("it does not commit any more".to_owned());
        }
        Ok(())
    }
}
