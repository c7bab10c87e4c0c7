//! A read as the function of Modbus that asks for it, and what came back: exactly as much, or nothing. No I/O.

use tokio_modbus::{Request, Response};

use super::super::options::Table;
use super::super::plan::ReadRequest;
use super::super::reason::Reason;
use crate::clock::WallTime;

/// What the device said: exactly as many as were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// Of coils and discrete inputs.
    Bits(Vec<bool>),
    /// Of holding and input registers.
    Registers(Vec<u16>),
}

/// A checked reply.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The data.
    pub(crate) data: Data,
    /// When its last byte arrived.
    pub(crate) at: WallTime,
}

pub(super) fn function(request: &ReadRequest) -> Request<'static> {
    let (address, quantity) = (request.address, request.quantity);
    match request.table {
        Table::Coils => Request::ReadCoils(address, quantity),
        Table::DiscreteInputs => Request::ReadDiscreteInputs(address, quantity),
        Table::HoldingRegisters => Request::ReadHoldingRegisters(address, quantity),
        Table::InputRegisters => Request::ReadInputRegisters(address, quantity),
    }
}

/// Bytes of data in the right reply.
pub(super) fn data_bytes(request: &ReadRequest) -> usize {
    let quantity = usize::from(request.quantity);
    if request.table.holds_bits() {
        quantity.div_ceil(8)
    } else {
        quantity * 2
    }
}

/// tokio-modbus has matched unit and function, but not the count with the request.
pub(super) fn data(request: &ReadRequest, response: Response) -> Result<Data, Reason> {
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
