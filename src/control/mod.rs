//! The control socket: how other commands of this program ask the gateway that runs.
//!
//! A unix socket. One request a connection: a line of JSON ([`Request`]); the answer is lines of JSON ([`Line`]), the last of
//! which is `end` or `fault`: without it the answer is not whole. A peer that closes wants no more of it. The socket's file lets its owner and group in; who is let
//! in is looked at once more by the credentials of the peer.
//!
//! It never answers by itself: requests go to whoever holds the other end of a bounded channel (`app`), which is why nothing
//! here knows a bridge or a broker.

mod client;
mod members;
mod protocol;
mod server;

pub use client::{Answers, AskError, ask};
pub use protocol::{Line, Payload, REQUEST_BYTES_MAX, Request};
pub use server::{Asked, ControlSocket};
