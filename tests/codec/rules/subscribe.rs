//! SUBSCRIBE, UNSUBSCRIBE, their answers, and AUTH (MQTT 5 sections 3.8 to 3.11 and 3.15).

use super::*;

#[test]
fn mqtt_3_8_3_2_requests_name_at_least_one_filter() {
    let empty = |packet| Err(DecodeError::EmptyPayload { packet });
    assert_eq!(body(V5, 0x82, b"\0\x01\0"), empty(PacketType::Subscribe));
    assert_eq!(body(V311, 0x82, b"\0\x01"), empty(PacketType::Subscribe));
    assert_eq!(body(V5, 0xA2, b"\0\x01\0"), empty(PacketType::Unsubscribe));
    assert_eq!(body(V311, 0xA2, b"\0\x01"), empty(PacketType::Unsubscribe));
    assert_eq!(body(V5, 0x90, b"\0\x01\0"), empty(PacketType::Suback));
    assert_eq!(body(V5, 0xB0, b"\0\x01\0"), empty(PacketType::Unsuback));
    assert!(body(V311, 0xB0, b"\0\x01").is_ok());
}

#[test]
fn mqtt_3_8_3_5_subscription_options() {
    let options = |version: ProtocolVersion, options: u8| {
        let properties: &[u8] = if version == V5 { b"\0" } else { b"" };
        body(
            version,
            0x82,
            &[b"\0\x01", properties, b"\0\x01t", &[options]].concat(),
        )
    };
    for reserved in [0x40, 0x80, 0xC1] {
        assert_eq!(
            options(V5, reserved),
            Err(DecodeError::SubscriptionOptions(reserved))
        );
    }
    assert_eq!(options(V5, 0x30), Err(DecodeError::RetainHandling));
    assert_eq!(options(V5, 0x03), Err(DecodeError::SubscriptionQoS));
    assert_eq!(
        DecodeError::SubscriptionQoS.reason(),
        ReasonCode::ProtocolError
    );
    assert!(options(V5, 0x2E).is_ok());
    for reserved in [0x04, 0x08, 0x10, 0x20] {
        assert_eq!(
            options(V311, reserved),
            Err(DecodeError::SubscriptionOptions(reserved))
        );
    }
    assert_eq!(options(V311, 0x03), Err(DecodeError::SubscriptionQoS));
}

#[test]
fn mqtt_3_8_3_4_a_shared_subscription_cannot_be_no_local() {
    let refused = body(V5, 0x82, b"\0\x01\0\0\x0a$share/g/t\x04");
    assert_eq!(refused, Err(DecodeError::NoLocalShared));
    assert!(body(V5, 0x82, b"\0\x01\0\0\x0a$share/g/t\0").is_ok());
}

#[test]
fn mqtt_3_8_2_1_2_a_subscription_identifier_is_above_0() {
    let zero = body(V5, 0x82, b"\0\x01\x02\x0b\0\0\x01t\0");
    assert_eq!(zero, value(PropertyId::SubscriptionIdentifier, 0));
    let largest = body(V5, 0x82, b"\0\x01\x05\x0b\xff\xff\xff\x7f\0\x01t\0");
    let Ok(Packet::Subscribe(read)) = largest else {
        panic!("refused")
    };
    assert_eq!(read.subscription_id, Some(268_435_455));
}

#[test]
fn mqtt_4_7_1_a_bad_filter_is_kept_for_the_suback() {
    for filter in ["a#", "+a", "#/a", ""] {
        let mut bytes = vec![0, 1, 0, u8::try_from(filter.len()).unwrap()];
        bytes.extend_from_slice(filter.as_bytes());
        bytes.push(0);
        let Ok(Packet::Subscribe(read)) = body(V311, 0x82, &bytes) else {
            panic!("{filter} refused")
        };
        assert_eq!(read.subscriptions[0].filter, filter);
    }
}

#[test]
fn mqtt_3_9_3_2_a_suback_of_3_1_1_knows_one_refusal() {
    assert!(body(V311, 0x90, b"\0\x01\x00\x01\x02\x80").is_ok());
    assert_eq!(
        body(V311, 0x90, b"\0\x01\x87"),
        code(PacketType::Suback, 0x87)
    );
    assert_eq!(
        body(V311, 0x90, b"\0\x01\x03"),
        code(PacketType::Suback, 0x03)
    );
}

#[test]
fn mqtt_3_15_2_2_2_auth_names_its_method() {
    assert!(body(V5, 0xF0, b"").is_ok());
    assert_eq!(
        body(V5, 0xF0, b"\x18\0"),
        Err(DecodeError::AuthenticationMethodMissing)
    );
    assert_eq!(body(V5, 0xF0, b"\0"), Err(DecodeError::Truncated));
    assert!(body(V5, 0xF0, b"\x18\x04\x15\0\x01m").is_ok());
}
