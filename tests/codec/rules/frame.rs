//! The fixed header and the data types (MQTT 5 chapters 1 and 2).

use super::*;

#[test]
fn mqtt_1_5_5_a_length_takes_at_most_four_bytes() {
    for bytes in [&b"\xc0\xff\xff\xff\xff"[..], b"\xc0\x80\x80\x80\x80\x00"] {
        assert_eq!(read(V311, bytes), Err(DecodeError::RemainingLength));
    }
}

#[test]
fn mqtt_1_5_5_1_lengths_take_the_fewest_bytes_in_mqtt_5_only() {
    assert_eq!(
        read(V5, b"\xc0\x80\x00"),
        Err(DecodeError::LengthNotMinimal)
    );
    assert_eq!(read(V311, b"\xc0\x80\x00"), Ok(Packet::Pingreq));
    let property_length = publish_with_raw_block(b"\x80\x00");
    assert_eq!(property_length, Err(DecodeError::LengthNotMinimal));
    let subscription_id = publish_with(b"t", b"\x0b\x81\x00");
    assert_eq!(subscription_id, Err(DecodeError::LengthNotMinimal));
    let v5 = b"\x10\x8d\x00\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00";
    assert_eq!(read(None, v5), Err(DecodeError::LengthNotMinimal));
    let v311 = b"\x10\x8c\x00\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
    assert!(read(None, v311).is_ok());
}

fn publish_with_raw_block(block: &[u8]) -> Result<Packet, DecodeError> {
    body(V5, 0x30, &[b"\x00\x01t", block].concat())
}

#[test]
fn mqtt_2_1_2_packet_type_0_and_auth_before_mqtt_5_do_not_exist() {
    assert_eq!(read(V5, b"\x00\x00"), Err(DecodeError::ReservedPacketType));
    for version in [V31, V311] {
        let packet = PacketType::Auth;
        let expected = DecodeError::NotInVersion { packet, version };
        assert_eq!(read(version, b"\xf0\x00"), Err(expected));
    }
    assert!(read(V5, b"\xf0\x00").is_ok());
}

#[test]
fn mqtt_2_1_3_1_reserved_flags_are_as_the_table_says() {
    let expected = |number| if [6, 8, 10].contains(&number) { 2 } else { 0 };
    for number in (1..=15_u8).filter(|&number| number != 3) {
        for flags in (0..16).filter(|&flags| flags != expected(number)) {
            // The first byte is enough to know.
            let mut input = Bytes::from(vec![number << 4 | flags]);
            let refused = decode(&mut input, Some(V5), PACKET_BYTES_MAX);
            assert!(
                matches!(refused, Err(DecodeError::Flags { flags: it, .. }) if it == flags),
                "{number} {flags:04b}: {refused:?}"
            );
        }
    }
}

#[test]
fn mqtt_3_1_may_send_its_requests_again_with_dup() {
    for body_bytes in [
        &b"\x62\x00\x01"[..],
        b"\x82\x00\x01\x00\x01t\x00",
        b"\xa2\x00\x01\x00\x01t",
    ] {
        let (first, rest) = body_bytes.split_first().unwrap();
        assert!(body(V31, first | 0x08, rest).is_ok());
        assert!(matches!(
            body(V311, first | 0x08, rest),
            Err(DecodeError::Flags { .. })
        ));
    }
}

#[test]
fn mqtt_3_1_0_1_nothing_comes_before_connect() {
    let packet = PacketType::Pingreq;
    let refused = DecodeError::NotConnect { packet };
    assert_eq!(read(None, b"\xc0\x00"), Err(refused));
    assert_eq!(refused.reason(), ReasonCode::ProtocolError);
    // A web browser on the wrong port is known by its first byte.
    assert!(read(None, b"GET / HTTP/1.1\r\n\r\n").is_err());
}

#[test]
fn bytes_after_the_last_field_are_refused() {
    let cases: [(ProtocolVersion, PacketType, Vec<u8>); 8] = [
        (V5, PacketType::Pingreq, frame(0xC0, b"x")),
        (V5, PacketType::Pingresp, frame(0xD0, b"x")),
        (V311, PacketType::Puback, frame(0x40, b"\0\x01x")),
        (V5, PacketType::Puback, frame(0x40, b"\0\x01\0\0x")),
        (V311, PacketType::Connack, frame(0x20, b"\0\0x")),
        (V311, PacketType::Unsuback, frame(0xB0, b"\0\x01x")),
        (V311, PacketType::Disconnect, frame(0xE0, b"x")),
        (V5, PacketType::Disconnect, frame(0xE0, b"\0\0x")),
    ];
    for (version, packet, bytes) in cases {
        let count = 1;
        assert_eq!(
            read(version, &bytes),
            Err(DecodeError::TrailingBytes { packet, count })
        );
    }
    let trailing = connect(V311, 0x02, b"\0\x01c!");
    assert!(matches!(
        trailing,
        Err(DecodeError::TrailingBytes { count: 1, .. })
    ));
}

#[test]
fn mqtt_2_2_1_3_packet_identifier_0_is_refused() {
    for first in [0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0] {
        for version in ProtocolVersion::ALL {
            let refused = body(version, first, b"\0\0\0\0\0\0");
            assert_eq!(refused, Err(DecodeError::PacketIdZero), "{first:#x}");
        }
    }
    assert_eq!(
        body(V311, 0x32, b"\0\x01t\0\0"),
        Err(DecodeError::PacketIdZero)
    );
}

#[test]
fn mqtt_1_5_4_1_strings_are_well_formed_utf_8() {
    // An overlong form, a surrogate, half a character.
    for text in [&b"\xc0\xaf"[..], b"\xed\xa0\x80", b"\xe2\x82"] {
        let mut field = vec![0, u8::try_from(text.len()).unwrap()];
        field.extend_from_slice(text);
        let refused = Err(DecodeError::NotUtf8);
        assert_eq!(body(V311, 0x30, &field), refused);
        assert_eq!(connect(V311, 0x02, &field), refused);
        assert_eq!(body(V311, 0xA2, &[b"\0\x01", &field[..]].concat()), refused);
        assert_eq!(publish_with(b"t", &[b"\x03", &field[..]].concat()), refused);
    }
}

#[test]
fn mqtt_1_5_4_2_strings_have_no_null_character() {
    let refused = Err(DecodeError::NullCharacter);
    assert_eq!(body(V311, 0x30, b"\0\x03a\0b"), refused);
    assert_eq!(connect(V311, 0x02, b"\0\x01\0"), refused);
    assert_eq!(body(V5, 0x82, b"\0\x01\0\0\x01\0\0"), refused);
    assert_eq!(publish_with(b"t", b"\x26\0\x01k\0\x03v\0v"), refused);
    // Binary data may.
    assert!(publish_with(b"t", b"\x09\0\x01\0").is_ok());
}

#[test]
fn mqtt_1_5_4_3_a_byte_order_mark_is_a_character_like_others() {
    let Ok(Packet::Publish(publish)) = body(V311, 0x30, b"\0\x04\xef\xbb\xbft") else {
        panic!("refused")
    };
    assert_eq!(publish.topic.unwrap().as_str(), "\u{feff}t");
}

#[test]
fn a_field_that_goes_past_the_end_is_refused() {
    let refused = Err(DecodeError::Truncated);
    assert_eq!(body(V311, 0x30, b"\0\x05t"), refused);
    assert_eq!(body(V311, 0x32, b"\0\x01t\0"), refused);
    assert_eq!(body(V5, 0x30, b"\0\x01t"), refused);
    assert_eq!(body(V5, 0x30, b"\0\x01t\x05\x01"), refused);
    assert_eq!(publish_with(b"t", b"\x02\0\0\0"), refused);
    assert_eq!(connect(V311, 0x82, b"\0\x01c"), refused);
    assert_eq!(body(V311, 0x20, b"\0"), refused);
}
