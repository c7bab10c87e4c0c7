//! The lanes of a backlog: two where a route says `live_first`, else one. A log and half of the packet ids each.
//!
//! What overtakes is decided before: the broker appends a new message of such a route to the live lane while that moves, and
//! else, marked as late, to the lane of all other messages. Here both are drained over one connection. While each has a
//! message that may be sent, they take turns by a share, so neither starves; order is kept within a lane, and only there.
//!
//! Invariants: ids of one lane are never given to the other, also where there is only one; a QoS 2 message is sent only
//! once both logs know the session, and the backlog's that the live lane has part in it; neither lane waits for the window
//! before it reads on, because the other would then keep it full for ever.

use std::collections::VecDeque;

use super::connect::SEPARATOR;
use super::gap::Telling;
use super::{Core, Demand, Flight, Phase, READ_BYTES, READ_MESSAGES, ids};
use crate::mqtt::{PacketId, QoS};
use crate::store::{CommitNumber, Entry, Progress, Seq};

/// Which of the logs of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// All that goes in order, and what of `live_first` routes had to wait.
    Backlog,
    /// New messages of `live_first` routes.
    Live,
}

/// How far one lane is.
#[derive(Debug)]
pub(super) struct Queue {
    /// Messages up to here may have been sent since the program started, before this core was made.
    sent_to: Seq,
    pub(super) progress: Progress,
    /// The cursor: the next position to read.
    next: Seq,
    /// The first message of the log at this start, from which on a message may have been sent before.
    first: Option<Seq>,
    /// Read and not yet in flight, in order.
    pub(super) pending: VecDeque<Flight>,
    /// PUBRECs on their way to stable storage, in the order of their commits.
    pub(super) committing: VecDeque<(CommitNumber, PacketId)>,
    /// The commit that holds this connection's session and no mark of an earlier one; `None`: not known yet.
    pub(super) session_kept: Option<CommitNumber>,
    /// How many of it are in flight at QoS 2.
    pub(super) exactly_once: usize,
    /// The upstream may hold QoS 2 messages from before this start that we have not come by yet.
    pub(super) is_recovering: bool,
    /// What became of the hole that its log shows.
    pub(super) telling: Telling,
}

impl Queue {
    fn new(sent_to: Seq) -> Self {
        Self {
            sent_to,
            progress: Progress::default(),
            next: Seq(0),
            first: None,
            pending: VecDeque::new(),
            committing: VecDeque::new(),
            session_kept: None,
            exactly_once: 0,
            is_recovering: true,
            telling: Telling::default(),
        }
    }

    fn is_session_kept(&self) -> bool {
        self.session_kept
            .is_some_and(|commit| commit <= self.progress.commits)
    }

    /// The id of a PUBREC that is on stable storage; each once.
    pub(super) fn next_committed(&mut self) -> Option<PacketId> {
        if self.committing.front()?.0 > self.progress.commits {
            return None;
        }
        self.committing.pop_front().map(|(_, id)| id)
    }

    fn take(&mut self, demand: Demand, entries: Vec<Entry>) {
        let lane = demand.lane;
        // Nothing there: what was appended up to then is done.
        self.is_recovering &= !entries.is_empty();
        let first = entries.first().map_or(demand.from, |entry| entry.seq);
        let first = *self.first.get_or_insert(first);
        let last = entries.last().map_or(demand.upto, |entry| entry.seq);
        let sent_to = self.sent_to;
        self.next = Seq(last.0.max(demand.from.0).saturating_add(1));
        self.pending = entries
            .into_iter()
            .map(|entry| Flight {
                lane,
                session: ((entry.maybe_sent || entry.seq <= sent_to)
                    && ids::within_reach(first, entry.seq))
                .then_some(0),
                refusals: 0,
                entry,
            })
            .collect();
    }
}

/// All lanes of a bridge.
#[derive(Debug)]
pub(super) struct Queues {
    backlog: Queue,
    live: Queue,
    has_live: bool,
    /// The live lane has had part in the session: the upstream may hold ids of it.
    is_live_in_session: bool,
    /// Sends that the backlog is owed by the live lane, in per cent.
    owed: u8,
}

impl Queues {
    /// `live`: there is a live lane. Messages up to these positions may have been sent since the program started.
    pub(super) fn new(backlog: Seq, live: Option<Seq>) -> Self {
        Self {
            backlog: Queue::new(backlog),
            live: Queue::new(live.unwrap_or_default()),
            has_live: live.is_some(),
            is_live_in_session: false,
            owed: 0,
        }
    }

    pub(super) fn has_live(&self) -> bool {
        self.has_live
    }

    pub(super) fn get(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Backlog => &self.backlog,
            Lane::Live => &self.live,
        }
    }

    pub(super) fn get_mut(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Backlog => &mut self.backlog,
            Lane::Live => &mut self.live,
        }
    }

    /// Those that there are, the live one first.
    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane> + use<> {
        let live = self.has_live.then_some(Lane::Live);
        live.into_iter().chain([Lane::Backlog])
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Queue> {
        self.lanes().map(|lane| self.get(lane))
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Queue> {
        let live = self.has_live.then_some(&mut self.live);
        live.into_iter().chain([&mut self.backlog])
    }

    /// Whether the live lane may go on in the session that the backlog has `kept`; `kept_live` is what it has kept of the same.
    /// Where it had part in the session and does not know it, it was lost, and with it which of its ids the upstream holds.
    pub(super) fn may_go_on(&self, kept: Option<&str>, kept_live: Option<&str>) -> bool {
        !self.has_live || !has_live_note(kept) || kept_live.is_some()
    }

    /// What the log keeps of the session.
    pub(super) fn restore(&mut self, kept: Option<&str>) {
        self.is_live_in_session = has_live_note(kept);
    }

    /// Another session begins.
    pub(super) fn begin_session(&mut self) {
        self.is_live_in_session = self.has_live;
    }

    /// What the logs are to keep behind the name of the session: an empty part, where the live lane has part in it.
    pub(super) fn note(&self) -> &'static str {
        if self.is_live_in_session { "\0" } else { "" }
    }

    /// Whether a restart would find the session in every log, and no mark of an earlier one.
    pub(super) fn is_session_kept(&self) -> bool {
        self.all().all(Queue::is_session_kept)
    }

    pub(super) fn is_recovering(&self) -> bool {
        self.all().any(|queue| queue.is_recovering)
    }

    /// How many QoS 2 messages of a lane other than `but` the upstream may hold that were not come by; `most` of each lane.
    pub(super) fn held_unseen(&self, but: Option<Lane>, most: usize) -> usize {
        let lanes = self.lanes().filter(|lane| Some(*lane) != but);
        let queues = lanes.map(|lane| self.get(lane));
        let unseen = queues.filter(|queue| queue.is_recovering);
        unseen
            .map(|queue| most.saturating_sub(queue.exactly_once))
            .sum()
    }

    pub(super) fn has_pending(&self) -> bool {
        self.all().any(|queue| !queue.pending.is_empty())
    }

    /// Whose turn it is where both could send.
    fn turn(&mut self, late_share: u8) -> Lane {
        self.owed += late_share.min(100);
        if self.owed >= 100 {
            self.owed -= 100;
            Lane::Backlog
        } else {
            Lane::Live
        }
    }
}

fn has_live_note(kept: Option<&str>) -> bool {
    let mut parts = kept.into_iter().flat_map(|kept| kept.split(SEPARATOR));
    parts.any(str::is_empty)
}

impl Core {
    /// Takes a live lane that is new into a session that was there before it: when its log knows the session, so that what the
    /// backlog's says of it is never more than there is. Before anything is sent, so QoS 2 waits until that is said.
    pub(super) fn join_live_lane(&mut self) {
        let queues = &mut self.queues;
        let is_new = queues.has_live && !queues.is_live_in_session;
        if self.phase == Phase::Up && is_new && queues.live.is_session_kept() {
            queues.is_live_in_session = true;
            queues.all_mut().for_each(|queue| queue.session_kept = None);
            self.keep_session(self.address);
        }
    }

    /// What is to be read from a log, if anything. Nothing of a lane while its last read is not used up.
    #[must_use]
    pub fn demand(&self) -> Option<Demand> {
        let has_room = self.queues.has_live() || self.room(QoS::AtLeastOnce) > 0;
        if !matches!(self.phase, Phase::Up) || !self.due.is_empty() || !has_room {
            return None;
        }
        let mut lanes = self.queues.lanes();
        lanes.find_map(|lane| {
            let queue = self.queues.get(lane);
            let upto = queue.progress.appended;
            let wanted = queue.pending.is_empty() && queue.next <= upto;
            wanted.then_some(Demand {
                lane,
                from: queue.next,
                upto,
                messages: READ_MESSAGES,
                bytes: READ_BYTES,
            })
        })
    }

    /// What was read for `demand`.
    pub fn handle_entries(&mut self, demand: Demand, entries: Vec<Entry>) {
        let is_up = matches!(self.phase, Phase::Up);
        let queue = self.queues.get_mut(demand.lane);
        if is_up && demand.from == queue.next && queue.pending.is_empty() {
            queue.take(demand, entries);
        }
    }

    pub(super) fn count_exactly_once(&mut self, lane: Lane) {
        self.exactly_once += 1;
        self.queues.get_mut(lane).exactly_once += 1;
    }

    pub(super) fn discount_exactly_once(&mut self, lane: Lane) {
        let queue = self.queues.get_mut(lane);
        queue.exactly_once = queue.exactly_once.saturating_sub(1);
        self.exactly_once = self.exactly_once.saturating_sub(1);
    }

    /// The lane whose next message is sent now, if one may be.
    pub(super) fn next_lane(&mut self) -> Option<Lane> {
        let live = self.queues.has_live() && self.may_send_next(Lane::Live);
        match (live, self.may_send_next(Lane::Backlog)) {
            (true, true) => Some(self.queues.turn(self.options.late_share)),
            (true, false) => Some(Lane::Live),
            (false, true) => Some(Lane::Backlog),
            (false, false) => None,
        }
    }

    /// Back into the order of their logs, before what was not sent yet.
    pub(super) fn requeue(&mut self, flights: Vec<Flight>) {
        if flights.is_empty() {
            return;
        }
        for flight in flights {
            self.queues.get_mut(flight.lane).pending.push_front(flight);
        }
        for queue in self.queues.all_mut() {
            let pending = queue.pending.make_contiguous();
            pending.sort_by_key(Flight::seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_shared_out() {
        for (share, backlog) in [(0, 0), (10, 10), (50, 50), (75, 75), (100, 100)] {
            let mut queues = Queues::new(Seq(0), Some(Seq(0)));
            let turns = (0..100).filter(|_| queues.turn(share) == Lane::Backlog);
            assert_eq!(turns.count(), backlog, "{share} per cent");
        }
    }
}
