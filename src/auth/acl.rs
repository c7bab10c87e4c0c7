//! Mosquitto's ACL files, with the meaning that Mosquitto 2.0 gives them.
//!
//! - `topic [read|write|readwrite|deny] FILTER` is for the user of the last `user NAME` line; before the first one, for
//!   clients without a user name. A user's `deny` counts before its other lines.
//! - `pattern [...] FILTER` is for all, wherever it stands, and counts after the user's own lines. `%c` is the client's id and
//!   `%u` its user name; a client without one passes over patterns with `%u`. A name with `+` or `#` in it is denied all that
//!   its own lines do not allow; here one that begins with `$` is, too.
//! - Whatever no line allows is denied.
//!
//! Where Mosquitto lets a client subscribe to anything and keeps from it what it may not read, fieldgate refuses the
//! subscription that could bring nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::file::{self, FileError};
use super::patterns::LEVELS_MAX;
use super::rights::{Grant, Layer, Rights};
use crate::topic::{TopicError, TopicFilter};

/// The rules of a file.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    users: HashMap<String, Arc<Layer>>,
    anonymous: Option<Arc<Layer>>,
    patterns: Patterns,
}

#[derive(Clone, Debug)]
enum Patterns {
    /// The same for all clients.
    Shared(Option<Arc<Layer>>),
    /// To be filled in for each.
    Own(Vec<(Grant, TopicFilter)>),
}

impl Default for Patterns {
    fn default() -> Self {
        Self::Shared(None)
    }
}

/// What is wrong with a line, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AclFault {
    /// Another word than these.
    #[error(
        "`{0}` begins no rule; a line is `user NAME`, `topic [read|write|readwrite|deny] FILTER` or `pattern ...`"
    )]
    UnknownWord(String),
    /// `user` and nothing more.
    #[error(
        "`user` needs a name after it; lines for clients without a user name stand before the first `user`"
    )]
    NoUser,
    /// `topic` and nothing more, or only what is allowed.
    #[error("there is no topic filter; write `{0} readwrite FILTER`")]
    NoFilter(String),
    /// What is allowed is none of the four.
    #[error("`{0}` is none of read, write, readwrite, deny")]
    UnknownAccess(String),
    /// The filter is none.
    #[error("`{filter}`: {fault}; a comment stands on a line of its own")]
    BadFilter {
        /// As written.
        filter: String,
        /// Why.
        fault: TopicError,
    },
    /// More than can be taken.
    #[error("the filter has more than {LEVELS_MAX} levels; end it earlier, with `#`")]
    TooDeep,
}

type Rule = (Grant, TopicFilter);

impl Acl {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// Where it cannot be read, and where a line is no rule: with all such lines.
    pub fn read(path: &Path) -> Result<Self, FileError<AclFault>> {
        file::read(path, Self::parse)
    }

    /// The same from its text.
    ///
    /// # Errors
    /// All lines that are no rules, by number from 1.
    pub fn parse(text: &str) -> Result<Self, Vec<(usize, AclFault)>> {
        let mut by_user = HashMap::<Option<String>, Vec<Rule>>::new();
        let mut patterns = Vec::new();
        let mut faults = Vec::new();
        let mut user = None;
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match Line::parse(line) {
                Ok(Line::User(name)) => user = Some(name.to_owned()),
                Ok(Line::Topic(rule)) => by_user.entry(user.clone()).or_default().push(rule),
                Ok(Line::Pattern(rule)) => patterns.push(rule),
                Err(fault) => faults.push((number, fault)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut acl = Self {
            patterns: Patterns::new(patterns),
            ..Self::default()
        };
        for (user, rules) in by_user {
            let layer = Arc::new(compile(&rules));
            match user {
                Some(user) => drop(acl.users.insert(user, layer)),
                None => acl.anonymous = Some(layer),
            }
        }
        Ok(acl)
    }

    pub(super) fn rights(&self, user: Option<&str>, client_id: &str) -> Rights {
        let own = match user {
            Some(user) => self.users.get(user),
            None => self.anonymous.as_ref(),
        };
        let mut ranks: Vec<_> = own.cloned().into_iter().collect();
        if user.into_iter().chain([client_id]).all(is_harmless) {
            ranks.extend(self.patterns.layer(user, client_id));
        }
        Rights::new(ranks, false)
    }
}

impl Patterns {
    fn new(rules: Vec<Rule>) -> Self {
        let asks = |(_, filter): &Rule| ["%c", "%u"].iter().any(|it| filter.as_str().contains(it));
        if rules.iter().any(asks) {
            return Self::Own(rules);
        }
        Self::Shared((!rules.is_empty()).then(|| Arc::new(compile(&rules))))
    }

    fn layer(&self, user: Option<&str>, client_id: &str) -> Option<Arc<Layer>> {
        let rules = match self {
            Self::Shared(layer) => return layer.clone(),
            Self::Own(rules) => rules,
        };
        let mut filled = Vec::with_capacity(rules.len());
        for (grant, filter) in rules {
            let Some(text) = fill(filter.as_str(), user, client_id) else {
                continue;
            };
            // A rule that cannot be kept may be one that denies, so then none of them allows anything.
            let filter = TopicFilter::try_from(&*text).ok().filter(is_shallow)?;
            filled.push((*grant, filter));
        }
        Some(Arc::new(compile(&filled)))
    }
}

enum Line<'a> {
    User(&'a str),
    Topic(Rule),
    Pattern(Rule),
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Result<Self, AclFault> {
        let (word, rest) = split(line);
        match word {
            "user" if rest.is_empty() => Err(AclFault::NoUser),
            "user" => Ok(Self::User(rest)),
            "topic" => Ok(Self::Topic(rule(word, rest)?)),
            "pattern" => Ok(Self::Pattern(rule(word, rest)?)),
            other => Err(AclFault::UnknownWord(other.to_owned())),
        }
    }
}

fn rule(word: &str, rest: &str) -> Result<Rule, AclFault> {
    let (access, filter) = split(rest);
    let grant = match access {
        "read" => Some(Grant::Read),
        "write" => Some(Grant::Publish),
        "readwrite" => Some(Grant::PublishAndRead),
        "deny" => Some(Grant::Nothing),
        _ => None,
    };
    let (grant, filter) = match (grant, filter) {
        // Mosquitto takes `topic read` as a topic named so, which nobody means.
        (_, "") if grant.is_some() || access.is_empty() => {
            return Err(AclFault::NoFilter(word.to_owned()));
        }
        (_, "") => (Grant::PublishAndRead, access),
        (Some(grant), filter) => (grant, filter),
        (None, _) => return Err(AclFault::UnknownAccess(access.to_owned())),
    };
    let filter = TopicFilter::try_from(filter).map_err(|fault| AclFault::BadFilter {
        filter: filter.to_owned(),
        fault,
    })?;
    if !is_shallow(&filter) {
        return Err(AclFault::TooDeep);
    }
    Ok((grant, filter))
}

fn is_shallow(filter: &TopicFilter) -> bool {
    filter.levels().count() <= LEVELS_MAX
}

/// The first word, and what follows it. The rest may have blanks, as topics and names may.
fn split(line: &str) -> (&str, &str) {
    match line.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim()),
        None => (line, ""),
    }
}

fn compile(rules: &[Rule]) -> Layer {
    Layer::new(rules.iter().map(|(grant, filter)| (*grant, filter)))
}

/// `None` where the pattern asks for a user name and there is none.
fn fill(pattern: &str, user: Option<&str>, client_id: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let (value, after) = match after.as_bytes().first() {
            Some(b'c') => (client_id, after.get(1..)),
            Some(b'u') => (user?, after.get(1..)),
            _ => ("%", Some(after)),
        };
        text.push_str(value);
        rest = after.unwrap_or_default();
    }
    text.push_str(rest);
    Some(text)
}

/// Whether a name, filled in, reaches no further than the pattern means. A `/` may be in it, as with Mosquitto.
fn is_harmless(name: &str) -> bool {
    !name.starts_with('$') && !name.contains(['+', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicName;

    /// What the client may do with the topic: `r`, `w`, `rw` or nothing.
    fn may(acl: &Acl, user: Option<&str>, client_id: &str, topic: &str) -> String {
        let rights = acl.rights(user, client_id);
        let topic = TopicName::try_from(topic).unwrap();
        let read = if rights.may_read(&topic) { "r" } else { "" };
        let write = if rights.may_publish(&topic) { "w" } else { "" };
        format!("{read}{write}")
    }

    const FILE: &str = "\
# anonymous
topic read open/#

user plc7
topic plant/plc7/#
topic deny plant/plc7/secret
topic read plant/all
  topic write  with blank/x
topic read $SYS/#
pattern write clients/%c/state
user hmi
pattern readwrite users/%u/#
pattern deny users/%u/no
topic read users/hmi/no
topic read #
user plc7
topic write more
";

    #[test]
    fn lines_are_for_the_user_above_them_and_patterns_for_all() {
        let acl = Acl::parse(FILE).unwrap();
        for (user, topic, expected) in [
            (None, "open/x", "r"),
            (None, "plant/plc7/x", ""),
            (None, "clients/c1/state", "w"),
            (None, "users//x", ""),
            (Some("plc7"), "open/x", ""),
            (Some("plc7"), "plant/plc7/x", "rw"),
            (Some("plc7"), "plant/plc7/secret", ""),
            (Some("plc7"), "plant/all", "r"),
            (Some("plc7"), "with blank/x", "w"),
            (Some("plc7"), "more", "w"),
            (Some("plc7"), "$SYS/x", "r"),
            (Some("plc7"), "clients/c1/state", "w"),
            (Some("plc7"), "clients/c2/state", ""),
            (Some("plc7"), "users/plc7/x", "rw"),
            (Some("plc7"), "users/plc7/no", ""),
            (Some("hmi"), "users/hmi/no", "r"),
            (Some("hmi"), "$SYS/x", ""),
            (Some("nobody"), "users/nobody/x", "rw"),
            (Some("nobody"), "open/x", ""),
        ] {
            assert_eq!(may(&acl, user, "c1", topic), expected, "{user:?} {topic}");
        }
    }

    #[test]
    fn names_that_would_widen_a_pattern_get_nothing_of_it() {
        let acl = Acl::parse("user a+\ntopic x\npattern %c/#\npattern u/%u\npattern y").unwrap();
        assert_eq!(may(&acl, Some("ok"), "c", "c/1"), "rw");
        assert_eq!(may(&acl, Some("ok"), "c/d", "c/d/1"), "rw");
        assert_eq!(may(&acl, Some("ok"), "c", "y"), "rw");
        for (user, client_id) in [("ok", "+"), ("ok", "#"), ("a+", "c"), ("ok", "$SYS")] {
            for topic in ["c/1", "u/ok", "y", "$SYS/1"] {
                assert_eq!(
                    may(&acl, Some(user), client_id, topic),
                    "",
                    "{user} {client_id} {topic}"
                );
            }
        }
        assert_eq!(may(&acl, Some("a+"), "c", "x"), "rw");
        let slashes = "/".repeat(60_000);
        assert_eq!(may(&acl, Some("ok"), &slashes, "y"), "");
    }

    #[test]
    fn all_faults_are_told_with_their_lines() {
        let faults = Acl::parse(
            "topic\ntopic read\nuser\ntopics a\ntopic raed a\ntopic a/#/b\ntopic read a # why\ntopic ok\n\
             pattern\n",
        )
        .unwrap_err();
        let told: Vec<String> = faults
            .iter()
            .map(|(line, fault)| format!("{line}: {fault}"))
            .collect();
        assert_eq!(
            told,
            [
                "1: there is no topic filter; write `topic readwrite FILTER`",
                "2: there is no topic filter; write `topic readwrite FILTER`",
                "3: `user` needs a name after it; lines for clients without a user name stand before the first `user`",
                "4: `topics` begins no rule; a line is `user NAME`, `topic [read|write|readwrite|deny] FILTER` or `pattern ...`",
                "5: `raed` is none of read, write, readwrite, deny",
                "6: `a/#/b`: `#` must be the last level and a level of its own; a comment stands on a line of its own",
                "7: `a # why`: `#` must be the last level and a level of its own; a comment stands on a line of its own",
                "9: there is no topic filter; write `pattern readwrite FILTER`",
            ]
        );
    }
}
