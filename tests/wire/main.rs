//! What a client sees on the wire, statement by statement of both standards, against a real broker over real sockets.
//!
//! Packets are written and read here by hand (`packet`), apart from the codec under test, and everything that the broker
//! says is read strictly: reserved bits, lengths, properties that a packet may not have. A test bears the number of the
//! statement that it shows (`mqtt_` for MQTT 5, `mqtt311_` for 3.1.1); `/// Shows also` names further ones; what is
//! malformed or forbidden stands in the tables of `bad_input`. `coverage` compares all that with `statements.txt`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test that goes wrong shall stop"
)]

/// Names tests by the statement that they show: one scenario, run in both versions where both have the statement.
macro_rules! rules {
    ($($(#[$attribute:meta])* $name:ident: $scenario:ident($($argument:expr),*);)+) => {
        $($(#[$attribute])* #[test] fn $name() { $scenario($($argument),*); })+
    };
}

mod bad_input;
mod client;
mod gateway;
mod packet;
mod server;

mod alias;
mod connack;
mod connect;
mod coverage;
mod disconnect;
mod durable;
mod flow;
mod limits;
mod publish;
mod qos;
mod retained;
mod rights;
mod session;
mod shared;
mod subscribe;
mod topic;
mod unsubscribe;
mod websocket;
mod will;
