//! CONNACK on the wire (section 3.2 of both standards).

use super::property::{Properties, PropertyId, write_block};
use super::reader::Reader;
use super::writer::Writer;
use super::{Connack, DecodeError, EncodeError, PacketType, ProtocolVersion, QoS, ReasonCode};

const SESSION_PRESENT: u8 = 0x01;

impl Connack {
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        let code = reader.u8()?;
        let reason = if version.is_v5() {
            ReasonCode::from_byte(code)
        } else {
            ReasonCode::from_return_code(code)
        };
        let reason = reason
            .filter(|reason| reason.is_for(PacketType::Connack))
            .ok_or(DecodeError::ReasonCode {
                packet: PacketType::Connack,
                code,
            })?;
        // MQTT 3.1 calls the whole byte unused.
        if flags & !SESSION_PRESENT != 0 && version != ProtocolVersion::V31 {
            return Err(DecodeError::ReservedFlag {
                packet: PacketType::Connack,
            });
        }
        let session_present = flags & SESSION_PRESENT != 0 && version != ProtocolVersion::V31;
        if session_present && reason.is_error() {
            return Err(DecodeError::SessionPresentRefused);
        }
        let mut connack = Self::new(reason, session_present);
        if version.is_v5() {
            connack.decode_properties(reader)?;
        }
        Ok(connack)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut properties = Properties::open(reader, PacketType::Connack)?;
        while let Some(id) = properties.next()? {
            match id {
                PropertyId::SessionExpiryInterval => self.session_expiry = Some(properties.u32()?),
                PropertyId::ReceiveMaximum => self.receive_maximum = properties.u16_above_zero()?,
                PropertyId::MaximumQoS => {
                    self.maximum_qos = if properties.flag()? {
                        QoS::AtLeastOnce
                    } else {
                        QoS::AtMostOnce
                    };
                }
                PropertyId::RetainAvailable => self.retain_available = properties.flag()?,
                PropertyId::MaximumPacketSize => {
                    self.maximum_packet_size = Some(properties.u32_above_zero()?);
                }
                PropertyId::AssignedClientIdentifier => {
                    self.assigned_client_id = Some(properties.string()?);
                }
                PropertyId::TopicAliasMaximum => self.topic_alias_maximum = properties.u16()?,
                PropertyId::ReasonString => self.reason_string = Some(properties.string()?),
                PropertyId::UserProperty => self.user_properties.push(properties.user_property()?),
                PropertyId::WildcardSubscriptionAvailable => {
                    self.wildcard_subscription_available = properties.flag()?;
                }
                PropertyId::SubscriptionIdentifiersAvailable => {
                    self.subscription_identifiers_available = properties.flag()?;
                }
                PropertyId::SharedSubscriptionAvailable => {
                    self.shared_subscription_available = properties.flag()?;
                }
                PropertyId::ServerKeepAlive => self.server_keep_alive = Some(properties.u16()?),
                PropertyId::ResponseInformation => {
                    self.response_information = Some(properties.string()?);
                }
                PropertyId::ServerReference => self.server_reference = Some(properties.string()?),
                PropertyId::AuthenticationMethod => {
                    self.authentication_method = Some(properties.string()?);
                }
                PropertyId::AuthenticationData => {
                    self.authentication_data = Some(properties.binary()?);
                }
                _ => return properties.not_allowed(),
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, version: ProtocolVersion, out: &mut dyn Writer) {
        if self.session_present && self.reason.is_error() {
            out.refuse(EncodeError::Forbidden {
                field: "session present in a refusal",
            });
        }
        let session_present = self.session_present && version != ProtocolVersion::V31;
        out.u8(u8::from(session_present));
        if version.is_v5() {
            out.reason(PacketType::Connack, self.reason);
            write_block(out, |out| {
                self.write_limits(out);
                self.write_texts(out);
            });
        } else {
            out.u8(self.reason.return_code());
        }
    }

    fn write_limits(&self, out: &mut dyn Writer) {
        let unless = |value, absent| (value != absent).then_some(value);
        out.property_u32(PropertyId::SessionExpiryInterval, self.session_expiry);
        out.property_u16_above_zero(
            PropertyId::ReceiveMaximum,
            "Receive Maximum",
            unless(self.receive_maximum, u16::MAX),
        );
        if self.maximum_qos != QoS::ExactlyOnce {
            // Its absence is QoS 2, so as a flag it has no default among 0 and 1.
            let at_least_once = self.maximum_qos == QoS::AtLeastOnce;
            out.property_flag(PropertyId::MaximumQoS, at_least_once, !at_least_once);
        }
        out.property_flag(PropertyId::RetainAvailable, self.retain_available, true);
        out.property_u32_above_zero(
            PropertyId::MaximumPacketSize,
            "Maximum Packet Size",
            self.maximum_packet_size,
        );
        out.property_u16(
            PropertyId::TopicAliasMaximum,
            unless(self.topic_alias_maximum, 0),
        );
        out.property_flag(
            PropertyId::WildcardSubscriptionAvailable,
            self.wildcard_subscription_available,
            true,
        );
        out.property_flag(
            PropertyId::SubscriptionIdentifiersAvailable,
            self.subscription_identifiers_available,
            true,
        );
        out.property_flag(
            PropertyId::SharedSubscriptionAvailable,
            self.shared_subscription_available,
            true,
        );
        out.property_u16(PropertyId::ServerKeepAlive, self.server_keep_alive);
    }

    fn write_texts(&self, out: &mut dyn Writer) {
        out.property_string(
            PropertyId::AssignedClientIdentifier,
            self.assigned_client_id.as_ref(),
        );
        out.property_string(PropertyId::ReasonString, self.reason_string.as_ref());
        out.property_string(
            PropertyId::ResponseInformation,
            self.response_information.as_ref(),
        );
        out.property_string(PropertyId::ServerReference, self.server_reference.as_ref());
        out.property_string(
            PropertyId::AuthenticationMethod,
            self.authentication_method.as_ref(),
        );
        out.property_binary(
            PropertyId::AuthenticationData,
            self.authentication_data.as_ref(),
        );
        out.user_properties(&self.user_properties);
    }
}
