//! A command's end of the control socket. Blocks.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::protocol::{BROKEN_OFF, Line, REQUEST_BYTES_MAX, Request};

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
    /// It takes the question, or not even that, and says nothing.
    #[error(
        "the gateway has said nothing for {} s: it hangs, or the machine has no time for it; its log may say why", _0.as_secs()
    )]
    Silent(Duration),
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
    /// How long the gateway may be silent.
    patience: Option<Duration>,
}

/// Asks the gateway whose socket is at `path`. How long it may be silent is [`Request::patience`].
///
/// # Errors
/// Where nobody can be asked there.
pub fn ask(path: &Path, request: &Request) -> Result<Answers, AskError> {
    ask_within(path, request, request.patience())
}

fn ask_within(
    path: &Path,
    request: &Request,
    patience: Option<Duration>,
) -> Result<Answers, AskError> {
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
    let broken = |error| broken(error, patience);
    stream.set_read_timeout(patience).map_err(broken)?;
    stream.set_write_timeout(patience).map_err(broken)?;
    stream.write_all(&line).map_err(broken)?;
    Ok(Answers {
        lines: Some(BufReader::new(stream)),
        patience,
    })
}

/// A socket that is read or written no further within `patience` says that it would block.
fn broken(error: io::Error, patience: Option<Duration>) -> AskError {
    match (error.kind(), patience) {
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(patience)) => {
            AskError::Silent(patience)
        }
        _ => AskError::Broken(error),
    }
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
            Ok(Line::Fault(why)) if why == BROKEN_OFF => {
                Some(Err(AskError::Broken(io::Error::other(why))))
            }
            Ok(Line::Fault(why)) => Some(Err(AskError::Fault(why))),
            Err(error) => Some(Err(broken(error, self.patience))),
        };
        self.lines = None;
        item
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_gateway_that_hangs_is_told_from_one_that_breaks_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        // It accepts, as the kernel does for it, and never says anything.
        let hanging = UnixListener::bind(&path).unwrap();
        let patience = Some(Duration::from_millis(20));
        let mut answers = ask_within(&path, &Request::State, patience).unwrap();
        let answer = answers.next();
        assert!(
            matches!(answer, Some(Err(AskError::Silent(_)))),
            "{answer:?}"
        );
        assert!(answers.next().is_none());
        let mut answers = ask_within(&path, &Request::State, patience).unwrap();
        drop(hanging);
        let answer = answers.next();
        assert!(
            matches!(answer, Some(Err(AskError::Broken(_)))),
            "{answer:?}"
        );
    }
}
