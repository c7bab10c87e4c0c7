//! The running broker, through real sockets on loopback and its own codec.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod bad_input;
mod durable;
mod exchange;
mod figures;
mod inlet;
mod limits;
mod link;
mod login;
mod new_routes;
mod overtake;
mod requests;
mod slow;
mod support;
mod tls;
mod unix;
mod websocket;
