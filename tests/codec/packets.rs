//! Strategies for every packet of every version.
//!
//! A packet made here comes back from encode and decode as it was: it says nothing that its version cannot say, and
//! carries no empty set of properties.

use bytes::Bytes;
use bytestring::ByteString;
use fieldgate::mqtt::{
    Acknowledge, Auth, Connack, Connect, Disconnect, Message, Packet, PacketId, PacketType,
    ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Suback,
    Subscribe, Subscription, Unsuback, Unsubscribe, UserProperties, Will,
};
use fieldgate::topic::TopicName;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

/// Any packet of `version`.
pub fn packet(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let acknowledge = move |of: PacketType| acknowledge(version, of);
    let mut kinds = vec![
        connect(version).boxed(),
        connack(version),
        publish(version).prop_map(Packet::Publish).boxed(),
        acknowledge(PacketType::Puback)
            .prop_map(Packet::Puback)
            .boxed(),
        acknowledge(PacketType::Pubrec)
            .prop_map(Packet::Pubrec)
            .boxed(),
        acknowledge(PacketType::Pubrel)
            .prop_map(Packet::Pubrel)
            .boxed(),
        acknowledge(PacketType::Pubcomp)
            .prop_map(Packet::Pubcomp)
            .boxed(),
        subscribe(version),
        suback(version),
        unsubscribe(version),
        unsuback(version),
        Just(Packet::Pingreq).boxed(),
        Just(Packet::Pingresp).boxed(),
        disconnect(version),
    ];
    if version.is_v5() {
        kinds.push(auth());
    }
    proptest::strategy::Union::new(kinds).boxed()
}

pub fn version() -> impl Strategy<Value = ProtocolVersion> {
    proptest::sample::select(ProtocolVersion::ALL.to_vec())
}

pub fn qos() -> impl Strategy<Value = QoS> {
    proptest::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

pub fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

/// A message as MQTT 5 has it; before, without properties.
pub fn message(version: ProtocolVersion) -> impl Strategy<Value = Message> {
    let properties = if version.is_v5() {
        publish_properties().boxed()
    } else {
        Just(None).boxed()
    };
    (topic(), payload(), qos(), any::<bool>(), properties).prop_map(
        |(topic, payload, qos, retain, properties)| {
            let mut message = Message::new(topic, payload, qos, retain);
            message.properties = properties;
            message
        },
    )
}

pub fn publish_properties() -> impl Strategy<Value = Option<Box<PublishProperties>>> {
    let fields = (
        any::<bool>(),
        of(any::<u32>()),
        of(text()),
        of(topic()),
        of(binary()),
        user_properties(),
    );
    fields.prop_map(|(utf8, expiry, content, response, correlation, user)| {
        let properties = PublishProperties {
            payload_is_utf8: utf8,
            message_expiry: expiry,
            content_type: content,
            response_topic: response,
            correlation_data: correlation,
            user_properties: user,
        };
        (properties != PublishProperties::default()).then(|| Box::new(properties))
    })
}

fn text() -> impl Strategy<Value = ByteString> {
    let character = prop_oneof![
        3 => prop::char::range('a', 'z'),
        1 => prop::sample::select(vec!['/', '+', '#', '$', ' ']),
        1 => any::<char>().prop_filter("U+0000", |&it| it != '\0'),
    ];
    vec(character, 0..8).prop_map(|characters| ByteString::from(String::from_iter(characters)))
}

fn topic() -> impl Strategy<Value = TopicName> {
    text().prop_map(|text| {
        let text = text.replace(['+', '#'], "/");
        TopicName::try_from(if text.is_empty() {
            "t".to_owned()
        } else {
            text
        })
        .unwrap()
    })
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..8).prop_map(Bytes::from)
}

/// Now and then long enough for a length of two bytes.
fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        9 => vec(any::<u8>(), 0..16),
        1 => vec(any::<u8>(), 100..300),
    ]
    .prop_map(Bytes::from)
}

fn user_properties() -> impl Strategy<Value = UserProperties> {
    prop_oneof![2 => Just(Vec::new()), 1 => vec((text(), text()), 1..3)]
}

/// Reason String and User Properties, which every answer of MQTT 5 may carry.
fn diagnostics(version: ProtocolVersion) -> BoxedStrategy<(Option<ByteString>, UserProperties)> {
    if version.is_v5() {
        (of(text()), user_properties()).boxed()
    } else {
        Just((None, Vec::new())).boxed()
    }
}

fn reason(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let all = (0..=u8::MAX).filter_map(ReasonCode::from_byte);
    proptest::sample::select(all.filter(|it| it.is_for(packet)).collect::<Vec<_>>())
}

fn will(version: ProtocolVersion) -> impl Strategy<Value = Will> {
    let delay = if version.is_v5() {
        any::<u32>().boxed()
    } else {
        Just(0).boxed()
    };
    (message(version), delay).prop_map(|(message, delay)| Will { message, delay })
}

fn connect(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let common = (
        any::<bool>(),
        any::<u16>(),
        text(),
        of(will(version).prop_map(Box::new)),
        of(text()),
        of(binary()),
    );
    common
        .prop_flat_map(
            move |(clean_start, keep_alive, client_id, will, user_name, password)| {
                let mut connect = Connect::new(version, client_id);
                connect.clean_start = clean_start;
                connect.keep_alive = keep_alive;
                connect.will = will;
                connect.password = password
                    .filter(|_| version.is_v5() || user_name.is_some())
                    .map(Into::into);
                connect.user_name = user_name;
                if version.is_v5() {
                    connect_properties(connect).boxed()
                } else {
                    connect.session_expiry = if clean_start { 0 } else { u32::MAX };
                    Just(connect).boxed()
                }
            },
        )
        .prop_map(|connect| Packet::Connect(Box::new(connect)))
        .boxed()
}

fn connect_properties(connect: Connect) -> impl Strategy<Value = Connect> {
    let limits = (any::<u32>(), 1..=u16::MAX, of(1..=u32::MAX), any::<u16>());
    let asked = (any::<bool>(), any::<bool>());
    let authentication = of((text(), of(binary())));
    (limits, asked, user_properties(), authentication).prop_map(
        move |(limits, asked, user_properties, authentication)| {
            let mut connect = connect.clone();
            connect.session_expiry = limits.0;
            connect.receive_maximum = limits.1;
            connect.maximum_packet_size = limits.2;
            connect.topic_alias_maximum = limits.3;
            connect.request_response_information = asked.0;
            connect.request_problem_information = asked.1;
            connect.user_properties = user_properties;
            if let Some((method, data)) = authentication {
                connect.authentication_method = Some(method);
                connect.authentication_data = data;
            }
            connect
        },
    )
}

fn connack(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    if !version.is_v5() {
        let fields = (any::<bool>(), 0..=5_u8);
        return fields
            .prop_map(move |(present, code)| {
                let present = present && code == 0 && version == ProtocolVersion::V311;
                let reason = ReasonCode::from_return_code(code).unwrap();
                Packet::Connack(Box::new(Connack::new(reason, present)))
            })
            .boxed();
    }
    let limits = (
        of(any::<u32>()),
        1..=u16::MAX,
        qos(),
        of(1..=u32::MAX),
        any::<u16>(),
        of(any::<u16>()),
    );
    let flags = any::<[bool; 5]>();
    let texts = (of(text()), of(text()), of(text()), of(text()), of(binary()));
    (
        reason(PacketType::Connack),
        limits,
        flags,
        texts,
        diagnostics(version),
    )
        .prop_map(|(reason, limits, flags, texts, diagnostics)| {
            let mut connack = Connack::new(reason, flags[0] && !reason.is_error());
            connack.session_expiry = limits.0;
            connack.receive_maximum = limits.1;
            connack.maximum_qos = limits.2;
            connack.maximum_packet_size = limits.3;
            connack.topic_alias_maximum = limits.4;
            connack.server_keep_alive = limits.5;
            connack.retain_available = flags[1];
            connack.wildcard_subscription_available = flags[2];
            connack.subscription_identifiers_available = flags[3];
            connack.shared_subscription_available = flags[4];
            connack.assigned_client_id = texts.0;
            connack.response_information = texts.1;
            connack.server_reference = texts.2;
            connack.authentication_method = texts.3;
            connack.authentication_data = texts.4;
            (connack.reason_string, connack.user_properties) = diagnostics;
            Packet::Connack(Box::new(connack))
        })
        .boxed()
}

pub fn publish(version: ProtocolVersion) -> impl Strategy<Value = Publish> {
    let of_version = if version.is_v5() {
        let ids = vec(1..=268_435_455_u32, 0..3);
        (of(1..=u16::MAX), any::<bool>(), ids).boxed()
    } else {
        Just((None, true, Vec::new())).boxed()
    };
    (message(version), any::<bool>(), packet_id(), of_version).prop_map(
        |(message, dup, id, (topic_alias, with_topic, subscription_ids))| {
            let id = Some(id).filter(|_| message.qos != QoS::AtMostOnce);
            let mut publish = message.into_publish(id);
            publish.dup = dup && id.is_some();
            publish.topic_alias = topic_alias;
            publish.subscription_ids = subscription_ids;
            if topic_alias.is_some() && !with_topic {
                publish.topic = None;
            }
            publish
        },
    )
}

fn acknowledge(version: ProtocolVersion, packet: PacketType) -> impl Strategy<Value = Acknowledge> {
    (packet_id(), reason(packet), diagnostics(version)).prop_map(
        move |(id, reason, (reason_string, user_properties))| Acknowledge {
            reason: if version.is_v5() {
                reason
            } else {
                ReasonCode::Success
            },
            reason_string,
            user_properties,
            packet_id: id,
        },
    )
}

fn subscription(version: ProtocolVersion) -> impl Strategy<Value = Subscription> {
    let handling = proptest::sample::select(vec![
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ]);
    (text(), qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        move |(filter, qos, no_local, retain_as_published, retain_handling)| {
            let mut subscription = Subscription::new(filter, qos);
            if version.is_v5() {
                subscription.no_local = no_local;
                subscription.retain_as_published = retain_as_published;
                subscription.retain_handling = retain_handling;
            }
            subscription
        },
    )
}

fn subscribe(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let of_version = if version.is_v5() {
        (of(1..=268_435_455_u32), user_properties()).boxed()
    } else {
        Just((None, Vec::new())).boxed()
    };
    (packet_id(), vec(subscription(version), 1..4), of_version)
        .prop_map(
            |(packet_id, subscriptions, (subscription_id, user_properties))| {
                Packet::Subscribe(Subscribe {
                    packet_id,
                    subscriptions,
                    subscription_id,
                    user_properties,
                })
            },
        )
        .boxed()
}

fn suback(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let reason = reason(PacketType::Suback).prop_map(move |reason| {
        if reason.is_error() && !version.is_v5() {
            ReasonCode::UnspecifiedError
        } else {
            reason
        }
    });
    (packet_id(), vec(reason, 1..4), diagnostics(version))
        .prop_map(|(packet_id, reasons, (reason_string, user_properties))| {
            Packet::Suback(Suback {
                packet_id,
                reasons,
                reason_string,
                user_properties,
            })
        })
        .boxed()
}

fn unsubscribe(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    (packet_id(), vec(text(), 1..4), diagnostics(version))
        .prop_map(|(packet_id, filters, (_, user_properties))| {
            Packet::Unsubscribe(Unsubscribe {
                packet_id,
                filters,
                user_properties,
            })
        })
        .boxed()
}

fn unsuback(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let reasons = vec(reason(PacketType::Unsuback), 1..4);
    (packet_id(), reasons, diagnostics(version))
        .prop_map(
            move |(packet_id, reasons, (reason_string, user_properties))| {
                Packet::Unsuback(Unsuback {
                    packet_id,
                    reasons: if version.is_v5() { reasons } else { Vec::new() },
                    reason_string,
                    user_properties,
                })
            },
        )
        .boxed()
}

fn disconnect(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    if !version.is_v5() {
        return Just(Packet::Disconnect(Disconnect::new(ReasonCode::Success))).boxed();
    }
    let fields = (
        reason(PacketType::Disconnect),
        of(any::<u32>()),
        of(text()),
        diagnostics(version),
    );
    fields
        .prop_map(|(reason, session_expiry, server_reference, diagnostics)| {
            let (reason_string, user_properties) = diagnostics;
            Packet::Disconnect(Disconnect {
                reason,
                session_expiry,
                reason_string,
                user_properties,
                server_reference,
            })
        })
        .boxed()
}

fn auth() -> BoxedStrategy<Packet> {
    let fields = (
        reason(PacketType::Auth),
        text(),
        of(binary()),
        diagnostics(ProtocolVersion::V5),
    );
    let whole = fields.prop_map(|(reason, method, data, (reason_string, user_properties))| {
        Packet::Auth(Auth {
            reason,
            authentication_method: Some(method),
            authentication_data: data,
            reason_string,
            user_properties,
        })
    });
    prop_oneof![9 => whole, 1 => Just(Packet::Auth(Auth::new(ReasonCode::Success)))].boxed()
}
