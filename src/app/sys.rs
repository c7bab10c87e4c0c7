//! `$SYS/broker/...`: the broker's figures under Mosquitto's names, so that what watches a Mosquitto watches this.
//!
//! Retained, at QoS 0, and only what has changed. Figures count the clients' sockets: devices and bridges of the gateway
//! are no clients, and have status topics of their own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::broker::{BrokerHandle, BrokerStats, Link, LinkClosed};
use crate::clock;
use crate::mqtt::{Message, QoS};
use crate::shutdown::Stop;
use crate::topic::TopicName;

/// Mosquitto's `sys_interval`.
const INTERVAL: Duration = Duration::from_secs(10);

/// What a load is averaged over.
const SPANS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// Publishes until `stop`, or until the broker has ended.
pub(super) async fn publish(mut link: Link, broker: BrokerHandle, mut stop: Stop) {
    let mut tree = Tree::new(clock::now());
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.requested() => return,
            _ = tick.tick() => {}
        }
        for (name, value) in tree.changes(clock::now(), &broker.stats()) {
            if send(&mut link, &name, value).await.is_err() {
                return;
            }
        }
    }
}

async fn send(link: &mut Link, name: &str, value: String) -> Result<(), LinkClosed> {
    match TopicName::try_from(format!("$SYS/broker/{name}")) {
        Ok(topic) => {
            let payload = Bytes::from(value);
            link.publish(Message::new(topic, payload, QoS::AtMostOnce, true))
                .await
        }
        Err(fault) => {
            tracing::error!(name, %fault, "no topic; this is a fault of fieldgate");
            Ok(())
        }
    }
}

/// What was published, and the averages.
struct Tree {
    started: Instant,
    last: Instant,
    published: BTreeMap<String, String>,
    loads: BTreeMap<&'static str, Load>,
}

/// An average that forgets exponentially, per minute, as Mosquitto has it.
#[derive(Default)]
struct Load {
    count: u64,
    averages: [f64; SPANS.len()],
}

impl Load {
    fn update(&mut self, count: u64, passed: Duration) {
        let seconds = passed.as_secs_f64();
        if seconds > 0.0 {
            let rate = count.saturating_sub(self.count) as f64 * 60.0 / seconds;
            for (average, (_, span)) in self.averages.iter_mut().zip(SPANS) {
                *average = rate + (-seconds / span).exp() * (*average - rate);
            }
        }
        self.count = count;
    }
}

impl Tree {
    fn new(now: Instant) -> Self {
        Self {
            started: now,
            last: now,
            published: BTreeMap::new(),
            loads: BTreeMap::new(),
        }
    }

    /// What is not what was last published. The values of the first call are all of them.
    fn changes(&mut self, now: Instant, stats: &BrokerStats) -> Vec<(String, String)> {
        let passed = now.saturating_duration_since(self.last);
        self.last = now;
        let uptime = now.saturating_duration_since(self.started).as_secs();
        let mut all = vec![
            (
                "version".to_owned(),
                concat!("fieldgate version ", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
            ("uptime".to_owned(), format!("{uptime} seconds")),
        ];
        for (name, figure) in figures(stats) {
            all.push((name.to_owned(), figure.to_string()));
        }
        for (name, count) in counts(stats) {
            let load = self.loads.entry(name).or_default();
            load.update(count, passed);
            for (average, (span, _)) in load.averages.iter().zip(SPANS) {
                all.push((format!("load/{name}/{span}"), format!("{average:.2}")));
            }
        }
        all.retain(|(name, value)| self.published.get(name) != Some(value));
        self.published.extend(all.iter().cloned());
        all
    }
}

fn figures(stats: &BrokerStats) -> [(&'static str, u64); 21] {
    let traffic = &stats.traffic;
    let links = stats.connections.saturating_sub(stats.clients);
    let away = stats.sessions.saturating_sub(stats.connections);
    [
        ("clients/total", stats.sessions.saturating_sub(links)),
        ("clients/connected", stats.clients),
        ("clients/active", stats.clients),
        ("clients/disconnected", away),
        ("clients/inactive", away),
        ("clients/maximum", stats.clients_maximum),
        ("clients/expired", stats.sessions_expired),
        ("subscriptions/count", stats.subscriptions),
        ("retained messages/count", stats.retained_messages),
        ("messages/received", traffic.packets_received),
        ("messages/sent", traffic.packets_sent),
        ("messages/stored", stats.retained_messages),
        ("store/messages/count", stats.retained_messages),
        ("store/messages/bytes", stats.retained_bytes),
        ("publish/messages/received", traffic.publishes_received),
        ("publish/messages/sent", traffic.publishes_sent),
        ("publish/messages/dropped", stats.dropped),
        ("publish/bytes/received", traffic.payload_bytes_received),
        ("publish/bytes/sent", traffic.payload_bytes_sent),
        ("bytes/received", traffic.bytes_received),
        ("bytes/sent", traffic.bytes_sent),
    ]
}

/// What loads are made of.
fn counts(stats: &BrokerStats) -> [(&'static str, u64); 9] {
    let traffic = &stats.traffic;
    [
        ("messages/received", traffic.packets_received),
        ("messages/sent", traffic.packets_sent),
        ("publish/received", traffic.publishes_received),
        ("publish/sent", traffic.publishes_sent),
        ("publish/dropped", stats.dropped),
        ("bytes/received", traffic.bytes_received),
        ("bytes/sent", traffic.bytes_sent),
        ("sockets", traffic.connections),
        ("connections", traffic.connects),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Traffic;

    fn value<'a>(changes: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let mut found = changes.iter().filter(|(found, _)| found == name);
        found.next().map(|(_, value)| value.as_str())
    }

    #[test]
    fn the_first_time_all_are_told_and_then_only_what_changed() {
        let start = clock::now();
        let mut tree = Tree::new(start);
        let mut stats = BrokerStats {
            connections: 5,
            clients: 3,
            sessions: 9,
            ..BrokerStats::default()
        };
        let first = tree.changes(start, &stats);
        assert_eq!(value(&first, "clients/total"), Some("7"));
        assert_eq!(value(&first, "clients/disconnected"), Some("4"));
        assert_eq!(value(&first, "uptime"), Some("0 seconds"));
        assert_eq!(value(&first, "load/bytes/sent/15min"), Some("0.00"));

        let later = tree.changes(start + INTERVAL, &stats);
        let uptime = ("uptime".to_owned(), "10 seconds".to_owned());
        assert_eq!(later, [uptime]);

        stats.traffic.bytes_sent = 100;
        let later = tree.changes(start + INTERVAL * 2, &stats);
        // 600 a minute, of which e^(-10/60) is not there yet.
        assert_eq!(value(&later, "load/bytes/sent/1min"), Some("92.11"));
        assert_eq!(value(&later, "bytes/sent"), Some("100"));
        assert_eq!(value(&later, "bytes/received"), None);
    }

    #[test]
    fn a_steady_flow_becomes_its_rate() {
        let start = clock::now();
        let mut tree = Tree::new(start);
        let mut stats = BrokerStats::default();
        for step in 1..=1000 {
            stats.traffic = Traffic {
                packets_received: u64::from(step) * 50,
                ..Traffic::default()
            };
            tree.changes(start + INTERVAL * step, &stats);
        }
        for (span, _) in SPANS {
            let name = format!("load/messages/received/{span}");
            assert_eq!(tree.published.get(&name).unwrap(), "300.00");
        }
    }

    #[test]
    fn the_page_of_topics_has_every_name() {
        let page = include_str!("../../config/docs/topics.md");
        let now = clock::now();
        for (name, _) in Tree::new(now).changes(now, &BrokerStats::default()) {
            let (name, span) = match name.strip_prefix("load/") {
                Some(rest) => rest.rsplit_once('/').unwrap(),
                None => (name.as_str(), ""),
            };
            let shown = if span.is_empty() {
                format!("`{name}`")
            } else {
                format!("`load/{name}`")
            };
            assert!(page.contains(&shown), "{shown}");
        }
    }
}
