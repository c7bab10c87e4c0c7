//! What comes in from an upstream, through a bridge.

use fieldgate::broker::Origin;
use fieldgate::broker::core::{ConnId, LogId, Restored, RestoredSession};
use fieldgate::mqtt::{Connect, Packet, ProtocolVersion, Publish};
use fieldgate::store::{Mark, Seq, SessionNumber, SessionStanding, StoredPresence, StoredSession};

use crate::story::{QOS1, QOS2, Story, pid, publish, route, v5};

/// Of an inlet.
const NEVER: u32 = u32::MAX;

/// Bridges 0 and 1 send everything up; bridge 0 brings in.
fn story() -> (Story, ConnId) {
    let mut story = Story::new();
    for number in [0, 1] {
        let log = LogId::Bridge(number);
        story.core.attach_log(log, Seq(1), vec![route("#")]);
    }
    story.core.attach_store(Seq(1), SessionNumber(1));
    let bridge = story.connect_as(Origin::Bridge(0), bridge());
    story.state_covered();
    story.told();
    (story, bridge)
}

fn bridge() -> Connect {
    Connect {
        clean_start: false,
        session_expiry: NEVER,
        ..v5("$bridge")
    }
}

#[test]
fn what_a_bridge_brought_in_goes_up_by_the_others_only() {
    let (mut story, bridge) = story();
    story.packet(bridge, Packet::Publish(publish("t", "1", QOS1, 1)));
    assert_eq!(story.told(), ["log1 @1 up/t=1 q1"]);
    story.covered(1, 1);
    assert_eq!(story.told(), ["1 PUBACK 1"]);
}

#[test]
fn the_own_topics_of_other_gateways_are_messages_like_any() {
    let (mut story, bridge) = story();
    story.packet(
        bridge,
        Packet::Publish(publish("gw2/$status", "1", QOS1, 1)),
    );
    assert_eq!(story.told(), ["log1 @1 up/gw2/$status=1 q1"]);
}

#[test]
fn the_session_of_a_bridge_does_not_expire_and_takes_any_number_in_flight() {
    let (mut story, bridge) = story();
    for id in 1..=200 {
        story.packet(bridge, Packet::Publish(publish("t", "1", QOS2, id)));
    }
    assert_eq!(
        story.told().len(),
        200,
        "the Receive Maximum is the upstream's"
    );
    story.covered(1, 200);
    assert_eq!(story.told().len(), 200);
    story.cut(bridge);
    story.secs(10 * 365 * 86_400);
    story.told();
    let bridge = story.connect_as(Origin::Bridge(0), self::bridge());
    story.state_covered();
    story.told();
    story.pubrel(bridge, 7);
    assert_eq!(story.told(), ["log1 unmark mark s1#7"]);
}

/// After a crash, with a mark for id 1 of the bridge in log 1.
fn after_crash() -> (Story, ConnId) {
    let mut story = Story::new();
    let log = LogId::Bridge(1);
    story.core.attach_log(log, Seq(5), vec![route("#")]);
    story.core.attach_store(Seq(1), SessionNumber(9));
    let number = SessionNumber(1);
    let session = StoredSession {
        client_id: "$bridge".into(),
        user: None,
        certified: false,
        version: ProtocolVersion::V5,
        expiry: NEVER,
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
        marks: vec![(log, mark)],
    });
    let bridge = story.connect_as(Origin::Bridge(0), bridge());
    story.state_covered();
    story.told();
    (story, bridge)
}

#[test]
fn what_the_upstream_sends_again_after_a_crash_is_published_once() {
    let (mut story, bridge) = after_crash();
    let resend = Publish {
        dup: true,
        ..publish("t", "1", QOS2, 1)
    };
    story.packet(bridge, Packet::Publish(resend));
    assert_eq!(story.told(), ["1 PUBREC 1"]);
    story.pubrel(bridge, 1);
    assert_eq!(story.told(), ["log1 unmark mark s1#1"]);
}

/// The upstream lost the session, and a crash came before the bridge's was begun anew.
#[test]
fn what_the_upstream_sends_for_the_first_time_is_not_what_was_marked() {
    let (mut story, bridge) = after_crash();
    story.packet(bridge, Packet::Publish(publish("t", "new", QOS2, 1)));
    assert_eq!(story.told(), ["log1 @5 up/t=new q2 mark s1#1"]);
}
