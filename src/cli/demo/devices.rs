//! The demo's devices: one by Modbus TCP, one by Modbus RTU and a serial scale, the last two on pseudo terminals. Each says
//! with each reading how often it was read, so that a missing one shows.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::story::DemoError;
use super::tally::{Item, Source};
use crate::simulator::{
    DeviceMap, Manner, Motion, Number, Signal, SimulatedInstrument, SimulatedTable, Simulator,
    SimulatorHandle, Terminal,
};
use crate::value::{ByteOrder, TagType};

const UNIT_ID: u8 = 1;
/// Address of the counter among the holding registers, as in `demo.yaml.in`.
const COUNTER: u16 = 0;

/// The running devices.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) press_address: SocketAddr,
    pub(super) meter_port: PathBuf,
    pub(super) scale_port: PathBuf,
    press: SimulatorHandle,
    meter: SimulatorHandle,
    scale: SimulatedInstrument,
}

impl Devices {
    /// Listens on a free port of loopback and plugs two terminals in, with names in `folder`.
    pub(super) async fn start(folder: &Path) -> Result<Self, DemoError> {
        let (press_address, press) =
            Simulator::bind((Ipv4Addr::LOCALHOST, 0).into(), vec![press_map()])
                .await
                .map_err(DemoError::Device)?;
        let (meter_port, scale_port) = (folder.join("meter"), folder.join("scale"));
        let terminal = |port| Terminal::plug_in(port).map_err(DemoError::Device);
        let meter = Simulator::on_line(terminal(&meter_port)?, vec![meter_map()]);
        let asked = Manner::Asked(b"SI\r\n".to_vec());
        let scale = SimulatedInstrument::on_line(terminal(&scale_port)?, asked, None, weight);
        Ok(Self {
            press_address,
            meter_port,
            scale_port,
            press,
            meter,
            scale,
        })
    }

    /// Ends all answers, and waits until the gateway has received those that it got.
    pub(super) async fn fall_silent(&self) {
        tokio::join!(
            self.press.fall_silent(),
            self.meter.fall_silent(),
            self.scale.fall_silent()
        );
    }

    /// Every reading so far, by what the counters said.
    pub(super) fn readings(&self) -> impl Iterator<Item = Item> {
        Source::ALL.into_iter().flat_map(|source| {
            let count = match source {
                Source::Press => counted(&self.press),
                Source::Meter => counted(&self.meter),
                Source::Scale => self.scale.said(),
            };
            (1..=count).map(move |count| Item::Reading(source, count))
        })
    }
}

fn counted(device: &SimulatorHandle) -> u64 {
    let count = device.count(UNIT_ID, SimulatedTable::HoldingRegisters, COUNTER);
    u64::from(count.unwrap_or(0))
}

fn counter() -> DeviceMap {
    let table = SimulatedTable::HoldingRegisters;
    DeviceMap::new(UNIT_ID).with(table, COUNTER, Signal::Counter(0))
}

fn press_map() -> DeviceMap {
    let temperature = Signal::Sine {
        mean: 215.0,
        amplitude: 30.0,
        period: Duration::from_secs(20),
    };
    let running = Signal::Square {
        period: Duration::from_secs(10),
    };
    counter()
        .with(SimulatedTable::InputRegisters, 0, temperature)
        .with(SimulatedTable::Coils, 0, running)
}

fn meter_map() -> DeviceMap {
    let motion = Motion::Wave {
        mean: 230.0,
        amplitude: 4.0,
        period: Duration::from_secs(15),
    };
    let voltage = Signal::Number(Number {
        kind: TagType::Float32,
        byte_order: ByteOrder::ABCD,
        motion,
    });
    counter().with(SimulatedTable::InputRegisters, 0, voltage)
}

/// The line of the scale's n-th reading.
fn weight(reading: u64) -> Vec<u8> {
    let grams = 12_000 + reading * 370 % 2_500;
    let (kilograms, rest) = (grams / 1000, grams % 1000);
    format!("S S {kilograms:>6}.{rest:03} kg N{reading}\r\n").into_bytes()
}
