//! Modbus TCP: one connection, one request at a time, through tokio-modbus behind checks of our own.
//!
//! What tokio-modbus 0.17 does and does not do, measured: after a timeout every further call on the connection is off by
//! one; a reply with too few or too many registers is handed over as good (and panics in debug builds behind the
//! comfortable methods); what a failure means cannot be told from its error. Hence:
//!
//! - [`Tap`](tap::Tap) sits between the socket and the crate and sees what really was sent and received;
//! - [`Connection`](connection::Connection) is *consumed* by each request and given back only after a reply that was
//!   checked in full, so no connection that ever failed can be asked again;
//! - [`Wire`](wire::Wire) dials anew: at once or after a back-off.

mod connection;
mod tap;
mod wire;

pub(super) use connection::{Data, Reply};
pub(super) use wire::{Attempt, Wire};
