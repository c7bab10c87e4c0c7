//! What one screen shows of gateways that are well, in trouble, and in much trouble.

use super::*;
use crate::clock::PROGRAM_MADE;
use crate::status::{BridgeStatus, BrokerState, ConnectionState, DeviceState, Flow, StoreState};

const MINUTE: u64 = 60_000;
const DAY: u64 = 86_400_000;
/// 2026-11-24T00:00:00Z
const NOW: WallTime = WallTime(PROGRAM_MADE.0 + DAY);

fn device(name: &str, state: Health) -> DeviceState {
    DeviceState {
        name: name.to_owned(),
        unit_id: Some(7),
        state,
        since: WallTime(NOW.0 - 6 * MINUTE),
        error: (state == Health::Offline).then(|| "timeout".to_owned()),
        ..DeviceState::default()
    }
}

fn line(name: &str, devices: Vec<DeviceState>) -> ConnectionState {
    ConnectionState {
        name: name.to_owned(),
        kind: "modbus_rtu".to_owned(),
        to: "/dev/ttyUSB0".to_owned(),
        connected: true,
        devices,
        ..ConnectionState::default()
    }
}

fn bridge(name: &str, link: LinkState) -> BridgeState {
    BridgeState {
        name: name.to_owned(),
        to: "broker.example.com:8883".to_owned(),
        status: BridgeStatus {
            link,
            since: WallTime(NOW.0 - 3 * 60 * MINUTE),
            error: (link == LinkState::Down)
                .then(|| "broker.example.com:8883: TCP: no route to host".to_owned()),
            flow: Flow {
                messages_in: 48.0,
                messages_out: if link == LinkState::Up { 48.0 } else { 0.0 },
                ..Flow::default()
            },
            ..BridgeStatus::default()
        },
    }
}

fn certificate(ends_in_days: u64) -> CertificateState {
    CertificateState {
        used_by: "bridge cloud".to_owned(),
        file: "certs/device.crt".to_owned(),
        expires: WallTime(NOW.0 + ends_in_days * DAY),
        warning: (ends_in_days < 30).then(|| {
            format!("certs/device.crt: the certificate expires in {ends_in_days} days: renew it")
        }),
    }
}

fn well() -> GatewayState {
    GatewayState {
        gateway: "pump-house-3".to_owned(),
        version: "0.3.1".to_owned(),
        at: NOW,
        uptime_s: 3 * 86_400 + 4 * 3600,
        clock_is_set: true,
        broker: BrokerState {
            clients: 6,
            received_per_s: 48.0,
            sent_per_s: 0.25,
            ..BrokerState::default()
        },
        store: StoreState {
            data_dir: "/var/lib/fieldgate".to_owned(),
            free_bytes: Some(3 << 30),
            free_bytes_minimum: 64 << 20,
            ..StoreState::default()
        },
        connections: vec![line(
            "rs485-1",
            vec![
                device("meter-1", Health::Online),
                device("meter-7", Health::Online),
            ],
        )],
        bridges: vec![bridge("cloud", LinkState::Up)],
        certificates: vec![certificate(300)],
        ..GatewayState::default()
    }
}

fn told(state: GatewayState) -> Vec<String> {
    let lines = lines(&state.judged());
    assert!(lines.len() <= LINES_MAX, "{lines:?}");
    lines.into_iter().map(|line| line.text).collect()
}

#[test]
fn a_gateway_that_is_well() {
    assert_eq!(
        told(well()),
        [
            "fieldgate 0.3.1  pump-house-3  up 3 d 4 h  all is well",
            "  field    2 of 2 devices ok",
            "  broker   6 clients, 48 messages/s in, 0.2 out, 0 dropped",
            "  queue    0 messages, 48/s in, 48 out",
            "  cloud    cloud up for 3 h 0 min",
            "  store    3.0 GiB free at /var/lib/fieldgate",
            "  certs    bridge cloud ends 2027-09-20 (in 300 days)",
            "  clock    set",
        ]
    );
}

#[test]
fn a_dead_device_a_cut_link_and_a_certificate_that_ends_are_named_with_what_to_do() {
    let mut state = well();
    state.connections[0].devices[1] = device("meter-7", Health::Offline);
    state.bridges = vec![bridge("cloud", LinkState::Down)];
    let status = &mut state.bridges[0].status;
    status.backlog_messages = 518_400;
    status.backlog_bytes = 61 << 20;
    status.oldest = Some(status.since);
    status.flow.full_in_s = Some(400_000);
    state.certificates = vec![certificate(23)];
    assert_eq!(
        told(state),
        [
            "fieldgate 0.3.1  pump-house-3  up 3 d 4 h  3 problems",
            "  field    1 of 2 devices ok, 1 offline",
            "  broker   6 clients, 48 messages/s in, 0.2 out, 0 dropped",
            "  queue    518400 messages (61.0 MiB, the oldest 3 h 0 min old), 48/s in, 0 out, full in 4 d 15 h",
            "  cloud    cloud down for 3 h 0 min",
            "  store    3.0 GiB free at /var/lib/fieldgate",
            "  certs    bridge cloud ends 2026-12-17 (in 23 days)",
            "  clock    set",
            "  ERROR    device meter-7: offline for 6 min: timeout (unit 7 on /dev/ttyUSB0, others on the line answer)",
            "           -> check its power, wiring and address: fieldgate read meter-7",
            "  ERROR    bridge cloud: no link for 3 h: broker.example.com:8883: TCP: no route to host; 518400 messages wait",
            "           -> the backlog is kept and follows; try the way stage by stage: fieldgate check --probe",
            "  warning  bridge cloud: certs/device.crt: the certificate expires in 23 days: renew it",
            "           -> fieldgate cert request 'bridge cloud', have it signed, fieldgate cert install FILE",
        ]
    );
}

#[test]
fn three_hundred_dead_devices_fit_on_the_same_screen() {
    let mut state = well();
    // Each line has one device that answers, so that each dead one is a problem of its own.
    state.connections = (0..10)
        .map(|number| {
            let mut devices = vec![device("alive", Health::Online)];
            devices
                .extend((0..30).map(|unit| device(&format!("d{number}-{unit}"), Health::Offline)));
            line(&format!("line{number}"), devices)
        })
        .collect();
    let told_of = told(state.clone());
    assert_eq!(told_of.len(), LINES_MAX);
    assert_eq!(told_of[1], "  field    10 of 310 devices ok, 300 offline");
    assert!(told_of[8].starts_with("  ERROR    device d0-0: offline for 6 min"));
    assert_eq!(told_of[14], "  and 297 more: --json");

    for connection in &mut state.connections {
        connection.devices.remove(0);
    }
    let told_of = told(state);
    assert!(
        told_of[8].contains("connection line0: all 30 devices"),
        "{told_of:?}"
    );
    assert_eq!(told_of[14], "  and 7 more: --json");
}

#[test]
fn of_several_bridges_the_worst_come_first() {
    let mut state = well();
    state.bridges = vec![
        bridge("a", LinkState::Up),
        bridge("b", LinkState::Up),
        bridge("c", LinkState::Down),
        bridge("d", LinkState::Up),
        bridge("e", LinkState::Up),
    ];
    state.bridges[3].status.backlog_messages = 5;
    state.bridges[3].status.flow.drained_in_s = Some(2);
    let told_of = told(state);
    assert_eq!(
        told_of[3..7],
        [
            "  cloud    4 of 5 links up; 2 not shown here: fieldgate backlog",
            "           c down for 3 h 0 min; 0 messages, 48/s in, 0 out",
            "           d up for 3 h 0 min; 5 messages (0 B), 48/s in, 48 out, drained in 2 s",
            "           a up for 3 h 0 min; 0 messages, 48/s in, 48 out",
        ]
    );
}

#[test]
fn a_gateway_with_nothing_to_do_and_no_clock() {
    let state = GatewayState {
        gateway: "g\u{1b}[2J".to_owned(),
        version: "0.3.1".to_owned(),
        ..GatewayState::default()
    };
    let told_of = told(state);
    assert_eq!(
        told_of[..7],
        [
            "fieldgate 0.3.1  g [2J  up 0 s  1 problem",
            "  field    no devices",
            "  broker   0 clients, 0 messages/s in, 0 out, 0 dropped",
            "  cloud    no bridge",
            "  store    free space is not known at ",
            "  certs    none",
            "  clock    NOT SET",
        ]
    );
}

#[test]
fn what_is_broken_is_red() {
    let mut state = well();
    state.connections[0].devices[1] = device("meter-7", Health::Offline);
    let lines = lines(&state.judged());
    let red = lines.iter().filter(|line| line.tone == Tone::Error);
    let red: Vec<_> = red.map(|line| line.text.get(2..7).unwrap()).collect();
    assert_eq!(red, ["field", "ERROR"]);
}
