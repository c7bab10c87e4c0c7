//! Which values a tag or a register takes, in words, for whoever offered another. No I/O.

use std::fmt;

use super::read::plain;
use crate::adapter::{TagOptions, TagType};
use crate::value::{ByteOrder, Interpretation, Meaning, Wanted};

/// What something takes.
#[derive(Clone, Debug)]
pub(super) struct Takes {
    kind: TagType,
    meaning: Meaning,
    scale: f64,
    min: Option<f64>,
    max: Option<f64>,
}

impl Takes {
    /// Registers of which no more is known.
    pub(super) fn of_type(kind: TagType) -> Self {
        Self {
            kind,
            meaning: Meaning::Number,
            scale: 1.0,
            min: None,
            max: None,
        }
    }

    pub(super) fn of_tag(tag: &TagOptions) -> Self {
        let limits = tag.write.as_ref();
        Self {
            kind: tag.kind,
            meaning: tag.meaning.clone(),
            scale: tag.scale,
            min: limits.and_then(|limits| limits.min),
            max: limits.and_then(|limits| limits.max),
        }
    }

    /// The integer as it is published.
    fn scaled(&self, integer: i128) -> Option<String> {
        let raw = Interpretation::new(self.kind, ByteOrder::ABCD, 1.0, None);
        let words = raw.words(&Wanted::Integer(integer)).ok()?;
        let scaled = Interpretation::new(self.kind, ByteOrder::ABCD, self.scale, None);
        scaled.value(&words).ok().map(|value| plain(&value))
    }

    fn number(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let integers = self.kind.integers();
        let is_whole = integers.is_some() && self.scale == 1.0;
        formatter.write_str(if is_whole {
            "a whole number"
        } else {
            "a number"
        })?;
        let (least, most) = integers.unzip();
        // A negative factor turns them round.
        let (least, most) = if self.scale < 0.0 {
            (most, least)
        } else {
            (least, most)
        };
        let limit = |set: Option<f64>, of_type: Option<i128>| {
            set.map(|limit| limit.to_string())
                .or_else(|| self.scaled(of_type?))
        };
        if let Some(least) = limit(self.min, least) {
            write!(formatter, " from {least}")?;
        }
        if let Some(most) = limit(self.max, most) {
            write!(formatter, " up to {most}")?;
        }
        if integers.is_some() && !is_whole {
            write!(formatter, " in steps of {}", self.scale.abs())?;
        }
        Ok(())
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.meaning, self.kind) {
            (Meaning::Names(names), _) => {
                let names: Vec<_> = names.values().map(String::as_str).collect();
                write!(formatter, "one of: {}", names.join(", "))
            }
            (Meaning::Bits(names), _) => {
                let names: Vec<_> = names.values().map(|name| &**name).collect();
                let first = names.first().copied().unwrap_or_default();
                write!(
                    formatter,
                    "its bits as JSON, such as {{\"{first}\":true}}, of: {}",
                    names.join(", ")
                )
            }
            (Meaning::Number, TagType::Bool) => formatter.write_str("true or false"),
            (Meaning::Number, TagType::Text(registers)) => {
                write!(
                    formatter,
                    "text of up to {} bytes",
                    2 * u32::from(registers)
                )
            }
            (Meaning::Number, _) => self.number(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_taken_is_said_as_it_is_published() {
        let of = Takes::of_type;
        let limited = Takes {
            scale: 0.1,
            max: Some(18.0),
            ..of(TagType::Int16)
        };
        let names = [(0, "off".to_owned()), (1, "cool".to_owned())];
        let names = Takes {
            meaning: Meaning::Names(BTreeMap::from(names)),
            ..of(TagType::Uint16)
        };
        let bits = Takes {
            meaning: Meaning::Bits(BTreeMap::from([(0, "high".into()), (9, "low".into())])),
            ..of(TagType::Uint16)
        };
        let turned = Takes {
            scale: -0.5,
            ..of(TagType::Int16)
        };
        for (takes, words) in [
            (of(TagType::Uint16), "a whole number from 0 up to 65535"),
            (of(TagType::Bcd16), "a whole number from 0 up to 9999"),
            (of(TagType::Float32), "a number"),
            (limited, "a number from -3276.8 up to 18 in steps of 0.1"),
            (
                turned,
                "a number from -16383.5 up to 16384.0 in steps of 0.5",
            ),
            (of(TagType::Bool), "true or false"),
            (of(TagType::Text(4)), "text of up to 8 bytes"),
            (names, "one of: off, cool"),
            (
                bits,
                "its bits as JSON, such as {\"high\":true}, of: high, low",
            ),
        ] {
            assert_eq!(takes.to_string(), words);
        }
    }
}
