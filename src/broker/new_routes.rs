//! What a bridge's new routes bring up of the past: the retained messages that they take, once.
//!
//! A log knows with which routes it was fed ([`crate::store::Log::routes`]). It is told of new ones when all that they
//! bring up is covered, so a crash before that sends it again, and a restart after it does not.

use std::rc::Rc;

use tokio::task::yield_now;

use super::core::LogId;
use super::inlet::InletOptions;
use super::shell::Shell;
use crate::clock;
use crate::mqtt::QoS;
use crate::store::Seq;

/// Appends what the new routes of a bridge take, as its log has room; ends when the log knows its routes.
pub(super) async fn send_retained(shell: Rc<Shell>, bridge: usize) {
    let id = LogId::Bridge(bridge);
    // Without the state nobody knows what is retained; with it there is another start.
    let Some(kept) = shell
        .keeping
        .bridge(id)
        .filter(|_| shell.keeping.sessions.is_some())
    else {
        return;
    };
    let (log, routes) = (&kept.store.log, &kept.store.routes);
    let known = log.routes();
    let now: Vec<u32> = routes.iter().map(|route| route.fingerprint()).collect();
    if known == now {
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
    let mut new = shell.core.borrow().new_routes(id, new, inlet);
    loop {
        log.room().await;
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
            Some(false) => break,
            None => return,
        }
    }
    let last = Seq(log.next_seq().0.saturating_sub(1));
    let covered = async {
        log.progress()
            .wait_for(|now| now.covered >= last)
            .await
            .is_ok()
    };
    if covered.await {
        log.keep_routes(clock::now(), now);
    }
}
