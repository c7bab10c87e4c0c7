//! Wills (sections 3.1.2.5 and 3.1.3.2).

use fieldgate::broker::core::{ConnId, LogId};
use fieldgate::mqtt::{Connect, Packet, ReasonCode};
use fieldgate::store::Seq;

use crate::story::{QOS0, QOS1, Story, route, v5, v311, with_will};

/// Connection 1 listens to wills; connection 2 has one.
fn watched(connect: Connect) -> (Story, ConnId) {
    let mut story = Story::new();
    let watcher = story.connect_with(Connect {
        keep_alive: 0,
        ..v311("watcher", true)
    });
    story.subscribe(watcher, "will/#", QOS0);
    let conn = story.connect_with(connect);
    story.told();
    (story, conn)
}

fn wills(story: &mut Story) -> usize {
    let told = story.told();
    let wills = told
        .iter()
        .filter(|told| *told == "1 PUBLISH will/a=gone q0");
    wills.count()
}

#[test]
fn mqtt_3_1_2_8_a_connection_that_breaks_publishes_its_will() {
    let (mut story, conn) = watched(with_will(v311("a", true), "will/a", 0));
    story.cut(conn);
    assert_eq!(wills(&mut story), 1);
    story.cut(conn);
    assert_eq!(wills(&mut story), 0);
}

#[test]
fn mqtt_3_14_4_3_a_normal_disconnect_discards_the_will() {
    let (mut story, conn) = watched(with_will(v5("a"), "will/a", 0));
    story.disconnect(conn, ReasonCode::Success);
    story.secs(4000);
    assert_eq!(wills(&mut story), 0);
}

#[test]
fn disconnect_with_will_publishes_it() {
    for reason in [ReasonCode::DisconnectWithWill, ReasonCode::UnspecifiedError] {
        let (mut story, conn) = watched(with_will(v5("a"), "will/a", 0));
        story.disconnect(conn, reason);
        assert_eq!(wills(&mut story), 1);
    }
}

#[test]
fn a_violation_and_silence_publish_the_will() {
    let (mut story, conn) = watched(with_will(v5("a"), "will/a", 0));
    story.packet(conn, Packet::Pingresp);
    assert_eq!(wills(&mut story), 1);
    let (mut story, _) = watched(with_will(v5("a"), "will/a", 0));
    story.secs(90);
    assert_eq!(wills(&mut story), 1);
}

#[test]
fn mqtt_3_1_3_9_a_delayed_will_waits_and_is_void_when_the_client_is_back() {
    let (mut story, conn) = watched(with_will(v5("a"), "will/a", 30));
    story.cut(conn);
    story.secs(29);
    assert_eq!(wills(&mut story), 0);
    let again = story.connect_with(with_will(v5("a"), "will/a", 30));
    story.cut(again);
    story.secs(29);
    assert_eq!(wills(&mut story), 0);
    story.secs(1);
    assert_eq!(wills(&mut story), 1);
    story.secs(4000);
    assert_eq!(wills(&mut story), 0);
}

#[test]
fn the_end_of_the_session_publishes_a_will_that_still_waits() {
    let short = Connect {
        session_expiry: 10,
        ..with_will(v5("a"), "will/a", 30)
    };
    let (mut story, conn) = watched(short);
    story.cut(conn);
    story.secs(9);
    assert_eq!(wills(&mut story), 0);
    story.secs(1);
    assert_eq!(wills(&mut story), 1);
    let (mut story, conn) = watched(with_will(v5("a"), "will/a", 30));
    story.cut(conn);
    let clean = Connect {
        clean_start: true,
        ..v5("a")
    };
    story.connect_with(clean);
    assert_eq!(wills(&mut story), 1, "a clean start ends the session");
    let unkept = Connect {
        session_expiry: 0,
        ..with_will(v5("a"), "will/a", 30)
    };
    let (mut story, conn) = watched(unkept);
    story.cut(conn);
    assert_eq!(wills(&mut story), 1);
}

#[test]
fn a_take_over_publishes_the_will_unless_it_has_a_delay_and_the_session_goes_on() {
    for (delay, clean_start, expected) in
        [(0, false, 1), (0, true, 1), (30, false, 0), (30, true, 1)]
    {
        let (mut story, _) = watched(with_will(v5("a"), "will/a", delay));
        story.connect_with(Connect {
            clean_start,
            ..v5("a")
        });
        assert_eq!(wills(&mut story), expected, "{delay} {clean_start}");
        story.secs(40);
        assert_eq!(wills(&mut story), 0);
    }
}

#[test]
fn a_will_can_be_retained_and_forwarded() {
    let mut story = Story::new();
    story
        .core
        .attach_log(LogId::Bridge(0), Seq(1), vec![route("will/#")]);
    let mut connect = with_will(v5("a"), "will/a", 0);
    connect.will.as_mut().unwrap().message.retain = true;
    let conn = story.connect_with(connect);
    story.told();
    story.cut(conn);
    assert_eq!(story.told(), ["log0 @1 up/will/a=gone q1 retained"]);
    let watcher = story.client("w");
    story.subscribe(watcher, "will/+", QOS1);
    assert_eq!(story.told()[1], "2 PUBLISH will/a=gone q1 #1 retained");
}

#[test]
fn shutdown_ends_all_sessions_and_so_publishes_all_wills_to_the_logs() {
    let mut story = Story::new();
    story
        .core
        .attach_log(LogId::Bridge(0), Seq(1), vec![route("#")]);
    let away = story.connect_with(with_will(v5("a"), "will/a", 30));
    story.connect_with(with_will(v5("b"), "will/b", 30));
    story.cut(away);
    story.told();
    story.core.shutdown(story.now);
    assert_eq!(
        story.told(),
        [
            "2 DISCONNECT ServerShuttingDown",
            "2 closed ShuttingDown",
            "log0 @1 up/will/a=gone q1",
            "log0 @2 up/will/b=gone q1"
        ]
    );
}
