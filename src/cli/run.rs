//! `fieldgate run`: the gateway in the foreground. Where a part of its store could not be opened it runs without, and starts
//! anew in this process when it can be.

use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, io};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::EXIT_CONFIG;
use crate::app::logging::{self, Format, Log, Verbosity};
use crate::app::{
    Boot, Gateway, Notifier, Prepared, RegainWait, Reload, ReloadRequest, WITHOUT, alive,
};
use crate::clock;
use crate::events::{self, EventFile, Events};
use crate::shutdown::Shutdown;

/// The form of the log, where the command line names none.
const LOG_FORMAT: &str = "FIELDGATE_LOG_FORMAT";

const SWEEP: Duration = Duration::from_secs(10);

/// How long a stop may wait for a reload that is under way.
const RELOAD_LEFT: Duration = Duration::from_secs(10);

/// For what blocks when all is over, as a disk that hangs.
const THREADS_END: Duration = Duration::from_secs(2);

/// How long a stop may wait for the last events.
const LAST_WRITE: Duration = Duration::from_secs(5);

pub(super) fn run(file: &Path, log_format: Option<Format>) -> ExitCode {
    let Boot {
        prepared,
        mut reload,
        warnings,
        faults,
    } = match Boot::read(file) {
        Ok(boot) => boot,
        Err(error) => {
            eprintln!("{error}");
            // On which systemd tries again.
            if error.may_pass {
                return ExitCode::FAILURE;
            }
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let folder = prepared.data_dir().join("events");
    let (events, event_file) = Events::open(&folder, clock::now(), clock::reading());
    let log = start_log(log_format, events.clone());
    if let Some(faults) = faults {
        tracing::error!(
            faults,
            "{} cannot be used; RUNNING ON THE LAST GOOD CONFIGURATION instead. Mend it, then `fieldgate reload`",
            file.display()
        );
    }
    if let Some(faults) = prepared.faults() {
        tracing::error!(faults, "{WITHOUT}");
    }
    if !warnings.is_empty() {
        let faults = warnings.join("\n");
        tracing::warn!(
            faults,
            "the configuration can be used, but is probably not meant so"
        );
    }
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("fieldgate: cannot start its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (told, sweeper) = (log.clone(), log);
    runtime.spawn(async move { sweep(&sweeper).await });
    let mut kept = Kept::new(events, event_file);
    let status = runtime.block_on(async {
        let notifier = Notifier::of_environment();
        let status = serve(prepared, &mut reload, &mut kept, &notifier).await;
        kept.close().await;
        status
    });
    told.close();
    runtime.shutdown_timeout(THREADS_END);
    status
}

/// In the form that is asked for, or that who reads stderr wants.
fn start_log(format: Option<Format>, events: Events) -> Log {
    let wanted = env::var(LOG_FORMAT).unwrap_or_default();
    let named = wanted.parse();
    let format = format.or_else(|| named.ok());
    let format = format.unwrap_or_else(Format::of_stderr);
    let log = logging::start(Verbosity::Info, format, Some(events));
    // A gateway that does not start for this would be the worse answer.
    if let Err(error) = named
        && !wanted.is_empty()
    {
        tracing::warn!(value = wanted, "${LOG_FORMAT} does not count: {error}");
    }
    log
}

/// The events, and what keeps them once this process is sure to be the only one in its data folder.
struct Kept {
    events: Events,
    waiting: Option<(Events, EventFile)>,
    stop: Shutdown,
}

impl Kept {
    fn new(events: Events, file: EventFile) -> Self {
        Self {
            events: events.clone(),
            waiting: Some((events, file)),
            stop: Shutdown::default(),
        }
    }

    /// A gateway has started.
    fn start(&mut self) {
        if let Some((events, file)) = self.waiting.take() {
            tokio::spawn(events::keep(events, file, self.stop.stop()));
        }
    }

    /// All that happened is written; a disk that hangs is not waited for.
    async fn close(&self) {
        self.stop.request();
        if timeout(LAST_WRITE, self.stop.finished()).await.is_err() {
            tracing::warn!("the disk does not take the last events");
        }
    }
}

/// Now and then tells what the log had no room for, also where nothing else is said.
async fn sweep(log: &Log) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        log.sweep(clock::now());
    }
}

async fn serve(
    mut prepared: Prepared,
    reload: &mut Reload,
    kept: &mut Kept,
    notifier: &Notifier,
) -> ExitCode {
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
    let mut wait = RegainWait::default();
    loop {
        let starting = alive::patiently(notifier, alive::START_MAX, Gateway::start(prepared));
        let started = tokio::select! {
            started = starting => started,
            // Nothing was acknowledged yet, and what is kept is as after a power cut.
            () = signals.asked() => return ExitCode::SUCCESS,
        };
        let mut gateway = match started {
            Ok(gateway) => gateway,
            Err(error) => {
                eprintln!("fieldgate: {error}");
                return ExitCode::FAILURE;
            }
        };
        kept.start();
        gateway.observer().tell_events(kept.events.clone());
        if !gateway.lacks_stores() {
            wait = RegainWait::default();
        }
        notifier.ready();
        reload.started(&gateway);
        let watching = Shutdown::default();
        let watched = alive::watch(
            notifier.clone(),
            gateway.observer().clone(),
            watching.stop(),
        );
        tokio::spawn(watched);
        let signals_of = (&mut signals, &mut hangup);
        let again = run_until_stopped(&mut gateway, reload, notifier, signals_of, &mut wait).await;
        watching.request();
        if again.is_none() {
            notifier.stopping();
        }
        tokio::select! {
            () = alive::patiently(notifier, alive::STOP_MAX, gateway.stop()) => {}
            () = signals.asked() => {
                eprintln!("fieldgate: asked twice to stop: ends without waiting; what was acknowledged is kept");
                return ExitCode::FAILURE;
            }
        }
        match again {
            Some(again) => prepared = again,
            None => return ExitCode::SUCCESS,
        }
    }
}

/// Runs until a signal asks to stop, or the gateway shall start anew: then with what is given.
async fn run_until_stopped(
    gateway: &mut Gateway,
    reload: &mut Reload,
    notifier: &Notifier,
    (signals, hangup): (&mut StopSignals, &mut Signal),
    wait: &mut RegainWait,
) -> Option<Prepared> {
    let mut requests = gateway.reload_requests()?;
    let mut lacks_logins = gateway.lacks_logins();
    loop {
        tokio::select! {
            () = signals.asked() => return None,
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: reading the configuration again");
                if !run_again(gateway, reload, notifier, signals, None).await {
                    return None;
                }
            }
            Some(request) = requests.recv() => {
                if !run_again(gateway, reload, notifier, signals, Some(request)).await {
                    return None;
                }
            }
            () = gateway.logins_mended(), if lacks_logins => reload.started(gateway),
            () = gateway.regained(wait) => match reload.prepare_again(gateway).await {
                Ok(again) => {
                    tracing::info!("starting anew, with what could not be opened before");
                    return Some(again);
                }
                Err(fault) => tracing::error!(fault, "not starting anew, trying again later"),
            }
        }
        lacks_logins &= gateway.lacks_logins();
    }
}

/// Reads the configuration again, and has systemd know. False: somebody asked to stop meanwhile.
async fn run_again(
    gateway: &mut Gateway,
    reload: &mut Reload,
    notifier: &Notifier,
    signals: &mut StopSignals,
    request: Option<ReloadRequest>,
) -> bool {
    notifier.reloading();
    let mut work = pin!(reload.run(gateway));
    let (outcome, goes_on) = tokio::select! {
        outcome = &mut work => (Some(outcome), true),
        // Half done it is left only where it hangs.
        () = signals.asked() => (timeout(RELOAD_LEFT, &mut work).await.ok(), false),
    };
    notifier.ready();
    if let Some((request, outcome)) = request.zip(outcome) {
        request.answer(outcome);
    }
    goes_on
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
