//! MQTT over WebSocket (RFC 6455; MQTT 5.0 section 6): a byte stream in binary frames, which the broker takes like any
//! other.
//!
//! - `request`: what an upgrade asks for and how it is answered; `deframe`: frames to bytes, in place. Both without I/O.
//! - `upgrade`: the handshake on a socket; `stream`: the frames on it.
//!
//! Our own code instead of a library: libraries gather messages, and MQTT has no use for them, because packets span frames as they
//! like. Here nothing is gathered: a frame is unmasked where it was read, and goes out in front of bytes that lie in the outbox. So no
//! length that a client claims is ever allocated, the packet limit is the decoder's as on every listener, and an idle
//! connection keeps some 150 bytes. No extension is ever agreed on.

mod deframe;
mod outgoing;
mod request;
mod stream;
mod upgrade;

pub use request::Origins;
pub(super) use stream::WebSocket;
pub(super) use upgrade::{UpgradeFault, upgrade};

/// What a listener with WebSocket asks of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketOptions {
    /// The path of the URL.
    pub path: String,
    /// Which web pages may connect.
    pub origins: Origins,
}
