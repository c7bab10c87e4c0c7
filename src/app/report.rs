//! The gateway's own status topics: `{gateway}/$status` and `{gateway}/$bridge/{bridge}`, retained.
//!
//! A change of state is told at once. Figures alone are told rarely, because where a bridge's routes take these topics
//! each of them costs bytes on a metered link.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::observe::Observer;
use super::seen::Parts;
use super::stores::Opened;
use crate::broker::{Link, LinkClosed};
use crate::clock::{self, WallTime};
use crate::mqtt::{Message, QoS};
use crate::shutdown::Stop;
use crate::status::{BridgeStatus, LinkState, ListenerStatus};
use crate::topic::TopicName;

/// Between two reports of figures while a bridge's link is down or its backlog drains: somebody is probably looking.
const FIGURES_IN_TROUBLE: Duration = Duration::from_secs(5);
/// Between two reports of figures while all is well.
const FIGURES_AT_EASE: Duration = Duration::from_secs(60);
/// Fewer messages than this are in flight, not a backlog.
const BACKLOG: u64 = 100;

/// Between two looks at whether the store of the sessions is well.
const STORE_LOOK: Duration = Duration::from_secs(1);

/// Whether what should be kept can be.
#[derive(Debug)]
pub(super) struct StoreHealth {
    pub(super) stores: Opened,
    /// What could not be opened at the start.
    pub(super) absent: Option<String>,
}

impl StoreHealth {
    pub(super) fn error(&self) -> Option<String> {
        self.absent.clone().or_else(|| self.stores.error())
    }

    /// Waits until it is not `known` any more. Cancel safe.
    async fn changed(&self, known: Option<&str>) {
        while self.error().as_deref() == known {
            tokio::time::sleep(STORE_LOOK).await;
        }
    }
}

/// Publishes `{gateway}/$status` as online, then every minute for its uptime and when a listener, the store or who is let in changes,
/// and as offline at the end.
pub(super) async fn gateway(
    mut link: Link,
    topic: TopicName,
    started: WallTime,
    observer: Observer,
    mut stop: Stop,
) {
    let store = observer.store();
    let mut parts = observer.parts();
    let mut config = observer.config();
    let mut login_error = observer.login_error();
    let mut listeners = listeners_of(&mut parts);
    let mut tick = tokio::time::interval(FIGURES_AT_EASE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut store_error = store.error();
    loop {
        tokio::select! {
            () = stop.requested() => break,
            _ = tick.tick() => {}
            () = store.changed(store_error.as_deref()) => {}
            () = any_changed(&mut listeners) => {}
            Ok(()) = config.changed() => {}
            Ok(()) = login_error.changed() => {}
            Ok(()) = parts.changed() => listeners = listeners_of(&mut parts),
        }
        let now: Vec<_> = listeners
            .iter_mut()
            .map(|listener| listener.borrow_and_update().clone())
            .collect();
        store_error = store.error();
        let body = gateway_body(
            "online",
            started,
            clock::wall(),
            &now,
            store_error.as_deref(),
            login_error.borrow_and_update().as_deref(),
            config.borrow_and_update().is_last_good,
        );
        if publish(&mut link, &topic, &body).await.is_err() {
            return;
        }
    }
    let body = gateway_body("offline", started, clock::wall(), &[], None, None, false);
    if publish(&mut link, &topic, &body).await.is_err() {
        tracing::debug!("the broker ended before it could be told that the gateway stops");
    }
}

fn listeners_of(parts: &mut watch::Receiver<Parts>) -> Vec<watch::Receiver<ListenerStatus>> {
    let parts = parts.borrow_and_update();
    let listeners = parts.listeners.iter();
    listeners.map(|seen| seen.status.clone()).collect()
}

/// Waits until one of them has changed. Cancel safe.
async fn any_changed(listeners: &mut [watch::Receiver<ListenerStatus>]) {
    let changes = listeners.iter_mut();
    let mut changes: Vec<_> = changes
        .map(|listener| Box::pin(async { listener.changed().await.is_ok() }))
        .collect();
    poll_fn(|context| {
        let mut changed = false;
        changes.retain_mut(|change| match change.as_mut().poll(context) {
            Poll::Ready(is_change) => {
                changed |= is_change; // else its listener has ended
                false
            }
            Poll::Pending => true,
        });
        if changed {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Publishes the status of one bridge until the bridge ends or `stop`.
pub(super) async fn bridge(
    mut link: Link,
    topic: TopicName,
    mut status: watch::Receiver<BridgeStatus>,
    mut stop: Stop,
) {
    let mut last = None;
    loop {
        let now = status.borrow_and_update().clone();
        if last.as_ref() != Some(&now)
            && publish(&mut link, &topic, &bridge_body(&now))
                .await
                .is_err()
        {
            return;
        }
        let at_ease = is_at_ease(&now);
        let interval = if at_ease {
            FIGURES_AT_EASE
        } else {
            FIGURES_IN_TROUBLE
        };
        let changed = status.wait_for(|next| {
            next.link != now.link
                || next.error != now.error
                || next.store_error != now.store_error
                || next.refusing != now.refusing
                || next.certificate_warning != now.certificate_warning
                || next.subscriptions_refused != now.subscriptions_refused
                || (next.dead_letters > 0) != (now.dead_letters > 0)
                || (!at_ease && is_at_ease(next))
        });
        tokio::select! {
            () = stop.requested() => return,
            changed = changed => if changed.is_err() { return },
            () = tokio::time::sleep(interval) => {}
        }
        last = Some(now);
    }
}

fn is_at_ease(status: &BridgeStatus) -> bool {
    status.link == LinkState::Up
        && status.backlog_messages < BACKLOG
        && status.store_error.is_none()
}

fn gateway_body(
    state: &str,
    started: WallTime,
    now: WallTime,
    listeners: &[ListenerStatus],
    store_error: Option<&str>,
    login_error: Option<&str>,
    runs_on_last_good: bool,
) -> Value {
    let uptime = now.millis_since(started) / 1000;
    json!({
        "state": state,
        "version": env!("CARGO_PKG_VERSION"),
        "since": started.0,
        "uptime_s": uptime,
        "listeners": listeners,
        "store_error": store_error,
        "login_error": login_error,
        "config": if runs_on_last_good { "last_good" } else { "file" },
    })
}

pub(super) fn bridge_body(status: &BridgeStatus) -> Value {
    let oldest_age = status
        .oldest
        .map(|oldest| clock::wall().millis_since(oldest) / 1000);
    let mut body = json!(status);
    if let Some(fields) = body.as_object_mut() {
        fields.remove("oldest");
        fields.insert("oldest_age_s".to_owned(), json!(oldest_age));
    }
    body
}

async fn publish(link: &mut Link, topic: &TopicName, body: &Value) -> Result<(), LinkClosed> {
    let payload = Bytes::from(body.to_string());
    link.publish(Message::new(topic.clone(), payload, QoS::AtLeastOnce, true))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Flow;

    #[test]
    fn the_page_of_topics_shows_what_is_published() {
        let page = include_str!("../../config/docs/topics.md");
        let started = WallTime(1_800_000_000_123);
        let mut listener = ListenerStatus::new("local".to_owned(), &"127.0.0.1:1883");
        listener.opened(&"127.0.0.1:1883");
        let now = WallTime(started.0 + 3_600_000);
        let gateway = gateway_body("online", started, now, &[listener], None, None, false);
        let bridge = bridge_body(&BridgeStatus {
            link: LinkState::Up,
            since: started,
            certificate_expires: Some(WallTime(1_835_395_200_000)),
            file_bytes: 81_920,
            file_bytes_max: 2 << 30,
            flow: Flow {
                messages_in: 2.5,
                messages_out: 2.5,
                ..Flow::default()
            },
            delivered: 1200,
            received: 3,
            connects: 1,
            ..BridgeStatus::default()
        });
        for body in [gateway, bridge] {
            let text = body.to_string().replace(env!("CARGO_PKG_VERSION"), "0.1.0");
            assert!(page.lines().any(|line| line == text), "{text}");
            for field in body.as_object().unwrap().keys() {
                assert!(page.contains(&format!("| `{field}` |")), "{field}");
            }
        }
    }
}
