//! `broker.limits:`.

use std::time::Duration;

use super::{bytes, qos, seconds, time};
use crate::broker::Limits;
use crate::config::context::Context;
use crate::config::raw;
use crate::config::section::Section;
use crate::config::units::show_size;

/// The longest time that MQTT can say in its 32 bits of seconds and still means a time.
pub(super) const EXPIRY_MAX: Duration = Duration::from_secs(u32::MAX as u64 - 1);

pub(super) fn limits(context: &mut Context<'_>, section: &Section<raw::Limits>) -> Limits {
    let mut limits = Limits::default();
    counts(context, section, &mut limits);
    sizes_and_times(context, section, &mut limits);
    let raw = &section.raw;
    put(
        &mut limits.maximum_qos,
        qos(context, section, "maximum_qos", raw.maximum_qos),
    );
    put(&mut limits.empty_client_id, raw.empty_client_id);
    limits
}

/// Bytes that the queues of all sessions may take on disk.
pub(super) fn queued_bytes_total(
    context: &mut Context<'_>,
    section: &Section<raw::Limits>,
) -> Option<u64> {
    let total = section.raw.queued_bytes_total.map(|size| size.0);
    section.within(
        context,
        "queued_bytes_total",
        total,
        1 << 20..=1 << 50,
        show_size,
    )
}

fn counts(context: &mut Context<'_>, section: &Section<raw::Limits>, limits: &mut Limits) {
    let raw = &section.raw;
    let mut count = |key, value: Option<u32>, least: u32| {
        let value = section.within(context, key, value, least..=10_000_000, |value| {
            value.to_string()
        });
        value.and_then(|value| usize::try_from(value).ok())
    };
    put(
        &mut limits.connections,
        count("connections", raw.connections, 1),
    );
    let per_address = count("connections_per_address", raw.connections_per_address, 1);
    put(&mut limits.connections_per_address, per_address);
    put(
        &mut limits.topic_levels,
        count("topic_levels", raw.topic_levels, 1),
    );
    let subscriptions = count("subscriptions_per_client", raw.subscriptions_per_client, 1);
    put(&mut limits.subscriptions_per_client, subscriptions);
    put(&mut limits.sessions, count("sessions", raw.sessions, 0));
    put(
        &mut limits.queued_messages,
        count("queued_messages", raw.queued_messages, 1),
    );
    put(
        &mut limits.retained_messages,
        count("retained_messages", raw.retained_messages, 0),
    );
    let mut window = |key, value: Option<u16>| {
        section.within(context, key, value, 1..=65_535, |value| value.to_string())
    };
    put(
        &mut limits.receive_maximum,
        window("receive_maximum", raw.receive_maximum),
    );
    put(&mut limits.inflight, window("inflight", raw.inflight));
    put(&mut limits.topic_alias_maximum, raw.topic_alias_maximum);
}

fn sizes_and_times(context: &mut Context<'_>, section: &Section<raw::Limits>, limits: &mut Limits) {
    let raw = &section.raw;
    let packet = bytes(
        context,
        section,
        "packet_size",
        raw.packet_size,
        1 << 10..=256 << 20,
    );
    put(
        &mut limits.packet_size,
        packet.and_then(|size| u32::try_from(size).ok()),
    );
    let queued = bytes(
        context,
        section,
        "queued_bytes",
        raw.queued_bytes,
        1 << 10..=1 << 40,
    );
    put(&mut limits.queued_bytes, queued);
    let retained = bytes(
        context,
        section,
        "retained_bytes",
        raw.retained_bytes,
        1 << 10..=1 << 40,
    );
    put(&mut limits.retained_bytes, retained);
    let range = Duration::from_millis(100)..=Duration::from_secs(600);
    let timeout = time(
        context,
        section,
        "connect_timeout",
        raw.connect_timeout,
        range,
    );
    put(&mut limits.connect_timeout, timeout);
    let range = Duration::from_secs(1)..=Duration::from_secs(65_535);
    let alive = seconds(
        context,
        section,
        "keep_alive_maximum",
        raw.keep_alive_maximum,
        range,
    );
    put(&mut limits.keep_alive_maximum, alive);
    let range = Duration::ZERO..=EXPIRY_MAX;
    let expiry = seconds(
        context,
        section,
        "session_expiry_maximum",
        raw.session_expiry_maximum,
        range,
    );
    put(&mut limits.session_expiry_maximum, expiry);
}

fn put<T>(limit: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *limit = value;
    }
}
