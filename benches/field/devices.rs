//! Modbus TCP devices behind one port, told apart by their units: they answer at once and note when each request came.
//!
//! All their holding registers are 0. They are a thread of their own, and know no request but the one that reads them.

use std::net::TcpListener as Bound;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use fieldgate::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// Of a request: transaction, protocol, length, unit, function, address, quantity.
pub const REQUEST_BYTES: usize = 12;
pub const READ_HOLDING_REGISTERS: u8 = 3;

/// When a device was asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub unit: u8,
    pub at: Instant,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Devices {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Devices {
    /// They stay until the program ends.
    pub fn start() -> Self {
        let bound = Bound::bind("127.0.0.1:0").unwrap();
        bound.set_nonblocking(true).unwrap();
        let port = bound.local_addr().unwrap().port();
        let asked = Arc::default();
        let devices = Self {
            port,
            asked: Arc::clone(&asked),
        };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        thread::spawn(move || runtime.block_on(serve(bound, asked)));
        devices
    }

    /// All requests since this was called last.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn serve(bound: Bound, asked: Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::from_std(bound).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(answer(stream, Arc::clone(&asked)));
    }
}

async fn answer(mut stream: TcpStream, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut request = [0; REQUEST_BYTES];
    while stream.read_exact(&mut request).await.is_ok() {
        let [t0, t1, _, _, _, _, unit, function, _, _, q0, q1] = request;
        let at = clock::now();
        assert_eq!(function, READ_HOLDING_REGISTERS);
        asked.lock().unwrap().push(Asked { unit, at });
        let data = 2 * u16::from_be_bytes([q0, q1]);
        let [l0, l1] = (3 + data).to_be_bytes();
        let mut reply = vec![t0, t1, 0, 0, l0, l1, unit, function, data as u8];
        reply.resize(reply.len() + usize::from(data), 0);
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}
