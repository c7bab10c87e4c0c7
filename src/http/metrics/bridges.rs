//! The ways up. No I/O.

use super::page::{Kind, Page, Seconds};
use crate::clock::WallTime;
use crate::status::{BridgeState, BridgeStatus, LinkState};

type Figure = (&'static str, &'static str, fn(&BridgeStatus) -> u64);

const GAUGES: [Figure; 8] = [
    (
        "fieldgate_bridge_connected",
        "1: the upstream has accepted the connection.",
        |status| u64::from(status.link == LinkState::Up),
    ),
    (
        "fieldgate_bridge_store_up",
        "1: its backlog can be written.",
        |status| u64::from(status.store_error.is_none()),
    ),
    (
        "fieldgate_bridge_backlog_messages",
        "Messages that wait for the upstream or for its acknowledgement.",
        |status| status.backlog_messages,
    ),
    (
        "fieldgate_bridge_backlog_bytes",
        "Bytes of the messages that wait, as stored.",
        |status| status.backlog_bytes,
    ),
    (
        "fieldgate_bridge_backlog_file_bytes",
        "Size of the files of the backlog.",
        |status| status.file_bytes,
    ),
    (
        "fieldgate_bridge_backlog_limit_bytes",
        "Size of the files at which something has to give way.",
        |status| status.file_bytes_max,
    ),
    (
        "fieldgate_bridge_dead_letters",
        "Messages kept that the upstream refused for good.",
        |status| status.dead_letters,
    ),
    (
        "fieldgate_bridge_subscriptions_refused",
        "Subscriptions that the upstream refuses.",
        |status| status.subscriptions_refused.len() as u64,
    ),
];

const COUNTERS: [Figure; 10] = [
    (
        "fieldgate_bridge_delivered_total",
        "Messages acknowledged by the upstream, at QoS 0 sent.",
        |status| status.delivered,
    ),
    (
        "fieldgate_bridge_received_total",
        "Messages of the upstream that came in.",
        |status| status.received,
    ),
    (
        "fieldgate_bridge_not_received_total",
        "Messages of the upstream that went nowhere.",
        |status| status.not_received,
    ),
    (
        "fieldgate_bridge_refused_total",
        "Messages refused because the backlog was full; their publishers know it.",
        |status| status.refused,
    ),
    (
        "fieldgate_bridge_dead_letters_dropped_total",
        "Dead letters dropped because there were too many.",
        |status| status.dead_letters_dropped,
    ),
    (
        "fieldgate_bridge_maybe_duplicated_total",
        "Messages sent again without being sure that the first copy did not arrive.",
        |status| status.maybe_duplicated,
    ),
    (
        "fieldgate_bridge_in_doubt_total",
        "QoS 2 messages that the upstream no longer knew when they were to be completed.",
        |status| status.in_doubt,
    ),
    (
        "fieldgate_bridge_too_many_hops_total",
        "Messages that bridges sent in a circle, stopped here.",
        |status| status.too_many_hops,
    ),
    (
        "fieldgate_bridge_connects_total",
        "Connections made.",
        |status| status.connects,
    ),
    (
        "fieldgate_bridge_restarts_total",
        "Times that it was started again after a fault of fieldgate.",
        |status| status.restarts,
    ),
];

pub(super) fn write(page: &mut Page, bridges: &[BridgeState], at: WallTime) {
    let gauges = GAUGES.iter().map(|figure| (Kind::Gauge, figure));
    let counters = COUNTERS.iter().map(|figure| (Kind::Counter, figure));
    for (kind, (name, help, value)) in gauges.chain(counters) {
        let mut family = page.family(kind, name, help);
        for bridge in bridges {
            family.sample(&[("bridge", &bridge.name)], value(&bridge.status));
        }
    }
    let mut dropped = page.family(
        Kind::Counter,
        "fieldgate_bridge_dropped_total",
        "Messages dropped: by a limit, an expiry or at QoS 0 without a link (policy), or purged by somebody.",
    );
    for BridgeState { name, status, .. } in bridges {
        let by_policy = status.dropped.saturating_sub(status.purged);
        dropped.sample(&[("bridge", name), ("reason", "policy")], by_policy);
        dropped.sample(&[("bridge", name), ("reason", "purged")], status.purged);
    }
    let mut age = page.family(
        Kind::Gauge,
        "fieldgate_bridge_backlog_oldest_age_seconds",
        "Age of the oldest message that waits; 0 where none does.",
    );
    for BridgeState { name, status, .. } in bridges {
        let waited = status
            .oldest
            .map_or(0, |oldest| at.0.saturating_sub(oldest.0));
        age.sample(&[("bridge", name)], Seconds(waited));
    }
}
