//! What of the file is shown with a fault, and how: never a password, never what a terminal would obey.

use super::secrecy::secret_in;

/// The widest excerpt, in characters.
const EXCERPT_MAX: usize = 110;

/// A line of the file and what in it is meant; safe to print on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, or the part of it around the fault.
    pub text: String,
    /// Characters before the fault.
    pub indent: usize,
    /// Characters of the fault, at least 1.
    pub width: usize,
}

impl Excerpt {
    /// The excerpt of `line` whose fault is the token at `column` (from 1).
    pub(super) fn new(line: &str, column: usize) -> Self {
        let line = concealed(line);
        let letters: Vec<char> = line.chars().collect();
        let indent = column.saturating_sub(1).min(letters.len());
        let width = token_width(letters.get(indent..).unwrap_or_default());
        let cut = if indent + width > EXCERPT_MAX {
            indent.saturating_sub(EXCERPT_MAX / 3)
        } else {
            0
        };
        let text: String = letters
            .iter()
            .skip(cut)
            .take(EXCERPT_MAX)
            .map(|letter| printable(*letter))
            .collect();
        let indent = indent - cut;
        Self {
            text: text.trim_end().to_owned(),
            indent,
            width: width.min(EXCERPT_MAX.saturating_sub(indent)).max(1),
        }
    }
}

/// What stands in an excerpt for a character that a terminal would obey.
fn printable(letter: char) -> char {
    match letter {
        '\t' => '→',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}

/// A text from the file as part of a message: on one line, short, without control characters.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(60).map(printable).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

/// A path as part of a fault: on one line, without control characters.
pub(super) fn quoted_path(path: &str) -> String {
    path.chars().take(300).map(printable).collect()
}

/// The line without a password: what follows such a key, and the user part of a URL. A reference may stand.
fn concealed(line: &str) -> String {
    let mut line = line.to_owned();
    if let Some((scheme, rest)) = line.split_once("://")
        && let Some((_, host)) = rest.rsplit_once('@')
    {
        line = format!("{scheme}://***@{host}");
    }
    let Some((_, at)) = secret_in(&line) else {
        return line;
    };
    let (before, value) = line.split_at(at);
    let bare = value.trim_start_matches(['"', '\'']);
    if bare.is_empty() || bare.starts_with("${") {
        return line;
    }
    format!("{before}***")
}

/// How many characters the key or scalar at the start of `rest` has.
fn token_width(rest: &[char]) -> usize {
    if matches!(rest.first(), Some('{' | '[' | '\t')) {
        return 1;
    }
    let quote = rest.first().filter(|first| matches!(first, '"' | '\''));
    if let Some(quote) = quote {
        let closing = rest.iter().skip(1).position(|letter| letter == quote);
        return closing.map_or(rest.len(), |position| position + 2);
    }
    let ends = |index: usize, letter: char| {
        let next = rest.get(index + 1);
        let breaks = next.is_none_or(|next| next.is_whitespace());
        match letter {
            ':' | ',' => breaks,
            '}' | ']' => index > 0,
            '#' => {
                index > 0
                    && rest
                        .get(index - 1)
                        .is_some_and(|before| before.is_whitespace())
            }
            _ => false,
        }
    };
    let end = rest
        .iter()
        .enumerate()
        .find(|(index, letter)| ends(*index, **letter))
        .map_or(rest.len(), |(index, _)| index);
    let token = rest.get(..end).unwrap_or_default();
    let blanks = token
        .iter()
        .rev()
        .take_while(|letter| letter.is_whitespace());
    token.len() - blanks.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(line: &str, column: usize) -> String {
        let excerpt = Excerpt::new(line, column);
        excerpt
            .text
            .chars()
            .skip(excerpt.indent)
            .take(excerpt.width)
            .collect()
    }

    #[test]
    fn the_caret_covers_one_key_or_scalar() {
        assert_eq!(marked("  retries: 3 # why", 3), "retries");
        assert_eq!(marked("  retries: 3 # why", 12), "3");
        assert_eq!(marked("  - { name: a b, type: int16 }", 13), "a b");
        assert_eq!(marked("  bind: 127.0.0.1:1883", 9), "127.0.0.1:1883");
        assert_eq!(marked("  bind: \"[::1]:1883\" # x", 9), "\"[::1]:1883\"");
        assert_eq!(marked("x", 9), "");
    }

    #[test]
    fn an_excerpt_shows_no_password_and_obeys_no_terminal() {
        assert_eq!(
            Excerpt::new("  password: hunter2", 3).text,
            "  password: ***"
        );
        assert_eq!(Excerpt::new("  passwd: x, b: c", 3).text, "  passwd: ***");
        assert_eq!(Excerpt::new("  pasword: hunter2", 3).text, "  pasword: ***");
        assert_eq!(
            Excerpt::new("  url: mqtts://me:pw@host", 8).text,
            "  url: mqtts://***@host"
        );
        assert_eq!(
            Excerpt::new("  password: ${env:P}", 3).text,
            "  password: ${env:P}"
        );
        assert_eq!(Excerpt::new("\ta: \x1b[31m", 1).text, "→a: \u{fffd}[31m");
        let long = format!("{}key: value", " ".repeat(500));
        let excerpt = Excerpt::new(&long, 501);
        assert!(excerpt.text.chars().count() <= EXCERPT_MAX);
        assert_eq!(marked(&long, 501), "key");
    }
}
