//! Values as text: JSON, and bare for topics that carry one value. No I/O; writes at the end of a `String`.

use std::fmt::Write;

use super::Value;

/// Writes `value` as JSON: integers in full, floats with the fewest digits that mean them. NaN and infinities, which
/// JSON does not know and no reading has, become `null`; named bits an object of truth values.
pub fn write_json_value(out: &mut String, value: &Value) {
    match value {
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Integer(integer) => write_display(out, format_args!("{integer}")),
        Value::Float32(number) if number.is_finite() => {
            write_display(out, format_args!("{number:?}"));
        }
        Value::Float64(number) if number.is_finite() => {
            write_display(out, format_args!("{number:?}"));
        }
        Value::Float32(_) | Value::Float64(_) => out.push_str("null"),
        Value::Text(text) => write_json_text(out, text),
        Value::Bits(bits) => {
            out.push('{');
            let mut comma = "";
            for (name, set) in bits {
                out.push_str(comma);
                comma = ",";
                write_json_text(out, name);
                out.push_str(if *set { ":true" } else { ":false" });
            }
            out.push('}');
        }
    }
}

/// The same without the quotes around a text.
pub fn write_plain_value(out: &mut String, value: &Value) {
    match value {
        Value::Text(text) => out.push_str(text),
        value => write_json_value(out, value),
    }
}

/// Writes `text` as a JSON string.
pub fn write_json_text(out: &mut String, text: &str) {
    out.push('"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(plain_from..at).unwrap_or_default());
        plain_from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => write_display(out, format_args!("\\u{control:04x}")),
        }
    }
    out.push_str(text.get(plain_from..).unwrap_or_default());
    out.push('"');
}

fn write_display(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &Value) -> String {
        let mut out = String::new();
        write_json_value(&mut out, value);
        out
    }

    #[test]
    fn numbers_have_the_digits_they_need() {
        assert_eq!(json(&Value::Float32(230.4)), "230.4");
        assert_eq!(json(&Value::Float64(0.1)), "0.1");
        assert_eq!(json(&Value::Float64(1e300)), "1e300");
        assert_eq!(json(&Value::Float32(1e-7)), "1e-7");
        assert_eq!(json(&Value::Float64(f64::NAN)), "null");
        assert_eq!(
            json(&Value::Integer(i128::from(u64::MAX))),
            "18446744073709551615"
        );
    }

    #[test]
    fn bits_are_an_object_with_and_without_quotes_around_texts() {
        let bits = Value::Bits(vec![("high\"p".into(), true), ("low".into(), false)]);
        assert_eq!(json(&bits), r#"{"high\"p":true,"low":false}"#);
        let mut out = String::new();
        write_plain_value(&mut out, &bits);
        assert_eq!(out, json(&bits));
    }

    #[test]
    fn any_text_comes_back_from_a_json_reader() {
        let every_control: String = (0_u8..0x80)
            .map(char::from)
            .chain("äß→🦀\u{7f}".chars())
            .collect();
        for text in ["", "plain", "a\"b\\c", every_control.as_str()] {
            let written = json(&Value::Text(text.to_owned()));
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
    }

    #[test]
    fn a_plain_text_has_no_quotes() {
        let mut out = String::new();
        write_plain_value(&mut out, &Value::Text("a\"b".to_owned()));
        assert_eq!(out, "a\"b");
    }
}
