//! Meters as YAML: each on a connection of its own to one port, one group of holding registers from 0 on.

use std::fmt::Write;
use std::time::Duration;

/// `connections`, `devices` and their template, units from 1 on. Readings are of QoS 1: a bridge keeps them on disk.
pub fn meters(port: u16, devices: u8, registers: u16, interval: Duration) -> String {
    let tags = lines(registers, |address| {
        format!(
            "          - {{ name: r{address}, register: holding, address: {address}, type: uint16 }}"
        )
    });
    let connections = lines(devices.into(), |number| {
        format!("  - {{ name: line{number}, modbus_tcp: {{ host: 127.0.0.1, port: {port} }} }}")
    });
    let devices = lines(devices.into(), |number| {
        let unit = number + 1;
        format!(
            "  - {{ name: meter{number}, connection: line{number}, unit_id: {unit}, template: meter }}"
        )
    });
    let interval = interval.as_millis();
    format!(
        "
templates:
  meter:
    groups:
      - name: all
        interval: {interval}ms
        qos: 1
        tags:
{tags}connections:
{connections}devices:
{devices}"
    )
}

/// For 0 to `count`.
fn lines(count: u16, line: impl Fn(u16) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        writeln!(text, "{}", line(number)).unwrap();
        text
    })
}
