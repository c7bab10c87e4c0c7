//! What is asked of a device as the function of Modbus that asks for it, and what came back: exactly that, or nothing.
//! No I/O.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use tokio_modbus::{Request, Response};

use super::super::data::Data;
use super::super::options::Table;
use super::super::plan::ReadRequest;
use super::super::reason::Reason;
use super::super::write::{WriteData, WriteRequest};
use super::frame::Shape;
use crate::clock::WallTime;

/// Function and byte count before the data of a reply to a read.
const READ_HEAD_BYTES: usize = 2;
/// A reply to a write: function, address, and what was written or how much.
const WRITTEN_BYTES: usize = 5;
/// The same of function 22, whose reply has both masks.
const MASKED_BYTES: usize = 7;
/// A request on a serial line without its data: unit, function, address, quantity or value, checksum.
const REQUEST_BYTES: usize = 8;

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask<'a> {
    /// A read.
    Read(&'a ReadRequest),
    /// A write, which is not to be sent later than then.
    Write(&'a WriteRequest, Option<Instant>),
}

/// A checked reply.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The data.
    pub(crate) data: Data,
    /// When its last byte arrived.
    pub(crate) at: WallTime,
    /// From when the request was sent.
    pub(crate) took: Duration,
}

impl<'a> From<&'a ReadRequest> for Ask<'a> {
    fn from(request: &'a ReadRequest) -> Self {
        Self::Read(request)
    }
}

impl Ask<'_> {
    pub(super) fn is_write(self) -> bool {
        matches!(self, Self::Write(..))
    }

    /// Whether it is too late to send it.
    pub(super) fn is_late(self, now: Instant) -> bool {
        matches!(self, Self::Write(_, Some(until)) if until <= now)
    }

    /// The read of the same registers.
    pub(super) fn as_read(self) -> ReadRequest {
        match self {
            Self::Read(request) => ReadRequest {
                tags: Vec::new(),
                ..*request
            },
            Self::Write(request, _) => request.read_back(),
        }
    }

    pub(super) fn function(self) -> Request<'static> {
        let request = match self {
            Self::Write(request, _) => request,
            Self::Read(request) => {
                let (address, quantity) = (request.address, request.quantity);
                return match request.table {
                    Table::Coils => Request::ReadCoils(address, quantity),
                    Table::DiscreteInputs => Request::ReadDiscreteInputs(address, quantity),
                    Table::HoldingRegisters => Request::ReadHoldingRegisters(address, quantity),
                    Table::InputRegisters => Request::ReadInputRegisters(address, quantity),
                };
            }
        };
        let address = request.address;
        match &request.data {
            WriteData::Coil(coil) => Request::WriteSingleCoil(address, *coil),
            WriteData::Register(word) => Request::WriteSingleRegister(address, *word),
            WriteData::Coils(coils) => {
                Request::WriteMultipleCoils(address, Cow::Owned(coils.clone()))
            }
            WriteData::Registers(words) => {
                Request::WriteMultipleRegisters(address, Cow::Owned(words.clone()))
            }
            WriteData::Bits { bits, to } => Request::MaskWriteRegister(address, !*bits, to & bits),
        }
    }

    /// Bytes of the right reply, from its function to its last byte before a checksum.
    pub(super) fn reply_bytes(self) -> usize {
        match self {
            Self::Read(request) => READ_HEAD_BYTES + data_bytes(request),
            Self::Write(
                WriteRequest {
                    data: WriteData::Bits { .. },
                    ..
                },
                _,
            ) => MASKED_BYTES,
            Self::Write(..) => WRITTEN_BYTES,
        }
    }

    /// Bytes of the request on a serial line.
    pub(super) fn frame_bytes(self) -> usize {
        let data = match self {
            Self::Read(_) => 0,
            Self::Write(request, _) => match &request.data {
                WriteData::Coil(_) | WriteData::Register(_) => 0,
                WriteData::Coils(coils) => 1 + coils.len().div_ceil(8),
                WriteData::Registers(words) => 1 + 2 * words.len(),
                WriteData::Bits { .. } => 2,
            },
        };
        REQUEST_BYTES + data
    }

    /// Of the reply on a serial line.
    pub(super) fn shape(self) -> Shape {
        let function = match self {
            Self::Read(request) => request.table.read_function(),
            Self::Write(request, _) => request.function(),
        };
        Shape::of(function, self.reply_bytes())
    }

    /// tokio-modbus has matched unit and function, but neither the count nor what was written with the request.
    pub(super) fn data(self, response: Response) -> Result<Data, Reason> {
        match self {
            Self::Read(request) => read(request, response),
            Self::Write(request, _) => written(request, &response),
        }
    }
}

/// Bytes of data in the right reply to a read.
fn data_bytes(request: &ReadRequest) -> usize {
    let quantity = usize::from(request.quantity);
    if request.table.holds_bits() {
        quantity.div_ceil(8)
    } else {
        quantity * 2
    }
}

fn read(request: &ReadRequest, response: Response) -> Result<Data, Reason> {
    let quantity = usize::from(request.quantity);
    match (request.table, response) {
        (Table::Coils, Response::ReadCoils(mut bits))
        | (Table::DiscreteInputs, Response::ReadDiscreteInputs(mut bits)) => {
            // The crate unpacks whole bytes.
            if bits.len() != data_bytes(request) * 8 {
                return Err(Reason::WrongCount);
            }
            bits.truncate(quantity);
            Ok(Data::Bits(bits))
        }
        (Table::HoldingRegisters, Response::ReadHoldingRegisters(words))
        | (Table::InputRegisters, Response::ReadInputRegisters(words)) => {
            if words.len() != quantity {
                return Err(Reason::WrongCount);
            }
            Ok(Data::Registers(words))
        }
        _ => Err(Reason::WrongFunction),
    }
}

fn written(request: &WriteRequest, response: &Response) -> Result<Data, Reason> {
    let quantity = request.quantity();
    let (address, is_right) = match (&request.data, response) {
        (WriteData::Coil(coil), Response::WriteSingleCoil(address, said)) => {
            (address, coil == said)
        }
        (WriteData::Register(word), Response::WriteSingleRegister(address, said)) => {
            (address, word == said)
        }
        (WriteData::Coils(_), Response::WriteMultipleCoils(address, said))
        | (WriteData::Registers(_), Response::WriteMultipleRegisters(address, said)) => {
            (address, *said == quantity)
        }
        (WriteData::Bits { bits, to }, Response::MaskWriteRegister(address, and, or)) => {
            (address, (*and, *or) == (!bits, to & bits))
        }
        _ => return Err(Reason::WrongFunction),
    };
    if is_right && *address == request.address {
        Ok(Data::Written)
    } else {
        Err(Reason::WrongReply)
    }
}
