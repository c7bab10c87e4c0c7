//! What of a gateway needs attention, and what to do: most upstream cause first, so that a cut cable is one problem and not
//! one for each device behind it. No I/O.

use serde::{Deserialize, Serialize};

use super::{
    BridgeState, BridgeStatus, ConnectionState, DeviceState, GatewayState, Health, LeftBacklog,
    LinkState,
};
use crate::clock::WallTime;

/// A backlog that will be full sooner than this is told of.
const FULL_SOON_S: u64 = 24 * 60 * 60;

/// More of the time of a wire than this leaves no air: where something was late already, more will be.
const BUSY_ABOVE: f64 = 0.9;
/// Before, nothing is said of it: at a start devices that are not there take all of it until they are known to be.
const BUSY_FOR_S: f64 = 60.0;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not do its work.
    Error,
    /// It works; it will not for long, or not as somebody meant it.
    Warning,
}

/// One thing that needs attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// What it is about: `device meter-7`, `bridge cloud`.
    pub part: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// All of them, the worst first.
pub(super) fn problems(state: &GatewayState) -> Vec<Problem> {
    let mut found = Vec::new();
    config(state, &mut found);
    store(state, &mut found);
    listeners(state, &mut found);
    if let Some(fault) = &state.broker.login_error {
        let remedy = "mend the file (fieldgate check): it is read again by itself, and at once by fieldgate reload";
        found.push(error("logins", fault, remedy));
    }
    for connection in &state.connections {
        on_wire(connection, state.at, &mut found);
    }
    for bridge in &state.bridges {
        on_bridge(bridge, state.at, &mut found);
    }
    for LeftBacklog { bridge, messages } in &state.left_backlogs {
        let what = format!("{messages} messages are left of a bridge that was removed");
        let remedy = format!(
            "configure it again, and they are sent; or fieldgate backlog export {bridge}, fieldgate backlog purge {bridge} --older 0s"
        );
        found.push(warning(format!("backlog {bridge}"), what, remedy));
    }
    for certificate in &state.certificates {
        if let Some(warning) = &certificate.warning {
            found.push(Problem {
                severity: if certificate.expires < state.at {
                    Severity::Error
                } else {
                    Severity::Warning
                },
                part: certificate.used_by.clone(),
                what: warning.clone(),
                remedy: format!(
                    "fieldgate cert request '{}', have it signed, fieldgate cert install FILE",
                    certificate.used_by
                ),
            });
        }
    }
    if !state.clock_is_set {
        found.push(warning(
            "clock",
            "it has not been set: readings are marked, certificates judged by the last known time",
            "let the box reach a time server (timedatectl), or set the time",
        ));
    }
    if state.broker.panics > 0 {
        let what = format!(
            "{} connections were closed by faults of fieldgate",
            state.broker.panics
        );
        found.push(warning(
            "broker",
            what,
            "please report it with fieldgate diag",
        ));
    }
    // The order in which they were found, the path of the data, is kept among those that are equally bad.
    found.sort_by_key(|problem| problem.severity);
    found
}

fn config(state: &GatewayState, found: &mut Vec<Problem>) {
    let config = &state.config;
    if config.is_last_good {
        let what = format!(
            "{} has faults: the last good configuration runs",
            config.file
        );
        let remedy = format!("fieldgate check {}, then fieldgate reload", config.file);
        found.push(error("configuration", what, remedy));
    }
    if config.was_refused {
        let what = format!(
            "the last reload of {} was refused: what was changed there is not in use",
            config.file
        );
        let remedy = "see why: fieldgate reload";
        found.push(warning("configuration", what, remedy));
    }
    if !config.needs_restart.is_empty() {
        let what = format!(
            "changed, but not in use yet: {}",
            config.needs_restart.join(", ")
        );
        found.push(warning(
            "configuration",
            what,
            "systemctl restart fieldgate",
        ));
    }
}

fn store(state: &GatewayState, found: &mut Vec<Problem>) {
    let store = &state.store;
    if let Some(fault) = &store.error {
        let what = format!("something cannot be kept: {fault}");
        let remedy = format!("look at the disk of {} (df, dmesg)", store.data_dir);
        found.push(error("store", what, remedy));
    }
    if let Some(free) = store
        .free_bytes
        .filter(|free| *free < store.free_bytes_minimum)
    {
        let what = format!(
            "{} MiB are free, less than {} MiB (store.free_space_minimum): nothing new is kept",
            free >> 20,
            store.free_bytes_minimum >> 20
        );
        let remedy = format!("make room on the disk of {}", store.data_dir);
        found.push(error("store", what, remedy));
    }
}

fn listeners(state: &GatewayState, found: &mut Vec<Problem>) {
    for listener in &state.listeners {
        if let Some(fault) = &listener.error {
            let what = format!("does not listen on {}: {fault}", listener.address);
            let remedy =
                "mend what it names: it is tried again by itself, and at once by fieldgate reload";
            found.push(error(format!("listener {}", listener.name), what, remedy));
        }
    }
}

/// A wire without connection is one problem; so is one on which every device is silent.
fn on_wire(connection: &ConnectionState, at: WallTime, found: &mut Vec<Problem>) {
    let part = format!("connection {}", connection.name);
    let silent = |device: &&DeviceState| device.state == Health::Offline;
    let offline = connection.devices.iter().filter(silent).count();
    let all = connection.devices.len();
    if let (false, Some(fault)) = (connection.connected, &connection.error) {
        let what = format!("{}: {fault}", connection.to);
        let remedy = if connection.kind == "modbus_tcp" || connection.kind == "modbus_rtu_over_tcp"
        {
            "check power, network and address of the device: fieldgate check --probe"
        } else {
            "check cable, adapter and rights (group dialout): fieldgate check --probe"
        };
        found.push(error(part, what, remedy));
    } else if offline == all && all > 1 {
        let what = format!("all {all} devices on {} are silent", connection.to);
        let remedy = "the line itself: power, A/B swapped, baud rate, parity, end resistors";
        found.push(error(part, what, remedy));
    } else {
        for device in &connection.devices {
            on_device(connection, device, at, found);
        }
    }
    let part = format!("connection {}", connection.name);
    let late: u64 = connection.devices.iter().map(|it| it.overruns).sum();
    let busy = connection.busy.unwrap_or_default();
    if busy.ratio > BUSY_ABOVE && busy.time_s > BUSY_FOR_S && late > 0 {
        let what = format!(
            "requests take {:.0} % of its time, and {late} deadlines have passed without a reading since the start",
            busy.ratio * 100.0
        );
        let remedy = "raise an interval or the baud rate, or read more at once (max_gap): fieldgate check says what is planned";
        found.push(warning(part.clone(), what, remedy));
    }
    if connection.restarts > 0 {
        let what = format!(
            "was started again {} times after a fault of fieldgate",
            connection.restarts
        );
        found.push(warning(part, what, "please report it with fieldgate diag"));
    }
}

fn on_device(
    connection: &ConnectionState,
    device: &DeviceState,
    at: WallTime,
    found: &mut Vec<Problem>,
) {
    let part = format!("device {}", device.name);
    let reason = device.error.as_deref().unwrap_or("no reason known");
    let unit = match device.unit_id {
        Some(unit) => format!("unit {unit} on {}", connection.to),
        None => connection.to.clone(),
    };
    match device.state {
        Health::Offline => {
            let for_long = lasted(device.since, at);
            let others = match connection.devices.len() {
                1 => "",
                _ => ", others on the line answer",
            };
            let what = format!("offline{for_long}: {reason} ({unit}{others})");
            let remedy = format!(
                "check its power, wiring and address: fieldgate read {}",
                device.name
            );
            found.push(error(part, what, remedy));
        }
        Health::Degraded => {
            let what = format!("some readings fail: {reason} ({unit})");
            let remedy = format!("see its bad values: fieldgate values {}", device.name);
            found.push(warning(part, what, remedy));
        }
        Health::Online | Health::Unknown => {}
    }
}

fn on_bridge(bridge: &BridgeState, at: WallTime, found: &mut Vec<Problem>) {
    let BridgeState { name, to, status } = bridge;
    let part = format!("bridge {name}");
    if let Some(fault) = &status.store_error {
        let what = format!("its backlog cannot be written: {fault}");
        let remedy =
            "look at the disk (df, dmesg); nothing for this bridge is acknowledged until then";
        found.push(error(part.clone(), what, remedy));
    } else if status.link != LinkState::Up {
        let for_long = lasted(status.since, at);
        // Which of its addresses, the error says.
        let why = status.error.clone();
        let why = why.unwrap_or_else(|| format!("{to}: connecting"));
        let what = format!(
            "no link{for_long}: {why}; {} messages wait",
            status.backlog_messages
        );
        let remedy =
            "the backlog is kept and follows; try the way stage by stage: fieldgate check --probe";
        found.push(error(part.clone(), what, remedy));
    }
    fullness(&part, status, found);
    if !status.subscriptions_refused.is_empty() {
        let what = format!(
            "the upstream refuses: {}",
            status.subscriptions_refused.join(", ")
        );
        found.push(error(
            part.clone(),
            what,
            "allow them in the policy of this client at the upstream",
        ));
    }
    if status.dead_letters > 0 {
        let what = format!(
            "{} messages that the upstream refuses for good",
            status.dead_letters
        );
        let remedy = format!("see them: fieldgate backlog export {name} --dead-letter");
        found.push(warning(part.clone(), what, remedy));
    }
    if status.restarts > 0 {
        let what = format!(
            "was started again {} times after a fault of fieldgate",
            status.restarts
        );
        found.push(warning(part, what, "please report it with fieldgate diag"));
    }
}

fn fullness(part: &str, status: &BridgeStatus, found: &mut Vec<Problem>) {
    if status.refusing {
        let what = "the backlog is full: new messages are refused".to_owned();
        let remedy = "bring the link back, or raise bridges.backlog.max_bytes";
        found.push(error(part, what, remedy));
    } else if let Some(seconds) = status.flow.full_in_s.filter(|it| *it < FULL_SOON_S) {
        let what = format!("the backlog is full in {}", span(seconds));
        let remedy = "bring the link back, or raise bridges.backlog.max_bytes";
        found.push(warning(part, what, remedy));
    }
}

/// ` for 6 min`; nothing where the clock was set in between.
fn lasted(since: WallTime, at: WallTime) -> String {
    if !since.is_plausible() {
        return String::new();
    }
    format!(" for {}", span(at.millis_since(since) / 1000))
}

/// Seconds as a person says it, in its largest unit.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn error(part: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem {
        severity: Severity::Error,
        part: part.into(),
        what: what.into(),
        remedy: remedy.into(),
    }
}

fn warning(part: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem {
        severity: Severity::Warning,
        ..error(part, what, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::PROGRAM_MADE;
    use crate::status::{Busy, CertificateState, ConfigState, Flow, ListenerStatus, StoreState};

    const SIX_MINUTES: u64 = 6 * 60 * 1000;

    fn device(name: &str, state: Health) -> DeviceState {
        DeviceState {
            name: name.to_owned(),
            unit_id: Some(7),
            state,
            since: PROGRAM_MADE,
            error: (state != Health::Online).then(|| "timeout".to_owned()),
            ..DeviceState::default()
        }
    }

    fn line(devices: Vec<DeviceState>) -> ConnectionState {
        ConnectionState {
            name: "rs485-a".to_owned(),
            kind: "modbus_rtu".to_owned(),
            to: "/dev/ttyUSB0".to_owned(),
            connected: true,
            devices,
            ..ConnectionState::default()
        }
    }

    fn bridge(status: BridgeStatus) -> BridgeState {
        BridgeState {
            name: "cloud".to_owned(),
            to: "broker.example.com:8883".to_owned(),
            status,
        }
    }

    fn well() -> GatewayState {
        GatewayState {
            at: WallTime(PROGRAM_MADE.0 + SIX_MINUTES),
            clock_is_set: true,
            connections: vec![line(vec![device("m", Health::Online)])],
            bridges: vec![bridge(BridgeStatus {
                link: LinkState::Up,
                ..BridgeStatus::default()
            })],
            ..GatewayState::default()
        }
    }

    fn told(state: GatewayState) -> Vec<String> {
        let problems = state.judged().problems;
        let lines = problems.iter().map(|problem| {
            assert!(!problem.remedy.is_empty());
            format!("{}: {}", problem.part, problem.what)
        });
        lines.collect()
    }

    #[test]
    fn a_gateway_that_is_well_has_no_problems() {
        assert_eq!(told(well()), [""; 0]);
        assert!(well().judged().is_healthy());
    }

    #[test]
    fn a_dead_device_a_cut_link_and_a_certificate_that_ends_are_told_the_worst_first() {
        let state = GatewayState {
            connections: vec![line(vec![
                device("meter-1", Health::Online),
                device("meter-7", Health::Offline),
            ])],
            bridges: vec![bridge(BridgeStatus {
                since: PROGRAM_MADE,
                error: Some("broker.example.com:8883: TCP: no route to host".to_owned()),
                backlog_messages: 12,
                ..BridgeStatus::default()
            })],
            certificates: vec![CertificateState {
                used_by: "bridge cloud".to_owned(),
                file: "certs/device.crt".to_owned(),
                expires: WallTime(u64::MAX),
                warning: Some(
                    "device.crt: the certificate expires in 23 days: renew it".to_owned(),
                ),
            }],
            ..well()
        };
        assert_eq!(
            told(state),
            [
                "device meter-7: offline for 6 min: timeout (unit 7 on /dev/ttyUSB0, others on the line answer)",
                "bridge cloud: no link for 6 min: broker.example.com:8883: TCP: no route to host; 12 messages wait",
                "bridge cloud: device.crt: the certificate expires in 23 days: renew it",
            ]
        );
    }

    #[test]
    fn a_line_that_is_cut_is_one_problem_and_not_one_for_each_device() {
        let silent = vec![device("a", Health::Offline), device("b", Health::Offline)];
        let mut state = well();
        state.connections = vec![line(silent.clone())];
        let told_of = told(state.clone());
        assert_eq!(
            told_of,
            ["connection rs485-a: all 2 devices on /dev/ttyUSB0 are silent"]
        );
        state.connections = vec![ConnectionState {
            connected: false,
            error: Some("no such file".to_owned()),
            ..line(silent)
        }];
        assert_eq!(
            told(state),
            ["connection rs485-a: /dev/ttyUSB0: no such file"]
        );
    }

    #[test]
    fn a_line_without_air_is_told_of_where_readings_were_late() {
        let with = |ratio, time_s, overruns| {
            let late = DeviceState {
                overruns,
                ..device("m", Health::Online)
            };
            let mut state = well();
            state.connections = vec![ConnectionState {
                busy: Some(Busy { ratio, time_s }),
                ..line(vec![late])
            }];
            assert!(state.clone().judged().is_healthy());
            told(state)
        };
        assert_eq!(
            with(0.97, 3600.0, 3),
            [
                "connection rs485-a: requests take 97 % of its time, and 3 deadlines have passed without a reading since the start"
            ]
        );
        assert_eq!(with(0.97, 3600.0, 0), [""; 0], "full, and all in time");
        assert_eq!(with(0.9, 3600.0, 3), [""; 0], "late once, and not full now");
        assert_eq!(with(0.97, 30.0, 3), [""; 0], "a start");
    }

    #[test]
    fn what_is_only_warned_of_is_healthy() {
        let mut state = well();
        state.connections = vec![line(vec![device("a", Health::Degraded)])];
        state.clock_is_set = false;
        state.config.needs_restart = vec!["store".to_owned()];
        state.bridges[0].status.flow = Flow {
            full_in_s: Some(7200),
            ..Flow::default()
        };
        state.bridges[0].status.dead_letters = 1;
        state.left_backlogs = vec![LeftBacklog {
            bridge: "old".to_owned(),
            messages: 12,
        }];
        let state = state.judged();
        assert_eq!(state.problems.len(), 6, "{:?}", state.problems);
        assert!(state.is_healthy());
    }

    #[test]
    fn each_fault_makes_it_unhealthy() {
        let faults: [fn(&mut GatewayState); 7] = [
            |state| state.store.error = Some("full".to_owned()),
            |state| {
                state.store = StoreState {
                    free_bytes: Some(1 << 20),
                    free_bytes_minimum: 64 << 20,
                    ..StoreState::default()
                };
            },
            |state| {
                state.listeners = vec![ListenerStatus::new("plant".to_owned(), &"0.0.0.0:8883")]
            },
            |state| {
                state.config = ConfigState {
                    is_last_good: true,
                    ..ConfigState::default()
                };
            },
            |state| state.broker.login_error = Some("every client is refused".to_owned()),
            |state| state.bridges[0].status.refusing = true,
            |state| state.bridges[0].status.subscriptions_refused = vec!["a/#".to_owned()],
        ];
        for fault in faults {
            let mut state = well();
            fault(&mut state);
            assert_eq!(state.judged().problems.len(), 1);
            let mut state = well();
            fault(&mut state);
            assert!(!state.judged().is_healthy());
        }
    }
}
