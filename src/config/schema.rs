//! `config/fieldgate.schema.json`, for editors, made of what the program knows: the keys and types of `raw`, the ranges that
//! `build` checks, defaults and words of `config/docs/configuration.md`, which another test compares with the program. So
//! nothing is said twice, but for [`LEAVES`]: values whose form only `build` knows.
//!
//! A test makes it anew and compares; `SCHEMA=write cargo test --lib config::schema` writes it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::iter;
use std::path::Path;

use serde::de::value::{Error, MapDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde_json::{Map, Value, json};

use super::context::Context;
use super::reference::{Everything, Row, reference};
use super::{SCHEMA, Severity, build, raw};

/// What a key takes, as far as its type says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Text,
    Bool,
    /// With the least and the most that the type holds.
    Integer(i64, u64),
    Number,
    /// What is written as text with a form of its own.
    Written(String),
    Words(Vec<String>),
    List,
    Map,
    Any,
}

/// What `key` of the section `T` takes: reads it from something that tells what it was asked for.
pub(super) fn form<T: DeserializeOwned>(key: &'static str) -> Form {
    let asked = RefCell::new(None);
    let one = MapDeserializer::<_, Error>::new(iter::once((key, Ask(&asked))));
    drop(T::deserialize(one));
    asked
        .into_inner()
        .unwrap_or_else(|| panic!("{key}: nothing was asked for"))
}

#[derive(Clone, Copy)]
struct Ask<'a>(&'a RefCell<Option<Form>>);

impl Ask<'_> {
    fn is<T>(self, kind: Form) -> Result<T, Error> {
        *self.0.borrow_mut() = Some(kind);
        Err(Error::custom("asked"))
    }
}

impl<'de> IntoDeserializer<'de, Error> for Ask<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! asked {
    ($($method:ident => $kind:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            self.is($kind)
        })*
    };
}

impl<'de> Deserializer<'de> for Ask<'_> {
    type Error = Error;

    asked! {
        deserialize_bool => Form::Bool;
        deserialize_u8 => Form::Integer(0, u8::MAX.into());
        deserialize_u16 => Form::Integer(0, u16::MAX.into());
        deserialize_u32 => Form::Integer(0, u32::MAX.into());
        deserialize_u64 => Form::Integer(0, u64::MAX);
        deserialize_i16 => Form::Integer(i16::MIN.into(), i16::MAX as u64);
        deserialize_i32 => Form::Integer(i32::MIN.into(), i32::MAX as u64);
        deserialize_f64 => Form::Number;
        deserialize_str => Form::Text;
        deserialize_string => Form::Text;
        deserialize_seq => Form::List;
        deserialize_map => Form::Map;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    /// A scalar of `raw::scalar` says what it expects, and of words which; a value of any kind is a section's.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        struct Expected<'a>(&'a dyn serde::de::Expected);
        impl fmt::Display for Expected<'_> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
        let expected = Expected(&visitor).to_string();
        if expected != "one of a few words" {
            return self.is(if expected.contains("YAML value") {
                Form::Any
            } else {
                Form::Written(expected)
            });
        }
        let told = visitor.visit_str::<Error>("").map(drop);
        let told = told.err().map(|error| error.to_string());
        let told = told.unwrap_or_default();
        let words = told
            .split_once(" is none of ")
            .and_then(|(_, rest)| rest.lines().next());
        let words = words.unwrap_or_else(|| panic!("{told}"));
        self.is(Form::Words(words.split(", ").map(str::to_owned).collect()))
    }

    serde::forward_to_deserialize_any! {
        i8 i64 f32 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct struct enum identifier
        ignored_any
    }
}

/// Sections that stand in more than one place, by key: where the reference has them.
const ELSEWHERE: [(&str, &str); 3] = [
    ("groups", "devices[].groups[]"),
    ("publish", "defaults.publish"),
    ("rs485", "connections[].modbus_rtu.rs485"),
];

/// Values below which there is no section: the section (a part of its path), the key, the form.
const LEAVES: &[(&str, &str, &str)] = &[
    ("listeners[].websocket", "origins", "texts"),
    ("access[]", "publish", "texts"),
    ("access[]", "subscribe", "texts"),
    ("bridges[]", "urls", "texts"),
    ("bridges[].tls", "alpn", "texts"),
    ("forward[]", "except", "texts"),
    ("parse.csv", "columns", "texts"),
    ("serial.parse", "json", "nothing"),
    ("tags[]", "invalid", "numbers"),
    ("tags[]", "enum", "names"),
    ("tags[]", "bits", "names"),
    ("framing", "delimiter", "bytes"),
    ("framing", "start", "bytes"),
    ("framing", "end", "bytes"),
    ("framing", "sync", "bytes"),
    ("serial.poll", "send", "bytes"),
    ("commands.NAME", "send", "bytes"),
    ("devices[].serial", "uncertain_when", "scalars"),
    ("fields.NAME", "map", "scalars"),
];

fn leaf(form: &str) -> Value {
    let byte = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
    match form {
        "texts" => json!({ "type": "array", "items": { "type": "string" } }),
        "numbers" => json!({ "type": "array", "items": { "type": "number" } }),
        "names" => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        "scalars" => json!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        }),
        "nothing" => json!({ "type": "object", "additionalProperties": false }),
        "bytes" => json!({ "anyOf": [
            { "type": "string" },
            byte.clone(),
            { "type": "array", "items": byte },
        ] }),
        other => panic!("{other}"),
    }
}

/// The range of each key that is checked, by the struct of the section and the key.
fn ranges() -> BTreeMap<(String, String), (String, String)> {
    // Has each section that the full example of the tests, a sound file, has not.
    const MORE: &str = "
connections:
  - { name: a, serial: { port: /a, baud_rate: 1200 } }
  - { name: b, serial: { port: /b, baud_rate: 1200 } }
  - { name: c, serial: { port: /c, baud_rate: 1200 } }
devices:
  - name: a
    connection: a
    serial:
      framing: { length_field: { offset: 1, size: 1 }, sync: [2] }
      checksum: { kind: sum8, over: \"0..-1\", encoding: binary }
      parse: { binary: { byte_order: ABCD }, fields: { x: { type: uint16, offset: 0 } } }
  - name: b
    connection: b
    serial: { framing: { length: 4, sync: [1] }, parse: { csv: {}, fields: { x: { column: 1 } } } }
  - name: c
    connection: c
    serial: { framing: { start: 2, end: 3 }, stale_after: 1s, parse: { json: {}, fields: { x: { pointer: /x } } } }
";
    let mut all = BTreeMap::new();
    for text in [include_str!("../../tests/config/full.yaml"), MORE] {
        let mut context = Context::new(&Everything, "/".into());
        let root = context.main_document(text).unwrap();
        build::build(&mut context, &root);
        for ((section, key), range) in std::mem::take(&mut context.ranges) {
            let section = section.rsplit("::").next().unwrap_or_default();
            all.insert((section.to_owned(), key), range);
        }
        let (noted, _) = context.into_noted();
        let errors = noted.filter(|noted| noted.severity == Severity::Error);
        let errors: Vec<_> = errors.map(|noted| noted.message).collect();
        assert_eq!(errors, [""; 0]);
    }
    all
}

/// The name of a section's definition.
fn name(path: &str) -> String {
    path.replace("[]", "").replace('.', "_")
}

fn schema() -> Value {
    let (reference, ranges) = (reference(), ranges());
    let sections = raw::sections();
    let mut definitions = Map::new();
    definitions.insert(
        "substitute".to_owned(),
        json!({
            "description": "An environment variable, the text of a file, or a credential of systemd's.",
            "type": "string",
            "pattern": r"^\$\{(env|file|cred):[^}]+\}$",
        }),
    );
    let mut root = Value::Null;
    for section in sections
        .iter()
        .filter(|section| !section.path.starts_with("templates/"))
    {
        let mut properties = Map::new();
        let rows = &reference[section.path];
        for (row, kind) in rows.iter().zip(&section.forms) {
            let range = ranges.get(&(section.shape.name.to_owned(), row.key.clone()));
            let below = below(&sections, section.path, &row.key);
            let mut property = described(row, range);
            let form = match (below, kind) {
                (Some(form), _) => form,
                (None, kind) => scalar(section.path, &row.key, kind, range),
            };
            property.extend(form.as_object().cloned().unwrap_or_default());
            if section.path.is_empty()
                && let Some(kind @ ("array" | "object")) = form["type"].as_str()
            {
                property.insert("type".to_owned(), json!([kind, "null"]));
            }
            properties.insert(row.key.clone(), Value::Object(property));
        }
        let required = rows.iter().filter(|row| row.default == "required");
        let required: Vec<&str> = required.map(|row| row.key.as_str()).collect();
        // Of a section of the file all keys may be commented out.
        let is_top = !section.path.contains(['.', '[']);
        let mut object = json!({
            "type": if is_top { json!(["object", "null"]) } else { json!("object") },
            "properties": properties,
            "additionalProperties": false,
        });
        if !required.is_empty() {
            object["required"] = json!(required);
        }
        if section.path.is_empty() {
            root = object;
        } else {
            definitions.insert(name(section.path), object);
        }
    }
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("fieldgate.yaml");
    root["description"] =
        json!("The configuration of fieldgate, and of a file in conf.d or templates beside it.");
    root["definitions"] = Value::Object(definitions);
    root
}

/// The sections below a key: one, a list of them, or by name.
fn below(sections: &[raw::Known], path: &str, key: &str) -> Option<Value> {
    let whole = if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    };
    let known = |path: &str| sections.iter().any(|section| section.path == path);
    let refer =
        |path: &str| json!({ "allOf": [{ "$ref": format!("#/definitions/{}", name(path)) }] });
    let list = format!("{whole}[]");
    let names = format!("{whole}.NAME");
    if known(&whole) {
        return Some(refer(&whole));
    }
    if known(&list) {
        return Some(json!({ "type": "array", "items": refer(&list) }));
    }
    if known(&names) {
        return Some(json!({ "type": "object", "additionalProperties": refer(&names) }));
    }
    let elsewhere = ELSEWHERE
        .iter()
        .filter(|(name, _)| *name == key && !path.contains("access"));
    elsewhere
        .map(|(_, path)| *path)
        .next()
        .map(|path| match path.strip_suffix("[]") {
            Some(_) => json!({ "type": "array", "items": refer(path) }),
            None => refer(path),
        })
}

/// What the reference says of a key.
fn described(row: &Row, range: Option<&(String, String)>) -> Map<String, Value> {
    let mut text = row.meaning.clone();
    if let Some((least, most)) = range {
        text.push_str(&format!(". {least} to {most}"));
    }
    let said = match row.default.as_str() {
        "–" => None,
        "required" => Some("Required".to_owned()),
        default => Some(format!("Default: {default}")),
    };
    text.extend(said.map(|said| format!(". {said}.")));
    let mut property = Map::new();
    property.insert("description".to_owned(), json!(text));
    let default = row
        .default()
        .and_then(|default| serde_yaml::from_str::<Value>(default).ok());
    property.extend(default.map(|default| ("default".to_owned(), default)));
    property
}

/// The form of what has no section below it.
fn scalar(path: &str, key: &str, kind: &Form, range: Option<&(String, String)>) -> Value {
    let bounds = range.map(|(least, most)| (least.parse::<f64>(), most.parse::<f64>()));
    let form = match kind {
        Form::Text => return json!({ "type": "string" }),
        Form::Bool => json!({ "type": "boolean" }),
        Form::Number => json!({ "type": "number" }),
        Form::Integer(least, most) => {
            let whole =
                |range: &(String, String)| Some((range.0.parse().ok()?, range.1.parse().ok()?));
            let (least, most): (i64, u64) = range.and_then(whole).unwrap_or((*least, *most));
            if most == u64::MAX {
                json!({ "type": "integer", "minimum": least })
            } else {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
        }
        Form::Words(words) => {
            let number = |word: &String| {
                word.parse::<f64>()
                    .ok()
                    .and_then(|_| serde_json::from_str(word).ok())
            };
            let numbers: Vec<Value> = words.iter().filter_map(number).collect();
            let words = words.iter().map(|word| json!(word));
            json!({ "enum": words.chain(numbers).collect::<Vec<_>>() })
        }
        Form::Written(expected) => return formed(expected),
        Form::List | Form::Map | Form::Any => {
            let found = LEAVES
                .iter()
                .find(|(section, leaf, _)| path.ends_with(section) && *leaf == key);
            let (_, _, form) = found.unwrap_or_else(|| panic!("{path}: what is in `{key}`?"));
            return leaf(form);
        }
    };
    assert!(
        bounds.is_none_or(|bounds| bounds.0.is_ok() && bounds.1.is_ok()),
        "{path}.{key}"
    );
    json!({ "anyOf": [form, { "$ref": "#/definitions/substitute" }] })
}

/// A quantity, with its unit where it has one.
fn formed(expected: &str) -> Value {
    const TIME: &str = r"[0-9]+(\.[0-9]+)? *(ms|s|min|h|d)";
    const SUBSTITUTE: &str = r"\$\{(env|file|cred):[^}]+\}";
    let pattern =
        |form: &str| json!({ "type": "string", "pattern": format!("^({form}|{SUBSTITUTE})$") });
    match expected {
        _ if expected.starts_with("a duration") => pattern(TIME),
        _ if expected.starts_with("`auto` or a duration") => pattern(&format!("auto|{TIME}")),
        _ if expected.starts_with("a size") => pattern(r"[0-9]+(\.[0-9]+)? *(B|KiB|MiB|GiB|TiB)"),
        _ if expected.contains("percentage") => json!({ "anyOf": [
            { "type": "number", "minimum": 0 },
            pattern(r"[0-9]+(\.[0-9]+)? *%?"),
        ] }),
        other => panic!("{other}"),
    }
}

#[test]
fn the_schema_of_the_file_is_that_of_the_program() {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap();
    text.push('\n');
    if std::env::var_os("SCHEMA").is_some_and(|it| it == "write") {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fieldgate.schema.json");
        std::fs::write(file, &text).unwrap();
        return;
    }
    assert!(
        text == SCHEMA,
        "the schema is not what the program knows; `SCHEMA=write cargo test --lib config::schema` writes it"
    );
}

#[test]
fn every_leaf_and_every_range_is_of_a_key_that_is_there() {
    let sections = raw::sections();
    for (section, key, _) in LEAVES {
        let there = sections
            .iter()
            .any(|known| known.path.ends_with(section) && known.shape.fields.contains(key));
        assert!(there, "{section} {key}");
    }
    let ranges = ranges();
    assert!(ranges.len() > 60, "{}", ranges.len());
    for (section, key) in ranges.keys() {
        let there = sections
            .iter()
            .any(|known| known.shape.name == section && known.shape.fields.contains(&key.as_str()));
        assert!(there, "{section} {key}");
    }
}
