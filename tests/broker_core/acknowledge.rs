//! P1: an acknowledgement waits until every log that took the message has covered it.

use fieldgate::broker::Origin;
use fieldgate::broker::core::{Effect, LogId};
use fieldgate::mqtt::{Packet, Publish, QoS};
use fieldgate::store::Seq;

use crate::story::{QOS0, QOS1, QOS2, Story, publish, route, v5, v311};

/// Log 0 takes `a/#`, log 1 takes `#`.
fn two_logs() -> Story {
    let mut story = Story::new();
    story
        .core
        .attach_log(LogId::Bridge(0), Seq(11), vec![route("a/#")]);
    story
        .core
        .attach_log(LogId::Bridge(1), Seq(1), vec![route("#")]);
    story
}

#[test]
fn an_acknowledgement_waits_for_every_log_that_took_the_message() {
    let mut story = two_logs();
    let conn = story.client("p");
    story.publish(conn, "a/x", "1", QOS1);
    assert_eq!(
        story.told(),
        ["log0 @11 up/a/x=1 q1", "log1 @1 up/a/x=1 q1"]
    );
    story.covered(1, 1);
    assert!(story.told().is_empty());
    story.covered(0, 10);
    assert!(story.told().is_empty());
    story.covered(0, 11);
    assert_eq!(story.told(), ["1 PUBACK 1"]);
    story.covered(0, 11);
    assert!(story.told().is_empty());
}

#[test]
fn pubrec_waits_as_well() {
    let mut story = two_logs();
    let conn = story.client("p");
    story.publish(conn, "b", "1", QOS2);
    assert_eq!(story.told(), ["log1 @1 up/b=1 q2"]);
    story.covered(1, 1);
    assert_eq!(story.told(), ["1 PUBREC 1"]);
    story.pubrel(conn, 1);
    assert_eq!(story.told(), ["1 PUBCOMP 1"]);
}

#[test]
fn mqtt_4_6_0_2_acknowledgements_go_out_in_the_order_of_the_messages() {
    let mut story = Story::new();
    story
        .core
        .attach_log(LogId::Bridge(0), Seq(1), vec![route("kept/#")]);
    let conn = story.connect_with(v311("p", true));
    let other = story.client("q");
    story.told();
    story.publish(conn, "kept/1", "", QOS1);
    story.publish(conn, "not", "", QOS1);
    story.publish(conn, "kept/2", "", QOS2);
    story.publish(conn, "not", "", QOS2);
    story.publish(other, "not", "", QOS1);
    assert_eq!(
        story.told(),
        [
            "log0 @1 up/kept/1= q1",
            "log0 @2 up/kept/2= q2",
            "2 PUBACK 1 NoMatchingSubscribers"
        ],
        "one publisher does not wait for another"
    );
    story.covered(0, 1);
    assert_eq!(story.told(), ["1 PUBACK 1", "1 PUBACK 2"]);
    story.covered(0, 2);
    assert_eq!(story.told(), ["1 PUBREC 3", "1 PUBREC 4"]);
}

#[test]
fn a_qos_0_append_never_delays_an_acknowledgement() {
    let mut story = Story::new();
    let mut low = route("#");
    low.qos = QoS::AtMostOnce;
    story.core.attach_log(LogId::Bridge(0), Seq(1), vec![low]);
    let conn = story.client("p");
    story.publish(conn, "t", "x", QOS1);
    assert_eq!(story.told(), ["log0 @1 up/t=x q0", "1 PUBACK 1"]);
    story.publish(conn, "t", "x", QOS0);
    assert_eq!(story.told(), ["log0 @2 up/t=x q0"]);
}

#[test]
fn the_answers_of_a_connection_that_is_gone_are_dropped() {
    let mut story = two_logs();
    let conn = story.client("p");
    story.publish(conn, "b", "1", QOS1);
    story.cut(conn);
    let again = story.connect_with(v5("p"));
    story.told();
    story.covered(1, 1);
    assert!(story.told().is_empty());
    let dup = Publish {
        dup: true,
        ..publish("b", "1", QOS1, 1)
    };
    story.packet(again, Packet::Publish(dup));
    assert_eq!(
        story.told(),
        ["log1 @2 up/b=1 q1"],
        "at least once: nobody can tell a resend from a new message"
    );
}

#[test]
fn a_person_at_a_command_is_promised_what_a_client_is() {
    let mut story = two_logs();
    let person = story.connect_as(Origin::Console, v5("$person"));
    story.told();
    story.publish(person, "b", "1", QOS1);
    assert_eq!(story.told(), ["log1 @1 up/b=1 q1"]);
    story.covered(1, 1);
    assert_eq!(story.told(), ["1 PUBACK 1"]);
}

#[test]
fn who_acts_on_a_message_is_told_that_it_may_have_come_before() {
    let mut story = Story::new();
    let device = story.connect_as(Origin::Device, v5("$device"));
    story.subscribe(device, "gw/plc/set/+", QOS0);
    let conn = story.client("p");
    story.effects();
    let sent = [(QOS1, false), (QOS1, true), (QOS2, false), (QOS2, true)];
    for (id, (qos, dup)) in (1..).zip(sent) {
        let command = Publish {
            dup,
            ..publish("gw/plc/set/speed", "1", qos, id)
        };
        story.packet(conn, Packet::Publish(command));
        let effects = story.effects();
        let told = effects.iter().find_map(|effect| match effect {
            Effect::Command(command) => Some(command.publisher.sends_again),
            _ => None,
        });
        assert_eq!(told, Some(dup), "{effects:?}");
    }
}

#[test]
fn mqtt_4_3_3_10_a_resend_of_a_taken_qos_2_message_waits_for_the_same_commit() {
    let mut story = two_logs();
    let conn = story.client("p");
    story.publish(conn, "a/b", "1", QOS2);
    story.cut(conn);
    let again = story.connect_with(v5("p"));
    story.told();
    let dup = || {
        Packet::Publish(Publish {
            dup: true,
            ..publish("a/b", "1", QOS2, 1)
        })
    };
    story.packet(again, dup());
    story.packet(again, dup());
    assert!(story.told().is_empty(), "neither appended nor answered");
    story.covered(0, 11);
    assert!(story.told().is_empty());
    story.covered(1, 1);
    assert_eq!(story.told(), ["2 PUBREC 1"]);
}

#[test]
fn a_resend_after_the_commit_is_answered_at_once() {
    let mut story = two_logs();
    let conn = story.client("p");
    story.publish(conn, "b", "1", QOS2);
    story.cut(conn);
    story.covered(1, 1);
    let again = story.connect_with(v5("p"));
    story.told();
    story.packet(again, Packet::Publish(publish("b", "1", QOS2, 1)));
    assert_eq!(story.told(), ["2 PUBREC 1"]);
}

#[test]
fn a_pubrel_before_its_pubrec_breaks_the_protocol() {
    let mut story = two_logs();
    let conn = story.client("p");
    story.publish(conn, "b", "1", QOS2);
    story.told();
    story.pubrel(conn, 1);
    assert_eq!(story.told()[0], "1 DISCONNECT ProtocolError");
}

#[test]
fn waiting_answers_count_towards_the_receive_maximum() {
    let mut story = Story::with(|limits| limits.receive_maximum = 2);
    story
        .core
        .attach_log(LogId::Bridge(0), Seq(1), vec![route("#")]);
    let conn = story.client("p");
    story.publish(conn, "t", "1", QOS1);
    story.publish(conn, "t", "2", QOS1);
    story.covered(0, 1);
    story.publish(conn, "t", "3", QOS1);
    story.told();
    story.publish(conn, "t", "4", QOS1);
    assert_eq!(story.told()[0], "1 DISCONNECT ReceiveMaximumExceeded");
    story.covered(0, 9);
    assert!(story.told().is_empty());
}

#[test]
fn progress_that_comes_late_or_for_nobody_does_no_harm() {
    let mut story = two_logs();
    let conn = story.client("p");
    story.covered(7, 3);
    story.covered(1, 5);
    story.covered(1, 2);
    story.publish(conn, "b", "1", QOS1);
    assert_eq!(story.told(), ["log1 @1 up/b=1 q1", "1 PUBACK 1"]);
}
