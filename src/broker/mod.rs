//! The local broker: a core that decides, and the shell that carries it out.
//!
//! `core` has no I/O. The shell runs it on a thread of its own, with a current-thread runtime and state that only this
//! thread owns: no lock, no hop on the way of a message from one socket to the next. Around it:
//!
//! - `handle`: how others start and hold the broker, `request`: what they ask of it while it runs; `thread`: what runs
//!   on it; `shell`: what its tasks share; `round`: when they write; `carry_out`: what becomes of the core's effects,
//!   `refused`: what the log says of those about rights; `stores` and `keeping`: what outlives the broker,
//!   `new_routes`: what a route takes that was there before it;
//! - `express`: the short way of packets whose fate is known;
//! - `greeting` and `connection`: a client on a socket, `peer` and `outbox`: its other side for those who publish to it, `encoded`: a
//!   message encoded once for all its receivers, `topic_aliases`: which topics a client knows by number;
//! - `seats`: how many connections each address has;
//! - `link` and `link_task`: a client inside the program, through the same core.
//!
//! Invariants: nothing waits inside a turn and no cell stays borrowed across an await; each touched connection is
//! written to once a round, never inside the routing loop; only `covered` releases an acknowledgement; TLS handshakes,
//! password hashes and disks run elsewhere.

mod attach;
mod carry_out;
mod connection;
pub mod core;
mod encoded;
mod express;
mod figures;
mod greeting;
mod handle;
mod inlet;
mod keeping;
mod link;
mod link_packets;
mod link_task;
mod new_routes;
mod options;
mod outbox;
mod peer;
mod refused;
mod request;
mod round;
mod route;
mod seats;
mod shell;
mod stores;
mod thread;
mod topic_aliases;
mod traffic;

pub use self::core::Publisher;
pub use figures::BrokerStats;
pub use handle::{Broker, BrokerHandle, IncomingConnection, Stream};
pub use inlet::{Inlet, InletAnswer, InletOptions};
pub use link::{Link, LinkClosed, LinkOptions};
pub use options::{BrokerOptions, Durability, Limits, WhenQueueFull};
pub use request::{ListedSession, SessionPage};
pub use route::{ForwardRoute, LATE_PROPERTY, Latest, RetainPolicy};
pub use seats::{NoSeat, Seat};
pub use stores::{Attachment, Missing, SessionStore, Stores};
pub use traffic::Traffic;

/// Where a message came from: for audit, loop rules, and the rule that the gateway's own `$` topics never enter a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An MQTT client.
    Client,
    /// A field device, through an adapter.
    Device,
    /// An upstream, through the bridge with this log, in the order of attachment.
    Bridge(usize),
    /// fieldgate itself.
    Gateway,
    /// A person at a command, who asks through the control socket. May do everything, and is promised what a client is.
    Console,
}

impl Origin {
    /// Whether nobody is there who could send a message again, or wait with it.
    fn has_no_resender(self) -> bool {
        matches!(self, Self::Device | Self::Gateway)
    }

    /// Whether it is told who publishes what it gets: clients are not.
    fn is_told_the_publisher(self) -> bool {
        matches!(self, Self::Device | Self::Console)
    }
}
