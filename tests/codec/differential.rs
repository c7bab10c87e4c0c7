//! The codec against `mqtt-protocol-core`: the same bytes are taken or refused, and mean the same.
//!
//! Where the two differ, the case is one of [`DEVIATIONS`], each with the rule of the standard that we follow. What is
//! compared is the body and the flags of a PUBLISH; the other library's parsers are not given the rest of the header.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fieldgate::mqtt::ProtocolVersion::{V5, V311};
use fieldgate::mqtt::{DecodeError, PACKET_BYTES_MAX, Packet, ProtocolVersion, ReasonCode, decode};
use fieldgate::topic::TopicError;
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{mutate, packets};

macro_rules! parse {
    ($packet:ty, $body:expr) => {{
        let body: &[u8] = $body;
        let (packet, used) = <$packet>::parse(body)?;
        if used != body.len() {
            return Err(MqttError::MalformedPacket);
        }
        packet.to_continuous_buffer()
    }};
}

/// What the other library makes of a frame: its bytes again, or an error. It is given type, flags of a PUBLISH and body;
/// it says how much of the body it used, and what it leaves over is an error.
fn theirs(version: ProtocolVersion, frame: &[u8]) -> Result<Vec<u8>, MqttError> {
    let (first, rest) = frame.split_first().unwrap();
    let length_bytes = rest.iter().take_while(|&&byte| byte >= 0x80).count() + 1;
    let body = &rest[length_bytes..];
    Ok(match (version, first >> 4) {
        (V311, 1) => parse!(v3_1_1::Connect, body),
        (V311, 2) => parse!(v3_1_1::Connack, body),
        (V311, 3) => {
            let (packet, _) = v3_1_1::Publish::parse(first & 0x0F, Arc::from(body))?;
            packet.to_continuous_buffer()
        }
        (V311, 4) => parse!(v3_1_1::Puback, body),
        (V311, 5) => parse!(v3_1_1::Pubrec, body),
        (V311, 6) => parse!(v3_1_1::Pubrel, body),
        (V311, 7) => parse!(v3_1_1::Pubcomp, body),
        (V311, 8) => parse!(v3_1_1::Subscribe, body),
        (V311, 9) => parse!(v3_1_1::Suback, body),
        (V311, 10) => parse!(v3_1_1::Unsubscribe, body),
        (V311, 11) => parse!(v3_1_1::Unsuback, body),
        (V311, 12) => parse!(v3_1_1::Pingreq, body),
        (V311, 13) => parse!(v3_1_1::Pingresp, body),
        (V311, 14) => parse!(v3_1_1::Disconnect, body),
        (V5, 1) => parse!(v5_0::Connect, body),
        (V5, 2) => parse!(v5_0::Connack, body),
        (V5, 3) => {
            let (packet, _) = v5_0::Publish::parse(first & 0x0F, Arc::from(body))?;
            packet.to_continuous_buffer()
        }
        (V5, 4) => parse!(v5_0::Puback, body),
        (V5, 5) => parse!(v5_0::Pubrec, body),
        (V5, 6) => parse!(v5_0::Pubrel, body),
        (V5, 7) => parse!(v5_0::Pubcomp, body),
        (V5, 8) => parse!(v5_0::Subscribe, body),
        (V5, 9) => parse!(v5_0::Suback, body),
        (V5, 10) => parse!(v5_0::Unsubscribe, body),
        (V5, 11) => parse!(v5_0::Unsuback, body),
        (V5, 12) => parse!(v5_0::Pingreq, body),
        (V5, 13) => parse!(v5_0::Pingresp, body),
        (V5, 14) => parse!(v5_0::Disconnect, body),
        (V5, 15) => parse!(v5_0::Auth, body),
        _ => unreachable!("made by us"),
    })
}

fn ours(version: ProtocolVersion, frame: &[u8]) -> Result<Packet, DecodeError> {
    let version = Some(version).filter(|_| frame[0] >> 4 != 1);
    let mut input = Bytes::copy_from_slice(frame);
    Ok(decode(&mut input, version, PACKET_BYTES_MAX)?.expect("a whole frame"))
}

/// A case in which the two judge differently, and why we stay with ours.
struct Deviation {
    /// What the standard says, and what the other library does.
    rule: &'static str,
    sample: (ProtocolVersion, &'static [u8]),
    /// Whether a frame on which they differ is a case of this.
    explains: fn(&Seen) -> bool,
}

/// A frame on which the two differ.
struct Seen {
    version: ProtocolVersion,
    packet: u8,
    ours: Result<Packet, DecodeError>,
}

impl Seen {
    fn refused_as(&self, is: fn(&DecodeError) -> bool) -> bool {
        self.ours.as_ref().is_err_and(is)
    }
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        rule: "[MQTT-1.5.4-2] a string has no U+0000; it lets them pass",
        sample: (V311, b"\x30\x05\0\x03a\0b"),
        explains: |it| it.refused_as(|error| *error == DecodeError::NullCharacter),
    },
    Deviation {
        rule: "[MQTT-1.5.5-1] a length takes the fewest bytes; it does not look",
        sample: (V5, b"\x90\x05\x06e\x80\0\x83"),
        explains: |it| {
            it.version == V5 && it.refused_as(|error| *error == DecodeError::LengthNotMinimal)
        },
    },
    Deviation {
        rule: "[MQTT-3.3.2-2] a topic name has no wildcards; its parser does not look",
        sample: (V5, b"\x30\x06\0\x03a/+\0"),
        explains: |it| {
            it.refused_as(|error| *error == DecodeError::Topic(TopicError::WildcardInName))
        },
    },
    Deviation {
        rule: "[MQTT-4.7.3-1] a topic name has a character; its parser does not look",
        sample: (V311, b"\x30\x02\0\0"),
        explains: |it| it.refused_as(|error| *error == DecodeError::Topic(TopicError::Empty)),
    },
    Deviation {
        rule: "section 3.3.2.1: without a topic there is an alias; its parser does not look",
        sample: (V5, b"\x30\x03\0\0\0"),
        explains: |it| {
            it.version == V5 && it.refused_as(|error| *error == DecodeError::TopicMissing)
        },
    },
    Deviation {
        rule: "[MQTT-2.2.1-3] a packet identifier is not 0; it looks in acknowledgements only",
        sample: (V311, b"\xb0\x02\0\0"),
        explains: |it| {
            let acknowledges = (4..=7).contains(&it.packet);
            !acknowledges && it.refused_as(|error| *error == DecodeError::PacketIdZero)
        },
    },
    Deviation {
        rule: "[MQTT-3.3.1-2] no DUP at QoS 0; its parser does not look",
        sample: (V5, b"\x38\x04\0\x01t\0"),
        explains: |it| it.refused_as(|error| *error == DecodeError::DupAtQoS0),
    },
    Deviation {
        rule: "[MQTT-3.1.2-3] [MQTT-3.2.2-1] reserved flags are 0; it does not look",
        sample: (V311, b"\x20\x02\xa8\x04"),
        explains: |it| it.refused_as(|error| matches!(error, DecodeError::ReservedFlag { .. })),
    },
    Deviation {
        rule: "[MQTT-3.2.2-6] a refusal has no session; it does not look",
        sample: (V311, b"\x20\x02\x01\x04"),
        explains: |it| it.refused_as(|error| *error == DecodeError::SessionPresentRefused),
    },
    Deviation {
        rule: "[MQTT-3.1.2-11] will QoS and retain need a will; it does not look",
        sample: (V311, b"\x10\x0d\0\x04MQTT\x04\x20\0\0\0\x01c"),
        explains: |it| it.refused_as(|error| *error == DecodeError::WillFlags),
    },
    Deviation {
        rule: "[MQTT-3.1.2-12] a will has no QoS 3; it does not look",
        sample: (V311, b"\x10\x12\0\x04MQTT\x04\x1e\0\0\0\x01c\0\x01t\0\0"),
        explains: |it| it.packet == 1 && it.refused_as(|error| *error == DecodeError::QoS),
    },
    Deviation {
        rule: "MQTT 3.1.1 [MQTT-3.8.3-4] six bits of the requested QoS are reserved; it reads the options of MQTT 5",
        sample: (V311, b"\x82\x06\0\x01\0\x01t\x04"),
        explains: |it| {
            it.version == V311
                && it.refused_as(|error| matches!(error, DecodeError::SubscriptionOptions(_)))
        },
    },
    Deviation {
        rule: "MQTT 3.1.1 section 3.4.1: acknowledgements are two bytes long; it reads the reason code of MQTT 5",
        sample: (V311, b"\x40\x03\0\x01\0"),
        explains: |it| {
            it.version == V311
                && (4..=7).contains(&it.packet)
                && it.refused_as(|error| {
                    matches!(error, DecodeError::TrailingBytes { count: 1, .. })
                })
        },
    },
    Deviation {
        rule: "section 3.15.2.1: AUTH leaves off reason and property length together; it takes the reason alone",
        sample: (V5, b"\xf0\x01\0"),
        explains: |it| it.packet == 15 && it.refused_as(|error| *error == DecodeError::Truncated),
    },
    Deviation {
        rule: "section 3.15.2.2.2: AUTH names its method; it asks so only of reasons other than Success",
        sample: (V5, b"\xf0\x02\0\0"),
        explains: |it| it.refused_as(|error| *error == DecodeError::AuthenticationMethodMissing),
    },
    Deviation {
        rule: "section 3.3.2.3.1: PUBLISH has a property length; it does without where the packet ends there",
        sample: (V5, b"\x30\x03\0\x01t"),
        explains: |it| {
            it.version == V5
                && it.packet == 3
                && it.refused_as(|error| *error == DecodeError::Truncated)
        },
    },
    Deviation {
        rule: "section 3.1.2.11.10: no authentication data without a method in CONNECT; it does not look",
        sample: (V5, b"\x10\x12\0\x04MQTT\x05\x02\0\0\x04\x16\0\x01d\0\x01c"),
        explains: |it| {
            it.packet == 1 && it.refused_as(|error| *error == DecodeError::AuthenticationDataAlone)
        },
    },
    Deviation {
        rule: "section 3.1.2.9: MQTT 5 allows a password without a user name; it refuses that",
        sample: (V5, b"\x10\x11\0\x04MQTT\x05\x42\0\0\0\0\x01c\0\x01p"),
        explains: |it| {
            matches!(&it.ours, Ok(Packet::Connect(connect))
                if it.version == V5 && connect.password.is_some() && connect.user_name.is_none())
        },
    },
    Deviation {
        rule: "section 2.4 gives 0x8C to DISCONNECT too; it follows section 3.14.2.1, which forgets it",
        sample: (V5, b"\xe0\x01\x8c"),
        explains: |it| {
            matches!(&it.ours, Ok(Packet::Disconnect(disconnect))
                if disconnect.reason == ReasonCode::BadAuthenticationMethod)
        },
    },
    Deviation {
        rule: "the broker looks at share names, not the codec; it refuses the packet for a bad share name",
        sample: (V5, b"\x82\x0d\0\x01\0\0\x07$share/\0"),
        explains: |it| match &it.ours {
            Ok(Packet::Subscribe(it)) => it
                .subscriptions
                .iter()
                .any(|it| it.filter.starts_with("$share/")),
            Ok(Packet::Unsubscribe(it)) => it.filters.iter().any(|it| it.starts_with("$share/")),
            _ => false,
        },
    },
];

/// What the two make of a frame. Panics where they differ and no deviation explains it; says whether one did.
fn compare(version: ProtocolVersion, frame: &[u8]) -> Option<&'static Deviation> {
    let ours = ours(version, frame);
    let theirs = theirs(version, frame);
    match (&ours, &theirs) {
        (Err(_), Err(_)) => return None,
        (Ok(packet), Ok(again)) => {
            assert_eq!(
                self::ours(version, again).as_ref(),
                Ok(packet),
                "{frame:x?}"
            );
            return None;
        }
        _ => {}
    }
    let described = format!("MQTT {version}: {ours:?}, they: {theirs:?}: {frame:x?}");
    let packet = frame[0] >> 4;
    let seen = Seen {
        version,
        packet,
        ours,
    };
    let deviation = DEVIATIONS.iter().find(|it| (it.explains)(&seen));
    Some(deviation.unwrap_or_else(|| panic!("{described}")))
}

#[test]
fn each_deviation_from_the_other_library_is_seen() {
    for deviation in DEVIATIONS {
        let (version, frame) = deviation.sample;
        let seen = compare(version, frame).map(|it| it.rule);
        assert_eq!(seen, Some(deviation.rule));
    }
}

/// Packets of ours are read and written again by the other library byte by byte; damaged ones are judged alike.
#[test]
fn the_other_library_agrees_on_packets_whole_and_damaged() {
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    for round in 0..8000 {
        let version = if round % 2 == 0 { V5 } else { V311 };
        let packet = sample(&mut runner, &packets::packet(version));
        let mut encoded = BytesMut::new();
        packet.encode(version, &mut encoded).unwrap();
        if compare(version, &encoded).is_none() {
            assert_eq!(
                theirs(version, &encoded).unwrap(),
                &encoded[..],
                "{packet:?}"
            );
        }
        let header = 2 + encoded[1..]
            .iter()
            .take_while(|&&byte| byte >= 0x80)
            .count();
        let mut body = encoded[header..].to_vec();
        for damage in sample(&mut runner, &vec(mutate::damage(), 1..4)) {
            damage.apply(&mut body);
        }
        compare(version, &mutate::frame(encoded[0], &body));
    }
}

fn sample<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}
