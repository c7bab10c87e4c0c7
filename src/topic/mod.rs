//! Topic Names and Topic Filters (MQTT 5 section 4.7, MQTT 3.1.1 section 4.7), and the templates that make topics.
//!
//! Two types, because they are two things: a message is published to a [`TopicName`], a subscription asks with a
//! [`TopicFilter`]. Both are checked once, when they are made, and are slices of what was read (no copy). No I/O.

mod filter;
mod invert;
mod name;
mod template;

pub use filter::{SharedFilter, TopicFilter};
pub use name::TopicName;
pub use template::{Template, TemplateError};

/// Longest topic the protocol can carry, in bytes of UTF-8 (a two byte length precedes it).
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Why a text is not a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// [MQTT-4.7.3-1]: at least one character.
    #[error("a topic needs at least one character")]
    Empty,
    /// [MQTT-4.7.3-3]: longer than [`TOPIC_BYTES_MAX`].
    #[error("a topic holds at most 65535 bytes")]
    TooLong,
    /// [MQTT-4.7.3-2]: contains U+0000.
    #[error("a topic cannot contain the null character")]
    Null,
    /// [MQTT-3.3.2-2]: `+` or `#` in a Topic Name.
    #[error("a message is published to one topic: `+` and `#` are for subscriptions")]
    WildcardInName,
    /// [MQTT-4.7.1-1]: `#` stands for the rest, so it is a level of its own and the last.
    #[error("`#` must be the last level and a level of its own")]
    MultiLevelNotLast,
    /// [MQTT-4.7.1-2]: `+` must be a level of its own.
    #[error("`+` must be a level of its own")]
    SingleLevelNotAlone,
    /// MQTT 5 section 4.8.2: `$share/NAME/FILTER` with a name without `/`, `+`, `#`.
    #[error("a shared subscription reads $share/NAME/FILTER, NAME without / + #")]
    ShareName,
    /// Not UTF-8.
    #[error("a topic is UTF-8 text")]
    NotUtf8,
}

/// Whether a topic or filter starts with `$`: reserved, and out of reach of a leading wildcard [MQTT-4.7.2-1].
fn is_reserved(text: &str) -> bool {
    text.starts_with('$')
}

/// The first level of a name or filter, and what is behind its slash. As [`str::split_once`], but see [`Levels`].
#[inline]
pub(crate) fn split_level(text: &str) -> (&str, Option<&str>) {
    let slash = text.bytes().position(|byte| byte == b'/');
    match slash.and_then(|at| text.split_at_checked(at)) {
        Some((level, rest)) => (level, rest.get(1..)),
        None => (text, None),
    }
}

/// The levels of a name or filter. By hand, because every PUBLISH passes here several times, and a level is so short that
/// the search of the standard library is mostly its own beginning.
#[derive(Clone, Debug)]
struct Levels<'a> {
    rest: Option<&'a str>,
}

impl<'a> Levels<'a> {
    fn of(text: &'a str) -> Self {
        Self { rest: Some(text) }
    }
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let (level, rest) = split_level(self.rest?);
        self.rest = rest;
        Some(level)
    }

    /// Without a look at each of them.
    #[inline]
    fn count(self) -> usize {
        let slashes = |text: &str| text.bytes().filter(|&byte| byte == b'/').count();
        self.rest.map_or(0, |text| slashes(text) + 1)
    }
}

/// What names and filters have in common.
fn check(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    if text.contains('\0') {
        return Err(TopicError::Null);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_what_stands_between_the_slashes() {
        for text in ["a", "a/b", "/", "/a", "a/", "//", "ä/ö/ü", "#", "a/+/b"] {
            let expected: Vec<_> = text.split('/').collect();
            assert_eq!(Levels::of(text).collect::<Vec<_>>(), expected);
            assert_eq!(Levels::of(text).count(), expected.len());
        }
    }
}
