//! A Modbus device that answers wrongly on purpose, byte by byte, over TCP and over lines: what the adapter must withstand.
//!
//! Its registers hold their own addresses and its bits are their addresses' lowest bits, so that a reply taken for that of
//! another request can be seen in the value, unless a [`Script`] says otherwise.
//!
//! It hears requests while it answers others, and answers them in their order, as devices do: a reply that is late makes
//! those behind it late.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::reply::{Pieces, Request};

/// Requests of a connection that may wait for their replies; more are not read.
const WAITING_MAX: usize = 64;
/// From an echo, which comes as the request is sent, to the reply.
const ECHO_AHEAD: Duration = Duration::from_millis(2);
/// Bytes under way on a connection in memory.
const MEMORY_BYTES: usize = 4096;

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
    /// With the right reply, and the bytes of this number in front of it.
    Noise(u64),
    /// With the right reply, and the same again at once.
    Twice,
    /// With the right reply in two halves, so far apart.
    Split(Duration),
    /// With so many bytes of the right reply, and no more.
    Cut(usize),
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

/// A request as a [`Script`] sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The first that the device gets is 1.
    pub number: u64,
    /// How many before it are not answered yet.
    pub waiting: usize,
    /// Whom.
    pub unit: u8,
    /// By which function: 1 to 4.
    pub function: u8,
    /// From where.
    pub address: u16,
    /// How many.
    pub quantity: u16,
}

/// What a device does with each request, and what its registers hold then.
pub trait Script: Send + 'static {
    /// Called once for each request, when it comes.
    fn fault(&mut self, asked: &Asked) -> Fault;

    /// What is at `address` for this request; of a bit, in the lowest.
    fn word(&self, asked: &Asked, address: u16) -> u16;
}

/// All is well, and each register holds its own address.
struct Addresses;

impl Script for Addresses {
    fn fault(&mut self, _asked: &Asked) -> Fault {
        Fault::None
    }

    fn word(&self, _asked: &Asked, address: u16) -> u16 {
        address
    }
}

/// The device. Every unit is there and well until told otherwise. Dropping it closes all.
#[derive(Debug)]
pub struct FaultyDevice {
    shared: Arc<Shared>,
    requests: watch::Receiver<u64>,
    tasks: Mutex<JoinSet<()>>,
}

struct Shared {
    faults: Mutex<HashMap<u8, Plan>>,
    script: Mutex<Box<dyn Script>>,
    requests: watch::Sender<u64>,
}

impl FaultyDevice {
    /// Serves at `address`, which may have port 0; tells where.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind(address: SocketAddr, framing: Framing) -> io::Result<(SocketAddr, Self)> {
        let device = Self::new(Addresses);
        let local = device.listen(address, framing).await?;
        Ok((local, device))
    }

    /// Serves a line.
    pub fn on_line(line: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let device = Self::new(Addresses);
        device.attach(line, Framing::Rtu);
        device
    }

    /// One that does as `script` says, and cannot be reached yet.
    #[must_use]
    pub fn new(script: impl Script) -> Self {
        let (sender, requests) = watch::channel(0);
        Self {
            shared: Arc::new(Shared {
                faults: Mutex::default(),
                script: Mutex::new(Box::new(script)),
                requests: sender,
            }),
            requests,
            tasks: Mutex::default(),
        }
    }

    /// Serves at `address`, too; tells where.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn listen(&self, address: SocketAddr, framing: Framing) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let accepting = accept(listener, framing, Arc::clone(&self.shared));
        lock(&self.tasks).spawn(accepting);
        Ok(local)
    }

    /// Serves this, too.
    pub fn attach(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        framing: Framing,
    ) {
        let shared = Arc::clone(&self.shared);
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move { shared.serve(stream, framing).await });
    }

    /// A connection in memory.
    #[must_use]
    pub fn connect(&self, framing: Framing) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(MEMORY_BYTES);
        self.attach(ours, framing);
        theirs
    }

    /// From now on `unit_id` answers like this, whatever the script says.
    pub fn set(&self, unit_id: u8, fault: Fault) {
        lock(&self.shared.faults).insert(unit_id, Plan { fault, left: None });
    }

    /// `unit_id` answers its next `requests` like this, and well after them.
    pub fn set_for(&self, unit_id: u8, fault: Fault, requests: u32) {
        let left = Some(requests);
        lock(&self.shared.faults).insert(unit_id, Plan { fault, left });
    }

    /// The number of requests received, to read and to wait for.
    #[must_use]
    pub fn requests(&self) -> watch::Receiver<u64> {
        self.requests.clone()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What goes out, and how.
struct Reply {
    fault: Fault,
    pieces: Pieces,
    /// Counts those that wait, by its clones.
    _waits: Arc<()>,
}

impl Shared {
    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin, framing: Framing) {
        let (input, output) = tokio::io::split(stream);
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let ended = tokio::select! {
            ended = self.hear(input, framing, queue) => ended,
            ended = answer(output, waiting) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the faulty device ended");
        }
    }

    async fn hear(
        &self,
        mut input: impl AsyncRead + Unpin,
        framing: Framing,
        queue: mpsc::Sender<Reply>,
    ) -> io::Result<()> {
        let mut bytes = vec![0; framing.request_bytes()];
        let waits = Arc::new(());
        loop {
            input.read_exact(&mut bytes).await?;
            let request = Request::parse(framing, &bytes).ok_or(io::ErrorKind::InvalidData)?;
            let (fault, words) = self.decide(&request, Arc::strong_count(&waits) - 1);
            self.requests.send_modify(|requests| *requests += 1);
            let reply = Reply {
                fault,
                pieces: request.reply(fault, &words),
                _waits: Arc::clone(&waits),
            };
            if queue.send(reply).await.is_err() {
                return Ok(());
            }
        }
    }

    /// How the request that came is answered, and what the registers hold.
    fn decide(&self, request: &Request, waiting: usize) -> (Fault, Vec<u16>) {
        let mut script = lock(&self.script);
        let asked = request.asked(*self.requests.borrow() + 1, waiting);
        let fault = self.planned(asked.unit);
        let fault = fault.unwrap_or_else(|| script.fault(&asked));
        let addresses = (0..asked.quantity).map(|at| asked.address.wrapping_add(at));
        let words = addresses.map(|address| script.word(&asked, address));
        (fault, words.collect())
    }

    fn planned(&self, unit_id: u8) -> Option<Fault> {
        let mut plans = lock(&self.faults);
        let plan = plans.get_mut(&unit_id)?;
        match &mut plan.left {
            Some(0) => return Some(Fault::None),
            Some(left) => *left -= 1,
            None => {}
        }
        Some(plan.fault)
    }
}

/// Until one is to close the connection.
async fn answer(
    mut output: impl AsyncWrite + Unpin,
    mut waiting: mpsc::Receiver<Reply>,
) -> io::Result<()> {
    while let Some(reply) = waiting.recv().await {
        let pause = match reply.fault {
            Fault::Close => return Ok(()),
            Fault::Echo => ECHO_AHEAD,
            Fault::Split(pause) => pause,
            _ => Duration::ZERO,
        };
        if let Fault::Late(delay) = reply.fault {
            tokio::time::sleep(delay).await;
        }
        for (number, piece) in reply.pieces.iter().enumerate() {
            if number > 0 {
                tokio::time::sleep(pause).await;
            }
            output.write_all(piece).await?;
        }
    }
    Ok(())
}

async fn accept(listener: TcpListener, framing: Framing, shared: Arc<Shared>) {
    let serve = |stream| {
        let shared = Arc::clone(&shared);
        async move { shared.serve(stream, framing).await }
    };
    super::accept::accept(listener, serve).await;
}
