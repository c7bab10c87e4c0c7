//! What `check --json` prints: one document, with the faults as an editor marks them and what the text says otherwise.
//! Fields may be added; none changes its meaning.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Checked, absolute};
use crate::adapter::plan::{GroupPlan, plan};
use crate::adapter::serial::Mode;
use crate::adapter::{ConnectionOptions, Load};
use crate::config::{self, Bridge, Config, Position, Severity};

#[derive(Serialize)]
struct Report<'a> {
    /// As the exit status says.
    well: bool,
    file: &'a Path,
    /// Those of `conf.d`.
    with: Vec<PathBuf>,
    faults: Vec<Fault<'a>>,
    /// How many more there are than are listed.
    more: usize,
    /// What it amounts to, where it can be used.
    #[serde(flatten)]
    amounts: Option<Amounts<'a>>,
}

/// A fault. One of a file that the configuration names (a certificate, users) has no place and no code.
#[derive(Serialize)]
struct Fault<'a> {
    severity: &'static str,
    code: Option<&'static str>,
    file: Option<&'a Path>,
    /// From 1; null: the file as a whole.
    line: Option<usize>,
    column: Option<usize>,
    /// Of the character after what is at fault, in the same line.
    end_column: Option<usize>,
    path: Option<&'a str>,
    message: String,
    remedy: Option<&'a str>,
    /// Where what is given twice was given first.
    first: Option<First<'a>>,
}

#[derive(Serialize)]
struct First<'a> {
    file: &'a Path,
    line: usize,
    column: usize,
    path: &'a str,
}

#[derive(Serialize)]
struct Amounts<'a> {
    gateway: &'a str,
    data_dir: PathBuf,
    console: Option<String>,
    listeners: Vec<Listener<'a>>,
    connections: Vec<Connection<'a>>,
    instruments: Vec<Instrument<'a>>,
    bridges: Vec<Upstream<'a>>,
}

#[derive(Serialize)]
struct Listener<'a> {
    name: &'a str,
    bind: String,
    tls: bool,
}

#[derive(Serialize)]
struct Connection<'a> {
    name: &'a str,
    wire: String,
    /// Requests in a second; null: see `share`.
    requests_per_second: Option<f64>,
    /// How much of the line's time is booked, 1 is all of it; null where its speed is not known.
    share: Option<f64>,
    overbooked: bool,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    device: String,
    group: String,
    interval_ms: u128,
    requests: Vec<Request>,
}

#[derive(Serialize)]
struct Request {
    function: u8,
    address: u16,
    quantity: u16,
}

#[derive(Serialize)]
struct Instrument<'a> {
    connection: &'a str,
    device: &'a str,
    port: String,
    /// Null: it is listened to.
    interval_ms: Option<u128>,
}

#[derive(Serialize)]
struct Upstream<'a> {
    name: &'a str,
    addresses: Vec<String>,
    forward: Vec<Route<'a>>,
}

#[derive(Serialize)]
struct Route<'a> {
    filter: &'a str,
    qos: u8,
}

/// The document.
pub(super) fn report(file: &Path, checked: &Checked, well: bool) -> String {
    let mut faults: Vec<Fault<'_>> = checked.faults.list.iter().map(fault).collect();
    let mut amounts = None;
    match &checked.usable {
        Some((config, Ok(_))) => amounts = Some(amounts_of(config)),
        Some((_, Err(files))) => {
            // A line for each, as they are printed.
            let told = files.to_string();
            let lines = told.lines().map(|line| line.trim_start_matches("error: "));
            faults.extend(lines.map(|line| without_place("error", line)));
        }
        None => {}
    }
    let others = checked.others.iter();
    faults.extend(others.map(|line| without_place("warning", line)));
    let report = Report {
        well,
        file,
        with: config::conf_d(file),
        faults,
        more: checked.faults.more,
        amounts,
    };
    // Text and numbers, so it cannot fail.
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

fn fault(fault: &config::Fault) -> Fault<'_> {
    let some = |number: usize| (number > 0).then_some(number);
    let width = fault.excerpt.as_ref().map(|excerpt| excerpt.width);
    Fault {
        severity: match fault.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        code: Some(fault.code.as_str()),
        file: Some(&fault.file),
        line: some(fault.line),
        column: some(fault.column),
        end_column: width.map(|width| fault.column + width),
        path: Some(fault.path.as_str()).filter(|path| !path.is_empty()),
        message: fault.message.clone(),
        remedy: Some(fault.remedy.as_str()).filter(|remedy| !remedy.is_empty()),
        first: fault.first.as_ref().map(first),
    }
}

fn first(position: &Position) -> First<'_> {
    First {
        file: &position.file,
        line: position.line,
        column: position.column,
        path: &position.path,
    }
}

fn without_place(severity: &'static str, message: &str) -> Fault<'static> {
    Fault {
        severity,
        code: None,
        file: None,
        line: None,
        column: None,
        end_column: None,
        path: None,
        message: message.to_owned(),
        remedy: None,
        first: None,
    }
}

fn amounts_of(config: &Config) -> Amounts<'_> {
    let listeners = config.listeners.iter().map(|listener| Listener {
        name: &listener.name,
        bind: listener.bind.to_string(),
        tls: listener.tls.is_some(),
    });
    let instruments = config.instruments.iter().map(|connection| Instrument {
        connection: &connection.name,
        device: &connection.instrument.name,
        port: connection.port.to_string(),
        interval_ms: match &connection.instrument.dialect.mode {
            Mode::Listen { .. } => None,
            Mode::Poll { interval, .. } => Some(interval.as_millis()),
        },
    });
    Amounts {
        gateway: &config.gateway.id,
        data_dir: absolute(&config.gateway.data_dir),
        console: config.console.map(|console| console.to_string()),
        listeners: listeners.collect(),
        connections: config
            .connections
            .iter()
            .map(|one| connection(one))
            .collect(),
        instruments: instruments.collect(),
        bridges: config.bridges.iter().map(upstream).collect(),
    }
}

fn connection(connection: &ConnectionOptions) -> Connection<'_> {
    // What cannot be planned was told with its device.
    let load = Load::of(connection).ok();
    let plans = connection
        .devices
        .iter()
        .filter_map(|device| plan(device).ok());
    Connection {
        name: &connection.name,
        wire: connection.wire.to_string(),
        requests_per_second: load.and_then(|load| match load {
            Load::Requests { rate } | Load::Converter { rate, .. } => Some(rate),
            Load::Line { .. } => None,
        }),
        share: load.and_then(|load| match load {
            Load::Line { share } => Some(share),
            Load::Requests { .. } | Load::Converter { .. } => None,
        }),
        overbooked: load.is_some_and(Load::is_overbooked),
        groups: plans.flatten().map(group).collect(),
    }
}

fn group(plan: GroupPlan) -> Group {
    let requests = plan.requests.iter().map(|request| Request {
        function: request.table.read_function(),
        address: request.address,
        quantity: request.quantity,
    });
    Group {
        requests: requests.collect(),
        device: plan.device,
        group: plan.group,
        interval_ms: plan.interval.as_millis(),
    }
}

fn upstream(Bridge { options, .. }: &Bridge) -> Upstream<'_> {
    let addresses = options.addresses.iter();
    let forward = options.forward.iter().map(|route| Route {
        filter: route.filter.as_str(),
        qos: route.qos as u8,
    });
    Upstream {
        name: &options.name,
        addresses: addresses
            .map(|one| format!("{}:{}", one.host, one.port))
            .collect(),
        forward: forward.collect(),
    }
}
