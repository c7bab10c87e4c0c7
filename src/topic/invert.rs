//! Templates the other way round: which topic a template made a topic of, and which topics it makes.
//!
//! Both look at whole levels. A template that puts text beside a placeholder within a level (`dev-{1}`) is not inverted, and
//! makes any level there.

use std::collections::BTreeMap;

use super::template::{Part, Template};
use super::{TopicFilter, TopicName};

/// One level of a template, or all the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    Level(usize),
    From(usize),
    /// Something of both.
    Mixed,
}

impl Template {
    /// The topic that `filter` takes and that the template makes `made` of, where both say all its levels.
    #[must_use]
    pub fn invert(&self, filter: &TopicFilter, made: &TopicName) -> Option<TopicName> {
        let tokens = self.tokens()?;
        let made: Vec<&str> = made.levels().collect();
        let open = tokens.iter().position(|t| matches!(t, Token::From(_)));
        let ends = open.map_or(0, |open| tokens.len() - open - 1);
        let mut levels = BTreeMap::new();
        let mut count = filter.levels().count();
        let mut rest = made.as_slice();
        for token in &tokens {
            if let Token::From(first) = token {
                let taken = rest.len().checked_sub(ends).filter(|taken| *taken > 0)?;
                let (here, after) = rest.split_at(taken);
                levels.extend((*first..).zip(here.iter().copied()));
                count = first + taken - 1;
                rest = after;
                continue;
            }
            let (level, after) = rest.split_first()?;
            rest = after;
            match token {
                Token::Text(text) if text == level => {}
                Token::Level(n) => {
                    levels.insert(*n, level);
                }
                _ => return None,
            }
        }
        let known = |(n, wanted): (usize, Option<&str>)| match levels.get(&n) {
            Some(level) => Some((*level).to_owned()),
            None => wanted
                .filter(|level| !matches!(*level, "+" | "#"))
                .map(str::to_owned),
        };
        let mut wanted = filter.levels();
        let found: Option<Vec<String>> = (1..=count).map(|n| known((n, wanted.next()))).collect();
        let found = TopicName::try_from(found?.join("/")).ok()?;
        let is_it = rest.is_empty()
            && filter.matches(&found)
            && self
                .apply(&found)
                .is_ok_and(|topic| topic.levels().eq(made.iter().copied()));
        is_it.then_some(found)
    }

    /// A filter for all that the template makes of what `filter` takes; `None` where no filter can say it.
    #[must_use]
    pub fn image(&self, filter: &TopicFilter) -> Option<TopicFilter> {
        let tokens = self.tokens()?;
        let levels: Vec<&str> = filter.levels().collect();
        let last = tokens.len() - 1;
        let mut image: Vec<String> = Vec::new();
        for (index, token) in tokens.into_iter().enumerate() {
            match token {
                Token::Text(text) => image.push(text),
                Token::Mixed => image.push("+".to_owned()),
                Token::Level(n) => {
                    let level = levels.get(n - 1).filter(|level| **level != "#");
                    image.push(level.map_or_else(|| "+".to_owned(), |level| (*level).to_owned()));
                }
                Token::From(n) => {
                    let is_open = levels.last() == Some(&"#");
                    if is_open && index < last {
                        return None;
                    }
                    let rest = levels.get(n - 1..).unwrap_or_default();
                    image.extend(rest.iter().map(|level| (*level).to_owned()));
                    if rest.is_empty() {
                        image.push("#".to_owned());
                    }
                }
            }
        }
        TopicFilter::try_from(image.join("/").as_str()).ok()
    }

    /// Whether no two topics become the same: the whole topic is in it.
    #[must_use]
    pub fn is_one_to_one(&self) -> bool {
        let whole = |part: &Part| matches!(part, Part::Whole | Part::LevelsFrom(1));
        self.parts().iter().any(whole)
    }

    /// The template by levels; `None` where it has more than one open end.
    fn tokens(&self) -> Option<Vec<Token>> {
        let mut tokens = vec![None];
        for part in self.parts() {
            match part {
                Part::Text(text) => {
                    for (index, level) in text.split('/').enumerate() {
                        if index > 0 {
                            tokens.push(None);
                        }
                        if !level.is_empty() {
                            put(&mut tokens, Token::Text(level.to_owned()));
                        }
                    }
                }
                Part::Level(n) => put(&mut tokens, Token::Level(*n)),
                Part::Whole => put(&mut tokens, Token::From(1)),
                Part::LevelsFrom(n) => put(&mut tokens, Token::From(*n)),
                Part::Named(_) => return None,
            }
        }
        let empty = || Token::Text(String::new());
        let tokens: Vec<Token> = tokens
            .into_iter()
            .map(|token| token.unwrap_or_else(empty))
            .collect();
        let open = |part: &&Part| matches!(part, Part::Whole | Part::LevelsFrom(_));
        let sound = match self.parts().iter().filter(open).count() {
            0 => true,
            // Text beside it belongs to its first or last level.
            1 => !tokens.contains(&Token::Mixed),
            _ => false,
        };
        sound.then_some(tokens)
    }
}

/// Adds to the last level.
fn put(tokens: &mut [Option<Token>], token: Token) {
    if let Some(last) = tokens.last_mut() {
        *last = Some(match last.take() {
            None => token,
            Some(_) => Token::Mixed,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text, &[], true).unwrap()
    }

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::try_from(text).unwrap()
    }

    #[test]
    fn a_topic_is_traced_back_where_template_and_filter_say_all_of_it() {
        for (text, takes, made, expected) in [
            ("{topic}", "a/#", "a/b", Some("a/b")),
            ("site/{topic}", "gw/#", "site/gw/x/y", Some("gw/x/y")),
            ("site/{topic}", "gw/#", "site/other/x", None),
            ("site/{topic}", "gw/#", "elsewhere/gw/x", None),
            ("up/{3..}", "gw/data/#", "up/x/y", Some("gw/data/x/y")),
            ("up/{3..}", "gw/+/#", "up/x/y", None),
            ("{topic}/up", "gw/#", "gw/x/up", Some("gw/x")),
            ("{2}/{1}", "+/+", "a/b", Some("b/a")),
            ("{2}/{2}", "gw/+", "a/b", None),
            ("fixed", "a/b", "fixed", Some("a/b")),
            ("fixed", "a/+", "fixed", None),
            ("dev-{1}/x", "+", "dev-7/x", None),
        ] {
            let made = TopicName::try_from(made).unwrap();
            let found = template(text).invert(&filter(takes), &made);
            let found = found.as_ref().map(TopicName::as_str);
            assert_eq!(found, expected, "{text} of {takes} made {made}");
        }
    }

    #[test]
    fn the_image_of_a_filter_takes_all_that_the_template_makes() {
        for (text, takes, expected) in [
            ("{topic}", "a/#", Some("a/#")),
            ("site/{topic}", "gw/+/set/+", Some("site/gw/+/set/+")),
            ("up/{3..}", "gw/+/#", Some("up/#")),
            ("up/{2..}", "gw/x", Some("up/x")),
            ("{2}/{1}", "a/+", Some("+/a")),
            ("{2}/x", "a/#", Some("+/x")),
            ("dev-{1}/x", "+", Some("+/x")),
            ("{topic}/x", "a/+", Some("a/+/x")),
            ("{topic}/x", "a/#", None),
            ("pre-{topic}", "a/+", None),
        ] {
            let image = template(text).image(&filter(takes));
            let image = image.as_ref().map(TopicFilter::as_str);
            assert_eq!(image, expected, "{text} of {takes}");
        }
    }
}
