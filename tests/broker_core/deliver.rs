//! Delivery to a client: window, order, queue, resend (chapters 4.4, 4.6 and 4.9).

use fieldgate::broker::core::ConnId;
use fieldgate::mqtt::{Acknowledge, Connect, Packet, Publish, PublishProperties, QoS, ReasonCode};

use crate::story::{QOS0, QOS1, QOS2, Story, pid, publish, v5};

/// A publisher and a subscriber (connection 2) to `t` at QoS 2 with a receive maximum.
fn pair(receive_maximum: u16) -> (Story, ConnId, ConnId) {
    let mut story = Story::with(|limits| {
        limits.queued_messages = 5;
        limits.inflight = 3;
    });
    let publisher = story.client("p");
    let subscriber = story.connect_with(Connect {
        receive_maximum,
        ..v5("s")
    });
    story.subscribe(subscriber, "t", QOS2);
    story.told();
    (story, publisher, subscriber)
}

fn deliveries(story: &mut Story) -> Vec<String> {
    let told = story.told().into_iter();
    told.filter(|told| told.starts_with("2 ") || told.starts_with("3 "))
        .collect()
}

#[test]
fn mqtt_4_9_0_2_the_lower_of_receive_maximum_and_inflight_is_the_window() {
    for (receive_maximum, expected) in [(2, 2), (100, 3)] {
        let (mut story, publisher, subscriber) = pair(receive_maximum);
        for _ in 0..4 {
            story.publish(publisher, "t", "x", QOS1);
        }
        assert_eq!(deliveries(&mut story).len(), expected);
        story.puback(subscriber, 1);
        let next = expected + 1;
        assert_eq!(
            deliveries(&mut story),
            [format!("2 PUBLISH t=x q1 #{next}")]
        );
    }
}

#[test]
fn mqtt_4_6_0_6_order_is_kept_through_window_and_queue() {
    let (mut story, publisher, subscriber) = pair(1);
    for payload in ["1", "2", "3", "4"] {
        story.publish(publisher, "t", payload, QOS1);
    }
    let mut seen = deliveries(&mut story);
    for id in 1..4 {
        story.puback(subscriber, id);
        seen.extend(deliveries(&mut story));
    }
    assert_eq!(
        seen,
        [
            "2 PUBLISH t=1 q1 #1",
            "2 PUBLISH t=2 q1 #2",
            "2 PUBLISH t=3 q1 #3",
            "2 PUBLISH t=4 q1 #4"
        ]
    );
}

#[test]
fn mqtt_4_3_3_qos_2_to_a_client() {
    let (mut story, publisher, subscriber) = pair(9);
    story.publish(publisher, "t", "x", QOS2);
    assert_eq!(deliveries(&mut story), ["2 PUBLISH t=x q2 #1"]);
    story.pubrec(subscriber, 1);
    story.pubrec(subscriber, 1);
    assert_eq!(deliveries(&mut story), ["2 PUBREL 1", "2 PUBREL 1"]);
    story.pubcomp(subscriber, 1);
    story.pubcomp(subscriber, 1);
    story.pubrec(subscriber, 1);
    assert_eq!(
        deliveries(&mut story),
        ["2 PUBREL 1 PacketIdentifierNotFound"]
    );
}

#[test]
fn mqtt_4_3_3_a_refusing_pubrec_ends_the_delivery() {
    let (mut story, publisher, subscriber) = pair(1);
    story.publish(publisher, "t", "1", QOS2);
    story.publish(publisher, "t", "2", QOS2);
    story.told();
    let refusal = Acknowledge::new(pid(1), ReasonCode::QuotaExceeded);
    story.packet(subscriber, Packet::Pubrec(refusal.clone()));
    story.packet(subscriber, Packet::Pubrec(refusal));
    assert_eq!(deliveries(&mut story), ["2 PUBLISH t=2 q2 #2"]);
}

#[test]
fn acknowledgements_out_of_step_close() {
    let (mut story, publisher, subscriber) = pair(9);
    story.publish(publisher, "t", "x", QOS2);
    story.told();
    story.puback(subscriber, 5);
    assert!(deliveries(&mut story).is_empty(), "unknown: tolerated");
    story.puback(subscriber, 1);
    assert_eq!(deliveries(&mut story)[0], "2 DISCONNECT ProtocolError");
}

#[test]
fn mqtt_4_4_0_1_a_reconnect_resends_in_order_with_dup_then_the_queue() {
    let (mut story, publisher, subscriber) = pair(9);
    for (payload, qos) in [("1", QOS2), ("2", QOS1), ("3", QOS2), ("4", QOS1)] {
        story.publish(publisher, "t", payload, qos);
    }
    story.pubrec(subscriber, 3);
    story.cut(subscriber);
    story.publish(publisher, "t", "0", QOS0);
    story.publish(publisher, "t", "5", QOS1);
    story.told();
    let subscriber = story.connect_with(v5("s"));
    assert_eq!(
        story.told(),
        [
            "3 CONNACK Success present",
            "3 PUBLISH t=1 q2 #1 dup",
            "3 PUBLISH t=2 q1 #2 dup",
            "3 PUBREL 3"
        ]
    );
    story.puback(subscriber, 2);
    story.pubcomp(subscriber, 3);
    assert_eq!(story.told(), ["3 PUBLISH t=4 q1 #4", "3 PUBLISH t=5 q1 #5"]);
}

#[test]
fn a_smaller_receive_maximum_after_a_reconnect_holds_for_resends_too() {
    let (mut story, publisher, subscriber) = pair(3);
    for payload in ["1", "2", "3", "4"] {
        story.publish(publisher, "t", payload, QOS1);
    }
    story.cut(subscriber);
    story.told();
    let subscriber = story.connect_with(Connect {
        receive_maximum: 1,
        ..v5("s")
    });
    assert_eq!(story.told()[1..], ["3 PUBLISH t=1 q1 #1 dup"]);
    story.puback(subscriber, 1);
    assert_eq!(story.told(), ["3 PUBLISH t=2 q1 #2 dup"]);
    story.puback(subscriber, 2);
    story.puback(subscriber, 3);
    assert_eq!(
        story.told(),
        ["3 PUBLISH t=3 q1 #3 dup", "3 PUBLISH t=4 q1 #4"]
    );
}

#[test]
fn an_absent_sessions_queue_is_bounded_and_the_oldest_give_way() {
    let (mut story, publisher, subscriber) = pair(9);
    story.cut(subscriber);
    for number in 0..8 {
        story.publish(publisher, "t", &number.to_string(), QOS1);
    }
    assert_eq!(story.core.stats().dropped, 3);
    story.told();
    story.connect_with(v5("s"));
    assert_eq!(story.told()[1], "3 PUBLISH t=3 q1 #1");
}

#[test]
fn a_queue_is_bounded_by_bytes_too() {
    let mut story = Story::with(|limits| limits.queued_bytes = 25);
    let conn = story.client("a");
    story.subscribe(conn, "t", QOS1);
    story.cut(conn);
    let publisher = story.client("p");
    for payload in ["1234567890", "abcdefghij", "ABCDEFGHIJ"] {
        story.publish(publisher, "t", payload, QOS1);
    }
    story.told();
    story.connect_with(v5("a"));
    assert_eq!(
        story.told()[1..],
        [
            "3 PUBLISH t=abcdefghij q1 #1",
            "3 PUBLISH t=ABCDEFGHIJ q1 #2"
        ]
    );
}

#[test]
fn a_congested_client_loses_qos_0_and_keeps_qos_1() {
    let (mut story, publisher, subscriber) = pair(9);
    story.core.congested(subscriber, true);
    for (payload, qos) in [("0", QOS0), ("1", QOS1), ("2", QOS2)] {
        story.publish(publisher, "t", payload, qos);
    }
    assert!(deliveries(&mut story).is_empty());
    assert_eq!(story.core.stats().dropped, 1);
    story.core.congested(subscriber, false);
    assert_eq!(story.told(), ["2 PUBLISH t=1 q1 #1", "2 PUBLISH t=2 q2 #2"]);
}

#[test]
fn mqtt_3_3_2_5_an_expired_message_is_not_delivered_and_a_waiting_one_counts_down() {
    let (mut story, publisher, subscriber) = pair(9);
    story.cut(subscriber);
    for (id, expiry) in [(1, 5), (2, 60)] {
        let properties = PublishProperties {
            message_expiry: Some(expiry),
            ..PublishProperties::default()
        };
        let packet = Publish {
            properties: Some(Box::new(properties)),
            ..publish("t", &expiry.to_string(), QOS1, id)
        };
        story.packet(publisher, Packet::Publish(packet));
    }
    story.secs(20);
    story.told();
    story.connect_with(v5("s"));
    let effects = story.effects();
    let expiries: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            fieldgate::broker::core::Effect::Deliver { message, .. } => {
                message.properties.as_ref().unwrap().message_expiry
            }
            _ => None,
        })
        .collect();
    assert_eq!(expiries, [40]);
    assert_eq!(story.core.stats().expired, 1);
}

#[test]
fn mqtt_3_1_2_24_a_packet_above_the_clients_maximum_is_not_sent() {
    let mut story = Story::new();
    let publisher = story.client("p");
    let small = story.connect_with(Connect {
        maximum_packet_size: Some(20),
        ..v5("s")
    });
    story.subscribe(small, "t", QOS1);
    story.told();
    // header 2, topic 3, id 2, properties 1: 12 are left
    story.publish(publisher, "t", "1234567890123", QOS1);
    story.publish(publisher, "t", "123456789012", QOS1);
    assert_eq!(
        story.told(),
        ["1 PUBACK 1", "2 PUBLISH t=123456789012 q1 #1", "1 PUBACK 2"]
    );
    assert_eq!(story.core.stats().dropped, 1);
}

#[test]
fn qos_0_is_not_kept_for_a_client_that_is_away() {
    let (mut story, publisher, subscriber) = pair(9);
    story.cut(subscriber);
    story.publish(publisher, "t", "x", QoS::AtMostOnce);
    story.told();
    story.connect_with(v5("s"));
    assert_eq!(story.told(), ["3 CONNACK Success present"]);
}
