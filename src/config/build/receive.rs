//! `receive:`: routes down, and whether they can work beside those that go up.

use super::route::{check_levels, covered_before, filter, template};
use super::{each, qos};
use crate::bridge::ReceiveRoute;
use crate::broker::{ForwardRoute, RetainPolicy};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;
use crate::mqtt::{ProtocolVersion, QoS};
use crate::store::{SESSION_NAME_MAX, SESSION_TEXT_MAX};

/// What the filters may come to together: they are kept in the log beside the name of the session.
const FILTERS_MAX: usize = SESSION_TEXT_MAX - SESSION_NAME_MAX;

pub(super) fn receive(
    context: &mut Context<'_>,
    section: &Section<raw::Bridge>,
    gateway: &str,
    protocol: ProtocolVersion,
    forward: &[ForwardRoute],
) -> Vec<ReceiveRoute> {
    let list = section.at("receive");
    let mut built: Vec<(ReceiveRoute, Place)> = Vec::new();
    for entry in each::<raw::Receive>(context, section.raw.receive.as_ref(), &list) {
        let Some(route) = route(context, &entry, gateway) else {
            continue;
        };
        let earlier = built.iter().map(|(route, _)| &route.filter);
        covered_before(context, earlier, &route.filter, &entry.place);
        if protocol != ProtocolVersion::V5 {
            check_loop(context, &entry, &route, forward);
        }
        built.push((route, entry.place));
    }
    let bytes = |(route, _): &(ReceiveRoute, Place)| route.filter.as_str().len() + 1;
    if built.iter().map(bytes).sum::<usize>() > FILTERS_MAX {
        let message = format!("the filters are longer than {FILTERS_MAX} bytes together");
        let remedy = "use wildcards, or several bridges with a `client_id` of their own";
        context.error(Code::OutOfRange, &list, message, remedy);
    }
    built.into_iter().map(|(route, _)| route).collect()
}

fn route(
    context: &mut Context<'_>,
    section: &Section<raw::Receive>,
    gateway: &str,
) -> Option<ReceiveRoute> {
    let raw = &section.raw;
    let example = "\"site/{gateway}/#\"";
    let text = section.required(context, "filter", raw.filter.as_ref(), example);
    let filter = text.and_then(|text| filter(context, text, &section.at("filter"), gateway));
    let topic = raw.topic.as_deref().unwrap_or("{topic}");
    let topic = template(context, topic, &section.at("topic"), gateway);
    let highest = qos(context, section, "qos", raw.qos).unwrap_or(QoS::ExactlyOnce);
    let (filter, topic) = (filter?, topic?);
    check_levels(context, &section.at("topic"), &filter, None, &topic);
    Some(ReceiveRoute {
        filter,
        topic,
        qos: highest,
        retain: raw.retain.map_or(RetainPolicy::Keep, |word| word.0),
    })
}

/// MQTT 3.1.1 sends a client what it has published itself, and has no place for a count of hops: what goes up and comes
/// down again would do so for ever.
fn check_loop(
    context: &mut Context<'_>,
    section: &Section<raw::Receive>,
    route: &ReceiveRoute,
    forward: &[ForwardRoute],
) {
    let comes_back = |up: &&ForwardRoute| {
        let Some(image) = up.topic.image(&up.filter) else {
            return true; // nobody can say what it makes
        };
        let stays = |except| {
            up.topic.is_one_to_one()
                && up
                    .topic
                    .image(except)
                    .is_some_and(|except| except.covers(&route.filter))
        };
        image.overlaps(&route.filter) && !up.except.iter().any(stays)
    };
    if let Some(up) = forward.iter().find(comes_back) {
        let (down, up) = (quoted(route.filter.as_str()), quoted(up.filter.as_str()));
        let message = format!(
            "with MQTT 3.1.1 what the forward route `{up}` sends would come down again by `{down}`"
        );
        let remedy =
            "add an `except` to the forward route, keep the topics apart, or use `protocol: 5`";
        context.error(Code::BadRoute, &section.at("filter"), message, remedy);
    }
}
