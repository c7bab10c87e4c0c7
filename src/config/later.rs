//! What the contract of the file has and this version does not: values that get an error of their own. Whoever builds one
//! deletes its line.

use serde_yaml::Value;

/// Values: the section, the key, how the value begins, and what to write.
const VALUES: &[(&str, &str, &str, &str)] = &[(
    "BridgeTls",
    "ca",
    "system",
    "name the file of the authority: `ca: certs/cloud-ca.pem`",
)];

/// The first two numbers of this version.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION_MAJOR"),
    ".",
    env!("CARGO_PKG_VERSION_MINOR")
);

/// Message and remedy for a value that this key does not take yet.
pub(super) fn value(section: &str, key: &str, value: &Value) -> Option<(String, &'static str)> {
    let text = value.as_str()?;
    let (_, _, start, remedy) = VALUES
        .iter()
        .find(|entry| entry.0 == section && entry.1 == key && text.starts_with(entry.2))?;
    Some((not_available(&format!("{key}: {start}")), remedy))
}

/// `what` is planned.
pub(super) fn not_available(what: &str) -> String {
    format!("`{what}` is not available in fieldgate {VERSION}")
}
