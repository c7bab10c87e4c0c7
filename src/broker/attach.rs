//! Bridges that come, go and change while the broker runs: their logs are attached, and get other routes.
//!
//! A log that was attached stays attached, since sessions may have marks and acknowledgements in it; a bridge that goes
//! leaves it without routes. Clients notice nothing of any of this.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::core::LogId;
use super::request::Request;
use super::shell::Shell;
use super::{Attachment, BrokerHandle, ForwardRoute, LinkClosed, keeping, new_routes};
use crate::clock;

impl BrokerHandle {
    /// Attaches the log of one more bridge; gives its number, as the bridge's `Local` has it. What is retained and goes up by its
    /// routes is appended first, as at a start.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn attach_bridge(&self, attachment: Attachment) -> Result<usize, LinkClosed> {
        let attachment = Box::new(attachment);
        self.ask(|answer| Request::Attach { attachment, answer })
            .await
    }

    /// From now on these routes feed the log of this bridge; without any, nothing does.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn reroute(
        &self,
        number: usize,
        routes: Vec<ForwardRoute>,
    ) -> Result<(), LinkClosed> {
        let bridge = number;
        self.ask(|answer| Request::Reroute {
            bridge,
            routes,
            answer,
        })
        .await
    }
}

/// See [`BrokerHandle::attach_bridge`].
pub(super) fn attach(shell: &Rc<Shell>, attachment: Attachment) -> usize {
    // Of a life before: the sessions went on without this log, and use these packet ids for other messages.
    for log in [&attachment.log].into_iter().chain(&attachment.live) {
        for mark in log.marks() {
            let commit = log.unmark(clock::now(), mark);
            tracing::debug!(
                ?commit,
                bridge = attachment.name,
                "a mark of an earlier life ends"
            );
        }
    }
    let live = attachment.live.clone();
    let of_lane = live.map(|live| attachment.lane(live));
    let log = join(shell, attachment);
    if let Some(attachment) = of_lane {
        let live = join(shell, attachment);
        shell.core.borrow_mut().attach_live_lane(log, live);
    }
    new_routes::begin(shell, log);
    match log {
        LogId::Bridge(number) => number,
        LogId::Sessions | LogId::State => usize::MAX, // no log of a bridge is one of these
    }
}

fn join(shell: &Rc<Shell>, attachment: Attachment) -> LogId {
    let (next, is_full) = (attachment.log.next_seq(), attachment.log.is_full());
    let routes = attachment.routes.clone();
    let log = shell.keeping.add_bridge(attachment);
    shell.guarded(|| {
        shell.turn(shell.moment(), |core, at| {
            core.attach_log(log, next, routes);
            core.log_is_full(at.now, log, is_full);
        });
        shell.finish(1);
    });
    spawn_local(keeping::follow(Rc::clone(shell), log));
    log
}

/// See [`BrokerHandle::reroute`].
pub(super) fn reroute(shell: &Rc<Shell>, bridge: usize, routes: Vec<ForwardRoute>) {
    let log = LogId::Bridge(bridge);
    if let Some(kept) = shell.keeping.bridge(log) {
        kept.store.latest.clear();
    }
    shell.guarded(|| {
        shell.turn(shell.moment(), |core, at| core.reroute(at.now, log, routes));
        shell.finish(1);
    });
    new_routes::begin(shell, log);
}
