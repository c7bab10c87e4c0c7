//! Which keys have secrets for values, also where they are misspelt: what stands there is shown to nobody. No I/O.

use super::suggest::distance;

/// Parts of the names of such keys.
const PARTS: [&str; 9] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "credential",
    "kennwort",
    "passwort",
];

/// Whether what `key` says is not to be shown. Rather too often than too seldom: a typo must not bring a password into the log.
#[must_use]
pub fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    let is_near = |word| key.chars().count() <= 16 && distance(&key, word) <= 2;
    PARTS.iter().any(|part| key.contains(part)) || is_near("password") || is_near("passphrase")
}

/// Where the value of the first key of a line begins that is secret, and where that key does: `(key, value)`, in bytes.
#[must_use]
pub fn secret_in(line: &str) -> Option<(usize, usize)> {
    let colons = line.match_indices(':').map(|(at, _)| at);
    let mut found = colons.filter_map(|colon| {
        let before = line.get(..colon)?.trim_end().trim_end_matches(['"', '\'']);
        let start =
            before.rfind(|letter: char| !letter.is_alphanumeric() && !"_-".contains(letter));
        let start = start.map_or(0, |at| at + before.get(at..).map_or(1, first_length));
        let key = before.get(start..)?;
        let after = line.get(colon + 1..)?;
        // `mqtt://` is no key, nor is the `${env:` of a reference.
        let is_key = after.is_empty() || after.starts_with([' ', '\t', '"', '\'']);
        (is_key && is_secret(key)).then(|| {
            let blanks = after.len() - after.trim_start().len();
            (start, colon + 1 + blanks)
        })
    });
    found.next()
}

fn first_length(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_however_it_is_misspelt() {
        for key in [
            "password",
            "pasword",
            "Password",
            "passwrod",
            "pssword",
            "paswort",
            "pwd",
            "secret",
            "api_key",
            "access_token",
            "passphrase",
        ] {
            assert!(is_secret(key), "{key}");
        }
        for key in [
            "user",
            "port",
            "client_id",
            "keep_alive",
            "host",
            "passive",
            "address",
            "word_order",
        ] {
            assert_eq!(is_secret(key), key == "passive", "{key}");
        }
    }

    #[test]
    fn a_value_begins_behind_its_key_in_braces_and_quotes_too() {
        for (line, value) in [
            ("password: x", Some("x")),
            ("  - { user: u, \"pasword\" : 'x' }", Some("'x' }")),
            ("pwd:", Some("")),
            ("url: mqtts://pass:word@host", None),
            ("topic: pass/word", None),
            ("user: ${env:PASS}", None),
        ] {
            let found = secret_in(line).map(|(_, value)| &line[value..]);
            assert_eq!(found, value, "{line}");
        }
    }
}
