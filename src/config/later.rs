//! What the contract of the file has and this version does not: values that get an error of their own. Whoever builds one
//! deletes its line.

use serde_yaml::Value;

/// Values: the section, the key, and how the value begins.
const VALUES: &[(&str, &str, &str)] = &[("BridgeTls", "ca", "system")];

/// The first two numbers of this version.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION_MAJOR"),
    ".",
    env!("CARGO_PKG_VERSION_MINOR")
);

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
