//! The packets by which a link speaks to the core, as a client's library would make them. No I/O.

use super::link::{Joining, WINDOW};
use crate::mqtt::{
    Acknowledge, Connect, PacketId, QoS, ReasonCode, RetainHandling, Subscribe, Subscription,
};
use crate::topic::TopicFilter;

pub(super) fn success(id: PacketId) -> Acknowledge {
    Acknowledge::new(id, ReasonCode::Success)
}

pub(super) fn subscribe(packet_id: PacketId, filter: &TopicFilter, qos: QoS) -> Subscribe {
    Subscribe {
        packet_id,
        subscriptions: vec![Subscription {
            filter: filter.as_str().into(),
            qos,
            no_local: false,
            retain_as_published: true,
            retain_handling: RetainHandling::Send,
        }],
        subscription_id: None,
        user_properties: Vec::new(),
    }
}

pub(super) fn connect(joining: Joining) -> Connect {
    Connect {
        version: joining.version,
        clean_start: joining.clean_start,
        keep_alive: 0,
        client_id: joining.client_id,
        will: None,
        user_name: None,
        password: None,
        session_expiry: joining.session_expiry,
        receive_maximum: WINDOW,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
    }
}
