//! SUBSCRIBE and SUBACK on the wire (sections 3.8 and 3.9).

use bytestring::ByteString;

use super::property::{Properties, PropertyId, write_block};
use super::reader::Reader;
use super::writer::Writer;
use super::{
    DecodeError, EncodeError, PacketType, ProtocolVersion, QoS, ReasonCode, RetainHandling, Suback,
    Subscribe, Subscription,
};

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_HANDLING_SHIFT: u8 = 4;
const RESERVED: u8 = 0xC0;
/// Before MQTT 5 all but the QoS is reserved.
const RESERVED_V3: u8 = 0xFC;
const SHARED: &str = "$share/";

impl Subscribe {
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let mut subscribe = Self {
            packet_id: reader.packet_id()?,
            subscriptions: Vec::new(),
            subscription_id: None,
            user_properties: Vec::new(),
        };
        if version.is_v5() {
            subscribe.decode_properties(reader)?;
        }
        while !reader.is_empty() {
            let subscription = Subscription::decode(reader, version)?;
            subscribe.subscriptions.push(subscription);
        }
        if subscribe.subscriptions.is_empty() {
            return Err(DecodeError::EmptyPayload {
                packet: PacketType::Subscribe,
            });
        }
        Ok(subscribe)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut properties = Properties::open(reader, PacketType::Subscribe)?;
        while let Some(id) = properties.next()? {
            match id {
                PropertyId::SubscriptionIdentifier if self.subscription_id.is_some() => {
                    return properties.twice();
                }
                PropertyId::SubscriptionIdentifier => {
                    self.subscription_id = Some(properties.subscription_id()?);
                }
                PropertyId::UserProperty => self.user_properties.push(properties.user_property()?),
                _ => return properties.not_allowed(),
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, version: ProtocolVersion, out: &mut dyn Writer) {
        if self.subscriptions.is_empty() {
            out.refuse(EncodeError::Forbidden {
                field: "a SUBSCRIBE without filters",
            });
        }
        out.packet_id(self.packet_id);
        if version.is_v5() {
            write_block(out, |out| {
                if let Some(id) = self.subscription_id {
                    out.property_subscription_id(id);
                }
                out.user_properties(&self.user_properties);
            });
        }
        for subscription in &self.subscriptions {
            out.string(&subscription.filter);
            out.u8(subscription.options(version));
        }
    }
}

impl Subscription {
    /// Asks for `filter` at `qos`, with the options that 3.1.1 implies.
    #[must_use]
    pub fn new(filter: ByteString, qos: QoS) -> Self {
        Self {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }

    fn decode(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let filter = reader.string()?;
        let options = reader.u8()?;
        let reserved = if version.is_v5() {
            RESERVED
        } else {
            RESERVED_V3
        };
        if options & reserved != 0 {
            return Err(DecodeError::SubscriptionOptions(options));
        }
        let mut subscription = Self::new(
            filter,
            QoS::from_bits(options & 0b11).ok_or(DecodeError::SubscriptionQoS)?,
        );
        subscription.no_local = options & NO_LOCAL != 0;
        subscription.retain_as_published = options & RETAIN_AS_PUBLISHED != 0;
        subscription.retain_handling = match options >> RETAIN_HANDLING_SHIFT {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::RetainHandling),
        };
        if subscription.no_local && subscription.filter.starts_with(SHARED) {
            return Err(DecodeError::NoLocalShared);
        }
        Ok(subscription)
    }

    fn options(&self, version: ProtocolVersion) -> u8 {
        let mut options = self.qos as u8;
        if version.is_v5() {
            options |= (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT;
            options |= if self.no_local { NO_LOCAL } else { 0 };
            options |= if self.retain_as_published {
                RETAIN_AS_PUBLISHED
            } else {
                0
            };
        }
        options
    }
}

impl Suback {
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let mut suback = Self {
            packet_id: reader.packet_id()?,
            reasons: Vec::new(),
            reason_string: None,
            user_properties: Vec::new(),
        };
        if version.is_v5() {
            let mut properties = Properties::open(reader, PacketType::Suback)?;
            while let Some(id) = properties.next()? {
                match id {
                    PropertyId::ReasonString => suback.reason_string = Some(properties.string()?),
                    PropertyId::UserProperty => {
                        suback.user_properties.push(properties.user_property()?);
                    }
                    _ => return properties.not_allowed(),
                }
            }
        }
        while !reader.is_empty() {
            let reason = reader.reason(PacketType::Suback)?;
            // 3.1.1 knows one refusal [MQTT-3.9.3-2].
            if !version.is_v5() && reason.is_error() && reason != ReasonCode::UnspecifiedError {
                return Err(DecodeError::ReasonCode {
                    packet: PacketType::Suback,
                    code: reason.byte(),
                });
            }
            suback.reasons.push(reason);
        }
        if suback.reasons.is_empty() {
            return Err(DecodeError::EmptyPayload {
                packet: PacketType::Suback,
            });
        }
        Ok(suback)
    }

    pub(super) fn write(&self, version: ProtocolVersion, out: &mut dyn Writer) {
        if self.reasons.is_empty() {
            out.refuse(EncodeError::Forbidden {
                field: "a SUBACK without reason codes",
            });
        }
        out.packet_id(self.packet_id);
        if version.is_v5() {
            write_block(out, |out| {
                out.property_string(PropertyId::ReasonString, self.reason_string.as_ref());
                out.user_properties(&self.user_properties);
            });
        }
        for &reason in &self.reasons {
            if !version.is_v5() && reason.is_error() {
                out.u8(ReasonCode::UnspecifiedError.byte());
            } else {
                out.reason(PacketType::Suback, reason);
            }
        }
    }
}
