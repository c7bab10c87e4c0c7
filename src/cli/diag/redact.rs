//! Taking secrets out of what is given away. No I/O.
//!
//! Twice over: where a configuration says a secret it is masked in its place, and then each secret that is known, from there or
//! from outside, is masked wherever it stands in any text. Rather too much is masked than too little.

use crate::config::secret_in;

/// What stands in place of a secret.
pub(super) const MASK: &str = "***";
/// Shorter ones are masked where they are said only: everywhere else they would be found in ordinary words.
const SEARCHED_LENGTH: usize = 4;
/// What may come in by a reference, and is none.
const WORDS: [&str; 3] = ["true", "false", "null"];

/// A text of a configuration without its secrets.
#[derive(Debug, Default)]
pub(super) struct Masked {
    pub(super) text: String,
    /// What was taken out.
    pub(super) secrets: Vec<String>,
}

/// Masks the values of keys that are secret, line by line, so that it does for a text with faults, too.
pub(super) fn mask(text: &str) -> Masked {
    let mut masked = Masked::default();
    // A value that goes on below, further in than this.
    let mut below: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let goes_on = below.is_some_and(|key| indent > key || line.trim().is_empty());
        if goes_on && !line.trim().is_empty() {
            masked.secrets.push(line.trim().to_owned());
            masked.text += &format!("{}{MASK}", line.get(..indent).unwrap_or_default());
        } else if !goes_on {
            below = mask_line(line, &mut masked).then_some(indent);
        }
        masked.text.push('\n');
    }
    masked
}

/// True where what follows may belong to a secret.
fn mask_line(line: &str, masked: &mut Masked) -> bool {
    let mut rest = line;
    let mut goes_on = false;
    while let Some((_, value_at)) = secret_in(rest) {
        let (before, value) = rest.split_at(value_at);
        masked.text += before;
        let is_flow = line
            .get(..line.len() - value.len())
            .unwrap_or_default()
            .contains('{');
        let end = value_end(value, is_flow);
        let (secret, after) = value.split_at(end);
        goes_on |= after.trim().is_empty();
        let secret = secret.trim_end();
        let blanks = value.get(secret.len()..end).unwrap_or_default();
        // A reference is a name and no secret; what it stands for is looked for elsewhere.
        if secret.starts_with("${") || secret.is_empty() || secret.starts_with(['|', '>']) {
            masked.text += secret;
        } else {
            masked
                .secrets
                .push(secret.trim_matches(['"', '\'']).to_owned());
            // Braces may be open since a line before; then a value without quotes ends sooner.
            let sooner = secret.split([',', '}']).next().unwrap_or_default();
            if sooner.len() < secret.len() && !secret.starts_with(['"', '\'']) {
                masked.secrets.push(sooner.to_owned());
            }
            masked.text += MASK;
        }
        masked.text += blanks;
        rest = after;
    }
    masked.text += rest;
    goes_on
}

/// Up to where a value goes in its line.
fn value_end(value: &str, is_flow: bool) -> usize {
    if let Some(quote) = value.chars().next().filter(|it| "\"'".contains(*it)) {
        let mut is_escaped = false;
        for (at, letter) in value.char_indices().skip(1) {
            if letter == quote && !is_escaped {
                return at + 1;
            }
            is_escaped = letter == '\\' && !is_escaped && quote == '"';
        }
        return value.len();
    }
    if value.starts_with("${") {
        return value.find('}').map_or(value.len(), |at| at + 1);
    }
    let end = if is_flow {
        value.find([',', '}'])
    } else {
        value.find(" #")
    };
    end.unwrap_or(value.len())
}

/// The references `${kind:name}` of a text.
pub(super) fn references(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("${").skip(1);
    let inside = parts.filter_map(|part| part.split_once('}'));
    inside
        .filter_map(|(inside, _)| inside.split_once(':'))
        .collect()
}

/// Masks each of `secrets`, what stands in URLs before a host, and private keys.
pub(super) fn scrub(text: &str, secrets: &[String]) -> String {
    let mut known: Vec<String> = secrets
        .iter()
        .map(|secret| secret.trim().to_owned())
        .filter(|secret| {
            let is_word = secret == MASK || WORDS.contains(&&**secret);
            secret.len() >= SEARCHED_LENGTH && !is_word
        })
        .collect();
    // As JSON has them, too.
    let quoted = known.iter().filter_map(|it| serde_json::to_string(it).ok());
    let quoted: Vec<_> = quoted.map(|it| it.trim_matches('"').to_owned()).collect();
    known.extend(quoted);
    // One may be part of another.
    known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut text = without_keys(text);
    for secret in &known {
        text = text.replace(secret, MASK);
    }
    without_logins(&text)
}

/// `mqtts://user:password@host` without what is before the `@`.
fn without_logins(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean += "://";
        let end = part.find(|it: char| it.is_whitespace() || "/\"'".contains(it));
        let authority = part.get(..end.unwrap_or(part.len())).unwrap_or_default();
        match authority.rfind('@') {
            Some(at) => {
                clean += MASK;
                clean += part.get(at..).unwrap_or_default();
            }
            None => clean += part,
        }
    }
    clean
}

/// Without the insides of private keys in PEM.
fn without_keys(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut is_key = false;
    for line in text.split_inclusive('\n') {
        let is_border = line.contains("PRIVATE KEY-----");
        if is_border && line.contains("-----BEGIN") {
            is_key = true;
            clean += MASK;
            clean.push('\n');
        }
        if !is_key {
            clean += line;
        }
        if is_border && line.contains("-----END") {
            is_key = false;
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_where_a_configuration_says_them() {
        let text = "\
bridges:
  - name: cloud
    password: hunter2, and more # not this
    url: mqtts://h
  - { name: b, password: flow3, url: x, \"password\" : 'qu}oted' }
  - name: c
    password: |
      block4
      block5
    user: u
    password: \"esc\\\"aped\"
    password:
      on-the-next
    password: ${cred:cloud}
  - { name: d,
    password: flow6, user: u }
    forward: [{ filter: password/state }]
";
        let masked = mask(text);
        assert_eq!(
            masked.secrets,
            [
                "hunter2, and more",
                "hunter2",
                "flow3",
                "qu}oted",
                "block4",
                "block5",
                "esc\\\"aped",
                "on-the-next",
                "flow6, user: u }",
                "flow6"
            ]
        );
        assert_eq!(
            masked.text,
            "\
bridges:
  - name: cloud
    password: *** # not this
    url: mqtts://h
  - { name: b, password: ***, url: x, \"password\" : *** }
  - name: c
    password: |
      ***
      ***
    user: u
    password: ***
    password:
      ***
    password: ${cred:cloud}
  - { name: d,
    password: ***
    forward: [{ filter: password/state }]
"
        );
    }

    #[test]
    fn what_is_known_to_be_secret_is_masked_everywhere() {
        let secrets = [
            "hunter2".to_owned(),
            "hunter22".to_owned(),
            "a\"b\"c".to_owned(),
            "abc".to_owned(),
        ];
        let text = "x hunter22 hunter2\n{\"p\":\"a\\\"b\\\"c\"} abc mqtts://me:pw@host/x mqtt://host/a@b\n\
                    -----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\nafter\n";
        assert_eq!(
            scrub(text, &secrets),
            "x *** ***\n{\"p\":\"***\"} abc mqtts://***@host/x mqtt://host/a@b\n***\nafter\n"
        );
    }

    #[test]
    fn references_are_found_in_any_text() {
        let found = references("a: ${env:A}, b: \"${file:x/y}\"\nc: ${cred:c} ${broken ${}");
        assert_eq!(found, [("env", "A"), ("file", "x/y"), ("cred", "c")]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_no_password_of_a_line_stays(text in "[a-z:{}\"'|> #$é\n]{0,80}", word in "[a-zA-Z0-9]{8,12}") {
            mask(&text);
            scrub(&text, std::slice::from_ref(&text));
            for line in [
                format!("{text}\npassword: {word}\n"),
                format!("{text}\n- {{ password: \"{word}\" }}\n"),
                format!("a: {{ password: '{word}', b: c }}\n{text}"),
            ] {
                proptest::prop_assert!(!mask(&line).text.contains(&word), "{line}");
            }
        }
    }
}
