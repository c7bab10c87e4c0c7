//! Routes with `live_first`: what goes into which of the two logs.

use fieldgate::broker::core::{ConnId, Effect, LogId, Restored, RestoredSession};
use fieldgate::broker::{ForwardRoute, LATE_PROPERTY, Origin};
use fieldgate::mqtt::{Message, Packet, ProtocolVersion, Publish};
use fieldgate::store::{Mark, Seq, SessionNumber, SessionStanding, StoredPresence, StoredSession};

use crate::story::{QOS1, QOS2, Story, pid, publish, route, v5, v311};

const LOG: LogId = LogId::Bridge(0);
const LIVE: LogId = LogId::Bridge(1);

fn live_first(filter: &str) -> ForwardRoute {
    ForwardRoute {
        live_first: true,
        ..route(filter)
    }
}

/// `now/#` overtakes, all else does not. The live lane is log 1.
fn story() -> (Story, ConnId) {
    let mut story = Story::new();
    attach(&mut story);
    let client = story.client("p");
    (story, client)
}

fn attach(story: &mut Story) {
    let routes = vec![live_first("now/#"), route("#")];
    story.core.attach_log(LOG, Seq(1), routes);
    story.core.attach_log(LIVE, Seq(1), Vec::new());
    story.core.attach_live_lane(LOG, LIVE);
}

fn appended(story: &mut Story) -> Message {
    let effects = story.effects().into_iter();
    let mut messages = effects.filter_map(|effect| match effect {
        Effect::Append { record, .. } => Some(record.message),
        _ => None,
    });
    messages.next().unwrap()
}

#[test]
fn what_is_new_takes_the_live_lane_while_that_is_prompt_and_only_by_routes_that_say_so() {
    let (mut story, client) = story();
    story.core.prompt(story.now, LIVE, true);
    story.publish(client, "now/t", "1", QOS1);
    story.publish(client, "state", "2", QOS1);
    assert_eq!(
        story.told(),
        ["log1 @1 up/now/t=1 q1", "log0 @1 up/state=2 q1"]
    );
    story.core.prompt(story.now, LIVE, false);
    story.publish(client, "now/t", "3", QOS1);
    assert_eq!(story.told(), ["log0 @2 up/now/t=3 q1"]);
    story.core.prompt(story.now, LIVE, true);
    story.publish(client, "now/t", "4", QOS1);
    assert_eq!(story.told(), ["log1 @2 up/now/t=4 q1"]);
}

#[test]
fn each_answer_waits_for_the_lane_that_took_the_message() {
    let (mut story, client) = story();
    story.core.prompt(story.now, LIVE, true);
    story.publish(client, "now/t", "1", QOS1);
    story.core.prompt(story.now, LIVE, false);
    story.publish(client, "now/t", "2", QOS1);
    story.told();
    story.covered(0, 1);
    assert!(story.told().is_empty(), "answers keep their order");
    story.covered(1, 1);
    assert_eq!(story.told(), ["1 PUBACK 1", "1 PUBACK 2"]);
}

#[test]
fn what_is_late_says_when_it_came_and_is_never_retained() {
    let (mut story, client) = story();
    let mut retained = publish("now/t", "1", QOS1, 1);
    retained.retain = true;
    story.packet(client, Packet::Publish(retained.clone()));
    let late = appended(&mut story);
    assert!(!late.retain);
    let marks = late.properties.unwrap().user_properties;
    let expected = (LATE_PROPERTY.into(), story.wall.0.to_string().into());
    assert_eq!(marks, [expected]);
    story.core.prompt(story.now, LIVE, true);
    retained.packet_id = Some(pid(2));
    story.packet(client, Packet::Publish(retained));
    let live = appended(&mut story);
    assert!(live.retain && live.properties.is_none());
}

#[test]
fn the_mark_of_an_earlier_gateway_stays_the_only_one() {
    let (mut story, client) = story();
    let mark = (LATE_PROPERTY.into(), "1234".into());
    let mut marked = publish("now/t", "1", QOS1, 1);
    let properties = marked.properties.get_or_insert_default();
    properties.user_properties.push(mark);
    story.packet(client, Packet::Publish(marked));
    let marks = appended(&mut story).properties.unwrap().user_properties;
    assert_eq!(marks, [(LATE_PROPERTY.into(), "1234".into())]);
}

#[test]
fn a_lane_that_is_full_and_out_of_use_gives_way_to_the_other() {
    let mut story = Story::new();
    attach(&mut story);
    let device = story.connect_as(Origin::Device, v5("$device"));
    story.told();
    story.core.prompt(story.now, LIVE, true);
    story.core.pass_by(LIVE, true);
    story.publish(device, "now/t", "1", QOS1);
    assert_eq!(story.told()[0], "log0 @1 up/now/t=1 q1");
}

/// The first copy went into one lane, and the other has the turn when the client sends again after a crash.
#[test]
fn what_is_sent_again_after_a_crash_is_looked_for_in_both_lanes() {
    for (there, is_prompt) in [(LIVE, false), (LOG, true)] {
        let mut story = Story::new();
        attach(&mut story);
        story.core.attach_store(Seq(1), SessionNumber(9));
        let number = SessionNumber(1);
        let session = StoredSession {
            client_id: "p".into(),
            user: None,
            certified: false,
            version: ProtocolVersion::V5,
            expiry: 3600,
            presence: StoredPresence::Connected,
            will: None,
        };
        let mark = Mark {
            session: number,
            packet_id: pid(1),
        };
        story.restore(Restored {
            sessions: vec![RestoredSession {
                number,
                session,
                subscriptions: Vec::new(),
                standing: SessionStanding::default(),
            }],
            retained: Vec::new(),
            marks: vec![(there, mark)],
        });
        let mut connect = v5("p");
        connect.clean_start = false;
        let client = story.connect_with(connect);
        story.state_covered();
        story.told();
        story.core.prompt(story.now, LIVE, is_prompt);
        let again = Publish {
            dup: true,
            ..publish("now/t", "1", QOS2, 1)
        };
        story.packet(client, Packet::Publish(again));
        assert_eq!(story.told(), ["1 PUBREC 1"], "{there:?}");
    }
}

/// The backlog is full and refuses; so is told of the lane where one is named.
fn full_story(full: &[LogId]) -> Story {
    let mut story = Story::new();
    attach(&mut story);
    for log in full {
        story.core.log_is_full(story.now, *log, true);
    }
    story
}

#[test]
fn what_finds_the_backlog_full_is_refused_unless_the_live_lane_takes_it() {
    let mut story = full_story(&[LOG]);
    let client = story.client("p");
    story.told();
    let refused = ["log0 not taken", "1 PUBACK 1 QuotaExceeded"];
    story.publish(client, "now/t", "1", QOS1);
    assert_eq!(story.told(), refused, "it would be late");
    story.core.prompt(story.now, LIVE, true);
    story.publish(client, "now/t", "2", QOS1);
    assert_eq!(story.told(), ["log1 @1 up/now/t=2 q1"]);
    story.publish(client, "state", "3", QOS1);
    assert_eq!(
        story.told(),
        ["log0 not taken"],
        "the answers wait in order"
    );
    story.core.log_is_full(story.now, LIVE, true);
    story.publish(client, "now/t", "4", QOS1);
    assert_eq!(story.told(), ["log0 not taken"], "neither has room");
    story.core.log_is_full(story.now, LOG, false);
    story.publish(client, "now/t", "5", QOS1);
    assert_eq!(story.told(), ["log0 @1 up/now/t=5 q1"], "late");
}

#[test]
fn what_cannot_be_refused_is_counted_where_neither_lane_takes_it() {
    let mut story = full_story(&[LOG]);
    let device = story.connect_as(Origin::Device, v5("$device"));
    story.told();
    story.publish(device, "now/t", "1", QOS1);
    assert_eq!(story.told(), ["log0 not taken, lost", "1 PUBACK 1"]);
    story.core.prompt(story.now, LIVE, true);
    story.publish(device, "now/t", "2", QOS1);
    assert_eq!(story.told(), ["log1 @1 up/now/t=2 q1", "1 PUBACK 2"]);
    // The files of the backlog are out of use besides; those of the lane are not.
    story.core.pass_by(LOG, true);
    story.publish(device, "now/t", "3", QOS1);
    assert_eq!(story.told(), ["log1 @2 up/now/t=3 q1", "1 PUBACK 3"]);
    story.publish(device, "now/$status", "on", QOS1);
    assert_eq!(story.told()[0], "log0 latest up/now/$status=on q1");
}

#[test]
fn who_waits_for_a_full_backlog_is_let_into_the_live_lane_one_by_one() {
    let mut story = full_story(&[LOG]);
    let clients = ["a", "b", "c"].map(|id| story.connect_with(v311(id, true)));
    story.told();
    for (conn, payload) in clients.into_iter().zip(["1", "2", "3"]) {
        story.publish(conn, "now/t", payload, QOS1);
        story.secs(1);
    }
    assert!(story.told().is_empty());
    story.core.prompt(story.now, LIVE, true);
    assert_eq!(story.told(), ["log1 @1 up/now/t=1 q1"]);
    story.core.prompt(story.now, LIVE, true);
    assert_eq!(story.told(), ["log1 @2 up/now/t=2 q1"]);
    story.core.prompt(story.now, LIVE, false);
    assert!(story.told().is_empty(), "that filled it");
    story.core.log_is_full(story.now, LOG, false);
    assert_eq!(story.told(), ["log0 @1 up/now/t=3 q1"]);
}
