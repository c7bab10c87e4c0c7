//! The Modbus adapter against simulated devices over real sockets on loopback and pseudo terminals: every table and type,
//! every fault.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod by_hand;
mod faults;
mod lines;
mod oracle;
mod outages;
mod secure;
mod support;
mod templates;
mod values;
mod writes;
