//! The logs of a bridge: its backlog, and the live lane where there is one. They know nothing of each other; what the core
//! tells one of them, or both, is passed on here.

use std::time::Instant;

use tokio::sync::watch;
use tokio::sync::watch::error::RecvError;

use super::core::{Core, Effect, Lane};
use crate::clock;
use crate::store::{LinkHealth, Log, LogStats, Outcome, Progress, Seq};

/// See [`Lane`].
#[derive(Clone, Debug)]
pub struct Lanes {
    /// All that goes in order.
    pub backlog: Log,
    /// What overtakes that.
    pub live: Option<Log>,
}

impl From<Log> for Lanes {
    fn from(backlog: Log) -> Self {
        Self {
            backlog,
            live: None,
        }
    }
}

impl Lanes {
    pub(super) fn get(&self, lane: Lane) -> Option<&Log> {
        match lane {
            Lane::Backlog => Some(&self.backlog),
            Lane::Live => self.live.as_ref(),
        }
    }

    /// Those that there are.
    pub fn all(&self) -> impl Iterator<Item = (Lane, &Log)> {
        let live = self.live.iter().map(|log| (Lane::Live, log));
        [(Lane::Backlog, &self.backlog)].into_iter().chain(live)
    }

    /// Commits what waits and ends the threads. Blocks; see [`Log::close`].
    pub fn close(&self) {
        self.all().for_each(|(_, log)| log.close());
    }

    /// See [`Log::link`].
    pub(super) fn link(&self, now: Instant, health: LinkHealth) {
        self.all().for_each(|(_, log)| log.link(now, health));
    }

    /// Why one of them cannot be written.
    pub(super) fn error(&self) -> Option<String> {
        self.all().find_map(|(_, log)| log.error())
    }

    /// Of both together. Full is what refuses: the backlog, which takes what the live lane has no room for.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let mut stats = self.backlog.stats();
        let Some(live) = self.live.as_ref().map(Log::stats) else {
            return stats;
        };
        stats.commits.add(&live.commits);
        LogStats {
            messages: stats.messages + live.messages,
            bytes: stats.bytes + live.bytes,
            oldest: stats.oldest.into_iter().chain(live.oldest).min(),
            file_bytes: stats.file_bytes + live.file_bytes,
            file_bytes_max: stats.file_bytes_max.saturating_add(live.file_bytes_max),
            appended: stats.appended + live.appended,
            dropped: stats.dropped + live.dropped,
            purged: stats.purged + live.purged,
            refused: stats.refused + live.refused,
            is_full: stats.is_full,
            lost: stats.lost + live.lost,
            commits: stats.commits,
            syncs: stats.syncs + live.syncs,
            bytes_written: stats.bytes_written + live.bytes_written,
        }
    }

    /// Tells each log what is done in it.
    pub(super) fn done(&self, now: Instant, done: &mut AllDone) {
        for (lane, log) in self.all() {
            let of_lane = done.get_mut(lane);
            if !of_lane.is_empty() {
                log.done(now, of_lane.drain(..));
            }
        }
    }

    /// Carries out what else the core wants of the logs.
    pub(super) fn carry_out(&self, now: Instant, effect: Effect, core: &mut Core) {
        match effect {
            Effect::GapTold(lane, number) => {
                if let Some(log) = self.get(lane) {
                    log.gap_told(now, number);
                }
            }
            Effect::Received(lane, seq) => {
                if let Some(log) = self.get(lane) {
                    let commit = log.received(now, seq);
                    core.handle_received(lane, seq, commit);
                }
            }
            Effect::ForgetReceived => {
                for (lane, log) in self.all() {
                    let commit = log.forget_received(now);
                    core.handle_kept(lane, commit);
                }
            }
            Effect::KeepSession(name) => {
                for (lane, log) in self.all() {
                    let commit = log.keep_session(now, name.as_deref());
                    core.handle_kept(lane, commit);
                }
            }
            _ => {}
        }
    }

    /// Follows the progress of all.
    pub(super) fn follow(&self) -> Followed {
        Followed {
            backlog: self.backlog.progress(),
            live: self.live.as_ref().map(Log::progress),
        }
    }
}

/// What is done and was not told yet, by lane. An upstream acknowledges many messages in one read.
#[derive(Debug, Default)]
pub(super) struct AllDone {
    backlog: Vec<(Seq, Outcome)>,
    live: Vec<(Seq, Outcome)>,
}

impl AllDone {
    pub(super) fn get_mut(&mut self, lane: Lane) -> &mut Vec<(Seq, Outcome)> {
        match lane {
            Lane::Backlog => &mut self.backlog,
            Lane::Live => &mut self.live,
        }
    }
}

/// How far the logs are.
#[derive(Debug)]
pub(super) struct Followed {
    backlog: watch::Receiver<Progress>,
    live: Option<watch::Receiver<Progress>>,
}

impl Followed {
    /// Waits until one of them has moved on; an error: one has ended. Cancel safe.
    pub(super) async fn changed(&mut self) -> Result<(), RecvError> {
        match &mut self.live {
            None => self.backlog.changed().await,
            Some(live) => tokio::select! {
                changed = self.backlog.changed() => changed,
                changed = live.changed() => changed,
            },
        }
    }

    /// Tells the core, which has been told of nothing that is behind this.
    pub(super) fn tell(&mut self, core: &mut Core) {
        let now = clock::now();
        let progress = *self.backlog.borrow_and_update();
        core.handle_progress(now, Lane::Backlog, progress);
        if let Some(live) = &mut self.live {
            let progress = *live.borrow_and_update();
            core.handle_progress(now, Lane::Live, progress);
        }
    }
}
