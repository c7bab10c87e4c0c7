//! Packets to bytes.

use bytes::{BufMut, BytesMut};
use bytestring::ByteString;

use super::header::{REMAINING_LENGTH_MAX, variable_byte_integer_len};
use super::writer::{Writer, measure};
use super::{EncodeError, Packet, PacketType, ProtocolVersion, UserProperties};

impl Packet {
    /// Its kind.
    #[must_use]
    pub fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet to `out`. `version` is that of the connection; a CONNECT has its own. What the version cannot
    /// say is left out: properties, reason strings, the reasons of PUBACK to PUBCOMP, session present in 3.1. A property
    /// that says what its absence says is left out too, and so is a trailing Success without properties.
    ///
    /// # Errors
    /// A packet that would be understood wrongly without what its version cannot say (AUTH, a DISCONNECT with a reason,
    /// a PUBLISH without its topic), or that the standard forbids. Nothing is written then.
    pub fn encode(&self, version: ProtocolVersion, out: &mut BytesMut) -> Result<(), EncodeError> {
        let remaining = self.remaining_length(version)?;
        out.reserve(5 + remaining);
        out.put_u8(self.first_byte());
        Writer::variable_byte_integer(out, remaining);
        self.write_body(version, out);
        Ok(())
    }

    /// How many bytes [`Self::encode`] appends.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        let remaining = self.remaining_length(version)?;
        let length_bytes = u32::try_from(remaining).map_or(4, variable_byte_integer_len);
        Ok(1 + length_bytes + remaining)
    }

    /// Takes the User Properties and then the Reason String out of an answer, as far as is needed for it to fit the
    /// receiver's Maximum Packet Size ([MQTT-3.2.2-19], [MQTT-3.4.2-2] and their like). False where it still does not
    /// fit, or cannot be encoded; it must not be sent then [MQTT-3.1.2-24].
    #[must_use]
    pub fn fit(&mut self, version: ProtocolVersion, packet_size_max: u32) -> bool {
        if self.fits(version, packet_size_max) {
            return true;
        }
        let Some((_, user_properties)) = self.diagnostics() else {
            return false;
        };
        user_properties.clear();
        if self.fits(version, packet_size_max) {
            return true;
        }
        if let Some((reason_string, _)) = self.diagnostics() {
            *reason_string = None;
        }
        self.fits(version, packet_size_max)
    }

    fn fits(&self, version: ProtocolVersion, packet_size_max: u32) -> bool {
        self.encoded_len(version)
            .is_ok_and(|len| len <= packet_size_max as usize)
    }

    /// The fields that an answer can do without.
    fn diagnostics(&mut self) -> Option<(&mut Option<ByteString>, &mut UserProperties)> {
        match self {
            Self::Connack(it) => Some((&mut it.reason_string, &mut it.user_properties)),
            Self::Puback(it) | Self::Pubrec(it) | Self::Pubrel(it) | Self::Pubcomp(it) => {
                Some((&mut it.reason_string, &mut it.user_properties))
            }
            Self::Suback(it) => Some((&mut it.reason_string, &mut it.user_properties)),
            Self::Unsuback(it) => Some((&mut it.reason_string, &mut it.user_properties)),
            Self::Disconnect(it) => Some((&mut it.reason_string, &mut it.user_properties)),
            Self::Auth(it) => Some((&mut it.reason_string, &mut it.user_properties)),
            Self::Connect(_)
            | Self::Publish(_)
            | Self::Subscribe(_)
            | Self::Unsubscribe(_)
            | Self::Pingreq
            | Self::Pingresp => None,
        }
    }

    fn remaining_length(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        let len = measure(|out| self.write_body(version, out))?;
        if len > REMAINING_LENGTH_MAX as usize {
            return Err(EncodeError::PacketTooLarge { len });
        }
        Ok(len)
    }

    fn first_byte(&self) -> u8 {
        match self {
            Self::Publish(publish) => publish.first_byte(),
            other => other.packet_type().first_byte(),
        }
    }

    fn write_body(&self, version: ProtocolVersion, out: &mut dyn Writer) {
        match self {
            Self::Connect(it) => it.write(out),
            Self::Connack(it) => it.write(version, out),
            Self::Publish(it) => it.write(version, out),
            Self::Puback(it) | Self::Pubrec(it) | Self::Pubrel(it) | Self::Pubcomp(it) => {
                it.write(self.packet_type(), version, out);
            }
            Self::Subscribe(it) => it.write(version, out),
            Self::Suback(it) => it.write(version, out),
            Self::Unsubscribe(it) => it.write(version, out),
            Self::Unsuback(it) => it.write(version, out),
            Self::Pingreq | Self::Pingresp => {}
            Self::Disconnect(it) => it.write(version, out),
            Self::Auth(it) => it.write(version, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::ProtocolVersion::{V5, V31, V311};
    use crate::mqtt::{
        Acknowledge, Auth, Connack, Connect, Disconnect, Message, PacketId, QoS, ReasonCode,
        Suback, Subscribe, Subscription, Unsuback, Unsubscribe,
    };
    use crate::topic::TopicName;

    fn id() -> PacketId {
        PacketId::new(7).unwrap()
    }

    fn encoded(packet: &Packet, version: ProtocolVersion) -> Result<Vec<u8>, EncodeError> {
        let mut out = BytesMut::new();
        let done = packet.encode(version, &mut out);
        assert_eq!(done.is_err(), out.is_empty(), "nothing is written on error");
        assert_eq!(packet.encoded_len(version), done.map(|()| out.len()));
        done.map(|()| out.to_vec())
    }

    fn forbidden(packet: &Packet, version: ProtocolVersion) -> &'static str {
        match encoded(packet, version) {
            Err(EncodeError::Forbidden { field }) => field,
            other => panic!("{other:?}"),
        }
    }

    fn suback(reasons: Vec<ReasonCode>) -> Packet {
        Packet::Suback(Suback {
            packet_id: id(),
            reasons,
            reason_string: None,
            user_properties: Vec::new(),
        })
    }

    #[test]
    fn mqtt_3_4_2_1_success_without_properties_is_left_off() {
        let cases = [
            (ReasonCode::Success, &b"\x40\x02\0\x07"[..]),
            (ReasonCode::NoMatchingSubscribers, b"\x40\x03\0\x07\x10"),
        ];
        for (reason, bytes) in cases {
            let puback = Packet::Puback(Acknowledge::new(id(), reason));
            assert_eq!(encoded(&puback, V5).unwrap(), bytes);
            assert_eq!(encoded(&puback, V311).unwrap(), b"\x40\x02\0\x07");
        }
        let leaves = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
        assert_eq!(encoded(&leaves, V5).unwrap(), b"\xe0\0");
        let full = Packet::Disconnect(Disconnect::new(ReasonCode::QuotaExceeded));
        assert_eq!(encoded(&full, V5).unwrap(), b"\xe0\x01\x97");
        let done = Packet::Auth(Auth::new(ReasonCode::Success));
        assert_eq!(encoded(&done, V5).unwrap(), b"\xf0\0");
    }

    #[test]
    fn what_a_version_would_misunderstand_is_refused() {
        for version in [V31, V311] {
            for packet in [
                Packet::Auth(Auth::new(ReasonCode::Success)),
                Packet::Disconnect(Disconnect::new(ReasonCode::ServerShuttingDown)),
            ] {
                let packet_type = packet.packet_type();
                let refused = EncodeError::NotInVersion {
                    packet: packet_type,
                    version,
                };
                assert_eq!(encoded(&packet, version), Err(refused));
            }
            let leaves = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
            assert_eq!(encoded(&leaves, version).unwrap(), b"\xe0\0");
        }
    }

    #[test]
    fn before_mqtt_5_refusals_become_the_nearest_return_code() {
        let refused = Packet::Connack(Box::new(Connack::new(ReasonCode::QuotaExceeded, false)));
        assert_eq!(encoded(&refused, V311).unwrap(), b"\x20\x02\0\x03");
        let resumed = Packet::Connack(Box::new(Connack::new(ReasonCode::Success, true)));
        assert_eq!(encoded(&resumed, V311).unwrap(), b"\x20\x02\x01\0");
        assert_eq!(encoded(&resumed, V31).unwrap(), b"\x20\x02\0\0");
        let mixed = suback(vec![ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized]);
        assert_eq!(encoded(&mixed, V311).unwrap(), b"\x90\x04\0\x07\x01\x80");
    }

    #[test]
    fn what_a_decoder_would_refuse_is_not_written() {
        let message = Message::new(
            TopicName::try_from("t").unwrap(),
            Bytes::new(),
            QoS::AtLeastOnce,
            false,
        );
        let publish = message.clone().into_publish(None);
        forbidden(&Packet::Publish(publish), V5);
        let at_most_once = crate::mqtt::Publish {
            qos: QoS::AtMostOnce,
            ..message.clone().into_publish(Some(id()))
        };
        forbidden(&Packet::Publish(at_most_once), V311);
        let mut alias = message.into_publish(Some(id()));
        alias.topic_alias = Some(0);
        assert_eq!(
            forbidden(&Packet::Publish(alias.clone()), V5),
            "Topic Alias"
        );
        (alias.topic, alias.topic_alias) = (None, Some(1));
        forbidden(&Packet::Publish(alias.clone()), V311);
        assert!(encoded(&Packet::Publish(alias), V5).is_ok());

        forbidden(&suback(Vec::new()), V311);
        let subscribe = Subscribe {
            packet_id: id(),
            subscriptions: Vec::new(),
            subscription_id: None,
            user_properties: Vec::new(),
        };
        forbidden(&Packet::Subscribe(subscribe.clone()), V311);
        let zero = Subscribe {
            subscriptions: vec![Subscription::new(ByteString::from("t"), QoS::AtMostOnce)],
            subscription_id: Some(0),
            ..subscribe
        };
        forbidden(&Packet::Subscribe(zero), V5);
        let unsubscribe = Unsubscribe {
            packet_id: id(),
            filters: Vec::new(),
            user_properties: Vec::new(),
        };
        forbidden(&Packet::Unsubscribe(unsubscribe), V311);
        let unsuback = Packet::Unsuback(Unsuback {
            packet_id: id(),
            reasons: Vec::new(),
            reason_string: None,
            user_properties: Vec::new(),
        });
        forbidden(&unsuback, V5);
        assert_eq!(encoded(&unsuback, V311).unwrap(), b"\xb0\x02\0\x07");
    }

    #[test]
    fn a_connect_or_connack_that_a_decoder_would_refuse_is_not_written() {
        let mut connect = Connect::new(V311, ByteString::from("c"));
        connect.password = Some(Bytes::from_static(b"p").into());
        forbidden(&Packet::Connect(Box::new(connect.clone())), V311);
        connect.version = V5;
        assert!(encoded(&Packet::Connect(Box::new(connect.clone())), V5).is_ok());
        connect.receive_maximum = 0;
        forbidden(&Packet::Connect(Box::new(connect)), V5);

        let resumed = Connack::new(ReasonCode::NotAuthorized, true);
        forbidden(&Packet::Connack(Box::new(resumed)), V5);
        let odd = Connack::new(ReasonCode::SessionTakenOver, false);
        let refused = EncodeError::ReasonCode {
            packet: PacketType::Connack,
            reason: ReasonCode::SessionTakenOver,
        };
        assert_eq!(encoded(&Packet::Connack(Box::new(odd)), V5), Err(refused));
    }

    #[test]
    fn strings_that_the_protocol_cannot_carry_are_refused() {
        let with = |text: String| {
            let mut puback = Acknowledge::new(id(), ReasonCode::Success);
            puback.reason_string = Some(ByteString::from(text));
            encoded(&Packet::Puback(puback), V5)
        };
        assert!(with("x".repeat(65_535)).is_ok());
        let len = 65_536;
        assert_eq!(
            with("x".repeat(len)),
            Err(EncodeError::FieldTooLong { len })
        );
        assert_eq!(with("a\0b".into()), Err(EncodeError::NullCharacter));
    }

    #[test]
    fn mqtt_3_2_2_19_an_answer_sheds_what_does_not_fit() {
        let mut puback = Acknowledge::new(id(), ReasonCode::QuotaExceeded);
        puback.reason_string = Some(ByteString::from("full"));
        puback.user_properties = vec![(ByteString::from("k"), ByteString::from("v"))];
        let whole = Packet::Puback(puback);
        // 6 with the lengths, 7 of Reason String, 7 of User Property.
        let fit = |limit: u32| {
            let mut packet = whole.clone();
            packet.fit(V5, limit).then(|| match packet {
                Packet::Puback(it) => (it.reason_string.is_some(), it.user_properties.len()),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(fit(20), Some((true, 1)));
        assert_eq!(fit(19), Some((true, 0)));
        assert_eq!(fit(13), Some((true, 0)));
        assert_eq!(fit(12), Some((false, 0)));
        assert_eq!(fit(5), Some((false, 0)));
        assert_eq!(fit(4), None);
        assert!(!Packet::Pingreq.fit(V5, 1));
    }
}
