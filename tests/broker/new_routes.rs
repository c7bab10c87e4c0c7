//! A new forward route sends what is retained once, over restarts and kills.

use std::path::Path;
use std::sync::Arc;

use fieldgate::broker::{Attachment, ForwardRoute, Latest, RetainPolicy, SessionStore, Stores};
use fieldgate::clock;
use fieldgate::mqtt::{Message, Packet};
use fieldgate::store::{
    LinkHealth, Log, LogOptions, Outcome, Seq, SessionLogOptions, StateOptions,
};
use fieldgate::topic::{Template, TopicFilter};

use crate::support::*;

/// A gateway with all its stores, from one start to the next.
struct Life {
    gateway: Gateway,
    log: Log,
    stores: (fieldgate::store::SessionLog, fieldgate::store::State),
}

fn route(filter: &str) -> ForwardRoute {
    ForwardRoute {
        filter: TopicFilter::try_from(filter).unwrap(),
        except: Vec::new(),
        topic: Template::parse("site/{topic}", &[], true).unwrap(),
        qos: QOS2,
        raise_qos0: false,
        live_first: false,
        retain: RetainPolicy::Keep,
    }
}

impl Life {
    fn begin(dir: &Path, filters: &[&str]) -> Self {
        let log = Log::open(LogOptions::new(dir.join("cloud"))).unwrap();
        let routes = filters.iter().map(|filter| route(filter)).collect();
        Self::with(dir, routes, log, None)
    }

    fn with(dir: &Path, routes: Vec<ForwardRoute>, log: Log, live: Option<Log>) -> Self {
        let state = StateOptions::new(dir.to_owned());
        let sessions = SessionLogOptions::new(dir.join("sessions"));
        let sessions = SessionStore::open(state, sessions).unwrap();
        let handles = (sessions.log.clone(), sessions.state.clone());
        let attachment = Attachment {
            name: "cloud".to_owned(),
            log: log.clone(),
            routes,
            latest: Arc::new(Latest::default()),
            live,
        };
        let stores = Stores {
            sessions: Some(sessions),
            ..Stores::from(vec![attachment])
        };
        Self {
            gateway: Gateway::with_logs(|_| (), stores),
            log,
            stores: handles,
        }
    }

    async fn retain(&self, topic: &str) {
        self.retain_sized(topic, 1).await;
    }

    async fn retain_sized(&self, topic: &str, size: usize) {
        let mut client = self.gateway.client(V5, "plc").await;
        let message = Message {
            retain: true,
            ..message(topic, vec![b'x'; size], QOS1)
        };
        client.publish(message, 1).await;
    }

    /// Waits until the log knows that many routes.
    async fn know_routes(&self, count: usize) {
        let known = async {
            while self.log.routes().len() != count {
                tokio::task::yield_now().await;
            }
        };
        soon(known).await;
    }

    async fn waiting(&self) -> Vec<String> {
        let (mut waiting, mut from) = (Vec::new(), Seq(0));
        loop {
            let entries = soon(self.log.read(from, 100, 1 << 20)).await.unwrap();
            let Some(last) = entries.last() else {
                return waiting;
            };
            from = Seq(last.seq.0 + 1);
            let messages = entries.iter().map(|entry| &entry.record.message);
            waiting.extend(messages.map(|m| format!("{} {}", m.topic, m.retain)));
        }
    }

    async fn end(self) {
        self.gateway.stop().await;
        self.log.close();
        self.stores.0.close();
        self.stores.1.close();
    }
}

#[tokio::test]
async fn a_new_route_sends_what_is_retained_once() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path(), &["other/#"]);
    life.retain("plant/a").await;
    life.retain("plant/b").await;
    life.know_routes(1).await;
    life.end().await;

    let both = ["site/plant/a true", "site/plant/b true"];
    for _ in 0..2 {
        let life = Life::begin(dir.path(), &["other/#", "plant/#"]);
        life.know_routes(2).await;
        assert_eq!(life.waiting().await, both);
        life.end().await;
    }

    // One that was taken out and put back is new again.
    let life = Life::begin(dir.path(), &["other/#"]);
    life.know_routes(1).await;
    life.end().await;
    let life = Life::begin(dir.path(), &["plant/#"]);
    let again = async {
        while life.waiting().await.len() < 4 {
            tokio::task::yield_now().await;
        }
    };
    soon(again).await;
    assert_eq!(life.waiting().await, [both, both].concat());
    life.end().await;
}

#[tokio::test]
async fn a_start_that_ends_before_the_log_knows_its_routes_sends_them_again() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path(), &[]);
    life.retain("plant/a").await;
    life.end().await;

    let life = Life::begin(dir.path(), &["plant/#"]);
    life.know_routes(1).await;
    // As if the kill had come before.
    life.log.keep_routes(clock::now(), Vec::new());
    life.end().await;
    let life = Life::begin(dir.path(), &["plant/#"]);
    life.know_routes(1).await;
    assert_eq!(life.waiting().await, ["site/plant/a true"; 2]);
    life.end().await;
}

#[tokio::test]
async fn what_a_new_live_first_route_brings_up_pushes_nothing_out_of_the_live_lane() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path(), &[]);
    for number in 0..20 {
        let topic = format!("plant/{number}");
        life.retain_sized(&topic, 60_000).await;
    }
    life.end().await;

    let options = LogOptions {
        max_bytes: 1 << 20,
        ..LogOptions::new(dir.path().join("cloud"))
    };
    let (backlog, live) = options.with_live_lane();
    let (backlog, live) = (Log::open(backlog).unwrap(), Log::open(live).unwrap());
    let route = ForwardRoute {
        live_first: true,
        ..route("plant/#")
    };
    let life = Life::with(dir.path(), vec![route], backlog, Some(live.clone()));
    let filled = async {
        while !live.is_nearly_full() {
            tokio::task::yield_now().await;
        }
    };
    soon(filled).await;
    let last = Seq(live.next_seq().0 - 1);
    let mut progress = live.progress();
    soon(progress.wait_for(|now| now.covered >= last))
        .await
        .unwrap();
    assert!(live.next_seq() <= Seq(12), "the rest waits");
    live.link(clock::now(), LinkHealth::Up);
    let (mut sent, mut from) = (0, Seq(0));
    let drained = async {
        while sent < 20 {
            let entries = live.read(from, 1, 1).await.unwrap();
            for entry in entries {
                live.done(clock::now(), [(entry.seq, Outcome::Delivered)]);
                from = Seq(entry.seq.0 + 1);
                sent += 1;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(drained).await;
    life.know_routes(1).await;
    assert_eq!(live.stats().dropped, 0);
    life.end().await;
    live.close();
}

/// A second bridge while the broker runs, upon a log of its own.
async fn attach(life: &Life, dir: &Path, filter: &str) -> (usize, Log) {
    let log = Log::open(LogOptions::new(dir.join("second"))).unwrap();
    let attachment = Attachment {
        name: "second".to_owned(),
        log: log.clone(),
        routes: vec![route(filter)],
        latest: Arc::new(Latest::default()),
        live: None,
    };
    let broker = &life.gateway.broker;
    let number = soon(broker.attach_bridge(attachment)).await.unwrap();
    (number, log)
}

async fn holds(log: &Log, count: u64) {
    let mut progress = log.progress();
    let there = progress.wait_for(|now| now.covered.0 >= count);
    soon(there).await.unwrap();
    assert_eq!(log.next_seq(), Seq(count + 1));
}

#[tokio::test]
async fn a_bridge_that_comes_gets_what_is_retained_and_then_what_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path(), &["other/#"]);
    life.retain("plant/a").await;
    let (number, log) = attach(&life, dir.path(), "plant/#").await;
    assert_eq!(number, 1);
    holds(&log, 1).await;
    // Acknowledged, so it is in the new log.
    let mut client = life.gateway.client(V5, "plc").await;
    client.publish(message("plant/b", "1", QOS2), 1).await;
    assert_eq!(log.next_seq(), Seq(3));
    assert_eq!(life.waiting().await, [""; 0]);
    drop(client);
    life.end().await;
    log.close();
}

#[tokio::test]
async fn a_bridge_that_goes_takes_nothing_more_and_one_that_comes_again_finds_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path(), &["plant/#"]);
    let mut client = life.gateway.client(V5, "plc").await;
    client.publish(message("plant/a", "1", QOS1), 1).await;
    let broker = &life.gateway.broker;
    soon(broker.reroute(0, Vec::new())).await.unwrap();
    client.publish(message("plant/a", "2", QOS1), 2).await;
    assert_eq!(life.log.next_seq(), Seq(2));
    life.know_routes(0).await;
    soon(broker.reroute(0, vec![route("plant/#")]))
        .await
        .unwrap();
    client.publish(message("plant/a", "3", QOS1), 3).await;
    assert_eq!(life.waiting().await, ["site/plant/a false"; 2]);
    drop(client);
    life.end().await;
}

#[tokio::test]
async fn a_route_that_is_put_back_at_once_sends_what_is_retained_as_a_new_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path(), &["plant/#"]);
    life.retain("plant/a").await;
    life.know_routes(1).await;
    let broker = &life.gateway.broker;
    let (gone, back) = tokio::join!(
        broker.reroute(0, Vec::new()),
        broker.reroute(0, vec![route("plant/#")])
    );
    gone.and(back).unwrap();
    holds(&life.log, 2).await;
    assert_eq!(life.waiting().await, ["site/plant/a true"; 2]);
    life.end().await;
}

#[tokio::test]
async fn marks_of_an_earlier_life_swallow_nothing_when_their_log_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path(), &[]);
    let (_, log) = attach(&life, dir.path(), "plant/#").await;
    let mut client = Client::open(life.gateway.address, V5).await;
    let mut connect = connect(V5, "plc");
    connect.session_expiry = 3600;
    client.connect(connect).await;
    client.send_publish(message("plant/a", "1", QOS2), 7).await;
    assert!(matches!(client.receive().await, Packet::Pubrec(_)));
    assert_eq!(log.marks().len(), 1);
    drop(client);
    life.end().await;
    log.close();

    let life = Life::begin(dir.path(), &[]);
    let (_, log) = attach(&life, dir.path(), "plant/#").await;
    assert_eq!(log.marks(), []);
    life.end().await;
    log.close();
}
