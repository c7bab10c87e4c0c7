//! `config/docs/configuration.md` against the program: keys, defaults, codes.

use std::collections::BTreeMap;

use super::*;

const REFERENCE: &str = include_str!("../../config/docs/configuration.md");

/// A row of the reference.
pub(super) struct Row {
    pub(super) key: String,
    pub(super) default: String,
    pub(super) meaning: String,
}

impl Row {
    /// The default, where it is one value.
    pub(super) fn default(&self) -> Option<&str> {
        let default = self.default.strip_prefix('`')?.strip_suffix('`')?;
        (!default.contains('`')).then_some(default)
    }
}

/// The rows of each section of the reference.
pub(super) fn reference() -> BTreeMap<String, Vec<Row>> {
    let mut sections = BTreeMap::<String, Vec<_>>::new();
    let mut section = String::new();
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.replace("top level", "").replace('`', "");
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", key, default, meaning, ..] = cells.as_slice()
            && let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`'))
        {
            let row = Row {
                key: key.to_owned(),
                default: (*default).to_owned(),
                meaning: (*meaning).to_owned(),
            };
            sections.entry(section.clone()).or_default().push(row);
        }
    }
    sections
}

#[test]
fn the_reference_has_the_keys_of_the_program_in_their_order() {
    let reference = reference();
    for raw::Known { path, shape, .. } in raw::sections() {
        let rows = reference.get(path).map(Vec::as_slice).unwrap_or_default();
        let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        assert_eq!(keys, shape.fields, "section `{path}`");
    }
    assert_eq!(reference.len(), raw::sections().len());
}

#[test]
fn the_reference_explains_every_code() {
    for code in Code::ALL {
        assert!(REFERENCE.contains(&format!("| {code} |")), "{code}");
    }
}

#[test]
fn the_defaults_of_the_reference_are_those_of_the_program() {
    const DEVICE: &str = "connections: [{name: a, modbus_tcp: {host: h, TCP}}, {name: r, modbus_rtu: {port: /p, \
        baud_rate: 1200, RTU, rs485: {RS485}}}, {name: o, modbus_rtu_over_tcp: {host: h, port: 1, OVER}}, \
        {name: s, serial: {port: /s, baud_rate: 1200, SERIAL}}]\ndevices: [{name: d, connection: a, \
        unit_id: 1, DEVICE, probe_backoff: {PROBE}, groups: [{name: g, tags: [{name: t, register: coil, address: 0}]}]}]";
    const BRIDGE: &str = "bridges: [{name: b, url: 'mqtts://h', tls: {ca: c}, BRIDGE, backlog: {LOG}, backoff: {WAIT}, \
        forward: [{filter: a, ROUTE}], receive: [{filter: b, DOWN}]}]";
    const LISTENER: &str = "broker: {users_file: u, limits: {LIMITS}, listeners: [{bind: '[::1]:1', LISTENER, tls: \
        {certificate: c, private_key: k, TLS}}]}";
    let text = format!(
        "{DEVICE}\n{BRIDGE}\n{LISTENER}\nstore: {{STORE}}\ndefaults: {{ALL}}\nconsole: {{CONSOLE}}\n"
    );
    let sections = [
        ("TCP", "connections[].modbus_tcp"),
        ("RTU", "connections[].modbus_rtu"),
        ("RS485", "connections[].modbus_rtu.rs485"),
        ("SERIAL", "connections[].serial"),
        ("OVER", "connections[].modbus_rtu_over_tcp"),
        ("DEVICE", "devices[]"),
        ("PROBE", "devices[].probe_backoff"),
        ("BRIDGE", "bridges[]"),
        ("LOG", "bridges[].backlog"),
        ("WAIT", "bridges[].backoff"),
        ("ROUTE", "bridges[].forward[]"),
        ("DOWN", "bridges[].receive[]"),
        ("LIMITS", "broker.limits"),
        ("LISTENER", "broker.listeners[]"),
        ("TLS", "broker.listeners[].tls"),
        ("STORE", "store"),
        ("ALL", "defaults"),
        ("CONSOLE", "console"),
    ];
    let reference = reference();
    let (mut short, mut long, mut count) = (text.clone(), text, 0);
    for (mark, section) in sections {
        let said: Vec<String> = reference[section]
            .iter()
            .filter_map(|row| Some(format!("{}: {}", row.key, row.default()?)))
            .collect();
        count += said.len();
        long = long.replace(mark, &said.join(", "));
        short = short.replace(&format!(", {mark}"), "").replace(mark, "");
    }
    let read = |text: &str| match parse(text, Path::new("/etc/fieldgate.yaml"), &Everything) {
        Ok(loaded) => loaded.config,
        Err(faults) => panic!("{faults}\n{text}"),
    };
    assert!(count > 45, "{count}");
    assert_eq!(read(&long), read(&short));
}

/// Every file is there.
pub(super) struct Everything;

impl Environment for Everything {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &Path, _: u64) -> io::Result<String> {
        Ok(String::new())
    }

    fn yaml_files(&self, _: &Path, _: usize) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn is_file(&self, _: &Path) -> bool {
        true
    }

    fn host_name(&self) -> Option<String> {
        None
    }
}
