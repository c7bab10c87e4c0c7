//! CONNECT, CONNACK, take-over, DISCONNECT (chapters 3.1, 3.2, 3.14 and 4.1).

use bytes::Bytes;
use fieldgate::auth::Principal;
use fieldgate::broker::Origin;
use fieldgate::broker::core::{AuthRefusal, ConnId, Effect};
use fieldgate::mqtt::{
    Auth, Connack, Connect, Disconnect, Packet, ProtocolVersion, QoS, ReasonCode,
};

use crate::story::{QOS1, Story, publish, v5, v311, with_will};

fn connack(story: &mut Story) -> Connack {
    let connack = story.effects().into_iter().find_map(|effect| match effect {
        Effect::Send {
            packet: Packet::Connack(connack),
            ..
        } => Some(*connack),
        _ => None,
    });
    connack.unwrap()
}

fn refused(connect: Connect, reason: &str) {
    let mut story = Story::new();
    story.connect_with(connect);
    let expected = [
        format!("1 CONNACK {reason}"),
        format!("1 closed Refused({reason})"),
    ];
    assert_eq!(story.told(), expected);
    assert_eq!(story.core.stats().sessions, 0);
}

#[test]
fn mqtt_3_1_0_1_anything_before_connect_closes() {
    let mut story = Story::new();
    let conn = story.new_conn();
    story.packet(conn, Packet::Publish(publish("a", "x", QOS1, 1)));
    story.packet(conn, Packet::Pingreq);
    assert_eq!(story.told(), ["1 closed Violated(ProtocolError)"]);
}

#[test]
fn mqtt_3_1_0_2_second_connect_closes() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.packet(conn, Packet::Connect(Box::new(v5("a"))));
    assert_eq!(
        story.told(),
        [
            "1 DISCONNECT ProtocolError",
            "1 closed Violated(ProtocolError)"
        ]
    );
    let conn = story.client("b");
    let again = |_: &str| Ok(Principal::default());
    story
        .core
        .connect(story.now, conn, Origin::Client, again, v5("b"));
    assert_eq!(story.told().len(), 2);
}

#[test]
fn mqtt_3_1_3_8_an_empty_client_id_needs_a_clean_session_in_3_1_1() {
    refused(v311("", false), "ClientIdentifierNotValid");
    let v31 = Connect {
        version: ProtocolVersion::V31,
        ..v311("", true)
    };
    refused(v31, "ClientIdentifierNotValid");
    let mut story = Story::new();
    story.connect_with(v311("", true));
    story.connect_with(v311("", true));
    assert_eq!(
        story.told(),
        ["1 CONNACK Success", "2 CONNACK Success"],
        "each has a name of its own"
    );
}

#[test]
fn mqtt_3_1_3_6_an_empty_client_id_is_given_a_name_in_5() {
    let mut story = Story::new();
    story.connect_with(v5(""));
    let first = connack(&mut story).assigned_client_id.unwrap();
    story.connect_with(v5(""));
    let second = connack(&mut story).assigned_client_id.unwrap();
    assert_ne!(first, second);
    assert!(first.len() > 32);
    story.connect_with(v5(&first));
    assert!(connack(&mut story).session_present);
}

#[test]
fn the_rights_of_a_client_are_those_of_the_name_that_it_is_given() {
    let mut story = Story::new();
    let mut asked = Vec::new();
    for name in ["", "mine"] {
        let conn = story.new_conn();
        let principal = |client_id: &str| {
            asked.push(client_id.to_owned());
            Ok(Principal::default())
        };
        let (core, now) = (&mut story.core, story.now);
        core.connect(now, conn, Origin::Client, principal, v5(name));
    }
    let given = connack(&mut story).assigned_client_id.unwrap();
    assert_eq!(asked, [&*given, "mine"]);
}

#[test]
fn an_empty_client_id_can_be_forbidden() {
    let mut story = Story::with(|limits| limits.empty_client_id = false);
    story.connect_with(v5(""));
    assert_eq!(story.told()[0], "1 CONNACK ClientIdentifierNotValid");
}

#[test]
fn client_ids_with_a_dollar_are_for_parts_of_the_gateway() {
    refused(v5("$bridge"), "ClientIdentifierNotValid");
    let mut story = Story::new();
    story.connect_as(Origin::Bridge(0), v5("$bridge"));
    assert_eq!(story.told(), ["1 CONNACK Success"]);
}

#[test]
fn mqtt_4_12_0_1_no_authentication_method_is_offered() {
    let connect = Connect {
        authentication_method: Some("SCRAM-SHA-256".into()),
        authentication_data: Some(Bytes::new()),
        ..v5("a")
    };
    refused(connect, "BadAuthenticationMethod");
    let mut story = Story::new();
    let conn = story.client("a");
    let auth = Auth {
        reason: ReasonCode::ReAuthenticate,
        authentication_method: None,
        authentication_data: None,
        reason_string: None,
        user_properties: Vec::new(),
    };
    story.packet(conn, Packet::Auth(auth));
    assert_eq!(story.told()[0], "1 DISCONNECT ProtocolError");
}

#[test]
fn refused_logins_are_told_with_their_code() {
    for (refusal, reason) in [
        (
            AuthRefusal::BadUserNameOrPassword,
            ReasonCode::BadUserNameOrPassword,
        ),
        (AuthRefusal::NotAuthorized, ReasonCode::NotAuthorized),
        (
            AuthRefusal::BadAuthenticationMethod,
            ReasonCode::BadAuthenticationMethod,
        ),
        (AuthRefusal::ServerBusy, ReasonCode::ServerBusy),
    ] {
        let mut story = Story::new();
        let conn = story.new_conn();
        story.core.connect(
            story.now,
            conn,
            Origin::Client,
            |_| Err(refusal),
            v311("a", true),
        );
        assert_eq!(story.core.version(conn), ProtocolVersion::V311);
        assert_eq!(
            story.told(),
            [
                format!("1 CONNACK {reason:?}"),
                format!("1 closed Refused({reason:?})")
            ]
        );
    }
}

#[test]
fn mqtt_3_1_2_2_an_unknown_version_is_told_so() {
    let mut story = Story::new();
    let conn = story.new_conn();
    let reason = ReasonCode::UnsupportedProtocolVersion;
    story.core.violated(story.now, conn, reason);
    assert_eq!(
        story.told(),
        [
            "1 CONNACK UnsupportedProtocolVersion",
            "1 closed Violated(UnsupportedProtocolVersion)"
        ]
    );
}

#[test]
fn mqtt_3_2_2_the_connack_says_what_is_served() {
    let mut story = Story::with(|limits| {
        limits.maximum_qos = QoS::AtLeastOnce;
        limits.retained_messages = 0;
        limits.receive_maximum = 33;
        limits.packet_size = 4096;
    });
    story.connect_with(Connect {
        keep_alive: 0,
        session_expiry: u32::MAX,
        ..v5("a")
    });
    let connack = connack(&mut story);
    assert_eq!(connack.maximum_qos, QoS::AtLeastOnce);
    assert!(!connack.retain_available);
    assert_eq!(connack.receive_maximum, 33);
    assert_eq!(connack.maximum_packet_size, Some(4096));
    assert_eq!(connack.topic_alias_maximum, 16);
    assert!(connack.shared_subscription_available);
    assert!(connack.wildcard_subscription_available);
    assert!(connack.subscription_identifiers_available);
    assert_eq!(connack.server_keep_alive, Some(600), "0 is longer than any");
    assert_eq!(connack.session_expiry, Some(7 * 24 * 3600));
    assert_eq!(connack.assigned_client_id, None);
}

#[test]
fn mqtt_3_2_2_2_session_present_only_where_a_session_goes_on() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.disconnect(conn, ReasonCode::Success);
    story.told();
    story.connect_with(v5("a"));
    assert_eq!(story.told(), ["2 CONNACK Success present"]);
    story.cut(ConnId(2));
    story.connect_with(Connect {
        clean_start: true,
        ..v5("a")
    });
    assert_eq!(story.told(), ["3 CONNACK Success"]);
}

#[test]
fn mqtt_3_1_2_6_a_clean_session_of_3_1_1_is_not_reused() {
    let mut story = Story::new();
    let conn = story.connect_with(v311("a", true));
    story.subscribe(conn, "t", QOS1);
    story.cut(conn);
    assert_eq!(story.core.stats().sessions, 0);
    assert_eq!(story.core.stats().subscriptions, 0);
    story.told();
    story.connect_with(v311("a", false));
    assert_eq!(story.told(), ["2 CONNACK Success"]);
}

#[test]
fn mqtt_3_1_4_3_a_second_connection_takes_the_session_over() {
    let mut story = Story::new();
    let old = story.client("a");
    story.subscribe(old, "t", QOS1);
    story.told();
    let new = story.connect_with(v5("a"));
    assert_eq!(
        story.told(),
        [
            "1 DISCONNECT SessionTakenOver",
            "1 closed TakenOver",
            "2 CONNACK Success present"
        ]
    );
    story.cut(old);
    story.publish(new, "t", "x", QOS1);
    assert_eq!(story.told()[0], "2 PUBLISH t=x q1 #1");
    assert_eq!(story.core.stats().connections, 1);
}

#[test]
fn a_3_1_1_client_that_is_taken_over_is_just_closed() {
    let mut story = Story::new();
    story.connect_with(v311("a", false));
    story.told();
    story.connect_with(v311("a", true));
    assert_eq!(story.told(), ["1 closed TakenOver", "2 CONNACK Success"]);
}

#[test]
fn a_session_ends_when_its_expiry_has_passed() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.cut(conn);
    story.secs(3599);
    assert_eq!(story.core.stats().sessions, 1);
    story.secs(1);
    assert_eq!(story.core.stats().sessions, 0);
    assert_eq!(story.core.next_timeout(), None);
}

#[test]
fn a_client_that_comes_back_stops_the_expiry_of_its_session() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.cut(conn);
    story.secs(3000);
    let conn = story.connect_with(Connect {
        keep_alive: 0,
        ..v311("a", false)
    });
    story.secs(3000);
    story.told();
    story.packet(conn, Packet::Pingreq);
    assert_eq!(story.told(), ["2 PINGRESP"]);
}

#[test]
fn mqtt_3_14_2_2_disconnect_can_shorten_a_session_but_not_found_one() {
    let mut story = Story::new();
    let conn = story.client("a");
    let expiry = |secs| {
        Packet::Disconnect(Disconnect {
            session_expiry: Some(secs),
            ..Disconnect::new(ReasonCode::Success)
        })
    };
    story.packet(conn, expiry(0));
    assert_eq!(story.told(), ["1 closed Disconnected"]);
    assert_eq!(story.core.stats().sessions, 0);
    let conn = story.connect_with(Connect {
        session_expiry: 0,
        ..v5("a")
    });
    story.told();
    story.packet(conn, expiry(5));
    assert_eq!(story.told()[0], "2 DISCONNECT ProtocolError");
}

#[test]
fn more_clients_than_allowed_are_told_that_the_server_is_busy() {
    let mut story = Story::with(|limits| limits.connections = 1);
    story.client("a");
    story.connect_with(v5("b"));
    assert_eq!(story.told()[0], "2 CONNACK ServerBusy");
    story.connect_as(Origin::Device, v5("$device"));
    assert_eq!(story.told(), ["3 CONNACK Success"]);
    story.connect_with(v5("a"));
    assert_eq!(story.told()[2], "4 CONNACK Success present");
}

#[test]
fn more_sessions_than_are_kept_are_refused() {
    let mut story = Story::with(|limits| limits.sessions = 1);
    let conn = story.client("a");
    story.cut(conn);
    story.connect_with(v5("b"));
    assert_eq!(story.told()[0], "2 CONNACK QuotaExceeded");
    story.connect_with(v311("b", true));
    assert_eq!(story.told(), ["3 CONNACK Success"]);
    story.connect_with(v5("a"));
    assert_eq!(story.told(), ["4 CONNACK Success present"]);
}

#[test]
fn mqtt_3_2_2_12_a_will_that_cannot_be_served_is_refused() {
    let mut story = Story::with(|limits| {
        limits.maximum_qos = QoS::AtMostOnce;
        limits.topic_levels = 2;
    });
    story.connect_with(with_will(v5("a"), "w", 0));
    assert_eq!(story.told()[0], "1 CONNACK QoSNotSupported");
    let mut deep = with_will(v5("a"), "a/b/c", 0);
    deep.will.as_mut().unwrap().message.qos = QoS::AtMostOnce;
    story.connect_with(deep);
    assert_eq!(story.told()[0], "2 CONNACK TopicNameInvalid");
}

#[test]
fn packets_that_only_servers_send_close() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.packet(conn, Packet::Pingresp);
    assert_eq!(story.told()[0], "1 DISCONNECT ProtocolError");
}

#[test]
fn what_comes_after_a_close_is_ignored() {
    let mut story = Story::new();
    let conn = story.client("a");
    story
        .core
        .violated(story.now, conn, ReasonCode::MalformedPacket);
    assert_eq!(
        story.told(),
        [
            "1 DISCONNECT MalformedPacket",
            "1 closed Violated(MalformedPacket)"
        ]
    );
    story.packet(conn, Packet::Pingreq);
    story
        .core
        .violated(story.now, conn, ReasonCode::MalformedPacket);
    assert_eq!(story.core.version(conn), ProtocolVersion::V5);
    story.cut(conn);
    assert!(story.told().is_empty());
}

#[test]
fn shutdown_tells_and_closes_all() {
    let mut story = Story::new();
    story.client("a");
    story.connect_with(v311("b", true));
    story.told();
    story.core.shutdown(story.now);
    assert_eq!(
        story.told(),
        [
            "1 DISCONNECT ServerShuttingDown",
            "1 closed ShuttingDown",
            "2 closed ShuttingDown"
        ]
    );
    assert_eq!(story.core.stats(), Default::default());
    assert_eq!(story.core.next_timeout(), None);
}
