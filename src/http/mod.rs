//! The console: health, metrics and the gateway's state by HTTP, for whoever watches the gateway from the same machine.
//!
//! It only tells: GET and HEAD, no request changes anything. There is no login, so it is for loopback unless the owner says
//! otherwise, and requests that a web page of another site had a browser make are refused by the host that they name.
//! HTTP/1 itself is hyper's. Bounded: connections, the length of a request's head, the time that it may take, and the life
//! of a connection.
//!
//! It knows no broker and no bridge: who holds the other end of a bounded channel (`app`) is asked for the whole state, and
//! all that is shown is made of that.

mod answer;
mod connection;
mod hosts;
mod metrics;
mod opening;
mod ready;
mod request;
mod server;

pub use hosts::Hosts;
pub use metrics::exposition;
pub use server::{Console, Limits, Wanted};

#[cfg(test)]
mod tests;
