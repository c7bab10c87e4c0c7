//! Damage to bytes, in the places and ways that decoders stumble over.

use proptest::prelude::*;

/// One change at a place; the place is taken modulo the length.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Cut(usize),
}

impl Damage {
    pub fn apply(self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Set(at, byte) => {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            Self::Flip(at, bit) => {
                let at = at % bytes.len();
                bytes[at] ^= 1 << (bit % 8);
            }
            Self::Insert(at, byte) => bytes.insert(at % (bytes.len() + 1), byte),
            Self::Remove(at) => {
                bytes.remove(at % bytes.len());
            }
            Self::Cut(at) => bytes.truncate(at % bytes.len()),
        }
    }
}

/// Small numbers, which are lengths, flags and property identifiers, more often than others.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => 0..0x2C_u8, 1 => Just(0x80), 1 => Just(0xFF), 1 => any::<u8>()]
}

/// Places near the front, where the lengths and flags are, more often than others.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0..16_usize, 1 => 0..400_usize]
}

pub fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => (place(), byte()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        3 => (place(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        2 => (place(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        2 => place().prop_map(Damage::Remove),
        1 => place().prop_map(Damage::Cut),
    ]
}

/// A frame with the length that its body has.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let mut rest = body.len();
    loop {
        let more = if rest > 0x7F { 0x80 } else { 0 };
        frame.push(u8::try_from(rest & 0x7F).unwrap() | more);
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    frame.extend_from_slice(body);
    frame
}
