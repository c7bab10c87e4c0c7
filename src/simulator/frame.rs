//! Requests as they arrive over TCP and over a line, and replies as they leave. What is no request is passed over byte by
//! byte on a line, and ends a TCP connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::fault::Framing;

/// Transaction, protocol, length, unit.
const TCP_HEAD_BYTES: usize = 7;
/// The longest frame of RTU, and the longest unit and PDU.
const RTU_BYTES_MAX: usize = 256;
const CRC_BYTES: usize = 2;
/// Silence on a line after which what was begun is dropped.
const LINE_SILENCE: Duration = Duration::from_millis(100);

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    framing: Framing,
    transaction: u16,
    pub(super) unit: u8,
    pub(super) pdu: Vec<u8>,
}

/// The requests of one connection or line.
#[derive(Debug)]
pub(super) struct Requests {
    framing: Framing,
    /// What has come and is no request yet.
    buffer: Vec<u8>,
}

impl Request {
    /// The frame around `pdu`, as from `unit`.
    pub(super) fn reply(&self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        let body = [&[unit], pdu].concat();
        match self.framing {
            Framing::Tcp => {
                let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
                let head = [self.transaction, 0, length].map(u16::to_be_bytes);
                [head.as_flattened(), &body].concat()
            }
            Framing::Rtu => {
                let checksum = crc(&body).to_le_bytes();
                [body.as_slice(), &checksum].concat()
            }
        }
    }

    /// Whether units on the same wire hear it, and keep silent when it is for another.
    pub(super) fn is_on_a_line(&self) -> bool {
        self.framing == Framing::Rtu
    }
}

impl Requests {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            buffer: Vec::new(),
        }
    }

    /// The next request.
    ///
    /// # Errors
    /// Where the connection ended, or carries no Modbus TCP.
    pub(super) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Request> {
        loop {
            let found = match self.framing {
                Framing::Tcp => self.tcp()?,
                Framing::Rtu => self.rtu(),
            };
            if let Some(request) = found {
                return Ok(request);
            }
            let mut bytes = [0; RTU_BYTES_MAX];
            let read = stream.read(&mut bytes);
            let read = if self.framing == Framing::Rtu && !self.buffer.is_empty() {
                match timeout(LINE_SILENCE, read).await {
                    Ok(read) => read?,
                    Err(_) => {
                        self.buffer.clear();
                        continue;
                    }
                }
            } else {
                read.await?
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend(bytes.iter().take(read));
        }
    }

    fn tcp(&mut self) -> io::Result<Option<Request>> {
        let Some(&[t0, t1, p0, p1, l0, l1, unit]) = self.buffer.first_chunk::<TCP_HEAD_BYTES>()
        else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if [p0, p1] != [0, 0] || !(2..=RTU_BYTES_MAX).contains(&length) {
            return Err(io::Error::other("it is no Modbus TCP"));
        }
        let end = TCP_HEAD_BYTES - 1 + length;
        let Some(pdu) = self.buffer.get(TCP_HEAD_BYTES..end).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.buffer.drain(..end);
        Ok(Some(Request {
            framing: Framing::Tcp,
            transaction: u16::from_be_bytes([t0, t1]),
            unit,
            pdu,
        }))
    }

    /// The first frame in the buffer with a right checksum; what stands before it is dropped.
    fn rtu(&mut self) -> Option<Request> {
        while let [unit, function, rest @ ..] = self.buffer.as_slice() {
            let length = match (*function, rest) {
                (1..=6, _) => 8,
                (15 | 16, [_, _, _, _, count, ..]) => 9 + usize::from(*count),
                (15 | 16, _) => 9,
                (22, _) => 10,
                // Its length is not known: perhaps it is all that has come.
                _ => self.buffer.len().max(4),
            };
            let frame = self.buffer.get(..length);
            if frame.is_none() && length <= RTU_BYTES_MAX {
                return None;
            }
            let body = frame.filter(|frame| crc(frame) == 0);
            let body = body.and_then(|frame| frame.get(1..length - CRC_BYTES));
            if let Some(pdu) = body.map(<[u8]>::to_vec) {
                let unit = *unit;
                self.buffer.drain(..length);
                return Some(Request {
                    framing: Framing::Rtu,
                    transaction: 0,
                    unit,
                    pdu,
                });
            }
            // With a function of unknown length, the rest of the frame may still come.
            if !matches!(function, 1..=6 | 15 | 16 | 22) && self.buffer.len() < RTU_BYTES_MAX {
                return self.after_garbage();
            }
            self.buffer.remove(0);
        }
        None
    }

    /// The frame of known length behind a beginning that may be garbage.
    fn after_garbage(&mut self) -> Option<Request> {
        let known = |from: &usize| {
            let frame = self.buffer.get(*from..from + 8);
            frame.is_some_and(|frame| matches!(frame, [_, 1..=6, ..]) && crc(frame) == 0)
        };
        let from = (1..self.buffer.len()).find(known)?;
        self.buffer.drain(..from);
        self.rtu()
    }
}

/// CRC-16/MODBUS. Not that of the adapter, on purpose: a fault in either shows. Over a frame with its own it is 0.
pub(super) fn crc(bytes: &[u8]) -> u16 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit and PDU of the requests in `bytes`, that came in pieces of `piece`.
    fn requests(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut requests = Requests::new(Framing::Rtu);
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            requests.buffer.extend(piece);
            while let Some(request) = requests.rtu() {
                found.push([&[request.unit][..], &request.pdu].concat());
            }
        }
        found
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        [body, &crc(body).to_le_bytes()].concat()
    }

    #[test]
    fn a_request_is_found_behind_garbage_however_the_line_cuts_it() {
        let read = [17, 4, 0, 8, 0, 2];
        let write = [1, 16, 0, 1, 0, 1, 2, 0xAB, 0xCD];
        let identify = [1, 43, 14, 1, 0];
        let garbage = [0xA5, 3, 0xFF, 0x10, 0];
        let mut bytes = frame(&read);
        bytes.extend(garbage);
        bytes.extend(frame(&read));
        bytes.extend(frame(&write));
        for piece in [1, 3, 8, 64] {
            let expected = [read.to_vec(), read.to_vec(), write.to_vec()];
            assert_eq!(requests(&bytes, piece), expected, "{piece}");
        }
        assert_eq!(requests(&frame(&identify), 64), [identify.to_vec()]);
        let mut damaged = frame(&read);
        damaged[3] ^= 1;
        assert_eq!(requests(&damaged, 64), [[0; 0]; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_is_forgotten_in_the_silence_behind_it() {
        use tokio::io::AsyncWriteExt;
        let (mut master, mut line) = tokio::io::duplex(64);
        let mut requests = Requests::new(Framing::Rtu);
        master.write_all(&[1, 16, 0, 1, 0, 9, 18]).await.unwrap();
        let whole = async {
            tokio::time::sleep(2 * LINE_SILENCE).await;
            master.write_all(&frame(&[1, 3, 0, 0, 0, 1])).await.unwrap();
        };
        let (request, ()) = tokio::join!(requests.next(&mut line), whole);
        assert_eq!(request.unwrap().pdu, [3, 0, 0, 0, 1]);
    }

    #[tokio::test]
    async fn what_is_no_modbus_tcp_ends_the_connection() {
        let mut requests = Requests::new(Framing::Tcp);
        let mut http: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        assert!(requests.next(&mut http).await.is_err());
    }
}
