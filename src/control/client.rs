//! A command's end of the control socket. Blocks.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::protocol::{Line, REQUEST_BYTES_MAX, Request};

/// Why there is no answer, or not all of one.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens at the socket.
    #[error("no gateway is running")]
    NotRunning,
    /// The socket's file does not let this user in.
    #[error(
        "this user may not ask the gateway; run it as root, or as a member of the gateway's group"
    )]
    NotPermitted,
    /// It is not even sent.
    #[error("that is too long: with what is around it, it may have {REQUEST_BYTES_MAX} bytes")]
    TooLong,
    /// The gateway says why.
    #[error("{0}")]
    Fault(String),
    /// The connection ended before the answer did.
    #[error("the gateway's answer is not whole: {0}")]
    Broken(#[source] io::Error),
}

/// The items of an answer. After an error there are no more.
#[derive(Debug)]
pub struct Answers {
    /// `None` when the answer is over.
    lines: Option<BufReader<UnixStream>>,
}

/// Asks the gateway whose socket is at `path`.
///
/// # Errors
/// Where nobody can be asked there.
pub fn ask(path: &Path, request: &Request) -> Result<Answers, AskError> {
    let mut line = serde_json::to_vec(request).map_err(|fault| AskError::Broken(fault.into()))?;
    line.push(b'\n');
    if line.len() > REQUEST_BYTES_MAX {
        return Err(AskError::TooLong);
    }
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning,
        io::ErrorKind::PermissionDenied => AskError::NotPermitted,
        _ => AskError::Broken(error),
    })?;
    stream.write_all(&line).map_err(AskError::Broken)?;
    Ok(Answers {
        lines: Some(BufReader::new(stream)),
    })
}

impl Answers {
    fn line(lines: &mut BufReader<UnixStream>) -> io::Result<Line> {
        let mut text = String::new();
        if lines.read_line(&mut text)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_str(&text).map_err(io::Error::other)
    }
}

impl Iterator for Answers {
    type Item = Result<Value, AskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = Self::line(self.lines.as_mut()?);
        let item = match line {
            Ok(Line::Item(value)) => return Some(Ok(value)),
            Ok(Line::End) => None,
            Ok(Line::Fault(why)) => Some(Err(AskError::Fault(why))),
            Err(error) => Some(Err(AskError::Broken(error))),
        };
        self.lines = None;
        item
    }
}
