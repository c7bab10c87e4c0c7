//! `profile:` of a bridge: what it presets, and what is warned of because the provider does not take it.

use super::below;
use super::route::shortest;
use crate::bridge::{Address, Profile, Rate};
use crate::broker::{ForwardRoute, Limits, RetainPolicy};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::raw;
use crate::config::section::Section;
use crate::config::units::show_size;
use crate::net::ClientTls;

/// The ALPN names that the provider wants, unless the file names others. A connection has one set of them for all its
/// addresses.
pub(super) fn preset_alpn(profile: Profile, addresses: &[Address], tls: Option<&mut ClientTls>) {
    if let (Some(tls), Some(first)) = (tls, addresses.first())
        && tls.alpn.is_empty()
        && addresses.iter().all(|address| address.port == first.port)
    {
        tls.alpn = profile.alpn(first.port);
    }
}

/// The User Name: as the file says, where it says something.
pub(super) fn user(
    section: &Section<raw::Bridge>,
    profile: Profile,
    addresses: &[Address],
    client_id: Option<&str>,
) -> Option<String> {
    match &section.raw.user {
        Some(user) => Some(user.clone()).filter(|user| !user.is_empty()),
        None => profile.user(&addresses.first()?.host, client_id?),
    }
}

/// How fast messages may leave: as the file says, where it says something.
pub(super) fn rate(
    context: &mut Context<'_>,
    section: &Section<raw::Bridge>,
    profile: Profile,
) -> Rate {
    let said = below::<raw::Rate>(context, section, "rate", section.raw.rate.as_ref()).raw;
    let usual = profile.rate();
    Rate {
        messages_per_second: said
            .messages_per_second
            .unwrap_or(usual.messages_per_second),
        bytes_per_second: said.bytes_per_second.unwrap_or(usual.bytes_per_second),
    }
}

/// Lowers the route to what the provider takes. Where the file asks for more in so many words, that is warned of.
pub(super) fn fit_route(
    context: &mut Context<'_>,
    section: &Section<raw::Route>,
    profile: Profile,
    client_id: &str,
    route: &mut ForwardRoute,
) {
    let (name, ceilings) = (profile.name(), profile.ceilings());
    if section.raw.qos.is_some() && route.qos > ceilings.maximum_qos {
        let most = ceilings.maximum_qos as u8;
        let message = format!(
            "{name} takes QoS {most} at most: what is published at QoS 2 goes up at QoS {most}, and may arrive twice"
        );
        let remedy = format!("write `qos: {most}`; `fieldgate-id` tells copies apart");
        context.warning(Code::Provider, &section.at("qos"), message, remedy);
    }
    route.qos = route.qos.min(ceilings.maximum_qos);
    if section.raw.retain == Some(raw::OneOf(RetainPolicy::Keep)) && !ceilings.retain {
        let message = format!("{name} keeps no retained messages: the flag is taken off");
        let remedy = "write `retain: never`";
        context.warning(Code::Provider, &section.at("retain"), message, remedy);
    }
    if !ceilings.retain {
        route.retain = RetainPolicy::Never;
    }
    check_topic(context, section, profile, client_id, route);
}

/// By the shortest topic that the filter takes: where that is too long, all are.
fn check_topic(
    context: &mut Context<'_>,
    section: &Section<raw::Route>,
    profile: Profile,
    client_id: &str,
    route: &ForwardRoute,
) {
    let made = shortest(&route.filter).and_then(|topic| route.topic.apply(&topic).ok());
    let Some(made) = made else {
        return;
    };
    let (name, ceilings, place) = (profile.name(), profile.ceilings(), section.at("topic"));
    let levels = made.as_str().split('/').count();
    if levels > ceilings.topic_levels || made.as_str().len() > ceilings.topic_bytes {
        let message = format!(
            "this route makes topics of {levels} levels and more, and {name} takes {} levels and {} bytes at most: they would be dropped",
            ceilings.topic_levels, ceilings.topic_bytes
        );
        let remedy = "write a `topic` with fewer levels, such as site/{3..}";
        context.warning(Code::Provider, &place, message, remedy);
    }
    if let Some(prefix) = profile.topic_prefix(client_id)
        && !made.as_str().starts_with(&prefix)
    {
        let message = format!("{name} takes topics that begin with `{prefix}` only");
        let remedy = format!("write `topic: \"{prefix}{{topic}}\"`");
        context.warning(Code::Provider, &place, message, remedy);
    }
}

/// What of the bridge itself the provider does not take.
pub(super) fn check_bridge(
    context: &mut Context<'_>,
    section: &Section<raw::Bridge>,
    profile: Profile,
    limits: &Limits,
) {
    let (name, ceilings) = (profile.name(), profile.ceilings());
    let most = profile.keep_alive_max();
    if section.raw.keep_alive.is_some_and(|time| time.0 > most) {
        let most = most.as_secs();
        let message = format!("{name} takes a keep alive of {most} s at most");
        let remedy = format!("write `keep_alive: {most}s` or less");
        context.warning(Code::Provider, &section.at("keep_alive"), message, remedy);
    }
    // The default is said nothing of: few messages come near it.
    let chosen = limits.packet_size != Limits::default().packet_size;
    if chosen && limits.packet_size > ceilings.packet_size {
        let size = show_size(u64::from(ceilings.packet_size));
        let message = format!(
            "`broker.limits.packet_size` lets clients publish more than the {size} that {name} takes: larger messages would be dropped"
        );
        let remedy = format!("write `packet_size: {size}`");
        context.warning(Code::Provider, &section.at("profile"), message, remedy);
    }
}
