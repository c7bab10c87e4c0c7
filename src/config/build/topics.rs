//! The topics of groups and tags, and who writes which: two writers of one topic are a fault.

use std::collections::BTreeMap;

use super::tag::Said;
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::suggest;
use crate::topic::{Template, TemplateError, TopicName};

/// What may stand in braces in a device's topic.
const PLACEHOLDERS: [&str; 4] = ["gateway", "device", "group", "tag"];

/// Whose topic it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) gateway: &'a str,
    pub(super) device: &'a str,
    pub(super) group: &'a str,
    /// `None`: the topic of the group's message.
    pub(super) tag: Option<&'a str>,
    /// Whether the tag's name is added as one more level.
    pub(super) append: bool,
}

/// Fills `said`; what is wrong with it is noted.
pub(super) fn topic(context: &mut Context<'_>, said: &Said, names: Names<'_>) -> Option<TopicName> {
    let template = match Template::parse(&said.text, &PLACEHOLDERS, false) {
        Ok(template) => template,
        Err(error) => {
            bad_template(context, &error, &said.place, &PLACEHOLDERS);
            return None;
        }
    };
    let filled = template.fill(|name| {
        let value = match name {
            "gateway" => Some(names.gateway),
            "device" => Some(names.device),
            "group" => Some(names.group),
            "tag" => names.tag,
            _ => None,
        };
        value.map(str::to_owned)
    });
    let Some(text) = filled.text() else {
        let message =
            "`payload: json` is one message for all tags of the group, so its topic has no {tag}";
        let remedy = "remove {tag}, or write `payload: json_per_tag`";
        context.error(Code::BadTopic, &said.place, message, remedy);
        return None;
    };
    let text = match names.tag {
        Some(tag) if names.append => format!("{text}/{tag}"),
        _ => text,
    };
    match TopicName::try_from(text) {
        Ok(topic) => Some(topic),
        Err(error) => {
            context.error(
                Code::BadTopic,
                &said.place,
                error.to_string(),
                "write one topic, such as {gateway}/{device}",
            );
            None
        }
    }
}

/// Notes what is wrong with a template.
pub(super) fn bad_template(
    context: &mut Context<'_>,
    error: &TemplateError,
    place: &Place,
    named: &[&str],
) {
    let message = quoted(&error.to_string());
    let remedy = match error {
        TemplateError::Unknown(name, _) => match suggest::nearest(name, named.iter().copied()) {
            Some(near) => format!("did you mean {{{near}}}?"),
            None => "use one of those, or plain text".to_owned(),
        },
        TemplateError::Unbalanced => "close each `{` with a `}`".to_owned(),
        _ => "correct the topic".to_owned(),
    };
    let message = match error {
        TemplateError::Unknown(..) => error.to_string(),
        _ => message,
    };
    context.error(Code::BadTopic, place, message, remedy);
}

/// Which topics are written, and by whom.
#[derive(Default)]
pub(super) struct Writers(BTreeMap<TopicName, Writer>);

struct Writer {
    name: String,
    retained: bool,
}

impl Writers {
    /// Notes that `writer` (`device meter, group power`) writes `topic`; one writer may say so repeatedly, for tags of
    /// one group that are sent apart.
    pub(super) fn claim(
        &mut self,
        context: &mut Context<'_>,
        topic: &TopicName,
        writer: &str,
        place: &Place,
        retained: bool,
    ) {
        let Some(first) = self.0.get(topic) else {
            let name = writer.to_owned();
            self.0.insert(topic.clone(), Writer { name, retained });
            return;
        };
        let shown = quoted(topic.as_str());
        if first.name != writer {
            let message = format!(
                "the topic `{shown}` is written by {} too",
                quoted(&first.name)
            );
            let remedy = "let `topic` tell them apart, with {device}, {group} or {tag} in it";
            context.error(Code::TopicOverlap, place, message, remedy);
        } else if retained && first.retained {
            let message = format!(
                "tags with settings of their own are sent apart, and of `{shown}` one message is retained"
            );
            let remedy = "put them into a group of their own, or give them a `topic`";
            context.warning(Code::TopicOverlap, place, message, remedy);
        }
    }
}

/// Notes a device's topic that the gateway keeps for itself; true where it is free.
pub(super) fn is_free(
    context: &mut Context<'_>,
    topic: &TopicName,
    names: Names<'_>,
    place: &Place,
) -> bool {
    if topic.levels().any(|level| level.starts_with('$')) {
        let message = format!(
            "`{}`: levels that begin with `$` are the gateway's own",
            quoted(topic.as_str())
        );
        context.error(Code::ReservedTopic, place, message, "choose another topic");
        return false;
    }
    let mut levels = topic.levels();
    let commands = levels.next() == Some(names.gateway) && levels.nth(1) == Some("set");
    if commands {
        let message = format!(
            "`{}`: topics below {{gateway}}/{{device}}/set are commands to the device",
            quoted(topic.as_str())
        );
        context.error(
            Code::ReservedTopic,
            place,
            message,
            "choose another topic, or another name for the group",
        );
    }
    !commands
}
