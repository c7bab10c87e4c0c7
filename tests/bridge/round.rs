//! A bridge that receives, between two brokers of ours: the upstream on a socket, the local one in the program.

use std::sync::Arc;
use std::time::Duration;

use fieldgate::auth::{Authenticator, Users};
use fieldgate::bridge::{
    Address, BridgeHandle, BridgeOptions, Local, PreparedBridge, ReceiveRoute,
};
use fieldgate::broker::{
    Broker, BrokerHandle, BrokerOptions, InletOptions, Latest, Link, LinkOptions, Origin,
    RetainPolicy,
};
use fieldgate::listener::{Bind, ListenerOptions, PreparedListener};
use fieldgate::mqtt::{Message, ProtocolVersion, QoS};
use fieldgate::net::TlsTime;
use fieldgate::shutdown::Shutdown;
use fieldgate::status::BridgeStatus;
use fieldgate::store::{Log, LogOptions};
use fieldgate::topic::{Template, TopicFilter};
use tokio::time::timeout;

use crate::sim::{message, options, topic};

/// Nothing here takes long; this only ends a test that hangs.
const HANGS: Duration = Duration::from_secs(60);

/// `down/...` of the upstream comes here as `here/...`.
struct Rig {
    _dir: tempfile::TempDir,
    log: Log,
    upstream: BrokerHandle,
    local: BrokerHandle,
    bridge: BridgeHandle,
    publisher: Link,
    reader: Link,
    shutdown: Shutdown,
}

fn broker(shutdown: &Shutdown) -> BrokerHandle {
    let authenticator = Authenticator::new(Users::default());
    let options = BrokerOptions::default();
    Broker::start(options, Vec::new(), authenticator, shutdown.stop()).unwrap()
}

/// Where the broker listens.
fn listen(broker: &BrokerHandle, shutdown: &Shutdown) -> u16 {
    let listener = PreparedListener::new(
        ListenerOptions {
            name: "upstream".to_owned(),
            bind: Bind::Tcp("127.0.0.1:0".parse().unwrap()),
            anonymous: true,
            tls: None,
            websocket: None,
            user_from_common_name: false,
        },
        &TlsTime::default(),
    );
    let listener = listener.unwrap().start(broker.clone(), shutdown.stop());
    listener.local_addr().unwrap().port()
}

async fn link(broker: &BrokerHandle) -> Link {
    let options = LinkOptions {
        client_id: "$test".into(),
        origin: Origin::Gateway,
    };
    timeout(HANGS, broker.link(options)).await.unwrap().unwrap()
}

impl Rig {
    async fn start(protocol: ProtocolVersion) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::default();
        let (upstream, local) = (broker(&shutdown), broker(&shutdown));
        let port = listen(&upstream, &shutdown);
        let mut log = LogOptions::new(dir.path().join("queue"));
        log.commit_interval = Duration::from_millis(2);
        let log = Log::open(log).unwrap();
        let options = BridgeOptions {
            addresses: vec![Address {
                host: "127.0.0.1".to_owned(),
                port,
                tls: false,
            }],
            protocol,
            packet_size: 8 << 10,
            receive: vec![ReceiveRoute {
                filter: TopicFilter::try_from("down/#").unwrap(),
                topic: Template::parse("here/{2..}", &[], true).unwrap(),
                qos: QoS::ExactlyOnce,
                retain: RetainPolicy::Keep,
            }],
            ..options()
        };
        let mut reader = link(&local).await;
        let here = TopicFilter::try_from("here/#").unwrap();
        reader.subscribe(here, QoS::ExactlyOnce).await.unwrap();
        let there = Local {
            broker: local.clone(),
            number: 0,
        };
        let latest = Arc::new(Latest::default());
        let bridge = PreparedBridge::new(options, TlsTime::default()).unwrap();
        let bridge = bridge.start(log.clone(), latest, Some(there), shutdown.stop());
        Self {
            _dir: dir,
            log,
            publisher: link(&upstream).await,
            reader,
            upstream,
            local,
            bridge,
            shutdown,
        }
    }

    async fn publish(&mut self, text: &str, qos: QoS) {
        let message = Message {
            topic: topic("down/x"),
            ..message(text, qos)
        };
        let published = timeout(HANGS, self.publisher.publish(message)).await;
        published.unwrap().unwrap();
    }

    async fn read(&mut self) -> Message {
        timeout(HANGS, self.reader.receive())
            .await
            .unwrap()
            .unwrap()
    }

    async fn status(&mut self, is: impl FnMut(&BridgeStatus) -> bool) -> BridgeStatus {
        let told = timeout(HANGS, self.bridge.status.wait_for(is)).await;
        told.unwrap().unwrap().clone()
    }

    /// The subscription is there: what is retained comes down.
    async fn subscribed(&mut self) {
        let message = Message {
            topic: topic("down/first"),
            retain: true,
            ..message("first", QoS::ExactlyOnce)
        };
        self.publisher.publish(message).await.unwrap();
        assert_eq!(self.read().await.topic, topic("here/first"));
    }

    async fn end(self) {
        self.shutdown.request();
        timeout(HANGS, self.bridge.task).await.unwrap().unwrap();
        self.log.close();
    }
}

#[tokio::test]
async fn what_the_upstream_has_comes_down_at_every_qos_and_version() {
    for protocol in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let mut rig = Rig::start(protocol).await;
        rig.subscribed().await;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            rig.publish("m", qos).await;
            let here = rig.read().await;
            assert_eq!((here.topic, here.qos), (topic("here/x"), qos));
        }
        rig.status(|status| status.received == 4).await;
        rig.end().await;
    }
}

#[tokio::test]
async fn a_message_above_the_limit_is_left_out_and_the_next_one_comes_by_the_same_connection() {
    for protocol in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let mut rig = Rig::start(protocol).await;
        rig.subscribed().await;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            rig.publish(&"x".repeat(100_000), qos).await;
            rig.publish("small", qos).await;
            assert_eq!(rig.read().await.payload, "small");
        }
        // With MQTT 5 the upstream knows the limit.
        let not_received = if protocol.is_v5() { 0 } else { 3 };
        let told = rig.status(|status| status.received == 4).await;
        assert_eq!((told.not_received, told.connects), (not_received, 1));
        rig.end().await;
    }
}

/// The upstream throws the bridge out, or its session here is taken over, again and again.
async fn nothing_is_lost_or_twice(kick: impl AsyncFn(&Rig)) {
    let mut rig = Rig::start(ProtocolVersion::V5).await;
    rig.subscribed().await;
    for round in 0..5 {
        for number in 0..40 {
            rig.publish(&format!("{round}/{number}"), QoS::ExactlyOnce)
                .await;
            if number == 10 {
                kick(&rig).await;
            }
        }
        for number in 0..40 {
            let here = rig.read().await;
            assert_eq!(
                here.payload,
                format!("{round}/{number}"),
                "in order and once"
            );
        }
    }
    rig.status(|status| status.connects > 5).await;
    rig.end().await;
}

#[tokio::test]
async fn a_link_that_breaks_loses_nothing_and_qos_2_comes_once() {
    nothing_is_lost_or_twice(async |rig| {
        while !rig.upstream.kick("gw").await.unwrap() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_local_session_that_is_taken_over_loses_nothing_and_qos_2_comes_once() {
    nothing_is_lost_or_twice(async |rig| {
        let options = InletOptions {
            client_id: "$fieldgate/upstream/cloud".into(),
            bridge: 0,
            version: ProtocolVersion::V5,
            clean_start: false,
        };
        drop(
            timeout(HANGS, rig.local.inlet(options))
                .await
                .unwrap()
                .unwrap(),
        );
    })
    .await;
}
