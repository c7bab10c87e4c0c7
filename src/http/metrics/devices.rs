//! Wires and what is on them. No I/O.

use super::page::{Kind, Page, Seconds};
use crate::status::{ConnectionState, DeviceState, Health};

type Figure<T> = (&'static str, &'static str, fn(&T) -> u64);
type Count = fn(&DeviceState) -> u64;

const OF_CONNECTIONS: [Figure<ConnectionState>; 4] = [
    (
        "fieldgate_connection_connects_total",
        "Connections made.",
        |connection| connection.connects,
    ),
    (
        "fieldgate_connection_published_total",
        "Messages of its devices that the broker took.",
        |connection| connection.published,
    ),
    (
        "fieldgate_connection_dropped_total",
        "Messages of its devices that the broker did not take in time.",
        |connection| connection.dropped,
    ),
    (
        "fieldgate_connection_restarts_total",
        "Times that it was started again after a fault of fieldgate.",
        |connection| connection.restarts,
    ),
];

/// Of a request, by what became of it; the rest is `other`: the wire was lost, or the reply was to another request.
/// Exceptions come by their codes.
const RESULTS: [(&str, Count); 4] = [
    ("ok", |device| device.answered),
    ("timeout", |device| device.timeouts),
    ("crc", |device| device.crc_errors),
    ("invalid", |device| device.invalid_replies),
];

pub(super) fn write(page: &mut Page, connections: &[ConnectionState]) {
    let mut up = page.family(
        Kind::Gauge,
        "fieldgate_connection_up",
        "1: the wire is connected.",
    );
    for connection in connections {
        let labels = [("connection", &*connection.name)];
        up.sample(&labels, u8::from(connection.connected));
    }
    for (name, help, value) in OF_CONNECTIONS {
        let mut family = page.family(Kind::Counter, name, help);
        for connection in connections {
            family.sample(&[("connection", &connection.name)], value(connection));
        }
    }
    lines(page, connections);
    states(page, connections);
    requests(page, connections);
    reply_times(page, connections);
    let mut family = page.family(
        Kind::Counter,
        "fieldgate_device_poll_overruns_total",
        "Deadlines that passed without a reading.",
    );
    for (labels, device) in labelled(connections) {
        family.sample(&labels, device.overruns);
    }
}

fn lines(page: &mut Page, connections: &[ConnectionState]) {
    let busy = || {
        let busy = connections.iter();
        busy.filter_map(|connection| Some((&*connection.name, connection.busy?)))
    };
    let mut ratio = page.family(
        Kind::Gauge,
        "fieldgate_bus_utilization_ratio",
        "Part of about the last minute in which requests, with all that they wait for, had the wire.",
    );
    for (connection, busy) in busy() {
        let ratio_now = format_args!("{:.3}", busy.ratio);
        ratio.sample(&[("connection", connection)], ratio_now);
    }
    let mut seconds = page.family(
        Kind::Counter,
        "fieldgate_bus_busy_seconds_total",
        "Time in which requests, with all that they wait for, had the wire.",
    );
    for (connection, busy) in busy() {
        let time = format_args!("{:.3}", busy.time_s);
        seconds.sample(&[("connection", connection)], time);
    }
    let mut errors = page.family(
        Kind::Counter,
        "fieldgate_serial_line_errors_total",
        "What the driver of a serial port did not receive as it was sent, where it counts that.",
    );
    for connection in connections {
        let Some(counts) = connection.line_errors else {
            continue;
        };
        for (kind, count) in [
            ("frame", counts.frame),
            ("overrun", counts.overrun),
            ("parity", counts.parity),
            ("break", counts.breaks),
        ] {
            errors.sample(&[("connection", &connection.name), ("kind", kind)], count);
        }
    }
}

fn states(page: &mut Page, connections: &[ConnectionState]) {
    let mut up = page.family(
        Kind::Gauge,
        "fieldgate_device_up",
        "1: the device answers; 0: it is silent, or was not asked yet.",
    );
    for (labels, device) in labelled(connections) {
        let is_up = matches!(device.state, Health::Online | Health::Degraded);
        up.sample(&labels, u8::from(is_up));
    }
    let mut degraded = page.family(
        Kind::Gauge,
        "fieldgate_device_degraded",
        "1: the device answers, but some reading failed the last time.",
    );
    for (labels, device) in labelled(connections) {
        degraded.sample(&labels, u8::from(device.state == Health::Degraded));
    }
    let mut last = page.family(
        Kind::Gauge,
        "fieldgate_device_last_reply_timestamp_seconds",
        "When the last whole reply arrived.",
    );
    for (labels, device) in labelled(connections) {
        if let Some(at) = device.last_ok {
            last.sample(&labels, Seconds(at.0));
        }
    }
}

/// Instruments speak no Modbus.
fn requests(page: &mut Page, connections: &[ConnectionState]) {
    let modbus = || {
        let modbus = connections.iter();
        let modbus = modbus.filter(|connection| connection.kind.starts_with("modbus"));
        modbus.flat_map(devices_of)
    };
    let mut requests = page.family(
        Kind::Counter,
        "fieldgate_modbus_requests_total",
        "Requests sent, with retries and probes, by what became of them.",
    );
    for (labels, device) in modbus() {
        let [connection, name] = labels;
        let mut other = device.requests;
        for (result, value) in RESULTS {
            let count = value(device);
            other = other.saturating_sub(count);
            requests.sample(&[connection, name, ("result", result)], count);
        }
        for (result, count) in &device.exception_codes {
            other = other.saturating_sub(*count);
            requests.sample(&[connection, name, ("result", result)], *count);
        }
        requests.sample(&[connection, name, ("result", "other")], other);
    }
    let mut late = page.family(
        Kind::Counter,
        "fieldgate_modbus_late_replies_total",
        "Replies that came when nobody waited for them any more.",
    );
    for (labels, device) in modbus() {
        late.sample(&labels, device.late_replies);
    }
}

/// Of what is asked; an instrument may speak by itself.
fn reply_times(page: &mut Page, connections: &[ConnectionState]) {
    let mut family = page.family(
        Kind::Histogram,
        "fieldgate_device_poll_duration_seconds",
        "From the sending of a request to the end of its reply, of those that were answered (result ok).",
    );
    for (labels, device) in labelled(connections) {
        if let Some(times) = &device.reply_times {
            family.histogram(&labels, times);
        }
    }
}

type Labels<'a> = [(&'static str, &'a str); 2];

fn labelled(connections: &[ConnectionState]) -> impl Iterator<Item = (Labels<'_>, &DeviceState)> {
    connections.iter().flat_map(devices_of)
}

fn devices_of(connection: &ConnectionState) -> impl Iterator<Item = (Labels<'_>, &DeviceState)> {
    let devices = connection.devices.iter();
    devices.map(|device| {
        let labels = [("connection", &*connection.name), ("device", &*device.name)];
        (labels, device)
    })
}
