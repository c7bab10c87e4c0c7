//! The shell's side of the store: what the core wants kept goes into the logs and the state, and what has become of it
//! goes back into the core.
//!
//! Nothing here waits in a turn: a read is a task of its own, a commit is heard of by [`follow`]. What waits for a commit stands in
//! the order of the commits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::core::{Core, Effect, FETCH_BYTES, FETCH_MESSAGES, LogId};
use super::shell::{Moment, Shell};
use super::stores::{Attachment, SessionStore, Stores};
use crate::mqtt::Message;
use crate::store::{CommitNumber, Log, Mark, Progress, Record, Seq, SessionNumber};

/// Until a read of the session log that failed is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The stores of a broker, and what waits in them.
pub(super) struct Keeping {
    /// By the numbers of their logs; one that was attached stays.
    bridges: RefCell<Vec<Rc<Kept<Attachment>>>>,
    pub(super) sessions: Option<Kept<SessionStore>>,
    /// What is to be read for sessions; at most one entry for each.
    fetches: RefCell<VecDeque<(SessionNumber, Seq)>>,
    to_fetch: Notify,
}

/// A store, and what the core is to be told when it has committed.
pub(super) struct Kept<T> {
    pub(super) store: T,
    waiting: RefCell<VecDeque<(CommitNumber, Committed)>>,
    /// The last commit that the core knows of.
    known: Cell<CommitNumber>,
}

/// What a commit means to the core.
#[derive(Clone, Copy, Debug)]
enum Committed {
    /// A client's PUBREC.
    Received(SessionNumber, Seq),
    /// The end of a mark.
    Unmarked(Mark),
}

impl Keeping {
    pub(super) fn new(stores: Stores) -> Self {
        Self {
            bridges: RefCell::new(
                stores
                    .bridges
                    .into_iter()
                    .map(Kept::new)
                    .map(Rc::new)
                    .collect(),
            ),
            sessions: stores.sessions.map(Kept::new),
            fetches: RefCell::default(),
            to_fetch: Notify::new(),
        }
    }

    pub(super) fn bridge(&self, log: LogId) -> Option<Rc<Kept<Attachment>>> {
        match log {
            LogId::Bridge(number) => self.bridges.borrow().get(number).cloned(),
            LogId::Sessions | LogId::State => None,
        }
    }

    /// Takes one more in, under the next number.
    pub(super) fn add_bridge(&self, attachment: Attachment) -> LogId {
        let mut bridges = self.bridges.borrow_mut();
        bridges.push(Rc::new(Kept::new(attachment)));
        LogId::Bridge(bridges.len() - 1)
    }

    /// Every log that there is.
    pub(super) fn logs(&self) -> impl Iterator<Item = LogId> {
        let bridges = (0..self.bridges.borrow().len()).map(LogId::Bridge);
        let sessions = self.sessions.iter();
        bridges.chain(sessions.flat_map(|_| [LogId::Sessions, LogId::State]))
    }

    fn progress(&self, log: LogId) -> Option<watch::Receiver<Progress>> {
        let sessions = self.sessions.as_ref().map(|kept| &kept.store);
        match log {
            LogId::Bridge(_) => self.bridge(log).map(|kept| kept.store.log.progress()),
            LogId::Sessions => sessions.map(|store| store.log.progress()),
            LogId::State => sessions.map(|store| store.state.progress()),
        }
    }

    /// For the log.
    fn name(&self, log: LogId) -> String {
        match log {
            LogId::Bridge(_) => self
                .bridge(log)
                .map_or_else(String::new, |kept| kept.store.name.clone()),
            LogId::Sessions => "sessions".to_owned(),
            LogId::State => "state".to_owned(),
        }
    }

    /// Whether the files of the log cannot be written at the moment.
    pub(super) fn is_out_of_use(&self, log: LogId) -> bool {
        let sessions = self.sessions.as_ref().map(|kept| &kept.store);
        match log {
            LogId::Bridge(_) => self
                .bridge(log)
                .is_some_and(|kept| kept.store.log.error().is_some()),
            LogId::Sessions => sessions.is_some_and(|store| store.log.error().is_some()),
            LogId::State => sessions.is_some_and(|store| store.state.error().is_some()),
        }
    }

    /// Waits until the log has room.
    pub(super) fn room(&self, log: LogId) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
        let sessions = self.sessions.as_ref().map(|kept| &kept.store);
        Some(match log {
            LogId::Bridge(_) => {
                let log = self.bridge(log)?.store.log.clone();
                Box::pin(async move { log.room().await })
            }
            LogId::Sessions => {
                let log = sessions?.log.clone();
                Box::pin(async move { log.room().await })
            }
            LogId::State => {
                let state = sessions?.state.clone();
                Box::pin(async move { state.room().await })
            }
        })
    }
}

impl<T> Kept<T> {
    fn new(store: T) -> Self {
        Self {
            store,
            waiting: RefCell::default(),
            known: Cell::default(),
        }
    }

    /// What waits for a commit that was made; oldest first, one at a time.
    fn next_committed(&self) -> Option<Committed> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.front()?.0 > self.known.get() {
            return None;
        }
        waiting.pop_front().map(|(_, what)| what)
    }
}

impl Shell {
    /// Carries out an effect on the session log or the state. Without them the core has none.
    pub(super) fn keep(&self, effect: Effect, at: Moment) {
        let Some(kept) = &self.keeping.sessions else {
            return;
        };
        let SessionStore { log, state, .. } = &kept.store;
        match effect {
            Effect::Keep {
                seq,
                message,
                wants,
                mark,
                hold,
            } => {
                let message = Message::clone(&message);
                log.append(at.now, seq, message, wants, mark, hold);
                if !log.has_room() {
                    self.full.set(Some(LogId::Sessions));
                }
            }
            Effect::Done {
                session,
                seq,
                outcome,
            } => log.done(at.now, session, seq, outcome),
            Effect::Received { session, seq } => {
                let commit = log.received(at.now, session, seq);
                let what = Committed::Received(session, seq);
                self.tell_after(LogId::Sessions, kept, commit, what, at);
            }
            Effect::Sent { session, seq } => log.sent(session, seq),
            Effect::Skip { session, count } => log.skip_oldest(at.now, session, count),
            // What remains of it after a crash is forgotten at the start, because the state does not know the session.
            Effect::Forget { session } => drop(log.forget(at.now, session)),
            Effect::Fetch { session, after } => {
                let fetches = &self.keeping.fetches;
                fetches.borrow_mut().push_back((session, after));
                self.keeping.to_fetch.notify_one();
            }
            Effect::State {
                seq,
                change,
                urgent,
            } => {
                state.put(at.now, seq, *change, urgent);
                if !state.has_room() {
                    self.full.set(Some(LogId::State));
                }
            }
            _ => {}
        }
    }

    /// Carries out an effect on a bridge's log.
    pub(super) fn append(
        &self,
        log: LogId,
        seq: Seq,
        record: Record,
        mark: Option<Mark>,
        at: Moment,
    ) {
        let Some(kept) = self.keeping.bridge(log) else {
            return;
        };
        let store = &kept.store.log;
        store.append(at.now, seq, record, mark);
        if !store.has_room() {
            self.full.set(Some(log));
        }
        let mut core = self.core.borrow_mut();
        if store.refuses() || core.is_live_lane(log) {
            hear(&mut core, at, log, store, store.standing());
            self.told.set(true);
        }
    }

    /// Removes a mark, wherever it is.
    pub(super) fn unmark(&self, log: LogId, mark: Mark, at: Moment) {
        let what = Committed::Unmarked(mark);
        if let Some(kept) = self.keeping.bridge(log) {
            let commit = kept.store.log.unmark(at.now, mark);
            self.tell_after(log, &kept, commit, what, at);
        } else if let Some(kept) = &self.keeping.sessions {
            let commit = kept.store.log.unmark(at.now, mark);
            self.tell_after(log, kept, commit, what, at);
        }
    }

    /// The core is told when `commit` is made; where it has been made, now.
    fn tell_after<T>(
        &self,
        log: LogId,
        kept: &Kept<T>,
        commit: CommitNumber,
        what: Committed,
        at: Moment,
    ) {
        if commit <= kept.known.get() {
            what.tell(log, &mut self.core.borrow_mut(), at);
            self.told.set(true);
        } else {
            kept.waiting.borrow_mut().push_back((commit, what));
        }
    }

    /// Whether the core does not know yet how the log stands.
    fn is_news(&self, log: LogId, progress: Progress) -> bool {
        let core = self.core.borrow();
        let known = (core.knows_full(log), core.knows_prompt(log));
        known != (progress.is_full, progress.is_prompt) && self.keeping.bridge(log).is_some()
    }

    /// Tells the core how far a log is.
    fn tell_progress(&self, log: LogId, progress: Progress) {
        let sessions = self.keeping.sessions.as_ref();
        self.turn(self.moment(), |core, at| {
            if let Some(kept) = self.keeping.bridge(log) {
                if kept.store.log.has_room() {
                    core.pass_by(log, false);
                }
                hear(core, at, log, &kept.store.log, progress);
                kept.known.set(progress.commits);
                while let Some(what) = kept.next_committed() {
                    what.tell(log, core, at);
                }
            }
            if let Some(kept) = sessions.filter(|_| log == LogId::Sessions) {
                kept.known.set(progress.commits);
                while let Some(what) = kept.next_committed() {
                    what.tell(log, core, at);
                }
                if kept.store.log.has_room() {
                    core.pass_by(log, false);
                }
                for (session, messages, bytes) in kept.store.log.take_dropped() {
                    core.dropped(at.now, session, messages, bytes);
                }
                core.committed(at.now, progress.committed);
            }
            core.covered(at.now, log, progress.covered);
        });
        self.finish(1);
    }
}

/// Tells the core whether a bridge's log takes more, and how soon that leaves.
fn hear(core: &mut Core, at: Moment, log: LogId, store: &Log, progress: Progress) {
    if store.refuses() {
        core.log_is_full(at.now, log, progress.is_full);
    }
    core.prompt(at.now, log, progress.is_prompt);
}

impl Committed {
    fn tell(self, log: LogId, core: &mut Core, at: Moment) {
        match self {
            Self::Received(session, seq) => core.committed_received(at.now, session, seq),
            Self::Unmarked(mark) => core.unmarked(at.now, log, mark),
        }
    }
}

/// Reads for one session after the other: the log's thread could do no two at a time.
pub(super) async fn fetch(shell: Rc<Shell>) {
    let Some(kept) = &shell.keeping.sessions else {
        return;
    };
    let log = &kept.store.log;
    loop {
        let next = shell.keeping.fetches.borrow_mut().pop_front();
        let Some((session, after)) = next else {
            shell.keeping.to_fetch.notified().await;
            continue;
        };
        let (entries, end) = loop {
            match log.read(session, after, FETCH_MESSAGES, FETCH_BYTES).await {
                Ok(found) => break found,
                Err(fault) => {
                    tracing::warn!(%fault, "what sessions want cannot be read now; trying on");
                    sleep(READ_AGAIN).await;
                }
            }
        };
        shell.guarded(|| {
            shell.turn(shell.moment(), |core, at| {
                core.fetched(at.now, session, entries, end);
            });
            shell.finish(1);
        });
    }
}

/// Tells the core of every progress of a log, until the log ends.
pub(super) async fn follow(shell: Rc<Shell>, log: LogId) {
    let Some(mut progress) = shell.keeping.progress(log) else {
        return;
    };
    let mut told = Progress::default();
    loop {
        let now = *progress.borrow_and_update();
        let is_news = now.covered > told.covered
            || now.committed > told.committed
            || now.commits > told.commits
            || shell.is_news(log, now);
        if is_news {
            told = now;
            shell.guarded(|| shell.tell_progress(log, now));
        }
        if progress.changed().await.is_err() {
            tracing::error!(
                log = shell.keeping.name(log),
                "the log has ended before the broker; what it has not covered stays unacknowledged"
            );
            return;
        }
    }
}
