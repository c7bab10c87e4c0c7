//! PUBACK, PUBREC, PUBREL and PUBCOMP on the wire (sections 3.4 to 3.7).
//!
//! Before MQTT 5 they are a packet id and nothing else. The reason is left out there: a 3.1.1 PUBACK always says that
//! the message was taken, so who refuses one must not send it.

use super::property::{Properties, PropertyId, write_block};
use super::reader::Reader;
use super::writer::Writer;
use super::{Acknowledge, DecodeError, PacketType, ProtocolVersion, ReasonCode};

impl Acknowledge {
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
        packet: PacketType,
    ) -> Result<Self, DecodeError> {
        let mut acknowledge = Self::new(reader.packet_id()?, ReasonCode::Success);
        if !version.is_v5() || reader.is_empty() {
            return Ok(acknowledge);
        }
        acknowledge.reason = reader.reason(packet)?;
        if reader.is_empty() {
            return Ok(acknowledge);
        }
        let mut properties = Properties::open(reader, packet)?;
        while let Some(id) = properties.next()? {
            match id {
                PropertyId::ReasonString => acknowledge.reason_string = Some(properties.string()?),
                PropertyId::UserProperty => {
                    acknowledge
                        .user_properties
                        .push(properties.user_property()?);
                }
                _ => return properties.not_allowed(),
            }
        }
        Ok(acknowledge)
    }

    pub(super) fn write(&self, packet: PacketType, version: ProtocolVersion, out: &mut dyn Writer) {
        out.packet_id(self.packet_id);
        if !version.is_v5() {
            return;
        }
        // Asked of the fields, not by measuring as elsewhere: every QoS 1 and 2 message passes here.
        let bare = self.reason_string.is_none() && self.user_properties.is_empty();
        if bare && self.reason == ReasonCode::Success {
            return;
        }
        out.reason(packet, self.reason);
        if !bare {
            write_block(out, |out| {
                out.property_string(PropertyId::ReasonString, self.reason_string.as_ref());
                out.user_properties(&self.user_properties);
            });
        }
    }
}
