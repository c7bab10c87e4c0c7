//! What goes into the logs of bridges, and as what.

use fieldgate::broker::core::{Effect, LogId};
use fieldgate::broker::{ForwardRoute, Origin, RetainPolicy};
use fieldgate::mqtt::{Packet, Publish};
use fieldgate::store::Seq;
use fieldgate::topic::{Template, TopicFilter};

use crate::story::{QOS0, QOS1, QOS2, Story, publish, route, v5};

fn story(routes: Vec<ForwardRoute>) -> Story {
    let mut story = Story::new();
    story.core.attach_log(LogId::Bridge(0), Seq(1), routes);
    story
}

fn mapped(filter: &str, topic: &str) -> ForwardRoute {
    ForwardRoute {
        topic: Template::parse(topic, &[], true).unwrap(),
        ..route(filter)
    }
}

#[test]
fn the_first_route_that_matches_takes_the_message_once() {
    let mut excepting = mapped("a/#", "first/{2..}");
    excepting.except = vec![TopicFilter::try_from("a/secret/#").unwrap()];
    let mut story = story(vec![excepting, mapped("a/+/+", "second/{topic}")]);
    let conn = story.client("p");
    story.publish(conn, "a/b", "1", QOS0);
    story.publish(conn, "a/secret/c", "2", QOS0);
    story.publish(conn, "a/secret", "3", QOS0);
    story.publish(conn, "b", "4", QOS0);
    assert_eq!(
        story.told(),
        ["log0 @1 first/b=1 q0", "log0 @2 second/a/secret/c=2 q0"]
    );
}

#[test]
fn qos_is_capped_or_raised_and_retain_kept_or_cleared() {
    let mut capped = mapped("cap", "{topic}");
    capped.qos = QOS1;
    capped.retain = RetainPolicy::Never;
    let mut raised = mapped("raise", "{topic}");
    raised.raise_qos0 = true;
    let mut story = story(vec![capped, raised]);
    let conn = story.client("p");
    story.publish(conn, "cap", "1", QOS2);
    story.publish(conn, "raise", "2", QOS0);
    story.retain(conn, "cap", "3");
    story.retain(conn, "raise", "4");
    assert_eq!(
        story.told(),
        [
            "log0 @1 cap=1 q1",
            "log0 @2 raise=2 q1",
            "log0 @3 cap=3 q0",
            "log0 @4 raise=4 q1 retained"
        ]
    );
}

#[test]
fn a_topic_without_the_level_that_a_route_asks_for_is_counted_and_delivered_locally() {
    let mut story = story(vec![mapped("#", "up/{3}")]);
    let conn = story.client("p");
    story.subscribe(conn, "#", QOS0);
    story.told();
    story.publish(conn, "a/b", "1", QOS1);
    story.publish(conn, "a/b/c", "2", QOS1);
    assert_eq!(
        story.told(),
        [
            "1 PUBLISH a/b=1 q0",
            "1 PUBACK 1",
            "log0 @1 up/c=2 q1",
            "1 PUBLISH a/b/c=2 q0"
        ]
    );
    assert_eq!(story.core.stats().unmapped, 1);
}

#[test]
fn the_gateways_own_dollar_topics_never_enter_a_log() {
    let mut story = story(vec![mapped("#", "site/{topic}")]);
    let gateway = story.connect_as(Origin::Gateway, v5("$gateway"));
    let device = story.connect_as(Origin::Device, v5("$device"));
    let client = story.client("c");
    story.told();
    story.publish(gateway, "gw/$status", "up", QOS1);
    story.publish(device, "gw/plc/$status", "ok", QOS1);
    story.publish(device, "gw/plc/fast", "{}", QOS1);
    story.publish(client, "gw/$status", "said a client", QOS0);
    assert_eq!(
        story.told(),
        [
            "log0 latest site/gw/$status=up q1",
            "1 PUBACK 1",
            "log0 latest site/gw/plc/$status=ok q1",
            "2 PUBACK 1",
            "log0 @1 site/gw/plc/fast={} q1",
            "2 PUBACK 2",
            "log0 @2 site/gw/$status=said a client q0"
        ]
    );
}

#[test]
fn a_record_is_stamped_and_owns_its_storage() {
    let mut story = story(vec![mapped("#", "{topic}")]);
    let conn = story.client("p");
    let packet = publish("t", "payload", QOS0, 0);
    let (topic, payload) = (packet.topic.clone().unwrap(), packet.payload.clone());
    story.packet(conn, Packet::Publish(Publish { ..packet }));
    let effects = story.effects();
    let Effect::Append { record, .. } = &effects[0] else {
        panic!("{effects:?}");
    };
    assert_eq!(record.stamped, story.wall);
    assert_ne!(record.message.payload.as_ptr(), payload.as_ptr());
    assert_ne!(
        record.message.topic.as_str().as_ptr(),
        topic.as_str().as_ptr()
    );
}
