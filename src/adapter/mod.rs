//! Adapters: field devices into the broker. One actor task per connection, with one outstanding request.
//!
//! `options` what to read; `plan` as which requests, `split` what of one that is refused (kept in `splits_file`), `budget` how much of a line's time,
//! `schedule` when, `health` how a device stands, `said` what of a reading is new, `publish` how it is said, `command` and
//! `write` what is done for a command (all without I/O); `modbus` the wire; `desk` takes commands in;
//! `poller` the actor, `supervisor` who keeps it running; `serial` instruments that speak no Modbus, whose ports `attendant` opens; `latest` the newest readings for who looks; `outbox` the bounded queue
//! to the broker; `figures` what is measured of a wire: of its time by `wire_use`, of its port by `line_errors`. Reasons of bad readings are
//! listed in `reason`. `by_hand` is what a person asks, where no actor does or through it.
//!
//! Invariants: a value comes from the reply to its own request, checked in full, or there is none but a reason (P4);
//! polling never waits for the broker (P3); one dead unit costs the others on its wire at most one timeout per back-off.

mod attendant;
mod budget;
pub mod by_hand;
mod command;
mod cycle;
mod data;
mod desk;
mod figures;
#[cfg(test)]
mod fixture;
pub mod health;
mod latest;
mod line_errors;
mod modbus;
mod options;
mod outbox;
pub mod plan;
mod poller;
mod publish;
mod reason;
mod refusal;
mod rs485;
mod said;
pub mod schedule;
pub mod serial;
mod serial_port;
mod split;
mod splits_file;
mod start;
mod supervisor;
mod wire_options;
mod wire_use;
mod write;

pub use budget::{Load, OVERBOOKED_ABOVE};
pub use command::CommandError;
pub use desk::{CommandSource, NoCommands};
pub use figures::WireFigures;
pub use health::{DeviceState, DeviceStatus};
pub use latest::{Latest, LatestTag, NoValue, Readings, latest_fields, latest_tags};
pub use modbus::Opener;
pub use options::{
    ConnectionOptions, DeviceOptions, GroupOptions, Payload, ProbeBackoff, PublishOptions, Table,
    TagOptions, UnitId, WriteFunction, WriteOptions,
};
pub use outbox::{OutboxStats, Sink};
pub use plan::PlanError;
pub use reason::Reason;
pub use start::{Adapter, AdapterStatus, NamedStatus};
pub use wire_options::{Parity, Rs485Options, RtuOptions, SerialOptions, TcpOptions, WireOptions};

pub use write::WRITTEN_REGISTERS_MAX;

pub use crate::value::TagType;
