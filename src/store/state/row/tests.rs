//! Rows come back as they were written, and damage to them is noticed.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::mqtt::{Message, ProtocolVersion, PublishProperties, QoS, Will};
use crate::store::{StoredPresence, StoredSession, StoredSubscription};

prop_compose! {
    fn any_message()(
        topic in "[a-z/]{1,40}",
        payload in prop::collection::vec(any::<u8>(), 0..600),
        qos in 0_u8..3,
        retain: bool,
        content_type in prop::option::of("[a-z]{0,10}"),
    ) -> Message {
        let properties = content_type.map(|text| Box::new(PublishProperties {
            content_type: Some(text.into()),
            message_expiry: Some(60),
            user_properties: vec![("a".into(), "b".into()), ("a".into(), "c".into())],
            ..PublishProperties::default()
        }));
        Message {
            topic: TopicName::try_from(topic).unwrap(),
            payload: payload.into(),
            qos: QoS::from_bits(qos).unwrap(),
            retain,
            properties,
        }
    }
}

fn any_presence() -> impl Strategy<Value = StoredPresence> {
    let remaining = || prop::option::of((0..1_u64 << 50).prop_map(Duration::from_millis));
    prop_oneof![
        Just(StoredPresence::Connected),
        (remaining(), remaining()).prop_map(|(expires_in, will_in)| StoredPresence::Away {
            expires_in,
            will_in
        }),
    ]
}

prop_compose! {
    fn any_session()(
        client_id in ".{0,30}",
        user in prop::option::of(".{0,20}"),
        certified: bool,
        version in prop::sample::select(&ProtocolVersion::ALL[..]),
        expiry: u32,
        presence in any_presence(),
        will in prop::option::of((any_message(), any::<u32>())),
    ) -> StoredSession {
        StoredSession {
            client_id: client_id.into(),
            user: user.map(Into::into),
            certified,
            version,
            expiry,
            presence,
            will: will.map(|(message, delay)| Will { message, delay }),
        }
    }
}

prop_compose! {
    fn any_subscription()(
        qos in 0_u8..3,
        no_local: bool,
        retain_as_published: bool,
        id in prop::option::of(1..=268_435_455_u32),
        replaying: bool,
    ) -> StoredSubscription {
        let qos = QoS::from_bits(qos).unwrap();
        StoredSubscription { qos, no_local, retain_as_published, id, replaying }
    }
}

fn any_change() -> impl Strategy<Value = StateChange> {
    let number = || any::<u64>().prop_map(SessionNumber);
    prop_oneof![
        (number(), any_session())
            .prop_map(|(number, session)| StateChange::Session(number, Box::new(session))),
        (number(), ".{1,30}", any_subscription()).prop_map(|(number, filter, subscription)| {
            StateChange::Subscription(number, filter.into(), subscription)
        }),
        (any_message(), ".{0,20}")
            .prop_map(|(message, publisher)| StateChange::Retained(message, publisher.into())),
        (number(), 1_u16..).prop_map(|(session, id)| StateChange::Marked(Mark {
            session,
            packet_id: PacketId::new(id).unwrap(),
        })),
    ]
}

fn head() -> Head {
    Head {
        epoch: 7,
        clock: ClockMark {
            timeline: 123_456_789,
            reading: ClockReading {
                wall: WallTime(1_800_000_000_000),
                boot: Some(Boot {
                    id: u128::MAX / 3,
                    uptime: 55,
                }),
            },
        },
        counts: Counts {
            sessions: 3,
            subscriptions: 400,
            retained: 70_000,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_row_comes_back_whatever_follows_it(stamp: u64, change in any_change()) {
        let mut bytes = encode(stamp, &change).unwrap();
        let length = bytes.len();
        bytes.extend_from_slice(b"rest of the page");
        let kept = Kept { stamp, change };
        prop_assert_eq!(decode(&bytes.into()), Ok((Row::Kept(kept), length)));
    }

    #[test]
    fn a_flipped_bit_is_noticed(change in any_change(), place: prop::sample::Index, bit in 0_u8..8) {
        let mut bytes = encode(5, &change).unwrap();
        let at = place.index(bytes.len());
        // The version is not covered: a newer one must be told from damage.
        prop_assume!(at != MAGIC.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(decode(&bytes.into()), Err(RowError::Damaged));
    }

    #[test]
    fn any_body_is_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..6) {
        let mut bytes = begin(kind, 9);
        bytes.extend_from_slice(&body);
        let bytes = Bytes::from(finish(bytes));
        if let Ok((_, length)) = decode(&bytes) {
            prop_assert_eq!(length, bytes.len());
        }
    }
}

#[test]
fn a_head_comes_back() {
    let mut without_boot = head();
    without_boot.clock.reading.boot = None;
    for head in [head(), without_boot] {
        let bytes = Bytes::from(head.encode());
        assert_eq!(decode(&bytes), Ok((Row::Head(head), bytes.len())));
    }
}

#[test]
fn a_row_cut_short_is_damaged() {
    let whole = Bytes::from(head().encode());
    for length in 0..whole.len() {
        let cut = whole.slice(..length);
        assert_eq!(decode(&cut), Err(RowError::Damaged), "{length} bytes");
    }
}

#[test]
fn a_newer_row_is_not_damage() {
    let mut bytes = head().encode();
    bytes[MAGIC.len()] = VERSION + 1;
    assert_eq!(decode(&bytes.into()), Err(RowError::Newer(VERSION + 1)));
}

/// As version 1 wrote it: of a session that is away for a minute, and of user "u".
#[test]
fn a_row_of_version_1_is_read() {
    let body = b"\x01\x05\x07\x07\x04\x3C\x01c\x01u\xE0\xD4\x03";
    let mut bytes = Vec::from(*b"FGROW\x01\0\0\0\0\0\0\0\0");
    bytes.extend_from_slice(body);
    let presence = StoredPresence::Away {
        expires_in: Some(Duration::from_secs(60)),
        will_in: None,
    };
    let session = StoredSession {
        client_id: "c".into(),
        user: Some("u".into()),
        certified: false,
        version: ProtocolVersion::V311,
        expiry: 60,
        presence,
        will: None,
    };
    let change = StateChange::Session(SessionNumber(7), Box::new(session));
    let kept = Row::Kept(Kept { stamp: 5, change });
    let bytes = Bytes::from(finish(bytes));
    assert_eq!(decode(&bytes), Ok((kept, bytes.len())));
}

#[test]
fn what_ends_has_no_row() {
    assert_eq!(encode(1, &StateChange::SessionGone(SessionNumber(4))), None);
}
