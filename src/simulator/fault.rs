//! A Modbus device that answers wrongly on purpose, byte by byte, over TCP and over lines: what the adapter must withstand.
//!
//! Its registers hold their own addresses and its bits are their addresses' lowest bits, so that a reply taken for that of
//! another request can be seen in the value.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Connections served at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// A read: unit, function, address, quantity.
const READ_BYTES: usize = 6;
/// Transaction, protocol and length in front of it.
const TCP_HEAD_BYTES: usize = 6;
/// The checksum behind it.
const CRC_BYTES: usize = 2;

/// What is around unit and PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Modbus TCP.
    Tcp,
    /// Modbus RTU.
    Rtu,
}

/// How a unit answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As it should.
    None,
    /// As it should, but so much later.
    Late(Duration),
    /// With one bit byte or register less than asked for.
    Short,
    /// With one more.
    Long,
    /// With the right reply and bytes behind it.
    Trailing,
    /// As if it were the next unit.
    WrongUnit,
    /// With the transaction of the request before; on a line, which has none, as it should.
    WrongTransaction,
    /// With a wrong checksum; over TCP, which has none, as it should.
    WrongChecksum,
    /// With the request in front of the reply, as an adapter does that hears itself.
    Echo,
    /// With a byte in front of the reply and one behind it, as drivers make them when they switch.
    DriverNoise,
    /// To the function after the one asked.
    WrongFunction,
    /// With bytes that are no reply.
    Garbage,
    /// With the first half of the reply, and no more.
    Half,
    /// Not at all.
    Silent,
    /// By closing the connection.
    Close,
    /// With an exception code.
    Exception(u8),
}

/// What a unit does, for so many requests (`None`: all that come).
#[derive(Clone, Copy, Debug)]
struct Plan {
    fault: Fault,
    left: Option<u32>,
}

/// The device. Every unit is there and well until told otherwise. Dropping it closes all.
#[derive(Debug)]
pub struct FaultyDevice {
    shared: Arc<Shared>,
    requests: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    faults: Mutex<HashMap<u8, Plan>>,
    requests: watch::Sender<u64>,
}

impl FaultyDevice {
    /// Serves at `address`, which may have port 0; tells where.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind(address: SocketAddr, framing: Framing) -> io::Result<(SocketAddr, Self)> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let device = Self::start(|shared| accept(listener, framing, shared));
        Ok((local, device))
    }

    /// Serves a line.
    pub fn on_line(line: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self::start(|shared| async move {
            if let Err(error) = serve(line, Framing::Rtu, &shared).await {
                tracing::debug!(%error, "the line of the faulty device ended");
            }
        })
    }

    fn start<F>(serve: impl FnOnce(Arc<Shared>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, requests) = watch::channel(0);
        let shared = Arc::new(Shared {
            faults: Mutex::default(),
            requests: sender,
        });
        let task = tokio::spawn(serve(Arc::clone(&shared)));
        Self {
            shared,
            requests,
            task,
        }
    }

    /// From now on `unit_id` answers like this.
    pub fn set(&self, unit_id: u8, fault: Fault) {
        self.shared
            .lock()
            .insert(unit_id, Plan { fault, left: None });
    }

    /// `unit_id` answers its next `requests` like this, and well after them.
    pub fn set_for(&self, unit_id: u8, fault: Fault, requests: u32) {
        let left = Some(requests);
        self.shared.lock().insert(unit_id, Plan { fault, left });
    }

    /// The number of requests received, to read and to wait for.
    #[must_use]
    pub fn requests(&self) -> watch::Receiver<u64> {
        self.requests.clone()
    }
}

impl Drop for FaultyDevice {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// How `unit_id` answers the request that came.
    fn fault(&self, unit_id: u8) -> Fault {
        let mut plans = self.lock();
        let Some(plan) = plans.get_mut(&unit_id) else {
            return Fault::None;
        };
        match &mut plan.left {
            Some(0) => return Fault::None,
            Some(left) => *left -= 1,
            None => {}
        }
        plan.fault
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u8, Plan>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, framing: Framing, shared: Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Owned here, so that the connections end with the device.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the faulty device cannot accept");
                return;
            }
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "socket option refused");
            }
            if let Err(error) = serve(stream, framing, &shared).await {
                tracing::debug!(%error, "a connection to the faulty device ended");
            }
            drop(slot);
        });
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    framing: Framing,
    shared: &Shared,
) -> io::Result<()> {
    loop {
        let request = Request::read(&mut stream, framing).await?;
        let fault = shared.fault(request.unit());
        shared.requests.send_modify(|requests| *requests += 1);
        let reply = request.reply(fault);
        match fault {
            Fault::Silent => {}
            Fault::Close => return Ok(()),
            Fault::Garbage => stream.write_all(&[0xA5; 40]).await?,
            Fault::Late(delay) => {
                tokio::time::sleep(delay).await;
                stream.write_all(&reply).await?;
            }
            Fault::Half => {
                let (half, _) = reply.split_at(reply.len() / 2);
                stream.write_all(half).await?;
            }
            _ => stream.write_all(&reply).await?,
        }
    }
}

/// A read as it came.
struct Request {
    framing: Framing,
    transaction: u16,
    read: [u8; READ_BYTES],
}

impl Request {
    async fn read(stream: &mut (impl AsyncRead + Unpin), framing: Framing) -> io::Result<Self> {
        let mut head = [0; TCP_HEAD_BYTES];
        let mut read = [0; READ_BYTES];
        let mut checksum = [0; CRC_BYTES];
        match framing {
            Framing::Tcp => {
                stream.read_exact(&mut head).await?;
                stream.read_exact(&mut read).await?;
            }
            Framing::Rtu => {
                stream.read_exact(&mut read).await?;
                stream.read_exact(&mut checksum).await?;
            }
        }
        let [t0, t1, ..] = head;
        Ok(Self {
            framing,
            transaction: u16::from_be_bytes([t0, t1]),
            read,
        })
    }

    fn unit(&self) -> u8 {
        let [unit, ..] = self.read;
        unit
    }

    fn reply(&self, fault: Fault) -> Vec<u8> {
        let body = body(self.read, fault);
        let mut frame = match fault {
            Fault::Echo => self.framed(self.transaction, self.read.to_vec(), fault),
            Fault::DriverNoise => vec![0],
            _ => Vec::new(),
        };
        let transaction = match fault {
            Fault::WrongTransaction => self.transaction.wrapping_sub(1),
            _ => self.transaction,
        };
        frame.append(&mut self.framed(transaction, body, fault));
        match fault {
            Fault::Trailing => frame.extend_from_slice(&[0xA5; 3]),
            Fault::DriverNoise => frame.push(0xFF),
            _ => {}
        }
        frame
    }

    fn framed(&self, transaction: u16, mut body: Vec<u8>, fault: Fault) -> Vec<u8> {
        match self.framing {
            Framing::Tcp => {
                let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
                let [t0, t1] = transaction.to_be_bytes();
                let [l0, l1] = length.to_be_bytes();
                let mut frame = vec![t0, t1, 0, 0, l0, l1];
                frame.append(&mut body);
                frame
            }
            Framing::Rtu => {
                let wrong = u16::from(fault == Fault::WrongChecksum);
                let checksum = crc(&body) ^ wrong;
                body.extend_from_slice(&checksum.to_le_bytes());
                body
            }
        }
    }
}

/// Unit and PDU of the reply.
fn body(read: [u8; READ_BYTES], fault: Fault) -> Vec<u8> {
    let [unit, function, a0, a1, q0, q1] = read;
    let address = u16::from_be_bytes([a0, a1]);
    let quantity = u16::from_be_bytes([q0, q1]);
    let mut data = if function <= 2 {
        bits(address, quantity)
    } else {
        (0..quantity)
            .flat_map(|offset| address.wrapping_add(offset).to_be_bytes())
            .collect()
    };
    let step = if function <= 2 { 1 } else { 2 };
    match fault {
        Fault::Short => data.truncate(data.len().saturating_sub(step)),
        Fault::Long => data.resize(data.len() + step, 0),
        _ => {}
    }
    let (unit, function) = match fault {
        Fault::WrongUnit => (unit.wrapping_add(1), function),
        Fault::WrongFunction => (unit, function % 4 + 1),
        _ => (unit, function),
    };
    if let Fault::Exception(code) = fault {
        return vec![unit, function | 0x80, code];
    }
    let mut body = vec![unit, function, u8::try_from(data.len()).unwrap_or(u8::MAX)];
    body.append(&mut data);
    body
}

/// CRC-16/MODBUS. Not that of the adapter, on purpose: a fault in either shows.
fn crc(bytes: &[u8]) -> u16 {
    let mut crc = u16::MAX;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (0xA001 * carry);
        }
    }
    crc
}

/// The lowest bits of the addresses, packed as Modbus has it: the first in the lowest bit.
fn bits(address: u16, quantity: u16) -> Vec<u8> {
    let mut packed = vec![0; usize::from(quantity.div_ceil(8))];
    for offset in 0..quantity {
        let bit = (address.wrapping_add(offset) & 1) as u8;
        if let Some(byte) = packed.get_mut(usize::from(offset / 8)) {
            *byte |= bit << (offset % 8);
        }
    }
    packed
}
