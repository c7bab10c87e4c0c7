//! Keep alive (section 3.1.2.10).

use std::time::Duration;

use fieldgate::broker::Origin;
use fieldgate::mqtt::{Connect, Packet};

use crate::story::{Story, v5, v311};

#[test]
fn mqtt_3_1_2_22_silence_of_one_and_a_half_keep_alives_closes() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.secs(89);
    assert!(story.told().is_empty());
    story.packet(conn, Packet::Pingreq);
    story.pass(Duration::from_millis(89_999));
    assert_eq!(story.told(), ["1 PINGRESP"]);
    story.pass(Duration::from_millis(1));
    assert_eq!(
        story.told(),
        ["1 DISCONNECT KeepAliveTimeout", "1 closed KeepAlive"]
    );
}

#[test]
fn a_client_that_speaks_costs_no_timeout_for_every_packet() {
    let mut story = Story::new();
    let conn = story.client("a");
    let first = story.core.next_timeout();
    for _ in 0..80 {
        story.secs(1);
        story.packet(conn, Packet::Pingreq);
    }
    assert_eq!(story.core.next_timeout(), first);
}

#[test]
fn keep_alive_0_of_3_1_1_is_for_ever() {
    let mut story = Story::new();
    story.connect_with(Connect {
        keep_alive: 0,
        ..v311("a", true)
    });
    assert_eq!(story.core.next_timeout(), None);
}

#[test]
fn a_long_keep_alive_is_shortened_in_5_and_served_in_3_1_1() {
    let mut story = Story::with(|limits| limits.keep_alive_maximum = Duration::from_secs(10));
    story.connect_with(v5("a"));
    story.connect_with(v311("b", true));
    story.told();
    story.secs(15);
    assert_eq!(story.told()[1], "1 closed KeepAlive");
    story.secs(74);
    assert!(story.told().is_empty());
    story.secs(1);
    assert_eq!(story.told(), ["2 closed KeepAlive"]);
}

#[test]
fn parts_of_the_gateway_are_not_watched() {
    let mut story = Story::new();
    story.connect_as(Origin::Device, v5("$device"));
    assert_eq!(story.core.next_timeout(), None);
}

#[test]
fn a_closed_connection_leaves_no_timeout() {
    let mut story = Story::new();
    let conn = story.connect_with(v311("a", true));
    story.cut(conn);
    assert_eq!(story.core.next_timeout(), None);
}

#[test]
fn a_client_that_is_not_read_is_not_closed_for_its_silence() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.secs(60);
    story.unread(conn, true);
    story.secs(1000);
    assert!(story.told().is_empty());
    // Its time begins when it is read again.
    story.unread(conn, false);
    story.secs(89);
    assert!(story.told().is_empty());
    story.secs(1);
    assert_eq!(story.told()[1], "1 closed KeepAlive");
}
