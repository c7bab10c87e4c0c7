//! The figures for Prometheus: a pure function of the state. No I/O.
//!
//! Base units, `_total` at the end of what counts. Labels are names that the configuration gives and words of a fixed list,
//! never a topic or a client: so how many series there are is bounded by the configuration.

mod bridges;
mod devices;
mod page;

use page::{Kind, Page, Seconds};

use crate::status::{BrokerState, GatewayState, Severity, StoreState};

/// All of it, in the text format 0.0.4.
#[must_use]
pub fn exposition(state: &GatewayState) -> String {
    let mut page = Page::default();
    program(&mut page, state);
    broker(&mut page, &state.broker);
    store(&mut page, &state.store);
    devices::write(&mut page, &state.connections);
    bridges::write(&mut page, &state.bridges, state.at);
    certificates(&mut page, state);
    page.into_text()
}

fn program(page: &mut Page, state: &GatewayState) {
    let labels = [("version", &*state.version)];
    page.family(
        Kind::Gauge,
        "fieldgate_build_info",
        "Always 1; its label says what runs.",
    )
    .sample(&labels, 1);
    page.gauge(
        "fieldgate_uptime_seconds",
        "Since the start of the program.",
        state.uptime_s,
    );
    page.gauge(
        "fieldgate_clock_synchronized",
        "1: the wall clock was set.",
        u8::from(state.clock_is_set),
    );
    page.gauge(
        "fieldgate_config_last_load_timestamp_seconds",
        "When the configuration that runs was taken up.",
        Seconds(state.config.loaded.0),
    );
    page.gauge(
        "fieldgate_config_faulty",
        "1: the file has faults, and the last good configuration runs instead.",
        u8::from(state.config.is_last_good),
    );
    page.gauge(
        "fieldgate_config_needs_restart",
        "1: a section was changed and counts only from the next start on.",
        u8::from(!state.config.needs_restart.is_empty()),
    );
    let mut problems = page.family(
        Kind::Gauge,
        "fieldgate_problems",
        "What needs attention; fieldgate status says what it is and what to do.",
    );
    for (severity, word) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
        let found = state.problems.iter();
        let found = found.filter(|problem| problem.severity == severity);
        problems.sample(&[("severity", word)], found.count());
    }
    let mut listeners = page.family(
        Kind::Gauge,
        "fieldgate_listener_up",
        "1: the listener listens.",
    );
    for listener in &state.listeners {
        let labels = [("listener", &*listener.name)];
        listeners.sample(&labels, u8::from(listener.error.is_none()));
    }
}

fn broker(page: &mut Page, broker: &BrokerState) {
    let gauges = [
        (
            "fieldgate_broker_clients",
            "MQTT clients that are connected.",
            broker.clients,
        ),
        (
            "fieldgate_broker_sessions",
            "Sessions, connected or away.",
            broker.sessions,
        ),
        (
            "fieldgate_broker_subscriptions",
            "Subscriptions of all sessions.",
            broker.subscriptions,
        ),
        (
            "fieldgate_broker_retained_messages",
            "Retained messages.",
            broker.retained_messages,
        ),
        (
            "fieldgate_broker_retained_bytes",
            "Bytes of the retained messages.",
            broker.retained_bytes,
        ),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, value);
    }
    let mut messages = page.family(
        Kind::Counter,
        "fieldgate_broker_messages_total",
        "Messages taken from clients, devices and upstreams (in), and handed to receivers (out).",
    );
    for (dir, counts) in [("in", broker.received), ("out", broker.sent)] {
        for (qos, count) in ["0", "1", "2"].into_iter().zip(counts) {
            messages.sample(&[("dir", dir), ("qos", qos)], count);
        }
    }
    let mut bytes = page.family(
        Kind::Counter,
        "fieldgate_broker_bytes_total",
        "Bytes from clients (in) and to clients (out).",
    );
    bytes.sample(&[("dir", "in")], broker.bytes_received);
    bytes.sample(&[("dir", "out")], broker.bytes_sent);
    let mut dropped = page.family(
        Kind::Counter,
        "fieldgate_broker_publish_dropped_total",
        "Deliveries dropped: by a limit or a policy, for an expiry that passed, or for a route without a topic for them.",
    );
    dropped.sample(&[("reason", "policy")], broker.dropped);
    dropped.sample(&[("reason", "expired")], broker.expired);
    dropped.sample(&[("reason", "no_topic")], broker.unmapped);
    page.counter(
        "fieldgate_broker_panics_total",
        "Connections closed by a fault of fieldgate.",
        broker.panics,
    );
}

fn store(page: &mut Page, store: &StoreState) {
    page.gauge(
        "fieldgate_store_up",
        "1: what should be kept can be; each bridge says it of its backlog, too.",
        u8::from(store.error.is_none()),
    );
    if let Some(free) = store.free_bytes {
        page.gauge(
            "fieldgate_store_free_bytes",
            "Free bytes of the disk of data_dir.",
            free,
        );
    }
    page.gauge(
        "fieldgate_store_free_minimum_bytes",
        "So many bytes of the disk are left free.",
        store.free_bytes_minimum,
    );
    let counters = [
        (
            "fieldgate_store_commits_total",
            "Commits of messages.",
            store.commits,
        ),
        (
            "fieldgate_store_syncs_total",
            "Syncs of the medium for messages.",
            store.syncs,
        ),
        (
            "fieldgate_store_bytes_written_total",
            "Bytes given to the medium for messages.",
            store.bytes_written,
        ),
    ];
    for (name, help, value) in counters {
        page.counter(name, help, value);
    }
    page.family(
        Kind::Histogram,
        "fieldgate_store_commit_duration_seconds",
        "How long commits took, with their syncs.",
    )
    .histogram(&[], &store.commit_times);
}

fn certificates(page: &mut Page, state: &GatewayState) {
    let mut family = page.family(
        Kind::Gauge,
        "fieldgate_certificate_expiry_timestamp_seconds",
        "When the certificate that this part shows to others ends.",
    );
    for certificate in &state.certificates {
        let labels = [("name", &*certificate.used_by)];
        family.sample(&labels, Seconds(certificate.expires.0));
    }
}

#[cfg(test)]
mod tests;
