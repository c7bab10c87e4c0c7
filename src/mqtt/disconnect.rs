//! DISCONNECT and AUTH on the wire (sections 3.14 and 3.15).
//!
//! Before MQTT 5 a DISCONNECT has no body and comes from the client only: it says "I leave, forget my will". So a
//! DISCONNECT with any reason but Normal disconnection is refused by the encoder there; such a connection is just closed.

use super::property::{Properties, PropertyId, is_empty, write_block};
use super::reader::Reader;
use super::writer::Writer;
use super::{Auth, DecodeError, Disconnect, EncodeError, PacketType, ProtocolVersion, ReasonCode};

impl Disconnect {
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let mut disconnect = Self::new(ReasonCode::Success);
        if !version.is_v5() || reader.is_empty() {
            return Ok(disconnect);
        }
        disconnect.reason = reader.reason(PacketType::Disconnect)?;
        if reader.is_empty() {
            return Ok(disconnect);
        }
        let mut properties = Properties::open(reader, PacketType::Disconnect)?;
        while let Some(id) = properties.next()? {
            match id {
                PropertyId::SessionExpiryInterval => {
                    disconnect.session_expiry = Some(properties.u32()?);
                }
                PropertyId::ReasonString => disconnect.reason_string = Some(properties.string()?),
                PropertyId::UserProperty => {
                    disconnect.user_properties.push(properties.user_property()?);
                }
                PropertyId::ServerReference => {
                    disconnect.server_reference = Some(properties.string()?);
                }
                _ => return properties.not_allowed(),
            }
        }
        Ok(disconnect)
    }

    pub(super) fn write(&self, version: ProtocolVersion, out: &mut dyn Writer) {
        if !version.is_v5() {
            if self.reason != ReasonCode::Success {
                out.refuse(EncodeError::NotInVersion {
                    packet: PacketType::Disconnect,
                    version,
                });
            }
            return;
        }
        let properties = |out: &mut dyn Writer| {
            out.property_u32(PropertyId::SessionExpiryInterval, self.session_expiry);
            out.property_string(PropertyId::ReasonString, self.reason_string.as_ref());
            out.property_string(PropertyId::ServerReference, self.server_reference.as_ref());
            out.user_properties(&self.user_properties);
        };
        let bare = is_empty(properties);
        if bare && self.reason == ReasonCode::Success {
            return;
        }
        out.reason(PacketType::Disconnect, self.reason);
        if !bare {
            write_block(out, properties);
        }
    }
}

impl Auth {
    /// With a reason and nothing else; only Success may be sent like this.
    #[must_use]
    pub fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            authentication_method: None,
            authentication_data: None,
            reason_string: None,
            user_properties: Vec::new(),
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut auth = Self::new(ReasonCode::Success);
        if reader.is_empty() {
            return Ok(auth);
        }
        auth.reason = reader.reason(PacketType::Auth)?;
        let mut properties = Properties::open(reader, PacketType::Auth)?;
        while let Some(id) = properties.next()? {
            match id {
                PropertyId::AuthenticationMethod => {
                    auth.authentication_method = Some(properties.string()?);
                }
                PropertyId::AuthenticationData => {
                    auth.authentication_data = Some(properties.binary()?);
                }
                PropertyId::ReasonString => auth.reason_string = Some(properties.string()?),
                PropertyId::UserProperty => auth.user_properties.push(properties.user_property()?),
                _ => return properties.not_allowed(),
            }
        }
        if auth.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationMethodMissing);
        }
        Ok(auth)
    }

    pub(super) fn write(&self, version: ProtocolVersion, out: &mut dyn Writer) {
        if !version.is_v5() {
            out.refuse(EncodeError::NotInVersion {
                packet: PacketType::Auth,
                version,
            });
            return;
        }
        let properties = |out: &mut dyn Writer| {
            out.property_string(
                PropertyId::AuthenticationMethod,
                self.authentication_method.as_ref(),
            );
            out.property_binary(
                PropertyId::AuthenticationData,
                self.authentication_data.as_ref(),
            );
            out.property_string(PropertyId::ReasonString, self.reason_string.as_ref());
            out.user_properties(&self.user_properties);
        };
        if self.reason == ReasonCode::Success && is_empty(properties) {
            return;
        }
        if self.authentication_method.is_none() {
            out.refuse(EncodeError::Forbidden {
                field: "an AUTH without its method",
            });
        }
        out.reason(PacketType::Auth, self.reason);
        write_block(out, properties);
    }
}
