//! From a publisher at QoS 1 through a local broker and its bridge to the upstream: while that is away, when it is back, and
//! while it is there. fieldgate beside Mosquitto with its persistence on.
//!
//! They promise different things for these figures. fieldgate acknowledges what is on the disk or with the upstream. Mosquitto
//! acknowledges first and saves then, a copy of all it has: a kill loses what came since the last copy was begun, which is up
//! to a second, or with autosave_on_changes about a message for each client.

use std::time::Duration;

use fieldgate::clock;
use fieldgate::mqtt::{ProtocolVersion, QoS};
use fieldgate::store::LogOptions;
use tokio::time::timeout;

use super::backlog;
use super::client::{Client, Until};
use super::meter::since;
use super::peers::{Peer, Running, WINDOW};
use super::sink::Sink;

/// Of each measurement.
const SECONDS: u64 = 3;
/// For the upstream to get what is left.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages a second, but for the last ones.
#[derive(Default)]
struct Chain {
    down: f64,
    given: f64,
    drained: f64,
    up: f64,
    /// One in flight: link down at QoS 1 and 2, link up at QoS 1.
    alone: [f64; 3],
    acknowledged: u64,
    arrived: u64,
}

pub fn run() {
    println!(
        "publisher to upstream, QoS 1, {WINDOW} in flight      link down  given/msg  drained  link up   \
         one in flight: down, QoS 2, up"
    );
    let mut found = Vec::new();
    for peer in Peer::ALL {
        if !peer.is_installed() {
            println!(
                "  {} is left out: Mosquitto is not installed here",
                peer.name()
            );
            continue;
        }
        let chain = Chain::measure(peer);
        println!(
            "  {:<46}{:>12.0}{:>11.0}{:>9.0}{:>9.0}{:>21.1}{:>7.1}{:>7.0}",
            peer.name(),
            chain.down,
            chain.given,
            chain.drained,
            chain.up,
            chain.alone[0],
            chain.alone[1],
            chain.alone[2],
        );
        if chain.arrived < chain.acknowledged {
            println!(
                "    {} of {} arrived within {PATIENCE:?}",
                chain.arrived, chain.acknowledged
            );
        }
        found.push((peer, chain));
    }
    let interval = LogOptions::new("".into()).commit_interval.as_secs_f64();
    println!(
        "    bound of fieldgate, link down, by the commit interval of {interval} s: {:.0}; one in flight {:.0}, at QoS 2 \
         too (half of that where the client's session is kept)",
        f64::from(WINDOW) / interval,
        1.0 / interval,
    );
    let Some(((_, ours), others)) = found.split_first() else {
        return;
    };
    for (peer, theirs) in others {
        println!(
            "    fieldgate / {}: link down {:.2}, drained {:.2}, link up {:.2}",
            peer.name(),
            ours.down / theirs.down,
            ours.drained / theirs.drained,
            ours.up / theirs.up
        );
    }
}

impl Chain {
    fn measure(peer: Peer) -> Self {
        let running = Running::start(peer);
        backlog::runtime().block_on(Self::default().go_through(&running))
    }

    async fn go_through(mut self, running: &Running) -> Self {
        // MQTT 5 would tell it to have fewer in flight.
        let mut client = Client::connect(running.port, ProtocolVersion::V311).await;
        let window = u64::from(WINDOW);
        self.alone[0] = self.publish(&mut client, QoS::AtLeastOnce, 1).await;
        self.alone[1] = self.publish(&mut client, QoS::ExactlyOnce, 1).await;
        let (before, acknowledged) = (running.written(), self.acknowledged);
        self.down = self.publish(&mut client, QoS::AtLeastOnce, window).await;
        let given = running.written().given - before.given;
        self.given = given as f64 / (self.acknowledged - acknowledged) as f64;

        let mut sink = Sink::open(running.upstream, WINDOW);
        if let Ok(seen) = timeout(PATIENCE, sink.has(self.acknowledged)).await {
            self.drained = seen.per_second();
            self.up = self.publish(&mut client, QoS::AtLeastOnce, window).await;
            self.alone[2] = self.publish(&mut client, QoS::AtLeastOnce, 1).await;
        }
        let last = timeout(PATIENCE, sink.has(self.acknowledged)).await;
        self.arrived = last.unwrap_or_else(|_| sink.seen()).messages;
        self
    }

    /// Messages a second that were acknowledged.
    async fn publish(&mut self, client: &mut Client, qos: QoS, window: u64) -> f64 {
        let started = clock::now();
        let end = Until::At(started + Duration::from_secs(SECONDS));
        let acknowledged = client.publish(&backlog::message(qos), window, end).await;
        self.acknowledged += acknowledged;
        acknowledged as f64 / since(started)
    }
}
