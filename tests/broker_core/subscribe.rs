//! SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11).

use fieldgate::mqtt::{Packet, Subscribe};

use crate::story::{QOS0, QOS1, QOS2, Story, pid, subscription, v5};

#[test]
fn mqtt_3_8_4_6_each_filter_gets_its_answer_in_order() {
    let mut story = Story::with(|limits| {
        limits.subscriptions_per_client = 3;
        limits.maximum_qos = QOS1;
        limits.topic_levels = 3;
    });
    let conn = story.client("a");
    let filters = [
        ("a", QOS0),
        ("b/c/d/#", QOS0),
        ("a/b/c/d", QOS0),
        ("$share/pool/a", QOS1),
        ("b", QOS2),
        ("c", QOS0),
        ("b", QOS1),
    ];
    let subscribe = Subscribe {
        packet_id: pid(1),
        subscriptions: filters
            .iter()
            .map(|(filter, qos)| subscription(filter, *qos))
            .collect(),
        subscription_id: None,
        user_properties: Vec::new(),
    };
    story.packet(conn, Packet::Subscribe(subscribe));
    assert_eq!(
        story.told(),
        [
            "1 SUBACK [Success, TopicFilterInvalid, TopicFilterInvalid, \
          GrantedQoS1, GrantedQoS1, QuotaExceeded, GrantedQoS1]"
        ]
    );
    assert_eq!(story.core.stats().subscriptions, 3);
}

#[test]
fn mqtt_3_8_4_3_a_second_subscription_to_a_filter_replaces_the_first() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.subscribe_with(conn, subscription("t", QOS2), Some(1));
    story.subscribe_with(conn, subscription("t", QOS0), None);
    story.told();
    story.publish(conn, "t", "x", QOS0);
    assert_eq!(story.told(), ["1 PUBLISH t=x q0"]);
}

#[test]
fn mqtt_3_10_4_after_unsubscribe_nothing_new_comes() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.subscribe(conn, "t/#", QOS1);
    story.told();
    story.unsubscribe(conn, "t/#");
    story.unsubscribe(conn, "t/#");
    assert_eq!(
        story.told(),
        ["1 UNSUBACK [Success]", "1 UNSUBACK [NoSubscriptionExisted]"]
    );
    story.publish(conn, "t/x", "x", QOS0);
    assert!(story.told().is_empty());
}

#[test]
fn mqtt_3_1_2_4_a_clean_start_forgets_subscriptions() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.subscribe(conn, "t", QOS1);
    let mut clean = v5("a");
    clean.clean_start = true;
    let conn = story.connect_with(clean);
    story.told();
    story.publish(conn, "t", "x", QOS0);
    assert!(story.told().is_empty());
    assert_eq!(story.core.stats().subscriptions, 0);
}
