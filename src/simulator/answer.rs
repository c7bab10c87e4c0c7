//! What a device answers to a request. No I/O; time is an argument.

use std::time::Duration;

use tokio_modbus::ExceptionCode;

use super::map::{DeviceMap, SimulatedTable};

const BITS_MAX: u16 = 2000;
const REGISTERS_MAX: u16 = 125;

/// The PDU that answers `pdu`.
pub(super) fn answer(device: &mut DeviceMap, pdu: &[u8], elapsed: Duration) -> Vec<u8> {
    let function = pdu.first().copied().unwrap_or_default();
    answered(device, pdu, elapsed).unwrap_or_else(|code| refusal(function, code.into()))
}

/// The PDU that refuses a request.
pub(super) fn refusal(function: u8, code: u8) -> Vec<u8> {
    vec![function | 0x80, code]
}

fn answered(
    device: &mut DeviceMap,
    pdu: &[u8],
    elapsed: Duration,
) -> Result<Vec<u8>, ExceptionCode> {
    use SimulatedTable::{Coils, DiscreteInputs, HoldingRegisters, InputRegisters};
    let [function, data @ ..] = pdu else {
        return Err(ExceptionCode::IllegalFunction);
    };
    let known = matches!(function, 1..=6 | 15 | 16 | 22);
    let &[a0, a1, v0, v1, ref rest @ ..] = data else {
        return Err(if known {
            ExceptionCode::IllegalDataValue
        } else {
            ExceptionCode::IllegalFunction
        });
    };
    let (address, value) = (u16::from_be_bytes([a0, a1]), u16::from_be_bytes([v0, v1]));
    let written = vec![*function, a0, a1, v0, v1];
    match function {
        1 | 2 => {
            let table = if *function == 1 {
                Coils
            } else {
                DiscreteInputs
            };
            let bits = device.read(table, address, value, BITS_MAX, elapsed)?;
            Ok(counted(*function, packed(bits.iter().map(|bit| *bit != 0))))
        }
        3 | 4 => {
            let table = if *function == 3 {
                HoldingRegisters
            } else {
                InputRegisters
            };
            let words = device.read(table, address, value, REGISTERS_MAX, elapsed)?;
            Ok(counted(
                *function,
                words.into_iter().flat_map(u16::to_be_bytes).collect(),
            ))
        }
        5 => {
            let bit = match value {
                0xFF00 => 1,
                0 => 0,
                _ => return Err(ExceptionCode::IllegalDataValue),
            };
            device.write(Coils, address, &[bit], elapsed)?;
            Ok(written)
        }
        6 => {
            device.write(HoldingRegisters, address, &[value], elapsed)?;
            Ok(written)
        }
        15 | 16 => {
            let words = several(*function, value, rest).ok_or(ExceptionCode::IllegalDataValue)?;
            let table = if *function == 15 {
                Coils
            } else {
                HoldingRegisters
            };
            device.write(table, address, &words, elapsed)?;
            Ok(written)
        }
        22 => {
            let &[o0, o1] = rest else {
                return Err(ExceptionCode::IllegalDataValue);
            };
            let masks = (value, u16::from_be_bytes([o0, o1]));
            mask(device, address, masks, elapsed)?;
            Ok(pdu.to_vec())
        }
        _ => Err(ExceptionCode::IllegalFunction),
    }
}

/// Modbus Application Protocol V1.1b3, section 6.16.
fn mask(
    device: &mut DeviceMap,
    address: u16,
    (and, or): (u16, u16),
    elapsed: Duration,
) -> Result<(), ExceptionCode> {
    let table = SimulatedTable::HoldingRegisters;
    let words = device.read(table, address, 1, 1, elapsed)?;
    let word = words.first().copied().unwrap_or_default();
    device.write(table, address, &[(word & and) | (or & !and)], elapsed)
}

/// The values of a request that writes so many, where it is whole.
fn several(function: u8, quantity: u16, rest: &[u8]) -> Option<Vec<u16>> {
    let [count, bytes @ ..] = rest else {
        return None;
    };
    let quantity = usize::from(quantity);
    let expected = match function {
        15 => quantity.div_ceil(8),
        _ => 2 * quantity,
    };
    if quantity == 0 || bytes.len() != expected || usize::from(*count) != expected {
        return None;
    }
    let bit = |bit: usize| Some(u16::from(bytes.get(bit / 8)? >> (bit % 8) & 1));
    match function {
        15 => (0..quantity).map(bit).collect(),
        _ => Some(
            bytes
                .chunks_exact(2)
                .map(|pair| {
                    pair.iter()
                        .fold(0, |word, byte| word << 8 | u16::from(*byte))
                })
                .collect(),
        ),
    }
}

fn counted(function: u8, mut data: Vec<u8>) -> Vec<u8> {
    let mut pdu = vec![function, u8::try_from(data.len()).unwrap_or(u8::MAX)];
    pdu.append(&mut data);
    pdu
}

/// Bits as Modbus packs them: the first in the lowest.
pub(super) fn packed(bits: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, bit) in bits.enumerate() {
        if at % 8 == 0 {
            bytes.push(0);
        }
        if let Some(last) = bytes.last_mut() {
            *last |= u8::from(bit) << (at % 8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::Signal;

    fn answers(requests: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut device = DeviceMap::new(1)
            .with(
                SimulatedTable::Coils,
                0,
                Signal::Words(vec![1, 0, 0, 0, 0, 0, 0, 0, 1]),
            )
            .with(
                SimulatedTable::HoldingRegisters,
                8,
                Signal::Words(vec![0x1234, 0xABCD]),
            );
        let mut answered = |pdu: &&[u8]| answer(&mut device, pdu, Duration::ZERO);
        requests.iter().map(&mut answered).collect()
    }

    #[test]
    fn each_function_is_answered_as_the_standard_has_it() {
        let cases: &[(&[u8], &[u8])] = &[
            (&[1, 0, 0, 0, 9], &[1, 2, 0b1, 0b1]),
            (&[3, 0, 8, 0, 2], &[3, 4, 0x12, 0x34, 0xAB, 0xCD]),
            (&[4, 0, 8, 0, 1], &[0x84, 2]),
            (&[3, 0, 8, 0, 126], &[0x83, 3]),
            (&[5, 0, 1, 0xFF, 0], &[5, 0, 1, 0xFF, 0]),
            (&[5, 0, 1, 0x12, 0], &[0x85, 3]),
            (&[6, 0, 9, 0, 7], &[6, 0, 9, 0, 7]),
            (&[16, 0, 8, 0, 2, 4, 0, 1, 0, 2], &[16, 0, 8, 0, 2]),
            (&[16, 0, 8, 0, 2, 4, 0, 1, 0], &[0x90, 3]),
            (&[15, 0, 0, 0, 9, 2, 0b10, 0], &[15, 0, 0, 0, 9]),
            (&[1, 0, 0, 0, 9], &[1, 2, 0b10, 0]),
            (&[3, 0, 8, 0, 2], &[3, 4, 0, 1, 0, 2]),
            (&[22, 0, 8, 0xFF, 0xFE, 0, 3], &[22, 0, 8, 0xFF, 0xFE, 0, 3]),
            (&[3, 0, 8, 0, 1], &[3, 2, 0, 1]),
            (&[22, 0, 8, 0xFF, 0xFE], &[0x96, 3]),
            (&[43, 14, 1, 0], &[0xAB, 1]),
            (&[3, 0], &[0x83, 3]),
        ];
        let requests: Vec<&[u8]> = cases.iter().map(|(request, _)| *request).collect();
        for ((request, expected), answer) in cases.iter().zip(answers(&requests)) {
            assert_eq!(answer, *expected, "{request:?}");
        }
    }
}
