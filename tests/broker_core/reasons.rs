//! Refusals that explain themselves, and what is checked of what a publisher says.

use bytes::Bytes;
use fieldgate::broker::core::{Effect, LogId};
use fieldgate::mqtt::{Connect, Message, Packet, Publish, PublishProperties, QoS, Subscribe};
use fieldgate::store::Seq;
use fieldgate::topic::TopicName;

use crate::story::{
    QOS0, QOS1, QOS2, Story, pid, publish, route, subscription, v5, v311, with_will,
};

fn text(payload: &'static [u8], qos: QoS) -> Publish {
    Publish {
        payload: Bytes::from_static(payload),
        properties: Some(Box::new(PublishProperties {
            payload_is_utf8: true,
            ..PublishProperties::default()
        })),
        ..publish("t", "", qos, 1)
    }
}

/// The Reason Strings of what was sent.
fn explanations(story: &mut Story) -> Vec<Option<String>> {
    let strings = story
        .effects()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Send { packet, .. } => Some(packet),
            _ => None,
        });
    let strings = strings.map(|packet| match packet {
        Packet::Puback(packet) | Packet::Pubrec(packet) => packet.reason_string,
        Packet::Suback(packet) => packet.reason_string,
        Packet::Connack(packet) => packet.reason_string,
        Packet::Disconnect(packet) => packet.reason_string,
        other => panic!("{other:?}"),
    });
    strings
        .map(|string| string.map(|string| string.to_string()))
        .collect()
}

#[test]
fn mqtt_3_3_2_4_a_payload_that_says_it_is_utf_8_and_is_not_is_refused() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.subscribe(conn, "t", QOS0);
    story.told();
    for qos in [QOS0, QOS1, QOS2] {
        story.packet(conn, Packet::Publish(text(b"\xff", qos)));
    }
    assert_eq!(
        story.told(),
        [
            "1 PUBACK 1 PayloadFormatInvalid",
            "1 PUBREC 1 PayloadFormatInvalid"
        ]
    );
    assert_eq!(story.core.stats().dropped, 1, "at QoS 0 nobody can be told");
    story.packet(conn, Packet::Publish(text("ü".as_bytes(), QOS0)));
    story.packet(conn, Packet::Publish(text(b"", QOS0)));
    let unsaid = Publish {
        payload: Bytes::from_static(b"\xff"),
        ..publish("t", "", QOS0, 0)
    };
    story.packet(conn, Packet::Publish(unsaid));
    assert_eq!(story.told().len(), 3);
}

#[test]
fn mqtt_3_1_3_2_3_a_will_that_says_it_is_utf_8_and_is_not_is_refused() {
    let mut story = Story::new();
    let mut connect = with_will(v5("a"), "t", 0);
    let will = connect.will.as_mut().unwrap();
    will.message.payload = Bytes::from_static(b"\xff");
    story.connect_with(connect.clone());
    assert_eq!(story.told(), ["1 CONNACK Success"]);
    let will = connect.will.as_mut().unwrap();
    will.message.properties = text(b"", QOS0).properties;
    story.connect_with(connect);
    assert_eq!(
        story.told(),
        [
            "2 CONNACK PayloadFormatInvalid",
            "2 closed Refused(PayloadFormatInvalid)"
        ]
    );
}

#[test]
fn mqtt_3_1_2_29_answers_explain_themselves_only_to_who_wants_that() {
    for wanted in [true, false] {
        let mut story = Story::with(|limits| {
            limits.topic_levels = 2;
            limits.receive_maximum = 1;
        });
        let conn = story.connect_with(Connect {
            request_problem_information: wanted,
            ..v5("a")
        });
        story.told();
        story.publish(conn, "a/b/c", "x", QOS1);
        story.publish(conn, "a/b/c", "x", QOS2);
        let subscribe = Subscribe {
            packet_id: pid(1),
            subscriptions: ["a", "a/b/c", "a/b/#"]
                .map(|filter| subscription(filter, QOS0))
                .to_vec(),
            subscription_id: None,
            user_properties: Vec::new(),
        };
        story.packet(conn, Packet::Subscribe(subscribe));
        for explanation in explanations(&mut story) {
            assert_eq!(explanation.is_some(), wanted, "{explanation:?}");
        }
        story.publish(conn, "a", "x", QOS2);
        assert_eq!(explanations(&mut story), [None], "nothing to explain");
        story.publish(conn, "a", "x", QOS2);
        let [Some(disconnect)] = &explanations(&mut story)[..] else {
            panic!("a DISCONNECT may always explain itself");
        };
        assert!(disconnect.contains("receive maximum"), "{disconnect}");
    }
}

#[test]
fn a_refused_connect_explains_itself() {
    let mut story = Story::with(|limits| limits.empty_client_id = false);
    story.connect_with(v5(""));
    let [Some(connack)] = &explanations(&mut story)[..] else {
        panic!("no explanation");
    };
    assert!(connack.contains("client identifier"), "{connack}");
}

#[test]
fn mqtt_3_3_4_9_as_many_as_the_receive_maximum_may_wait_and_not_one_more() {
    let mut story = Story::with(|limits| limits.receive_maximum = 2);
    story
        .core
        .attach_log(LogId::Bridge(0), Seq(1), vec![route("#")]);
    let conn = story.client("a");
    story.publish(conn, "t", "1", QOS1);
    story.publish(conn, "t", "2", QOS2);
    story.publish(conn, "t", "0", QOS0);
    story.told();
    story.covered(0, 1);
    story.publish(conn, "t", "3", QOS1);
    assert_eq!(story.told(), ["1 PUBACK 1", "log0 @4 up/t=3 q1"]);
    story.covered(0, 4);
    assert_eq!(story.told(), ["1 PUBREC 2", "1 PUBACK 4"]);
    // QoS 2 counts until its PUBCOMP; a resend of it counts once.
    story.packet(conn, Packet::Publish(publish("t", "2", QOS2, 2)));
    story.publish(conn, "t", "4", QOS1);
    assert_eq!(story.told(), ["1 PUBREC 2", "log0 @5 up/t=4 q1"]);
    story.publish(conn, "t", "5", QOS1);
    assert_eq!(
        story.told(),
        [
            "1 DISCONNECT ReceiveMaximumExceeded",
            "1 closed Violated(ReceiveMaximumExceeded)"
        ]
    );
}

#[test]
fn mqtt_3_3_4_9_a_refused_message_does_not_count() {
    let mut story = Story::with(|limits| {
        limits.receive_maximum = 1;
        limits.topic_levels = 1;
    });
    let conn = story.client("a");
    for qos in [QOS2, QOS1, QOS2] {
        story.publish(conn, "a/b", "x", qos);
    }
    assert_eq!(
        story.told(),
        [
            "1 PUBREC 1 TopicNameInvalid",
            "1 PUBACK 2 TopicNameInvalid",
            "1 PUBREC 3 TopicNameInvalid"
        ]
    );
}

#[test]
fn a_client_of_3_1_1_knows_no_receive_maximum() {
    let mut story = Story::with(|limits| limits.receive_maximum = 1);
    story
        .core
        .attach_log(LogId::Bridge(0), Seq(1), vec![route("#")]);
    let conn = story.connect_with(v311("a", true));
    story.told();
    for _ in 0..200 {
        story.publish(conn, "t", "x", QOS1);
    }
    assert_eq!(story.told().len(), 200);
    story.covered(0, 200);
    assert_eq!(story.told().len(), 200);
}

#[test]
fn mqtt_3_3_2_15_what_the_application_says_about_a_message_passes_unaltered() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.subscribe(conn, "t", QOS1);
    story.told();
    let pair = |name: &str, value: &str| (name.into(), value.into());
    let properties = PublishProperties {
        payload_is_utf8: true,
        message_expiry: None,
        content_type: Some("text/plain".into()),
        response_topic: Some(TopicName::try_from("answer/here").unwrap()),
        correlation_data: Some(Bytes::from_static(b"\0\xff")),
        user_properties: vec![pair("b", "1"), pair("a", "2"), pair("b", "1")],
    };
    let request = Publish {
        properties: Some(Box::new(properties.clone())),
        ..publish("t", "request", QOS1, 1)
    };
    story.packet(conn, Packet::Publish(request));
    let effects = story.effects();
    let [Effect::Deliver { message, .. }, Effect::Send { .. }] = &effects[..] else {
        panic!("{effects:?}");
    };
    let Message {
        properties: passed, ..
    } = &**message;
    assert_eq!(passed.as_deref(), Some(&properties));
}
