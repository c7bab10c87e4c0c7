//! Checksums against what standards and devices print, and the places where they stand.

use fieldgate::adapter::serial::ChecksumKind::{Crc16Ccitt, Crc16Modbus, Lrc, Sum8, Xor8};
use fieldgate::adapter::serial::Encoding::{Binary, Hex};
use fieldgate::adapter::serial::Endian::{Big, Little};
use fieldgate::adapter::serial::{Checksum, ChecksumError, ChecksumKind, Encoding, Span};

fn checksum(kind: ChecksumKind, over: &str, encoding: Encoding) -> Checksum {
    Checksum {
        kind,
        over: over.parse().unwrap(),
        encoding,
        at: None,
    }
}

#[test]
fn the_check_values_of_the_catalogues() {
    let digits = b"123456789";
    assert_eq!(Crc16Modbus.of(digits), 0x4B37);
    assert_eq!(Crc16Ccitt.of(digits), 0x29B1);
    assert_eq!(Sum8.of(digits), 0xDD);
    assert_eq!(Xor8.of(digits), 0x31);
    assert_eq!(Lrc.of(digits), 0x23);
    // Modbus ASCII: unit 1, read 10 holding registers from 0.
    assert_eq!(Lrc.of(&[0x01, 0x03, 0x00, 0x00, 0x00, 0x0A]), 0xF2);
    assert_eq!(Lrc.of(&[]), 0);
}

#[test]
fn nmea_sentences() {
    let nmea = checksum(Xor8, "1..-3", Hex(Big));
    let sentence = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47";
    assert!(nmea.is_right(sentence));
    for (at, byte) in [(7, b'2'), (64, b'6'), (64, b'x')] {
        let mut damaged = sentence.to_vec();
        damaged[at] = byte;
        assert!(!nmea.is_right(&damaged), "{at}");
    }
    let with_line_end = Checksum {
        at: Some(-4),
        ..checksum(Xor8, "1..-5", Hex(Big))
    };
    assert!(with_line_end.is_right(&[&sentence[..], b"\r\n"].concat()));
}

#[test]
fn a_block_check_character_behind_etx() {
    let bcc = checksum(Xor8, "1..-1", Binary(Big));
    assert!(bcc.is_right(b"\x021.0\x03\x2c"));
    assert!(!bcc.is_right(b"\x021.1\x03\x2c"));
}

#[test]
fn two_bytes_have_an_order() {
    let modbus = [0x01, 0x03, 0x00, 0x00, 0x00, 0x0A, 0xC5, 0xCD];
    assert!(checksum(Crc16Modbus, "..-2", Binary(Little)).is_right(&modbus));
    assert!(!checksum(Crc16Modbus, "..-2", Binary(Big)).is_right(&modbus));
    assert!(checksum(Crc16Ccitt, "..9", Hex(Big)).is_right(b"12345678929b1"));
    assert!(checksum(Crc16Ccitt, "..9", Hex(Little)).is_right(b"123456789B129"));
    let first = Checksum {
        at: Some(0),
        ..checksum(Crc16Ccitt, "2..", Binary(Big))
    };
    assert!(first.is_right(b"\x29\xB1123456789"));
}

#[test]
fn a_frame_without_the_place_is_unsound() {
    let nmea = checksum(Xor8, "1..-3", Hex(Big));
    for frame in [&b""[..], b"$", b"$*", b"$*0", b"$*00"] {
        assert!(!nmea.is_right(frame), "{frame:?}");
    }
    assert_eq!(nmea.fits(4), Err(ChecksumError::Range));
    assert_eq!(nmea.fits(5), Ok(()));
    let itself = checksum(Sum8, "0..", Binary(Big));
    assert_eq!(itself.fits(10), Err(ChecksumError::Itself));
    let outside = Checksum {
        at: Some(10),
        ..checksum(Sum8, "0..3", Binary(Big))
    };
    assert_eq!(outside.fits(10), Err(ChecksumError::Place));
    assert_eq!(outside.fits(11), Ok(()));
    assert_eq!(
        checksum(Sum8, "4..20", Binary(Big)).fits(10),
        Err(ChecksumError::Range)
    );
}

#[test]
fn spans_are_written_with_two_dots() {
    let span = |from, to| Ok(Span { from, to });
    assert_eq!("1..-1".parse(), span(1, Some(-1)));
    assert_eq!("..-2".parse(), span(0, Some(-2)));
    assert_eq!("-4..".parse(), span(-4, None));
    for bad in ["", "1", "1-2", "a..b", "1...2", "1..2..3"] {
        assert_eq!(bad.parse::<Span>(), Err(()), "{bad}");
    }
}
