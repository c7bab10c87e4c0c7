//! Properties of the codec that hold for every packet of every version.

use bytes::{Bytes, BytesMut};
use fieldgate::mqtt::{
    DecodeError, Decoder, EncodedPublish, Extra, Frame, PACKET_BYTES_MAX, Packet, PacketType,
    PropertyBlock, ProtocolVersion, Publish, PublishProperties, QoS, decode,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::packets;

fn encoded(packet: &Packet, version: ProtocolVersion) -> Bytes {
    let mut out = BytesMut::new();
    packet.encode(version, &mut out).unwrap();
    out.freeze()
}

/// What the decoder is told: nothing before a CONNECT.
fn known(packet: &Packet, version: ProtocolVersion) -> Option<ProtocolVersion> {
    Some(version).filter(|_| packet.packet_type() != PacketType::Connect)
}

fn version_and_packet() -> impl Strategy<Value = (ProtocolVersion, Packet)> {
    packets::version().prop_flat_map(|version| (Just(version), packets::packet(version)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_comes_back_as_it_was((version, packet) in version_and_packet()) {
        let bytes = encoded(&packet, version);
        prop_assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
        let mut input = bytes;
        prop_assert_eq!(
            decode(&mut input, known(&packet, version), PACKET_BYTES_MAX),
            Ok(Some(packet))
        );
        prop_assert!(input.is_empty());
    }

    #[test]
    fn a_packet_that_is_cut_off_asks_for_the_rest((version, packet) in version_and_packet()) {
        let bytes = encoded(&packet, version);
        let known = known(&packet, version);
        for end in 0..bytes.len() {
            let mut input = bytes.slice(..end);
            prop_assert_eq!(decode(&mut input, known, PACKET_BYTES_MAX), Ok(None), "cut at {}", end);
            prop_assert_eq!(input.len(), end);
            match Frame::check(&bytes[..end], known, PACKET_BYTES_MAX) {
                Ok(Frame::HeaderIncomplete) => prop_assert!(end < 5),
                Ok(Frame::Incomplete { len }) => prop_assert_eq!(len, bytes.len()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(
            Frame::check(&bytes, known, PACKET_BYTES_MAX),
            Ok(Frame::Complete { len: bytes.len() })
        );
    }

    /// A length that lies: the body ends earlier than its fields say.
    #[test]
    fn a_body_that_is_too_short_is_an_error_or_another_packet((version, packet) in version_and_packet()) {
        let bytes = encoded(&packet, version);
        let header = bytes.len() - remaining_length(&bytes);
        for body in 0..remaining_length(&bytes).min(128) {
            let mut shorter = vec![bytes[0], u8::try_from(body).unwrap()];
            shorter.extend_from_slice(&bytes[header..header + body]);
            if let Ok(Some(other)) = decode(&mut Bytes::from(shorter), known(&packet, version), PACKET_BYTES_MAX) {
                prop_assert_ne!(&other, &packet);
            }
        }
    }

    #[test]
    fn a_packet_over_the_limit_is_refused_before_its_body_is_there((version, packet) in version_and_packet()) {
        let bytes = encoded(&packet, version);
        let header = bytes.len() - remaining_length(&bytes);
        let limit = u32::try_from(bytes.len() - 1).unwrap();
        prop_assert_eq!(
            decode(&mut bytes.slice(..header), known(&packet, version), limit),
            Err(DecodeError::PacketTooLarge { len: bytes.len(), limit })
        );
    }

    #[test]
    fn packets_come_out_of_pieces_of_any_size(
        (version, packets) in packets::version()
            .prop_flat_map(|version| (Just(version), vec(packets::packet(version), 1..6))),
        sizes in vec(1..40_usize, 1..20),
    ) {
        let mut stream = BytesMut::new();
        for packet in &packets {
            packet.encode(version, &mut stream).unwrap();
        }
        for sizes in [&sizes[..], &[1]] {
            let mut decoder = Decoder::new(Some(version), PACKET_BYTES_MAX);
            let mut rest = stream.clone().freeze();
            let mut seen = Vec::new();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                decoder.push(rest.split_to((*size).min(rest.len())));
                while let Some(packet) = decoder.next_packet().unwrap() {
                    seen.push(packet);
                }
            }
            prop_assert_eq!(&seen, &packets);
            prop_assert_eq!(decoder.held(), 0);
        }
    }

    #[test]
    fn an_encoded_publish_is_the_packet_it_stands_for(
        (version, message) in packets::version()
            .prop_flat_map(|version| (Just(version), packets::message(version))),
        (qos, retain, dup, id) in (packets::qos(), any::<bool>(), any::<bool>(), packets::packet_id()),
        subscription_ids in vec(1..=268_435_455_u32, 0..3),
        expiry in of(any::<u32>()),
        alias in of((1..=u16::MAX, any::<bool>())),
    ) {
        let id = Some(id).filter(|_| qos != QoS::AtMostOnce);
        let extra = Extra {
            subscription_ids: &subscription_ids,
            message_expiry: expiry,
            topic_alias: alias.map(|(alias, _)| alias),
            alias_known: alias.is_some_and(|(_, known)| known),
        };
        let properties = PropertyBlock::new(version, &message).unwrap();
        let encoded = EncodedPublish::new(&properties, &message, qos, retain);
        let mut out = BytesMut::new();
        encoded.write_head(dup, id, &extra, &mut out).unwrap();
        out.extend_from_slice(encoded.payload());
        prop_assert_eq!(encoded.wire_len(&extra), Ok(out.len()));

        let mut expected = message.into_publish(id);
        expected.qos = qos;
        expected.retain = retain;
        expected.dup = dup && id.is_some();
        if version.is_v5() {
            add_extra(&mut expected, &extra);
        }
        let decoded = decode(&mut out.freeze(), Some(version), PACKET_BYTES_MAX);
        prop_assert_eq!(decoded, Ok(Some(Packet::Publish(expected))));
    }

    #[test]
    fn stored_properties_come_back(properties in packets::publish_properties()) {
        let properties = properties.map(|it| *it).unwrap_or_default();
        let mut stored = BytesMut::new();
        properties.encode_properties(&mut stored).unwrap();
        prop_assert_eq!(PublishProperties::decode_properties(&stored.freeze()), Ok(properties));
    }

    #[test]
    fn a_compact_copy_is_equal_and_shares_nothing(message in packets::message(ProtocolVersion::V5)) {
        let packet = Packet::Publish(Publish { qos: QoS::AtMostOnce, ..message.into_publish(None) });
        let bytes = encoded(&packet, ProtocolVersion::V5);
        let Ok(Some(Packet::Publish(publish))) =
            decode(&mut bytes.clone(), Some(ProtocolVersion::V5), PACKET_BYTES_MAX)
        else {
            panic!("no PUBLISH")
        };
        let message = publish.into_message().unwrap();
        let compact = message.compact();
        prop_assert_eq!(&compact, &message);
        drop(message);
        prop_assert!(bytes.is_unique());
    }
}

fn remaining_length(bytes: &[u8]) -> usize {
    let header = 2 + bytes[1..].iter().take_while(|&&byte| byte >= 0x80).count();
    bytes.len() - header
}

fn add_extra(publish: &mut Publish, extra: &Extra<'_>) {
    publish.subscription_ids = extra.subscription_ids.to_vec();
    publish.topic_alias = extra.topic_alias;
    if extra.alias_known {
        publish.topic = None;
    }
    if extra.message_expiry.is_some() {
        publish.properties.get_or_insert_default().message_expiry = extra.message_expiry;
    }
}
