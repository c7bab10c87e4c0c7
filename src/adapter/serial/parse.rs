//! Frames to readings. No I/O.
//!
//! Invariants: a reading comes from one frame and from nothing before it; what is not as the options say is a reason, never
//! a zero, a cut text or a guess; text is a number only from its first to its last character.

use std::borrow::Cow;

use regex::bytes::Captures;

use super::options::{FieldOptions, FieldType, Format, ParseOptions, Source};
use crate::adapter::reason::Reason;
use crate::value::{ByteOrder, Interpretation, TagType, Value, write_plain_value};

/// What a frame says of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldReading {
    /// Its value, or why there is none.
    pub value: Result<Value, Reason>,
    /// The instrument itself says that it is not to be relied on.
    pub uncertain: bool,
    /// Its unit.
    pub unit: Option<String>,
}

/// Reads frames.
#[derive(Debug)]
pub struct Parser {
    options: ParseOptions,
    /// Of each field: how its number is scaled, where it is.
    scaling: Vec<Option<Interpretation>>,
}

/// A frame with its parts at hand.
enum Parts<'f> {
    Groups(Captures<'f>),
    Columns(Vec<&'f [u8]>),
    Document(serde_json::Value),
    Bytes(&'f [u8]),
}

/// What stands in a field.
enum Raw<'f> {
    Text(Cow<'f, str>),
    Bytes(&'f [u8], ByteOrder),
}

impl Parser {
    /// Of these options.
    #[must_use]
    pub fn new(options: ParseOptions) -> Self {
        let scaling = options.fields.iter().map(scaling).collect();
        Self { options, scaling }
    }

    /// What the frame says of each field, in their order; `None`: it is not for us.
    #[must_use]
    pub fn parse(&self, frame: &[u8]) -> Option<Vec<FieldReading>> {
        if self
            .options
            .only
            .as_ref()
            .is_some_and(|only| !only.finds(frame))
        {
            return None;
        }
        let Some(parts) = Parts::of(&self.options.format, frame) else {
            return Some(self.all_bad(Reason::NoMatch));
        };
        let fields = self.options.fields.iter().zip(&self.scaling);
        let mut readings: Vec<_> = fields
            .map(|(field, scaling)| reading(field, scaling.as_ref(), &parts))
            .collect();
        self.mark_uncertain(&mut readings);
        Some(readings)
    }

    /// Readings without a frame.
    #[must_use]
    pub fn all_bad(&self, reason: Reason) -> Vec<FieldReading> {
        let bad = FieldReading {
            value: Err(reason),
            uncertain: false,
            unit: None,
        };
        vec![bad; self.options.fields.len()]
    }

    fn mark_uncertain(&self, readings: &mut [FieldReading]) {
        for (name, doubtful) in &self.options.uncertain_when {
            let at = self
                .options
                .fields
                .iter()
                .position(|field| field.name == *name);
            let said = at
                .and_then(|at| readings.get(at))
                .map(|reading| &reading.value);
            // Where the frame does not say that all is well, it is not.
            if matches!(said, Some(Ok(value)) if value != doubtful) {
                continue;
            }
            let others = readings.iter_mut().enumerate();
            for (_, reading) in others.filter(|(index, _)| Some(*index) != at) {
                reading.uncertain = reading.value.is_ok();
            }
        }
    }
}

impl<'f> Parts<'f> {
    fn of(format: &Format, frame: &'f [u8]) -> Option<Self> {
        Some(match format {
            Format::Regex(pattern) => Self::Groups(pattern.captures(frame)?),
            Format::Csv(separator) => {
                Self::Columns(frame.split(|byte| byte == separator).collect())
            }
            Format::Json => Self::Document(serde_json::from_slice(frame).ok()?),
            Format::Binary => Self::Bytes(frame),
        })
    }

    fn get(&self, source: &Source) -> Result<Raw<'_>, Reason> {
        let bytes = match (self, source) {
            (Self::Groups(groups), Source::Group(name)) => groups
                .name(name)
                .map(|group| group.as_bytes())
                .ok_or(Reason::NoMatch)?,
            (Self::Columns(columns), Source::Column(column)) => {
                columns.get(*column).ok_or(Reason::NoMatch)?
            }
            (Self::Document(document), Source::Pointer(pointer)) => {
                let text = match document.pointer(pointer) {
                    Some(serde_json::Value::String(text)) => Cow::Borrowed(text.as_str()),
                    Some(serde_json::Value::Number(number)) => Cow::Owned(number.to_string()),
                    Some(serde_json::Value::Bool(bool)) => Cow::Owned(bool.to_string()),
                    _ => return Err(Reason::NoMatch),
                };
                return Ok(Raw::Text(text));
            }
            (Self::Bytes(bytes), Source::Bytes(offset, order)) => {
                let rest = bytes.get(*offset..).ok_or(Reason::NoMatch)?;
                return Ok(Raw::Bytes(rest, *order));
            }
            _ => return Err(Reason::NoMatch),
        };
        let text = std::str::from_utf8(bytes).map_err(|_| Reason::NotText)?;
        Ok(Raw::Text(Cow::Borrowed(text.trim_ascii())))
    }

    fn unit(&self, source: &Source) -> Result<String, Reason> {
        match self.get(source)? {
            Raw::Text(text) => Ok(text.into_owned()),
            Raw::Bytes(..) => Err(Reason::NoMatch),
        }
    }
}

fn reading(
    field: &FieldOptions,
    scaling: Option<&Interpretation>,
    parts: &Parts<'_>,
) -> FieldReading {
    let said = field
        .unit_from
        .as_ref()
        .map(|source| parts.unit(source))
        .transpose();
    let (unit, doubt) = match (said, &field.unit) {
        (Ok(Some(said)), Some(unit)) if said != *unit => (Some(said), Some(Reason::OtherUnit)),
        (Ok(said), unit) => (said.or_else(|| unit.clone()), None),
        (Err(reason), _) => (None, Some(reason)),
    };
    let value = match doubt {
        Some(reason) => Err(reason),
        None => parts
            .get(&field.source)
            .and_then(|raw| value(field, scaling, &raw)),
    };
    FieldReading {
        value,
        uncertain: false,
        unit,
    }
}

fn value(
    field: &FieldOptions,
    scaling: Option<&Interpretation>,
    raw: &Raw<'_>,
) -> Result<Value, Reason> {
    if !field.map.is_empty() {
        let text = match raw {
            Raw::Text(text) => Cow::Borrowed(&**text),
            Raw::Bytes(bytes, order) => {
                let mut text = String::new();
                write_plain_value(&mut text, &from_bytes(field.kind, bytes, *order)?);
                Cow::Owned(text)
            }
        };
        let meant = field.map.iter().find(|(said, _)| *said == text);
        return meant.map(|(_, value)| value.clone()).ok_or(Reason::NoMatch);
    }
    let value = match raw {
        Raw::Text(text) => from_text(field.kind, text)?,
        Raw::Bytes(bytes, order) => from_bytes(field.kind, bytes, *order)?,
    };
    match scaling {
        Some(scaling) => scaled(scaling, value),
        None => Ok(value),
    }
}

/// How numbers of the field are scaled: as the widest of their kind, in registers.
fn scaling(field: &FieldOptions) -> Option<Interpretation> {
    #[allow(clippy::float_cmp, reason = "1.0 is exactly what options say for none")]
    if field.scale == 1.0 && field.decimals.is_none() {
        return None;
    }
    let widest = match field.kind {
        FieldType::Tag(kind @ (TagType::Float32 | TagType::Float64)) => kind,
        FieldType::Tag(TagType::Uint64) => TagType::Uint64,
        FieldType::Text(_) | FieldType::Tag(TagType::Bool | TagType::Text(_)) => return None,
        FieldType::Int8 | FieldType::Uint8 | FieldType::Tag(_) => TagType::Int64,
    };
    let order = ByteOrder::ABCD;
    Some(Interpretation::new(
        widest,
        order,
        field.scale,
        field.decimals,
    ))
}

fn scaled(scaling: &Interpretation, value: Value) -> Result<Value, Reason> {
    let bits = match value {
        Value::Float32(number) => return words(scaling, &number.to_bits().to_be_bytes()),
        Value::Float64(number) => number.to_bits(),
        Value::Integer(integer) => match (i64::try_from(integer), u64::try_from(integer)) {
            (Ok(signed), _) => signed.cast_unsigned(),
            (_, Ok(unsigned)) => unsigned,
            _ => return Err(Reason::NotANumber),
        },
        value => return Ok(value),
    };
    words(scaling, &bits.to_be_bytes())
}

fn words(interpretation: &Interpretation, bytes: &[u8]) -> Result<Value, Reason> {
    let words: Vec<u16> = bytes
        .chunks_exact(2)
        .filter_map(|pair| <[u8; 2]>::try_from(pair).ok())
        .map(u16::from_be_bytes)
        .collect();
    Ok(interpretation.value(&words)?)
}

fn from_bytes(kind: FieldType, bytes: &[u8], order: ByteOrder) -> Result<Value, Reason> {
    let first = bytes.first().copied().ok_or(Reason::NoMatch);
    match kind {
        FieldType::Uint8 => Ok(Value::Integer(i128::from(first?))),
        FieldType::Int8 => Ok(Value::Integer(i128::from(first?.cast_signed()))),
        FieldType::Tag(TagType::Bool) => Ok(Value::Bool(first? != 0)),
        FieldType::Text(length) => {
            let bytes = bytes.get(..length).ok_or(Reason::NoMatch)?;
            let text = std::str::from_utf8(bytes).map_err(|_| Reason::NotText)?;
            Ok(Value::Text(text.trim_end_matches(['\0', ' ']).to_owned()))
        }
        FieldType::Tag(kind) => {
            let length = 2 * usize::from(kind.registers());
            let bytes = bytes.get(..length).ok_or(Reason::NoMatch)?;
            words(&Interpretation::new(kind, order, 1.0, None), bytes)
        }
    }
}

fn from_text(kind: FieldType, text: &str) -> Result<Value, Reason> {
    let range = match kind {
        FieldType::Text(_) | FieldType::Tag(TagType::Text(_)) => {
            return Ok(Value::Text(text.to_owned()));
        }
        FieldType::Tag(TagType::Bool) => {
            return match text {
                "1" | "true" => Ok(Value::Bool(true)),
                "0" | "false" => Ok(Value::Bool(false)),
                _ => Err(Reason::NoMatch),
            };
        }
        FieldType::Tag(TagType::Float32) => {
            let number = number(text).and_then(|text| text.parse::<f32>().ok());
            let number = number.filter(|number| number.is_finite());
            return number.map(Value::Float32).ok_or(Reason::NotANumber);
        }
        FieldType::Tag(TagType::Float64) => {
            let number = number(text).and_then(|text| text.parse::<f64>().ok());
            let number = number.filter(|number| number.is_finite());
            return number.map(Value::Float64).ok_or(Reason::NotANumber);
        }
        FieldType::Int8 => i8::MIN.into()..=i8::MAX.into(),
        FieldType::Uint8 => 0..=u8::MAX.into(),
        FieldType::Tag(TagType::Int16) => i16::MIN.into()..=i16::MAX.into(),
        FieldType::Tag(TagType::Uint16) => 0..=u16::MAX.into(),
        FieldType::Tag(TagType::Int32) => i32::MIN.into()..=i32::MAX.into(),
        FieldType::Tag(TagType::Uint32) => 0..=u32::MAX.into(),
        FieldType::Tag(TagType::Int64) => i64::MIN.into()..=i64::MAX.into(),
        FieldType::Tag(TagType::Uint64) => 0..=u64::MAX.into(),
        FieldType::Tag(TagType::Bcd16) => 0..=9999,
        FieldType::Tag(TagType::Bcd32) => 0..=99_999_999,
    };
    let number = number(text).and_then(|text| text.parse::<i128>().ok());
    let number = number.filter(|number| range.contains(number));
    number.map(Value::Integer).ok_or(Reason::NotANumber)
}

/// A number as scales print them, ready for a reader: blanks may stand behind the sign. Words such as `inf` are none.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) if text.starts_with('-') => ("-", digits),
        Some(digits) => ("", digits),
        None => ("", text),
    };
    let digits = digits.trim_ascii_start();
    let begins = digits
        .trim_start_matches('.')
        .starts_with(|letter: char| letter.is_ascii_digit());
    begins.then(|| format!("{sign}{digits}"))
}
