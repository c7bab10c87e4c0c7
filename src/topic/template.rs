//! Topic templates: `site/berlin/{topic}`, `{gateway}/{device}/{group}`, `{3..}`.

use std::fmt;

use super::{TopicError, TopicName};

/// A text with placeholders, checked when it is made. `{topic}` stands for the whole topic of a message, `{1}` `{2}`
/// for its levels counted from 1, `{3..}` for the third level to the last, any other `{name}` for a named value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Whole,
    Level(usize),
    LevelsFrom(usize),
    Named(String),
}

/// Why a template is none, or gives no topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{` without its `}`, or the other way round.
    #[error("`{{` and `}}` come in pairs")]
    Unbalanced,
    /// A placeholder that means nothing here.
    #[error("`{{{0}}}` is no placeholder here; known are {1}")]
    Unknown(String, String),
    /// Levels count from 1.
    #[error("levels count from 1")]
    LevelZero,
    /// The message's topic has no such level.
    #[error("the topic has no level {0}")]
    NoSuchLevel(usize),
    /// The result is no Topic Name.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

impl Template {
    /// Reads a template. `named` lists the names that may stand in braces; `levels` says whether `{topic}`, `{1}` and
    /// `{1..}` may.
    ///
    /// # Errors
    /// Where braces are unbalanced or a placeholder is unknown.
    pub fn parse(text: &str, named: &[&str], levels: bool) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            push_text(&mut parts, literal)?;
            let (name, after) = tail.split_once('}').ok_or(TemplateError::Unbalanced)?;
            parts.push(Part::placeholder(name, named, levels)?);
            rest = after;
        }
        push_text(&mut parts, rest)?;
        Ok(Self { parts })
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The template with every named value for which `value` has an answer filled in; the others stay.
    #[must_use]
    pub fn fill(&self, value: impl Fn(&str) -> Option<String>) -> Self {
        let parts = self.parts.iter().map(|part| match part {
            Part::Named(name) => value(name).map_or_else(|| part.clone(), Part::Text),
            other => other.clone(),
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// The text that results where no placeholder is left, else `None`.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.parts
            .iter()
            .map(|part| {
                if let Part::Text(text) = part {
                    Some(text.as_str())
                } else {
                    None
                }
            })
            .collect()
    }

    /// The topic that the template makes of `topic`.
    ///
    /// # Errors
    /// Where the topic lacks a level that the template asks for, a named value was not filled in, or the result is no
    /// Topic Name.
    pub fn apply(&self, topic: &TopicName) -> Result<TopicName, TemplateError> {
        if matches!(self.parts.as_slice(), [Part::Whole]) {
            return Ok(topic.clone());
        }
        let mut made = String::with_capacity(topic.as_str().len() + 16);
        for part in &self.parts {
            match part {
                Part::Text(text) => made.push_str(text),
                Part::Whole => made.push_str(topic.as_str()),
                Part::Level(n) => made.push_str(level(topic, *n)?),
                Part::LevelsFrom(n) => made.push_str(levels_from(topic, *n)?),
                Part::Named(name) => {
                    return Err(TemplateError::Unknown(name.clone(), String::new()));
                }
            }
        }
        Ok(TopicName::try_from(made)?)
    }
}

impl fmt::Display for Template {
    /// As it was written.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => formatter.write_str(text),
            Part::Whole => formatter.write_str("{topic}"),
            Part::Level(n) => write!(formatter, "{{{n}}}"),
            Part::LevelsFrom(n) => write!(formatter, "{{{n}..}}"),
            Part::Named(name) => write!(formatter, "{{{name}}}"),
        })
    }
}

impl Part {
    fn placeholder(name: &str, named: &[&str], levels: bool) -> Result<Self, TemplateError> {
        if named.contains(&name) {
            return Ok(Self::Named(name.to_owned()));
        }
        if levels {
            let (digits, open) = name
                .strip_suffix("..")
                .map_or((name, false), |digits| (digits, true));
            match digits.parse::<usize>() {
                Ok(0) => return Err(TemplateError::LevelZero),
                Ok(n) if open => return Ok(Self::LevelsFrom(n)),
                Ok(n) => return Ok(Self::Level(n)),
                Err(_) if name == "topic" => return Ok(Self::Whole),
                Err(_) => {}
            }
        }
        let mut known: Vec<String> = named.iter().map(|name| format!("{{{name}}}")).collect();
        if levels {
            known.extend(["{topic}", "{1}", "{1..}"].map(str::to_owned));
        }
        Err(TemplateError::Unknown(name.to_owned(), known.join(" ")))
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), TemplateError> {
    if text.contains('}') {
        return Err(TemplateError::Unbalanced);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

fn level(topic: &TopicName, n: usize) -> Result<&str, TemplateError> {
    topic
        .levels()
        .nth(n - 1)
        .ok_or(TemplateError::NoSuchLevel(n))
}

fn levels_from(topic: &TopicName, n: usize) -> Result<&str, TemplateError> {
    topic
        .as_str()
        .splitn(n, '/')
        .nth(n - 1)
        .ok_or(TemplateError::NoSuchLevel(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(template: &str, topic: &str) -> Result<String, TemplateError> {
        let template = Template::parse(template, &["gateway"], true)?;
        let template = template.fill(|name| (name == "gateway").then(|| "g1".to_owned()));
        Ok(template
            .apply(&TopicName::try_from(topic).unwrap())?
            .to_string())
    }

    #[test]
    fn placeholders_take_levels_of_the_topic() {
        assert_eq!(applied("site/{topic}", "a/b").unwrap(), "site/a/b");
        assert_eq!(applied("{2}/{1}/{gateway}", "a/b").unwrap(), "b/a/g1");
        assert_eq!(applied("x/{3..}", "a/b/c/d").unwrap(), "x/c/d");
        assert_eq!(applied("{topic}", "a").unwrap(), "a");
        assert_eq!(applied("{3..}", "a/b"), Err(TemplateError::NoSuchLevel(3)));
        assert_eq!(applied("{0}", "a"), Err(TemplateError::LevelZero));
    }

    #[test]
    fn a_template_is_shown_as_it_was_written() {
        for text in ["site/{topic}", "{2}/{1}/x{gateway}", "a/{3..}"] {
            let template = Template::parse(text, &["gateway"], true).unwrap();
            assert_eq!(template.to_string(), text);
        }
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(applied("{a", "a"), Err(TemplateError::Unbalanced));
        assert_eq!(applied("a}", "a"), Err(TemplateError::Unbalanced));
        let unknown = applied("{devise}", "a").unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "`{devise}` is no placeholder here; known are {gateway} {topic} {1} {1..}"
        );
    }

    #[test]
    fn a_filled_template_is_text() {
        let template = Template::parse("{gateway}/x", &["gateway"], false).unwrap();
        assert_eq!(template.text(), None);
        assert_eq!(
            template.fill(|_| Some("g".to_owned())).text().as_deref(),
            Some("g/x")
        );
    }
}
