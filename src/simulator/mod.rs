//! Simulated field devices, for `simulate`, the demo and tests: Modbus devices with register maps in memory, on a real socket
//! or on any line ([`Simulator`]); serial instruments that say what they are told to ([`SimulatedInstrument`]); a device that
//! answers wrongly on purpose ([`FaultyDevice`]); and a serial line without hardware ([`Terminal`]).
//!
//! Invariants: at most [`CONNECTIONS_MAX`] connections; a register that was not mapped is refused with exception 02; a
//! unit that is not there is refused with 0B over TCP, as a gateway would, and on a line says nothing.

mod accept;
mod answer;
mod fault;
mod frame;
mod instrument;
mod map;
mod number;
mod reply;
mod server;
mod silence;
mod terminal;
mod trouble;

pub use accept::CONNECTIONS_MAX;
pub use fault::{Asked, Fault, FaultyDevice, Framing, Script};
pub use instrument::{Manner, SimulatedInstrument};
pub use map::{DeviceMap, Signal, SimulatedTable};
pub use number::{Motion, Number};
pub use server::{Simulator, SimulatorHandle};
pub use terminal::Terminal;
pub use trouble::Trouble;
