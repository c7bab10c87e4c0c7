//! Why a connection ends, in words for whoever reads the status.

use std::fmt;

use crate::mqtt::ReasonCode;

/// Why the core closes a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// CONNACK with a refusal.
    #[error("the upstream refused the connection: {}{}", Explained(*reason), Text(text))]
    Refused {
        /// Its Reason Code; for 3.1.1 the one with the meaning of the return code.
        reason: ReasonCode,
        /// Its Reason String.
        text: Option<String>,
    },
    /// No CONNACK in time.
    #[error("the upstream sent no CONNACK in time")]
    NoConnack,
    /// PINGREQ without PINGRESP.
    #[error("the upstream no longer answers: no PINGRESP in time")]
    NoPingresp,
    /// The watchdog.
    #[error(
        "the upstream no longer acknowledges: a message has waited too long (a provider without QoS 2, or over its rate limit, does this)"
    )]
    Unacknowledged,
    /// DISCONNECT from the upstream.
    #[error("the upstream disconnected: {}{}", Explained(*reason), Text(text))]
    Disconnected {
        /// Its Reason Code.
        reason: ReasonCode,
        /// Its Reason String.
        text: Option<String>,
    },
    /// The upstream broke the standard.
    #[error("{0}, which breaks the MQTT standard")]
    Violation(&'static str),
    /// What the upstream knows of our session does not fit what we know: the next CONNECT begins a new one.
    #[error("the upstream's session does not fit the backlog; a new session is begun")]
    SessionMismatch,
    /// MQTT 3.1.1: a connection made only to make the upstream forget an old session. The next one may follow at once.
    #[error("the old session at the upstream was cleared")]
    SessionCleared,
    /// The bridge goes on by another connection, which is there already.
    #[error("moved to another connection")]
    Moved,
    /// The local broker ended the session that the upstream's messages go to.
    #[error(
        "the local broker closed this bridge's way in; the upstream sends again what was under way"
    )]
    InletClosed,
    /// We were asked to stop.
    #[error("stopped")]
    Stopped,
}

/// A Reason Code with what to do about it.
struct Explained(ReasonCode);

/// A Reason String, if there is one.
struct Text<'a>(&'a Option<String>);

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(formatter, " (it says: {text:?})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explanation = match self.0 {
            ReasonCode::UnsupportedProtocolVersion => {
                "it does not speak this version of MQTT; set the bridge's protocol to the other one"
            }
            ReasonCode::ClientIdentifierNotValid => "it does not allow this client_id",
            ReasonCode::BadUserNameOrPassword => "bad user name or password",
            ReasonCode::NotAuthorized => {
                "not authorised; check user, password, certificate and the upstream's rules for this client_id"
            }
            ReasonCode::ServerUnavailable => "it is not available now",
            ReasonCode::ServerBusy => "it is busy",
            ReasonCode::Banned => "this client is banned",
            ReasonCode::ServerShuttingDown => "it is shutting down",
            ReasonCode::BadAuthenticationMethod => "it wants another way of authentication",
            ReasonCode::KeepAliveTimeout => "it heard nothing from us within the keep alive",
            ReasonCode::SessionTakenOver => {
                "another client connected with the same client_id; every gateway needs its own"
            }
            ReasonCode::PacketTooLarge => "a packet was larger than it takes",
            ReasonCode::QuotaExceeded => "a quota is used up",
            ReasonCode::MessageRateTooHigh => "too many messages a second",
            ReasonCode::RetainNotSupported => "it does not support retained messages",
            ReasonCode::QoSNotSupported => "it does not support this QoS",
            ReasonCode::UseAnotherServer | ReasonCode::ServerMoved => {
                "it wants to be reached at another address"
            }
            ReasonCode::ConnectionRateExceeded => "too many connections a second",
            ReasonCode::Success => "normal disconnection",
            _ => {
                return write!(formatter, "{:?} (0x{:02X})", self.0, self.0.byte());
            }
        };
        write!(formatter, "{explanation} (0x{:02X})", self.0.byte())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_credentials_are_named_with_code_and_the_servers_words() {
        let cause = Cause::Refused {
            reason: ReasonCode::BadUserNameOrPassword,
            text: Some("try again".to_owned()),
        };
        assert_eq!(
            cause.to_string(),
            "the upstream refused the connection: bad user name or password (0x86) (it says: \"try again\")"
        );
    }
}
