//! Frames of real instruments to readings, in each of the four forms; and what is no reading.

use fieldgate::adapter::serial::{
    FieldOptions, FieldReading, FieldType, Format, ParseOptions, Parser, Pattern, Source,
};
use fieldgate::adapter::{Reason, TagType};
use fieldgate::value::{ByteOrder, Value};
use proptest::prelude::*;

pub(crate) const FLOAT: FieldType = FieldType::Tag(TagType::Float64);
const WORD: FieldType = FieldType::Text(0);

pub(crate) fn field(name: &str, source: Source, kind: FieldType) -> FieldOptions {
    FieldOptions {
        name: name.to_owned(),
        source,
        kind,
        scale: 1.0,
        decimals: None,
        map: Vec::new(),
        unit: None,
        unit_from: None,
    }
}

pub(crate) fn group(name: &str, kind: FieldType) -> FieldOptions {
    field(name, Source::Group(name.to_owned()), kind)
}

pub(crate) fn options(format: Format, fields: Vec<FieldOptions>) -> ParseOptions {
    ParseOptions {
        only: None,
        format,
        fields,
        uncertain_when: Vec::new(),
    }
}

fn regex(pattern: &str) -> Format {
    Format::Regex(Pattern::new(pattern).unwrap())
}

/// A weighing terminal: `S S     100.00 g`, and `S D` while it swings.
pub(crate) fn mt_sics() -> ParseOptions {
    let mut weight = group("weight", FLOAT);
    weight.unit_from = Some(Source::Group("unit".to_owned()));
    let mut stable = group("stable", WORD);
    stable.map = vec![
        ("S".to_owned(), Value::Bool(true)),
        ("D".to_owned(), Value::Bool(false)),
    ];
    ParseOptions {
        uncertain_when: vec![("stable".to_owned(), Value::Bool(false))],
        ..options(
            regex(r"^S (?P<stable>[SD])\s+(?P<weight>-?[0-9.]+) (?P<unit>\w+)$"),
            vec![weight, stable],
        )
    }
}

/// A scale that sends all the time: `ST,GS,+  12.34kg`.
fn st_us() -> ParseOptions {
    let mut weight = group("weight", FLOAT);
    weight.unit = Some("kg".to_owned());
    weight.unit_from = Some(Source::Group("unit".to_owned()));
    let mut stable = group("stable", WORD);
    stable.map = vec![
        ("ST".to_owned(), Value::Bool(true)),
        ("US".to_owned(), Value::Bool(false)),
    ];
    ParseOptions {
        uncertain_when: vec![("stable".to_owned(), Value::Bool(false))],
        ..options(
            regex(
                r"^(?P<stable>ST|US),(?P<mode>GS|NT),(?P<weight>[+-] *[0-9.]+) *(?P<unit>[a-z]+)$",
            ),
            vec![weight, stable, group("mode", WORD)],
        )
    }
}

fn read(options: ParseOptions, frame: &[u8]) -> Vec<FieldReading> {
    Parser::new(options).parse(frame).expect("a frame for us")
}

fn values(readings: &[FieldReading]) -> Vec<Result<Value, Reason>> {
    readings
        .iter()
        .map(|reading| reading.value.clone())
        .collect()
}

fn one(field: FieldOptions, format: Format, frame: &[u8]) -> Result<Value, Reason> {
    read(options(format, vec![field]), frame).remove(0).value
}

#[test]
fn a_weight_is_certain_while_it_is_stable() {
    let stable = read(mt_sics(), b"S S     100.00 g");
    assert_eq!(
        values(&stable),
        [Ok(Value::Float64(100.0)), Ok(Value::Bool(true))]
    );
    assert_eq!(stable[0].unit.as_deref(), Some("g"));
    assert!(!stable[0].uncertain && !stable[1].uncertain);
    let swinging = read(mt_sics(), b"S D      99.87 g");
    assert_eq!(
        values(&swinging),
        [Ok(Value::Float64(99.87)), Ok(Value::Bool(false))]
    );
    assert!(swinging[0].uncertain);
    assert!(!swinging[1].uncertain, "that it swings is certain");
}

#[test]
fn an_answer_without_a_weight_is_a_reason() {
    for frame in [
        "S I",
        "S +",
        "ES",
        "",
        "S S     100.00 g ",
        "xS S     100.00 g",
    ] {
        let readings = read(mt_sics(), frame.as_bytes());
        assert_eq!(
            values(&readings),
            [Err(Reason::NoMatch), Err(Reason::NoMatch)],
            "{frame}"
        );
    }
}

#[test]
fn a_weight_in_another_unit_is_none() {
    let readings = read(st_us(), b"ST,GS,+  12.34kg");
    assert_eq!(readings[0].value, Ok(Value::Float64(12.34)));
    assert_eq!(readings[0].unit.as_deref(), Some("kg"));
    let readings = read(st_us(), b"US,NT,-   0.5kg");
    assert_eq!(readings[0].value, Ok(Value::Float64(-0.5)));
    assert!(readings[0].uncertain && readings[2].uncertain);
    let readings = read(st_us(), b"ST,GS,+  27.20lb");
    assert_eq!(readings[0].value, Err(Reason::OtherUnit));
    assert_eq!(readings[1].value, Ok(Value::Bool(true)));
}

#[test]
fn columns_of_an_nmea_sentence() {
    let column = |name, column, kind| field(name, Source::Column(column), kind);
    let gga = || ParseOptions {
        only: Some(Pattern::new(r"^\$G[PNL]GGA,").unwrap()),
        uncertain_when: vec![("fix".to_owned(), Value::Integer(0))],
        ..options(
            Format::Csv(b','),
            vec![
                column("latitude", 2, FLOAT),
                column("north", 3, WORD),
                column("fix", 6, FieldType::Uint8),
                column("satellites", 7, FieldType::Uint8),
                column("altitude", 9, FLOAT),
            ],
        )
    };
    let fix = read(
        gga(),
        b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47",
    );
    let expected = [
        Value::Float64(4807.038),
        Value::Text("N".to_owned()),
        Value::Integer(1),
        Value::Integer(8),
        Value::Float64(545.4),
    ];
    assert_eq!(values(&fix), expected.map(Ok));
    assert!(fix.iter().all(|reading| !reading.uncertain));
    let lost = read(gga(), b"$GPGGA,123520,,,,,0,03,,,M,,M,,*77");
    assert_eq!(lost[0].value, Err(Reason::NotANumber));
    assert!(lost[3].uncertain, "no fix");
    let cut = read(gga(), b"$GPGGA,123519,4807.038");
    assert_eq!(cut[0].value, Ok(Value::Float64(4807.038)));
    assert!(cut[0].uncertain, "it does not say that there is a fix");
    assert_eq!(cut[2].value, Err(Reason::NoMatch));
    assert_eq!(
        Parser::new(gga()).parse(b"$GPRMC,123519,A"),
        None,
        "not for us"
    );
}

#[test]
fn a_barcode_is_text() {
    let code = || group("code", WORD);
    let pattern = r"^(?P<code>[0-9]{8,14})$";
    let text = Ok(Value::Text("04006381333931".to_owned()));
    assert_eq!(one(code(), regex(pattern), b"04006381333931"), text);
    assert_eq!(
        one(code(), regex(pattern), b"0400638?333931"),
        Err(Reason::NoMatch)
    );
}

#[test]
fn a_json_document_has_pointers() {
    let at = |pointer: &str, kind| field("f", Source::Pointer(pointer.to_owned()), kind);
    let frame = br#"{"t":21.5,"state":{"on":true,"name":"a b"},"list":[1,300],"none":null}"#;
    let get = |pointer, kind| one(at(pointer, kind), Format::Json, frame);
    assert_eq!(get("/t", FLOAT), Ok(Value::Float64(21.5)));
    assert_eq!(
        get("/state/on", FieldType::Tag(TagType::Bool)),
        Ok(Value::Bool(true))
    );
    assert_eq!(get("/state/name", WORD), Ok(Value::Text("a b".to_owned())));
    assert_eq!(
        get("/list/1", FieldType::Tag(TagType::Uint16)),
        Ok(Value::Integer(300))
    );
    assert_eq!(get("/list/1", FieldType::Uint8), Err(Reason::NotANumber));
    for missing in ["/none", "/state", "/list/2", "t"] {
        assert_eq!(get(missing, FLOAT), Err(Reason::NoMatch), "{missing}");
    }
    let cut = &frame[..frame.len() - 1];
    assert_eq!(
        one(at("/t", FLOAT), Format::Json, cut),
        Err(Reason::NoMatch)
    );
}

#[test]
fn bytes_have_offsets_and_an_order() {
    let frame = b"\x02\xFE\x00\x01\xE2\x40\x41\x42\x20\x00\x41\x20\x00\x00";
    let at = |offset, order, kind| {
        one(
            field("f", Source::Bytes(offset, order), kind),
            Format::Binary,
            frame,
        )
    };
    let big = ByteOrder::ABCD;
    assert_eq!(at(1, big, FieldType::Int8), Ok(Value::Integer(-2)));
    assert_eq!(at(1, big, FieldType::Uint8), Ok(Value::Integer(254)));
    assert_eq!(
        at(2, big, FieldType::Tag(TagType::Uint32)),
        Ok(Value::Integer(123_456))
    );
    assert_eq!(
        at(2, ByteOrder::DCBA, FieldType::Tag(TagType::Uint16)),
        Ok(Value::Integer(256))
    );
    assert_eq!(
        at(10, big, FieldType::Tag(TagType::Float32)),
        Ok(Value::Float32(10.0))
    );
    assert_eq!(
        at(6, big, FieldType::Text(4)),
        Ok(Value::Text("AB".to_owned()))
    );
    assert_eq!(
        at(12, big, FieldType::Tag(TagType::Float32)),
        Err(Reason::NoMatch)
    );
    assert_eq!(at(99, big, FieldType::Uint8), Err(Reason::NoMatch));
    let nan = one(
        field("f", Source::Bytes(0, big), FieldType::Tag(TagType::Float32)),
        Format::Binary,
        &[0x7F, 0xC0, 0, 0],
    );
    assert_eq!(nan, Err(Reason::NotANumber));
}

#[test]
fn numbers_are_scaled_as_decimals() {
    let scaled = |kind, scale, decimals, text: &str| {
        let mut field = field("f", Source::Column(0), kind);
        (field.scale, field.decimals) = (scale, decimals);
        one(field, Format::Csv(b';'), text.as_bytes())
    };
    assert_eq!(
        scaled(FieldType::Tag(TagType::Int16), 0.1, None, "75"),
        Ok(Value::Float64(7.5))
    );
    assert_eq!(
        scaled(FieldType::Tag(TagType::Int16), 0.1, None, "-  75"),
        Ok(Value::Float64(-7.5))
    );
    assert_eq!(
        scaled(FLOAT, 1000.0, None, "0.0129"),
        Ok(Value::Float64(12.9))
    );
    assert_eq!(
        scaled(FLOAT, 1.0, Some(1), "12.34"),
        Ok(Value::Float64(12.3))
    );
    assert_eq!(
        scaled(FieldType::Tag(TagType::Float32), 0.1, None, "2304"),
        Ok(Value::Float64(230.4))
    );
    let most = u64::MAX.to_string();
    assert_eq!(
        scaled(FieldType::Tag(TagType::Uint64), 10.0, Some(0), &most),
        Ok(Value::Integer(i128::from(u64::MAX) * 10))
    );
}

#[test]
fn what_only_looks_like_a_number_is_none() {
    let read = |kind, text: &str| {
        one(
            field("f", Source::Column(0), kind),
            Format::Csv(b';'),
            text.as_bytes(),
        )
    };
    for text in [
        "", "-", "+ ", "inf", "-nan", "1 2", "1,5", "1.2.3", "12kg", "0x10", "--1", ".", "1e999",
    ] {
        assert_eq!(read(FLOAT, text), Err(Reason::NotANumber), "{text}");
    }
    for text in ["1.0", "70000", "- -1", "1e3"] {
        assert_eq!(
            read(FieldType::Tag(TagType::Uint16), text),
            Err(Reason::NotANumber),
            "{text}"
        );
    }
    assert_eq!(read(FLOAT, " +.5 "), Ok(Value::Float64(0.5)));
    assert_eq!(
        read(FieldType::Tag(TagType::Uint16), "007"),
        Ok(Value::Integer(7))
    );
    assert_eq!(
        read(FieldType::Tag(TagType::Bool), "0"),
        Ok(Value::Bool(false))
    );
    let text = one(
        field("f", Source::Column(0), WORD),
        Format::Csv(b';'),
        b"\xff\xfe",
    );
    assert_eq!(text, Err(Reason::NotText));
}

#[test]
fn what_a_map_does_not_have_is_no_value() {
    let mut state = field("state", Source::Bytes(0, ByteOrder::ABCD), FieldType::Uint8);
    state.map = vec![("2".to_owned(), Value::Text("full".to_owned()))];
    let read = |frame: &[u8]| one(state.clone(), Format::Binary, frame);
    assert_eq!(read(&[2]), Ok(Value::Text("full".to_owned())));
    assert_eq!(read(&[3]), Err(Reason::NoMatch));
}

#[test]
fn a_bad_pattern_says_where() {
    let error = Pattern::new(r"^S (?P<weight>[0-9.+ kg").unwrap_err();
    assert_eq!(error.column, Some(15));
    assert_eq!(error.message, "unclosed character class");
    let error = Pattern::new(r"(\w{1000}){1000}").unwrap_err();
    assert_eq!(error.message, "the pattern is too large: repeat less");
    assert_eq!(
        Pattern::new("(?P<a>.)(?P<b>.)")
            .unwrap()
            .groups()
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(frame in prop::collection::vec(any::<u8>(), 0..40)) {
        let every = [
            (mt_sics().format, Source::Group("weight".to_owned())),
            (Format::Csv(b','), Source::Column(1)),
            (Format::Json, Source::Pointer("/0".to_owned())),
            (Format::Binary, Source::Bytes(3, ByteOrder::CDAB)),
        ];
        for (format, source) in every {
            for kind in [FLOAT, WORD, FieldType::Int8, FieldType::Text(5), FieldType::Tag(TagType::Text(3))] {
                let mut field = field("f", source.clone(), kind);
                field.scale = 0.1;
                field.unit_from = Some(source.clone());
                prop_assert_eq!(read(options(format.clone(), vec![field]), &frame).len(), 1);
            }
        }
    }
}
