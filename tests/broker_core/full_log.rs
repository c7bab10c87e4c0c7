//! A bridge's log that is full and refuses more: who publishes to it is told so, nobody gets what is refused, and nobody else is
//! held up.

use fieldgate::broker::core::LogId;
use fieldgate::broker::{ForwardRoute, Origin};
use fieldgate::mqtt::Connect;
use fieldgate::store::Seq;

use crate::story::{QOS0, QOS1, QOS2, Story, route, v5, v311, with_will};

const LOG: LogId = LogId::Bridge(0);

fn unkept(id: &str) -> Connect {
    Connect {
        session_expiry: 0,
        ..v5(id)
    }
}

/// The log takes `up/#` and is full, another one takes `other/#` and is not. Somebody subscribes to everything at QoS 0.
fn full_with(route_up: ForwardRoute) -> Story {
    let mut story = Story::new();
    story.core.attach_log(LOG, Seq(1), vec![route_up]);
    let other = vec![route("other/#")];
    story.core.attach_log(LogId::Bridge(1), Seq(1), other);
    let all = story.connect_with(unkept("all"));
    story.subscribe(all, "#", QOS0);
    story.core.log_is_full(story.now, LOG, true);
    story.told();
    story
}

fn full() -> Story {
    full_with(route("up/#"))
}

#[test]
fn a_full_log_refuses_messages_of_mqtt_5_and_nobody_gets_them() {
    let mut story = full();
    let publisher = story.connect_with(unkept("p"));
    story.told();
    story.publish(publisher, "up/1", "1", QOS1);
    story.publish(publisher, "up/1", "2", QOS2);
    assert_eq!(
        story.told(),
        [
            "log0 not taken",
            "2 PUBACK 1 QuotaExceeded",
            "log0 not taken",
            "2 PUBREC 2 QuotaExceeded"
        ]
    );
    assert_eq!(story.core.stats().dropped, 0);
    story.publish(publisher, "other/1", "3", QOS1);
    story.publish(publisher, "local", "4", QOS1);
    assert_eq!(
        story.told(),
        [
            "log1 @1 up/other/1=3 q1",
            "1 PUBLISH other/1=3 q0",
            "1 PUBLISH local=4 q0",
        ],
        "the answers wait in order"
    );
    story.core.log_is_full(story.now, LOG, false);
    story.publish(publisher, "up/1", "5", QOS2);
    assert_eq!(
        story.told(),
        ["log0 @1 up/up/1=5 q2", "1 PUBLISH up/1=5 q0"]
    );
}

#[test]
fn what_waits_to_be_let_in_comes_in_one_by_one_as_long_as_there_is_room() {
    let mut story = full();
    let first = story.connect_with(v311("first", true));
    let second = story.connect_with(v311("second", true));
    let third = story.connect_with(v311("third", true));
    story.told();
    for (conn, payload) in [(second, "a"), (third, "b"), (first, "c")] {
        story.publish(conn, "up/1", payload, QOS1);
        story.secs(1);
    }
    assert!(story.told().is_empty());
    assert_eq!(story.pauses(), ["3 paused", "4 paused", "2 paused"]);
    story.core.log_is_full(story.now, LOG, false);
    let told = ["log0 @1 up/up/1=a q1", "1 PUBLISH up/1=a q0"];
    assert_eq!(story.told(), told, "who waited longest");
    story.core.log_is_full(story.now, LOG, false);
    let told = ["log0 @2 up/up/1=b q1", "1 PUBLISH up/1=b q0"];
    assert_eq!(story.told(), told);
    story.core.log_is_full(story.now, LOG, true);
    assert!(story.told().is_empty());
    assert_eq!(story.pauses(), ["3 resumed", "4 resumed"]);
    story.secs(28);
    assert!(story.told().is_empty());
    story.secs(1);
    assert_eq!(
        story.told(),
        ["log0 not taken", "2 closed QueueFull"],
        "30 s after it came"
    );
}

#[test]
fn a_bridge_of_3_1_1_is_held_back_and_its_own_log_does_not_concern_it() {
    let mut story = full();
    let own = story.connect_as(Origin::Bridge(0), v311("$own", true));
    let other = story.connect_as(Origin::Bridge(1), v311("$other", true));
    story.told();
    story.publish(own, "up/1", "1", QOS1);
    assert_eq!(story.told(), ["1 PUBLISH up/1=1 q0", "2 PUBACK 1"]);
    story.publish(other, "up/1", "2", QOS2);
    assert!(story.told().is_empty());
    assert_eq!(story.pauses(), ["3 paused"]);
}

#[test]
fn what_cannot_be_refused_passes_it_by_and_is_counted_there() {
    let mut story = full_with(ForwardRoute {
        raise_qos0: true,
        ..route("up/#")
    });
    let device = story.connect_as(Origin::Device, unkept("$device"));
    let publisher = story.connect_with(with_will(unkept("p"), "up/will", 1));
    story.told();
    story.publish(device, "up/reading", "1", QOS1);
    story.publish(publisher, "up/0", "2", QOS0);
    story.cut(publisher);
    assert_eq!(
        story.told(),
        [
            "log0 not taken, lost",
            "1 PUBLISH up/reading=1 q0",
            "2 PUBACK 1",
            "log0 not taken, lost",
            "1 PUBLISH up/0=2 q0",
            "log0 not taken, lost",
            "1 PUBLISH up/will=gone q0",
        ]
    );
    assert_eq!(story.core.stats().dropped, 3);
    story.publish(device, "up/$status", "on", QOS1);
    assert_eq!(
        story.told()[0],
        "log0 latest up/up/$status=on q1",
        "which is no backlog"
    );
}

#[test]
fn what_takes_no_room_is_not_refused() {
    let mut capped = route("up/#");
    capped.qos = QOS0;
    for (route, qos) in [(capped, QOS1), (route("up/#"), QOS0)] {
        let mut story = full_with(route);
        let publisher = story.connect_with(unkept("p"));
        story.told();
        story.publish(publisher, "up/1", "1", qos);
        assert_eq!(story.told()[0], "log0 @1 up/up/1=1 q0");
    }
}
