//! A read as it came in bytes, and the bytes of its reply with a fault in them. No I/O.

use super::answer::packed;
use super::fault::{Asked, Fault, Framing};
use super::frame::crc;

/// A read: unit, function, address, quantity.
const READ_BYTES: usize = 6;
/// Transaction, protocol and length in front of it.
const TCP_HEAD_BYTES: usize = 6;
/// The checksum behind it.
const CRC_BYTES: usize = 2;

impl Framing {
    /// Of a read.
    pub(super) fn request_bytes(self) -> usize {
        match self {
            Self::Tcp => TCP_HEAD_BYTES + READ_BYTES,
            Self::Rtu => READ_BYTES + CRC_BYTES,
        }
    }
}

/// A read as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    framing: Framing,
    transaction: u16,
    read: [u8; READ_BYTES],
}

/// What goes out, in pieces that are written one after the other.
pub(super) type Pieces = Vec<Vec<u8>>;

impl Request {
    /// `None` where these are not as many bytes as a read has.
    pub(super) fn parse(framing: Framing, bytes: &[u8]) -> Option<Self> {
        let (transaction, read) = match framing {
            Framing::Tcp => (
                u16::from_be_bytes(*bytes.first_chunk()?),
                bytes.last_chunk()?,
            ),
            Framing::Rtu => (0, bytes.first_chunk()?),
        };
        Some(Self {
            framing,
            transaction,
            read: *read,
        })
    }

    pub(super) fn asked(&self, number: u64, waiting: usize) -> Asked {
        let [unit, function, a0, a1, q0, q1] = self.read;
        Asked {
            number,
            waiting,
            unit,
            function,
            address: u16::from_be_bytes([a0, a1]),
            quantity: u16::from_be_bytes([q0, q1]),
        }
    }

    /// The reply, with `words` in it; only the lowest bit of each where bits were asked for.
    pub(super) fn reply(&self, fault: Fault, words: &[u16]) -> Pieces {
        let transaction = match fault {
            Fault::WrongTransaction => self.transaction.wrapping_sub(1),
            _ => self.transaction,
        };
        let mut frame = self.framed(transaction, self.body(fault, words), fault);
        match fault {
            Fault::Silent | Fault::Close => Vec::new(),
            Fault::Garbage => vec![vec![0xA5; 40]],
            Fault::Half => {
                frame.truncate(frame.len() / 2);
                vec![frame]
            }
            Fault::Cut(bytes) => {
                frame.truncate(bytes);
                vec![frame]
            }
            Fault::Twice => vec![frame.repeat(2)],
            Fault::Split(_) => {
                let behind = frame.split_off(frame.len() / 2);
                vec![frame, behind]
            }
            Fault::Trailing => vec![[&frame[..], &[0xA5; 3]].concat()],
            Fault::DriverNoise => vec![[&[0], &frame[..], &[0xFF]].concat()],
            Fault::Noise(bytes) => {
                let bytes = bytes.to_be_bytes();
                let noise = bytes.iter().copied().skip_while(|byte| *byte == 0);
                vec![noise.chain(frame).collect()]
            }
            Fault::Echo => {
                let echo = self.framed(self.transaction, self.read.to_vec(), fault);
                vec![echo, frame]
            }
            _ => vec![frame],
        }
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

    /// Unit and PDU of the reply.
    fn body(&self, fault: Fault, words: &[u16]) -> Vec<u8> {
        let [unit, function, ..] = self.read;
        if let Fault::Exception(code) = fault {
            return vec![unit, function | 0x80, code];
        }
        let (mut data, step) = if function <= 2 {
            (packed(words.iter().map(|word| word & 1 == 1)), 1)
        } else {
            (
                words.iter().flat_map(|word| word.to_be_bytes()).collect(),
                2,
            )
        };
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
        let mut body = vec![unit, function, u8::try_from(data.len()).unwrap_or(u8::MAX)];
        body.append(&mut data);
        body
    }
}
