//! Routes with `live_first`: which of the two logs of a bridge a message goes into.
//!
//! Into the live lane while what is appended there leaves soon: the link is up, the upstream keeps up, and there is room. Else
//! into the backlog with all others, marked as late. That is decided here, once, when the message is appended, and the record
//! says it; so what is in the live lane was new when it came, is short, and is sent first, in order, also after an outage or
//! a crash. Nothing is ever moved from one log to the other, and a log means the same after a restart.
//!
//! So it is the backlog that a message is refused for where it has no room (`refuse`): what the live lane cannot take goes there.

use std::time::Instant;

use super::refuse::Obstacle;
use super::route::AttachedLog;
use super::{Core, ForwardRoute, LogId};

impl Core {
    /// New messages of the `live_first` routes of `log` go to `live`, an attached log without routes.
    pub fn attach_live_lane(&mut self, log: LogId, live: LogId) {
        let known = self.logs.iter_mut().find(|known| known.id == log);
        if let Some(known) = known {
            known.live = Some(live);
        }
    }

    /// Whether what is appended to the log leaves soon. At first it does not. To be told after each
    /// [`super::Effect::Append`] to a live lane, as [`Self::log_is_full`].
    pub fn prompt(&mut self, now: Instant, log: LogId, is_prompt: bool) {
        let known = self.logs.iter_mut().find(|known| known.id == log);
        if let Some(known) = known {
            known.is_prompt = is_prompt;
        }
        // Who waits because the backlog is full may have another way.
        let mut logs = self.logs.iter();
        if is_prompt
            && !self.parked.is_empty()
            && let Some(of) = logs.find(|known| known.live == Some(log))
        {
            let full = Obstacle::Log(of.id);
            self.retry_parked(now, full);
        }
    }

    /// What was told last by [`Self::prompt`].
    #[must_use]
    pub fn knows_prompt(&self, log: LogId) -> bool {
        let mut known = self.logs.iter();
        known.any(|known| known.id == log && known.is_prompt)
    }

    /// Whether the log is the live lane of another.
    #[must_use]
    pub fn is_live_lane(&self, log: LogId) -> bool {
        self.logs.iter().any(|known| known.live == Some(log))
    }

    /// The live lane of the log, where it has one for this route.
    pub(super) fn lane_of(&self, log: &AttachedLog, route: &ForwardRoute) -> Option<usize> {
        let live = log.live.filter(|_| route.live_first)?;
        self.logs.iter().position(|known| known.id == live)
    }

    /// The same while it takes messages. One that is full is not prompt.
    pub(super) fn open_lane(&self, log: &AttachedLog, route: &ForwardRoute) -> Option<usize> {
        let place = self.lane_of(log, route)?;
        let lane = self.logs.get(place)?;
        (lane.is_prompt && !lane.is_full && !lane.is_passed_by).then_some(place)
    }
}
