//! Logs go to stderr, one line an event; `RUST_LOG` overrides what is shown.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How much is logged unless `RUST_LOG` says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// What an operator wants to know.
    Info,
    /// Only what needs attention.
    Error,
}

/// Starts logging for the whole process; a second call changes nothing.
pub fn start(verbosity: Verbosity) {
    let default = match verbosity {
        Verbosity::Info => "info",
        Verbosity::Error => "error",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
