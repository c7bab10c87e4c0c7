//! Faults as `check` prints them, and one case for each rule.

use std::path::Path;

use fieldgate::config::{self, Code, Severity};

use crate::support::{Surroundings, faults, faults_in, read};

/// What is printed for `text`.
fn printed(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

/// Asserts that `text` has exactly one fault, whose line is `expected`.
#[track_caller]
fn one(text: &str, expected: &str) {
    assert_eq!(faults(text), [expected], "{text}");
}

/// A file with one tag of these keys.
fn tag(keys: &str) -> String {
    format!(
        "connections: [{{ name: a, modbus_tcp: {{ host: h }} }}]\ndevices:\n  - {{ name: d, connection: a, unit_id: 1, groups: [{{ name: g, tags: [\n{{ {keys} }} ] }}] }}\n"
    )
}

/// A file with one bridge that lacks only these lines.
fn bridge(lines: &str) -> String {
    format!("bridges:\n  - name: cloud\n{lines}")
}

const UP: &str = "    url: mqtts://h\n    tls: { ca: ca.pem }\n";

#[test]
fn five_faults_are_printed_at_once_each_with_line_and_column() {
    let text = "\
broker:
  listeners:
    - bind: 127.0.0.1:1883
      anonymus: true
    - bind: 0.0.0.0:1883
      anonymous: false
  users_file: users
devices:
  - name: meter
    connection: line1
    unit_id: 300
    groups:
      - name: power
        interval: 5
        tags:
          - { name: u, register: input, address: 0, type: float32 }
";
    let expected = "\
fieldgate.yaml:4:7: error[FG010]: unknown key `anonymus`
  |
4 |       anonymus: true
  |       ^^^^^^^^
  path: broker.listeners[0].anonymus
  help: did you mean `anonymous`?

fieldgate.yaml:5:13: error[FG052]: 0.0.0.0:1883 is taken already: fieldgate.yaml:3
  |
5 |     - bind: 0.0.0.0:1883
  |             ^^^^^^^^^^^^
  path: broker.listeners[1].bind
  help: give each listener an address or a port of its own

fieldgate.yaml:10:17: error[FG021]: there is no connection `line1`
   |
10 |     connection: line1
   |                 ^^^^^
   path: devices[0].connection
   help: add the connection; there is none yet

fieldgate.yaml:11:14: error[FG015]: expected a whole number from 0 to 255, found the number 300
   |
11 |     unit_id: 300
   |              ^^^
   path: devices[0].unit_id
   help: write a whole number from 0 to 255

fieldgate.yaml:14:19: error[FG014]: a duration needs its unit
   |
14 |         interval: 5
   |                   ^
   path: devices[0].groups[0].interval
   help: write `5s` or `5ms`

5 errors";
    assert_eq!(printed(text), expected);
}

#[test]
fn a_file_fault_has_no_line() {
    let faults = config::load(Path::new("none/such.yaml")).unwrap_err();
    let expected = "none/such.yaml: error[FG001]: there is no such file\n  help: correct the name; without one it is /etc/fieldgate/fieldgate.yaml, else config/fieldgate.yaml\n\n1 error";
    assert_eq!(faults.to_string(), expected);
}

#[test]
fn warnings_are_counted_and_do_no_harm() {
    let text = "broker: { listeners: [{ bind: 0.0.0.0:1883, anonymous: true }] }\n";
    let warnings = read(text).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        (warnings[0].severity, warnings[0].code),
        (Severity::Warning, Code::Insecure)
    );
    one(
        text,
        "1:56 FG053 broker.listeners[0].anonymous: anybody who reaches 0.0.0.0:1883 may publish and subscribe (set `anonymous: false` and give the broker a `users_file`, or ask for client certificates)",
    );
    let both = format!("{text}x: 1\ny: 2\n");
    assert_eq!(read(&both).unwrap_err().summary(), "2 errors, 1 warning");
}

#[test]
fn fg002_text_that_is_no_yaml_is_shown_where_the_parser_stopped() {
    let expected = "\
fieldgate.yaml:2:1: error[FG002]: a tab indents this line, or the one before
  |
2 | →id: x
  | ^
  help: indent with spaces; YAML takes no tabs

1 error";
    assert_eq!(printed("gateway:\n\tid: x\n"), expected);
    let remedy = |text: &str| {
        let fault = read(text).unwrap_err().list.remove(0);
        assert_eq!(fault.code, Code::Syntax);
        (fault.line, fault.remedy)
    };
    assert_eq!(
        remedy("defaults:\n  topic: {gateway}/x\n").1,
        "put text that begins with `{` in quotes, or close what `{` opens"
    );
    assert_eq!(
        remedy("broker:\n  listeners:\n    - bind: [::1]:1883\n").1,
        "put text that begins with `[` in quotes, or close what `[` opens"
    );
    assert_eq!(
        remedy("gateway:\n  id: @x\n"),
        (2, "put text that begins with `@` in quotes".to_owned())
    );
    assert_eq!(
        remedy("gateway:\n  id: *x\n").1,
        "put text that begins with `*` in quotes"
    );
    assert_eq!(
        remedy("gateway:\n  id: \"x\nbroker:\n  listeners: []\n"),
        (2, "close them, in the same line".to_owned())
    );
    assert_eq!(
        remedy("a: 1\n---\nb: 1\n").1,
        "remove the line `---` between them"
    );
    assert_eq!(remedy("gateway:\n    id: x\n  data_dir: y\n").0, 3);
    assert_eq!(
        remedy("devices: [1, 2\n").1,
        "put text that begins with `[` in quotes, or close what `[` opens"
    );
}

#[test]
fn fg010_unknown_keys_are_all_named() {
    assert_eq!(
        faults("brokr: {}\ngateway: { idd: x, nonsense: 1 }\n<<: 1\n"),
        [
            "1:1 FG010 brokr: unknown key `brokr` (did you mean `broker`?)",
            "2:12 FG010 gateway.idd: unknown key `idd` (did you mean `id`?)",
            "2:20 FG010 gateway.nonsense: unknown key `nonsense` (keys here: id, data_dir)",
            "3:1 FG010 <<: unknown key `<<` (YAML's merge key is not applied; use `templates:` for what repeats)",
        ]
    );
}

#[test]
fn fg011_a_key_given_twice_is_named_the_second_time() {
    one(
        "gateway:\n  id: a\n  id: b\n",
        "3:3 FG011 gateway.id: `id` is given already: fieldgate.yaml:2 (remove one of the two)",
    );
}

#[test]
fn fg012_what_must_be_given_is_missed_at_its_section() {
    assert_eq!(
        faults("connections:\n  - modbus_tcp: {}\n  - name: b\nbridges:\n  - {}\n"),
        [
            "2:5 FG012 connections[0]: `name` is missing (add `name: line1`)",
            "2:5 FG012 connections[0].modbus_tcp: `host` is missing (add `host: 192.168.10.21`)",
            "3:5 FG012 connections[1]: what kind of connection this is, is missing (add `modbus_tcp: { host: 192.168.10.21 }`, or one of `modbus_rtu:`, `modbus_rtu_over_tcp:` and `serial:`)",
            "5:5 FG012 bridges[0]: `forward` is missing (add `forward: [{ filter: \"{gateway}/#\" }]`)",
            "5:5 FG012 bridges[0]: `name` is missing (add `name: cloud`)",
            "5:5 FG012 bridges[0]: `url` is missing (add `url: mqtts://broker.example.com:8883`, or several as `urls:`)",
        ]
    );
    one(
        &tag("name: t, register: input, address: 1"),
        "4:1 FG012 devices[0].groups[0].tags[0]: `type` is missing (add `type: uint16`)",
    );
    one(
        &tag("name: t, register: input, type: int16"),
        "4:1 FG012 devices[0].groups[0].tags[0]: `address` is missing: which register it is (add `address: 0`, the number on the wire, or `reference: 40001`)",
    );
    one(
        &tag("name: t, address: 1, type: int16"),
        "4:1 FG012 devices[0].groups[0].tags[0]: `register` is missing (add `register: holding`)",
    );
    one(
        &tag("name: t, register: input, address: 1, type: string"),
        "4:1 FG012 devices[0].groups[0].tags[0]: `length` is missing (add `length: 8`)",
    );
    one(
        &bridge(&format!("{UP}    forward: []\n")),
        "5:14 FG012 bridges[0].forward: a bridge without routes carries nothing (add `- filter: \"{gateway}/#\"`)",
    );
    let text = "connections: [{ name: a, modbus_tcp: { host: h } }]\ndevices:\n  - { name: d, connection: a, unit_id: 1 }\n";
    one(
        text,
        "3:5 FG012 devices[0]: the device reads nothing: it has no groups (add `groups:` with tags, or a `template` that has them)",
    );
}

#[test]
fn fg013_a_key_without_a_value_is_no_default() {
    one(
        "gateway:\n  id:\n",
        "2:3 FG013 gateway.id: there is no value here (give it one, or remove the key; text that begins with `#` needs quotes)",
    );
    one(
        &bridge(&format!("{UP}    forward:\n      - filter: #\n")),
        "6:9 FG013 bridges[0].forward[0].filter: there is no value here (give it one, or remove the key; text that begins with `#` needs quotes)",
    );
    // Sections with all their keys commented out are fine.
    assert_eq!(
        faults("gateway:\nbroker:\ndevices:\nconsole:\n"),
        Vec::<String>::new()
    );
}

#[test]
fn fg014_values_of_another_type() {
    let address = |value: &str| {
        faults(&tag(&format!(
            "name: t, register: input, type: int16, address: {value}"
        )))
        .remove(0)
    };
    assert_eq!(
        address("017"),
        "4:51 FG014 devices[0].groups[0].tags[0].address: expected a whole number from 0 to 65535, found the text `017` (leading zeros make it text; write `17`)"
    );
    assert!(address("9_600").ends_with("(YAML 1.2 has no `_` in numbers; write `9600`)"));
    assert!(address("1e3").ends_with("(write it without a point and without an exponent)"));
    assert!(address("\"3\"").ends_with("(remove the quotes)"));
    assert_eq!(
        faults(&tag("name: t, register: input, type: int16, address: 0x1F")),
        Vec::<String>::new()
    );
    one(
        "gateway: { id: 007.5 }\n",
        "1:16 FG014 gateway.id: expected text, found the number 7.5 (put it in quotes, so that YAML keeps it as text)",
    );
    one(
        "gateway: []\n",
        "1:10 FG014 gateway: expected keys and values, found a list (keys here: id, data_dir)",
    );
    one(
        "devices: { name: d }\n",
        "1:10 FG014 devices: expected a list, found keys and values (begin each entry with `- `)",
    );
    one(
        "- a\n",
        "1:1 FG014 : expected keys and values, found a list (keys here: gateway, broker, store, defaults, connections, templates, devices, bridges, console)",
    );
    one(
        "gateway: { id: !x y }\n",
        "1:16 FG014 gateway.id: YAML tags (`!name`) mean nothing here (remove the tag, or use quotes)",
    );
    one(
        "store: { hold_bytes: 4M }\n",
        "1:22 FG014 store.hold_bytes: `M` is no unit of a size (write `4MiB`; a KiB is 1024 bytes)",
    );
    one(
        "defaults: { payload: jason }\n",
        "1:22 FG014 defaults.payload: `jason` is none of json, json_per_tag, value (did you mean `json`?)",
    );
}

#[test]
fn fg015_values_outside_their_range() {
    one(
        "defaults: { qos: 3 }\n",
        "1:18 FG015 defaults.qos: `qos` is 3, outside its range (write 0 to 2)",
    );
    one(
        "store: { commit_interval: 0ms }\n",
        "1:27 FG015 store.commit_interval: `commit_interval` is 0ms, outside its range (write 1ms to 1min)",
    );
    one(
        "broker: { limits: { inflight: 0 } }\n",
        "1:31 FG015 broker.limits.inflight: `inflight` is 0, outside its range (write 1 to 65535)",
    );
    one(
        &bridge(&format!(
            "{UP}    forward: [{{ filter: a }}]\n    keep_alive: 5500ms\n"
        )),
        "6:17 FG015 bridges[0].keep_alive: `keep_alive` is 5500ms, which is no whole number of seconds (MQTT counts it in seconds; write `1s`, `2s` ...)",
    );
    one(
        &tag("name: t, register: input, address: 1, type: int16, scale: 0"),
        "4:61 FG015 devices[0].groups[0].tags[0].scale: `scale` is 0: every value would be lost (write what one raw unit is worth, such as 0.1)",
    );
    let many = tag("name: t, register: holding, address: 1, type: string, length: 126");
    one(
        &many,
        "4:65 FG015 devices[0].groups[0].tags[0].length: `length` is 126, outside its range (write 1 to 125)",
    );
}

#[test]
fn a_number_of_invalid_is_one_that_the_registers_can_hold() {
    for (said, expected) in [
        (
            "type: int16, invalid: [0x8000]",
            "the registers hold -32768 to 32767, so never 32768 (write -32768, which is how this type reads it)",
        ),
        (
            "type: uint16, invalid: [0, -1]",
            "the registers hold 0 to 65535, so never -1 (correct the number or the type)",
        ),
        (
            "type: bcd16, invalid: [65535]",
            "the registers hold 0 to 9999, so never 65535 (correct the number or the type)",
        ),
        (
            "type: int16, scale: 0.1, invalid: [-999.9]",
            "the registers hold a whole number, so never -999.9 (write the number as the device has it, before `scale`)",
        ),
        (
            "type: int16, invalid: [none]",
            "expected a number, found the text `none` (write a number)",
        ),
        (
            "type: string, length: 1, invalid: [0]",
            "`invalid` means nothing for a string (remove it)",
        ),
    ] {
        let faults = faults(&tag(&format!(
            "name: t, register: input, address: 1, {said}"
        )));
        assert!(faults[0].ends_with(expected), "{faults:?}");
    }
}

#[test]
fn names_are_of_numbers_that_the_type_has() {
    for (said, expected) in [
        (
            "type: uint16, enum: { 0: off, 65536: on }",
            "enum.65536: the registers hold 0 to 65535, so never 65536 (correct the number or the type)",
        ),
        (
            "type: uint16, enum: { off: 0 }",
            "enum.off: `off` is no whole number (write `NUMBER: name`, such as `0: off`)",
        ),
        (
            "type: uint16, enum: { 0: true }",
            "enum.0: expected text, found `true` (put it in quotes, so that YAML keeps it as text)",
        ),
        (
            "type: uint16, enum: {}",
            "enum: there are no names in it, so there would be no value either (write `NUMBER: name`, such as `0: off`)",
        ),
        (
            "type: float32, enum: { 0: off }",
            "enum: `enum` is for whole numbers and bools (remove it, or correct the type)",
        ),
        (
            "type: uint16, scale: 0.1, enum: { 0: off }",
            "scale: `scale` means nothing with `enum` (remove one of them)",
        ),
        (
            "type: uint16, enum: { 0: off }, bits: { 0: x }",
            "bits: `bits` means nothing with `enum` (remove one of them)",
        ),
        (
            "type: int16, bits: { 15: a, 16: b }",
            "bits.16: a value of 16 bits has no bit 16 (write 0, the lowest, to 15)",
        ),
        (
            "type: uint16, bits: { 0: a, 1: a }",
            "bits.1: `a` is the name of another bit already (give each bit a name of its own)",
        ),
        (
            "type: uint16, bits: { 0: \"\" }",
            "bits.0: a name needs at least one character (write one)",
        ),
        (
            "type: bcd16, bits: { 0: a }",
            "bits: `bits` is for whole numbers that are no BCD (remove it, or correct the type)",
        ),
    ] {
        let faults = faults(&tag(&format!(
            "name: t, register: input, address: 1, {said}"
        )));
        assert!(
            faults[0].ends_with(expected) && faults.len() == 1,
            "{faults:?}"
        );
    }
}

/// A device whose group has these tags, from line 7 on.
fn tags(group: &str, tags: &[&str]) -> String {
    let mut text = format!(
        "connections: [{{ name: a, modbus_tcp: {{ host: h }} }}]\ndevices:\n- name: d\n  connection: a\n  unit_id: 1\n  \
         groups: [{{ name: g{group}, tags: [\n"
    );
    for tag in tags {
        text.push_str(&format!("    {{ register: input, {tag} }},\n"));
    }
    text + "  ] }]\n"
}

#[test]
fn what_cannot_be_read_in_one_request_is_refused() {
    const FACTOR: &str = "name: sf, address: 1, type: int16";
    let value = |keys: &str| format!("name: v, address: 0, type: int16, {keys}");
    for (text, expected) in [
        (
            tags("", &[&value("scale_from: fs"), FACTOR]),
            "7:70 FG021 devices[0].groups[0].tags[0].scale_from: there is no tag of the group `fs` (did you mean `sf`?)",
        ),
        (
            tags("", &[&value("scale_from: sf, interval: 5s"), FACTOR]),
            "7:70 FG018 devices[0].groups[0].tags[0].scale_from: `sf` has other settings than `v`, so it is read in another request (give both the same topic, payload, qos, retain and interval)",
        ),
        (
            tags(
                "",
                &[
                    &value("scale_from: sf"),
                    "name: sf, address: 1, type: int16, scale: 2",
                ],
            ),
            "7:70 FG040 devices[0].groups[0].tags[0].scale_from: `sf` is no plain whole number, so no power of ten (let it be an int16 without scale, scale_from, enum and bits)",
        ),
        (
            tags(
                "",
                &[
                    &value("scale_from: sf"),
                    "name: sf, address: 200, type: int16",
                ],
            ),
            "8:5 FG040 devices[0].groups[0].tags[1]: tags sf and v cannot be read in one request: it would take 201, and one holds 125 (put them into groups of their own, or do without `atomic` or `scale_from`)",
        ),
        (
            tags(
                ", atomic: true",
                &[
                    "name: x, address: 0, type: int16",
                    "name: y, address: 9, type: int16, qos: 0",
                ],
            ),
            "8:5 FG018 devices[0].groups[0].tags[1]: `y` has other settings than `x`, so it is read apart, and both are `atomic` (give both the same topic, payload, qos, retain and interval)",
        ),
        (
            tags(
                ", atomic: true",
                &["name: x, reference: 1", "name: y, address: 9, type: int16"],
            )
            .replace("register: input, name: x", "name: x"),
            "8:5 FG040 devices[0].groups[0].tags[1]: tags y and x cannot be read in one request: they are in different tables (put them into groups of their own, or do without `atomic` or `scale_from`)",
        ),
    ] {
        one(&text, expected);
    }
}

#[test]
fn what_can_be_read_in_one_request_is_not_refused() {
    let value = "name: v, address: 0, type: int16, scale_from: sf";
    for sound in [
        tags("", &[value, "name: sf, address: 1, type: int16"]),
        tags(
            ", atomic: true",
            &[
                "name: x, address: 0, type: int16",
                "name: y, address: 9, type: int16, qos: 0, atomic: false",
            ],
        ),
        tags(
            "",
            &[
                "name: x, address: 0, type: int16, atomic: true",
                "name: y, address: 500, type: int16",
            ],
        ),
    ] {
        assert_eq!(faults(&sound), [] as [String; 0]);
    }
}

#[test]
fn what_is_published_when_must_make_sense() {
    let tag_with = |keys: &str| tag(&format!("name: t, register: input, address: 1, {keys}"));
    one(
        &tag_with(
            "type: int16, publish: { on_change: true, min_interval: 2min, max_interval: 1min }",
        ),
        "4:63 FG018 devices[0].groups[0].tags[0].publish: `max_interval` (1min) is below `min_interval` (2min) (write a `max_interval` that is at least `min_interval`)",
    );
    let warned = read(&tag_with("type: int16, publish: { min_interval: 1s }")).unwrap();
    assert_eq!(warned.warnings.len(), 1, "{:?}", warned.warnings);
    let prepared = tag_with("type: int16") + "defaults: { publish: { max_interval: 10min } }\n";
    assert_eq!(read(&prepared).unwrap().warnings, []);
    one(
        &tag_with("type: int16, deadband: -1"),
        "4:64 FG014 devices[0].groups[0].tags[0].deadband: `-1` is no size of a change (write a number from 0, such as 0.2, or a percentage, such as 2%)",
    );
    one(
        &tag_with("type: int16, enum: { 0: off }, deadband: 1"),
        "4:72 FG018 devices[0].groups[0].tags[0].deadband: `deadband` means nothing with `enum` (remove one of them)",
    );
}

#[test]
fn fg016_what_comes_later_says_so() {
    let of = |text: &str| faults(text).remove(0);
    let url = bridge("    url: wss://h\n    forward: [{ filter: a }]\n");
    assert_eq!(
        of(&url),
        "3:10 FG016 bridges[0].url: `wss://` is not available in fieldgate 0.1 (write mqtts://broker.example.com:8883)"
    );
}

#[test]
fn what_cannot_be_written_so_is_said() {
    let of = |keys: &str| {
        let of_tag = faults(&tag(keys));
        assert_eq!(of_tag.len(), 1, "{of_tag:?}");
        of_tag[0].split_once(' ').unwrap().1.to_owned()
    };
    const AT: &str = "devices[0].groups[0].tags[0]";
    for (keys, fault) in [
        (
            "register: input, address: 1, type: int16, write: {}",
            "FG040 AT.write: nobody can write to a discrete input or an input register (remove `write`, or correct `register`: coil and holding can be written)",
        ),
        (
            "register: holding, address: 1, type: float32, write: { function: single }",
            "FG018 AT.write.function: `function: single` writes one register, and the value has 2 (write `multiple`)",
        ),
        (
            "register: holding, address: 1, type: int16, write: { min: 5, max: 4 }",
            "FG018 AT.write.min: `min` (5) is above `max` (4): nothing could be written (exchange them)",
        ),
        (
            "register: coil, address: 1, write: { max: 4 }",
            "FG040 AT.write.max: `max` is for numbers (remove it)",
        ),
        (
            "register: holding, address: 1, type: uint16, enum: { 0: off, 7: off }, write: {}",
            "FG020 AT.enum: `off` is the name of two numbers: which of them should be written? (give each number a name of its own, or remove `write`)",
        ),
        (
            "register: holding, address: 1, type: uint32, bits: { 0: a }, write: {}",
            "FG040 AT.write: bits are written one by one in one register (function 22), and this value has more (remove `write`, or make a tag of each register)",
        ),
        (
            "register: holding, address: 1, type: uint16, bits: { 0: a }, write: { function: single }",
            "FG018 AT.write.function: bits are written by function 22, whatever `function` says (remove it)",
        ),
        (
            "register: holding, address: 1, type: string, length: 124, write: {}",
            "FG040 AT.write: one request writes 123 registers, and the value has 124 (remove `write`, or shorten the value)",
        ),
        (
            "register: holding, address: 1, type: uint16, write: { max_age: 1ms }",
            "FG015 AT.write.max_age: `max_age` is 1ms, outside its range (write 100ms to 1d)",
        ),
    ] {
        assert_eq!(
            of(&format!("name: t, {keys}")),
            fault.replace("AT", AT),
            "{keys}"
        );
    }
}

#[test]
fn nobody_on_a_line_has_the_address_of_everybody() {
    let text = "connections: [{ name: a, modbus_rtu: { port: /dev/ttyS0, baud_rate: 9600 } }]\n\
        devices: [{ name: d, connection: a, unit_id: 0, groups: [{ name: g, tags: [{ name: t, register: coil, address: 1 }] }] }]\n";
    one(
        text,
        "2:46 FG015 devices[0].unit_id: on a serial line 0 is everybody's address: all units obey and none answers (write the device's own address, 1 to 247)",
    );
}

#[test]
fn fg035_commands_that_may_be_too_old_are_warned_of() {
    let of = |write: &str, keys: &str| {
        let route =
            "    forward: []\n    receive: [{ filter: \"site/+/+/set/+\", topic: \"{2..}\" }]\n";
        let tag = tag(&format!(
            "name: t, register: coil, address: 1, write: {write}"
        ));
        faults(&format!("{tag}{}{keys}{route}", bridge(UP)))
    };
    let warned = of("{}", "");
    assert_eq!(warned.len(), 1, "{warned:?}");
    let expected = "FG035 bridges[0].receive[0]: the upstream keeps commands for 7d while the link is cut, and ";
    assert!(warned[0].contains(expected), "{warned:?}");
    for (write, keys) in [
        ("{ undated: refuse }", ""),
        ("{ max_age: 1min }", "    session_expiry: 1min\n"),
    ] {
        assert_eq!(of(write, keys), Vec::<String>::new(), "{write}");
    }
}

#[test]
fn serial_ports_are_checked() {
    let port = |keys: &str| {
        faults(&format!(
            "connections: [{{ name: a, modbus_rtu: {{ {keys} }} }}]\n"
        ))
    };
    assert_eq!(
        port("port: ttyS0, data_bits: 7, stop_bits: 3, frame_gap: 2s"),
        [
            "1:26 FG012 connections[0].modbus_rtu: `baud_rate` is missing (add `baud_rate: 9600`)",
            "1:46 FG051 connections[0].modbus_rtu.port: `ttyS0` is no serial port (write its full path, such as /dev/ttyAMA0 or one of /dev/serial/by-id)",
            "1:64 FG015 connections[0].modbus_rtu.data_bits: `data_bits` is 7, outside its range (write 8, or remove it)",
            "1:78 FG015 connections[0].modbus_rtu.stop_bits: `stop_bits` is 3, outside its range (write 1 to 2)",
            "1:92 FG015 connections[0].modbus_rtu.frame_gap: `frame_gap` is 2s, outside its range (write 0ms to 1s)",
        ]
    );
    assert_eq!(
        port("port: /dev/ttyS0, baud_rate: 5, parity: evn, rs485: { mode: kernal }"),
        [
            "1:69 FG015 connections[0].modbus_rtu.baud_rate: `baud_rate` is 5, outside its range (write 110 to 4000000)",
            "1:80 FG014 connections[0].modbus_rtu.parity: `evn` is none of none, odd, even (did you mean `even`?)",
            "1:100 FG014 connections[0].modbus_rtu.rs485.mode: `kernal` is none of auto, kernel (did you mean `kernel`?)",
        ]
    );
    let twice = "connections:\n  - { name: a, modbus_rtu: { port: /dev/ttyS0, baud_rate: 9600 } }\n  - { name: b, modbus_rtu: { port: /dev/ttyS0, baud_rate: 9600 } }\n";
    assert_eq!(
        faults(twice).last().unwrap(),
        "3:36 FG018 connections[1].modbus_rtu.port: `/dev/ttyS0` is the port of the connection `a` already (let the devices of one line name one connection)"
    );
    let moxa = "connections: [{ name: a, modbus_rtu_over_tcp: { host: moxa } }]\n";
    assert_eq!(
        faults(moxa).last().unwrap(),
        "1:26 FG012 connections[0].modbus_rtu_over_tcp: `port` is missing (add `port: 4001`)"
    );
    let numbered = "connections: [{ name: a, modbus_rtu: { port: /dev/ttyUSB0, baud_rate: 9600, rs485: { delay_after_send: 1ms } } }]\n";
    let warnings = read(numbered).unwrap().warnings;
    let codes: Vec<_> = warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, [Code::NoEffect, Code::BadAddress, Code::NoEffect]);
}

#[test]
fn a_line_that_is_asked_for_more_than_it_has_time_for_is_warned_of() {
    let text = |interval: &str| {
        format!(
            "connections:\n  - {{ name: a, modbus_rtu: {{ port: /dev/ttyS0, baud_rate: 9600, parity: even }} }}\ndevices:\n  \
             - {{ name: d, connection: a, unit_id: 1, groups: [{{ name: g, interval: {interval}, tags: [{{ name: t, \
             register: holding, address: 0, type: string, length: 10 }}] }}] }}\n"
        )
    };
    // A request and its reply take 50.83 ms.
    assert_eq!(faults(&text("64ms")), [""; 0]);
    assert_eq!(
        faults(&text("50ms")),
        [
            "2:5 FG042 connections[0]: the line has 102 % of its time booked, and more than 80 % leaves no room for retries (raise \
             `baud_rate` or an `interval`, read more at once with `max_gap`, or part the devices over two lines)"
        ]
    );
}

/// A file with an instrument and these keys more.
fn instrument(connection: &str, keys: &str) -> String {
    format!(
        "connections: [{{ name: a, {connection} }}]\ndevices:\n  - name: s\n    connection: a\n    serial: {{ framing: {{ delimiter: \"x\" }}, parse: {{ regex: '(?P<w>.+)', fields: {{ w: {{}} }} }} }}\n{keys}"
    )
}

#[test]
fn instruments_and_modbus_devices_are_told_apart() {
    const PORT: &str = "serial: { port: /dev/ttyS0, baud_rate: 9600 }";
    const TCP: &str = "modbus_tcp: { host: h }";
    assert_eq!(faults(&instrument(PORT, "")), [""; 0]);
    one(
        &instrument(PORT, "    unit_id: 1\n"),
        "6:5 FG018 devices[0].unit_id: `unit_id` is for Modbus devices, and this one has `serial` (remove it)",
    );
    one(
        &instrument(PORT, "    interval: 1s\n"),
        "6:5 FG018 devices[0].interval: `interval` is for Modbus devices, and this one has `serial` (remove it; how often an instrument is asked is said in `poll`)",
    );
    one(
        &instrument(PORT, "  - { name: t, connection: a, unit_id: 1 }\n"),
        "6:16 FG018 devices[1].connection: `a` is the port of an instrument, and this is none (say how it speaks in `serial`, or name a Modbus connection)",
    );
    let second = "  - { name: t, connection: a, serial: { framing: { idle_gap: 50ms }, parse: { regex: '(?P<w>.+)', fields: { w: {} } } } }\n";
    one(
        &instrument(PORT, second),
        "6:28 FG018 devices[1].connection: the connection `a` has the instrument `s` already (give each instrument a connection of its own)",
    );
    one(
        &instrument(TCP, ""),
        "5:5 FG018 devices[0].serial: `serial` is for instruments, and the connection `a` is Modbus (name a connection with `serial`, or remove it)",
    );
}

#[test]
fn fg017_references_that_give_nothing() {
    one(
        "gateway: { id: \"${env:ID}\" }\n",
        "1:16 FG017 gateway.id: the environment variable `ID` is not set (set it where fieldgate is started (systemd: `Environment=` or `EnvironmentFile=`))",
    );
    one(
        "gateway: { id: \"${file:id}\" }\n",
        "1:16 FG017 gateway.id: the file `id` cannot be read: entity not found (correct the path or its rights; relative paths are relative to this file)",
    );
    one(
        "gateway: { id: \"x-${env:ID}\" }\n",
        "1:16 FG017 gateway.id: `${...}` stands for a whole value, not for a part of one (write `${env:NAME}`, `${file:path}` or `${cred:name}` as the whole value)",
    );
    one(
        "gateway: { id: \"${vault:ID}\" }\n",
        "1:16 FG017 gateway.id: `vault` is no source of values (write `${env:NAME}`, `${file:path}` or `${cred:name}` as the whole value)",
    );
}

#[test]
fn fg017_credentials_are_those_of_systemd() {
    one(
        "gateway: { id: \"${cred:id}\" }\n",
        "1:16 FG017 gateway.id: there are no credentials here: $CREDENTIALS_DIRECTORY is not set (systemd sets it for a service with `LoadCredential=id:PATH`; to check by hand, set it to a folder with a file `id`)",
    );
    let surroundings = Surroundings {
        variables: [(
            "CREDENTIALS_DIRECTORY",
            "/run/credentials/fieldgate.service",
        )]
        .into(),
        texts: [
            ("/run/credentials/fieldgate.service/id", "box8\n"),
            ("/run/credentials/other", "box9"),
        ]
        .into(),
        ..Surroundings::default()
    };
    let read = |name: &str| {
        let text = format!("gateway: {{ id: \"${{cred:{name}}}\" }}\n");
        faults_in(&text, &surroundings)
    };
    assert_eq!(read("id"), [""; 0]);
    assert_eq!(
        read("password"),
        [
            "1:16 FG017 gateway.id: there is no credential `password` (add `LoadCredential=password:PATH` to the service; what is there is read at its start)"
        ]
    );
    for name in ["../other", "/run/credentials/other", "..", ".", ""] {
        let expected = format!(
            "1:16 FG017 gateway.id: `{name}` is no name of a credential (write its name alone; for a path there is `${{file:path}}`)"
        );
        assert_eq!(read(name), [expected]);
    }
}

#[test]
fn what_a_reference_stands_for_is_never_shown() {
    let surroundings = Surroundings {
        variables: [("SECRET", "hunter2/#")].into(),
        texts: [("secret", "hunter2")].into(),
        ..Surroundings::default()
    };
    for text in [
        "defaults: { qos: \"${env:SECRET}\" }\n",
        "defaults: { interval: \"${file:secret}\", payload: \"${env:SECRET}\" }\n",
        "store: { hold_bytes: \"${env:SECRET}\" }\n",
        "devices: \"${env:SECRET}\"\n",
    ] {
        let faults = config::parse(text, Path::new("fieldgate.yaml"), &surroundings).unwrap_err();
        assert!(!faults.to_string().contains("hunter2"), "{faults}");
    }
    let faults = faults_in("defaults: { qos: \"${env:SECRET}\" }\n", &surroundings);
    assert_eq!(
        faults,
        [
            "1:18 FG014 defaults.qos: expected a whole number from 0 to 255, found something else (correct what ${env:SECRET} stands for)"
        ]
    );
}

#[test]
fn fg018_keys_that_exclude_or_need_each_other() {
    one(
        &tag("name: t, register: holding, address: 1, reference: 40002, type: int16"),
        "4:43 FG018 devices[0].groups[0].tags[0].reference: `address` and `reference` both say which register it is (keep one: `address` is the number on the wire, from 0; `reference` is the 30001/40001 form)",
    );
    let nobody = faults("broker: { listeners: [{ bind: 127.0.0.1:1, anonymous: false }] }\n");
    assert!(
        nobody[0].contains("FG018") && nobody.len() == 1,
        "{nobody:?}"
    );
    one(
        "broker: { listeners: [{ bind: 127.0.0.1:1 }] }\n",
        "1:25 FG018 broker.listeners[0].bind: nobody can log in here: there are no users and anonymous clients are refused (add `anonymous: true`, or `users_file:` to the broker)",
    );
    one(
        &bridge(
            "    url: mqtt://h\n    allow_plaintext: true\n    tls: { ca: x }\n    forward: [{ filter: a }]\n",
        ),
        "5:5 FG018 bridges[0].tls: `tls` has no effect: no url begins with mqtts:// (write `mqtts://`, or remove `tls`)",
    );
    one(
        &bridge(&format!(
            "{UP}    urls: [mqtts://b]\n    forward: [{{ filter: a }}]\n"
        )),
        "5:5 FG018 bridges[0].urls: `url` and `urls` both say where the upstream is (put all into `urls`)",
    );
    one(
        &bridge(&format!(
            "{UP}    forward: [{{ filter: a }}]\n    protocol: 3.1.1\n    password: x\n"
        )),
        "7:5 FG018 bridges[0].password: MQTT 3.1.1 knows no password without a user (add `user`)",
    );
    one(
        &bridge(&format!(
            "{UP}    forward: [{{ filter: a }}]\n    backoff: {{ min: 5min }}\n"
        ))
        .replace("min: 5min", "min: 5min, max: 1min"),
        "6:32 FG018 bridges[0].backoff.max: `max` (1min) is below `min` (5min) (write a `max` that is at least `min`)",
    );
}

#[test]
fn fg020_names_used_twice() {
    let text = "\
connections: [{ name: a, modbus_tcp: { host: h } }, { name: a, modbus_tcp: { host: h } }]
templates:
  t: { groups: [{ name: g, tags: [{ name: x, register: coil, address: 0 }] }] }
devices:
  - { name: d, connection: a, unit_id: 1, template: t, groups: [{ name: g, topic: x, tags: [{ name: x, register: coil, address: 0 }] }] }
  - { name: d, connection: a, unit_id: 1, template: t, topic: y }
";
    assert_eq!(
        faults(text),
        [
            "1:61 FG020 connections[1].name: there is a connection `a` already: fieldgate.yaml:1 (give each connection a name of its own)",
            "5:73 FG020 devices[0].groups[0].name: there is a group `g` already: fieldgate.yaml:3 (give each group a name of its own)",
            "5:101 FG020 devices[0].groups[0].tags[0].name: there is a tag `x` already: fieldgate.yaml:3 (give each tag a name of its own)",
            "6:13 FG020 devices[1].name: there is a device `d` already: fieldgate.yaml:5 (give each device a name of its own)",
            "6:40 FG020 devices[1].unit_id: unit 1 of `a` is the device `d` already (correct `unit_id`; one device may have several groups)",
        ]
    );
    let text = format!(
        "{}  - name: edge\n{UP}    forward: [{{ filter: a }}]\n",
        bridge(&format!("{UP}    forward: [{{ filter: a }}]\n"))
    );
    one(
        &text,
        "6:11 FG020 bridges[1].name: the bridge `cloud` is the client `box7` of the same upstream; they would throw each other out (give this bridge a `client_id` of its own)",
    );
}

#[test]
fn fg021_names_that_nothing_has() {
    let text = "connections: [{ name: line1, modbus_tcp: { host: h } }]\ndevices:\n  - { name: d, connection: lien1, unit_id: 1, template: no }\n";
    assert_eq!(
        faults(text),
        [
            "3:28 FG021 devices[0].connection: there is no connection `lien1` (did you mean `line1`?)",
            "3:57 FG021 devices[0].template: there is no template `no` (there are: carlo_gavazzi_em340, \
             eastron_sdm120, eastron_sdm630, growatt_hybrid, schneider_iem3000, sunspec_inverter, sunspec_inverter_65)",
        ]
    );
}

#[test]
fn fg022_names_that_cannot_stand_in_a_topic() {
    for (name, said) in [
        (
            "a/b",
            "`/` cannot stand in a name, because names become levels of topics",
        ),
        (
            "a+b",
            "`+` cannot stand in a name, because names become levels of topics",
        ),
        (
            "\"#\"",
            "`#` cannot stand in a name, because names become levels of topics",
        ),
        (
            "$a",
            "a name cannot begin with `$`: such topics are the gateway's own",
        ),
        ("\"\"", "a name needs at least one character"),
        (
            "\"a \"",
            "a name has no blanks at its ends and no control characters",
        ),
        (
            "\"a\\u0007\"",
            "a name has no blanks at its ends and no control characters",
        ),
    ] {
        one(
            &format!("gateway: {{ id: {name} }}\n"),
            &format!("1:16 FG022 gateway.id: {said} (use letters, digits, `-`, `_` and `.`)"),
        );
    }
    let text = bridge(&format!("{UP}    forward: [{{ filter: a }}]\n")).replace("cloud", "..");
    one(
        &text,
        "2:11 FG022 bridges[0].name: a bridge's name is the folder of its backlog too: no leading `.`, no `\\` (use letters, digits, `-` and `_`)",
    );
}

#[test]
fn fg030_topics_filters_and_templates_that_are_none() {
    let topic = |topic: &str, rest: &str| {
        let text = tag("name: t, register: coil, address: 0")
            .replace("name: g,", &format!("name: g, topic: \"{topic}\", {rest}"));
        faults(&text).remove(0)
    };
    assert!(topic("x/{devise}", "").ends_with("topic: `{devise}` is no placeholder here; known are {gateway} {device} {group} {tag} (did you mean {device}?)"), "{}", topic("x/{devise}", ""));
    assert!(topic("x/{tag}", "").ends_with("`payload: json` is one message for all tags of the group, so its topic has no {tag} (remove {tag}, or write `payload: json_per_tag`)"));
    assert!(topic("x/#", "").ends_with("a message is published to one topic: `+` and `#` are for subscriptions (write one topic, such as {gateway}/{device})"));
    assert!(topic("x/{", "").ends_with("`{` and `}` come in pairs (close each `{` with a `}`)"));
    let route = |route: &str| {
        faults(&bridge(&format!(
            "{UP}    forward:\n      - {{ {route} }}\n"
        )))
        .remove(0)
    };
    assert!(
        route("filter: a/#/b")
            .starts_with("6:19 FG030 bridges[0].forward[0].filter: `#` must be the last level")
    );
    assert!(
        route("filter: a, except: [b+]").starts_with(
            "6:31 FG030 bridges[0].forward[0].except[0]: `+` must be a level of its own"
        )
    );
    assert!(route("filter: \"{gatway}/#\"").ends_with("(did you mean {gateway}?)"));
    assert!(route("filter: $share/g/a").contains(
        "FG030 bridges[0].forward[0].filter: a route takes part in no shared subscription"
    ));
    assert!(
        route("filter: a, topic: \"x/+\"")
            .contains("FG030 bridges[0].forward[0].topic: a message is published to one topic")
    );
    assert!(route("filter: a, topic: \"{0}\"").contains("levels count from 1"));
}

#[test]
fn fg031_two_writers_of_one_topic() {
    let text = "\
connections: [{ name: a, modbus_tcp: { host: h } }]
defaults: { topic: \"plant/{group}\" }
devices:
  - { name: d, connection: a, unit_id: 1, groups: [{ name: g, tags: [{ name: x, register: coil, address: 0 }] }] }
  - { name: e, connection: a, unit_id: 2, groups: [{ name: g, tags: [{ name: x, register: coil, address: 0 }] }] }
";
    one(
        text,
        "2:20 FG031 defaults.topic: the topic `plant/g` is written by device d, group g too (let `topic` tell them apart, with {device}, {group} or {tag} in it)",
    );
    let text = tag("name: t, register: coil, address: 0 }, { name: u, register: coil, address: 1")
        .replace("name: g,", "name: g, payload: value,")
        .replace("name: t,", "name: t, topic: x,")
        .replace("name: u,", "name: u, topic: x,");
    one(
        &text,
        "4:70 FG031 devices[0].groups[0].tags[1].topic: the topic `x` is written by device d, tag t too (let `topic` tell them apart, with {device}, {group} or {tag} in it)",
    );
    let text = tag("name: t, register: coil, address: 0 }, { name: u, register: coil, address: 1, interval: 5s")
        .replace("name: g,", "name: g, retain: true,");
    one(
        &text,
        "4:42 FG031 devices[0].groups[0].tags[1]: tags with settings of their own are sent apart, and of `box7/d/g` one message is retained (put them into a group of their own, or give them a `topic`)",
    );
}

#[test]
fn fg032_topics_that_the_gateway_keeps() {
    let plain = tag("name: t, register: coil, address: 0");
    one(
        &plain.replace("name: g,", "name: set,"),
        "3:52 FG032 devices[0].groups[0]: `box7/d/set`: topics below {gateway}/{device}/set are commands to the device (choose another topic, or another name for the group)",
    );
    one(
        &plain.replace("name: g,", "name: g, topic: \"{gateway}/$status\","),
        "3:70 FG032 devices[0].groups[0].topic: `box7/$status`: levels that begin with `$` are the gateway's own (choose another topic)",
    );
}

#[test]
fn fg033_routes_that_cannot_work() {
    let route = |route: &str| {
        faults(&bridge(&format!(
            "{UP}    forward:\n      - {{ {route} }}\n"
        )))
    };
    assert_eq!(
        route("filter: a/b/#, topic: \"{3..}\""),
        [
            "6:33 FG033 bridges[0].forward[0].topic: `a/b/#` also takes `a/b`, which has no level 3 and stays here (add `except: [\"a/b\"]` if that is meant, or use lower levels)"
        ]
    );
    assert_eq!(
        route("filter: a/b/#, except: [a/b], topic: \"{3..}\""),
        Vec::<String>::new()
    );
    assert_eq!(
        route("filter: a/+, topic: \"{2}/{1}\""),
        Vec::<String>::new()
    );
    assert_eq!(
        route("filter: a/+, topic: \"{3}\""),
        [
            "6:31 FG033 bridges[0].forward[0].topic: `a/+` takes topics without a level 3, which could not be mapped (use lower levels, or a `filter` with more of them)"
        ]
    );
    // One topic that stays is worth a warning; most that stay are an error.
    let severity = |route: &str| {
        let text = bridge(&format!("{UP}    forward:\n      - {{ {route} }}\n"));
        read(&text)
            .map(|loaded| loaded.warnings.len())
            .map_err(|faults| faults.list.len())
    };
    assert_eq!(severity("filter: a/b/#, topic: \"{3..}\""), Ok(1));
    assert_eq!(severity("filter: a/b/#, topic: \"{4..}\""), Err(1));
    assert_eq!(
        severity("filter: a/b/#, except: [a/b], topic: \"{4..}\""),
        Err(1)
    );
    assert!(
        route("filter: \"#\", topic: \"{2}\"")[0]
            .ends_with("(use lower levels, or a `filter` with more of them)")
    );
    assert_eq!(
        route("filter: \"#\", topic: \"{1..}\""),
        Vec::<String>::new()
    );
    let two = bridge(&format!(
        "{UP}    forward:\n      - filter: a/#\n      - filter: a/b\n"
    ));
    one(
        &two,
        "7:17 FG060 bridges[0].forward[1].filter: the route before, `a/#`, takes everything that this one could (put the narrower filter first)",
    );
    assert_eq!(
        route("filter: a/#, except: [b/c]"),
        [
            "6:33 FG060 bridges[0].forward[0].except[0]: `b/c` takes nothing out of `a/#` (correct or remove it)"
        ]
    );
}

#[test]
fn fg040_registers_types_and_lengths_that_do_not_fit() {
    let of = |keys: &str| faults(&tag(&format!("name: t, {keys}"))).remove(0);
    assert_eq!(
        of("register: coil, address: 0, type: int16"),
        "4:46 FG040 devices[0].groups[0].tags[0].type: a coil is one bit, so its type is bool (write `type: bool`, or another `register`)"
    );
    assert_eq!(
        of("register: holding, reference: 30001, type: int16"),
        "4:42 FG040 devices[0].groups[0].tags[0].reference: 30001 is the reference of input, not of holding (write `register: input`)"
    );
    assert!(of("reference: 20001, type: int16").contains(
        "FG040 devices[0].groups[0].tags[0].reference: 20001 is no reference of a register"
    ));
    assert!(
        of("register: input, address: 65535, type: int32")
            .contains("the value would end at input 65536, and 65535 is the last")
    );
    assert!(
        of("register: input, address: 1, type: int16, length: 2")
            .contains("`length` is for `type: string`")
    );
    assert!(
        of("register: coil, address: 1, scale: 2").contains("`scale` means nothing for a bool")
    );
    let wide = tag("name: t, register: input, address: 1, type: float64")
        .replace("unit_id: 1,", "unit_id: 1, max_registers: 2,");
    one(
        &wide,
        "4:1 FG040 devices[0].groups[0].tags[0]: the value takes 4 registers and `max_registers` of `d` is 2; a value is never read in parts (raise `max_registers`, or correct the type)",
    );
}

#[test]
fn tls_of_a_device_is_checked_as_that_of_a_bridge() {
    let surroundings = Surroundings {
        missing: vec!["ca.pem"],
        ..Surroundings::default()
    };
    let text = "connections:\n  - { name: a, modbus_tcp: { host: h, tls: { ca: ca.pem, certificate: c } } }\n  \
                - { name: b, modbus_tcp: { host: h, tls: {} } }\n";
    assert_eq!(
        faults_in(text, &surroundings),
        [
            "2:5 FG060 connections[0]: no device uses the connection `a` (add a device with it, or remove it)",
            "2:50 FG050 connections[0].modbus_tcp.tls.ca: there is no file ca.pem (correct the path or put the file there; relative paths are relative to this file)",
            "2:58 FG012 connections[0].modbus_tcp.tls.certificate: `certificate` needs `private_key` (add `private_key`)",
            "3:39 FG012 connections[1].modbus_tcp.tls: `ca` is missing (add `ca: certs/plant-ca.pem`)",
        ]
    );
}

#[test]
fn fg050_files_that_are_not_there() {
    let surroundings = Surroundings {
        missing: vec!["users", "ca.pem"],
        ..Surroundings::default()
    };
    let text = format!(
        "broker: {{ users_file: users }}\n{}",
        bridge(&format!("{UP}    forward: [{{ filter: a }}]\n"))
    );
    assert_eq!(
        faults_in(&text, &surroundings),
        [
            "1:23 FG050 broker.users_file: there is no file users (correct the path or put the file there; relative paths are relative to this file)",
            "5:16 FG050 bridges[0].tls.ca: there is no file ca.pem (correct the path or put the file there; relative paths are relative to this file)",
        ]
    );
}

#[test]
fn fg051_addresses_that_are_none() {
    let bind = |bind: &str| {
        faults(&format!(
            "broker: {{ listeners: [{{ anonymous: true, bind: \"{bind}\" }}] }}\n"
        ))
        .remove(0)
    };
    assert_eq!(
        bind("localhost:1883"),
        "1:48 FG051 broker.listeners[0].bind: this is no IP address with a port (write `127.0.0.1:1883`)"
    );
    assert!(bind("1883").ends_with("(write `127.0.0.1:1883`, or `0.0.0.0:1883` for the network)"));
    assert!(bind("10.0.0.1").ends_with("(add the port: `10.0.0.1:1883`)"));
    assert!(
        bind("*:1883")
            .ends_with("(write `0.0.0.0:1883`, or `127.0.0.1:1883` for this machine only)")
    );
    assert!(bind("127.0.0.1:99999").contains("FG051"));
    for path in ["", "/run/fieldgate/", &"/x".repeat(60)] {
        let fault = bind(&format!("unix:{path}"));
        assert!(fault.contains("FG051"), "{fault}");
        assert!(fault.ends_with("(write `unix:/run/fieldgate/mqtt.sock`)"));
    }
    let page = |websocket: &str| {
        faults(&format!(
            "broker: {{ listeners: [{{ bind: 127.0.0.1:1, anonymous: true, websocket: {websocket} }}] }}\n"
        ))
        .remove(0)
    };
    assert_eq!(
        page("{ path: mqtt }"),
        "1:80 FG051 broker.listeners[0].websocket.path: this is no path of a URL (write `/mqtt`: it begins with `/` and has no blank, `?` or `#`)"
    );
    assert!(page("{ path: /mqtt?x }").contains("FG051"));
    assert!(page("{ origins: [panel.example.com] }").contains("write `https://panel.example.com`"));
    let host = |host: &str| {
        faults(&format!(
            "connections: [{{ name: a, modbus_tcp: {{ host: \"{host}\" }} }}]\n"
        ))
        .pop()
        .unwrap()
    };
    assert!(
        host("10.0.0.1:502")
            .ends_with("`10.0.0.1:502` is no host (write `host: 10.0.0.1` and `port: 502`)")
    );
    assert!(host("http://x").contains("FG051"));
    let url = |url: &str| {
        let text = bridge(&format!(
            "    url: \"{url}\"\n    allow_plaintext: true\n    forward: [{{ filter: a }}]\n"
        ));
        faults(&text).remove(0)
    };
    assert!(url("broker.example.com").contains("this is no URL of an upstream"));
    assert!(url("ssl://h").ends_with("`ssl://` is no way to an upstream (write `mqtts://`)"));
    assert!(url("mqtt://h/path").contains("an upstream has a host and a port, but no path"));
    assert!(
        url("mqtt://me:pw@h")
            .contains("a URL is shown in logs, so it holds no user and no password")
    );
    assert!(url("mqtt://h:0").contains("`0` is no port"));
    assert!(url("mqtt://").contains("`` is no host"));
}

#[test]
fn the_console_is_for_this_machine_unless_the_file_says_otherwise() {
    let console = |text: &str| {
        let loaded = read(text).unwrap_or_else(|faults| panic!("{faults}"));
        (loaded.config.console, loaded.warnings.len())
    };
    let address = |text: &str| Some(text.parse().unwrap());
    assert_eq!(console(""), (address("127.0.0.1:8080"), 0));
    assert_eq!(console("console: {}\n"), (address("127.0.0.1:8080"), 0));
    for off in ["off", "\"off\""] {
        assert_eq!(console(&format!("console: {{ bind: {off} }}\n")), (None, 0));
    }
    assert_eq!(
        console("console: { bind: \"[::1]:9\" }\n"),
        (address("[::1]:9"), 0)
    );
    let open = "console: { bind: 0.0.0.0:8080 }\n";
    assert_eq!(console(open), (address("0.0.0.0:8080"), 1));
    one(
        open,
        "1:18 FG053 console.bind: anybody who reaches 0.0.0.0:8080 may see the state of the gateway: the console has no login (write `127.0.0.1:8080`, and reach it through SSH or a proxy that asks who it is)",
    );
    one(
        "console: { bind: 8080 }\n",
        "1:18 FG014 console.bind: expected text, found the number 8080 (put it in quotes, so that YAML keeps it as text)",
    );
    one(
        "console: { bind: localhost:8080 }\n",
        "1:18 FG051 console.bind: this is no IP address with a port (write `127.0.0.1:8080`)",
    );
    let page = "broker: { listeners: [{ bind: 0.0.0.0:8080, anonymous: true, websocket: {} }] }\n";
    assert_eq!(console(page).0, None);
    assert_eq!(
        faults(page)[0],
        "1:31 FG052 broker.listeners[0].bind: 127.0.0.1:8080 is where the console is by default: there is none now (add `console: { bind: 127.0.0.1:8081 }`, or `console: { bind: off }`)"
    );
    assert_eq!(
        faults(&format!("{page}console: {{ bind: 127.0.0.1:8080 }}\n"))[1],
        "2:18 FG052 console.bind: 127.0.0.1:8080 is taken already: fieldgate.yaml:1 (give the console an address or a port of its own)"
    );
}

#[test]
fn fg053_plaintext_must_be_meant() {
    let text = bridge("    url: mqtt://h\n    forward: [{ filter: a }]\n");
    one(
        &text,
        "3:10 FG053 bridges[0].url: mqtt:// sends everything, passwords too, readable to anybody on the way (write `mqtts://` and `tls:`, or accept it with `allow_plaintext: true`)",
    );
    let text = bridge("    url: mqtts://h\n    forward: [{ filter: a }]\n");
    one(
        &text,
        "2:5 FG012 bridges[0]: mqtts:// needs `tls:` with `ca`, who signs the upstream's certificate (add `tls: { ca: certs/cloud-ca.pem }`)",
    );
}

#[test]
fn a_fault_of_a_template_is_told_once_and_also_where_no_device_uses_it() {
    let template = "templates:\n  t: { groups: [{ name: g, tags: [{ name: x, register: coil, address: 0, type: int16 }] }] }\n";
    let devices = "connections: [{ name: a, modbus_tcp: { host: h } }]\ndevices:\n  - { name: d, connection: a, unit_id: 1, template: t }\n  - { name: e, connection: a, unit_id: 2, template: t }\n";
    let expected = "2:80 FG040 templates.t.groups[0].tags[0].type: a coil is one bit, so its type is bool (write `type: bool`, or another `register`)";
    one(template, expected);
    one(&format!("{template}{devices}"), expected);
}

#[test]
fn very_many_faults_are_counted_and_the_first_shown() {
    let text: String = (0..500)
        .map(|number| format!("nonsense{number}: 1\n"))
        .collect();
    let faults = read(&text).unwrap_err();
    assert_eq!((faults.list.len(), faults.more), (50, 450));
    assert_eq!(faults.summary(), "50 errors, 450 more not shown");
}

#[test]
fn routes_down_that_cannot_work() {
    let down = |route: &str| {
        faults(&bridge(&format!(
            "{UP}    forward: []\n    receive:\n      - {{ {route} }}\n"
        )))
    };
    assert_eq!(
        down("filter: a/+/c, topic: \"{2}/{3}\""),
        Vec::<String>::new()
    );
    assert_eq!(
        down("filter: a/b/#, topic: \"{3..}\""),
        [
            "7:33 FG033 bridges[0].receive[0].topic: `a/b/#` also takes `a/b`, which has no level 3 and goes nowhere (use lower levels)"
        ]
    );
    assert_eq!(
        down("filter: $share/g/a"),
        [
            "7:19 FG030 bridges[0].receive[0].filter: a route takes part in no shared subscription (remove `$share/NAME/`)"
        ]
    );
    assert_eq!(
        down("topic: a"),
        [
            "7:9 FG012 bridges[0].receive[0]: `filter` is missing (add `filter: \"site/{gateway}/#\"`)"
        ]
    );
    one(
        &bridge(&format!(
            "{UP}    forward: []\n    receive:\n      - filter: a/#\n      - filter: a/b\n"
        )),
        "8:17 FG060 bridges[0].receive[1].filter: the route before, `a/#`, takes everything that this one could (put the narrower filter first)",
    );
    let long = format!(
        "{UP}    forward: []\n    receive: [{{ filter: {} }}]\n",
        "x".repeat(7700)
    );
    let fault = &faults(&bridge(&long))[0];
    assert!(
        fault.contains("the filters are longer than 7680 bytes together"),
        "{fault}"
    );
}

#[test]
fn fg033_with_mqtt_3_1_1_nothing_may_come_down_that_went_up() {
    let both = |protocol: &str, forward: &str, receive: &str| {
        faults(&bridge(&format!(
            "{UP}    protocol: {protocol}\n    forward: [{{ {forward} }}]\n    receive: [{{ {receive} }}]\n"
        )))
    };
    let (up, down) = (
        "filter: g/#, topic: \"site/{topic}\"",
        "filter: site/g/+/set/+",
    );
    assert_eq!(
        both("3.1.1", up, down),
        [
            "7:25 FG033 bridges[0].receive[0].filter: with MQTT 3.1.1 what the forward route `g/#` sends would come down again by `site/g/+/set/+` (add an `except` to the forward route, keep the topics apart, or use `protocol: 5`)"
        ]
    );
    for (protocol, forward, receive) in [
        ("5", up, down),
        (
            "3.1.1",
            "filter: g/#, topic: \"site/{topic}\", except: [g/+/set/+]",
            down,
        ),
        (
            "3.1.1",
            "filter: g/#, topic: \"site/{topic}\"",
            "filter: cmd/#",
        ),
        (
            "3.1.1",
            "filter: g/+/x, topic: \"up/{2}\"",
            "filter: up/y/+",
        ),
    ] {
        let found = both(protocol, forward, receive);
        assert_eq!(found, Vec::<String>::new(), "{forward} {receive}");
    }
    for (forward, receive) in [
        // The exception is as wide as needed at one level only, or the template makes one topic of several.
        (
            "filter: g/#, topic: \"site/{topic}\", except: [g/a/set/+]",
            down,
        ),
        (
            "filter: g/#, topic: \"site/{1}/x/set/y\", except: [g/+/set/+]",
            down,
        ),
        ("filter: g/#, topic: \"{topic}/x\"", "filter: g/#"),
    ] {
        let found = both("3.1.1", forward, receive);
        assert!(
            found
                .iter()
                .any(|fault| fault.contains("would come down again")),
            "{found:?}"
        );
    }
}
