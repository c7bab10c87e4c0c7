//! Simulated field devices: a Modbus TCP server with register maps in memory, for the demo and for tests, on a real
//! socket; a device that answers wrongly on purpose ([`FaultyDevice`]); and a serial line without hardware ([`Terminal`]).
//!
//! Invariants: at most [`CONNECTIONS_MAX`] connections; a register that was not mapped is refused with exception 02, a
//! unit that is not there with 0B, as a gateway would.

mod answer;
mod fault;
mod map;
mod server;
mod terminal;

pub use fault::{Asked, Fault, FaultyDevice, Framing, Script};
pub use map::{DeviceMap, Signal, SimulatedTable};
pub use server::{CONNECTIONS_MAX, Simulator, SimulatorHandle};
pub use terminal::Terminal;
