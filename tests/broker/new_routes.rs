//! A new forward route sends what is retained once, over restarts and kills.

use std::path::Path;
use std::sync::Arc;

use fieldgate::broker::{Attachment, ForwardRoute, Latest, RetainPolicy, SessionStore, Stores};
use fieldgate::mqtt::Message;
use fieldgate::store::{Log, LogOptions, Seq, SessionLogOptions, StateOptions};
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
        retain: RetainPolicy::Keep,
    }
}

impl Life {
    fn begin(dir: &Path, filters: &[&str]) -> Self {
        let log = Log::open(LogOptions::new(dir.join("cloud"))).unwrap();
        let state = StateOptions::new(dir.to_owned());
        let sessions = SessionLogOptions::new(dir.join("sessions"));
        let sessions = SessionStore::open(state, sessions).unwrap();
        let handles = (sessions.log.clone(), sessions.state.clone());
        let attachment = Attachment {
            name: "cloud".to_owned(),
            log: log.clone(),
            routes: filters.iter().map(|filter| route(filter)).collect(),
            latest: Arc::new(Latest::default()),
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
        let mut client = self.gateway.client(V5, "plc").await;
        let message = Message {
            retain: true,
            ..message(topic, "x", QOS1)
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
    life.log.keep_routes(fieldgate::clock::now(), Vec::new());
    life.end().await;
    let life = Life::begin(dir.path(), &["plant/#"]);
    life.know_routes(1).await;
    assert_eq!(life.waiting().await, ["site/plant/a true"; 2]);
    life.end().await;
}
