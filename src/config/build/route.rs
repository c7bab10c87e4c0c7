//! `forward:`: routes up, and whether they can work; and what routes down have in common with them.

use super::texts;
use super::topics::bad_template;
use crate::broker::{ForwardRoute, RetainPolicy};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;
use crate::mqtt::QoS;
use crate::topic::{Template, TemplateError, TopicFilter, TopicName};

use super::qos;

/// What may stand in braces beside `{topic}` and the levels.
const PLACEHOLDERS: [&str; 1] = ["gateway"];

/// Builds a route; `None` where it could not work.
pub(super) fn route(
    context: &mut Context<'_>,
    section: &Section<raw::Route>,
    gateway: &str,
) -> Option<ForwardRoute> {
    let raw = &section.raw;
    let text = section.required(context, "filter", raw.filter.as_ref(), "\"{gateway}/#\"");
    let filter = text.and_then(|text| filter(context, text, &section.at("filter"), gateway));
    let except = texts(context, raw.except.as_ref(), &section.at("except"));
    let except: Vec<(TopicFilter, Place)> = except
        .into_iter()
        .filter_map(|(text, place)| Some((self::filter(context, &text, &place, gateway)?, place)))
        .collect();
    let topic = raw.topic.as_deref().unwrap_or("{topic}");
    let topic = template(context, topic, &section.at("topic"), gateway);
    let highest = qos(context, section, "qos", raw.qos).unwrap_or(QoS::ExactlyOnce);
    let raise_qos0 = raw.raise_qos0.unwrap_or(false);
    if raise_qos0 && highest == QoS::AtMostOnce {
        let message = "`raise_qos0` sends as QoS 1, and `qos: 0` forbids it";
        context.error(
            Code::Contradiction,
            &section.at("raise_qos0"),
            message,
            "remove one of them",
        );
    }
    let (filter, topic) = (filter?, topic?);
    for (exception, place) in &except {
        if !exception.overlaps(&filter) {
            let message = format!(
                "`{}` takes nothing out of `{filter}`",
                quoted(exception.as_str())
            );
            context.warning(Code::NoEffect, place, message, "correct or remove it");
        }
    }
    let except: Vec<TopicFilter> = except.into_iter().map(|(filter, _)| filter).collect();
    check_levels(
        context,
        &section.at("topic"),
        &filter,
        Some(&except),
        &topic,
    );
    Some(ForwardRoute {
        filter,
        except,
        topic,
        qos: highest,
        raise_qos0,
        live_first: raw.live_first.unwrap_or(false),
        retain: raw.retain.map_or(RetainPolicy::Keep, |word| word.0),
    })
}

/// A filter with `{gateway}` filled in.
pub(super) fn filter(
    context: &mut Context<'_>,
    text: &str,
    place: &Place,
    gateway: &str,
) -> Option<TopicFilter> {
    let filled = match Template::parse(text, &PLACEHOLDERS, false) {
        Ok(template) => template.fill(|_| Some(gateway.to_owned())).text()?,
        Err(error) => {
            bad_template(context, &error, place, &PLACEHOLDERS);
            return None;
        }
    };
    if filled.starts_with("$share/") {
        let message = "a route takes part in no shared subscription";
        context.error(Code::BadTopic, place, message, "remove `$share/NAME/`");
        return None;
    }
    match TopicFilter::try_from(filled.as_str()) {
        Ok(filter) => Some(filter),
        Err(error) => {
            context.error(
                Code::BadTopic,
                place,
                error.to_string(),
                "write a filter such as \"{gateway}/#\" or a/+/b",
            );
            None
        }
    }
}

pub(super) fn template(
    context: &mut Context<'_>,
    text: &str,
    place: &Place,
    gateway: &str,
) -> Option<Template> {
    match Template::parse(text, &PLACEHOLDERS, true) {
        Ok(template) => Some(template.fill(|_| Some(gateway.to_owned()))),
        Err(error) => {
            bad_template(context, &error, place, &["gateway", "topic"]);
            None
        }
    }
}

/// Whether the template gives a topic for whatever the filter takes. A message that it cannot map goes nowhere. `except`: what a
/// route up leaves alone; `None` for one down.
pub(super) fn check_levels(
    context: &mut Context<'_>,
    place: &Place,
    filter: &TopicFilter,
    except: Option<&[TopicFilter]>,
    topic: &Template,
) {
    let Some(shortest) = shortest(filter) else {
        return;
    };
    let deeper = filter.as_str().strip_suffix("/#");
    let deeper = deeper.and_then(|parent| Some((parent, below(&shortest)?)));
    let (missing, parent) = match (lacking(topic, &shortest), deeper) {
        (None, _) => return,
        (Some(error), None) => (error, None),
        // `a/#` takes `a` too, which few who write it have in mind; then everything else can still be mapped.
        (Some(error), Some((parent, sample))) => match lacking(topic, &sample) {
            None if except
                .into_iter()
                .flatten()
                .any(|exception| exception.matches(&shortest)) =>
            {
                return;
            }
            None => (error, Some(parent)),
            Some(error) => (error, None),
        },
    };
    match (missing, parent) {
        (TemplateError::NoSuchLevel(level), Some(parent)) => {
            let (stays, remedy) = match except {
                Some(_) => (
                    "stays here",
                    format!("add `except: [\"{parent}\"]` if that is meant, or use lower levels"),
                ),
                None => ("goes nowhere", "use lower levels".to_owned()),
            };
            let message =
                format!("`{filter}` also takes `{parent}`, which has no level {level} and {stays}");
            context.warning(Code::BadRoute, place, message, remedy);
        }
        (TemplateError::NoSuchLevel(level), None) => {
            let message = format!(
                "`{filter}` takes topics without a level {level}, which could not be mapped"
            );
            let remedy = "use lower levels, or a `filter` with more of them";
            context.error(Code::BadRoute, place, message, remedy);
        }
        (TemplateError::Topic(error), _) => {
            let remedy = "write one topic, such as site/{topic}";
            context.error(Code::BadTopic, place, error.to_string(), remedy);
        }
        (error, _) => bad_template(context, &error, place, &["gateway", "topic"]),
    }
}

/// Why the template makes no topic of `sample`.
fn lacking(topic: &Template, sample: &TopicName) -> Option<TemplateError> {
    topic.apply(sample).err()
}

/// A topic one level below.
fn below(topic: &TopicName) -> Option<TopicName> {
    TopicName::try_from(format!("{topic}/x")).ok()
}

/// A topic with as few levels as any that the filter takes; `#` takes the level above it too.
pub(super) fn shortest(filter: &TopicFilter) -> Option<TopicName> {
    let levels: Vec<&str> = filter
        .levels()
        .filter(|level| *level != "#")
        .map(|level| if level == "+" { "x" } else { level })
        .collect();
    let text = if levels.is_empty() {
        "x".to_owned()
    } else {
        levels.join("/")
    };
    TopicName::try_from(text).ok()
}

/// Warns of routes that an earlier one leaves nothing to.
pub(super) fn check_order(context: &mut Context<'_>, routes: &[(ForwardRoute, Place)]) {
    for (index, (route, place)) in routes.iter().enumerate() {
        let earlier = routes.iter().take(index).map(|(first, _)| first);
        let whole = earlier.filter(|first| first.except.is_empty());
        covered_before(
            context,
            whole.map(|first| &first.filter),
            &route.filter,
            place,
        );
    }
}

/// Warns where one of the `earlier` filters takes everything that this one could.
pub(super) fn covered_before<'a>(
    context: &mut Context<'_>,
    mut earlier: impl Iterator<Item = &'a TopicFilter>,
    filter: &TopicFilter,
    place: &Place,
) {
    if let Some(first) = earlier.find(|first| first.covers(filter)) {
        let message = format!(
            "the route before, `{}`, takes everything that this one could",
            quoted(first.as_str())
        );
        context.warning(
            Code::NoEffect,
            &place.key("filter"),
            message,
            "put the narrower filter first",
        );
    }
}
