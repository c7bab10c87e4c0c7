//! The server of the simulated devices.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use super::map::{DeviceMap, Signal, SimulatedTable};
use crate::clock;

/// More connections are refused.
pub const CONNECTIONS_MAX: usize = 64;
const BITS_MAX: u16 = 2000;
const REGISTERS_MAX: u16 = 125;
/// Pause before accepting again after the system refused to (no file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Starts simulated devices.
#[derive(Debug)]
pub struct Simulator;

/// Holds simulated devices; dropping it stops them and closes their connections.
#[derive(Debug)]
pub struct SimulatorHandle {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    devices: Mutex<Vec<DeviceMap>>,
    started: Instant,
}

impl Simulator {
    /// Serves `devices` at `address`, which may have port 0; tells where.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        devices: Vec<DeviceMap>,
    ) -> io::Result<(SocketAddr, SimulatorHandle)> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let shared = Arc::new(Shared {
            devices: Mutex::new(devices),
            started: clock::now(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok((local, SimulatorHandle { shared, task }))
    }
}

impl SimulatorHandle {
    /// How often the counter of a unit at `address` was read; `None` where there is none.
    #[must_use]
    pub fn count(&self, unit_id: u8, table: SimulatedTable, address: u16) -> Option<u32> {
        let devices = self.shared.lock();
        let device = devices.iter().find(|device| device.unit_id() == unit_id)?;
        device.count(table, address)
    }

    /// Replaces what a unit has at `address`; a unit that is not there stays away.
    pub fn set(&self, unit_id: u8, table: SimulatedTable, address: u16, signal: Signal) {
        let mut devices = self.shared.lock();
        if let Some(device) = devices
            .iter_mut()
            .find(|device| device.unit_id() == unit_id)
        {
            device.set(table, address, signal);
        }
    }

    /// Stops serving, closes every connection and gives the devices back as they are now.
    pub async fn stop(mut self) -> Vec<DeviceMap> {
        self.task.abort();
        if let Err(error) = (&mut self.task).await
            && !error.is_cancelled()
        {
            tracing::error!(%error, "the simulator failed");
        }
        std::mem::take(&mut *self.shared.lock())
    }
}

impl Drop for SimulatorHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<DeviceMap>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let server = Server::new(listener);
    // Each connection holds a clone of this, so its count is the number of connections.
    let slots = Arc::new(());
    let connected = |stream: tokio::net::TcpStream, _| {
        let service = Units {
            shared: Arc::clone(&shared),
            _slot: Arc::clone(&slots),
        };
        let full = Arc::strong_count(&slots) > CONNECTIONS_MAX + 1;
        async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "socket option refused");
            }
            Ok((!full).then_some((service, stream)))
        }
    };
    loop {
        let failed =
            |error: io::Error| tracing::debug!(%error, "a connection to the simulator ended");
        if let Err(error) = server.serve(&connected, failed).await {
            tracing::warn!(%error, "the simulator cannot accept");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// The devices as one connection sees them.
#[derive(Debug)]
struct Units {
    shared: Arc<Shared>,
    _slot: Arc<()>,
}

impl Service for Units {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let elapsed = clock::now().saturating_duration_since(self.shared.started);
        let mut devices = self.shared.lock();
        let device = devices
            .iter_mut()
            .find(|device| device.unit_id() == request.slave);
        ready(match device {
            Some(device) => answer(device, request.request, elapsed),
            None => Err(ExceptionCode::GatewayTargetDevice),
        })
    }
}

fn answer(
    device: &mut DeviceMap,
    request: Request<'_>,
    elapsed: Duration,
) -> Result<Response, ExceptionCode> {
    use SimulatedTable::{Coils, DiscreteInputs, HoldingRegisters, InputRegisters};
    let bits = |words: Vec<u16>| words.into_iter().map(|word| word != 0).collect();
    match request {
        Request::ReadCoils(address, quantity) => device
            .read(Coils, address, quantity, BITS_MAX, elapsed)
            .map(|words| Response::ReadCoils(bits(words))),
        Request::ReadDiscreteInputs(address, quantity) => device
            .read(DiscreteInputs, address, quantity, BITS_MAX, elapsed)
            .map(|words| Response::ReadDiscreteInputs(bits(words))),
        Request::ReadHoldingRegisters(address, quantity) => device
            .read(HoldingRegisters, address, quantity, REGISTERS_MAX, elapsed)
            .map(Response::ReadHoldingRegisters),
        Request::ReadInputRegisters(address, quantity) => device
            .read(InputRegisters, address, quantity, REGISTERS_MAX, elapsed)
            .map(Response::ReadInputRegisters),
        Request::WriteSingleCoil(address, bit) => device
            .write(Coils, address, &[u16::from(bit)])
            .map(|()| Response::WriteSingleCoil(address, bit)),
        Request::WriteSingleRegister(address, word) => device
            .write(HoldingRegisters, address, &[word])
            .map(|()| Response::WriteSingleRegister(address, word)),
        Request::WriteMultipleCoils(address, bits) => {
            let words: Vec<_> = bits.iter().map(|bit| u16::from(*bit)).collect();
            let quantity = u16::try_from(bits.len()).unwrap_or(u16::MAX);
            device
                .write(Coils, address, &words)
                .map(|()| Response::WriteMultipleCoils(address, quantity))
        }
        Request::WriteMultipleRegisters(address, words) => {
            let quantity = u16::try_from(words.len()).unwrap_or(u16::MAX);
            device
                .write(HoldingRegisters, address, &words)
                .map(|()| Response::WriteMultipleRegisters(address, quantity))
        }
        Request::MaskWriteRegister(address, and, or) => {
            let words = device.read(HoldingRegisters, address, 1, 1, elapsed)?;
            let word = words.first().copied().unwrap_or_default();
            // Modbus Application Protocol V1.1b3, section 6.16.
            let masked = (word & and) | (or & !and);
            device
                .write(HoldingRegisters, address, &[masked])
                .map(|()| Response::MaskWriteRegister(address, and, or))
        }
        _ => Err(ExceptionCode::IllegalFunction),
    }
}
