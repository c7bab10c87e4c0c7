//! What clients give each other.

use std::time::Duration;

use fieldgate::mqtt::{Message, Packet, ReasonCode};

use crate::support::*;

#[tokio::test]
async fn messages_pass_between_all_versions_at_every_qos() {
    let gateway = Gateway::start();
    for publisher_version in [V311, V5] {
        for subscriber_version in [V311, V5] {
            let mut publisher = gateway.client(publisher_version, "publisher").await;
            let mut subscriber = gateway.client(subscriber_version, "subscriber").await;
            subscriber.subscribe("plant/+/t", QOS2).await;
            for (number, qos) in [QOS0, QOS1, QOS2].into_iter().enumerate() {
                let payload = [u8::try_from(number).unwrap()];
                let sent = message("plant/7/t", payload.to_vec(), qos);
                publisher.publish(sent, 7).await;
                let got = subscriber.take().await;
                assert_eq!(got.topic.unwrap().as_str(), "plant/7/t");
                assert_eq!(got.payload[..], payload);
                assert_eq!((got.qos, got.retain, got.dup), (qos, false, false));
            }
        }
    }
}

#[tokio::test]
async fn many_packets_in_one_write_are_answered_in_order() {
    let gateway = Gateway::start();
    let mut client = gateway.client(V5, "client").await;
    client.subscribe("#", QOS0).await;
    let mut frames = bytes::BytesMut::new();
    for n in 0..1000_u32 {
        let publish = message("a", n.to_be_bytes().to_vec(), QOS0).into_publish(None);
        Packet::Publish(publish).encode(V5, &mut frames).unwrap();
    }
    client.send_bytes(&frames).await;
    for n in 0..1000_u32 {
        assert_eq!(client.take_payload().await[..], n.to_be_bytes());
    }
    assert_eq!(gateway.broker.stats().dropped, 0);
}

#[tokio::test]
async fn packets_that_follow_connect_in_the_same_write_are_served() {
    let gateway = Gateway::start();
    let mut client = Client::open(gateway.address, V311).await;
    let mut frames = bytes::BytesMut::new();
    let connect = Packet::Connect(Box::new(connect(V311, "hasty")));
    connect.encode(V311, &mut frames).unwrap();
    Packet::Pingreq.encode(V311, &mut frames).unwrap();
    client.send_bytes(&frames).await;
    assert!(matches!(client.receive().await, Packet::Connack(_)));
    assert_eq!(client.receive().await, Packet::Pingresp);
}

#[tokio::test]
async fn a_retained_message_waits_for_later_subscribers() {
    let gateway = Gateway::start();
    let mut publisher = gateway.client(V311, "publisher").await;
    let retained = Message {
        retain: true,
        ..message("state", "on", QOS1)
    };
    publisher.publish(retained, 1).await;
    for version in [V311, V5] {
        let mut subscriber = gateway.client(version, "late").await;
        subscriber.subscribe("state", QOS1).await;
        let got = subscriber.take().await;
        assert_eq!((&got.payload[..], got.retain), (&b"on"[..], true));
    }
}

#[tokio::test]
async fn all_of_many_retained_messages_arrive() {
    let gateway = Gateway::start();
    let mut publisher = gateway.client(V5, "publisher").await;
    for n in 0..1000 {
        let retained = Message {
            retain: true,
            ..message(&format!("state/{n}"), "x", QOS0)
        };
        publisher.send_publish(retained, 1).await;
    }
    publisher.ping().await;
    let mut subscriber = gateway.client(V5, "late").await;
    subscriber.subscribe("state/#", QOS1).await;
    for _ in 0..1000 {
        assert!(subscriber.take().await.retain);
    }
    let mut link = gateway
        .broker
        .link(crate::link::options("$r"))
        .await
        .unwrap();
    link.subscribe("state/#".try_into().unwrap(), QOS1)
        .await
        .unwrap();
    for _ in 0..1000 {
        assert!(soon(link.receive()).await.unwrap().retain);
    }
}

#[tokio::test]
async fn a_will_is_published_when_the_connection_breaks() {
    let gateway = Gateway::start();
    let mut watcher = gateway.client(V5, "watcher").await;
    watcher.subscribe("will/#", QOS1).await;
    for version in [V311, V5] {
        let mut client = Client::open(gateway.address, version).await;
        let mut doomed = connect(version, "doomed");
        doomed.will = will("will/doomed");
        client.connect(doomed).await;
        drop(client);
        assert_eq!(watcher.take_payload().await, "gone");
    }
}

#[tokio::test]
async fn a_will_is_not_published_after_a_disconnect() {
    let gateway = Gateway::start();
    let mut watcher = gateway.client(V5, "watcher").await;
    watcher.subscribe("will/#", QOS1).await;
    for (version, client_id) in [(V311, "polite"), (V5, "rude")] {
        let mut client = Client::open(gateway.address, version).await;
        let mut connect = connect(version, client_id);
        connect.will = will(&format!("will/{client_id}"));
        client.connect(connect).await;
        let reason = if client_id == "polite" {
            ReasonCode::Success
        } else {
            ReasonCode::DisconnectWithWill
        };
        let disconnect = fieldgate::mqtt::Disconnect::new(reason);
        client.send(Packet::Disconnect(disconnect)).await;
        assert_eq!(client.closed().await, None);
    }
    let only = watcher.take().await;
    assert_eq!(only.topic.unwrap().as_str(), "will/rude");
}

#[tokio::test]
async fn mqtt_3_1_2_22_silence_beyond_the_keep_alive_closes_and_publishes_the_will() {
    let gateway = Gateway::start();
    let mut watcher = gateway.client(V5, "watcher").await;
    watcher.subscribe("will/#", QOS1).await;
    for version in [V311, V5] {
        let mut client = Client::open(gateway.address, version).await;
        let mut silent = connect(version, "silent");
        silent.keep_alive = 1;
        silent.will = will("will/silent");
        client.connect(silent).await;
        let reason = version.is_v5().then_some(ReasonCode::KeepAliveTimeout);
        assert_eq!(client.closed().await, reason);
        assert_eq!(watcher.take_payload().await, "gone");
    }
}

#[tokio::test]
async fn mqtt_3_1_4_3_a_second_connection_takes_over() {
    let gateway = Gateway::start();
    let mut first = gateway.client(V5, "twin").await;
    let mut second = gateway.client(V311, "twin").await;
    assert_eq!(first.closed().await, Some(ReasonCode::SessionTakenOver));
    let mut third = gateway.client(V5, "twin").await;
    assert_eq!(second.closed().await, None);
    third.ping().await;
}

#[tokio::test]
async fn mqtt_3_1_0_2_a_second_connect_closes() {
    let gateway = Gateway::start();
    let mut client = gateway.client(V5, "client").await;
    let again = Packet::Connect(Box::new(connect(V5, "client")));
    client.send(again).await;
    assert_eq!(client.closed().await, Some(ReasonCode::ProtocolError));
}

#[tokio::test]
async fn a_payload_of_a_megabyte_passes_where_the_limit_allows() {
    let gateway = Gateway::with(|options| options.limits.packet_size = 2 << 20);
    let payload: Vec<u8> = (0..1_u32 << 20).map(|n| (n % 251) as u8).collect();
    let mut publisher = gateway.client(V311, "publisher").await;
    let mut subscriber = gateway.client(V5, "subscriber").await;
    subscriber.subscribe("big", QOS2).await;
    for qos in [QOS0, QOS1, QOS2] {
        publisher
            .publish(message("big", payload.clone(), qos), 1)
            .await;
        let got = subscriber.take_payload().await;
        assert!(got == payload, "{qos:?}");
    }
}

#[tokio::test]
async fn two_hundred_subscribers_get_each_message_once_and_in_order() {
    let gateway = Gateway::with(|options| options.limits.connections_per_address = 201);
    let mut subscribers = Vec::new();
    for n in 0..200 {
        let version = if n % 2 == 0 { V311 } else { V5 };
        let mut subscriber = gateway.client(version, &format!("s{n}")).await;
        subscriber.subscribe("fan/#", QOS1).await;
        subscribers.push(subscriber);
    }
    let mut publisher = gateway.client(V5, "publisher").await;
    for n in 0..20_u8 {
        publisher
            .publish(message("fan/out", vec![n], QOS1), 1)
            .await;
    }
    for subscriber in &mut subscribers {
        for n in 0..20 {
            assert_eq!(subscriber.take_payload().await[..], [n]);
        }
    }
    assert_eq!(gateway.broker.stats().dropped, 0);
}

#[tokio::test]
async fn the_end_of_the_broker_is_told() {
    let gateway = Gateway::start();
    let mut new = gateway.client(V5, "new").await;
    let mut old = gateway.client(V311, "old").await;
    let silent = Client::open(gateway.address, V5).await;
    gateway.shutdown.request();
    assert_eq!(new.closed().await, Some(ReasonCode::ServerShuttingDown));
    assert_eq!(old.closed().await, None);
    drop(silent);
    soon(gateway.shutdown.finished()).await;
    assert!(
        gateway
            .broker
            .link(crate::link::options("$late"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_client_that_does_not_close_does_not_hold_up_the_end() {
    let gateway = Gateway::start();
    let _open = gateway.client(V5, "open").await;
    let (done, ended) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        gateway.stop().await;
        done.send(()).unwrap();
    });
    tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .unwrap()
        .unwrap();
}
