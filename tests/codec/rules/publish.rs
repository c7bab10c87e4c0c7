//! PUBLISH and its acknowledgements (MQTT 5 sections 3.3 to 3.7), and every packet's reason codes.

use super::*;

#[test]
fn mqtt_3_3_1_4_qos_3_does_not_exist() {
    for first in [0x36, 0x37, 0x3E] {
        assert_eq!(body(V5, first, b"\0\x01t\0\x01\0"), Err(DecodeError::QoS));
    }
    assert_eq!(DecodeError::QoS.reason(), ReasonCode::MalformedPacket);
}

#[test]
fn mqtt_3_3_1_2_dup_is_0_at_qos_0() {
    for version in ProtocolVersion::ALL {
        for first in [0x38, 0x39] {
            let refused = body(version, first, b"\0\x01t\0");
            assert_eq!(refused, Err(DecodeError::DupAtQoS0));
        }
    }
    assert!(body(V5, 0x3A, b"\0\x01t\0\x01\0").is_ok());
}

#[test]
fn mqtt_3_3_2_2_a_topic_name_has_no_wildcards() {
    let refused = DecodeError::Topic(TopicError::WildcardInName);
    for topic in [&b"a/+"[..], b"#", b"a#b"] {
        assert_eq!(publish_with(topic, b""), Err(refused));
    }
    assert_eq!(refused.reason(), ReasonCode::MalformedPacket);
    assert_eq!(publish_with(b"t", b"\x08\0\x01+"), Err(refused));
}

#[test]
fn mqtt_3_3_2_1_a_publish_has_a_topic_or_an_alias() {
    assert_eq!(publish_with(b"", b""), Err(DecodeError::TopicMissing));
    assert_eq!(
        DecodeError::TopicMissing.reason(),
        ReasonCode::ProtocolError
    );
    let Ok(Packet::Publish(read)) = publish_with(b"", b"\x23\0\x07") else {
        panic!("refused")
    };
    assert_eq!((read.topic.clone(), read.topic_alias), (None, Some(7)));
    assert_eq!(read.message(), None);
    assert_eq!(
        body(V311, 0x30, b"\0\0"),
        Err(DecodeError::Topic(TopicError::Empty))
    );
}

#[test]
fn mqtt_3_3_2_values_of_publish_properties() {
    assert_eq!(
        publish_with(b"t", b"\x01\x02"),
        value(PropertyId::PayloadFormatIndicator, 2)
    );
    let alias = publish_with(b"t", b"\x23\0\0");
    assert_eq!(alias, value(PropertyId::TopicAlias, 0));
    assert_eq!(alias.unwrap_err().reason(), ReasonCode::TopicAliasInvalid);
    assert_eq!(
        publish_with(b"t", b"\x0b\0"),
        value(PropertyId::SubscriptionIdentifier, 0)
    );
}

#[test]
fn mqtt_3_3_2_3_3_a_message_expiry_of_0_is_legal() {
    let Ok(Packet::Publish(read)) = publish_with(b"t", b"\x02\0\0\0\0") else {
        panic!("refused")
    };
    assert_eq!(read.properties.unwrap().message_expiry, Some(0));
}

#[test]
fn mqtt_3_4_2_1_reason_codes_are_those_of_their_packet() {
    // First byte, what stands before the code, the codes that the packet's table lists.
    let cases: [(PacketType, u8, &[u8], &[u8]); 9] = [
        (
            PacketType::Connack,
            0x20,
            b"\0",
            b"\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f",
        ),
        (PacketType::Puback, 0x40, b"\0\x01", b"\x00\x10\x80\x83\x87\x90\x91\x97\x99"),
        (PacketType::Pubrec, 0x50, b"\0\x01", b"\x00\x10\x80\x83\x87\x90\x91\x97\x99"),
        (PacketType::Pubrel, 0x62, b"\0\x01", b"\x00\x92"),
        (PacketType::Pubcomp, 0x70, b"\0\x01", b"\x00\x92"),
        (
            PacketType::Suback,
            0x90,
            b"\0\x01\0",
            b"\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2",
        ),
        (PacketType::Unsuback, 0xB0, b"\0\x01\0", b"\x00\x11\x80\x83\x87\x8f\x91"),
        (
            PacketType::Disconnect,
            0xE0,
            b"",
            b"\x00\x04\x80\x81\x82\x83\x87\x89\x8b\x8c\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2",
        ),
        (PacketType::Auth, 0xF0, b"", b"\x00\x18\x19"),
    ];
    for (packet, first, before, lawful) in cases {
        for byte in 0..=u8::MAX {
            let mut bytes = [before, &[byte]].concat();
            match packet {
                PacketType::Connack => bytes.push(0),
                PacketType::Auth => bytes.extend_from_slice(b"\x04\x15\0\x01m"),
                _ => {}
            }
            let read = body(V5, first, &bytes);
            if lawful.contains(&byte) {
                assert!(read.is_ok(), "{packet} {byte:#x}: {read:?}");
            } else {
                assert_eq!(read, code(packet, byte));
            }
        }
    }
}

#[test]
fn mqtt_3_4_2_2_2_reason_and_properties_may_be_left_off() {
    for bytes in [&b"\0\x01"[..], b"\0\x01\0", b"\0\x01\0\0"] {
        let Ok(Packet::Puback(read)) = body(V5, 0x40, bytes) else {
            panic!("{bytes:?} refused")
        };
        assert_eq!(read.reason, ReasonCode::Success);
    }
    assert_eq!(body(V5, 0xE0, b""), body(V5, 0xE0, b"\0"));
    assert_eq!(body(V5, 0xE0, b""), body(V5, 0xE0, b"\0\0"));
}
