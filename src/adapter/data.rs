//! What a Modbus device says that its registers hold. No I/O.

use serde::{Deserialize, Serialize};

/// What the device said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// Of coils and discrete inputs: exactly as many as were asked for.
    Bits(Vec<bool>),
    /// Of holding and input registers: exactly as many as were asked for.
    Registers(Vec<u16>),
    /// What was to be written is.
    Written,
}
