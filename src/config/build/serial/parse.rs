//! `parse:` and `uncertain_when:` of an instrument.

use serde_yaml::Value as Yaml;

use super::super::{below, dangling, is_name};
use super::pattern;
use crate::adapter::TagType;
use crate::adapter::serial::{FieldOptions, FieldType, Format, ParseOptions, Source};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;
use crate::config::wording;
use crate::value::{ByteOrder, Value};

/// The keys that say what form frames have, each with the key that says where a field of it is.
const FORMS: [(&str, &str); 4] = [
    ("regex", "group"),
    ("csv", "column"),
    ("json", "pointer"),
    ("binary", "offset"),
];

/// The form of frames, and what fields need to know of it.
struct Form {
    format: Format,
    /// What a field is found by.
    by: &'static str,
    /// Groups or columns that have names.
    names: Vec<String>,
    byte_order: ByteOrder,
}

pub(super) fn parse(
    context: &mut Context<'_>,
    parent: &Section<raw::Serial>,
) -> Option<ParseOptions> {
    let value = parent.required(
        context,
        "parse",
        parent.raw.parse.as_ref(),
        "{ regex: '^(?P<weight>[0-9.]+)', fields: { weight: { type: float64 } } }",
    )?;
    let section = below::<raw::Parse>(context, parent, "parse", Some(value));
    let only = pattern(context, section.raw.only.as_ref(), &section.at("only"));
    let form = form(context, &section);
    let given = section.required(
        context,
        "fields",
        section.raw.fields.as_ref(),
        "{ weight: { type: float64 } }",
    );
    if given.is_some_and(serde_yaml::Mapping::is_empty) {
        let message = "an instrument without fields says nothing";
        context.error(
            Code::MissingKey,
            &section.at("fields"),
            message,
            "add a field",
        );
    }
    let (form, place) = (form?, section.at("fields"));
    let mut fields = Vec::new();
    for (name, value) in given? {
        let Some(name) = name.as_str() else { continue };
        let place = place.key(name);
        is_name(context, name, &place);
        let entry = Section::<raw::Field>::read(context, value, place);
        fields.extend(field(context, &entry, name, &form));
    }
    let uncertain_when = uncertain_when(context, parent, &fields);
    Some(ParseOptions {
        only,
        format: form.format,
        fields,
        uncertain_when,
    })
}

fn form(context: &mut Context<'_>, section: &Section<raw::Parse>) -> Option<Form> {
    let mut given = FORMS.into_iter().filter(|(key, _)| section.has(key));
    let Some((kind, by)) = given.next() else {
        let message = "what frames look like is missing";
        let remedy = "add `regex: '...'`, `csv: {}`, `json: {}` or `binary: {}`";
        context.error_at_key(Code::MissingKey, &section.place, message, remedy);
        return None;
    };
    if let Some((other, _)) = given.next() {
        let message = format!("frames have one form; this has `{kind}` and `{other}`");
        let place = section.at(other);
        context.error_at_key(
            Code::Contradiction,
            &place,
            message,
            "remove one of the two",
        );
        return None;
    }
    let raw = &section.raw;
    let (mut names, mut byte_order) = (Vec::new(), ByteOrder::ABCD);
    let format = match kind {
        "regex" => {
            let pattern = pattern(context, raw.regex.as_ref(), &section.at("regex"))?;
            names = pattern.groups().map(str::to_owned).collect();
            Format::Regex(pattern)
        }
        "csv" => {
            let csv = below::<raw::Csv>(context, section, "csv", raw.csv.as_ref());
            names = csv.raw.columns.clone().unwrap_or_default();
            Format::Csv(separator(context, &csv)?)
        }
        "json" => {
            below::<raw::Json>(context, section, "json", raw.json.as_ref());
            Format::Json
        }
        _ => {
            let binary = below::<raw::Binary>(context, section, "binary", raw.binary.as_ref());
            byte_order = binary.raw.byte_order.map(|word| word.0).unwrap_or_default();
            Format::Binary
        }
    };
    Some(Form {
        format,
        by,
        names,
        byte_order,
    })
}

fn separator(context: &mut Context<'_>, csv: &Section<raw::Csv>) -> Option<u8> {
    let text = csv.raw.separator.as_deref().unwrap_or(",");
    if let [separator] = text.as_bytes() {
        return Some(*separator);
    }
    let message = "a separator is one character";
    let remedy = "write `separator: \";\"`, or \"\\t\" for a tabulator";
    context.error(Code::BadFrame, &csv.at("separator"), message, remedy);
    None
}

fn field(
    context: &mut Context<'_>,
    section: &Section<raw::Field>,
    name: &str,
    form: &Form,
) -> Option<FieldOptions> {
    let raw = &section.raw;
    let kind = kind(context, section, form);
    let source = source(context, section, name, form);
    let scale = raw.scale.unwrap_or(1.0);
    let number = !matches!(
        kind,
        Some(FieldType::Text(_) | FieldType::Tag(TagType::Bool))
    );
    for key in ["scale", "decimals"].iter().filter(|key| section.has(key)) {
        if !number || section.has("map") {
            let message = format!("`{key}` means something for numbers only, which this is not");
            let remedy = "remove it, or add a `type` such as float64";
            context.error_at_key(Code::BadFrame, &section.at(key), message, remedy);
        }
    }
    if !scale.is_normal() {
        let message = format!("`scale` is {scale}: every value would be lost");
        let remedy = "write what one raw unit is worth, such as 0.1";
        context.error(Code::OutOfRange, &section.at("scale"), message, remedy);
    }
    let show = |digits: u8| digits.to_string();
    let decimals = section.within(context, "decimals", raw.decimals, 0..=15, show);
    let unit_from = raw.unit_from.as_ref();
    let unit_from = unit_from.and_then(|from| named(context, &section.at("unit_from"), from, form));
    let place = section.at("map");
    let map = raw.map.iter().flatten().filter_map(|(said, meant)| {
        let said = said.as_str()?;
        Some((said.to_owned(), scalar(context, meant, &place.key(said))?))
    });
    Some(FieldOptions {
        map: map.collect(),
        name: name.to_owned(),
        source: source?,
        kind: kind?,
        scale,
        decimals,
        unit: raw.unit.clone(),
        unit_from,
    })
}

fn kind(
    context: &mut Context<'_>,
    section: &Section<raw::Field>,
    form: &Form,
) -> Option<FieldType> {
    let raw = &section.raw;
    let binary = form.by == "offset";
    if raw.r#type.is_none() && section.has("type") {
        return None;
    }
    if binary {
        section.required(context, "type", raw.r#type, "uint16")?;
    }
    let kind = raw.r#type.map_or(FieldType::Text(0), |word| word.0);
    if binary && kind == FieldType::Text(0) {
        let length = section.required(context, "length", raw.length, "8")?;
        let show = |length: u16| length.to_string();
        let length = section.within(context, "length", Some(length), 1..=1024, show)?;
        return Some(FieldType::Text(usize::from(length)));
    }
    if section.has("length") {
        let message = "`length` is for a `string` of `binary` only";
        context.error_at_key(Code::BadFrame, &section.at("length"), message, "remove it");
    }
    Some(kind)
}

/// Where the field is: what it says itself, else what has its name.
fn source(
    context: &mut Context<'_>,
    section: &Section<raw::Field>,
    name: &str,
    form: &Form,
) -> Option<Source> {
    let raw = &section.raw;
    let others = FORMS.iter().map(|(_, by)| *by).chain(["byte_order"]);
    let strange = others
        .filter(|key| *key != form.by && !(form.by == "offset" && *key == "byte_order"))
        .find(|key| section.has(key));
    if let Some(key) = strange {
        let message = format!(
            "`{key}` means nothing here: a field is found by its `{}`",
            form.by
        );
        context.error_at_key(Code::Contradiction, &section.at(key), message, "remove it");
        return None;
    }
    if section.has(form.by) {
        let place = section.at(form.by);
        return match form.by {
            "group" => named(context, &place, raw.group.as_ref()?, form),
            "column" => Some(Source::Column(usize::from(raw.column?))),
            "pointer" => named(context, &place, raw.pointer.as_ref()?, form),
            _ => {
                let order = raw.byte_order.map_or(form.byte_order, |word| word.0);
                Some(Source::Bytes(usize::from(raw.offset?), order))
            }
        };
    }
    if form.by == "offset" {
        section.required(context, "offset", None::<()>, "0");
        return None;
    }
    named(context, &section.place, name, form)
}

/// What stands under a name: a group, a column, a JSON Pointer or the key of one.
fn named(context: &mut Context<'_>, place: &Place, name: &str, form: &Form) -> Option<Source> {
    match form.by {
        "pointer" if name.starts_with('/') || name.is_empty() => {
            return Some(Source::Pointer(name.to_owned()));
        }
        "pointer" => return Some(Source::Pointer(format!("/{name}"))),
        "offset" => {
            let message = "a unit is read from text, and frames are `binary`";
            context.error_at_key(Code::BadFrame, place, message, "remove it");
            return None;
        }
        _ => {}
    }
    let Some(at) = form.names.iter().position(|known| known == name) else {
        dangling(
            context,
            form.by,
            name,
            place,
            form.names.iter().map(|known| &**known),
        );
        return None;
    };
    Some(match form.by {
        "group" => Source::Group(name.to_owned()),
        _ => Source::Column(at),
    })
}

fn uncertain_when(
    context: &mut Context<'_>,
    section: &Section<raw::Serial>,
    fields: &[FieldOptions],
) -> Vec<(String, Value)> {
    let place = section.at("uncertain_when");
    let mut conditions = Vec::new();
    for (name, value) in section.raw.uncertain_when.iter().flatten() {
        let Some(name) = name.as_str() else { continue };
        let place = place.key(name);
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            let known = fields.iter().map(|field| &*field.name);
            dangling(context, "field", name, &place, known);
            continue;
        };
        let said = wording::found(value);
        let Some(value) = scalar(context, value, &place) else {
            continue;
        };
        let value = as_read(field, value);
        if !field.map.is_empty() && !field.map.iter().any(|(_, meant)| *meant == value) {
            let message = format!("the `map` of `{}` never gives {said}", quoted(name));
            let remedy = "write a value that stands in the `map`";
            context.error(Code::BadFrame, &place, message, remedy);
        }
        conditions.push((name.to_owned(), value));
    }
    conditions
}

/// A number as the field has it: a float's 0 is 0.0.
fn as_read(field: &FieldOptions, value: Value) -> Value {
    let scaled = field.scale != 1.0 && field.decimals != Some(0);
    let float = match (&value, field.kind) {
        (Value::Integer(integer), _) => integer.to_string(),
        (Value::Float64(number), _) => number.to_string(),
        _ => return value,
    };
    match field.kind {
        _ if !field.map.is_empty() => value,
        FieldType::Tag(TagType::Float32) if !scaled => float.parse().map_or(value, Value::Float32),
        FieldType::Text(_) => Value::Text(float),
        FieldType::Tag(TagType::Float32 | TagType::Float64) => {
            float.parse().map_or(value, Value::Float64)
        }
        _ if scaled => float.parse().map_or(value, Value::Float64),
        _ => value,
    }
}

fn scalar(context: &mut Context<'_>, value: &Yaml, place: &Place) -> Option<Value> {
    if let Yaml::Bool(value) = value {
        return Some(Value::Bool(*value));
    }
    if let Some(integer) = value.as_i64() {
        return Some(Value::Integer(i128::from(integer)));
    }
    if let Some(number) = value.as_f64().filter(|number| number.is_finite()) {
        return Some(Value::Float64(number));
    }
    context.scalar::<String>(value, place).map(Value::Text)
}
