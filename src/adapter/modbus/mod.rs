//! Modbus: one request at a time, through tokio-modbus behind checks of our own, over TCP and over serial lines.
//!
//! What tokio-modbus 0.17 does and does not do, measured: after a timeout every further call on a TCP connection is off by
//! one, and on a line gets the reply to the one before; a reply with too few or too many registers is handed over as good
//! (and panics in debug builds behind the comfortable methods); what a failure means cannot be told from its error. Hence:
//!
//! - [`Tap`](tap::Tap) sits between the socket and the crate and sees what really was sent and received;
//! - [`Connection`](connection::Connection), Modbus TCP, is *consumed* by each request and given back only after a reply
//!   that was checked in full, so no connection that ever failed can be asked again;
//! - [`Line`](line::Line), RTU, cannot be left behind like that: it judges each frame by itself ([`frame`]) and keeps in
//!   mind which replies may still come ([`doubt`]), so that none is taken for a later one;
//! - [`Link`](link::Link) is either, open or not, and [`Wire`](wire::Wire) has it opened anew ([`Opener`]): at once or after
//!   a back-off.

mod ask;
mod connection;
mod doubt;
mod frame;
mod line;
mod link;
mod open;
mod secure;
mod tap;
mod traffic;
mod wire;

pub use open::Opener;

pub(super) use ask::{Ask, Reply};
pub(super) use wire::{Attempt, Wire};
