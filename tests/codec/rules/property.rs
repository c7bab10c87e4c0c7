//! Which properties stand where, and how often (MQTT 5 section 2.2.2).

use super::*;

#[test]
fn mqtt_5_section_2_2_2_2_unknown_properties_are_malformed() {
    for byte in [0x00, 0x04, 0x0A, 0x10, 0x2B, 0x7F, 0x80, 0xFF] {
        let refused = DecodeError::UnknownProperty(byte);
        assert_eq!(publish_with(b"t", &[byte, 1, 0]), Err(refused));
        assert_eq!(refused.reason(), ReasonCode::MalformedPacket);
    }
}

/// Every identifier with a lawful value.
const PROPERTIES: [(PropertyId, &[u8]); 27] = [
    (PropertyId::PayloadFormatIndicator, b"\x01\x01"),
    (PropertyId::MessageExpiryInterval, b"\x02\0\0\0\x01"),
    (PropertyId::ContentType, b"\x03\0\x01a"),
    (PropertyId::ResponseTopic, b"\x08\0\x01a"),
    (PropertyId::CorrelationData, b"\x09\0\x01a"),
    (PropertyId::SubscriptionIdentifier, b"\x0b\x01"),
    (PropertyId::SessionExpiryInterval, b"\x11\0\0\0\x01"),
    (PropertyId::AssignedClientIdentifier, b"\x12\0\x01a"),
    (PropertyId::ServerKeepAlive, b"\x13\0\x01"),
    (PropertyId::AuthenticationMethod, b"\x15\0\x01a"),
    (PropertyId::AuthenticationData, b"\x16\0\x01a"),
    (PropertyId::RequestProblemInformation, b"\x17\x01"),
    (PropertyId::WillDelayInterval, b"\x18\0\0\0\x01"),
    (PropertyId::RequestResponseInformation, b"\x19\x01"),
    (PropertyId::ResponseInformation, b"\x1a\0\x01a"),
    (PropertyId::ServerReference, b"\x1c\0\x01a"),
    (PropertyId::ReasonString, b"\x1f\0\x01a"),
    (PropertyId::ReceiveMaximum, b"\x21\0\x01"),
    (PropertyId::TopicAliasMaximum, b"\x22\0\x01"),
    (PropertyId::TopicAlias, b"\x23\0\x01"),
    (PropertyId::MaximumQoS, b"\x24\x01"),
    (PropertyId::RetainAvailable, b"\x25\x01"),
    (PropertyId::UserProperty, b"\x26\0\x01a\0\x01b"),
    (PropertyId::MaximumPacketSize, b"\x27\0\0\0\x01"),
    (PropertyId::WildcardSubscriptionAvailable, b"\x28\x01"),
    (PropertyId::SubscriptionIdentifiersAvailable, b"\x29\x01"),
    (PropertyId::SharedSubscriptionAvailable, b"\x2a\x01"),
];

/// A packet with the one property block it has, and what may stand in it (table 2-4).
struct Carrier {
    name: &'static str,
    packet: PacketType,
    first: u8,
    before: &'static [u8],
    after: &'static [u8],
    /// Goes with each property where the packet needs it.
    needs: &'static [u8],
    allowed: &'static [u8],
}

const CARRIERS: [Carrier; 14] = [
    Carrier {
        name: "CONNECT",
        packet: PacketType::Connect,
        first: 0x10,
        before: b"\0\x04MQTT\x05\x02\0\0",
        after: b"\0\x01c",
        needs: b"",
        allowed: b"\x11\x15\x17\x19\x21\x22\x26\x27",
    },
    Carrier {
        name: "Will",
        packet: PacketType::Connect,
        first: 0x10,
        before: b"\0\x04MQTT\x05\x06\0\0\0\0\x01c",
        after: b"\0\x01t\0\0",
        needs: b"",
        allowed: b"\x01\x02\x03\x08\x09\x18\x26",
    },
    Carrier {
        name: "CONNACK",
        packet: PacketType::Connack,
        first: 0x20,
        before: b"\0\0",
        after: b"",
        needs: b"",
        allowed: b"\x11\x12\x13\x15\x16\x1a\x1c\x1f\x21\x22\x24\x25\x26\x27\x28\x29\x2a",
    },
    Carrier {
        name: "PUBLISH",
        packet: PacketType::Publish,
        first: 0x30,
        before: b"\0\x01t",
        after: b"payload",
        needs: b"",
        allowed: b"\x01\x02\x03\x08\x09\x0b\x23\x26",
    },
    answer("PUBACK", PacketType::Puback, 0x40, b"\0\x01\0", b""),
    answer("PUBREC", PacketType::Pubrec, 0x50, b"\0\x01\0", b""),
    answer("PUBREL", PacketType::Pubrel, 0x62, b"\0\x01\0", b""),
    answer("PUBCOMP", PacketType::Pubcomp, 0x70, b"\0\x01\0", b""),
    Carrier {
        name: "SUBSCRIBE",
        packet: PacketType::Subscribe,
        first: 0x82,
        before: b"\0\x01",
        after: b"\0\x01t\0",
        needs: b"",
        allowed: b"\x0b\x26",
    },
    answer("SUBACK", PacketType::Suback, 0x90, b"\0\x01", b"\0"),
    Carrier {
        name: "UNSUBSCRIBE",
        packet: PacketType::Unsubscribe,
        first: 0xA2,
        before: b"\0\x01",
        after: b"\0\x01t",
        needs: b"",
        allowed: b"\x26",
    },
    answer("UNSUBACK", PacketType::Unsuback, 0xB0, b"\0\x01", b"\0"),
    Carrier {
        name: "DISCONNECT",
        packet: PacketType::Disconnect,
        first: 0xE0,
        before: b"\0",
        after: b"",
        needs: b"",
        allowed: b"\x11\x1c\x1f\x26",
    },
    Carrier {
        name: "AUTH",
        packet: PacketType::Auth,
        first: 0xF0,
        before: b"\x18",
        after: b"",
        needs: b"\x15\0\x01m",
        allowed: b"\x16\x1f\x26",
    },
];

const fn answer(
    name: &'static str,
    packet: PacketType,
    first: u8,
    before: &'static [u8],
    after: &'static [u8],
) -> Carrier {
    Carrier {
        name,
        packet,
        first,
        before,
        after,
        needs: b"",
        allowed: b"\x1f\x26",
    }
}

impl Carrier {
    fn read(&self, properties: &[u8]) -> Result<Packet, DecodeError> {
        let mut bytes = self.before.to_vec();
        bytes.push(u8::try_from(self.needs.len() + properties.len()).unwrap());
        bytes.extend_from_slice(self.needs);
        bytes.extend_from_slice(properties);
        bytes.extend_from_slice(self.after);
        let version = Some(V5).filter(|_| self.packet != PacketType::Connect);
        read(version, &frame(self.first, &bytes))
    }
}

#[test]
fn mqtt_5_section_2_2_2_2_each_packet_carries_its_own_properties_only() {
    for carrier in &CARRIERS {
        for (property, bytes) in PROPERTIES {
            let (name, packet) = (carrier.name, carrier.packet);
            // Each of these two is lawful in a way of its own, tested elsewhere.
            let alone = packet == PacketType::Connect && property == PropertyId::AuthenticationData;
            let needed = carrier.needs.first() == bytes.first();
            if needed || alone && name == "CONNECT" {
                continue;
            }
            let read = carrier.read(bytes);
            if carrier.allowed.contains(&bytes[0]) {
                assert!(read.is_ok(), "{name}: {property}: {read:?}");
            } else {
                assert_eq!(read, not_allowed(packet, property), "{name}");
            }
        }
    }
}

#[test]
fn mqtt_5_section_2_2_2_2_a_single_property_comes_once() {
    for carrier in &CARRIERS {
        for (property, bytes) in PROPERTIES {
            if !carrier.allowed.contains(&bytes[0]) {
                continue;
            }
            let read = carrier.read(&[bytes, bytes].concat());
            let many = property == PropertyId::UserProperty
                || property == PropertyId::SubscriptionIdentifier && carrier.first == 0x30;
            if many {
                assert!(read.is_ok(), "{}: {property}", carrier.name);
            } else {
                assert_eq!(read, twice(property), "{}", carrier.name);
            }
        }
    }
    assert_eq!(
        DecodeError::PropertyTwice {
            property: PropertyId::TopicAlias
        }
        .reason(),
        ReasonCode::ProtocolError
    );
}
