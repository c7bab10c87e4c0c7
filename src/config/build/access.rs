//! `broker.access` and `broker.mosquitto_acl_file`: who may do what.

use std::path::Path;

use super::topics::bad_template;
use super::{each, texts};
use crate::auth::{AccessEntry, AccessOptions, LEVELS_MAX, PLACEHOLDERS, Who};
use crate::config::context::Context;
use crate::config::environment::SUBSTITUTE_BYTES_MAX;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;
use crate::topic::{Template, TopicFilter};

/// What may stand in braces in a rule.
const NAMED: [&str; 3] = ["gateway", "user", "client_id"];

/// How users log in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logins<'a> {
    pub(super) users_file: Option<&'a Path>,
    /// Some listener takes the user from the client's certificate.
    pub(super) certificates: bool,
}

pub(super) fn access(
    context: &mut Context<'_>,
    section: &Section<raw::Broker>,
    gateway: &str,
    logins: Logins<'_>,
) -> AccessOptions {
    let acl_file = section
        .raw
        .mosquitto_acl_file
        .as_ref()
        .map(|name| context.file(name, &section.at("mosquitto_acl_file")));
    if section.has("access") && section.has("mosquitto_acl_file") {
        let message = "`access` and `mosquitto_acl_file` both say who may do what";
        let place = section.at("mosquitto_acl_file");
        context.error_at_key(Code::Contradiction, &place, message, "keep one of them");
    }
    let known = logins.names(context);
    let list = section.raw.access.as_ref();
    let mut entries = Vec::new();
    for entry in each::<raw::Access>(context, list, &section.at("access")) {
        let publish = filters(
            context,
            &entry,
            "publish",
            entry.raw.publish.as_ref(),
            gateway,
        );
        let read = &entry.raw.subscribe;
        let subscribe = filters(context, &entry, "subscribe", read.as_ref(), gateway);
        let Some(who) = who(context, &entry) else {
            continue;
        };
        if let (Who::User(name), Some(known)) = (&who, &known) {
            check_user(context, name, &entry.at("user"), known);
        }
        entries.push(AccessEntry {
            who,
            publish,
            subscribe,
        });
    }
    match acl_file {
        Some(file) => AccessOptions::MosquittoAcl(file),
        None if section.has("access") => AccessOptions::Entries(entries),
        None => AccessOptions::NoRules,
    }
}

impl Logins<'_> {
    /// The names in the users file; `None` where others may log in too, or it cannot be read (which is told elsewhere).
    fn names(self, context: &Context<'_>) -> Option<Vec<String>> {
        if self.certificates {
            return None;
        }
        let Some(file) = self.users_file else {
            return Some(Vec::new());
        };
        let text = context.environment.read(file, SUBSTITUTE_BYTES_MAX).ok()?;
        let lines = text.lines().map(str::trim);
        let users = lines.filter(|line| !line.starts_with('#'));
        Some(
            users
                .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
                .collect(),
        )
    }
}

/// Whom an entry is about; `None`, and noted, where that is nobody or several.
fn who(context: &mut Context<'_>, entry: &Section<raw::Access>) -> Option<Who> {
    let subjects = ["user", "client_id", "anonymous"];
    let given: Vec<&str> = subjects.into_iter().filter(|key| entry.has(key)).collect();
    let place = &entry.place;
    match given.as_slice() {
        [_] => subject(context, entry),
        [] => {
            let message = "the entry does not say whom it is about";
            let remedy = "add `user: NAME`, `client_id: NAME` or `anonymous: true`; `user: \"*\"` is all users, `client_id: \"*\"` all clients";
            context.error_at_key(Code::MissingKey, place, message, remedy);
            None
        }
        [first, second, ..] => {
            let message = format!("an entry is about `{first}` or `{second}`, not about both");
            let remedy = "make an entry for each; what entries about one client allow adds up";
            context.error_at_key(Code::Contradiction, &entry.at(second), message, remedy);
            None
        }
    }
}

fn subject(context: &mut Context<'_>, entry: &Section<raw::Access>) -> Option<Who> {
    let raw = &entry.raw;
    match (raw.user.as_deref(), raw.client_id.as_deref()) {
        (Some("*"), _) => Some(Who::AnyUser),
        (Some(name), _) => named(context, name, &entry.at("user")).map(Who::User),
        (None, Some("*")) => Some(Who::Anyone),
        (None, Some(name)) => named(context, name, &entry.at("client_id")).map(Who::ClientId),
        (None, None) if raw.anonymous? => Some(Who::Anonymous),
        (None, None) => {
            let message = "`anonymous: false` is about nobody";
            let remedy = "write `user: \"*\"` for all who have a user name, `anonymous: true` for those who have none";
            context.error(Code::OutOfRange, &entry.at("anonymous"), message, remedy);
            None
        }
    }
}

fn named(context: &mut Context<'_>, name: &str, place: &Place) -> Option<String> {
    if name.is_empty() {
        let remedy = "write a name, or `anonymous: true` for clients without a user name";
        context.error(Code::OutOfRange, place, "the name is empty", remedy);
        return None;
    }
    Some(name.to_owned())
}

/// The templates of a list, `{gateway}` filled in; what is no filter is noted.
fn filters(
    context: &mut Context<'_>,
    entry: &Section<raw::Access>,
    key: &str,
    list: Option<&Vec<serde_yaml::Value>>,
    gateway: &str,
) -> Vec<Template> {
    let list = texts(context, list, &entry.at(key));
    list.into_iter()
        .filter_map(|(text, place)| {
            let template = filter(context, &text, &place, gateway)?;
            if entry.has("anonymous") && text.contains("{user}") {
                let message = "an anonymous client has no user to fill in: this allows nothing";
                context.warning(
                    Code::NoEffect,
                    &place,
                    message,
                    "use {client_id}, or remove it",
                );
            }
            Some(template)
        })
        .collect()
}

fn filter(context: &mut Context<'_>, text: &str, place: &Place, gateway: &str) -> Option<Template> {
    let template = match Template::parse(text, &NAMED, false) {
        Ok(template) => template.fill(|name| (name == "gateway").then(|| gateway.to_owned())),
        Err(error) => {
            bad_template(context, &error, place, &NAMED);
            return None;
        }
    };
    let sample = template.fill(|name| PLACEHOLDERS.contains(&name).then(|| "x".to_owned()));
    let sample = sample.text()?;
    let (message, remedy) = if sample.starts_with("$share/") {
        (
            "a rule is about topics, not about shared subscriptions".to_owned(),
            "remove `$share/NAME/`: the filter after it is what is checked",
        )
    } else if sample.split('/').count() > LEVELS_MAX {
        (
            format!("a rule has at most {LEVELS_MAX} levels"),
            "end it earlier, with `#`",
        )
    } else {
        match TopicFilter::try_from(&*sample) {
            Ok(_) => return Some(template),
            Err(error) => (
                error.to_string(),
                "write a filter such as \"plant/{user}/#\" or plant/+/status",
            ),
        }
    };
    context.error(Code::BadTopic, place, message, remedy);
    None
}

fn check_user(context: &mut Context<'_>, name: &str, place: &Place, known: &[String]) {
    if known.iter().any(|user| user == name) {
        return;
    }
    let message = format!("nobody can log in as `{}`", quoted(name));
    let near = super::suggest::nearest(name, known.iter().map(String::as_str));
    let remedy = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => {
            "name a `users_file` with a line for it, or let a listener take the user from the certificate".to_owned()
        }
        None => "add a line for it to the `users_file`, or remove the entry".to_owned(),
    };
    context.warning(Code::DanglingName, place, message, remedy);
}
