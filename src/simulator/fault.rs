//! A Modbus TCP device that answers wrongly on purpose, byte by byte on a raw socket: what the adapter must withstand.
//!
//! Its registers hold their own addresses and its bits are their addresses' lowest bits, so that a reply taken for that of
//! another request can be seen in the value.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Connections served at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// A read request: header, function, address, quantity.
const REQUEST_BYTES: usize = 12;

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
    /// With the transaction of the request before.
    WrongTransaction,
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
    pub async fn bind(address: SocketAddr) -> io::Result<(SocketAddr, Self)> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let (sender, requests) = watch::channel(0);
        let shared = Arc::new(Shared {
            faults: Mutex::default(),
            requests: sender,
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        let device = Self {
            shared,
            requests,
            task,
        };
        Ok((local, device))
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

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
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
            if let Err(error) = serve(stream, &shared).await {
                tracing::debug!(%error, "a connection to the faulty device ended");
            }
            drop(slot);
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut request = [0; REQUEST_BYTES];
        stream.read_exact(&mut request).await?;
        let [.., unit, _, _, _, _, _] = request;
        let fault = shared.fault(unit);
        shared.requests.send_modify(|requests| *requests += 1);
        match fault {
            Fault::Silent => {}
            Fault::Close => return Ok(()),
            Fault::Garbage => stream.write_all(&[0xA5; 40]).await?,
            Fault::Late(delay) => {
                tokio::time::sleep(delay).await;
                stream.write_all(&reply(request, fault)).await?;
            }
            Fault::Half => {
                let reply = reply(request, fault);
                let (half, _) = reply.split_at(reply.len() / 2);
                stream.write_all(half).await?;
            }
            _ => stream.write_all(&reply(request, fault)).await?,
        }
    }
}

fn reply(request: [u8; REQUEST_BYTES], fault: Fault) -> Vec<u8> {
    let [t0, t1, _, _, _, _, unit, function, a0, a1, q0, q1] = request;
    let transaction = u16::from_be_bytes([t0, t1]);
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
    let (transaction, unit, function) = match fault {
        Fault::WrongTransaction => (transaction.wrapping_sub(1), unit, function),
        Fault::WrongUnit => (transaction, unit.wrapping_add(1), function),
        Fault::WrongFunction => (transaction, unit, function % 4 + 1),
        _ => (transaction, unit, function),
    };
    let mut body = vec![unit];
    if let Fault::Exception(code) = fault {
        body.extend_from_slice(&[function | 0x80, code]);
    } else {
        body.extend_from_slice(&[function, u8::try_from(data.len()).unwrap_or(u8::MAX)]);
        body.append(&mut data);
    }
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut frame = transaction.to_be_bytes().to_vec();
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.append(&mut body);
    if fault == Fault::Trailing {
        frame.extend_from_slice(&[0xA5; 3]);
    }
    frame
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
