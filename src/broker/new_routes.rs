//! What a bridge's new routes bring up of the past: the retained messages that they take, once.
//!
//! A log knows with which routes it was fed ([`crate::store::Log::routes`]). It is told of new ones when all that they
//! bring up is covered, so a crash before that sends it again, and a restart after it does not. Of routes that went it is told at
//! once: one that is put back, however soon, is new again.

use std::rc::Rc;

use tokio::task::{spawn_local, yield_now};

use super::core::{LogId, NewRoutes};
use super::inlet::InletOptions;
use super::shell::Shell;
use crate::clock;
use crate::mqtt::QoS;
use crate::store::{Log, Seq};

/// A bridge has other routes than before, or begins: has the log forget those that it has no more, and what the new ones take
/// appended.
pub(super) fn begin(shell: &Rc<Shell>, id: LogId) {
    let Some(kept) = shell.keeping.bridge(id) else {
        return;
    };
    let log = &kept.store.log;
    let routes = shell.core.borrow().routes_of(id);
    let now: Vec<u32> = routes.iter().map(|route| route.fingerprint()).collect();
    let mut known = log.routes();
    known.retain(|it| now.contains(it));
    log.keep_routes(clock::now(), known.clone());
    // Without the state nobody knows what is retained; with it there is another start.
    if known == now || shell.keeping.sessions.is_none() {
        return;
    }
    let new = routes.iter().zip(&now).enumerate();
    let new = new.filter(|(_, (route, it))| {
        // The link is down at a start: QoS 0 would go nowhere.
        route.qos > QoS::AtMostOnce && !known.contains(it)
    });
    // The last one is begun with.
    let new = new.map(|(place, _)| place).rev().collect();
    let inlet = InletOptions::client_id_of(&kept.store.name);
    let new = shell.core.borrow().new_routes(id, new, inlet);
    spawn_local(send_retained(Rc::clone(shell), id, new, now));
}

/// Appends what the `new` routes of a bridge take, as its log has room; ends when the log knows its routes, which are `now`.
async fn send_retained(shell: Rc<Shell>, id: LogId, mut new: NewRoutes, now: Vec<u32>) {
    let Some(kept) = shell.keeping.bridge(id) else {
        return;
    };
    let log = &kept.store.log;
    let live = kept.store.live.as_ref();
    if log.refuses() || live.is_some() {
        new = new.one_by_one();
    }
    loop {
        let may_go_on = takes_more(log, |log| !log.is_full()).await
            && match live {
                // It is small, and would drop the first of them while the backlog has room.
                Some(live) => takes_more(live, |live| !live.is_nearly_full()).await,
                None => true,
            };
        if !may_go_on {
            return;
        }
        let is_more = shell.guarded(|| {
            let mut is_more = false;
            shell.turn(shell.moment(), |core, at| {
                is_more = core.append_retained(at.now, &mut new);
            });
            shell.finish(1);
            is_more
        });
        match is_more {
            Some(true) => yield_now().await,
            // Whoever gave it other routes has begun with those.
            Some(false) if !shell.core.borrow().has_routes(&new) => return,
            Some(false) => break,
            None => return,
        }
    }
    for log in [log].into_iter().chain(live) {
        if !is_covered(log).await {
            return;
        }
    }
    if shell.core.borrow().has_routes(&new) {
        log.keep_routes(clock::now(), now);
    }
}

/// Waits until the log takes something and `has_space`; false where it ends before.
async fn takes_more(log: &Log, has_space: fn(&Log) -> bool) -> bool {
    log.room().await;
    let mut progress = log.progress();
    while !has_space(log) {
        if progress.changed().await.is_err() {
            return false;
        }
    }
    true
}

/// Waits until all that is in the log now is covered; false where it ends before.
async fn is_covered(log: &Log) -> bool {
    let last = Seq(log.next_seq().0.saturating_sub(1));
    let mut progress = log.progress();
    progress.wait_for(|now| now.covered >= last).await.is_ok()
}
