//! UNSUBSCRIBE and UNSUBACK on the wire (sections 3.10 and 3.11).

use super::property::{Properties, PropertyId, write_block};
use super::reader::Reader;
use super::writer::Writer;
use super::{DecodeError, EncodeError, PacketType, ProtocolVersion, Unsuback, Unsubscribe};

impl Unsubscribe {
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let mut unsubscribe = Self {
            packet_id: reader.packet_id()?,
            filters: Vec::new(),
            user_properties: Vec::new(),
        };
        if version.is_v5() {
            let mut properties = Properties::open(reader, PacketType::Unsubscribe)?;
            while let Some(id) = properties.next()? {
                if id != PropertyId::UserProperty {
                    return properties.not_allowed();
                }
                unsubscribe
                    .user_properties
                    .push(properties.user_property()?);
            }
        }
        while !reader.is_empty() {
            unsubscribe.filters.push(reader.string()?);
        }
        if unsubscribe.filters.is_empty() {
            return Err(DecodeError::EmptyPayload {
                packet: PacketType::Unsubscribe,
            });
        }
        Ok(unsubscribe)
    }

    pub(super) fn write(&self, version: ProtocolVersion, out: &mut dyn Writer) {
        if self.filters.is_empty() {
            out.refuse(EncodeError::Forbidden {
                field: "an UNSUBSCRIBE without filters",
            });
        }
        out.packet_id(self.packet_id);
        if version.is_v5() {
            write_block(out, |out| out.user_properties(&self.user_properties));
        }
        for filter in &self.filters {
            out.string(filter);
        }
    }
}

impl Unsuback {
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let mut unsuback = Self {
            packet_id: reader.packet_id()?,
            reasons: Vec::new(),
            reason_string: None,
            user_properties: Vec::new(),
        };
        if !version.is_v5() {
            return Ok(unsuback);
        }
        let mut properties = Properties::open(reader, PacketType::Unsuback)?;
        while let Some(id) = properties.next()? {
            match id {
                PropertyId::ReasonString => unsuback.reason_string = Some(properties.string()?),
                PropertyId::UserProperty => {
                    unsuback.user_properties.push(properties.user_property()?);
                }
                _ => return properties.not_allowed(),
            }
        }
        while !reader.is_empty() {
            unsuback.reasons.push(reader.reason(PacketType::Unsuback)?);
        }
        if unsuback.reasons.is_empty() {
            return Err(DecodeError::EmptyPayload {
                packet: PacketType::Unsuback,
            });
        }
        Ok(unsuback)
    }

    pub(super) fn write(&self, version: ProtocolVersion, out: &mut dyn Writer) {
        out.packet_id(self.packet_id);
        if !version.is_v5() {
            return;
        }
        if self.reasons.is_empty() {
            out.refuse(EncodeError::Forbidden {
                field: "an UNSUBACK without reason codes",
            });
        }
        write_block(out, |out| {
            out.property_string(PropertyId::ReasonString, self.reason_string.as_ref());
            out.user_properties(&self.user_properties);
        });
        for &reason in &self.reasons {
            out.reason(PacketType::Unsuback, reason);
        }
    }
}
