//! What the contract of the file has and this version does not: keys and values that get an error of their own instead
//! of "unknown key". A key may be written where its value says what happens anyway. Whoever builds one deletes its line.

use serde_yaml::Value;

/// Keys: the section (the name of its raw struct), the key, and the values that equal today's behaviour, as YAML.
const KEYS: &[(&str, &str, &[&str])] = &[("Root", "console", &["{bind: \"off\"}"])];

/// Values: the section, the key, and how the value begins.
const VALUES: &[(&str, &str, &str)] = &[("BridgeTls", "ca", "system")];

/// The first two numbers of this version.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION_MAJOR"),
    ".",
    env!("CARGO_PKG_VERSION_MINOR")
);

/// What to say of a key that this section does not have yet; `Some(Ok)`: nothing, the value is what happens anyway.
pub(super) fn key(section: &str, key: &str, value: &Value) -> Option<Result<(), (String, String)>> {
    let (_, _, accepted) = KEYS
        .iter()
        .find(|entry| entry.0 == section && entry.1 == key)?;
    let same =
        |text: &&str| serde_yaml::from_str::<Value>(text).is_ok_and(|accepted| accepted == *value);
    if accepted.iter().any(same) {
        return Some(Ok(()));
    }
    let mut remedy = "remove it".to_owned();
    if let Some(text) = accepted.first() {
        remedy.push_str(&format!(", or write what happens anyway: `{key}: {text}`"));
    }
    Some(Err((not_available(key), remedy)))
}

/// What to say of a value that this key does not take yet.
pub(super) fn value(section: &str, key: &str, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let (_, _, start) = VALUES
        .iter()
        .find(|entry| entry.0 == section && entry.1 == key && text.starts_with(entry.2))?;
    Some(not_available(&format!("{key}: {start}")))
}

/// `what` is planned.
pub(super) fn not_available(what: &str) -> String {
    format!("`{what}` is not available in fieldgate {VERSION}")
}

/// The sections and keys, for the test that none of them is built already.
#[cfg(test)]
pub(super) fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().map(|(section, key, _)| (*section, *key))
}
