//! CONNECT on the wire (section 3.1 of both standards).

use bytes::Bytes;
use bytestring::ByteString;

use super::property::{Properties, PropertyId, write_block};
use super::reader::Reader;
use super::writer::Writer;
use super::{
    Connect, DecodeError, EncodeError, Message, PacketType, ProtocolVersion, PublishProperties,
    QoS, Will,
};

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS_SHIFT: u8 = 3;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

impl Connect {
    /// A clean connection of `client_id` without a will, credentials, or limits of its own; keep alive 60 s.
    #[must_use]
    pub fn new(version: ProtocolVersion, client_id: ByteString) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive: 60,
            client_id,
            will: None,
            user_name: None,
            password: None,
            session_expiry: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: Vec::new(),
            authentication_method: None,
            authentication_data: None,
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = read_version(reader)?;
        let flags = reader.u8()?;
        check_flags(flags, version)?;
        let keep_alive = reader.u16()?;
        let mut connect = Self::new(version, ByteString::new());
        connect.clean_start = flags & CLEAN_START != 0;
        connect.keep_alive = keep_alive;
        if version.is_v5() {
            connect.decode_properties(reader)?;
        } else if !connect.clean_start {
            connect.session_expiry = u32::MAX;
        }
        connect.client_id = reader.string()?;
        if flags & WILL != 0 {
            connect.will = Some(Box::new(Will::decode(reader, version, flags)?));
        }
        // MQTT 3.1 allows that what the flags announce is missing at the end.
        let may_miss = version == ProtocolVersion::V31;
        if flags & USER_NAME != 0 && !(may_miss && reader.is_empty()) {
            connect.user_name = Some(reader.string()?);
        }
        if flags & PASSWORD != 0 && !(may_miss && reader.is_empty()) {
            connect.password = Some(reader.binary()?.into());
        }
        Ok(connect)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut properties = Properties::open(reader, PacketType::Connect)?;
        while let Some(id) = properties.next()? {
            match id {
                PropertyId::SessionExpiryInterval => self.session_expiry = properties.u32()?,
                PropertyId::ReceiveMaximum => self.receive_maximum = properties.u16_above_zero()?,
                PropertyId::MaximumPacketSize => {
                    self.maximum_packet_size = Some(properties.u32_above_zero()?);
                }
                PropertyId::TopicAliasMaximum => self.topic_alias_maximum = properties.u16()?,
                PropertyId::RequestResponseInformation => {
                    self.request_response_information = properties.flag()?;
                }
                PropertyId::RequestProblemInformation => {
                    self.request_problem_information = properties.flag()?;
                }
                PropertyId::UserProperty => self.user_properties.push(properties.user_property()?),
                PropertyId::AuthenticationMethod => {
                    self.authentication_method = Some(properties.string()?);
                }
                PropertyId::AuthenticationData => {
                    self.authentication_data = Some(properties.binary()?);
                }
                _ => return properties.not_allowed(),
            }
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationDataAlone);
        }
        Ok(())
    }

    /// The version is its own.
    pub(super) fn write(&self, out: &mut dyn Writer) {
        let v5 = self.version.is_v5();
        if self.password.is_some() && self.user_name.is_none() && !v5 {
            out.refuse(EncodeError::Forbidden {
                field: "a password without a user name",
            });
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            out.refuse(EncodeError::Forbidden {
                field: "authentication data without a method",
            });
        }
        out.string(self.version.protocol_name());
        out.u8(self.version.level());
        out.u8(self.flags());
        out.u16(self.keep_alive);
        if v5 {
            write_block(out, |out| self.write_properties(out));
        }
        out.string(&self.client_id);
        if let Some(will) = &self.will {
            will.write(self.version, out);
        }
        if let Some(user_name) = &self.user_name {
            out.string(user_name);
        }
        if let Some(password) = &self.password {
            out.binary(password.expose());
        }
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        let mut set = |bits, condition| flags |= if condition { bits } else { 0 };
        set(CLEAN_START, self.clean_start);
        set(USER_NAME, self.user_name.is_some());
        set(PASSWORD, self.password.is_some());
        if let Some(will) = &self.will {
            set(WILL, true);
            set((will.message.qos as u8) << WILL_QOS_SHIFT, true);
            set(WILL_RETAIN, will.message.retain);
        }
        flags
    }

    fn write_properties(&self, out: &mut dyn Writer) {
        let above = |value, absent| (value != absent).then_some(value);
        out.property_u32(
            PropertyId::SessionExpiryInterval,
            Some(self.session_expiry).filter(|&seconds| seconds != 0),
        );
        out.property_u16_above_zero(
            PropertyId::ReceiveMaximum,
            "Receive Maximum",
            above(self.receive_maximum, u16::MAX),
        );
        out.property_u32_above_zero(
            PropertyId::MaximumPacketSize,
            "Maximum Packet Size",
            self.maximum_packet_size,
        );
        out.property_u16(
            PropertyId::TopicAliasMaximum,
            above(self.topic_alias_maximum, 0),
        );
        out.property_flag(
            PropertyId::RequestResponseInformation,
            self.request_response_information,
            false,
        );
        out.property_flag(
            PropertyId::RequestProblemInformation,
            self.request_problem_information,
            true,
        );
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

impl Will {
    fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
        flags: u8,
    ) -> Result<Self, DecodeError> {
        let mut delay = 0;
        let mut with_message = PublishProperties::default();
        if version.is_v5() {
            let mut properties = Properties::open(reader, PacketType::Connect)?;
            while let Some(id) = properties.next()? {
                if id == PropertyId::WillDelayInterval {
                    delay = properties.u32()?;
                } else if !with_message.take(id, &mut properties)? {
                    return properties.not_allowed();
                }
            }
        }
        let message = Message {
            topic: reader.topic()?,
            payload: reader.binary()?,
            qos: QoS::from_bits(flags >> WILL_QOS_SHIFT & 0b11).ok_or(DecodeError::QoS)?,
            retain: flags & WILL_RETAIN != 0,
            properties: with_message.boxed(),
        };
        Ok(Self { message, delay })
    }

    fn write(&self, version: ProtocolVersion, out: &mut dyn Writer) {
        if version.is_v5() {
            write_block(out, |out| {
                let delay = (self.delay != 0).then_some(self.delay);
                out.property_u32(PropertyId::WillDelayInterval, delay);
                if let Some(properties) = &self.message.properties {
                    properties.write(out);
                }
            });
        }
        out.binary(self.message.topic.as_bytes());
        out.binary(&self.message.payload);
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<ProtocolVersion, DecodeError> {
    let name = reader.binary()?;
    if ![&b"MQTT"[..], b"MQIsdp"].contains(&&*name) {
        return Err(DecodeError::ProtocolName);
    }
    let level = reader.u8()?;
    ProtocolVersion::ALL
        .into_iter()
        .find(|version| version.level() == level && version.protocol_name().as_bytes() == &*name)
        .ok_or(DecodeError::UnsupportedVersion { level })
}

fn check_flags(flags: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
    // MQTT 3.1 calls the bit unused.
    if flags & RESERVED != 0 && version != ProtocolVersion::V31 {
        return Err(DecodeError::ReservedFlag {
            packet: PacketType::Connect,
        });
    }
    if flags & WILL == 0 && flags & (WILL_RETAIN | 0b11 << WILL_QOS_SHIFT) != 0 {
        return Err(DecodeError::WillFlags);
    }
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 && !version.is_v5() {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    QoS::from_bits(flags >> WILL_QOS_SHIFT & 0b11).ok_or(DecodeError::QoS)?;
    Ok(())
}

impl Connect {
    /// A copy that shares nothing with the buffer it was read into; a connection keeps parts of its CONNECT for long.
    #[must_use]
    pub fn compact(&self) -> Self {
        let text = |text: &ByteString| ByteString::from(&**text);
        let binary = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        Self {
            client_id: text(&self.client_id),
            will: self.will.as_ref().map(|will| {
                Box::new(Will {
                    message: will.message.compact(),
                    delay: will.delay,
                })
            }),
            user_name: self.user_name.as_ref().map(text),
            password: self
                .password
                .as_ref()
                .map(|password| binary(password.expose()).into()),
            user_properties: super::message::compact_pairs(&self.user_properties),
            authentication_method: self.authentication_method.as_ref().map(text),
            authentication_data: self.authentication_data.as_ref().map(binary),
            ..*self
        }
    }
}
