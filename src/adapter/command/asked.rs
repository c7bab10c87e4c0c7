//! What a message on a set topic says. No I/O.
//!
//! A value may stand there bare (`7.5`, `cool`) or in an object, `{"value":7.5,"id":"abc","ts":1763870000123}`; a group
//! is asked for several with `{"values":{"mode":"cool","setpoint":7.5}}`. Keys that mean nothing here are passed over:
//! platforms add their own.

use std::time::Duration;

use serde_json::Value as Json;

use super::book::Ages;
use super::error::CommandError;
use crate::clock::WallTime;
use crate::value::Wanted;

/// Longest payload; the longest text that registers hold is below.
const BYTES_MAX: usize = 16 * 1024;
/// Longest id; it is only handed back.
const ID_BYTES_MAX: usize = 128;

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// To be handed back, a string or an integer.
    pub(crate) id: Option<Json>,
    /// When it was asked, in ms since 1970, UTC.
    pub(crate) ts: Option<i64>,
    pub(crate) body: Body,
}

/// What it asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// Nothing but that something be done.
    Nothing,
    /// One value.
    One(Part),
    /// Several, by name.
    Several(Vec<(String, Part)>),
}

/// One value of those asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// A value.
    Value(Wanted),
    /// Bits by name.
    Bits(Vec<(String, bool)>),
}

impl Asked {
    /// What `payload` says; the id is known even where the rest is of no use.
    pub(crate) fn parse(payload: &[u8]) -> (Option<Json>, Result<Self, CommandError>) {
        let text = match std::str::from_utf8(payload) {
            Ok(text) if text.len() <= BYTES_MAX => text,
            _ => return (None, Err(CommandError::BadValue)),
        };
        let bare = |body| Self {
            id: None,
            ts: None,
            body,
        };
        match serde_json::from_str(text) {
            Ok(Json::Object(object)) => {
                let id = object.get("id").filter(|id| is_id(id)).cloned();
                let asked = Self::of_object(&object, id.clone());
                (id, asked)
            }
            // `1.10` and `12E4` may be text, which must stay as it is; as a number it reads the same.
            Ok(Json::Number(number)) if number.to_string() != text.trim() => {
                let value = Wanted::Text(text.trim().to_owned());
                (None, Ok(bare(Body::One(Part::Value(value)))))
            }
            Ok(json) => {
                let part = part(&json).ok_or(CommandError::BadValue);
                (None, part.map(|part| bare(Body::One(part))))
            }
            Err(_) if text.trim().is_empty() => (None, Ok(bare(Body::Nothing))),
            // Half an object is no text.
            Err(_) if text.trim_start().starts_with(['{', '[']) => {
                (None, Err(CommandError::BadValue))
            }
            Err(_) => {
                let value = Wanted::Text(text.to_owned());
                (None, Ok(bare(Body::One(Part::Value(value)))))
            }
        }
    }

    fn of_object(
        object: &serde_json::Map<String, Json>,
        id: Option<Json>,
    ) -> Result<Self, CommandError> {
        let body = match (object.get("value"), object.get("values")) {
            (None, None) => Body::Nothing,
            (Some(value), None) => Body::One(part(value).ok_or(CommandError::BadValue)?),
            (None, Some(Json::Object(values))) => {
                let named = |(name, value): (&String, &Json)| Some((name.clone(), part(value)?));
                let values = values.iter().map(named).collect::<Option<_>>();
                Body::Several(values.ok_or(CommandError::BadValue)?)
            }
            _ => return Err(CommandError::BadValue),
        };
        let ts = match object.get("ts") {
            None | Some(Json::Null) => None,
            Some(ts) => Some(ts.as_i64().ok_or(CommandError::BadValue)?),
        };
        if id.is_none() && object.get("id").is_some_and(|id| !id.is_null()) {
            return Err(CommandError::BadValue);
        }
        Ok(Self { id, ts, body })
    }
}

impl Part {
    /// What a person typed: bits as a JSON object of their names, else the value as it stands there.
    pub(crate) fn typed(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(json @ Json::Object(_)) => part(&json),
            _ => None,
        }
        .unwrap_or_else(|| Self::Value(Wanted::Text(text.to_owned())))
    }
}

fn is_id(id: &Json) -> bool {
    match id {
        Json::String(text) => text.len() <= ID_BYTES_MAX,
        Json::Number(number) => number.is_i64() || number.is_u64(),
        _ => false,
    }
}

fn part(json: &Json) -> Option<Part> {
    Some(Part::Value(match json {
        Json::Bool(flag) => Wanted::Bool(*flag),
        Json::Number(number) => {
            let integer = number.as_i64().map(i128::from);
            match integer.or_else(|| number.as_u64().map(i128::from)) {
                Some(integer) => Wanted::Integer(integer),
                None => Wanted::Number(number.as_f64()?),
            }
        }
        Json::String(text) => Wanted::Text(text.clone()),
        Json::Object(bits) => {
            let bit = |(name, bit): (&String, &Json)| Some((name.clone(), bit.as_bool()?));
            let bits: Option<Vec<_>> = bits.iter().map(bit).collect();
            return bits.filter(|bits| !bits.is_empty()).map(Part::Bits);
        }
        Json::Null | Json::Array(_) => return None,
    }))
}

/// For how long a command may still wait before it is done.
///
/// `ts` is when it was asked, `expiry` its Message Expiry Interval as it was when it came; with neither its age is not
/// known, and where that is allowed it counts as new.
///
/// # Errors
/// [`CommandError::Expired`], also where `ts` cannot be judged: the gateway's clock was never set, or is behind it by
/// more than `max_age`.
pub(crate) fn lifetime(
    ts: Option<i64>,
    expiry: Option<u32>,
    now: WallTime,
    ages: Ages,
) -> Result<Duration, CommandError> {
    let Ages {
        max_age,
        takes_undated,
    } = ages;
    let left = match ts {
        Some(ts) => {
            let age = i128::from(now.0) - i128::from(ts);
            let max = i128::try_from(max_age.as_millis()).unwrap_or(i128::MAX);
            if !now.is_plausible() || age >= max || age <= -max {
                return Err(CommandError::Expired);
            }
            max_age.saturating_sub(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
        }
        None if expiry.is_none() && !takes_undated => return Err(CommandError::Expired),
        None => max_age,
    };
    match expiry {
        Some(0) => Err(CommandError::Expired),
        Some(seconds) => Ok(left.min(Duration::from_secs(seconds.into()))),
        None => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(payload: &str) -> Result<Body, CommandError> {
        Asked::parse(payload.as_bytes()).1.map(|asked| asked.body)
    }

    fn value(wanted: Wanted) -> Result<Body, CommandError> {
        Ok(Body::One(Part::Value(wanted)))
    }

    #[test]
    fn a_value_may_stand_bare_or_in_an_object() {
        assert_eq!(one("7.5"), value(Wanted::Number(7.5)));
        assert_eq!(one(" 7 "), value(Wanted::Integer(7)));
        assert_eq!(one("true"), value(Wanted::Bool(true)));
        assert_eq!(one("cool"), value(Wanted::Text("cool".to_owned())));
        assert_eq!(one("\"cool\""), value(Wanted::Text("cool".to_owned())));
        assert_eq!(
            one(r#"{"value":7.5,"unit":"degC"}"#),
            value(Wanted::Number(7.5))
        );
        assert_eq!(one(""), Ok(Body::Nothing));
        assert_eq!(one(r#"{"id":1}"#), Ok(Body::Nothing));
        let max = i128::from(u64::MAX);
        assert_eq!(one("18446744073709551615"), value(Wanted::Integer(max)));
    }

    #[test]
    fn text_that_looks_like_a_number_stays_as_it_is() {
        for text in ["1.10", "12E4", "123456789012345678901", "007"] {
            assert_eq!(one(text), value(Wanted::Text(text.to_owned())));
        }
        for half in [r#"{"value":7"#, "[1"] {
            assert_eq!(one(half), Err(CommandError::BadValue), "{half}");
        }
    }

    #[test]
    fn several_values_and_bits_have_names() {
        let values = one(r#"{"values":{"mode":"cool","alarms":{"low":true}}}"#);
        let parts = vec![
            (
                "alarms".to_owned(),
                Part::Bits(vec![("low".to_owned(), true)]),
            ),
            (
                "mode".to_owned(),
                Part::Value(Wanted::Text("cool".to_owned())),
            ),
        ];
        assert_eq!(values, Ok(Body::Several(parts)));
    }

    #[test]
    fn what_makes_no_sense_is_a_bad_value_that_keeps_its_id() {
        for payload in [
            "null",
            "[1]",
            "{\"value\":null}",
            "{\"value\":{}}",
            "{\"value\":{\"low\":1}}",
            "{\"value\":1,\"values\":{}}",
            "{\"values\":[1]}",
            "{\"value\":1,\"ts\":\"now\"}",
        ] {
            assert_eq!(one(payload), Err(CommandError::BadValue), "{payload}");
        }
        let (id, asked) = Asked::parse(br#"{"id":"abc","value":[]}"#);
        assert_eq!(
            (id, asked),
            (Some("abc".into()), Err(CommandError::BadValue))
        );
        let long = format!(r#"{{"id":"{}","value":1}}"#, "x".repeat(ID_BYTES_MAX + 1));
        assert_eq!(one(&long), Err(CommandError::BadValue));
        assert_eq!(one(&"1".repeat(BYTES_MAX + 1)), Err(CommandError::BadValue));
        let binary = Asked::parse(&[0xFF, 0]).1;
        assert_eq!(binary, Err(CommandError::BadValue));
    }

    #[test]
    fn age_is_told_by_the_stamp_and_by_the_expiry_and_the_shorter_counts() {
        const NOW: WallTime = WallTime(1_800_000_000_000);
        const DATED: Ages = Ages {
            max_age: Duration::from_secs(30),
            takes_undated: false,
        };
        const UNDATED: Ages = Ages {
            takes_undated: true,
            ..DATED
        };
        let lives = |ts, expiry| lifetime(ts, expiry, NOW, UNDATED);
        let seconds = |seconds| Ok(Duration::from_secs(seconds));
        let ago = |seconds: i64| Some(NOW.0.cast_signed() - seconds * 1000);
        assert_eq!(lives(None, None), seconds(30));
        assert_eq!(lives(ago(10), None), seconds(20));
        assert_eq!(lives(ago(10), Some(5)), seconds(5));
        assert_eq!(lives(None, Some(3600)), seconds(30));
        assert_eq!(lives(ago(-3), None), seconds(30), "a clock a little ahead");
        for (ts, expiry) in [
            (ago(30), None),
            (ago(-30), None),
            (ago(1), Some(0)),
            (Some(i64::MIN), None),
            (Some(i64::MAX), None),
        ] {
            assert_eq!(lives(ts, expiry), Err(CommandError::Expired), "{ts:?}");
        }
        let unset = lifetime(Some(5), None, WallTime(10), UNDATED);
        assert_eq!(unset, Err(CommandError::Expired), "no clock");
        let undated = lifetime(None, None, NOW, DATED);
        assert_eq!(undated, Err(CommandError::Expired));
        assert_eq!(lifetime(None, Some(9), NOW, DATED), seconds(9));
    }
}
