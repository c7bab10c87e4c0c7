//! Listeners: accept sockets, shake hands, hand them to the broker.
//!
//! Runs on the main runtime; what leaves here is a stream whose handshake is done, never an MQTT packet. An accept loop
//! ends only when it is told to: whatever the system says, it backs off and tries again. At most [`HANDSHAKES_MAX`]
//! handshakes run at a time for a listener, each within the broker's connect timeout, counted from the accept.

mod accept;
mod bind;
mod error;
mod file_watch;
mod handshake;
mod listening;
mod options;
mod served;
mod stream;
mod websocket;

pub use accept::HANDSHAKES_MAX;
pub use error::{BindError, ListenError};
pub use listening::{Listener, PreparedListener, probe};
pub use options::{Bind, ListenerOptions};
pub use websocket::{Origins, WebSocketOptions};
