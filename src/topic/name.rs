//! Topic Names: what a message is published to.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::{Levels, TOPIC_BYTES_MAX, TopicError, check, is_reserved};

/// A checked Topic Name: 1 to 65535 bytes of UTF-8 without U+0000, `+` and `#`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(ByteString);

impl TopicName {
    /// Checks `text`; it is kept as the slice it is, so a name pins the buffer it was read into (see [`Self::compact`]).
    ///
    /// # Errors
    /// Says which rule of section 4.7 the text breaks.
    pub fn new(text: ByteString) -> Result<Self, TopicError> {
        if text.is_empty() || text.len() > TOPIC_BYTES_MAX || has_banned(text.as_bytes()) {
            check(&text)?;
            return Err(TopicError::WildcardInName);
        }
        Ok(Self(text))
    }

    /// The same from bytes as they were read.
    ///
    /// # Errors
    /// As [`Self::new`], and where the bytes are no UTF-8.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, TopicError> {
        Self::new(ByteString::try_from(bytes).map_err(|_| TopicError::NotUtf8)?)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes, shared.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }

    /// The levels between the slashes; `/` has two empty ones.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        Levels::of(&self.0)
    }

    /// Whether it has more levels than `levels`.
    #[must_use]
    #[inline]
    pub fn is_deeper_than(&self, levels: usize) -> bool {
        self.0.len() >= levels && self.levels().count() > levels
    }

    /// Whether it starts with `$`, so that `#` and `+/...` do not match it [MQTT-4.7.2-1].
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }

    /// A copy with storage of its own: what is kept for long must not pin the buffer it was read into.
    #[must_use]
    pub fn compact(&self) -> Self {
        Self(ByteString::from(&*self.0))
    }

    /// The same of a name and what belongs to it, in one piece of memory: many are kept, and each piece costs its head.
    #[must_use]
    pub fn compact_with(&self, payload: &[u8]) -> (Self, Bytes) {
        let mut piece = Vec::with_capacity(self.0.len() + payload.len());
        piece.extend_from_slice(self.as_bytes());
        piece.extend_from_slice(payload);
        let mut name = Bytes::from(piece);
        let payload = name.split_off(self.0.len());
        // It was text before; nothing less than unsafe code takes that for granted.
        let name = ByteString::try_from(name).map_or_else(|_| self.compact(), Self);
        (name, payload)
    }
}

/// Whether U+0000, `+` or `#` is in it. Every PUBLISH that is decoded passes here, so eight bytes at a time without a
/// branch for each; the last eight overlap the ones before.
fn has_banned(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<8>() else {
        return text.iter().any(|byte| matches!(byte, 0 | b'+' | b'#'));
    };
    let (eights, _) = text.as_chunks::<8>();
    let eights = eights.iter().chain([last]);
    let found = eights.fold(0, |found, eight| {
        let word = u64::from_le_bytes(*eight);
        found
            | zeroes(word)
            | zeroes(word ^ (EACH * u64::from(b'+')))
            | zeroes(word ^ (EACH * u64::from(b'#')))
    });
    found != 0
}

/// 1 in each of eight bytes.
const EACH: u64 = 0x0101_0101_0101_0101;

/// Not 0 exactly where one of the eight bytes is 0: only there does taking 1 from each of them set a highest bit that
/// was not set.
fn zeroes(word: u64) -> u64 {
    word.wrapping_sub(EACH) & !word & (EACH << 7)
}

impl TryFrom<&str> for TopicName {
    type Error = TopicError;

    fn try_from(text: &str) -> Result<Self, TopicError> {
        Self::new(ByteString::from(text))
    }
}

impl TryFrom<String> for TopicName {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        Self::new(ByteString::from(text))
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_4_7_3_topic_names_are_checked() {
        assert_eq!(TopicName::try_from(""), Err(TopicError::Empty));
        assert_eq!(TopicName::try_from("a\0b"), Err(TopicError::Null));
        assert_eq!(TopicName::try_from("a/+"), Err(TopicError::WildcardInName));
        assert_eq!(TopicName::try_from("a#"), Err(TopicError::WildcardInName));
        assert_eq!(
            TopicName::try_from("x".repeat(65_536)),
            Err(TopicError::TooLong)
        );
        assert_eq!(
            TopicName::from_bytes(Bytes::from_static(b"\xff")),
            Err(TopicError::NotUtf8)
        );
        assert!(TopicName::try_from("x".repeat(65_535)).is_ok());
        assert!(TopicName::try_from("/ a//b").is_ok());
    }

    #[test]
    fn what_is_banned_is_found_wherever_it_stands_and_nothing_else_is() {
        for len in 0..40 {
            for byte in 0..=u8::MAX {
                let mut text = vec![byte; len];
                let banned = matches!(byte, 0 | b'+' | b'#');
                assert_eq!(has_banned(&text), banned && len > 0, "{byte} x {len}");
                for (place, other) in (0..len).flat_map(|place| [(place, 0), (place, b'+')]) {
                    text[place] = other;
                    assert!(has_banned(&text), "{other} at {place} of {text:?}");
                    text[place] = byte;
                }
            }
        }
    }

    #[test]
    fn levels_may_be_empty() {
        let name = TopicName::try_from("/a//").unwrap();
        assert_eq!(name.levels().collect::<Vec<_>>(), ["", "a", "", ""]);
    }
}
