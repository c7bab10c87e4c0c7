//! The JSON Schema takes what the program takes, and refuses a slip. Whether it is what the program knows, a test beside
//! the generator says (`src/config/schema.rs`).

use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use serde_yaml::Value as Yaml;

/// Judges by a schema: as much of draft-07 as ours has, and panics at what it does not know.
struct Judge {
    root: Value,
}

impl Judge {
    fn new() -> Self {
        let root = serde_json::from_str(fieldgate::config::SCHEMA).unwrap();
        Self { root }
    }

    /// The paths of what is at fault in `text`.
    fn faults(&self, text: &str) -> Vec<String> {
        let document = json(serde_yaml::from_str(text).unwrap());
        let mut faults = Vec::new();
        self.judge(&self.root, &document, "", &mut faults);
        faults
    }

    fn judge(&self, schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
        let is_valid = |schema: &Value| {
            let mut faults = Vec::new();
            self.judge(schema, value, path, &mut faults);
            faults.is_empty()
        };
        for (word, told) in schema.as_object().unwrap() {
            let well = match word.as_str() {
                "$schema" | "title" | "description" | "default" | "definitions" => true,
                "properties" | "additionalProperties" => true, // below
                "$ref" => {
                    let name = told.as_str().unwrap().strip_prefix('#').unwrap();
                    let target = self.root.pointer(name).expect("it refers to nothing");
                    self.judge(target, value, path, faults);
                    true
                }
                "allOf" => {
                    for schema in told.as_array().unwrap() {
                        self.judge(schema, value, path, faults);
                    }
                    true
                }
                "anyOf" => told.as_array().unwrap().iter().any(is_valid),
                "type" => match told {
                    Value::Array(types) => types.iter().any(|one| is_of(one, value)),
                    one => is_of(one, value),
                },
                "enum" => told.as_array().unwrap().contains(value),
                "pattern" => {
                    let pattern = Regex::new(told.as_str().unwrap()).unwrap();
                    value.as_str().is_none_or(|text| pattern.is_match(text))
                }
                "minimum" => value.as_f64().is_none_or(|it| it >= told.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|it| it <= told.as_f64().unwrap()),
                "items" => {
                    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.judge(told, value, &format!("{path}[{index}]"), faults);
                    }
                    true
                }
                "required" => told.as_array().unwrap().iter().all(|key| {
                    let key = key.as_str().unwrap();
                    value
                        .as_object()
                        .is_none_or(|object| object.contains_key(key))
                }),
                other => panic!("{other} is not known here"),
            };
            if !well {
                faults.push(format!("{path}: {word}"));
            }
        }
        for (key, value) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            let property = schema.get("properties").and_then(|all| all.get(key));
            match (property, schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => {
                    self.judge(schema, value, &path, faults);
                }
                (None, Some(Value::Bool(false))) => faults.push(format!("{path}: no such key")),
                _ => {}
            }
        }
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("{other}"),
    }
}

/// As an editor has it: keys are text.
fn json(value: Yaml) -> Value {
    match value {
        Yaml::Mapping(mapping) => {
            let entries = mapping.into_iter().map(|(key, value)| {
                let key = json(key);
                let text = key.as_str().map(str::to_owned);
                (text.unwrap_or_else(|| key.to_string()), json(value))
            });
            Value::Object(entries.collect())
        }
        Yaml::Sequence(list) => list.into_iter().map(json).collect(),
        other => serde_json::to_value(other).unwrap(),
    }
}

const FULL: &str = include_str!("full.yaml");

#[test]
fn every_file_that_is_sound_is_so_by_the_schema() {
    let judge = Judge::new();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files = vec![config.join("fieldgate.yaml")];
    for folder in ["examples", "templates"] {
        let entries = std::fs::read_dir(config.join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    assert!(files.len() > 12);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(judge.faults(&text), [""; 0], "{}", file.display());
    }
    assert_eq!(judge.faults(FULL), [""; 0]);
    let sections = "gateway:\nbroker:\ndevices: []\nconsole: { bind: off }\n";
    assert_eq!(judge.faults(sections), [""; 0]);
    let substitutes = "gateway: { id: \"${cred:id}\" }\nstore: { commit_interval: \"${env:X}\" }\n\
                       defaults: { qos: \"${file:qos}\", retain: \"${env:R}\", payload: \"${env:P}\" }\n";
    assert_eq!(judge.faults(substitutes), [""; 0]);
}

#[test]
fn a_slip_is_refused_where_it_is() {
    let judge = Judge::new();
    for (right, slip, fault) in [
        (
            "  data_dir:",
            "  data_dri:",
            ".gateway.data_dri: no such key",
        ),
        (
            "user_from:",
            "user_form:",
            ".broker.listeners[1].tls.user_form: no such key",
        ),
        (
            "deadband: 0.01",
            "deadbend: 0.01",
            ".templates.hall_meter.groups[0].tags[1].deadbend: no such key",
        ),
        (
            "function: single",
            "functoin: single",
            ".devices[4].groups[0].tags[1].write.functoin: no such key",
        ),
        (
            "keep_alive: 60s",
            "keep_alive: 60",
            ".bridges[0].keep_alive: type",
        ),
        (
            "commit_interval: 100ms",
            "commit_interval: 100 msec",
            ".store.commit_interval: pattern",
        ),
        (
            "max_bytes: 2GiB",
            "max_bytes: 2GB",
            ".bridges[0].backlog.max_bytes: pattern",
        ),
        (
            "durability: strict",
            "durability: strikt",
            ".store.durability: anyOf",
        ),
        (
            "maximum_qos: 2",
            "maximum_qos: 3",
            ".broker.limits.maximum_qos: anyOf",
        ),
        ("unit_id: 3", "unit_id: 256", ".devices[0].unit_id: anyOf"),
        ("retries: 1", "retries: many", ".devices[3].retries: anyOf"),
        ("alpn: [mqtt]", "alpn: mqtt", ".bridges[0].tls.alpn: type"),
    ] {
        let text = FULL.replacen(right, slip, 1);
        let faults = judge.faults(&text);
        assert!(
            faults.iter().any(|told| told == fault),
            "{slip}: {faults:?}"
        );
    }
}

#[test]
fn the_program_prints_the_file() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    let output = command.arg("schema").output().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fieldgate.schema.json");
    assert!(output.stdout == std::fs::read(file).unwrap());
}
