//! The store as the core sees it: which positions were handed out, what is committed, and which sessions are kept.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use bytestring::ByteString;

use super::answers::Tickets;
use super::route::AttachedLog;
use super::session::SessionKey;
use super::watermark::Watermark;
use super::{Core, Effect, LogId};
use crate::store::{Mark, Seq, SessionNumber, StateChange, StoredSubscription};
use crate::topic::TopicFilter;

/// The session log and the state, once attached. Before, no session is kept.
#[derive(Debug)]
pub(super) struct AttachedStore {
    is_attached: bool,
    /// Of the session log.
    pub(super) sessions: Watermark,
    /// Of the state; counts from 1 since the start.
    pub(super) state: Watermark,
    next_session: SessionNumber,
    by_number: HashMap<SessionNumber, SessionKey>,
    /// Everything in the session log up to here is on stable storage: a QoS 2 message may be sent.
    committed: Seq,
    /// Sessions whose next message is of QoS 2 and waits for that. Some wait no more; telling them does no harm.
    uncommitted: BTreeSet<(Seq, SessionKey)>,
    /// Subscriptions whose retained messages are all in the log, up to this position: once that is covered, the state may
    /// say so. One entry a subscription at most.
    replayed: VecDeque<Replayed>,
    /// Marks that the state is to remove, by position.
    pub(super) unmarking: VecDeque<(Seq, Mark)>,
}

#[derive(Debug)]
struct Replayed {
    upto: Seq,
    session: SessionNumber,
    filter: TopicFilter,
    stored: StoredSubscription,
}

impl Default for AttachedStore {
    fn default() -> Self {
        Self {
            is_attached: false,
            sessions: Watermark::new(Seq(1)),
            state: Watermark::new(Seq(1)),
            next_session: SessionNumber(1),
            by_number: HashMap::new(),
            committed: Seq(0),
            uncommitted: BTreeSet::new(),
            replayed: VecDeque::new(),
            unmarking: VecDeque::new(),
        }
    }
}

impl AttachedStore {
    pub(super) fn is_attached(&self) -> bool {
        self.is_attached
    }

    /// A number that no session ever had.
    pub(super) fn new_session(&mut self, key: SessionKey) -> SessionNumber {
        let number = self.next_session;
        self.skip_session(number);
        self.by_number.insert(number, key);
        number
    }

    /// The number was given out once.
    pub(super) fn skip_session(&mut self, number: SessionNumber) {
        let after = SessionNumber(number.0.saturating_add(1));
        self.next_session = self.next_session.max(after);
    }

    pub(super) fn know_session(&mut self, number: SessionNumber, key: SessionKey) {
        self.by_number.insert(number, key);
    }

    pub(super) fn forget_session(&mut self, number: SessionNumber) {
        self.by_number.remove(&number);
        self.replayed.retain(|replayed| replayed.session != number);
    }

    pub(super) fn session(&self, number: SessionNumber) -> Option<SessionKey> {
        self.by_number.get(&number).copied()
    }

    pub(super) fn is_committed(&self, seq: Seq) -> bool {
        seq <= self.committed
    }

    /// The session is told when `seq` is committed.
    pub(super) fn wait_for_commit(&mut self, seq: Seq, session: SessionKey) {
        self.uncommitted.insert((seq, session));
    }

    /// A change of the state; the position it gets.
    pub(super) fn put(
        &mut self,
        effects: &mut Vec<Effect>,
        change: StateChange,
        urgent: bool,
    ) -> Seq {
        let seq = self.state.take();
        effects.push(Effect::State {
            seq,
            change: Box::new(change),
            urgent,
        });
        seq
    }

    pub(super) fn replay_ended(
        &mut self,
        session: SessionNumber,
        filter: TopicFilter,
        stored: StoredSubscription,
    ) {
        self.replayed.push_back(Replayed {
            upto: self.sessions.last(),
            session,
            filter,
            stored,
        });
    }

    /// The subscription is another one now, or none: what is said of it must not be overtaken by what was.
    pub(super) fn forget_replay(&mut self, session: SessionNumber, filter: &TopicFilter) {
        self.replayed
            .retain(|replayed| replayed.session != session || replayed.filter != *filter);
    }

    /// Whether [`Self::tell_replayed`] may have something to tell.
    pub(super) fn has_replayed(&self) -> bool {
        !self.replayed.is_empty()
    }

    /// Tells the state of replays whose messages are covered.
    pub(super) fn tell_replayed(&mut self, effects: &mut Vec<Effect>) {
        while let Some(replayed) = self.replayed.front()
            && self.sessions.is_covered(replayed.upto)
            && let Some(replayed) = self.replayed.pop_front()
        {
            let filter = ByteString::from(replayed.filter.as_str());
            let change = StateChange::Subscription(replayed.session, filter, replayed.stored);
            self.put(effects, change, false);
        }
    }

    /// A mark that the state has removed.
    pub(super) fn pop_unmarked(&mut self) -> Option<Mark> {
        if !self.state.is_covered(self.unmarking.front()?.0) {
            return None;
        }
        self.unmarking.pop_front().map(|(_, mark)| mark)
    }

    fn pop_committed(&mut self) -> Option<SessionKey> {
        if !self.is_committed(self.uncommitted.first()?.0) {
            return None;
        }
        self.uncommitted.pop_first().map(|(_, session)| session)
    }
}

impl Core {
    /// Attaches the session log and the state: from now on sessions that outlive their connection are kept. `next_seq` is
    /// the next position of the session log; `next_session` a number from which on none was ever given out.
    pub fn attach_store(&mut self, next_seq: Seq, next_session: SessionNumber) {
        let sessions = Watermark::new(next_seq);
        self.store = AttachedStore {
            is_attached: true,
            committed: sessions.last(),
            sessions,
            next_session,
            ..AttachedStore::default()
        };
    }

    /// Everything in the session log up to `upto` that is still wanted is on stable storage: QoS 2 messages that waited
    /// for that are sent.
    pub fn committed(&mut self, now: Instant, upto: Seq) {
        self.now = Some(now);
        self.store.committed = self.store.committed.max(upto);
        while let Some(key) = self.store.pop_committed() {
            self.flush(now, key);
        }
    }
}

/// The positions of a part of the store.
pub(super) fn watermark<'a>(
    logs: &'a mut [AttachedLog],
    store: &'a mut AttachedStore,
    log: LogId,
) -> Option<&'a mut Watermark> {
    match log {
        LogId::Sessions => Some(&mut store.sessions),
        LogId::State => Some(&mut store.state),
        LogId::Bridge(_) => {
            let found = logs.iter_mut().find(|known| known.id == log);
            found.map(|log| &mut log.watermark)
        }
    }
}

/// Whether something of `tickets` is not covered; where that is so, `session` is told when it is.
pub(super) fn waits(
    logs: &mut [AttachedLog],
    store: &mut AttachedStore,
    session: SessionKey,
    tickets: &Tickets,
) -> bool {
    tickets.as_slice().iter().any(|&(log, seq)| {
        let known = watermark(logs, store, log);
        let open = known.filter(|known| !known.is_covered(seq));
        open.map(|known| known.wait(seq, session)).is_some()
    })
}

/// The session waits no more for any of `tickets`.
pub(super) fn stop_waiting(
    logs: &mut [AttachedLog],
    store: &mut AttachedStore,
    session: SessionKey,
    tickets: &Tickets,
) {
    for &(log, seq) in tickets.as_slice() {
        if let Some(known) = watermark(logs, store, log) {
            known.stop_waiting(seq, session);
        }
    }
}
