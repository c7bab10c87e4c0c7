//! What a simulated instrument says: lines as a person types them, to the frames of its dialect.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::adapter::serial::{ChecksumError, Dialect, Framing};

/// `--say DEVICE=LINE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Say {
    device: String,
    line: Vec<u8>,
}

/// What is wrong with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SayError {
    #[error("write DEVICE=LINE, such as scale1='ST,GS,+  12.34kg'")]
    NoDevice,
    #[error("what follows a backslash is one of r n t \\ and x with two hex digits")]
    Escape,
}

impl FromStr for Say {
    type Err = SayError;

    fn from_str(text: &str) -> Result<Self, SayError> {
        let (device, line) = text.split_once('=').ok_or(SayError::NoDevice)?;
        if device.is_empty() {
            return Err(SayError::NoDevice);
        }
        Ok(Self {
            device: device.to_owned(),
            line: bytes(line)?,
        })
    }
}

/// The bytes that `text` means.
fn bytes(text: &str) -> Result<Vec<u8>, SayError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            bytes.extend(letter.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        bytes.push(match letters.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = letters.by_ref().take(2).collect();
                u8::from_str_radix(&format!("{digits:x>2}"), 16).map_err(|_| SayError::Escape)?
            }
            _ => return Err(SayError::Escape),
        });
    }
    Ok(bytes)
}

/// The lines of each device, in the order in which they were given.
pub(super) fn by_device(said: &[Say]) -> BTreeMap<&str, Vec<&[u8]>> {
    let mut lines = BTreeMap::<&str, Vec<&[u8]>>::new();
    for Say { device, line } in said {
        lines.entry(device).or_default().push(line);
    }
    lines
}

/// The whole frame that says `line`: with delimiter or marks, and with its checksum where the line has none.
pub(super) fn frame(dialect: &Dialect, line: &[u8]) -> Result<Vec<u8>, ChecksumError> {
    let mut frame = match &dialect.framing.kind {
        Framing::Marks { start, end, .. } => [start, line, end].concat(),
        _ => line.to_vec(),
    };
    if let Some(checksum) = dialect.checksum
        && !checksum.is_right(&frame)
    {
        checksum.seal(&mut frame)?;
    }
    if let Framing::Delimiter(delimiter) = &dialect.framing.kind {
        frame.extend(delimiter);
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, System};

    fn said(dialect: &str, line: &str) -> Vec<u8> {
        let dialect = config::dialect(dialect, Path::new("fieldgate.yaml"), &System).unwrap();
        frame(&dialect, &bytes(line).unwrap()).unwrap()
    }

    #[test]
    fn a_line_gets_its_delimiter_marks_and_checksum() {
        const FIELD: &str = "parse: { regex: '(?P<a>.)', fields: { a: {} } }";
        let lines = format!("framing: {{ delimiter: \"\\r\\n\" }}\n{FIELD}");
        assert_eq!(said(&lines, "S\\x20S"), b"S S\r\n");
        let marks = format!(
            "framing: {{ start: 0x02, end: 0x03, trailer: 1 }}\n\
             checksum: {{ kind: xor8, over: \"1..-1\", encoding: binary }}\n{FIELD}"
        );
        assert_eq!(said(&marks, "1.25;2"), b"\x021.25;2\x03\x12");
        let nmea = format!(
            "framing: {{ delimiter: \"\\n\" }}\n\
             checksum: {{ kind: xor8, over: \"1..-3\", encoding: hex }}\n{FIELD}"
        );
        let sentence = "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*";
        let whole = format!("{sentence}47\n").into_bytes();
        assert_eq!(said(&nmea, sentence), whole);
        assert_eq!(said(&nmea, &format!("{sentence}47")), whole);
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let refused = |text: &str| text.parse::<Say>().unwrap_err();
        assert_eq!(refused("12.34kg"), SayError::NoDevice);
        assert_eq!(refused("=12.34kg"), SayError::NoDevice);
        assert_eq!(refused("scale1=\\q"), SayError::Escape);
        assert_eq!(refused("scale1=\\x4"), SayError::Escape);
    }
}
