//! A start without a part of the store: what should be kept there is promised to nobody, all else goes on.

use fieldgate::broker::Origin;
use fieldgate::broker::core::LogId;
use fieldgate::mqtt::{Connect, Packet, Publish};
use fieldgate::store::Seq;

use crate::story::{QOS0, QOS1, QOS2, Story, publish, route, v5, v311, with_will};

fn unkept(id: &str) -> Connect {
    Connect {
        session_expiry: 0,
        ..v5(id)
    }
}

/// Without the log of a bridge that takes `up/#`; somebody subscribes to everything at QoS 0.
fn without_log() -> Story {
    let mut story = Story::new();
    story.core.lack_log(LogId::Bridge(0), vec![route("up/#")]);
    let all = story.connect_with(unkept("all"));
    story.subscribe(all, "#", QOS0);
    story.told();
    story
}

#[test]
fn what_a_missing_log_should_keep_is_refused_and_taken_by_nobody() {
    let mut story = without_log();
    let publisher = story.connect_with(unkept("p"));
    story.told();
    story.publish(publisher, "up/1", "1", QOS1);
    story.publish(publisher, "up/1", "2", QOS2);
    assert_eq!(
        story.told(),
        ["2 PUBACK 1 QuotaExceeded", "2 PUBREC 2 QuotaExceeded"]
    );
    story.publish(publisher, "other", "3", QOS1);
    assert_eq!(story.told(), ["1 PUBLISH other=3 q0", "2 PUBACK 3"]);
    assert_eq!(story.core.stats().dropped, 0);
}

#[test]
fn a_publisher_of_3_1_1_is_closed_instead() {
    let mut story = without_log();
    let publisher = story.connect_with(v311("p", true));
    story.told();
    story.publish(publisher, "up/1", "1", QOS1);
    assert!(story.told().is_empty());
    assert_eq!(story.pauses(), ["2 paused"]);
    story.secs(30);
    assert_eq!(story.told(), ["2 closed QueueFull"]);
}

#[test]
fn what_cannot_be_refused_reaches_local_subscribers_and_is_counted() {
    let mut story = without_log();
    let device = story.connect_as(Origin::Device, unkept("$device"));
    let publisher = story.connect_with(with_will(unkept("p"), "up/will", 0));
    story.told();
    story.publish(device, "up/reading", "1", QOS1);
    story.publish(device, "up/$status", "on", QOS1);
    story.publish(publisher, "up/0", "2", QOS0);
    story.cut(publisher);
    assert_eq!(
        story.told(),
        [
            "1 PUBLISH up/reading=1 q0",
            "2 PUBACK 1",
            "1 PUBLISH up/$status=on q0",
            "2 PUBACK 2",
            "1 PUBLISH up/0=2 q0",
            "1 PUBLISH up/will=gone q0",
        ]
    );
    assert_eq!(story.core.stats().dropped, 3, "but not what is no backlog");
}

#[test]
fn a_log_that_is_full_and_out_of_use_is_passed_by_by_devices_until_it_has_room() {
    let mut story = Story::new();
    let log = LogId::Bridge(0);
    story.core.attach_log(log, Seq(1), vec![route("up/#")]);
    let all = story.connect_with(unkept("all"));
    story.subscribe(all, "#", QOS0);
    let device = story.connect_as(Origin::Device, unkept("$device"));
    let publisher = story.connect_with(unkept("p"));
    story.told();
    // A device does not wait for what is kept.
    story.publish(device, "up/1", "1", QOS1);
    let told = ["log0 @1 up/up/1=1 q1", "1 PUBLISH up/1=1 q0", "2 PUBACK 1"];
    assert_eq!(story.told(), told);
    story.core.pass_by(log, true);
    story.publish(device, "up/1", "2", QOS1);
    assert_eq!(
        story.told(),
        ["log0 not taken, lost", "1 PUBLISH up/1=2 q0", "2 PUBACK 2"]
    );
    assert_eq!(story.core.stats().dropped, 1);
    story.publish(publisher, "up/1", "3", QOS1);
    assert_eq!(
        story.told(),
        ["log0 @2 up/up/1=3 q1", "1 PUBLISH up/1=3 q0"]
    );
    story.core.pass_by(log, false);
    story.publish(device, "up/1", "4", QOS1);
    assert_eq!(story.told()[0], "log0 @3 up/up/1=4 q1");
}

#[test]
fn a_route_that_keeps_nothing_refuses_nothing() {
    let mut story = Story::new();
    let mut capped = route("up/#");
    capped.qos = QOS0;
    story.core.lack_log(LogId::Bridge(0), vec![capped]);
    let publisher = story.connect_with(unkept("p"));
    story.told();
    story.publish(publisher, "up/1", "1", QOS1);
    assert_eq!(story.told(), ["1 PUBACK 1"]);
}

#[test]
fn no_session_that_outlives_its_connection_is_served_while_anything_is_missing() {
    let mut without_store = Story::new();
    without_store.core.lack_store();
    for mut story in [without_log(), without_store] {
        story.connect_with(v5("kept"));
        story.connect_with(v311("kept", false));
        let told = story.told();
        let refused: Vec<_> = told
            .iter()
            .filter(|line| line.contains("CONNACK ServerUnavailable"))
            .collect();
        assert_eq!(refused.len(), 2, "{told:?}");
        story.connect_with(v311("other", true));
        assert!(!story.told().iter().any(|line| line.contains("Unavailable")));
    }
}

#[test]
fn without_the_state_no_retained_message_is_promised() {
    let mut story = Story::new();
    story.core.lack_store();
    let publisher = story.connect_with(unkept("p"));
    story.told();
    let retained = Publish {
        retain: true,
        ..publish("t", "1", QOS1, 7)
    };
    story.packet(publisher, Packet::Publish(retained));
    story.retain(publisher, "t", "2");
    assert_eq!(story.told(), ["1 PUBACK 7 QuotaExceeded"]);
    story.subscribe(publisher, "t", QOS1);
    let told = story.told();
    assert!(
        told.iter().any(|line| line.contains("PUBLISH t=2")),
        "{told:?}"
    );
}
