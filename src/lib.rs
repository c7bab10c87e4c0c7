//! fieldgate: an IoT edge gateway in one program. A local MQTT broker, field devices mapped to topics in YAML, and a
//! store-and-forward bridge to the cloud.
//!
//! The rooms, lowest first. A room may name only rooms on rows above its own in this list, and rooms on one row never
//! name each other; `tests/tidy.rs` checks it. ARCHITECTURE.md has the map, the flows and the invariants.

// vocabulary
pub mod clock;
pub mod metrics;
pub mod secret;
pub mod shutdown;
pub mod topic;
pub mod value;
// the protocol, the sockets' options, what rooms tell about themselves
pub mod mqtt;
pub mod net;
pub mod status;
// delivery state machines
pub mod session;
// what must outlive a power cut
pub mod store;
// who may do what; what happened
pub mod auth;
pub mod events;
// the local broker
pub mod broker;
// the rooms with I/O; each knows only the rooms above
pub mod adapter;
pub mod bridge;
pub mod control;
pub mod http;
pub mod listener;
pub mod simulator;
// YAML to options; the only room with serde_yaml
pub mod config;
// wiring, supervision, shutdown order
pub mod app;
// the commands a person types
pub mod cli;
