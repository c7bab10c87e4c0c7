//! What a sound file means: defaults, inheritance, topics, references.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::adapter::{
    Payload, PublishOptions, Table, TagOptions, TagType, UnitId, WireOptions,
};
use fieldgate::bridge::Address;
use fieldgate::broker::{Durability, RetainPolicy};
use fieldgate::config::{self, Config};
use fieldgate::listener::{Bind, Origins};
use fieldgate::mqtt::{ProtocolVersion, QoS};
use fieldgate::net::ClientCertificate;
use fieldgate::store::WhenFull;
use fieldgate::topic::TopicName;
use fieldgate::value::{ByteOrder, Deadband, Meaning};

use crate::support::{Surroundings, read, read_in};

#[track_caller]
fn sound(text: &str) -> Config {
    read(text)
        .unwrap_or_else(|faults| panic!("{faults}"))
        .config
}

#[test]
fn an_empty_file_is_a_local_broker() {
    let config = sound("");
    assert_eq!(config.gateway.id, "box7");
    assert_eq!(config.gateway.data_dir, PathBuf::from("data"));
    let [listener] = config.listeners.as_slice() else {
        panic!("{:?}", config.listeners)
    };
    assert_eq!(listener.bind.to_string(), "127.0.0.1:1883");
    assert!(listener.anonymous && listener.tls.is_none());
    assert_eq!(sound("broker: { listeners: [] }").listeners, []);
}

#[test]
fn a_broker_alone_does_not_tell_its_status() {
    let tells = |text: &str| sound(text).gateway.tells_status;
    assert!(!tells(""));
    assert!(!tells("gateway: { data_dir: x }"));
    assert!(tells("gateway: { id: x }"));
    assert!(tells(
        "connections: [{ name: line, modbus_tcp: { host: plc } }]"
    ));
}

#[test]
fn the_data_folder_is_systemds_unless_said() {
    let surroundings = Surroundings {
        variables: [("STATE_DIRECTORY", "/var/lib/fieldgate:/var/lib/other")].into(),
        ..Surroundings::default()
    };
    let folder = |text: &str| {
        let loaded = config::parse(
            text,
            Path::new("/etc/fieldgate/fieldgate.yaml"),
            &surroundings,
        )
        .unwrap();
        loaded.config.gateway.data_dir
    };
    assert_eq!(folder(""), Path::new("/var/lib/fieldgate"));
    assert_eq!(folder("gateway: { data_dir: /srv/x }"), Path::new("/srv/x"));
    assert_eq!(
        folder("gateway: { data_dir: x }"),
        Path::new("/etc/fieldgate/x")
    );
}

#[test]
fn references_are_resolved_and_take_the_type_of_their_key() {
    let surroundings = Surroundings {
        variables: [
            ("PORT", "1502"),
            ("FLAG", "true"),
            ("WAIT", "5s"),
            ("FILTER", "a/b"),
        ]
        .into(),
        texts: [("secret", "0123\n")].into(),
        ..Surroundings::default()
    };
    let text = "\
broker:
  listeners: [{ bind: 127.0.0.1:1, anonymous: \"${env:FLAG}\" }]
connections: [{ name: a, modbus_tcp: { host: h, port: \"${env:PORT}\", connect_timeout: \"${env:WAIT}\" } }]
bridges:
  - name: b
    url: mqtts://h
    tls: { ca: ca }
    password: ${file:secret}
    forward: [{ filter: \"#\", except: [\"${env:FILTER}\"] }]
";
    let config = read_in(text, &surroundings)
        .unwrap_or_else(|faults| panic!("{faults}"))
        .config;
    assert!(config.listeners[0].anonymous);
    let WireOptions::ModbusTcp(tcp) = &config.connections[0].wire else {
        panic!("{:?}", config.connections[0]);
    };
    assert_eq!(tcp.port, 1502);
    assert_eq!(tcp.connect_timeout, Duration::from_secs(5));
    let bridge = &config.bridges[0].options;
    assert_eq!(
        bridge.password,
        Some("0123".to_owned().into()),
        "text stays text"
    );
    assert_eq!(bridge.forward[0].except[0].as_str(), "a/b");
}

#[test]
fn devices_by_tls_have_a_port_of_their_own() {
    let config = sound(
        "\
connections:
  - { name: plain, modbus_tcp: { host: h } }
  - { name: secure, modbus_tcp: { host: h, tls: { ca: ca, certificate: c, private_key: /k, server_name: plc } } }
  - { name: elsewhere, modbus_tcp: { host: h, port: 502, tls: { ca: ca } } }
",
    );
    let tcp: Vec<_> = config
        .connections
        .iter()
        .map(|connection| match &connection.wire {
            WireOptions::ModbusTcp(tcp) => (tcp.port, tcp.tls.clone()),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(tcp[0], (502, None));
    let (port, tls) = (tcp[1].0, tcp[1].1.as_ref().unwrap());
    assert_eq!((port, tls.server_name.as_deref()), (802, Some("plc")));
    let (certificate, key) = tls.identity.as_ref().unwrap();
    assert!(certificate.ends_with("c") && key.ends_with("k") && tls.ca.ends_with("ca"));
    assert_eq!(tcp[2].0, 502);
    assert_eq!(tcp[2].1.as_ref().unwrap().identity, None);
}

#[test]
fn listeners_by_tls() {
    let config = sound("\
broker:
  listeners:
    - bind: 0.0.0.0:8883
      tls: { certificate: c, private_key: /k, client_ca: ca, user_from: common_name, minimum_version: 1.3 }
    - bind: \"[::1]:8884\"
      anonymous: true
      tls: { certificate: c, private_key: k }
");
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(
        (tls.certificate.as_path(), tls.private_key.as_path()),
        (Path::new("c"), Path::new("/k"))
    );
    assert_eq!(
        tls.client_certificate,
        ClientCertificate::Required,
        "a CA for clients means it"
    );
    assert!(config.listeners[0].user_from_common_name && !tls.allow_tls12);
    assert_eq!(config.listeners[0].name, "0.0.0.0:8883");
    let tls = config.listeners[1].tls.as_ref().unwrap();
    assert_eq!(tls.client_certificate, ClientCertificate::Off);
    assert!(tls.allow_tls12);
}

#[test]
fn a_listener_on_a_unix_socket() {
    let config = sound("broker: { listeners: [{ bind: unix:run/mqtt.sock, anonymous: true }] }");
    let Bind::Unix(path) = &config.listeners[0].bind else {
        panic!("{:?}", config.listeners)
    };
    assert_eq!(path, Path::new("run/mqtt.sock"), "relative to the file");
    assert_eq!(config.listeners[0].name, "unix:run/mqtt.sock");
}

#[test]
fn a_websocket_takes_pages_of_other_sites_where_a_password_is_needed() {
    let origins = |listener: &str, websocket: &str| {
        let text = format!(
            "broker: {{ users_file: u, listeners: [{{ bind: 127.0.0.1:9001, {listener}, websocket: {websocket} }}] }}"
        );
        let options = sound(&text).listeners.remove(0).websocket.unwrap();
        assert_eq!(options.path, "/mqtt");
        options.origins
    };
    let certified = "tls: { certificate: c, private_key: k, client_ca: ca }";
    assert_eq!(origins("anonymous: false", "{}"), Origins::Any);
    assert_eq!(origins("anonymous: true", "{}"), Origins::OwnAddress);
    assert_eq!(origins(certified, "{ path: /mqtt }"), Origins::OwnAddress);
    assert_eq!(
        origins("anonymous: true", "{ origins: [\"*\"] }"),
        Origins::Any
    );
    assert_eq!(
        origins("anonymous: true", "{ origins: [\"https://a.example\"] }"),
        Origins::These(vec!["https://a.example".to_owned()])
    );
    assert_eq!(
        origins("anonymous: false", "{ origins: [] }"),
        Origins::These(Vec::new())
    );
}

const DEVICES: &str = "\
gateway: { id: g }
defaults: { interval: 2s, qos: 0 }
connections: [{ name: a, modbus_tcp: { host: h } }]
templates:
  t:
    byte_order: CDAB
    max_registers: 10
    interval: 3s
    groups:
      - { name: one, tags: [{ name: x, reference: 40108, type: int32, scale: 0.5, decimals: 1 }] }
      - { name: two, interval: 4s, tags: [{ name: y, register: input, address: 0, type: string, length: 4, byte_order: BADC }] }
devices:
  - name: d
    connection: a
    unit_id: 17
    template: t
    max_registers: 20
    retain: true
    groups:
      - name: three
        payload: json_per_tag
        tags:
          - { name: z, register: discrete, address: 9 }
          - { name: w, register: holding, address: 9, type: bool, qos: 2, payload: value, topic: \"plant/{tag}\" }
";

#[test]
fn the_setting_nearest_to_the_tag_counts() {
    let config = sound(DEVICES);
    let device = &config.connections[0].devices[0];
    assert_eq!(
        (
            device.unit_id,
            device.max_registers,
            device.status_topic.as_str()
        ),
        (UnitId(17), 20, "g/d/$status")
    );
    let groups: Vec<_> = device
        .groups
        .iter()
        .map(|group| {
            (
                group.name.as_str(),
                group.interval.as_secs(),
                group.qos,
                group.retain,
                group.tags.len(),
            )
        })
        .collect();
    assert_eq!(
        groups,
        [
            ("one", 3, QoS::AtMostOnce, true, 1),
            ("two", 4, QoS::AtMostOnce, true, 1),
            ("three", 3, QoS::AtMostOnce, true, 1),
            ("three", 3, QoS::ExactlyOnce, true, 1),
        ]
    );
    let tag = &device.groups[0].tags[0];
    assert_eq!(
        (tag.table, tag.address, tag.kind),
        (Table::HoldingRegisters, 107, TagType::Int32)
    );
    assert_eq!(
        (tag.byte_order, tag.scale, tag.decimals),
        (ByteOrder::CDAB, 0.5, Some(1))
    );
    let tag = &device.groups[1].tags[0];
    assert_eq!(
        (tag.kind, tag.byte_order, tag.scale),
        (TagType::Text(4), ByteOrder::BADC, 1.0)
    );
    assert_eq!(
        device.groups[2].tags[0].kind,
        TagType::Bool,
        "a bit is a bool without a word"
    );
}

#[test]
fn topics_are_made_of_names() {
    let config = sound(DEVICES);
    let groups = &config.connections[0].devices[0].groups;
    assert_eq!(
        groups[0].payload,
        Payload::Json("g/d/one".try_into().unwrap())
    );
    assert_eq!(groups[0].tags[0].topic.as_str(), "g/d/one/x");
    assert_eq!(groups[2].payload, Payload::JsonPerTag);
    assert_eq!(groups[2].tags[0].topic.as_str(), "g/d/three/z");
    assert_eq!(groups[3].payload, Payload::Value);
    assert_eq!(groups[3].tags[0].topic.as_str(), "plant/w");
}

/// The tag of a device that has but one, with these keys.
#[track_caller]
fn tag(keys: &str) -> TagOptions {
    let text = format!(
        "connections: [{{ name: a, modbus_tcp: {{ host: h }} }}]\ndevices: [{{ name: d, connection: a, unit_id: 1, \
         groups: [{{ name: g, tags: [{{ name: t, register: input, address: 1, {keys} }}] }}] }}]\n"
    );
    sound(&text).connections[0].devices[0].groups[0].tags[0].clone()
}

#[test]
fn numbers_that_are_no_values_are_those_of_the_type() {
    use fieldgate::value::Value::{Float32, Integer};
    let invalid = |keys: &str| tag(keys).invalid;
    assert_eq!(
        invalid("type: int16, scale: 0.1, invalid: [-32768, 0x7FFF]"),
        [Integer(-32768), Integer(32767)]
    );
    assert_eq!(
        invalid("type: uint64, invalid: [0xFFFFFFFFFFFFFFFF]"),
        [Integer(u64::MAX.into())]
    );
    assert_eq!(
        invalid("type: float32, invalid: [-9999.9]"),
        [Float32(-9999.9)]
    );
    assert_eq!(tag("type: bcd32").kind, TagType::Bcd32);
    assert_eq!(tag("type: bcd16").kind, TagType::Bcd16);
}

#[test]
fn numbers_and_bits_have_names() {
    let names = tag("type: int16, enum: { -1: fault, 0: off, 0x10: cool }").meaning;
    let expected = [(-1, "fault"), (0, "off"), (16, "cool")];
    let expected = expected.map(|(number, name)| (number, name.to_owned()));
    assert_eq!(names, Meaning::Names(expected.into()));
    let bits = tag("type: uint32, bits: { 31: high, 0: low }").meaning;
    let expected = [(0, "low".into()), (31, "high".into())];
    assert_eq!(bits, Meaning::Bits(expected.into()));
    let valve = tag("type: bool, enum: { false: shut, true: open }").meaning;
    let expected = [(0, "shut".to_owned()), (1, "open".to_owned())];
    assert_eq!(valve, Meaning::Names(expected.into()));
}

#[test]
fn a_tag_is_read_with_its_factor_and_the_atomic_ones_together() {
    let config = sound("\
connections: [{ name: a, modbus_tcp: { host: h } }]
devices:
  - name: d
    connection: a
    unit_id: 1
    groups:
      - name: g
        atomic: true
        tags:
          - { name: power, register: holding, address: 40084, type: int16, scale_from: power_sf, decimals: 1, unit: W }
          - { name: power_sf, register: holding, address: 40085, type: int16 }
          - { name: state, register: holding, address: 40108, type: uint16, atomic: false }
");
    let tags = &config.connections[0].devices[0].groups[0].tags;
    assert_eq!(tags[0].scale_from.as_deref(), Some("power_sf"));
    let atomic: Vec<_> = tags.iter().map(|tag| tag.atomic).collect();
    assert_eq!(atomic, [true, true, false]);
}

#[test]
fn what_is_published_when_is_said_key_by_key() {
    let config = sound(
        "\
defaults: { publish: { max_interval: 10min } }
connections: [{ name: a, modbus_tcp: { host: h } }]
devices:
  - name: d
    connection: a
    unit_id: 1
    publish: { on_change: true }
    groups:
      - name: g
        publish: { min_interval: 200ms }
        tags:
          - { name: x, register: input, address: 0, type: int16, deadband: 0.5 }
          - { name: y, register: input, address: 1, type: int16, deadband: 2% }
          - { name: z, register: input, address: 2, type: int16, publish: { on_change: false } }
",
    );
    let [changes, all] = config.connections[0].devices[0].groups.as_slice() else {
        panic!("a message for x and y, one for z")
    };
    let expected = PublishOptions {
        on_change: true,
        min_interval: Duration::from_millis(200),
        max_interval: Duration::from_secs(600),
    };
    assert_eq!(changes.publish, expected);
    assert!(!all.publish.on_change && all.tags[0].name == "z");
    let deadbands: Vec<_> = changes.tags.iter().map(|tag| tag.deadband).collect();
    let expected = [Deadband::Absolute(0.5), Deadband::Percent(2.0)];
    assert_eq!(deadbands, expected.map(Some));
    assert_eq!(tag("type: int16").deadband, None);
    let text = "\
connections: [{ name: a, modbus_tcp: { host: h } }]
devices: [{ name: d, connection: a, unit_id: 1, publish: { on_change: true, min_interval: 5min }, groups: [
  { name: g, tags: [{ name: t, register: coil, address: 1 }] }] }]
";
    let publish = sound(text).connections[0].devices[0].groups[0].publish;
    assert_eq!(publish.max_interval, Duration::from_secs(300));
}

#[test]
fn integers_of_64_bits_are_strings_where_wanted() {
    assert!(!tag("type: int64").quoted);
    assert!(tag("type: int64, big_integers: string").quoted);
    assert!(!tag("type: int32, big_integers: string").quoted);
    let text = "\
defaults: { big_integers: string }
connections: [{ name: a, modbus_tcp: { host: h } }]
devices:
  - name: d
    connection: a
    unit_id: 1
    groups:
      - name: g
        tags:
          - { name: x, register: input, address: 0, type: uint64 }
          - { name: y, register: input, address: 4, type: uint64, big_integers: number }
";
    let config = sound(text);
    let [group] = config.connections[0].devices[0].groups.as_slice() else {
        panic!("one message for both")
    };
    assert!(group.tags[0].quoted && !group.tags[1].quoted);
}

#[test]
fn a_bridge_is_built_from_its_few_lines() {
    let config = sound("\
gateway: { id: g, data_dir: /data }
store: { commit_interval: 50ms, durability: interval, hold_for_upstream: 0ms }
bridges:
  - name: cloud
    urls: [\"mqtts://a\", \"mqtts://[fd00::1]:8884/\", mqtts://c:1]
    tls: { ca: ca, certificate: c, private_key: k }
    protocol: 3.1.1
    client_id: \"edge-{gateway}\"
    user: \"\"
    forward:
      - { filter: \"{gateway}/a/#\", topic: \"x/{gateway}/{2..}\", qos: 1, raise_qos0: true, retain: never }
      - { filter: \"{gateway}/#\", topic: \"up/{topic}\", qos: 0 }
    backlog: { max_bytes: 1GiB, max_age: 1h, when_full: refuse }
");
    let bridge = &config.bridges[0];
    let address = |host: &str, port| Address {
        host: host.to_owned(),
        port,
        tls: true,
    };
    assert_eq!(
        bridge.options.addresses,
        [
            address("a", 8883),
            address("fd00::1", 8884),
            address("c", 1)
        ]
    );
    assert_eq!(
        (bridge.options.protocol, bridge.options.client_id.as_str()),
        (ProtocolVersion::V311, "edge-g")
    );
    assert_eq!(bridge.options.user, None, "an empty user is none");
    let route = &bridge.options.forward[0];
    assert_eq!(
        (route.filter.as_str(), route.qos, route.raise_qos0),
        ("g/a/#", QoS::AtLeastOnce, true)
    );
    assert_eq!(route.retain, RetainPolicy::Never);
    assert_eq!(
        route
            .topic
            .apply(&"g/a/b".try_into().unwrap())
            .unwrap()
            .as_str(),
        "x/g/a/b"
    );
    let will = bridge.options.will.as_ref().unwrap();
    assert_eq!(will.topic.as_str(), "up/g/$status");
    assert_eq!(
        (&will.payload[..], will.qos, will.retain),
        (&br#"{"state":"offline"}"#[..], QoS::AtMostOnce, true)
    );
    let gap = bridge.options.gap.as_ref().unwrap();
    assert_eq!(gap.topic.as_str(), "up/g/$bridge/cloud/gap");
    assert_eq!(bridge.log.dir, Path::new("/data/backlog/cloud"));
    assert_eq!(
        (
            bridge.log.max_bytes,
            bridge.log.max_age,
            bridge.log.when_full
        ),
        (1 << 30, Duration::from_secs(3600), WhenFull::Refuse)
    );
    assert_eq!(
        (bridge.log.commit_interval, bridge.log.hold_for_upstream),
        (Duration::from_millis(50), Duration::ZERO)
    );
    assert_eq!(config.broker.durability, Durability::Interval);
}

#[test]
fn routes_and_their_share_say_what_overtakes() {
    let built = |backlog: &str| {
        let text = format!(
            "gateway: {{ id: g }}\nbridges: [{{ name: b, url: \"mqtts://h\", tls: {{ ca: c }}, {backlog} \
             forward: [{{ filter: a, live_first: true }}, {{ filter: b, live_first: false }}, {{ filter: c }}] }}]\n"
        );
        let options = sound(&text).bridges[0].options.clone();
        let live_first = options.forward.iter().map(|route| route.live_first);
        (live_first.collect::<Vec<_>>(), options.late_share)
    };
    let routes = vec![true, false, false];
    assert_eq!(built(""), (routes.clone(), 50));
    assert_eq!(built("backlog: { late_share: 20 },"), (routes, 20));
}

#[test]
fn a_will_is_left_only_where_a_route_takes_the_status() {
    let will = |route: &str| {
        let text = format!(
            "gateway: {{ id: g }}\nbridges: [{{ name: b, url: \"mqtts://h\", tls: {{ ca: c }}, forward: [{{ {route} }}] }}]\n"
        );
        sound(&text).bridges[0]
            .options
            .will
            .as_ref()
            .map(|will| will.topic.to_string())
    };
    assert_eq!(will("filter: \"#\""), Some("g/$status".to_owned()));
    assert_eq!(will("filter: g/+/x"), None);
    assert_eq!(will("filter: g/#, except: [g/$status]"), None);
}

#[test]
fn a_bridge_is_as_fast_as_it_goes_unless_a_rate_is_given() {
    let rate = |more: &str| {
        let text = format!(
            "bridges: [{{ name: b, url: \"mqtts://h\", tls: {{ ca: c }}, forward: [{{ filter: a }}]{more} }}]\n"
        );
        let rate = sound(&text).bridges[0].options.rate;
        (rate.messages_per_second, rate.bytes_per_second)
    };
    assert_eq!(rate(""), (0, 0));
    assert_eq!(rate(", rate: { messages_per_second: 100 }"), (100, 0));
    assert_eq!(
        rate(", rate: { messages_per_second: 0, bytes_per_second: 65536 }"),
        (0, 65_536)
    );
}

#[test]
fn routes_down_are_built_beside_those_up() {
    let bridge = |rest: &str| {
        let text = format!(
            "gateway: {{ id: g }}\nbridges: [{{ name: b, url: \"mqtts://h\", tls: {{ ca: c }}, {rest} }}]\n"
        );
        sound(&text).bridges[0].options.clone()
    };
    assert_eq!(bridge("forward: [{ filter: a }]").receive, []);
    let only = bridge("forward: [], receive: [{ filter: \"site/{gateway}/#\" }]");
    let route = &only.receive[0];
    assert_eq!(route.filter.as_str(), "site/g/#");
    assert_eq!(
        (route.qos, route.retain),
        (QoS::ExactlyOnce, RetainPolicy::Keep)
    );
    let full =
        "forward: [], receive: [{ filter: a/+, topic: \"{gateway}/{2}\", qos: 1, retain: never }]";
    let route = &bridge(full).receive[0];
    let name = TopicName::try_from("a/x").unwrap();
    assert_eq!(route.topic.apply(&name).unwrap().as_str(), "g/x");
    assert_eq!(
        (route.qos, route.retain),
        (QoS::AtLeastOnce, RetainPolicy::Never)
    );
}

#[test]
fn a_default_may_be_written_down() {
    let text = "\
console: { bind: 127.0.0.1:8080 }
store: { durability: strict }
broker: { when_queue_full: drop_oldest }
bridges:
  - name: b
    url: mqtts://h
    tls: { ca: c }
    backlog: { when_full: drop_oldest }
    forward: [{ filter: a, live_first: false }]
";
    let without =
        "bridges: [{ name: b, url: \"mqtts://h\", tls: { ca: c }, forward: [{ filter: a }] }]\n";
    assert_eq!(sound(text), sound(without));
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_not_matter() {
    let text = "gateway:\r\n  id: g\r\n";
    assert_eq!(sound(text).gateway.id, "g");
    assert_eq!(sound(&format!("\u{feff}{text}")).gateway.id, "g");
}

#[test]
fn configurations_compare() {
    let one = sound(DEVICES);
    let other = sound(&DEVICES.replace("scale: 0.5", "scale: 0.6"));
    assert_ne!(one, other);
    assert_eq!(one.bridges, other.bridges);
}
