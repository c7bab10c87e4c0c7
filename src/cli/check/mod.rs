//! `fieldgate check`: every fault of a configuration at once; where there is none, what it would do.

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::installed::Surroundings;
use super::{EXIT_CONFIG, probe, say};
use crate::adapter::plan::plan;
use crate::adapter::serial::{InstrumentConnection, Mode};
use crate::adapter::{ConnectionOptions, Load};
use crate::app::{FileFaults, Prepared};
use crate::auth::AccessOptions;
use crate::config::{self, Config, Faults};
use crate::listener::{self, BindError, ListenerOptions};
use crate::net::TlsTime;

/// How to check.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration; default as for `run`.
    #[arg(value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take what is only warned of as a fault.
    #[arg(long)]
    strict: bool,
    /// Then ask each device for a register, and try the way to each upstream as far as the login.
    #[arg(long)]
    probe: bool,
    /// Print one JSON document to stdout, for editors and scripts.
    #[arg(long, conflicts_with = "probe")]
    json: bool,
}

/// What was found.
struct Checked {
    /// Those of the configuration; where it can be used, warnings alone.
    faults: Faults,
    /// Warnings of addresses and certificates.
    others: Vec<String>,
    /// The configuration, where it can be used, and what its files amount to.
    usable: Option<(Config, Result<Prepared, FileFaults>)>,
}

pub(super) fn check(arguments: &Arguments) -> ExitCode {
    let file = arguments
        .config
        .clone()
        .unwrap_or_else(super::default_config);
    let checked = Checked::of(&file);
    let warnings = checked.faults.list.len() + checked.others.len();
    let prepared = checked.usable.as_ref().map(|(_, prepared)| prepared);
    let fails = !matches!(prepared, Some(Ok(_))) || arguments.strict && warnings > 0;
    let status = if fails {
        ExitCode::from(EXIT_CONFIG)
    } else {
        ExitCode::SUCCESS
    };
    if arguments.json {
        say(report::report(&file, &checked, !fails));
        return status;
    }
    checked.tell(&file);
    let Some((config, Ok(prepared))) = &checked.usable else {
        return status;
    };
    if fails {
        let plural = if warnings == 1 { "" } else { "s" };
        eprintln!(
            "{}: {warnings} warning{plural}, which --strict takes as faults",
            file.display()
        );
        return status;
    }
    say(format_args!("{}: well", file.display()));
    if arguments.probe {
        return probe::probe(config, prepared);
    }
    status
}

impl Checked {
    fn of(file: &Path) -> Self {
        let loaded = match config::load_in(file, &Surroundings::of(file)) {
            Ok(loaded) => loaded,
            Err(faults) => {
                return Self {
                    faults,
                    others: Vec::new(),
                    usable: None,
                };
            }
        };
        let prepared = Prepared::new(loaded.config.clone(), TlsTime::default());
        let mut others = Vec::new();
        if let Ok(prepared) = &prepared {
            others = absent_addresses(&loaded.config);
            others.extend(prepared.warnings());
        }
        Self {
            faults: Faults {
                list: loaded.warnings,
                ..Faults::default()
            },
            others,
            usable: Some((loaded.config, prepared)),
        }
    }

    /// Faults to stderr, and where there is none what the configuration amounts to.
    fn tell(&self, file: &Path) {
        let Some((config, prepared)) = &self.usable else {
            eprintln!("{}", self.faults);
            return;
        };
        for warning in &self.faults.list {
            eprintln!("{warning}");
        }
        if let Err(faults) = prepared {
            eprintln!("{faults}");
            return;
        }
        for warning in &self.others {
            eprintln!("warning: {warning}");
        }
        for file in config::conf_d(file) {
            say(format_args!("with {}", file.display()));
        }
        say(summary(config));
    }
}

/// Listeners whose address this machine does not have now. Another that listens there may well be fieldgate itself, and
/// who may open which port is a matter of the user it runs as: of those nothing is said here.
fn absent_addresses(config: &Config) -> Vec<String> {
    let Ok(runtime) = super::runtime() else {
        return Vec::new();
    };
    let _within = runtime.enter();
    let faults = config.listeners.iter().filter_map(|listener| {
        let fault = listener::probe(&listener.bind)?;
        matches!(fault, BindError::NoSuchAddress { .. })
            .then(|| format!("listener `{}`: {fault}", listener.name))
    });
    faults.collect()
}

/// What the configuration amounts to, a line each.
fn summary(config: &Config) -> String {
    let mut lines = vec![format!(
        "gateway {}, data in {}",
        config.gateway.id,
        absolute(&config.gateway.data_dir).display()
    )];
    for listener in &config.listeners {
        let tls = if listener.tls.is_some() {
            " by TLS"
        } else {
            ""
        };
        let ListenerOptions { name, bind, .. } = listener;
        lines.push(format!("listener {name} on {bind}{tls}"));
    }
    if let Some(console) = config.console {
        lines.push(format!("console on http://{console}"));
    }
    lines.push(access_line(&config.access));
    lines.extend(
        config
            .connections
            .iter()
            .flat_map(|connection| plan_lines(connection)),
    );
    lines.extend(config.instruments.iter().flat_map(instrument_lines));
    for config::Bridge {
        options: bridge, ..
    } in &config.bridges
    {
        let addresses: Vec<String> = bridge
            .addresses
            .iter()
            .map(|a| format!("{}:{}", a.host, a.port))
            .collect();
        lines.push(format!(
            "bridge {} to {}",
            bridge.name,
            addresses.join(", then ")
        ));
        for route in &bridge.forward {
            lines.push(format!(
                "  forwards {} at QoS {} at most",
                route.filter, route.qos as u8
            ));
        }
    }
    lines.join("\n")
}

/// Who may do what, as far as a line has room for it.
fn access_line(access: &AccessOptions) -> String {
    match access {
        AccessOptions::NoRules => {
            "access: no rules; users may do everything, anonymous clients all but send commands and read $SYS".to_owned()
        }
        AccessOptions::Entries(entries) => format!(
            "access: {} entries; users that none is about may do nothing",
            entries.len()
        ),
        AccessOptions::MosquittoAcl(file) => format!("access by {}", file.display()),
    }
}

/// How busy a wire is, and the requests of each device on it.
fn plan_lines(connection: &ConnectionOptions) -> Vec<String> {
    let load = match Load::of(connection) {
        Ok(load) => format!(": {load}"),
        // Told with its device.
        Err(_) => String::new(),
    };
    let mut lines = vec![format!(
        "connection {} to {}{load}",
        connection.name, connection.wire
    )];
    for device in &connection.devices {
        match plan(device) {
            Ok(groups) => lines.extend(groups.iter().map(|group| format!("  {group}"))),
            Err(error) => lines.push(format!("  {}: {error}", device.name)),
        }
    }
    lines
}

/// An instrument on its port.
fn instrument_lines(connection: &InstrumentConnection) -> [String; 2] {
    let InstrumentConnection {
        name,
        port,
        instrument,
    } = connection;
    let does = match &instrument.dialect.mode {
        Mode::Listen { .. } => "is listened to".to_owned(),
        Mode::Poll { interval, .. } => format!("is asked every {} s", interval.as_secs_f64()),
    };
    [
        format!("connection {name} to {port}"),
        format!("  {} {does}", instrument.name),
    ]
}

/// As it is from the root, so that a person sees which folder it will be.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
