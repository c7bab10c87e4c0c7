//! Who may do what: the rules of the configuration, and from them the rights of one client. No I/O.
//!
//! - Without any rule a user may do everything, and so may an anonymous client but for commands to devices and `$SYS`.
//! - With rules, a user that none of them names may do nothing.
//! - Nobody publishes to `$SYS` unless a rule says `$SYS` in so many words; the one exception is where a bridge of
//!   Mosquitto's tells how it is, for its will lies there and it could not connect.
//!
//! What does not depend on the client is compiled once and shared by all of them.

use std::path::PathBuf;
use std::sync::Arc;

use super::acl::Acl;
use super::rights::{Grant, Layer, Rights};
use crate::topic::{Template, TopicError, TopicFilter};

/// Where the rules are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessOptions {
    /// There are none.
    #[default]
    NoRules,
    /// In the configuration.
    Entries(Vec<AccessEntry>),
    /// In a Mosquitto ACL file.
    MosquittoAcl(PathBuf),
}

/// A rule of the configuration: who, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    /// Whom it is about.
    pub who: Who,
    /// Filters of what may be published to; `{user}` and `{client_id}` ([`PLACEHOLDERS`]) are filled in.
    pub publish: Vec<Template>,
    /// Filters of what may be read.
    pub subscribe: Vec<Template>,
}

/// Whom an entry is about. Several that are about a client add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// This user.
    User(String),
    /// Every client with a user name.
    AnyUser,
    /// Whoever calls itself so; a ClientId is claimed, not proven.
    ClientId(String),
    /// Every client.
    Anyone,
    /// Clients without a user name.
    Anonymous,
}

/// What may stand in braces in a rule.
pub const PLACEHOLDERS: [&str; 2] = ["user", "client_id"];

/// The rules for all clients.
#[derive(Clone, Debug, Default)]
pub struct Access {
    book: Book,
    common: Option<Common>,
}

#[derive(Clone, Debug, Default)]
enum Book {
    /// No rules.
    #[default]
    None,
    Entries(Vec<Compiled>),
    Acl(Acl),
}

/// Rights that many clients have.
#[derive(Clone, Debug)]
struct Common {
    /// Of users where there are no rules.
    user: Arc<Rights>,
    /// Of anonymous clients that no rule is about.
    anonymous: Arc<Rights>,
    nothing: Arc<Rights>,
}

#[derive(Clone, Debug)]
struct Compiled {
    who: Who,
    /// What is the same for all clients.
    shared: Option<Arc<Layer>>,
    /// What is not.
    own: Vec<(Grant, Template)>,
}

impl Access {
    /// Everybody may do everything, `$SYS` included: for a broker that no configuration is about.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// No rules but those that hold without any.
    ///
    /// # Errors
    /// Where `gateway`, the first level of the gateway's topics, is no level of a topic.
    pub fn without_rules(gateway: &str) -> Result<Self, TopicError> {
        Ok(Self {
            book: Book::None,
            common: Some(Common::new(gateway)?),
        })
    }

    /// The rules of `broker.access`.
    ///
    /// # Errors
    /// As [`Self::without_rules`].
    pub fn with_entries(gateway: &str, entries: &[AccessEntry]) -> Result<Self, TopicError> {
        Ok(Self {
            book: Book::Entries(entries.iter().map(Compiled::new).collect()),
            common: Some(Common::new(gateway)?),
        })
    }

    /// The rules of a Mosquitto ACL file.
    ///
    /// # Errors
    /// As [`Self::without_rules`].
    pub fn with_acl(gateway: &str, acl: Acl) -> Result<Self, TopicError> {
        Ok(Self {
            book: Book::Acl(acl),
            common: Some(Common::new(gateway)?),
        })
    }

    /// What this client may do; `None`: everything.
    #[must_use]
    pub fn rights(&self, user: Option<&str>, client_id: &str) -> Option<Arc<Rights>> {
        let common = self.common.as_ref()?;
        Some(match &self.book {
            Book::None if user.is_some() => Arc::clone(&common.user),
            Book::None => Arc::clone(&common.anonymous),
            Book::Entries(entries) => common.by_entries(entries, user, client_id),
            Book::Acl(acl) => Arc::new(acl.rights(user, client_id)),
        })
    }
}

impl Common {
    fn new(gateway: &str) -> Result<Self, TopicError> {
        let bridges = TopicFilter::try_from("$SYS/broker/connection/+/state")?;
        let sys = TopicFilter::try_from("$SYS/#")?;
        let commands = TopicFilter::try_from(&*format!("{gateway}/+/set/#"))?;
        let bridges = Arc::new(Layer::new([(Grant::Publish, &bridges)]));
        let user = Layer::new([(Grant::NoPublish, &sys)]);
        let anonymous = Layer::new([(Grant::Nothing, &sys), (Grant::NoPublish, &commands)]);
        let rights = |layer| {
            Arc::new(Rights::new(
                vec![Arc::clone(&bridges), Arc::new(layer)],
                true,
            ))
        };
        Ok(Self {
            user: rights(user),
            anonymous: rights(anonymous),
            nothing: Arc::new(Rights::new(Vec::new(), false)),
        })
    }

    fn by_entries(&self, entries: &[Compiled], user: Option<&str>, client_id: &str) -> Arc<Rights> {
        let about = |entry: &&Compiled| entry.who.is(user, client_id);
        if !entries.iter().any(|entry| about(&entry)) {
            let common = if user.is_some() {
                &self.nothing
            } else {
                &self.anonymous
            };
            return Arc::clone(common);
        }
        let mut ranks = Vec::new();
        let mut own = Vec::new();
        for entry in entries.iter().filter(about) {
            ranks.extend(entry.shared.clone());
            let filled = entry
                .own
                .iter()
                .filter_map(|(grant, template)| Some((*grant, fill(template, user, client_id)?)));
            own.extend(filled);
        }
        if !own.is_empty() {
            ranks.push(Arc::new(Layer::new(
                own.iter().map(|(grant, filter)| (*grant, filter)),
            )));
        }
        Arc::new(Rights::new(ranks, false))
    }
}

impl Compiled {
    fn new(entry: &AccessEntry) -> Self {
        let publish = entry.publish.iter().map(|rule| (Grant::Publish, rule));
        let read = entry.subscribe.iter().map(|rule| (Grant::Read, rule));
        let (mut shared, mut own) = (Vec::new(), Vec::new());
        for (grant, template) in publish.chain(read) {
            match template.text() {
                // Who made the entry has checked that it is a filter; what is none allows nothing.
                Some(text) => shared.extend(
                    TopicFilter::try_from(&*text)
                        .ok()
                        .map(|filter| (grant, filter)),
                ),
                None => own.push((grant, template.clone())),
            }
        }
        let shared = (!shared.is_empty()).then(|| {
            Arc::new(Layer::new(
                shared.iter().map(|(grant, filter)| (*grant, filter)),
            ))
        });
        Self {
            who: entry.who.clone(),
            shared,
            own,
        }
    }
}

impl Who {
    fn is(&self, user: Option<&str>, client_id: &str) -> bool {
        match self {
            Self::User(name) => user == Some(name),
            Self::AnyUser => user.is_some(),
            Self::ClientId(name) => client_id == name,
            Self::Anyone => true,
            Self::Anonymous => user.is_none(),
        }
    }
}

/// The filter that a rule is for this client; `None`: it is none for it.
fn fill(template: &Template, user: Option<&str>, client_id: &str) -> Option<TopicFilter> {
    let filled = template.fill(|name| {
        let value = match name {
            "user" => user,
            "client_id" => Some(client_id),
            _ => None,
        };
        value.filter(|value| is_level(value)).map(str::to_owned)
    });
    TopicFilter::try_from(&*filled.text()?).ok()
}

/// Whether a name can be filled in: with a separator or a wildcard in it, it would reach where the rule does not, and so
/// it would with a `$`, which begins the gateway's own levels.
fn is_level(value: &str) -> bool {
    !value.is_empty() && !value.starts_with('$') && !value.contains(['/', '+', '#'])
}

#[cfg(test)]
mod tests {
    use super::super::Reach;
    use super::*;
    use crate::topic::TopicName;

    fn entry(who: Who, publish: &[&str], subscribe: &[&str]) -> AccessEntry {
        let templates = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Template::parse(text, &PLACEHOLDERS, false).unwrap())
                .collect()
        };
        AccessEntry {
            who,
            publish: templates(publish),
            subscribe: templates(subscribe),
        }
    }

    fn user(name: &str) -> Who {
        Who::User(name.to_owned())
    }

    fn publishes(access: &Access, user: Option<&str>, client_id: &str, topic: &str) -> bool {
        let rights = access.rights(user, client_id).unwrap();
        rights.may_publish(&TopicName::try_from(topic).unwrap())
    }

    fn reads(access: &Access, user: Option<&str>, client_id: &str, topic: &str) -> bool {
        let rights = access.rights(user, client_id).unwrap();
        rights.may_read(&TopicName::try_from(topic).unwrap())
    }

    #[test]
    fn without_rules_only_commands_and_sys_are_kept_from_anonymous_clients() {
        let access = Access::without_rules("g1").unwrap();
        for (topic, anonymous, named) in [
            ("g1/dev/power", true, true),
            ("g1/dev/set/mode", false, true),
            ("g1/dev/set/mode/result", false, true),
            ("g2/dev/set/mode", true, true),
            ("$SYS/broker/uptime", false, false),
            ("$SYS/broker/connection/line3/state", true, true),
            ("$other", true, true),
        ] {
            assert_eq!(publishes(&access, None, "c", topic), anonymous, "{topic}");
            assert_eq!(publishes(&access, Some("u"), "c", topic), named, "{topic}");
        }
        assert!(reads(&access, None, "c", "g1/dev/set/mode"));
        assert!(!reads(&access, None, "c", "$SYS/broker/uptime"));
        assert!(reads(&access, Some("u"), "c", "$SYS/broker/uptime"));
        let anonymous = access.rights(None, "c").unwrap();
        let reach = |filter: &str| anonymous.reach(&TopicFilter::try_from(filter).unwrap());
        assert_eq!(reach("#"), Reach::All);
        assert_eq!(reach("$SYS/#"), Reach::Nothing);
    }

    #[test]
    fn with_rules_a_user_that_none_names_may_do_nothing() {
        let access =
            Access::with_entries("g1", &[entry(user("plc7"), &["a/#"], &["b/#"])]).unwrap();
        assert!(publishes(&access, Some("plc7"), "c", "a/x"));
        assert!(!publishes(&access, Some("plc7"), "c", "b/x"));
        assert!(reads(&access, Some("plc7"), "c", "b/x"));
        assert!(!publishes(&access, Some("plc8"), "c", "a/x"));
        assert!(!reads(&access, Some("plc8"), "c", "b/x"));
        assert!(publishes(&access, None, "c", "a/x"), "as without rules");
        assert!(!publishes(&access, None, "c", "g1/dev/set/mode"));
    }

    #[test]
    fn entries_about_one_client_add_up() {
        let access = Access::with_entries(
            "g1",
            &[
                entry(user("plc7"), &["a"], &[]),
                entry(Who::AnyUser, &["b"], &[]),
                entry(Who::ClientId("c7".to_owned()), &["c"], &[]),
                entry(Who::Anyone, &["d"], &[]),
                entry(Who::Anonymous, &["e"], &[]),
            ],
        )
        .unwrap();
        for (name, client_id, expected) in [
            (Some("plc7"), "c7", "abcd"),
            (Some("plc8"), "c7", "bcd"),
            (Some("plc8"), "c8", "bd"),
            (None, "c7", "cde"),
            (None, "c8", "de"),
        ] {
            let allowed: String = ["a", "b", "c", "d", "e", "f"]
                .into_iter()
                .filter(|topic| publishes(&access, name, client_id, topic))
                .collect();
            assert_eq!(allowed, expected, "{name:?} {client_id}");
        }
    }

    #[test]
    fn names_are_filled_in_unless_they_would_reach_further() {
        let rules = [
            "u/{user}/#",
            "c/{client_id}",
            "dev-{client_id}/x",
            "{client_id}/y",
        ];
        let access = Access::with_entries("g1", &[entry(Who::Anyone, &rules, &[])]).unwrap();
        let may = |user, client_id, topic| publishes(&access, user, client_id, topic);
        assert!(may(Some("plc7"), "c7", "u/plc7/x"));
        assert!(may(Some("plc7"), "c7", "c/c7"));
        assert!(may(Some("plc7"), "c7", "dev-c7/x"));
        assert!(!may(Some("plc7"), "c7", "u/plc8/x"));
        assert!(!may(None, "c7", "u//x"));
        for name in ["+", "#", "a/b", "$SYS", "", "a+"] {
            assert!(!may(Some(name), "c7", "u/a/x"), "{name}");
            assert!(!may(Some(name), "c7", "u/a/b/x"), "{name}");
            assert!(!may(None, name, "c/a"), "{name}");
            assert!(!may(None, name, "c/a/b"), "{name}");
            assert!(!may(None, name, "$SYS/y"), "{name}");
        }
    }

    #[test]
    fn what_does_not_depend_on_the_client_is_shared() {
        let access = Access::without_rules("g1").unwrap();
        let (one, other) = (access.rights(None, "a"), access.rights(None, "b"));
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
        assert_eq!(Access::unlimited().rights(None, "a"), None);
    }
}
