//! Frames to bytes (RFC 6455 section 5), in the buffer that they were read into. No I/O.
//!
//! What a client sends is a stream of bytes to us, wherever it cut that into frames [MQTT-6.0.0-2]; so only heads and control
//! frames are ever kept, at most 14 and 125 bytes, and nothing depends on the length that a frame claims.

/// Opcodes.
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Payload of a control frame.
pub(super) const CONTROL_BYTES_MAX: usize = 125;
/// Head of a frame: two bytes, a length of eight, a mask.
const HEAD_BYTES_MAX: usize = 14;

/// What a client has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("a WebSocket frame without a mask")]
    Unmasked,
    #[error("a WebSocket frame with a reserved bit or opcode; no extension was agreed on")]
    Reserved,
    #[error("a text frame; MQTT goes in binary frames")]
    Text,
    #[error("a WebSocket control frame that is fragmented or too long")]
    Control,
    #[error("WebSocket fragments out of order")]
    Fragment,
    #[error("a WebSocket frame with an impossible length")]
    Length,
    #[error("a WebSocket close frame with an impossible code")]
    CloseCode,
}

impl Violation {
    /// Status code of the answer (RFC 6455 section 7.4.1). Text is what MQTT has no use for [MQTT-6.0.0-1].
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Text => 1003,
            _ => 1002,
        }
    }
}

/// What a client asks of the frame layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// The end, and its code where there was one.
    Close(Option<u16>),
}

/// Where in the frames the stream stands.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    head: [u8; HEAD_BYTES_MAX],
    head_length: u8,
    /// Bytes of the present frame that are still to come; with `head_length` 0 a frame begins.
    left: u64,
    opcode: u8,
    mask: [u8; 4],
    /// A message is unfinished.
    fragmented: bool,
    control: Vec<u8>,
    closed: bool,
}

impl Deframer {
    /// Whether the client has sent its last frame.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes what was read out of its frames; the payload then is the beginning of `bytes`, and its length is returned.
    /// `told` is called with each control frame that wants something.
    pub(super) fn strip(
        &mut self,
        bytes: &mut [u8],
        mut told: impl FnMut(Control),
    ) -> Result<usize, Violation> {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() && !self.closed {
            if self.left == 0 {
                let byte = bytes.get(from).copied().unwrap_or_default();
                from += 1;
                if !self.take_head_byte(byte)? {
                    continue;
                }
            } else {
                let rest = bytes.len() - from;
                let count = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                let Some(part) = bytes.get_mut(from..from + count) else {
                    break;
                };
                unmask(part, &mut self.mask);
                if self.is_control() {
                    self.control.extend_from_slice(part);
                } else {
                    bytes.copy_within(from..from + count, to);
                    to += count;
                }
                from += count;
                self.left -= count as u64;
            }
            if self.left == 0 {
                self.end_frame(&mut told)?;
            }
        }
        Ok(to)
    }

    fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }

    /// True where the head is whole.
    fn take_head_byte(&mut self, byte: u8) -> Result<bool, Violation> {
        let at = usize::from(self.head_length);
        if let Some(place) = self.head.get_mut(at) {
            *place = byte;
        }
        self.head_length += 1;
        match at {
            0 => {
                self.check_opcode(byte)?;
                return Ok(false);
            }
            1 if byte & MASKED == 0 => return Err(Violation::Unmasked),
            1 if self.is_control() && usize::from(byte & !MASKED) > CONTROL_BYTES_MAX => {
                return Err(Violation::Control);
            }
            _ => {}
        }
        let [_, short, ref rest @ ..] = self.head;
        let extended = match short & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if usize::from(self.head_length) < 2 + extended + 4 {
            return Ok(false);
        }
        let (length, rest) = rest.split_at_checked(extended).unwrap_or_default();
        self.left = match extended {
            0 => u64::from(short & !MASKED),
            _ => length
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        if self.left > u64::MAX >> 1 {
            return Err(Violation::Length);
        }
        if let Some(mask) = rest.first_chunk() {
            self.mask = *mask;
        }
        Ok(true)
    }

    fn check_opcode(&mut self, byte: u8) -> Result<(), Violation> {
        if byte & RESERVED != 0 {
            return Err(Violation::Reserved);
        }
        let is_final = byte & FIN != 0;
        self.opcode = byte & 0x0F;
        match self.opcode {
            CONTINUATION if !self.fragmented => return Err(Violation::Fragment),
            BINARY if self.fragmented => return Err(Violation::Fragment),
            CONTINUATION | BINARY => self.fragmented = !is_final,
            TEXT => return Err(Violation::Text),
            CLOSE | PING | PONG if !is_final => return Err(Violation::Control),
            CLOSE | PING | PONG => {}
            _ => return Err(Violation::Reserved),
        }
        Ok(())
    }

    fn end_frame(&mut self, told: &mut impl FnMut(Control)) -> Result<(), Violation> {
        self.head_length = 0;
        let payload = std::mem::take(&mut self.control);
        match self.opcode {
            PING => told(Control::Ping(payload)),
            CLOSE => {
                self.closed = true;
                told(Control::Close(close_code(&payload)?));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Exclusive or with the mask, which is left turned to where the next bytes go on.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let [a, b, c, d] = *mask;
    let wide = [a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d];
    let mut chunks = bytes.chunks_exact_mut(wide.len());
    for chunk in &mut chunks {
        for (byte, key) in chunk.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    let rest = chunks.into_remainder();
    for (byte, key) in rest.iter_mut().zip(wide) {
        *byte ^= key;
    }
    mask.rotate_left(rest.len() % 4);
}

/// The code of a close frame (RFC 6455 section 7.4): some are never sent.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload {
        [] => Ok(None),
        [high, low, ..] => match u16::from_be_bytes([*high, *low]) {
            code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(Some(code)),
            _ => Err(Violation::CloseCode),
        },
        [_] => Err(Violation::CloseCode),
    }
}

/// The head of a frame that we send: final and not masked.
pub(super) fn head(opcode: u8, length: u64) -> ([u8; 10], usize) {
    let long = length.to_be_bytes();
    let [.., high, low] = long;
    let middle = [high, low];
    let (short, extended): (u8, &[u8]) = match length {
        0..=125 => (low, &[]),
        126..=0xFFFF => (126, &middle),
        _ => (127, &long),
    };
    let mut head = [0; 10];
    let bytes = [FIN | opcode, short]
        .into_iter()
        .chain(extended.iter().copied());
    for (place, byte) in head.iter_mut().zip(bytes) {
        *place = byte;
    }
    (head, 2 + extended.len())
}

#[cfg(test)]
pub(in crate::listener) mod tests {
    use super::*;

    /// A frame as a client sends it.
    pub(in crate::listener) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let (head, length) = head(first & 0x0F, payload.len() as u64);
        let mut frame = head[..length].to_vec();
        frame[0] = first;
        frame[1] |= MASKED;
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        frame.extend(mask);
        let bytes = payload.iter().zip(mask.iter().cycle());
        frame.extend(bytes.map(|(byte, key)| byte ^ key));
        frame
    }

    /// What comes out where the bytes are read in pieces of `at_once`.
    fn read(bytes: &[u8], at_once: usize) -> (Vec<u8>, Vec<Control>, Option<Violation>) {
        let mut deframer = Deframer::default();
        let (mut payload, mut told) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(at_once) {
            let mut piece = piece.to_vec();
            match deframer.strip(&mut piece, |control| told.push(control)) {
                Ok(length) => payload.extend(&piece[..length]),
                Err(violation) => return (payload, told, Some(violation)),
            }
        }
        (payload, told, None)
    }

    fn broken(bytes: &[u8]) -> Option<Violation> {
        read(bytes, 1).2
    }

    #[test]
    fn the_example_of_the_rfc_is_understood() {
        // Section 5.7: "Hello", masked; as a binary frame.
        let frame = [
            0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(read(&frame, 99), (b"Hello".to_vec(), vec![], None));
    }

    #[test]
    fn frames_of_every_length_come_out_whole_however_they_are_read() {
        let mut frames = Vec::new();
        let mut expected = Vec::new();
        for length in [0, 1, 3, 4, 5, 125, 126, 127, 4096, 65_535, 65_536, 70_001] {
            let payload: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            frames.extend(masked(0x82, &payload));
            expected.extend(payload);
        }
        for at_once in [1, 2, 7, 13, 1000, 65_536, usize::MAX] {
            let (payload, told, violation) = read(&frames, at_once);
            assert_eq!((told, violation), (vec![], None));
            assert!(payload == expected, "at_once {at_once}");
        }
    }

    #[test]
    fn mqtt_6_0_0_2_fragments_and_control_frames_between_them_are_one_stream() {
        let frames = [
            masked(0x02, b"one "),
            masked(0x89, b"are you there"),
            masked(0x00, b"two "),
            masked(0x8A, b"unasked"),
            masked(0x80, b"three"),
            masked(0x82, b""),
            masked(0x88, &1000_u16.to_be_bytes()),
            masked(0x82, b"after the end"),
        ]
        .concat();
        for at_once in [1, 5, usize::MAX] {
            let (payload, told, violation) = read(&frames, at_once);
            assert_eq!(payload, b"one two three");
            let ping = Control::Ping(b"are you there".to_vec());
            assert_eq!(told, [ping, Control::Close(Some(1000))]);
            assert_eq!(violation, None);
        }
    }

    #[test]
    fn a_length_that_is_only_claimed_takes_no_memory() {
        let mut frame = vec![0x82, 0xFF];
        frame.extend((u64::MAX >> 1).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(b"MQTT");
        assert_eq!(read(&frame, 3), (b"MQTT".to_vec(), vec![], None));
    }

    #[test]
    fn mqtt_6_0_0_1_text_is_refused_with_its_code() {
        let violation = broken(&masked(0x81, b"hello")).unwrap();
        assert_eq!((violation, violation.code()), (Violation::Text, 1003));
    }

    #[test]
    fn each_violation_is_found_at_its_first_byte() {
        let unmasked = [0x82, 0x01, 0x00];
        let too_long = [0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        let cases = [
            (unmasked.to_vec(), Violation::Unmasked),
            (too_long.to_vec(), Violation::Length),
            (masked(0xC2, b"x"), Violation::Reserved),
            (masked(0x92, b"x"), Violation::Reserved),
            (masked(0x83, b"x"), Violation::Reserved),
            (masked(0x8B, b"x"), Violation::Reserved),
            (masked(0x80, b"x"), Violation::Fragment),
            (masked(0x09, b"x"), Violation::Control),
            (vec![0x89, 0xFE], Violation::Control),
            (masked(0x88, b"x"), Violation::CloseCode),
            (masked(0x88, &1005_u16.to_be_bytes()), Violation::CloseCode),
            (
                [masked(0x02, b"x"), masked(0x82, b"y")].concat(),
                Violation::Fragment,
            ),
        ];
        for (bytes, violation) in cases {
            assert_eq!(broken(&bytes), Some(violation), "{bytes:x?}");
            assert_eq!(violation.code(), 1002);
        }
    }

    #[test]
    fn heads_that_we_send_have_the_shortest_length() {
        let sent = |length| {
            let (head, count) = head(BINARY, length);
            head[..count].to_vec()
        };
        assert_eq!(sent(0), [0x82, 0]);
        assert_eq!(sent(125), [0x82, 125]);
        assert_eq!(sent(126), [0x82, 126, 0, 126]);
        assert_eq!(sent(65_535), [0x82, 126, 0xFF, 0xFF]);
        assert_eq!(sent(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
