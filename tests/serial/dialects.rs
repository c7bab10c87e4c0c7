//! Instruments as they are written in the file, against lines that such instruments send; and what is said of a `serial:`
//! section that cannot be so.

use std::path::Path;
use std::time::Duration;

use fieldgate::adapter::Reason;
use fieldgate::adapter::serial::{Dialect, FieldReading, Framer, Mode, Parser};
use fieldgate::clock;
use fieldgate::config::{self, Faults, System};
use fieldgate::value::Value;

/// A scale that sends all the time.
const SCALE: &str = r#"
framing: { delimiter: "\r\n", max_length: 64 }
stale_after: 2s
parse:
  regex: '^(?P<stable>ST|US),(?P<mode>GS|NT),(?P<weight>[+-] *[0-9.]+) *(?P<unit>[a-z]+)$'
  fields:
    weight: { type: float64, unit: kg, unit_from: unit }
    stable: { map: { ST: true, US: false } }
    net: { group: mode, map: { NT: true, GS: false } }
uncertain_when: { stable: false }
"#;

/// A balance that is asked: MT-SICS.
const BALANCE: &str = r#"
framing: { delimiter: "\r\n", max_length: 64 }
poll: { send: "SI\r\n", interval: 1s, timeout: 500ms }
parse:
  regex: '^S (?P<stable>[SD])\s+(?P<weight>-?[0-9.]+) (?P<unit>\w+)$'
  fields:
    weight: { type: float64, unit_from: unit }
    stable: { map: { S: true, D: false } }
uncertain_when: { stable: false }
commands:
  tare: { send: "T\r\n", expect: '^T S' }
"#;

/// A GPS receiver: NMEA 0183.
const GPS: &str = r#"
framing: { delimiter: "\r\n", max_length: 82 }
checksum: { kind: xor8, over: "1..-3", encoding: hex }
parse:
  only: '^\$G[PNL]GGA,'
  csv:
    columns: [id, time, latitude, north_south, longitude, east_west, fix, satellites, hdop, altitude]
  fields:
    latitude: { type: float64 }
    north_south: {}
    fix: { type: uint8 }
    satellites: { type: uint8 }
    altitude: { type: float64, unit: m }
uncertain_when: { fix: 0 }
"#;

/// A barcode reader.
const READER: &str = r"
framing: { delimiter: 0x0D }
stale_after: 0ms
parse: { regex: '^(?P<code>[0-9]{8,14})$', fields: { code: {} } }
";

/// A meter: STX, data, ETX, block check character.
const METER: &str = r#"
framing: { start: 0x02, end: 0x03, trailer: 1 }
checksum: { kind: xor8, over: "1..-1", encoding: binary }
parse:
  csv: { separator: ";" }
  fields:
    power: { column: 0, type: float64, scale: 1000, unit: W }
    tariff: { column: 1, type: uint8 }
"#;

fn read(text: &str) -> Result<Dialect, Faults> {
    config::dialect(text, Path::new("fieldgate.yaml"), &System)
}

fn dialect(text: &str) -> Dialect {
    read(text).unwrap_or_else(|faults| panic!("{faults}"))
}

/// What is read of `bytes` on a line that was silent before.
fn readings(dialect: &Dialect, bytes: &[u8]) -> Vec<Vec<FieldReading>> {
    let now = clock::now();
    let mut framer = Framer::new(dialect.framing.clone(), now);
    let parser = Parser::new(dialect.parse.clone());
    let mut readings = Vec::new();
    framer.receive(bytes, now + Duration::from_secs(5), |frame| {
        let sound = dialect
            .checksum
            .is_none_or(|checksum| checksum.is_right(frame.bytes));
        if sound {
            readings.extend(parser.parse(frame.payload));
        }
        sound
    });
    readings
}

fn values(text: &str, bytes: &[u8]) -> Vec<Vec<Result<Value, Reason>>> {
    let readings = readings(&dialect(text), bytes);
    let values =
        |readings: Vec<FieldReading>| readings.into_iter().map(|reading| reading.value).collect();
    readings.into_iter().map(values).collect()
}

#[test]
fn a_scale_that_sends_all_the_time() {
    let bytes = b"ST,GS,+  12.34kg\r\nUS,NT,-   0.50kg\r\nST,GS,+  27.20lb\r\nOL,GS\r\n";
    let (yes, no) = (Value::Bool(true), Value::Bool(false));
    let expected = [
        vec![Ok(Value::Float64(12.34)), Ok(yes.clone()), Ok(no.clone())],
        vec![Ok(Value::Float64(-0.5)), Ok(no.clone()), Ok(yes.clone())],
        vec![Err(Reason::OtherUnit), Ok(yes), Ok(no)],
        vec![Err(Reason::NoMatch); 3],
    ];
    assert_eq!(values(SCALE, bytes), expected);
    let uncertain: Vec<bool> = readings(&dialect(SCALE), bytes)
        .iter()
        .map(|fields| fields[0].uncertain)
        .collect();
    assert_eq!(uncertain, [false, true, false, false]);
    let stale_after = Some(Duration::from_secs(2));
    assert_eq!(dialect(SCALE).mode, Mode::Listen { stale_after });
}

#[test]
fn a_balance_that_is_asked() {
    let balance = dialect(BALANCE);
    let bytes = b"S S     100.00 g\r\nS D      99.87 g\r\nS I\r\n";
    let expected = [
        vec![Ok(Value::Float64(100.0)), Ok(Value::Bool(true))],
        vec![Ok(Value::Float64(99.87)), Ok(Value::Bool(false))],
        vec![Err(Reason::NoMatch), Err(Reason::NoMatch)],
    ];
    assert_eq!(values(BALANCE, bytes), expected);
    let fields = readings(&balance, bytes);
    assert!(fields[1][0].uncertain && !fields[0][0].uncertain);
    assert_eq!(fields[0][0].unit.as_deref(), Some("g"));
    assert_eq!(
        balance.mode,
        Mode::Poll {
            send: b"SI\r\n".to_vec(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500)
        }
    );
    assert_eq!(balance.commands[0].name, "tare");
    assert!(
        balance.commands[0]
            .expect
            .as_ref()
            .unwrap()
            .finds(b"T S     100.00 g")
    );
}

#[test]
fn a_gps_receiver() {
    let bytes = b"$GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1*39\r\n\
        $GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n\
        $GPGGA,123519,4807.039,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n";
    let expected = vec![
        Ok(Value::Float64(4807.038)),
        Ok(Value::Text("N".to_owned())),
        Ok(Value::Integer(1)),
        Ok(Value::Integer(8)),
        Ok(Value::Float64(545.4)),
    ];
    assert_eq!(values(GPS, bytes), [expected], "one is for us and whole");
}

#[test]
fn a_barcode_reader() {
    assert_eq!(
        values(READER, b"4006381333931\r"),
        [[Ok(Value::Text("4006381333931".to_owned()))]]
    );
    assert_eq!(dialect(READER).mode, Mode::Listen { stale_after: None });
}

#[test]
fn a_meter_between_stx_and_etx() {
    // Once with noise before it, once with a bit wrong, once cut off by the next.
    let bytes = b"\xff\x021.25;2\x03\x12\x021.35;2\x03\x12\x021.2\x021.25;2\x03\x12";
    let whole = vec![Ok(Value::Float64(1250.0)), Ok(Value::Integer(2))];
    assert_eq!(values(METER, bytes), [whole.clone(), whole]);
}

/// The faults of `text`, without places.
fn faults(text: &str) -> Vec<String> {
    let list = read(text).expect_err(text).list;
    list.into_iter()
        .map(|fault| {
            format!(
                "{}:{} {} {}: {} ({})",
                fault.line, fault.column, fault.code, fault.path, fault.message, fault.remedy
            )
        })
        .collect()
}

const LINES: &str = "framing: { delimiter: \"\\n\" }\n";
const FIELD: &str = "parse: { regex: '(?P<a>.)', fields: { a: {} } }\n";

#[track_caller]
fn check(cases: &[(String, &str)]) {
    for (text, expected) in cases {
        assert_eq!(faults(text), [*expected], "{text}");
    }
}

#[test]
fn framing_that_cannot_be_so_is_said_with_its_place_and_remedy() {
    check(&[
        (
            FIELD.to_owned(),
            "1:1 FG012 : `framing` is missing (add `framing: { delimiter: \"\\r\\n\" }`)",
        ),
        (
            format!("framing: {{ delimiter: '\\r' }}\n{FIELD}"),
            "1:23 FG041 framing.delimiter: only between double quotes is `\\r` one byte; here it is two characters (put it \
             between double quotes: \"\\r\\n\")",
        ),
        (
            format!("framing: {{ start: 0x02, end: 0x02 }}\n{FIELD}"),
            "1:30 FG041 framing.end: `start` and `end` are the same: one that is lost would turn data and gaps around \
             (write it as `delimiter`)",
        ),
        (
            format!("framing: {{ start: 0x02 }}\n{FIELD}"),
            "1:1 FG012 framing: `end` is missing (add `end: 0x03`)",
        ),
        (
            format!("framing: {{ delimiter: 300 }}\n{FIELD}"),
            "1:23 FG015 framing.delimiter: expected a whole number from 0 to 255, found the number 300 (write a whole number \
             from 0 to 255)",
        ),
        (
            format!("framing: {{ delimiter: 0x0A, trailer: 1 }}\n{FIELD}"),
            "1:29 FG018 framing.trailer: `trailer` means nothing beside `delimiter` (remove one of the two; beside \
             `delimiter`: max_length, frame_timeout)",
        ),
        (
            format!("framing: {{ length: 8 }}\n{FIELD}"),
            "1:1 FG041 framing: nothing tells where a frame begins (add `sync` with the first bytes of every frame, or a \
             `checksum`)",
        ),
        (
            format!(
                "framing: {{ length: 8 }}\nchecksum: {{ kind: sum8, over: \"0..9\", encoding: hex }}\n{FIELD}"
            ),
            "2:31 FG041 checksum.over: the range holds no byte of a frame (count from 0 from the beginning of the frame, \
             from -1 from its end; start, end and trailer count, a delimiter does not)",
        ),
        (
            format!("{LINES}checksum: {{ kind: sum8, over: \"1-2\", encoding: hex }}\n{FIELD}"),
            "2:31 FG041 checksum.over: this is no range of bytes (write \"1..-1\": from the second byte up to, but without, \
             the last)",
        ),
        (
            format!("{LINES}checksum: {{ kind: xor, over: \"1..-2\", encoding: hex }}\n{FIELD}"),
            "2:19 FG014 checksum.kind: `xor` is none of sum8, xor8, lrc, crc16_modbus, crc16_ccitt (did you mean `xor8`?)",
        ),
    ]);
}

#[test]
fn parsing_that_cannot_be_so_is_said_with_its_place_and_remedy() {
    check(&[
        (
            format!("{LINES}parse: {{ regex: '(?P<a>[0-9)', fields: {{ a: {{}} }} }}\n"),
            "2:17 FG041 parse.regex: at character 7 of the pattern: unclosed character class (correct the pattern; its \
             syntax is that of https://docs.rs/regex)",
        ),
        (
            format!("{LINES}parse: {{ regex: '(?P<weight>.)', fields: {{ wieght: {{}} }} }}\n"),
            "2:52 FG021 parse.fields.wieght: there is no group `wieght` (did you mean `weight`?)",
        ),
        (
            format!("{LINES}parse: {{ json: {{}}, csv: {{}}, fields: {{ a: {{}} }} }}\n"),
            "2:10 FG018 parse.json: frames have one form; this has `csv` and `json` (remove one of the two)",
        ),
        (
            format!("{LINES}parse: {{ binary: {{}}, fields: {{ a: {{ type: uint8 }} }} }}\n"),
            "2:32 FG012 parse.fields.a: `offset` is missing (add `offset: 0`)",
        ),
        (
            format!("{LINES}{FIELD}uncertain_when: {{ b: 1 }}\n"),
            "3:22 FG021 uncertain_when.b: there is no field `b` (did you mean `a`?)",
        ),
        (
            format!("{LINES}{FIELD}poll: {{ interval: 1s }}\n"),
            "3:1 FG012 poll: `send` is missing (add `send: \"SI\\r\\n\"`)",
        ),
        (
            format!("{LINES}{FIELD}poll: {{ send: \"?\" }}\nstale_after: 1s\n"),
            "4:1 FG018 stale_after: an instrument that is asked is never stale: `poll` has a `timeout` (remove it)",
        ),
    ]);
}
