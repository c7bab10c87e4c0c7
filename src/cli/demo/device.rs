//! The demo's device: a Modbus TCP server with a counter that counts its own readings, so that a missing one shows.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::story::DemoError;
use crate::simulator::{DeviceMap, Signal, SimulatedTable, Simulator, SimulatorHandle};

const UNIT_ID: u8 = 1;
/// Address of the counter among the holding registers, as in `demo.yaml.in`.
const COUNTER: u16 = 0;

/// The running device.
#[derive(Debug)]
pub(super) struct Device {
    address: SocketAddr,
    simulator: SimulatorHandle,
}

impl Device {
    /// Listens on a free port of loopback.
    pub(super) async fn start() -> Result<Self, DemoError> {
        let temperature = Signal::Sine {
            mean: 215.0,
            amplitude: 30.0,
            period: Duration::from_secs(20),
        };
        let running = Signal::Square {
            period: Duration::from_secs(10),
        };
        let map = DeviceMap::new(UNIT_ID)
            .with(
                SimulatedTable::HoldingRegisters,
                COUNTER,
                Signal::Counter(0),
            )
            .with(SimulatedTable::InputRegisters, 0, temperature)
            .with(SimulatedTable::Coils, 0, running);
        let (address, simulator) = Simulator::bind((Ipv4Addr::LOCALHOST, 0).into(), vec![map])
            .await
            .map_err(DemoError::Device)?;
        Ok(Self { address, simulator })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the counter said at each reading so far.
    pub(super) fn readings(&self) -> RangeInclusive<u64> {
        let count = self
            .simulator
            .count(UNIT_ID, SimulatedTable::HoldingRegisters, COUNTER);
        1..=u64::from(count.unwrap_or(0))
    }
}
