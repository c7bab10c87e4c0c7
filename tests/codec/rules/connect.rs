//! CONNECT and CONNACK (MQTT 5 sections 3.1 and 3.2).

use super::*;

#[test]
fn mqtt_3_1_2_2_a_protocol_level_nobody_knows_is_told_apart() {
    for level in [0, 3, 6, 0x84] {
        let bytes = [&b"\x10\x0c\x00\x04MQTT"[..], &[level], b"\xff\0\x3c\0\0"].concat();
        let refused = DecodeError::UnsupportedVersion { level };
        assert_eq!(read(None, &bytes), Err(refused));
        assert_eq!(refused.reason(), ReasonCode::UnsupportedProtocolVersion);
        assert_eq!(refused.reason().return_code(), 1);
    }
    let old = b"\x10\x0e\x00\x06MQIsdp\x04\x02\0\x3c\0\0";
    assert_eq!(
        read(None, old),
        Err(DecodeError::UnsupportedVersion { level: 4 })
    );
}

#[test]
fn mqtt_3_1_2_1_the_protocol_name_is_mqtt() {
    for name in ["mqtt", "MQTX", "HTTP"] {
        let bytes = [b"\x10\x0c\x00\x04", name.as_bytes(), b"\x04\x02\0\x3c\0\0"].concat();
        assert_eq!(read(None, &bytes), Err(DecodeError::ProtocolName));
    }
}

#[test]
fn mqtt_3_1_2_3_the_reserved_connect_flag_is_0() {
    let packet = PacketType::Connect;
    let refused = Err(DecodeError::ReservedFlag { packet });
    assert_eq!(connect(V311, 0x03, b"\0\x01c"), refused);
    assert_eq!(connect(V5, 0x03, b"\0\0\x01c"), refused);
    assert!(connect(V31, 0x03, b"\0\x01c").is_ok());
}

#[test]
fn mqtt_3_1_2_11_will_flags_need_a_will() {
    for flags in [0x22, 0x0A, 0x12] {
        assert_eq!(
            connect(V311, flags, b"\0\x01c"),
            Err(DecodeError::WillFlags)
        );
        assert_eq!(
            connect(V5, flags, b"\0\0\x01c"),
            Err(DecodeError::WillFlags)
        );
    }
}

#[test]
fn mqtt_3_1_2_12_a_will_has_no_qos_3() {
    assert_eq!(
        connect(V311, 0x1E, b"\0\x01c\0\x01t\0\0"),
        Err(DecodeError::QoS)
    );
    let Ok(Packet::Connect(read)) = connect(V311, 0x36, b"\0\x01c\0\x01t\0\x02hi") else {
        panic!("refused")
    };
    let will = read.will.unwrap().message;
    assert_eq!((will.qos, will.retain), (QoS::ExactlyOnce, true));
    assert_eq!(&*will.payload, b"hi");
}

#[test]
fn mqtt_3_3_2_2_a_will_goes_to_a_topic_name() {
    let refused = Err(DecodeError::Topic(TopicError::WildcardInName));
    assert_eq!(connect(V311, 0x06, b"\0\x01c\0\x01#\0\0"), refused);
    let refused = Err(DecodeError::Topic(TopicError::Empty));
    assert_eq!(connect(V311, 0x06, b"\0\x01c\0\0\0\0"), refused);
}

#[test]
fn mqtt_3_1_2_22_before_mqtt_5_a_password_needs_a_user_name() {
    let refused = Err(DecodeError::PasswordWithoutUserName);
    assert_eq!(connect(V311, 0x42, b"\0\x01c\0\x01p"), refused);
    let Ok(Packet::Connect(read)) = connect(V5, 0x42, b"\0\0\x01c\0\x01p") else {
        panic!("refused")
    };
    assert_eq!(
        (
            read.user_name,
            read.password
                .as_ref()
                .map(|password| &password.expose()[..])
        ),
        (None, Some(&b"p"[..]))
    );
}

#[test]
fn mqtt_3_1_lets_announced_credentials_be_missing() {
    let Ok(Packet::Connect(read)) = connect(V31, 0xC2, b"\0\x01c") else {
        panic!("refused")
    };
    assert_eq!((read.user_name, read.password), (None, None));
    assert_eq!(connect(V311, 0xC2, b"\0\x01c"), Err(DecodeError::Truncated));
}

#[test]
fn mqtt_3_1_2_4_clean_session_decides_the_session_expiry_before_mqtt_5() {
    for (version, flags, seconds) in [(V311, 0x02, 0), (V311, 0, u32::MAX), (V31, 0, u32::MAX)] {
        let Ok(Packet::Connect(read)) = connect(version, flags, b"\0\x01c") else {
            panic!("refused")
        };
        assert_eq!(read.session_expiry, seconds);
    }
    let Ok(Packet::Connect(read)) = connect(V5, 0, b"\0\0\x01c") else {
        panic!("refused")
    };
    assert_eq!(read.session_expiry, 0);
}

#[test]
fn mqtt_3_1_3_8_an_empty_client_id_is_for_the_broker_to_judge() {
    assert!(connect(V311, 0, b"\0\0").is_ok());
    assert!(connect(V31, 0x02, &[b"\0\x20", &[b'c'; 32][..]].concat()).is_ok());
}

#[test]
fn mqtt_3_1_2_11_values_of_connect_properties() {
    assert_eq!(
        connect_with(b"\x21\0\0"),
        value(PropertyId::ReceiveMaximum, 0)
    );
    assert_eq!(
        connect_with(b"\x27\0\0\0\0"),
        value(PropertyId::MaximumPacketSize, 0)
    );
    assert_eq!(
        connect_with(b"\x19\x02"),
        value(PropertyId::RequestResponseInformation, 2)
    );
    assert_eq!(
        connect_with(b"\x17\x02"),
        value(PropertyId::RequestProblemInformation, 2)
    );
    assert!(connect_with(b"\x21\0\x01\x27\0\0\0\x01\x19\x01\x17\0\x22\0\0\x11\0\0\0\0").is_ok());
    assert_eq!(
        connect_with(b"\x16\0\x01d"),
        Err(DecodeError::AuthenticationDataAlone)
    );
    assert!(connect_with(b"\x16\0\x01d\x15\0\x01m").is_ok());
}

#[test]
fn mqtt_3_2_2_1_connack_flags() {
    let packet = PacketType::Connack;
    assert_eq!(
        body(V5, 0x20, b"\x02\0\0"),
        Err(DecodeError::ReservedFlag { packet })
    );
    assert_eq!(
        body(V311, 0x20, b"\x03\0"),
        Err(DecodeError::ReservedFlag { packet })
    );
    assert!(body(V31, 0x20, b"\x03\0").is_ok());
}

#[test]
fn mqtt_3_2_2_6_a_refusal_has_no_session() {
    assert_eq!(
        body(V5, 0x20, b"\x01\x87\0"),
        Err(DecodeError::SessionPresentRefused)
    );
    assert_eq!(
        body(V311, 0x20, b"\x01\x05"),
        Err(DecodeError::SessionPresentRefused)
    );
}

#[test]
fn mqtt_3_2_2_values_of_connack_properties() {
    assert_eq!(
        connack_with(b"\x21\0\0"),
        value(PropertyId::ReceiveMaximum, 0)
    );
    assert_eq!(
        connack_with(b"\x27\0\0\0\0"),
        value(PropertyId::MaximumPacketSize, 0)
    );
    assert_eq!(connack_with(b"\x24\x02"), value(PropertyId::MaximumQoS, 2));
    assert_eq!(
        connack_with(b"\x25\x02"),
        value(PropertyId::RetainAvailable, 2)
    );
    for byte in [0x28, 0x29, 0x2A] {
        assert!(matches!(
            connack_with(&[byte, 2]),
            Err(DecodeError::PropertyValue { value: 2, .. })
        ));
    }
}

#[test]
fn return_codes_of_3_1_1_are_read_and_written() {
    for code in 0..=5 {
        let Ok(Packet::Connack(read)) = body(V311, 0x20, &[0, code]) else {
            panic!("{code} refused")
        };
        assert_eq!(read.reason.return_code(), code);
    }
    assert_eq!(body(V311, 0x20, &[0, 6]), code(PacketType::Connack, 6));
    assert_eq!(ReasonCode::ServerBusy.return_code(), 3);
    assert_eq!(ReasonCode::Banned.return_code(), 5);
}
