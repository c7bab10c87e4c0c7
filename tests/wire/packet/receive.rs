//! What a server may send, read strictly: whatever a client would have to refuse is an error.

use std::ops::RangeInclusive;

use super::{
    PUBACK, PUBCOMP, PUBREC, PUBREL, Properties, Property, Publish, V5, V31, V311, Version, find,
    id,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connack(Connack),
    Publish(Publish),
    Puback(Ack),
    Pubrec(Ack),
    Pubrel(Ack),
    Pubcomp(Ack),
    Suback(Codes),
    Unsuback(Codes),
    Pingresp,
    Disconnect { code: u8, properties: Properties },
    Auth { code: u8, properties: Properties },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    pub session_present: bool,
    pub code: u8,
    pub properties: Properties,
}

impl Connack {
    pub fn property(&self, id: u8) -> Option<&Property> {
        find(&self.properties, id)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub id: u16,
    pub code: u8,
    pub properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    pub id: u16,
    pub codes: Vec<u8>,
    pub properties: Properties,
}

/// Takes the first packet off the front, where it is there whole. Whatever a server must not send is an error.
pub fn read(version: Version, input: &mut Vec<u8>) -> Result<Option<Packet>, String> {
    let (mut len, mut at) = (0, 1);
    loop {
        let Some(&byte) = input.get(at) else {
            return Ok(None);
        };
        len |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            if byte == 0 && at > 2 {
                return Err("a length in more bytes than it needs".to_owned());
            }
            break;
        }
        if at > 4 {
            return Err("a length of more than four bytes".to_owned());
        }
    }
    if input.len() < at + len {
        return Ok(None);
    }
    let frame: Vec<u8> = input.drain(..at + len).collect();
    let mut body = Reader(&frame[at..]);
    let packet = body_of(version, frame[0], &mut body)
        .map_err(|fault| format!("{fault} in {frame:02x?}"))?;
    if !body.0.is_empty() {
        return Err(format!("bytes after the end of {frame:02x?}"));
    }
    Ok(Some(packet))
}

fn body_of(version: Version, first: u8, body: &mut Reader<'_>) -> Result<Packet, String> {
    Ok(match first {
        0x20 => Packet::Connack(connack(version, body)?),
        0x30..=0x3F => Packet::Publish(publish(version, first, body)?),
        PUBACK => Packet::Puback(body.ack(version, PUBACK_CODES)?),
        PUBREC => Packet::Pubrec(body.ack(version, PUBACK_CODES)?),
        PUBREL => Packet::Pubrel(body.ack(version, &[0x00, 0x92])?),
        PUBCOMP => Packet::Pubcomp(body.ack(version, &[0x00, 0x92])?),
        0x90 => Packet::Suback(body.codes(version, version != V31, SUBACK_CODES)?),
        0xB0 => Packet::Unsuback(body.codes(version, version == V5, UNSUBACK_CODES)?),
        0xD0 => Packet::Pingresp,
        0xE0 | 0xF0 if version != V5 => return Err("only MQTT 5 has that from a server".into()),
        0xE0 => {
            let (code, properties) = body.reason(&[0x1C, 0x1F, 0x26])?;
            if !DISCONNECT_CODES.iter().any(|codes| codes.contains(&code)) {
                return Err(format!("DISCONNECT with {code:#04x}"));
            }
            Packet::Disconnect { code, properties }
        }
        0xF0 => {
            let (code, properties) = body.reason(&[0x15, 0x16, 0x1F, 0x26])?;
            Packet::Auth { code, properties }
        }
        _ => return Err(format!("first byte {first:#04x}")),
    })
}

const CONNACK_PROPERTIES: &[u8] = &[
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
    0x2A,
];
const PUBLISH_PROPERTIES: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26];
const CONNACK_CODES: &[RangeInclusive<u8>] = &[
    0x00..=0x00,
    0x80..=0x8A,
    0x8C..=0x8C,
    0x90..=0x90,
    0x95..=0x95,
    0x97..=0x97,
    0x99..=0x9D,
    0x9F..=0x9F,
];
const PUBACK_CODES: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const SUBACK_CODES: &[u8] = &[
    0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
];
const UNSUBACK_CODES: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
const DISCONNECT_CODES: &[RangeInclusive<u8>] = &[
    0x00..=0x00,
    0x80..=0x83,
    0x87..=0x87,
    0x89..=0x89,
    0x8B..=0x90,
    0x93..=0xA2,
];

fn connack(version: Version, body: &mut Reader<'_>) -> Result<Connack, String> {
    let (flags, code) = (body.u8()?, body.u8()?);
    if flags > 1 || version == V31 && flags > 0 {
        return Err(format!("acknowledge flags {flags:#04x}"));
    }
    let known = match version {
        V5 => CONNACK_CODES.iter().any(|codes| codes.contains(&code)),
        V31 | V311 => code <= 5,
    };
    if !known || flags == 1 && code != 0 {
        return Err(format!("CONNACK with {code:#04x}"));
    }
    Ok(Connack {
        session_present: flags == 1,
        code,
        properties: body.properties(version, CONNACK_PROPERTIES)?,
    })
}

fn publish(version: Version, first: u8, body: &mut Reader<'_>) -> Result<Publish, String> {
    let (dup, qos, retain) = (first & 8 != 0, first >> 1 & 3, first & 1 != 0);
    if qos == 3 || dup && qos == 0 {
        return Err("wrong flags".to_owned());
    }
    let topic = body.text()?;
    let id = if qos > 0 { Some(body.id()?) } else { None };
    let properties = body.properties(version, PUBLISH_PROPERTIES)?;
    let alias = find(&properties, id::TOPIC_ALIAS);
    if topic.contains(['+', '#']) || topic.is_empty() && alias.is_none() {
        return Err(format!("topic {topic:?}"));
    }
    if alias == Some(&Property::Two(id::TOPIC_ALIAS, 0)) {
        return Err("topic alias 0".to_owned());
    }
    Ok(Publish {
        dup,
        qos,
        retain,
        topic,
        id,
        properties,
        payload: std::mem::take(&mut body.0).to_vec(),
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("a field is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, String> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    fn id(&mut self) -> Result<u16, String> {
        match self.u16()? {
            0 => Err("packet identifier 0".to_owned()),
            id => Ok(id),
        }
    }

    fn variable(&mut self) -> Result<u32, String> {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                let minimal = byte > 0 || place == 0;
                return minimal
                    .then_some(value)
                    .ok_or_else(|| "not minimal".to_owned());
            }
        }
        Err("five bytes of a variable byte integer".to_owned())
    }

    fn binary(&mut self) -> Result<Vec<u8>, String> {
        let len = self.u16()?;
        Ok(self.take(usize::from(len))?.to_vec())
    }

    fn text(&mut self) -> Result<String, String> {
        let text = String::from_utf8(self.binary()?).map_err(|_| "not UTF-8")?;
        if text.contains('\0') {
            return Err("a null character".to_owned());
        }
        Ok(text)
    }

    fn ack(&mut self, version: Version, codes: &[u8]) -> Result<Ack, String> {
        let id = self.id()?;
        let (code, properties) = if version == V5 {
            self.reason(&[0x1F, 0x26])?
        } else {
            (0, Vec::new())
        };
        if !codes.contains(&code) {
            return Err(format!("reason code {code:#04x}"));
        }
        Ok(Ack {
            id,
            code,
            properties,
        })
    }

    /// A reason code and properties that may both be left off.
    fn reason(&mut self, allowed: &[u8]) -> Result<(u8, Properties), String> {
        if self.0.is_empty() {
            return Ok((0, Vec::new()));
        }
        let code = self.u8()?;
        if self.0.is_empty() {
            return Ok((code, Vec::new()));
        }
        Ok((code, self.properties(V5, allowed)?))
    }

    fn codes(&mut self, version: Version, some: bool, known: &[u8]) -> Result<Codes, String> {
        let id = self.id()?;
        let properties = self.properties(version, &[0x1F, 0x26])?;
        let codes = std::mem::take(&mut self.0).to_vec();
        let old = [0x00, 0x01, 0x02, 0x80];
        let known = if version == V5 { known } else { &old };
        if codes.is_empty() == some || codes.iter().any(|code| !known.contains(code)) {
            return Err(format!("codes {codes:02x?}"));
        }
        Ok(Codes {
            id,
            codes,
            properties,
        })
    }

    fn properties(&mut self, version: Version, allowed: &[u8]) -> Result<Properties, String> {
        if version != V5 {
            return Ok(Vec::new());
        }
        let len = self.variable()?;
        let mut block = Self(self.take(len as usize)?);
        let mut properties: Properties = Vec::new();
        while !block.0.is_empty() {
            let property = block.property()?;
            let id = property.id();
            let again = find(&properties, id).is_some();
            if !allowed.contains(&id) || again && !matches!(id, 0x0B | 0x26) {
                return Err(format!("property {id:#04x}"));
            }
            properties.push(property);
        }
        Ok(properties)
    }

    fn property(&mut self) -> Result<Property, String> {
        let id = self.u8()?;
        Ok(match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => match self.u8()? {
                value @ 0..=1 => Property::Byte(id, value),
                value => return Err(format!("property {id:#04x} is {value}")),
            },
            0x13 | 0x21 | 0x22 | 0x23 => Property::Two(id, self.u16()?),
            0x02 | 0x11 | 0x18 | 0x27 => Property::Four(id, self.u32()?),
            0x0B => Property::Variable(id, self.variable()?),
            0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Property::Text(id, self.text()?),
            0x09 | 0x16 => Property::Binary(id, self.binary()?),
            id::USER_PROPERTY => Property::Pair(self.text()?, self.text()?),
            other => return Err(format!("property {other:#04x}")),
        })
    }
}
