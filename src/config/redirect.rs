//! A copy of a configuration whose connections lead elsewhere, for a simulation beside it. Reads no file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_yaml::{Mapping, Value};

use super::document;
use super::place::Place;

/// Where a connection leads in the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lead {
    /// By TCP.
    Tcp(SocketAddr),
    /// By a serial port.
    Port(PathBuf),
}

/// `text` with the connections named in `leads` leading there. It has a `data_dir` of its own and no bridges, so that
/// nothing that is simulated gets into the real backlog or cloud. `None`: `text` is no configuration.
#[must_use]
pub fn redirected(text: &str, leads: &BTreeMap<String, Lead>, data_dir: &str) -> Option<String> {
    let document = document::parse(text, Place::default()).ok()?;
    let Value::Mapping(mut root) = document.root else {
        return None;
    };
    for connection in root.get_mut("connections")?.as_sequence_mut()? {
        let name = connection.get("name").and_then(Value::as_str);
        if let Some(lead) = name.and_then(|name| leads.get(name)) {
            lead_to(connection.as_mapping_mut()?, lead);
        }
    }
    root.remove("bridges");
    let gateway = root
        .entry("gateway".into())
        .or_insert_with(|| Value::Mapping(Mapping::new()));
    if gateway.is_null() {
        *gateway = Value::Mapping(Mapping::new());
    }
    let gateway = gateway.as_mapping_mut()?;
    gateway.insert("data_dir".into(), data_dir.into());
    serde_yaml::to_string(&root).ok()
}

fn lead_to(connection: &mut Mapping, lead: &Lead) {
    for kind in ["modbus_tcp", "modbus_rtu_over_tcp", "modbus_rtu", "serial"] {
        let Some(Value::Mapping(wire)) = connection.get_mut(kind) else {
            continue;
        };
        match lead {
            Lead::Tcp(address) => {
                wire.insert("host".into(), address.ip().to_string().into());
                wire.insert("port".into(), address.port().into());
                wire.remove("tls");
            }
            Lead::Port(port) => {
                wire.insert("port".into(), port.display().to_string().into());
                // No adapter to be switched.
                wire.remove("rs485");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_lead_elsewhere_and_all_else_stays() {
        let text = "gateway: {id: g, data_dir: /var/lib/fieldgate}\n\
            connections:\n  - {name: a, modbus_tcp: {host: plc, connect_timeout: 1s}}\n  \
            - {name: b, modbus_rtu: {port: /dev/ttyS0, baud_rate: 9600, rs485: {mode: kernel}}}\n  \
            - {name: c, modbus_tcp: {host: other}}\n\
            templates: {t: {groups: [{name: g, tags: [{name: m, enum: {0: off, 1: on}}]}]}}\n\
            bridges: [{name: cloud}]\n";
        let leads = BTreeMap::from([
            ("a".to_owned(), Lead::Tcp(([127, 0, 0, 1], 1502).into())),
            ("b".to_owned(), Lead::Port("/tmp/b".into())),
        ]);
        let copy = redirected(text, &leads, "here").unwrap();
        let expected = "gateway: {id: g, data_dir: here}\n\
            connections:\n  - {name: a, modbus_tcp: {host: 127.0.0.1, connect_timeout: 1s, port: 1502}}\n  \
            - {name: b, modbus_rtu: {port: /tmp/b, baud_rate: 9600}}\n  \
            - {name: c, modbus_tcp: {host: other}}\n\
            templates: {t: {groups: [{name: g, tags: [{name: m, enum: {'0': off, '1': on}}]}]}}\n";
        let read = |text: &str| serde_yaml::from_str::<Value>(text).unwrap();
        assert_eq!(read(&copy), read(expected));
        assert_eq!(redirected("[]", &leads, "here"), None);
    }
}
