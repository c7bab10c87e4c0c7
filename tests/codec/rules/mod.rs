//! The rules of the standard one by one: bytes that break one are refused with its error, their lawful neighbours taken.

mod connect;
mod frame;
mod property;
mod publish;
mod subscribe;

use bytes::Bytes;
use fieldgate::mqtt::ProtocolVersion::{V5, V31, V311};
use fieldgate::mqtt::{
    DecodeError, PACKET_BYTES_MAX, Packet, PacketType, PropertyId, ProtocolVersion, QoS,
    ReasonCode, decode,
};
use fieldgate::topic::TopicError;

/// A frame of `body`, which is shorter than 128 bytes.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, u8::try_from(body.len()).unwrap()];
    assert!(body.len() < 128);
    frame.extend_from_slice(body);
    frame
}

fn read(version: impl Into<Option<ProtocolVersion>>, bytes: &[u8]) -> Result<Packet, DecodeError> {
    let mut input = Bytes::copy_from_slice(bytes);
    let packet = decode(&mut input, version.into(), PACKET_BYTES_MAX)?;
    assert!(input.is_empty(), "{} bytes left", input.len());
    Ok(packet.expect("a whole frame"))
}

/// Reads one frame of type and flags `first`.
fn body(version: ProtocolVersion, first: u8, body: &[u8]) -> Result<Packet, DecodeError> {
    read(version, &frame(first, body))
}

/// A CONNECT of `version` with these flags; `rest` is all after the keep alive.
fn connect(version: ProtocolVersion, flags: u8, rest: &[u8]) -> Result<Packet, DecodeError> {
    let mut body = vec![0, u8::try_from(version.protocol_name().len()).unwrap()];
    body.extend_from_slice(version.protocol_name().as_bytes());
    body.extend_from_slice(&[version.level(), flags, 0, 60]);
    body.extend_from_slice(rest);
    read(None, &frame(0x10, &body))
}

/// A CONNECT of MQTT 5 with these properties.
fn connect_with(properties: &[u8]) -> Result<Packet, DecodeError> {
    let mut rest = vec![u8::try_from(properties.len()).unwrap()];
    rest.extend_from_slice(properties);
    rest.extend_from_slice(&[0, 1, b'c']);
    connect(V5, 0x02, &rest)
}

/// A CONNACK of MQTT 5 with these properties.
fn connack_with(properties: &[u8]) -> Result<Packet, DecodeError> {
    let mut rest = vec![0, 0, u8::try_from(properties.len()).unwrap()];
    rest.extend_from_slice(properties);
    body(V5, 0x20, &rest)
}

/// A PUBLISH of MQTT 5 at QoS 0 with these properties.
fn publish_with(topic: &[u8], properties: &[u8]) -> Result<Packet, DecodeError> {
    let mut rest = vec![0, u8::try_from(topic.len()).unwrap()];
    rest.extend_from_slice(topic);
    rest.push(u8::try_from(properties.len()).unwrap());
    rest.extend_from_slice(properties);
    rest.push(b'!');
    body(V5, 0x30, &rest)
}

fn twice(property: PropertyId) -> Result<Packet, DecodeError> {
    Err(DecodeError::PropertyTwice { property })
}

fn value(property: PropertyId, value: u32) -> Result<Packet, DecodeError> {
    Err(DecodeError::PropertyValue { property, value })
}

fn not_allowed(packet: PacketType, property: PropertyId) -> Result<Packet, DecodeError> {
    Err(DecodeError::PropertyNotAllowed { packet, property })
}

fn code(packet: PacketType, code: u8) -> Result<Packet, DecodeError> {
    Err(DecodeError::ReasonCode { packet, code })
}
