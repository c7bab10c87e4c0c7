//! Sessions as a table, and clients that an operator closes.

use std::time::Duration;

use fieldgate::broker::Origin;
use fieldgate::broker::core::{ConnectionRow, SessionRow};
use fieldgate::mqtt::{Connect, ProtocolVersion, ReasonCode};

use crate::story::{QOS0, QOS1, Story, v5, v311, with_will};

#[test]
fn mqtt_3_14_a_client_that_is_closed_by_an_operator_is_told_and_its_will_published() {
    let mut story = Story::new();
    let reader = story.client("reader");
    story.subscribe(reader, "will", QOS0);
    for connect in [v5("a"), v311("old", true)] {
        story.connect_with(with_will(connect, "will", 0));
    }
    story.told();
    for name in ["a", "old"] {
        assert!(story.core.kick(story.now, name));
        assert!(!story.core.kick(story.now, name), "it is gone");
    }
    assert_eq!(
        story.told(),
        [
            "2 DISCONNECT AdministrativeAction",
            "2 closed Kicked",
            "1 PUBLISH will=gone q0",
            "3 closed Kicked",
            "1 PUBLISH will=gone q0"
        ]
    );
    story.connect_with(v5("a"));
    assert_eq!(
        story.told(),
        ["4 CONNACK Success present"],
        "it may come again"
    );
}

#[test]
fn only_clients_that_are_there_can_be_closed() {
    let mut story = Story::new();
    story.connect_as(Origin::Bridge(0), v5("$bridge"));
    let away = story.client("away");
    story.cut(away);
    for name in ["$bridge", "away", "nobody", ""] {
        assert!(!story.core.kick(story.now, name), "{name}");
    }
    assert_eq!(story.core.stats().sessions, 2);
}

#[test]
fn a_row_says_how_a_session_stands() {
    let mut story = Story::with(|limits| limits.inflight = 1);
    let publisher = story.client("p");
    let conn = story.connect_with(Connect {
        keep_alive: 40,
        ..v5("a")
    });
    for filter in ["t", "$share/g/u"] {
        story.subscribe(conn, filter, QOS1);
    }
    for _ in 0..3 {
        story.publish(publisher, "t", "payload", QOS1);
    }
    story.secs(7);
    let row = story.core.session(story.now, "a").unwrap();
    let connected = SessionRow {
        client_id: "a".into(),
        user: None,
        connection: Some(ConnectionRow {
            conn,
            origin: Origin::Client,
            version: ProtocolVersion::V5,
            keep_alive: Duration::from_secs(40),
            age: Duration::from_secs(7),
        }),
        session_expiry: 3600,
        expires_in: None,
        subscriptions: 2,
        in_flight: 1,
        queued_messages: 2,
        queued_bytes: row.queued_bytes,
        dropped: 0,
    };
    assert_eq!(row, connected);
    assert!(row.queued_bytes >= 14);
    story.cut(conn);
    story.secs(100);
    let away = story.core.session(story.now, "a").unwrap();
    let expected = SessionRow {
        connection: None,
        expires_in: Some(Duration::from_secs(3500)),
        ..connected
    };
    assert_eq!(away, expected);
    assert_eq!(story.core.session(story.now, "b"), None);
}

#[test]
fn what_was_dropped_is_counted_for_its_session() {
    let mut story = Story::with(|limits| limits.queued_messages = 1);
    let publisher = story.client("p");
    let conn = story.client("a");
    story.subscribe(conn, "t", QOS1);
    story.cut(conn);
    for _ in 0..3 {
        story.publish(publisher, "t", "x", QOS1);
    }
    let dropped = |name| story.core.session(story.now, name).unwrap().dropped;
    assert_eq!((dropped("a"), dropped("p")), (2, 0));
}

#[test]
fn all_sessions_are_listed_page_by_page() {
    let mut story = Story::new();
    let conns: Vec<_> = (0..7).map(|n| story.client(&n.to_string())).collect();
    story.disconnect(conns[2], ReasonCode::Success);
    let mut names = Vec::new();
    let mut from = Some(0);
    while let Some(place) = from {
        let (rows, next) = story.core.sessions(story.now, place, 3);
        assert!(rows.len() <= 3);
        names.extend(rows.into_iter().map(|row| row.client_id.to_string()));
        from = next;
    }
    assert_eq!(names, ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(
        story.core.sessions(story.now, usize::MAX, 3),
        (vec![], None)
    );
}
