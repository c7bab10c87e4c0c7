//! What the parser and serde say, in the words of somebody who writes the file. Knows the traps of YAML: numbers that
//! are text, text that is a number, `yes`, tabs, `#`, braces.

use serde_yaml::Value;

use super::excerpt::quoted;

/// Parts a message from its remedy in the errors that the types of `raw` raise.
pub(super) const PART: char = '\n';

/// Message and remedy for a value that a key does not take; `error` is what serde says of it.
/// `found` is what is said of the value, which may be a secret.
pub(super) fn wrong_value(error: &str, value: &Value, found: &str) -> (String, String) {
    if let Some((message, remedy)) = error.split_once(PART) {
        return (message.to_owned(), remedy.to_owned());
    }
    let Some((_, expected)) = error.rsplit_once(", expected ") else {
        return (error.to_owned(), String::new());
    };
    let wanted = wanted(expected);
    let message = format!("expected {wanted}, found {found}");
    let remedy = trap(expected, value).unwrap_or_else(|| format!("write {wanted}"));
    (message, remedy)
}

/// The same where the value came from `${...}` and must not be shown.
pub(super) fn wrong_substitute(error: &str, reference: &str) -> (String, String) {
    let remedy = format!("correct what {} stands for", quoted(reference));
    let message = match error.rsplit_once(", expected ") {
        Some((_, expected)) if !error.contains(PART) => {
            format!("expected {}, found something else", wanted(expected))
        }
        _ => "the value is not of the form that this key takes".to_owned(),
    };
    (message, remedy)
}

fn wanted(expected: &str) -> String {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text",
        "a sequence" => "a list",
        "a YAML mapping" | "a map" => "keys and values",
        other => other,
    }
    .to_owned()
}

/// A value in few words.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text `{}`", quoted(text)),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "keys and values".to_owned(),
        Value::Tagged(_) => "a YAML tag".to_owned(),
    }
}

/// What kind of value it is, without the value: what was named by mistake may be a secret.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => found(value),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(_) => "a text".to_owned(),
    }
}

fn trap(expected: &str, value: &Value) -> Option<String> {
    let whole = matches!(expected, "u8" | "u16" | "u32" | "u64" | "usize");
    match (expected, value) {
        ("a boolean", Value::String(text)) => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write `true`".to_owned()),
            "no" | "off" | "n" | "false" => Some("write `false`".to_owned()),
            _ => None,
        },
        ("a boolean", Value::Number(number)) => Some(if number.as_u64() == Some(0) {
            "write `false`".to_owned()
        } else {
            "write `true`".to_owned()
        }),
        ("a string", Value::Number(_) | Value::Bool(_)) => {
            Some("put it in quotes, so that YAML keeps it as text".to_owned())
        }
        ("a sequence", Value::Mapping(_)) => Some("begin each entry with `- `".to_owned()),
        ("a sequence", _) => {
            Some("write a list: `[first, second]`, or a line with `- ` for each".to_owned())
        }
        (_, Value::Number(number)) if whole && number.is_f64() => {
            Some("write it without a point and without an exponent".to_owned())
        }
        (_, Value::String(text)) if whole || expected == "f64" => Some(number_trap(text)),
        _ => None,
    }
}

/// Texts that look like numbers to a human and not to YAML 1.2.
fn number_trap(text: &str) -> String {
    let digits =
        |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit());
    let plain = text.replace('_', "");
    if text.contains('_') && digits(&plain) {
        return format!("YAML 1.2 has no `_` in numbers; write `{}`", quoted(&plain));
    }
    if text.len() > 1 && text.starts_with('0') && digits(text) {
        let stripped = text.trim_start_matches('0');
        let stripped = if stripped.is_empty() { "0" } else { stripped };
        return format!("leading zeros make it text; write `{}`", quoted(stripped));
    }
    if digits(text) {
        return "remove the quotes".to_owned();
    }
    if text.split(',').count() == 2 && text.split(',').all(digits) {
        return format!(
            "write the decimal point: `{}`",
            quoted(&text.replace(',', "."))
        );
    }
    if text.split(':').count() > 1 && text.split(':').all(digits) {
        return "`:` makes it text; write one number".to_owned();
    }
    "write a number, without quotes".to_owned()
}

/// Message and remedy for what the parser itself says clearly enough.
fn known(message: &str) -> Option<(&'static str, &'static str)> {
    let says = |words: &str| message.contains(words);
    if says("control characters are not allowed") {
        let remedy = "remove it; a text editor shows it as a box or not at all";
        Some(("there is a control character in this line", remedy))
    } else if says("unexpected end of stream") && says("scanning a quoted scalar") {
        let remedy = "close them, in the same line";
        Some(("the quotes that open here are not closed", remedy))
    } else if says("more than one document") {
        let remedy = "remove the line `---` between them";
        Some(("the file has more than one document", remedy))
    } else if says("recursion limit") || says("repetition limit") {
        let remedy = "write it flat; use `templates:` for what repeats";
        Some(("too deeply nested, or too many aliases", remedy))
    } else if says("values") && says("more than") {
        let remedy = "use `templates:` for what repeats, and no aliases (`*name`)";
        Some(("too many values", remedy))
    } else if says("unknown anchor") {
        let remedy = "put text that begins with `*` in quotes";
        Some(("an alias (`*name`) without its anchor", remedy))
    } else {
        None
    }
}

/// Message and remedy for a text that is no YAML. `message` is the parser's, `line` the one it stopped at, `before` the
/// last line with content before it.
pub(super) fn no_yaml(message: &str, line: &str, before: &str) -> (String, String) {
    let short = message.split(" at line ").next().unwrap_or_default();
    let indent = |line: &str| {
        line.chars()
            .take_while(|letter| letter.is_whitespace())
            .any(|letter| letter == '\t')
    };
    let value = |line: &str| {
        let (_, value) = line.split_once(": ").or_else(|| line.split_once("- "))?;
        value.trim_start().chars().next()
    };
    let tabs = [line, before].into_iter().any(indent)
        || short.contains("cannot start any token") && line.contains('\t');
    if tabs {
        return (
            "a tab indents this line, or the one before".to_owned(),
            "indent with spaces; YAML takes no tabs".to_owned(),
        );
    }
    if let Some((message, remedy)) = known(message) {
        return (message.to_owned(), remedy.to_owned());
    }
    let special = [line, before].into_iter().filter_map(value).find(|first| {
        matches!(
            first,
            '{' | '[' | '*' | '&' | '@' | '`' | '%' | '|' | '>' | '!'
        )
    });
    let remedy = match special {
        Some(first @ ('{' | '[')) => {
            format!("put text that begins with `{first}` in quotes, or close what `{first}` opens")
        }
        Some(first) => format!("put text that begins with `{first}` in quotes"),
        None if line.matches('"').count() % 2 == 1 || line.matches('\'').count() % 2 == 1 => {
            "close the quotes".to_owned()
        }
        None if short.contains("mapping values are not allowed") => {
            "indent the keys of one section alike; put text with `: ` in it in quotes".to_owned()
        }
        None => "look at the indentation here and in the line before: keys of one section stand in one column".to_owned(),
    };
    (format!("this is no YAML: {}", quoted(short)), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worded<T: serde::de::DeserializeOwned>(yaml: &str) -> (String, String) {
        let value: Value = serde_yaml::from_str(yaml).unwrap();
        let error = serde_yaml::from_value::<T>(value.clone())
            .err()
            .expect("no error");
        wrong_value(&error.to_string(), &value, &found(&value))
    }

    fn remedy<T: serde::de::DeserializeOwned>(yaml: &str) -> String {
        worded::<T>(yaml).1
    }

    #[test]
    fn the_traps_of_yaml_have_their_own_remedies() {
        assert_eq!(
            remedy::<u16>("017"),
            "leading zeros make it text; write `17`"
        );
        assert_eq!(
            remedy::<u16>("9_600"),
            "YAML 1.2 has no `_` in numbers; write `9600`"
        );
        assert_eq!(
            remedy::<u16>("1e3"),
            "write it without a point and without an exponent"
        );
        assert_eq!(remedy::<u16>("\"12\""), "remove the quotes");
        assert_eq!(
            remedy::<u16>("12:30:00"),
            "`:` makes it text; write one number"
        );
        assert_eq!(remedy::<f64>("0,1"), "write the decimal point: `0.1`");
        assert_eq!(remedy::<bool>("yes"), "write `true`");
        assert_eq!(remedy::<bool>("off"), "write `false`");
        assert_eq!(remedy::<bool>("1"), "write `true`");
        assert_eq!(
            remedy::<String>("1.10"),
            "put it in quotes, so that YAML keeps it as text"
        );
        assert_eq!(remedy::<Vec<Value>>("{a: 1}"), "begin each entry with `- `");
    }

    #[test]
    fn no_type_of_the_program_is_named() {
        assert_eq!(
            worded::<u16>("70000").0,
            "expected a whole number from 0 to 65535, found the number 70000"
        );
        assert_eq!(
            worded::<u8>("-1").0,
            "expected a whole number from 0 to 255, found the number -1"
        );
        assert_eq!(
            worded::<bool>("x").0,
            "expected true or false, found the text `x`"
        );
        assert_eq!(worded::<f64>("[1]").0, "expected a number, found a list");
        assert_eq!(
            worded::<Vec<Value>>("x").0,
            "expected a list, found the text `x`"
        );
    }
}
