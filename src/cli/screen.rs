//! What stays on the screen and is shown anew in place (`-w`).

use std::io::{self, IsTerminal as _, Write as _};

/// Top left, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows these lines instead of those before. Into a file they follow one another, with an empty line between.
pub(super) fn show(lines: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let before = if out.is_terminal() { CLEAR } else { "" };
    let after = if out.is_terminal() { "" } else { "\n" };
    write!(out, "{before}")?;
    for line in lines {
        writeln!(out, "{line}")?;
    }
    write!(out, "{after}")?;
    out.flush()
}
