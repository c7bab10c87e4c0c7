//! The server of the simulated devices: over TCP, and over any line.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::answer::{answer, refusal};
use super::fault::Framing;
use super::frame::{Request, Requests};
use super::map::{DeviceMap, Signal, SimulatedTable};
use super::silence::Silence;
use super::trouble::{Trouble, Troubles};
use crate::clock;

/// What a gateway says where the unit behind it does not answer.
const NO_SUCH_UNIT: u8 = 0x0B;
/// What comes in place of an answer.
const GARBAGE: [u8; 40] = [0xA5; 40];

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
    troubles: Mutex<HashMap<u8, Troubles>>,
    silence: Silence,
    started: Instant,
}

impl Simulator {
    /// Serves `devices` by Modbus TCP at `address`, which may have port 0; tells where.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        devices: Vec<DeviceMap>,
    ) -> io::Result<(SocketAddr, SimulatorHandle)> {
        Self::bind_with(address, Framing::Tcp, devices).await
    }

    /// The same, or RTU over TCP, as behind a converter.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind_with(
        address: SocketAddr,
        framing: Framing,
        devices: Vec<DeviceMap>,
    ) -> io::Result<(SocketAddr, SimulatorHandle)> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let handle = Self::start(devices, |shared| accept(listener, framing, shared));
        Ok((local, handle))
    }

    /// Serves `devices` by Modbus RTU on a line.
    pub fn on_line(
        line: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        devices: Vec<DeviceMap>,
    ) -> SimulatorHandle {
        Self::start(devices, |shared| async move {
            if let Err(error) = serve(line, Framing::Rtu, &shared).await {
                tracing::debug!(%error, "the line of the simulator ended");
            }
        })
    }

    fn start<F>(devices: Vec<DeviceMap>, serve: impl FnOnce(Arc<Shared>) -> F) -> SimulatorHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            devices: Mutex::new(devices),
            troubles: Mutex::default(),
            silence: Silence::default(),
            started: clock::now(),
        });
        let task = tokio::spawn(serve(Arc::clone(&shared)));
        SimulatorHandle { shared, task }
    }
}

impl SimulatorHandle {
    /// How often the counter of a unit at `address` was read; `None` where there is none.
    #[must_use]
    pub fn count(&self, unit_id: u8, table: SimulatedTable, address: u16) -> Option<u32> {
        let devices = self.shared.devices();
        let device = devices.iter().find(|device| device.unit_id() == unit_id)?;
        device.count(table, address)
    }

    /// Replaces what a unit has at `address`; a unit that is not there stays away.
    pub fn set(&self, unit_id: u8, table: SimulatedTable, address: u16, signal: Signal) {
        let mut devices = self.shared.devices();
        if let Some(device) = devices
            .iter_mut()
            .find(|device| device.unit_id() == unit_id)
        {
            device.set(table, address, signal);
        }
    }

    /// From now on a unit is in trouble each time that it was asked so often.
    pub fn trouble(&self, unit_id: u8, trouble: Trouble, every: u32) {
        let troubles = Troubles::new(trouble, every);
        self.shared.troubles().insert(unit_id, troubles);
    }

    /// Answers nothing more, and waits for a question that shows that the last answer was received: who asks one at a time
    /// has it then.
    pub async fn fall_silent(&self) {
        self.shared.silence.fall().await;
    }

    /// Stops serving, closes every connection and gives the devices back as they are now.
    pub async fn stop(mut self) -> Vec<DeviceMap> {
        self.task.abort();
        if let Err(error) = (&mut self.task).await
            && !error.is_cancelled()
        {
            tracing::error!(%error, "the simulator failed");
        }
        std::mem::take(&mut *self.shared.devices())
    }
}

impl Drop for SimulatorHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn devices(&self) -> MutexGuard<'_, Vec<DeviceMap>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn troubles(&self) -> MutexGuard<'_, HashMap<u8, Troubles>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The PDU that answers; `None`: on this line nobody does.
    fn answer(&self, request: &Request, elapsed: Duration) -> Option<Vec<u8>> {
        let mut devices = self.devices();
        let device = devices
            .iter_mut()
            .find(|device| device.unit_id() == request.unit);
        let function = request.pdu.first().copied().unwrap_or_default();
        match device {
            Some(device) => Some(answer(device, &request.pdu, elapsed)),
            None if request.is_on_a_line() => None,
            None => Some(refusal(function, NO_SUCH_UNIT)),
        }
    }

    fn trouble_of(&self, unit_id: u8, elapsed: Duration) -> Option<Trouble> {
        self.troubles().get_mut(&unit_id)?.of_question(elapsed)
    }
}

async fn accept(listener: TcpListener, framing: Framing, shared: Arc<Shared>) {
    let serve = |stream| {
        let shared = Arc::clone(&shared);
        async move {
            if let Err(error) = serve(stream, framing, &shared).await {
                tracing::debug!(%error, "a connection to the simulator ended");
            }
        }
    };
    super::accept::accept(listener, serve).await;
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    framing: Framing,
    shared: &Shared,
) -> io::Result<()> {
    let mut requests = Requests::new(framing);
    loop {
        let request = requests.next(&mut stream).await?;
        let elapsed = clock::now().saturating_duration_since(shared.started);
        let trouble = shared.trouble_of(request.unit, elapsed);
        if shared.silence.question() || trouble == Some(Trouble::Dead) {
            continue;
        }
        let Some(pdu) = shared.answer(&request, elapsed) else {
            continue;
        };
        if let Some(Trouble::Late(delay)) = trouble {
            tokio::time::sleep(delay).await;
        }
        stream.write_all(&reply(&request, pdu, trouble)).await?;
    }
}

/// The bytes of the answer, as far as nothing goes wrong with it.
fn reply(request: &Request, mut pdu: Vec<u8>, trouble: Option<Trouble>) -> Vec<u8> {
    let function = request.pdu.first().copied().unwrap_or_default();
    match trouble {
        Some(Trouble::Garbage) => GARBAGE.to_vec(),
        Some(Trouble::Short) => {
            pdu.pop();
            request.reply(request.unit, &pdu)
        }
        Some(Trouble::ForeignUnit) => request.reply(request.unit.wrapping_add(1), &pdu),
        Some(Trouble::Exception(code)) => request.reply(request.unit, &refusal(function, code)),
        Some(Trouble::Late(_) | Trouble::Dead | Trouble::Reboot(_)) | None => {
            request.reply(request.unit, &pdu)
        }
    }
}
