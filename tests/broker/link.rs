//! Clients inside the program.

use fieldgate::broker::{LinkClosed, LinkOptions, Origin};
use fieldgate::mqtt::{Message, ReasonCode};
use fieldgate::topic::TopicFilter;

use crate::support::*;

pub(crate) fn options(client_id: &str) -> LinkOptions {
    LinkOptions {
        client_id: client_id.into(),
        origin: Origin::Gateway,
    }
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::try_from(text).unwrap()
}

#[tokio::test]
async fn links_and_sockets_exchange_messages_at_every_qos() {
    let gateway = Gateway::start();
    let mut client = gateway.client(V5, "client").await;
    client.subscribe("up/#", QOS2).await;
    let mut link = gateway.broker.link(options("$link")).await.unwrap();
    link.subscribe(filter("down/#"), QOS2).await.unwrap();
    for qos in [QOS0, QOS1, QOS2] {
        soon(link.publish(message("up/1", "rise", qos)))
            .await
            .unwrap();
        let got = client.take().await;
        assert_eq!((&got.payload[..], got.qos), (&b"rise"[..], qos));
        client.publish(message("down/1", "fall", qos), 3).await;
        let got = soon(link.receive()).await.unwrap();
        assert_eq!((&got.payload[..], got.qos), (&b"fall"[..], qos));
    }
}

#[tokio::test]
async fn a_link_publishes_more_than_its_window() {
    let gateway = Gateway::with(|options| options.limits.receive_maximum = 5);
    let mut receiver = gateway.broker.link(options("$receiver")).await.unwrap();
    receiver.subscribe(filter("#"), QOS2).await.unwrap();
    let mut sender = gateway.broker.link(options("$sender")).await.unwrap();
    for (round, qos) in [QOS1, QOS2].into_iter().enumerate() {
        let send = async {
            for n in 0..300_u32 {
                let message = message("a", n.to_be_bytes().to_vec(), qos);
                sender.publish(message).await.unwrap();
            }
        };
        let receive = async {
            for n in 0..300_u32 {
                let got = receiver.receive().await.unwrap();
                assert_eq!(got.payload[..], n.to_be_bytes(), "round {round}");
            }
        };
        soon(async { tokio::join!(send, receive) }).await;
    }
}

#[tokio::test]
async fn a_link_that_takes_nothing_holds_nobody_up() {
    let gateway = Gateway::start();
    let mut lazy = gateway.broker.link(options("$lazy")).await.unwrap();
    lazy.subscribe(filter("flood/0"), QOS0).await.unwrap();
    lazy.subscribe(filter("flood/1"), QOS1).await.unwrap();
    let mut reader = gateway.client(V5, "reader").await;
    reader.subscribe("flood/#", QOS1).await;
    let mut publisher = gateway.client(V5, "publisher").await;
    for n in 0..900_u32 {
        let payload = n.to_be_bytes().to_vec();
        publisher
            .publish(message("flood/0", payload.clone(), QOS0), 1)
            .await;
        publisher
            .publish(message("flood/1", payload.clone(), QOS1), 1)
            .await;
        assert_eq!(reader.take_payload().await, payload);
        assert_eq!(reader.take_payload().await, payload);
    }
    assert!(gateway.broker.stats().dropped > 0);

    // All of QoS 1 was kept; QoS 0 comes again once there is room.
    let mut expected = 0_u32;
    while expected < 900 {
        let got = soon(lazy.receive()).await.unwrap();
        if got.qos == QOS1 {
            assert_eq!(got.payload[..], expected.to_be_bytes());
            expected += 1;
        }
    }
    publisher.publish(message("flood/1", "last", QOS1), 1).await;
    while soon(lazy.receive()).await.unwrap().payload != "last" {}
    publisher
        .publish(message("flood/0", "again", QOS0), 1)
        .await;
    while soon(lazy.receive()).await.unwrap().payload != "again" {}
}

#[tokio::test]
async fn a_link_sees_whether_a_message_was_retained() {
    let gateway = Gateway::start();
    let mut link = gateway.broker.link(options("$link")).await.unwrap();
    link.subscribe(filter("set"), QOS1).await.unwrap();
    let mut publisher = gateway.client(V5, "publisher").await;
    for retain in [true, false] {
        let command = Message {
            retain,
            ..message("set", "1", QOS1)
        };
        publisher.publish(command, 1).await;
        assert_eq!(soon(link.receive()).await.unwrap().retain, retain);
    }
}

#[tokio::test]
async fn a_device_is_told_who_asks() {
    let gateway = Gateway::start();
    let mut publisher = gateway.client(V5, "plc7").await;
    let retained = Message {
        retain: true,
        ..message("set", "1", QOS1)
    };
    publisher.publish(retained, 1).await;
    let device = LinkOptions {
        origin: Origin::Device,
        ..options("$device")
    };
    let mut device = gateway.broker.link(device).await.unwrap();
    device.subscribe(filter("set"), QOS0).await.unwrap();
    let (remembered, nobody) = soon(device.receive_from()).await.unwrap();
    assert!(remembered.retain && nobody.is_none());
    // Often enough for the short way, which knows no publisher.
    for n in 0..5_u8 {
        publisher.publish(message("set", vec![n], QOS1), 1).await;
        let (command, who) = soon(device.receive_from()).await.unwrap();
        assert_eq!((&command.payload[..], command.retain), (&[n][..], false));
        assert_eq!(who.unwrap().client_id, "plc7");
    }
    // One that takes nothing is told no more than it has room for, and again when it has.
    for n in 0..900_u32 {
        let payload = n.to_be_bytes().to_vec();
        publisher.publish(message("set", payload, QOS1), 1).await;
    }
    assert!(gateway.broker.stats().dropped > 0);
    while soon(device.receive_from()).await.unwrap().0.payload[..] != [0; 4] {}
}

#[tokio::test]
async fn a_person_at_a_command_sees_who_publishes_and_is_told_what_became_of_a_message() {
    let gateway = Gateway::with(|options| options.limits.topic_levels = 3);
    let console = |client_id| LinkOptions {
        origin: Origin::Console,
        ..options(client_id)
    };
    let mut looks = gateway.broker.link(console("$one")).await.unwrap();
    let reason = soon(looks.subscribe(filter("a/b/c/d"), QOS0)).await;
    assert!(reason.unwrap().is_error());
    let reason = soon(looks.subscribe(filter("#"), QOS0)).await;
    assert_eq!(reason, Ok(ReasonCode::Success));
    let mut client = gateway.client(V5, "plc7").await;
    client.publish(message("a", "1", QOS2), 1).await;
    let (seen, publisher) = soon(looks.receive_from()).await.unwrap();
    assert_eq!(seen.qos, QOS2, "as it was published");
    assert_eq!(publisher.unwrap().client_id, "plc7");

    let mut speaks = gateway.broker.link(console("$two")).await.unwrap();
    for qos in [QOS0, QOS1, QOS2] {
        let reason = soon(speaks.publish_acknowledged(message("a", "2", qos))).await;
        assert_eq!(reason, Ok(ReasonCode::Success));
        let (seen, publisher) = soon(looks.receive_from()).await.unwrap();
        assert_eq!((seen.qos, &*publisher.unwrap().client_id), (qos, "$two"));
    }
    drop(looks);
    for qos in [QOS1, QOS2] {
        // The broker may still have to notice that the other is gone.
        let unheard = async {
            while speaks.publish_acknowledged(message("a", "3", qos)).await
                != Ok(ReasonCode::NoMatchingSubscribers)
            {}
        };
        soon(unheard).await;
    }
    let refused = soon(speaks.publish_acknowledged(message("a/b/c/d", "3", QOS1))).await;
    assert_eq!(refused, Ok(ReasonCode::TopicNameInvalid));
}

#[tokio::test]
async fn a_link_ends_with_the_broker_and_never_hangs() {
    let gateway = Gateway::with(|options| options.limits.receive_maximum = 1);
    let mut receiver = gateway.broker.link(options("$receiver")).await.unwrap();
    let mut sender = gateway.broker.link(options("$sender")).await.unwrap();
    gateway.shutdown.request();
    assert_eq!(soon(receiver.receive()).await, Err(LinkClosed));
    let publish = async { while sender.publish(message("a", "x", QOS1)).await.is_ok() {} };
    soon(publish).await;
    assert_eq!(
        soon(receiver.subscribe(filter("a"), QOS0)).await,
        Err(LinkClosed)
    );
}

#[tokio::test]
async fn no_client_on_a_socket_can_take_a_links_name() {
    let gateway = Gateway::start();
    let mut link = gateway.broker.link(options("$link")).await.unwrap();
    let mut thief = Client::open(gateway.address, V5).await;
    let connack = thief.connect(connect(V5, "$link")).await;
    assert!(connack.reason.is_error());
    link.subscribe(filter("a"), QOS0).await.unwrap();
}
