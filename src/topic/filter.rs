//! Topic Filters: what a subscription asks for, with `+` for one level and `#` for the rest.

use std::fmt;

use bytestring::ByteString;

use super::{Levels, TopicError, TopicName, check, is_reserved};

/// A checked Topic Filter, without the `$share` prefix (see [`SharedFilter`]). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(ByteString);

/// `$share/NAME/FILTER` taken apart (MQTT 5 section 4.8.2); `share` is `None` for an ordinary subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedFilter {
    /// The ShareName.
    pub share: Option<ByteString>,
    /// The filter that remains.
    pub filter: TopicFilter,
}

impl TopicFilter {
    /// Checks `text`.
    ///
    /// # Errors
    /// Says which rule of section 4.7 the text breaks.
    pub fn new(text: ByteString) -> Result<Self, TopicError> {
        check(&text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(TopicError::MultiLevelNotLast);
            }
            if level.contains('+') && level != "+" {
                return Err(TopicError::SingleLevelNotAlone);
            }
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A copy with storage of its own: what is kept for long must not pin the buffer it was read into.
    #[must_use]
    pub fn compact(&self) -> Self {
        Self(ByteString::from(&*self.0))
    }

    /// The levels between the slashes.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        Levels::of(&self.0)
    }

    /// Whether `name` matches [MQTT-4.7]: `#` also matches the level above it, and no leading wildcard matches a `$`
    /// topic.
    #[must_use]
    pub fn matches(&self, name: &TopicName) -> bool {
        if name.is_reserved() && !is_reserved(&self.0) {
            return false;
        }
        let mut levels = name.levels();
        for wanted in self.levels() {
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// Whether some topic name matches both filters.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (reserved, other_reserved) = (is_reserved(&self.0), is_reserved(&other.0));
        if reserved != other_reserved {
            return false;
        }
        let (mut ours, mut theirs) = (self.levels(), other.levels());
        loop {
            match (ours.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
                _ => return false,
            }
        }
    }

    /// Whether this takes every topic that `narrow` takes.
    #[must_use]
    pub fn covers(&self, narrow: &Self) -> bool {
        if is_reserved(&self.0) != is_reserved(&narrow.0) {
            return false;
        }
        let (mut wide, mut narrow) = (self.levels(), narrow.levels());
        loop {
            match (wide.next(), narrow.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(level)) if level != "#" => {}
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    }

    /// Whether the filter has a wildcard.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.levels().any(|level| level == "+" || level == "#")
    }
}

impl SharedFilter {
    /// Takes a filter as SUBSCRIBE carries it apart.
    ///
    /// # Errors
    /// As [`TopicFilter::new`], and where `$share` has no proper name or filter.
    pub fn parse(text: &ByteString) -> Result<Self, TopicError> {
        let Some(rest) = text.strip_prefix("$share/") else {
            return Ok(Self {
                share: None,
                filter: TopicFilter::new(text.clone())?,
            });
        };
        let (name, filter) = rest.split_once('/').ok_or(TopicError::ShareName)?;
        if name.is_empty() || name.contains(['+', '#']) {
            return Err(TopicError::ShareName);
        }
        Ok(Self {
            share: Some(text.slice_ref(name)),
            filter: TopicFilter::new(text.slice_ref(filter))?,
        })
    }
}

impl TryFrom<&str> for TopicFilter {
    type Error = TopicError;

    fn try_from(text: &str) -> Result<Self, TopicError> {
        Self::new(ByteString::from(text))
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::try_from(text).unwrap()
    }

    #[test]
    fn mqtt_4_7_1_wildcards_stand_alone() {
        for bad in ["a/#/b", "a#", "#/a", "##"] {
            assert_eq!(
                TopicFilter::try_from(bad),
                Err(TopicError::MultiLevelNotLast),
                "{bad}"
            );
        }
        for bad in ["a+", "+a/b", "a/++"] {
            assert_eq!(
                TopicFilter::try_from(bad),
                Err(TopicError::SingleLevelNotAlone),
                "{bad}"
            );
        }
        assert_eq!(TopicFilter::try_from(""), Err(TopicError::Empty));
    }

    #[test]
    fn mqtt_4_7_filters_match_as_the_standards_examples() {
        let cases = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
                true,
            ),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/a", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a", "A", false),
        ];
        for (pattern, name, expected) in cases {
            let name = TopicName::try_from(name).unwrap();
            assert_eq!(filter(pattern).matches(&name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn filters_overlap_where_one_name_matches_both() {
        let cases = [
            ("a/+", "+/b", true),
            ("a/#", "a", true),
            ("a/b", "a/c", false),
            ("#", "$SYS/#", false),
            ("a/+/c", "a/#", true),
            ("a/+", "a/b/c", false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(
                filter(one).overlaps(&filter(other)),
                expected,
                "{one} {other}"
            );
            assert_eq!(
                filter(other).overlaps(&filter(one)),
                expected,
                "{other} {one}"
            );
        }
    }

    #[test]
    fn a_wide_filter_covers_a_narrow_one() {
        let cases = [
            ("#", "a/b", true),
            ("a/#", "a", true),
            ("a/+", "a/b", true),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("a/#", "a/+/c/#", true),
            ("#", "$SYS/#", false),
            ("a/b/c", "a/b", false),
        ];
        for (wide, narrow, expected) in cases {
            let covers = filter(wide).covers(&filter(narrow));
            assert_eq!(covers, expected, "{wide} {narrow}");
        }
    }

    #[test]
    fn mqtt_4_8_2_shared_filters() {
        let shared = SharedFilter::parse(&ByteString::from("$share/pool/a/+")).unwrap();
        assert_eq!(shared.share.as_deref(), Some("pool"));
        assert_eq!(shared.filter, filter("a/+"));
        for bad in ["$share/pool", "$share//a", "$share/p+/a"] {
            assert_eq!(
                SharedFilter::parse(&ByteString::from(bad)),
                Err(TopicError::ShareName),
                "{bad}"
            );
        }
        assert_eq!(
            SharedFilter::parse(&ByteString::from("$share/p/")),
            Err(TopicError::Empty)
        );
    }
}
