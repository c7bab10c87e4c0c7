//! Modbus RTU frames as they pass on a line (Modbus over Serial Line V1.02, section 2.5.1). No I/O.
//!
//! A serial line has neither transactions nor lengths: all that ties a reply to its request is unit, function, length and
//! checksum. [`judge`] looks at what has come so far, and says at the first byte that cannot belong to the reply that it is
//! none: whoever waits for more of a foreign frame only collects more of it.
//!
//! Invariant: [`Verdict::Whole`] is said of exactly one length of one shape, so a frame with a byte too few or too many is
//! never taken. The bytes that a line makes when its drivers switch ([`is_noise`]) may stand before and behind it.

use super::super::reason::Reason;

/// CRC-16/MODBUS: 0x8005 reflected.
const POLYNOMIAL: u16 = 0xA001;
/// Set in the function of an exception reply.
pub(super) const EXCEPTION: u8 = 0x80;
/// Unit, function, code and checksum.
pub(super) const EXCEPTION_BYTES: usize = 5;
const CRC_BYTES: usize = 2;

/// What the bytes that came are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The beginning of the reply.
    More,
    /// The reply, or an exception reply: its bytes.
    Whole(usize),
    /// No reply to this request.
    Wrong(Reason),
}

/// How the reply to a request is told from others: what of it the request decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The function code.
    pub(super) function: u8,
    /// Bytes of the whole frame.
    pub(super) bytes: usize,
}

impl Shape {
    /// Of the reply to this request, which begins with its unit; `None` where the function is none that is asked here.
    pub(super) fn of_reply(request: &[u8]) -> Option<Self> {
        let &[_, function, _, _, high, low, ..] = request else {
            return None;
        };
        let bytes = match function {
            1..=4 => return Some(Self::of_read(function, u16::from_be_bytes([high, low]))),
            5 | 6 | 15 | 16 => 6,
            22 => 8,
            _ => return None,
        };
        Some(Self {
            function,
            bytes: bytes + CRC_BYTES,
        })
    }

    /// Of the reply with so many bytes from its function to its last before the checksum.
    pub(super) fn of(function: u8, bytes: usize) -> Self {
        Self {
            function,
            bytes: 1 + bytes + CRC_BYTES,
        }
    }

    /// Of the reply to a read of so many bits or registers.
    fn of_read(function: u8, quantity: u16) -> Self {
        let quantity = usize::from(quantity);
        let data = if function <= 2 {
            quantity.div_ceil(8)
        } else {
            2 * quantity
        };
        Self {
            function,
            bytes: 3 + data + CRC_BYTES,
        }
    }

    /// Whether the byte behind the function, where it has come and tells the length, tells this one.
    pub(super) fn fits_count(self, said: Option<&u8>) -> bool {
        let is_read = self.function <= 4;
        said.is_none_or(|said| !is_read || usize::from(*said) + 3 + CRC_BYTES == self.bytes)
    }
}

/// What `reply` is to `request`; both begin with the unit.
pub(super) fn judge(request: &[u8], reply: &[u8]) -> Verdict {
    let (Some(&unit), Some(shape)) = (request.first(), Shape::of_reply(request)) else {
        return Verdict::Wrong(Reason::WrongFunction);
    };
    let bytes = match *reply {
        [] => return Verdict::More,
        [said, ..] if said != unit => return Verdict::Wrong(Reason::WrongUnit),
        [_] => return Verdict::More,
        [_, said, ..] if said == shape.function | EXCEPTION => EXCEPTION_BYTES,
        [_, said, ..] if said != shape.function => return Verdict::Wrong(Reason::WrongFunction),
        [_, _, ref behind @ ..] if !shape.fits_count(behind.first()) => {
            return Verdict::Wrong(Reason::WrongCount);
        }
        _ => shape.bytes,
    };
    match reply.split_at_checked(bytes) {
        None => Verdict::More,
        Some((_, behind)) if !behind.iter().all(is_noise) => Verdict::Wrong(Reason::Garbled),
        Some((frame, _)) if crc(frame) == 0 => Verdict::Whole(bytes),
        Some(_) => Verdict::Wrong(Reason::WrongChecksum),
    }
}

/// What a line reads as while nobody drives it, or its driver switches. No reply begins with either: 0 is everybody's
/// address and 255 is none on a serial line (section 2.2).
pub(super) fn is_noise(byte: &u8) -> bool {
    matches!(*byte, 0 | u8::MAX)
}

/// Of a frame with its checksum behind it: 0 where it is right. Of one without: what is to be sent, low byte first.
pub(super) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            let shifted = crc >> 1;
            if crc & 1 == 1 {
                shifted ^ POLYNOMIAL
            } else {
                shifted
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_crc(bytes: &[u8]) -> Vec<u8> {
        [bytes, &crc(bytes).to_le_bytes()].concat()
    }

    /// Request and its right reply.
    fn exchanges() -> Vec<(Vec<u8>, Vec<u8>)> {
        let exchange = |request: &[u8], reply: &[u8]| (with_crc(request), with_crc(reply));
        vec![
            exchange(&[17, 1, 0, 7, 0, 10], &[17, 1, 2, 0xA5, 2]),
            exchange(&[17, 2, 0, 7, 0, 8], &[17, 2, 1, 0xA5]),
            exchange(&[17, 3, 0, 7, 0, 2], &[17, 3, 4, 0xAB, 0xCD, 0, 9]),
            exchange(&[17, 4, 0, 7, 0, 1], &[17, 4, 2, 1, 2]),
            exchange(&[17, 5, 0, 7, 0xFF, 0], &[17, 5, 0, 7, 0xFF, 0]),
            exchange(&[17, 6, 0, 7, 1, 2], &[17, 6, 0, 7, 1, 2]),
            exchange(&[17, 15, 0, 7, 0, 3, 1, 5], &[17, 15, 0, 7, 0, 3]),
            exchange(&[17, 16, 0, 7, 0, 1, 2, 1, 2], &[17, 16, 0, 7, 0, 1]),
            exchange(
                &[17, 22, 0, 7, 0xF2, 0, 0x25, 0],
                &[17, 22, 0, 7, 0xF2, 0, 0x25, 0],
            ),
            exchange(&[17, 3, 0, 7, 0, 2], &[17, 0x83, 2]),
        ]
    }

    /// The example of the specification, appendix B: 02 07 has the checksum 41 12 on the wire.
    #[test]
    fn the_checksum_is_that_of_the_specification() {
        assert_eq!(crc(&[2, 7]).to_le_bytes(), [0x41, 0x12]);
        assert_eq!(crc(&[2, 7, 0x41, 0x12]), 0);
    }

    #[test]
    fn a_right_reply_is_whole_at_its_last_byte_and_not_before_or_after() {
        for (request, reply) in exchanges() {
            for came in 0..reply.len() {
                assert_eq!(
                    judge(&request, &reply[..came]),
                    Verdict::More,
                    "{reply:?} {came}"
                );
            }
            let whole = Verdict::Whole(reply.len());
            assert_eq!(judge(&request, &reply), whole, "{reply:?}");
            let noise = [&reply[..], &[0, 0xFF]].concat();
            assert_eq!(judge(&request, &noise), whole, "{reply:?}");
            let more = [&reply[..], &[7]].concat();
            assert_eq!(
                judge(&request, &more),
                Verdict::Wrong(Reason::Garbled),
                "{reply:?}"
            );
        }
    }

    #[test]
    fn no_reply_with_any_wrong_byte_is_taken() {
        for (request, reply) in exchanges() {
            for at in 0..reply.len() {
                for wrong in (0..=u8::MAX).filter(|wrong| *wrong != reply[at]) {
                    let mut altered = reply.clone();
                    altered[at] = wrong;
                    let verdict = judge(&request, &altered);
                    let taken = matches!(verdict, Verdict::Whole(_));
                    assert!(!taken, "{altered:?} for {request:?}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_the_reply_is_said_at_its_first_wrong_byte() {
        let request = with_crc(&[17, 3, 0, 7, 0, 2]);
        for (came, reason) in [
            (&[18][..], Reason::WrongUnit),
            (&[17, 4], Reason::WrongFunction),
            (&[17, 0x84], Reason::WrongFunction),
            (&[17, 3, 6], Reason::WrongCount),
        ] {
            assert_eq!(judge(&request, came), Verdict::Wrong(reason));
        }
        let mut reply = with_crc(&[17, 3, 4, 0xAB, 0xCD, 0, 9]);
        reply[4] ^= 1;
        assert_eq!(
            judge(&request, &reply),
            Verdict::Wrong(Reason::WrongChecksum)
        );
    }
}
