//! Where a password comes from: typed twice at a terminal without being seen, read from stdin, or made.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::runtime;

/// Letters and digits that nobody takes for one another.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789A";
/// Five bits each.
const MADE_LENGTH: usize = 24;

/// Random bytes of the system.
pub(super) fn random<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes)
}

/// One that nobody guesses.
pub(super) fn made() -> io::Result<String> {
    Ok(letters(&random::<MADE_LENGTH>()?))
}

fn letters(bytes: &[u8]) -> String {
    let letter = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).copied();
    bytes.iter().filter_map(letter).map(char::from).collect()
}

/// The first line of stdin, without its end.
pub(super) fn from_stdin() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Whether somebody can be asked.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// What is typed, twice alike; `None`: it was not.
pub(super) fn typed() -> io::Result<Option<String>> {
    let first = unseen("password: ")?;
    let second = unseen("again: ")?;
    Ok((first == second).then_some(first))
}

/// Asks for a line that is not shown. An interrupt gives the terminal back before it ends the command.
fn unseen(question: &str) -> io::Result<String> {
    eprint!("{question}");
    io::stderr().flush()?;
    let quiet = Quiet::begin()?;
    let runtime = runtime()?;
    let line = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = interrupt.recv() => Err(io::Error::other("interrupted")),
            line = tokio::task::spawn_blocking(from_stdin) => line.map_err(io::Error::other)?,
        }
    });
    // Somebody may still be waited for.
    runtime.shutdown_background();
    drop(quiet);
    eprintln!();
    line
}

/// The terminal shows nothing of what is typed as long as this lives.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &self.0) {
            eprintln!("fieldgate user: the terminal stays silent ({error}); type `stty echo`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_password_is_long_and_each_letter_as_likely() {
        assert_eq!(made().unwrap().len(), MADE_LENGTH);
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let letters = letters(&all);
        for letter in ALPHABET {
            assert_eq!(letters.bytes().filter(|it| it == letter).count(), 8);
        }
        assert_ne!(made().unwrap(), made().unwrap());
    }
}
