//! `fieldgate run`: the gateway in the foreground.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::EXIT_CONFIG;
use crate::app::{Gateway, Prepared, Reload, logging};
use crate::config;
use crate::net::TlsTime;

pub(super) fn run(file: &Path) -> ExitCode {
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let reload = Reload::new(file.to_owned(), loaded.config.clone());
    let prepared = match Prepared::new(loaded.config, TlsTime::default()) {
        Ok(prepared) => prepared,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    logging::start(logging::Verbosity::Info);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("fieldgate: cannot start its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(serve(prepared, &reload))
}

async fn serve(prepared: Prepared, reload: &Reload) -> ExitCode {
    // Before anything is started, so that a signal never finds the default: death without a farewell.
    let listening =
        StopSignals::listen().and_then(|stop| Ok((stop, signal(SignalKind::hangup())?)));
    let (mut signals, mut hangup) = match listening {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("fieldgate: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let gateway = match Gateway::start(prepared).await {
        Ok(gateway) => gateway,
        Err(error) => {
            eprintln!("fieldgate: {error}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        tokio::select! {
            () = signals.asked() => break,
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: reading the configuration again");
                reload.run(&gateway).await;
            }
        }
    }
    tokio::select! {
        () = gateway.stop() => ExitCode::SUCCESS,
        () = signals.asked() => {
            eprintln!("fieldgate: asked twice to stop: ends without waiting; what was acknowledged is kept");
            ExitCode::FAILURE
        }
    }
}

/// SIGINT and SIGTERM; one that came since [`Self::listen`] is not missed.
#[derive(Debug)]
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    pub(super) fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self {
            interrupt,
            terminate,
        })
    }

    /// Waits for either. Cancel safe.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => tracing::info!("SIGINT: stopping"),
            _ = self.terminate.recv() => tracing::info!("SIGTERM: stopping"),
        }
    }
}
