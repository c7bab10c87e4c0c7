//! What the tests of this room share: records, and generators of them.

use bytes::Bytes;
use proptest::prelude::*;

use super::record::Stored;
use super::{Record, SessionNumber, Want};
use crate::clock::WallTime;
use crate::mqtt::{Message, PacketId, PublishProperties, QoS, SubscriptionIds};
use crate::topic::TopicName;

/// A QoS 1 record whose payload of `size` bytes starts with `number`.
pub(super) fn record(number: u64, size: usize) -> Record {
    record_qos(QoS::AtLeastOnce, number, size)
}

/// The same with a QoS.
pub(super) fn record_qos(qos: QoS, number: u64, size: usize) -> Record {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(size, 0x5a);
    Record {
        message: Message {
            topic: TopicName::try_from(format!("line/{}", number % 7)).unwrap(),
            payload: payload.into(),
            qos,
            retain: false,
            properties: None,
        },
        stamped: WallTime(1_800_000_000_000 + number),
    }
}

prop_compose! {
    fn any_want()(
        session: u64,
        id in 1_u16..,
        qos in 1_u8..3,
        retain: bool,
        ids in prop::collection::vec(1_u32..268_435_456, 0..3),
    ) -> Want {
        let mut subscription_ids = SubscriptionIds::default();
        ids.into_iter().for_each(|id| subscription_ids.push(id));
        Want {
            session: SessionNumber(session),
            packet_id: PacketId::new(id).unwrap(),
            qos: QoS::from_bits(qos).unwrap(),
            retain,
            subscription_ids,
        }
    }
}

prop_compose! {
    fn any_record()(
        topic in "[a-z/]{1,40}",
        payload in prop::collection::vec(any::<u8>(), 0..1500),
        qos in 0_u8..3,
        retain: bool,
        content_type in prop::option::of("[a-z]{0,10}"),
        stamped: u64,
        wants in prop::collection::vec(any_want(), 0..4),
    ) -> Stored {
        let properties = content_type.map(|text| Box::new(PublishProperties {
            content_type: Some(text.into()),
            message_expiry: Some(60),
            correlation_data: Some(Bytes::from_static(b"\x00\x01")),
            user_properties: vec![("a".into(), "b".into()), ("a".into(), "c".into())],
            ..PublishProperties::default()
        }));
        Stored {
            message: Message {
                topic: TopicName::try_from(topic).unwrap(),
                payload: payload.into(),
                qos: QoS::from_bits(qos).unwrap(),
                retain,
                properties,
            },
            stamp: stamped,
            wants,
        }
    }
}

/// Records at ascending positions with gaps.
pub(super) fn any_records() -> impl Strategy<Value = Vec<(u64, Stored)>> {
    prop::collection::vec((1_u64..5, any_record()), 0..80).prop_map(|steps| {
        let mut seq = 0;
        steps
            .into_iter()
            .map(|(step, record)| {
                seq += step;
                (seq, record)
            })
            .collect()
    })
}
