//! How a bridge brings in what its upstream sends.

use std::time::Duration;

use fieldgate::broker::{InletAnswer, InletOptions, LinkClosed};
use fieldgate::mqtt::{Acknowledge, Packet, ProtocolVersion, Publish, ReasonCode};

use crate::support::*;

fn options(version: ProtocolVersion) -> InletOptions {
    InletOptions {
        client_id: "$upstream".into(),
        bridge: 0,
        version,
        clean_start: true,
    }
}

fn publish(payload: String, qos: fieldgate::mqtt::QoS, number: u16) -> Publish {
    message("down", payload, qos).into_publish((qos > QOS0).then(|| id(number)))
}

fn ack(number: u16, reason: ReasonCode) -> Acknowledge {
    Acknowledge::new(id(number), reason)
}

#[tokio::test]
async fn packet_ids_and_answers_are_those_of_the_upstream() {
    let gateway = Gateway::start();
    let mut client = gateway.client(V5, "client").await;
    client.subscribe("down", QOS2).await;
    for version in [V311, V5] {
        let mut inlet = gateway.broker.inlet(options(version)).await.unwrap();
        assert!(inlet.publish(publish("0".to_owned(), QOS0, 0)));
        assert!(inlet.publish(publish("1".to_owned(), QOS1, 700)));
        assert!(inlet.publish(publish("2".to_owned(), QOS2, 701)));
        let success = ReasonCode::Success;
        let first = soon(inlet.answer()).await.unwrap();
        assert_eq!(first, InletAnswer::Puback(ack(700, success)));
        let second = soon(inlet.answer()).await.unwrap();
        assert_eq!(second, InletAnswer::Pubrec(ack(701, success)));
        assert!(inlet.release(ack(701, success)));
        let third = soon(inlet.answer()).await.unwrap();
        assert_eq!(third, InletAnswer::Pubcomp(ack(701, success)));
        for payload in ["0", "1", "2"] {
            assert_eq!(client.take_payload().await, payload);
        }
    }
}

/// Nobody takes answers here: the broker is given no more than they have room for.
#[tokio::test]
async fn an_inlet_takes_a_bounded_number_and_goes_on_when_answers_are_taken() {
    let gateway = Gateway::with(|options| options.limits.receive_maximum = 1);
    let mut inlet = gateway.broker.inlet(options(V5)).await.unwrap();
    let (mut sent, mut answered) = (0, 0);
    while answered < 500 {
        while inlet.publish(publish("x".to_owned(), QOS1, sent % 60_000 + 1)) {
            sent += 1;
            assert!(sent - answered <= 64, "bounded");
        }
        assert!(!inlet.has_room());
        soon(inlet.answer()).await.unwrap();
        answered += 1;
    }
}

/// There are no answers at QoS 0, so the room itself must wake who waits for it: also where it came in the meantime.
#[tokio::test]
async fn qos_0_waits_for_the_brokers_thread() {
    let gateway = Gateway::start();
    let mut inlet = gateway.broker.inlet(options(V5)).await.unwrap();
    let message = publish("x".to_owned(), QOS0, 0);
    let packet = Packet::Publish(message.clone());
    for is_late in [false, true] {
        let mut refused = 0;
        for _ in 0..20_000 {
            while !inlet.publish(message.clone()) {
                while is_late && !inlet.has_room() {
                    tokio::task::yield_now().await;
                }
                assert_eq!(soon(inlet.answer_or_room(&packet)).await, Ok(None));
                refused += 1;
            }
        }
        assert!(refused > 0);
    }
}

#[tokio::test]
async fn an_inlet_ends_with_the_next_one_and_with_the_broker() {
    let gateway = Gateway::start();
    let mut first = gateway.broker.inlet(options(V5)).await.unwrap();
    let mut second = gateway.broker.inlet(options(V5)).await.unwrap();
    assert_eq!(soon(first.answer()).await, Err(LinkClosed));
    assert!(!gateway.broker.has_ended());
    let broker = gateway.broker.clone();
    gateway.stop().await;
    assert_eq!(soon(second.answer()).await, Err(LinkClosed));
    let ended = async {
        while !broker.has_ended() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(ended).await;
}
