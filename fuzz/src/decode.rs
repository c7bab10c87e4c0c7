//! What must hold of the MQTT decoder for any bytes whatever. Shared by the fuzz target and an ordinary, seeded test.

use bytes::{Bytes, BytesMut};
use fieldgate::mqtt::{
    Acknowledge, DecodeError, Decoder, EncodedPublish, Extra, Frame, Message, Packet, PacketType,
    PlainPacket, PropertyBlock, ProtocolVersion, ReasonCode, decode,
};
use fieldgate::topic::TopicName;

/// Larger than what most inputs hold, so that lengths on both sides of it come up.
const PACKET_SIZE_MAX: u32 = 400;

/// Packets up to the first error, and that error.
type Outcome = (Vec<Packet>, Option<DecodeError>);

/// The first byte chooses the version and the size of the pieces, the rest is what a peer sends.
///
/// Nothing panics; pieces give what the whole gives; a decoder holds no more than the limit; what was decoded encodes,
/// and decodes to the same again.
pub fn check(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else {
        return;
    };
    let version = match choice % 4 {
        0 => None,
        1 => Some(ProtocolVersion::V31),
        2 => Some(ProtocolVersion::V311),
        _ => Some(ProtocolVersion::V5),
    };
    let piece = usize::from(choice / 4) + 1;
    let whole = decoded(version, stream, stream.len().max(1));
    assert_eq!(
        decoded(version, stream, piece),
        whole,
        "in pieces of {piece}"
    );
    let mut version = version;
    for packet in &whole.0 {
        if let (None, Packet::Connect(connect)) = (version, packet) {
            version = Some(connect.version);
        }
        encode_again(packet, version.expect("a CONNECT came first"));
    }
}

fn decoded(version: Option<ProtocolVersion>, stream: &[u8], piece: usize) -> Outcome {
    let mut decoder = Decoder::new(version, PACKET_SIZE_MAX);
    let mut packets = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            let plain = decoder.plain().map(|plain| taken_apart(&plain.packet));
            match decoder.next_packet() {
                Ok(Some(packet)) => {
                    // `None`: what stands for the topic is none, and that nobody has checked.
                    assert!(plain.is_none_or(|plain| plain.as_ref() == Some(&packet)));
                    packets.push(packet);
                }
                Ok(None) => {
                    assert!(plain.is_none());
                    break;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    assert!(error.reason().is_error());
                    return (packets, Some(error));
                }
            }
        }
        assert!(decoder.held() <= PACKET_SIZE_MAX as usize);
    }
    (packets, None)
}

/// What the decoder has to make of it.
fn taken_apart(plain: &PlainPacket<'_>) -> Option<Packet> {
    Some(match plain {
        PlainPacket::Publish(publish) => {
            let topic = TopicName::from_bytes(Bytes::copy_from_slice(publish.topic)).ok()?;
            let payload = Bytes::copy_from_slice(publish.payload);
            let message = Message::new(topic, payload, publish.qos, false);
            Packet::Publish(message.into_publish(publish.packet_id))
        }
        PlainPacket::Acknowledge(packet, id) => {
            let acknowledge = Acknowledge::new(*id, ReasonCode::Success);
            match packet {
                PacketType::Puback => Packet::Puback(acknowledge),
                PacketType::Pubrec => Packet::Pubrec(acknowledge),
                PacketType::Pubrel => Packet::Pubrel(acknowledge),
                PacketType::Pubcomp => Packet::Pubcomp(acknowledge),
                other => panic!("{other} is no acknowledgement"),
            }
        }
    })
}

fn encode_again(packet: &Packet, version: ProtocolVersion) {
    // A second CONNECT may be of another version; the core refuses it, the codec does not care.
    let mut out = BytesMut::new();
    packet
        .encode(version, &mut out)
        .expect("what was decoded can be encoded");
    assert_eq!(packet.encoded_len(version), Ok(out.len()));
    let len = out.len();
    assert_eq!(
        Frame::check(&out, Some(version), u32::MAX),
        Ok(Frame::Complete { len })
    );
    let mut bytes = out.freeze();
    let again = decode(&mut bytes, Some(version), u32::MAX);
    assert_eq!(again.as_ref().map(Option::as_ref), Ok(Some(packet)));
    if let Packet::Publish(publish) = packet
        && let Some(message) = publish.message()
    {
        assert_eq!(message.compact(), message);
        let properties =
            PropertyBlock::new(version, &message).expect("decoded properties can be encoded");
        let encoded = EncodedPublish::new(&properties, &message, publish.qos, publish.retain);
        let extra = Extra {
            subscription_ids: &publish.subscription_ids,
            topic_alias: publish.topic_alias,
            ..Extra::default()
        };
        let mut out = BytesMut::new();
        encoded
            .write_head(publish.dup, publish.packet_id, &extra, &mut out)
            .expect("and delivered");
        out.extend_from_slice(encoded.payload());
        let again = decode(&mut out.freeze(), Some(version), u32::MAX);
        assert_eq!(again.as_ref().map(Option::as_ref), Ok(Some(packet)));
    }
}
