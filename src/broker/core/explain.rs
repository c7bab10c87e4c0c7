//! Reason Strings: what a reason code means here, for whoever looks for the fault at the client's end. Only where the code
//! by itself leaves a question open.

use bytestring::ByteString;

use crate::mqtt::{PacketType, ReasonCode};

/// For an answer of this type. Not for a client that asked for none (Request Problem Information 0), but for CONNACK and
/// DISCONNECT, which may explain themselves to anyone [MQTT-3.1.2-29].
pub(super) fn explain(packet: PacketType, reason: ReasonCode) -> Option<ByteString> {
    use PacketType::{Connack, Disconnect, Puback, Pubrec, Suback};
    let text = match (packet, reason) {
        (Puback | Pubrec, ReasonCode::NotAuthorized) => {
            "no access rule lets this client publish to the topic"
        }
        (Puback | Pubrec, ReasonCode::TopicNameInvalid) => "the topic has too many levels",
        (Puback | Pubrec, ReasonCode::QuotaExceeded) => {
            "there is no room: for one more retained message, or in the queue of a receiver; or the disk that should keep it \
             is out of use"
        }
        (Puback | Pubrec, ReasonCode::PayloadFormatInvalid) => {
            "the payload is not UTF-8, though its payload format indicator says so"
        }
        (Suback, ReasonCode::NotAuthorized) => {
            "no access rule lets this client read a topic that the filter matches"
        }
        (Suback, ReasonCode::TopicFilterInvalid) => "the filter has too many levels",
        (Suback, ReasonCode::QuotaExceeded) => "the session has as many subscriptions as it may",
        (Connack, ReasonCode::BadAuthenticationMethod) => {
            "there is no authentication method here: log in by user name and password, or by certificate"
        }
        (Connack, ReasonCode::ClientIdentifierNotValid) => {
            "the client identifier is empty where it must not be, or begins with $"
        }
        (Connack, ReasonCode::NotAuthorized) => {
            "a user name is needed, or no access rule lets this client publish its will"
        }
        (Connack, ReasonCode::ServerBusy) => "there are too many clients, or too many that log in",
        (Connack, ReasonCode::QuotaExceeded) => {
            "there are too many sessions; one with an expiry of 0 is still taken"
        }
        (Connack, ReasonCode::ServerUnavailable) => {
            "the disk that keeps sessions is out of use; a session with an expiry of 0 is still taken"
        }
        (Connack, ReasonCode::PayloadFormatInvalid) => {
            "the will's payload is not UTF-8, though its payload format indicator says so"
        }
        (Connack, ReasonCode::TopicNameInvalid) => "the will's topic has too many levels",
        (Disconnect, ReasonCode::ReceiveMaximumExceeded) => {
            "more messages without an answer than the receive maximum allows"
        }
        (Disconnect, ReasonCode::TopicAliasInvalid) => {
            "the topic alias is 0 or above the topic alias maximum"
        }
        (Disconnect, ReasonCode::QuotaExceeded) => "the topics behind the aliases are too long",
        (Disconnect, ReasonCode::SessionTakenOver) => {
            "another connection came with the same client identifier"
        }
        (Disconnect, ReasonCode::KeepAliveTimeout) => {
            "nothing was heard for one and a half times the keep alive"
        }
        (Disconnect, ReasonCode::AdministrativeAction) => "closed by an operator",
        (Disconnect, ReasonCode::NotAuthorized) => "the user does not exist any more",
        _ => return None,
    };
    Some(ByteString::from_static(text))
}
