//! The store in memory: a session log, the state and the log of one bridge, each with what is committed beside what was
//! only said. A crash leaves what is committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use fieldgate::broker::ForwardRoute;
use fieldgate::broker::core::{
    Core, Effect, FETCH_MESSAGES, LogId, Restored, RestoredRetained, RestoredSession,
};
use fieldgate::mqtt::{Message, PacketId};
use fieldgate::store::{
    Mark, Seq, SessionEntry, SessionNumber, SessionStanding, StateChange, StoredSession,
    StoredSubscription, Want,
};
use fieldgate::topic::TopicName;

pub const BRIDGE: LogId = LogId::Bridge(0);

#[derive(Default)]
pub struct FakeStore {
    log: Part<Log>,
    state: Part<State>,
    bridge: Part<Bridge>,
    asked: VecDeque<(SessionNumber, Seq)>,
    answers: VecDeque<(SessionNumber, Vec<SessionEntry>, bool)>,
    received: Vec<(SessionNumber, Seq)>,
    unmarks: Vec<(LogId, Mark)>,
    pub reads: usize,
}

/// What was said, what is committed, how far that is, and how far the core was told it is covered.
#[derive(Default)]
struct Part<T> {
    said: T,
    committed: T,
    upto: u64,
    covered: u64,
}

#[derive(Clone, Default)]
struct Log {
    last: u64,
    messages: BTreeMap<u64, Kept>,
    sent: BTreeMap<SessionNumber, Seq>,
    last_ids: BTreeMap<SessionNumber, PacketId>,
    marks: BTreeSet<Mark>,
}

#[derive(Clone)]
struct Kept {
    message: Message,
    wants: BTreeMap<SessionNumber, (Want, bool)>,
    at: Instant,
}

#[derive(Clone, Default)]
struct State {
    last: u64,
    sessions: BTreeMap<SessionNumber, StoredSession>,
    subscriptions: BTreeMap<(SessionNumber, ByteString), StoredSubscription>,
    retained: BTreeMap<TopicName, (Message, ByteString)>,
    marks: BTreeSet<Mark>,
    /// Payloads that were retained at any time.
    ever: BTreeSet<Bytes>,
}

#[derive(Clone, Default)]
struct Bridge {
    last: u64,
    messages: Vec<Message>,
    marks: BTreeSet<Mark>,
}

impl FakeStore {
    /// Attaches what is committed to a new core, and hands it what it knew.
    pub fn open(&mut self, core: &mut Core, now: Instant, routes: Vec<ForwardRoute>) {
        self.crash();
        let bridge = &self.bridge.said;
        core.attach_log(BRIDGE, Seq(bridge.last + 1), routes);
        let known: BTreeSet<_> = self.state.said.sessions.keys().copied().collect();
        let log = &mut self.log.said;
        let used = log.last_ids.keys().chain(&known).max();
        let next_session = SessionNumber(used.map_or(0, |used| used.0) + 1);
        for kept in log.messages.values_mut() {
            kept.wants.retain(|session, _| known.contains(session));
        }
        log.marks.retain(|mark| known.contains(&mark.session));
        core.attach_store(Seq(log.last + 1), next_session);
        let state = &self.state.said;
        let retained = state.retained.values().map(|(message, publisher)| {
            let (message, publisher) = (message.clone(), publisher.clone());
            RestoredRetained {
                message,
                publisher,
                age: Duration::ZERO,
            }
        });
        let in_state = state.marks.iter().map(|mark| (LogId::State, *mark));
        let marks = bridge.marks.iter().map(|mark| (BRIDGE, *mark));
        let restored = Restored {
            sessions: known.iter().map(|number| self.restored(*number)).collect(),
            retained: retained.collect(),
            marks: marks.chain(in_state).collect(),
        };
        core.restore(now, restored, &mut |principal, _| Some(principal.clone()));
    }

    fn restored(&self, number: SessionNumber) -> RestoredSession {
        let (log, state) = (&self.log.said, &self.state.said);
        let wanted: Vec<_> = log
            .messages
            .values()
            .filter(|kept| kept.wants.contains_key(&number))
            .map(|kept| kept.message.payload.len() + kept.message.topic.as_str().len())
            .collect();
        let marks = log.marks.iter().filter(|mark| mark.session == number);
        let subscriptions = state.subscriptions.iter();
        RestoredSession {
            number,
            session: state.sessions[&number].clone(),
            subscriptions: subscriptions
                .filter(|((session, _), _)| *session == number)
                .map(|((_, filter), stored)| (filter.clone(), *stored))
                .collect(),
            standing: SessionStanding {
                messages: wanted.len() as u64,
                bytes: wanted.iter().sum::<usize>() as u64,
                last_packet_id: log.last_ids.get(&number).copied(),
                sent: log.sent.get(&number).copied().unwrap_or_default(),
                marks: marks.map(|mark| mark.packet_id).collect(),
            },
        }
    }

    /// Everything that is not committed is lost.
    fn crash(&mut self) {
        self.log.crash();
        self.state.crash();
        self.bridge.crash();
        self.log.covered = self.log.said.last;
        self.log.upto = self.log.said.last;
        self.bridge.covered = self.bridge.said.last;
        self.bridge.upto = self.bridge.said.last;
        // Positions of the state count from the start.
        self.state.said.last = 0;
        self.state.committed.last = 0;
        self.state.covered = 0;
        self.state.upto = 0;
        self.asked.clear();
        self.answers.clear();
        self.received.clear();
        self.unmarks.clear();
    }

    /// Takes what is for the store; what is not comes back.
    pub fn take(&mut self, now: Instant, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Keep {
                seq,
                message,
                wants,
                mark,
                ..
            } => self.log.said.keep(now, seq, &message, wants, mark),
            Effect::Done { session, seq, .. } => {
                if let Some(kept) = self.log.said.messages.get_mut(&seq.0) {
                    kept.wants.remove(&session);
                }
            }
            Effect::Received { session, seq } => {
                let kept = self.log.said.messages.get_mut(&seq.0).unwrap();
                kept.wants.get_mut(&session).unwrap().1 = true;
                self.received.push((session, seq));
            }
            Effect::Sent { session, seq } => {
                let before = self.log.said.sent.insert(session, seq);
                assert!(before < Some(seq), "sent goes up");
            }
            Effect::Skip { session, count } => self.log.said.skip(session, count),
            Effect::Unmark { log, mark } => {
                let marks = match log {
                    LogId::Sessions => &mut self.log.said.marks,
                    _ => &mut self.bridge.said.marks,
                };
                marks.remove(&mark);
                self.unmarks.push((log, mark));
            }
            Effect::Forget { session } => self.log.said.forget(session),
            Effect::Fetch { session, after } => {
                let mut others = self.asked.iter().map(|asked| asked.0);
                assert!(!others.any(|other| other == session), "one at a time");
                self.asked.push_back((session, after));
            }
            Effect::State { seq, change, .. } => self.state.said.put(seq, *change),
            Effect::Append {
                seq, record, mark, ..
            } => {
                let bridge = &mut self.bridge.said;
                bridge.last += 1;
                assert_eq!(seq.0, bridge.last);
                bridge.messages.push(record.message);
                bridge.marks.extend(mark);
            }
            other => return Some(other),
        }
        None
    }

    pub fn commit_log(&mut self, core: &mut Core, now: Instant) {
        self.log.commit();
        self.log.upto = self.log.said.last;
        core.committed(now, Seq(self.log.upto));
        self.cover(core, now);
        for (session, seq) in std::mem::take(&mut self.received) {
            core.committed_received(now, session, seq);
        }
        self.tell_unmarked(core, now, LogId::Sessions);
    }

    pub fn commit_state(&mut self, core: &mut Core, now: Instant) {
        self.state.commit();
        self.state.upto = self.state.said.last;
        core.covered(now, LogId::State, Seq(self.state.upto));
    }

    pub fn commit_bridge(&mut self, core: &mut Core, now: Instant) {
        self.bridge.commit();
        self.bridge.upto = self.bridge.said.last;
        core.covered(now, BRIDGE, Seq(self.bridge.upto));
        self.tell_unmarked(core, now, BRIDGE);
    }

    fn tell_unmarked(&mut self, core: &mut Core, now: Instant, log: LogId) {
        self.unmarks.retain(|(it, mark)| {
            if *it == log {
                core.unmarked(now, log, *mark);
            }
            *it != log
        });
    }

    /// Tells the core what of the session log is committed or done; messages that are done before they are written are
    /// covered like others.
    pub fn cover(&mut self, core: &mut Core, now: Instant) {
        let log = &mut self.log;
        let mut covered = log.covered.max(log.upto);
        let is_done = |seq| {
            let kept = log.said.messages.get(&seq);
            kept.is_none_or(|kept| kept.wants.is_empty())
        };
        while covered < log.said.last && is_done(covered + 1) {
            covered += 1;
        }
        if covered > log.covered {
            log.covered = covered;
            core.covered(now, LogId::Sessions, Seq(covered));
        }
    }

    /// Whether a read was asked for and not answered.
    pub fn is_asked(&self) -> bool {
        !self.asked.is_empty() || !self.answers.is_empty()
    }

    /// Reads the next of what was asked for; the core is told later.
    pub fn read(&mut self, now: Instant) -> bool {
        let Some((session, after)) = self.asked.pop_front() else {
            return false;
        };
        self.reads += 1;
        let (entries, end) = self.entries(now, session, after);
        self.answers.push_back((session, entries, end));
        true
    }

    pub fn answer(&mut self, core: &mut Core, now: Instant) -> bool {
        let Some((session, entries, end)) = self.answers.pop_front() else {
            return false;
        };
        core.fetched(now, session, entries, end);
        true
    }

    fn entries(
        &self,
        now: Instant,
        session: SessionNumber,
        after: Seq,
    ) -> (Vec<SessionEntry>, bool) {
        let said = self.log.said.messages.range(after.0 + 1..);
        let mut wanted = said.filter_map(|(seq, kept)| {
            let (want, _) = kept.wants.get(&session)?;
            let committed = self.log.committed.messages.get(seq);
            let committed = committed.and_then(|kept| kept.wants.get(&session));
            Some(SessionEntry {
                seq: Seq(*seq),
                message: kept.message.clone(),
                want: want.clone(),
                age: now.saturating_duration_since(kept.at),
                received: committed.is_some_and(|(_, received)| *received),
            })
        });
        let entries: Vec<_> = wanted.by_ref().take(FETCH_MESSAGES).collect();
        (entries, wanted.next().is_none())
    }

    /// The messages that the session log would give back after a crash now.
    pub fn committed_kept(&self) -> impl Iterator<Item = &Message> {
        let kept = self.log.committed.messages.values();
        kept.map(|kept| &kept.message)
    }

    /// What the state would give back after a crash now.
    pub fn committed_retained(&self, topic: &str) -> Option<&Message> {
        let retained = &self.state.committed.retained;
        let topic = TopicName::try_from(topic).unwrap();
        retained.get(&topic).map(|(message, _)| message)
    }

    /// Whether it is committed that a message with this payload was retained, whatever has become of it.
    pub fn was_retained(&self, payload: &str) -> bool {
        self.state.committed.ever.contains(payload.as_bytes())
    }
}

impl<T: Clone> Part<T> {
    fn commit(&mut self) {
        self.committed = self.said.clone();
    }

    fn crash(&mut self) {
        self.said = self.committed.clone();
    }
}

impl Log {
    fn keep(
        &mut self,
        now: Instant,
        seq: Seq,
        message: &Message,
        wants: Vec<Want>,
        mark: Option<Mark>,
    ) {
        self.last += 1;
        assert_eq!(seq.0, self.last);
        assert!(!wants.is_empty());
        self.messages.retain(|_, kept| !kept.wants.is_empty());
        for want in &wants {
            self.last_ids.insert(want.session, want.packet_id);
        }
        let wants = wants.into_iter().map(|want| (want.session, (want, false)));
        let kept = Kept {
            message: message.clone(),
            wants: wants.collect(),
            at: now,
        };
        self.messages.insert(seq.0, kept);
        self.marks.extend(mark);
    }

    fn skip(&mut self, session: SessionNumber, count: u64) {
        assert!(count > 0);
        let sent = self.sent.get(&session).map_or(0, |sent| sent.0);
        let mut left = count;
        for (_, kept) in self.messages.range_mut(sent + 1..) {
            if left > 0 && kept.wants.remove(&session).is_some() {
                left -= 1;
            }
        }
        assert_eq!(left, 0, "as many as there are");
    }

    fn forget(&mut self, session: SessionNumber) {
        for kept in self.messages.values_mut() {
            kept.wants.remove(&session);
        }
        self.marks.retain(|mark| mark.session != session);
    }
}

impl State {
    fn put(&mut self, seq: Seq, change: StateChange) {
        self.last += 1;
        assert_eq!(seq.0, self.last);
        match change {
            StateChange::Session(number, session) => {
                self.sessions.insert(number, *session);
            }
            StateChange::SessionGone(number) => {
                self.sessions.remove(&number).unwrap();
                self.subscriptions
                    .retain(|(session, _), _| *session != number);
            }
            StateChange::Subscription(number, filter, stored) => {
                assert!(self.sessions.contains_key(&number));
                self.subscriptions.insert((number, filter), stored);
            }
            StateChange::SubscriptionGone(number, filter) => {
                self.subscriptions.remove(&(number, filter)).unwrap();
            }
            StateChange::Retained(message, publisher) => {
                self.ever.insert(message.payload.clone());
                self.retained
                    .insert(message.topic.clone(), (message, publisher));
            }
            StateChange::RetainedGone(topic) => {
                self.retained.remove(&topic);
            }
            StateChange::Marked(mark) => assert!(self.marks.insert(mark)),
            StateChange::MarkGone(mark) => assert!(self.marks.remove(&mark)),
        }
    }
}
