//! `bridges:`: the ways to the upstreams.

use std::time::Duration;

use bytes::Bytes;

use super::address::addresses;
use super::client_tls::{Said, client_tls};
use super::dead_letter::dead_letter;
use super::limits::EXPIRY_MAX;
use super::receive::receive;
use super::route::{check_order, route};
use super::topics::bad_template;
use super::{Names, backlog, below, each, gateway_status, name, profile, seconds, texts, wait};
use crate::bridge::{Backoff, BridgeOptions, Profile};
use crate::broker::{ForwardRoute, Limits, RetainPolicy};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;
use crate::config::{Bridge, Gateway, StoreSettings};
use crate::mqtt::{Message, ProtocolVersion, QoS};
use crate::net::ClientTls;
use crate::topic::{Template, TopicName};

/// Each stage of dialling.
const STAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Packet ids above are for SUBSCRIBE and UNSUBSCRIBE.
const INFLIGHT_MAX: u16 = 65_000;

pub(super) fn bridges(
    context: &mut Context<'_>,
    root: &Section<raw::Root>,
    gateway: &Gateway,
    store: &StoreSettings,
    limits: &Limits,
) -> Vec<Bridge> {
    let mut names = Names::default();
    let mut bridges: Vec<Bridge> = Vec::new();
    for section in each::<raw::Bridge>(context, root.raw.bridges.as_ref(), &root.at("bridges")) {
        let name = name(context, &section, section.raw.name.as_ref(), "cloud");
        let name = name.filter(|name| is_folder(context, name, &section.at("name")));
        let free = name
            .as_ref()
            .is_none_or(|name| names.take(context, "bridge", name, &section.at("name")));
        let folder = name.clone().unwrap_or_default();
        let options = options(context, &section, folder, gateway, store, limits);
        profile::check_bridge(context, &section, profile_of(&section), limits);
        let (log, late_share) = backlog::backlog(
            context,
            &section,
            name.as_deref().unwrap_or_default(),
            gateway,
            store,
        );
        let Some(options) = options else { continue };
        if free && name.is_some() {
            check_client(context, &section, &bridges, &options);
            let options = BridgeOptions {
                late_share,
                ..options
            };
            bridges.push(Bridge { options, log });
        }
    }
    bridges
}

fn profile_of(section: &Section<raw::Bridge>) -> Profile {
    section.raw.profile.map_or(Profile::Generic, |word| word.0)
}

/// A bridge's name is the folder of its backlog too.
fn is_folder(context: &mut Context<'_>, name: &str, place: &Place) -> bool {
    let sound = !name.starts_with('.') && !name.contains('\\');
    if !sound {
        let message = "a bridge's name is the folder of its backlog too: no leading `.`, no `\\`";
        context.error(
            Code::BadName,
            place,
            message,
            "use letters, digits, `-` and `_`",
        );
    }
    sound
}

/// Two clients of one name at one upstream would throw each other out for ever.
fn check_client(
    context: &mut Context<'_>,
    section: &Section<raw::Bridge>,
    others: &[Bridge],
    options: &BridgeOptions,
) {
    let shared = |other: &&Bridge| {
        other.options.client_id == options.client_id
            && other
                .options
                .addresses
                .iter()
                .any(|address| options.addresses.contains(address))
    };
    if let Some(other) = others.iter().find(shared) {
        let (first, id) = (quoted(&other.options.name), quoted(&options.client_id));
        let message = format!(
            "the bridge `{first}` is the client `{id}` of the same upstream; they would throw each other out"
        );
        let key = if section.has("client_id") {
            "client_id"
        } else {
            "name"
        };
        let remedy = "give this bridge a `client_id` of its own";
        context.error(Code::DuplicateName, &section.at(key), message, remedy);
    }
}

fn options(
    context: &mut Context<'_>,
    section: &Section<raw::Bridge>,
    name: String,
    gateway: &Gateway,
    store: &StoreSettings,
    limits: &Limits,
) -> Option<BridgeOptions> {
    let raw = &section.raw;
    let addresses = addresses(context, section);
    let encrypted = addresses.iter().any(|address| address.tls);
    let mut tls = tls(context, section, encrypted, !addresses.is_empty());
    let profile = profile_of(section);
    profile::preset_alpn(profile, &addresses, tls.as_mut());
    let protocol = raw.protocol.map(|word| word.0);
    let protocol = protocol.unwrap_or_else(|| profile.protocol());
    let client_id = client_id(context, section, &gateway.id);
    let user = profile::user(section, profile, &addresses, client_id.as_deref());
    let password = raw.password.clone();
    let password = password.filter(|password| !password.expose().is_empty());
    if password.is_some() && user.is_none() && protocol != ProtocolVersion::V5 {
        let message = "MQTT 3.1.1 knows no password without a user";
        context.error_at_key(
            Code::Contradiction,
            &section.at("password"),
            message,
            "add `user`",
        );
    }
    let keep_alive = Duration::from_secs(5)..=Duration::from_secs(65_535);
    let keep_alive = seconds(context, section, "keep_alive", raw.keep_alive, keep_alive);
    let expiry = Duration::from_secs(60)..=EXPIRY_MAX;
    let session_expiry = seconds(
        context,
        section,
        "session_expiry",
        raw.session_expiry,
        expiry,
    );
    let inflight = section.within(
        context,
        "inflight",
        raw.inflight,
        1..=INFLIGHT_MAX,
        |number| number.to_string(),
    );
    let backoff = backoff(context, section);
    let rate = profile::rate(context, section, profile);
    let dead_letter = dead_letter(&name, gateway, store);
    let own = client_id.as_deref().unwrap_or_default();
    let forward = forward(context, section, gateway, own);
    let receive = receive(context, section, &gateway.id, protocol, &forward);
    Some(BridgeOptions {
        gap: gap(&gateway.id, &name, &forward),
        name,
        gateway: gateway.id.clone(),
        addresses,
        protocol,
        client_id: client_id?,
        user,
        password,
        keep_alive: keep_alive.unwrap_or(Duration::from_secs(60)),
        session_expiry: session_expiry.unwrap_or_else(|| profile.session_expiry()),
        tls,
        will: will(&gateway.id, &forward),
        forward,
        receive,
        inflight: inflight.unwrap_or(100),
        packet_size: limits.packet_size,
        ceilings: profile.ceilings(),
        late_share: backlog::LATE_SHARE,
        rate,
        dead_letter,
        backoff,
        stage_timeout: STAGE_TIMEOUT,
    })
}

fn backoff(context: &mut Context<'_>, section: &Section<raw::Bridge>) -> Backoff {
    let backoff = section.raw.backoff.as_ref();
    let backoff = below::<raw::Backoff>(context, section, "backoff", backoff);
    let defaults = (Duration::from_secs(1), Duration::from_secs(120));
    let (min, max) = wait(
        context,
        &backoff,
        (backoff.raw.min, backoff.raw.max),
        defaults,
        Duration::from_secs(1),
    );
    Backoff { min, max }
}

fn tls(
    context: &mut Context<'_>,
    section: &Section<raw::Bridge>,
    encrypted: bool,
    known: bool,
) -> Option<ClientTls> {
    if !section.has("tls") {
        if encrypted {
            let message = "mqtts:// needs `tls:` with `ca`, who signs the upstream's certificate";
            context.error_at_key(
                Code::MissingKey,
                &section.place,
                message,
                "add `tls: { ca: certs/cloud-ca.pem }`",
            );
        }
        return None;
    }
    if known && !encrypted {
        let message = "`tls` has no effect: no url begins with mqtts://";
        context.error_at_key(
            Code::Contradiction,
            &section.at("tls"),
            message,
            "write `mqtts://`, or remove `tls`",
        );
    }
    let tls = below::<raw::BridgeTls>(context, section, "tls", section.raw.tls.as_ref());
    let raw::BridgeTls {
        ca,
        certificate,
        private_key,
        server_name,
        alpn,
    } = &tls.raw;
    let said = Said {
        ca: ca.as_ref(),
        certificate: certificate.as_ref(),
        private_key: private_key.as_ref(),
        server_name: server_name.as_ref(),
    };
    let client = client_tls(context, &tls, said, "certs/cloud-ca.pem");
    let alpn = texts(context, alpn.as_ref(), &tls.at("alpn"));
    for (protocol, place) in &alpn {
        if protocol.is_empty() || protocol.len() > 255 {
            let message = "an ALPN protocol name has 1 to 255 bytes";
            context.error(
                Code::OutOfRange,
                place,
                message,
                "write a name such as mqtt",
            );
        }
    }
    Some(ClientTls {
        alpn: alpn.into_iter().map(|(protocol, _)| protocol).collect(),
        ..client?
    })
}

fn client_id(
    context: &mut Context<'_>,
    section: &Section<raw::Bridge>,
    gateway: &str,
) -> Option<String> {
    let text = section.raw.client_id.as_deref().unwrap_or("{gateway}");
    let place = section.at("client_id");
    let filled = match Template::parse(text, &["gateway"], false) {
        Ok(template) => template.fill(|_| Some(gateway.to_owned())).text()?,
        Err(error) => {
            bad_template(context, &error, &place, &["gateway"]);
            return None;
        }
    };
    if text.is_empty() || filled.len() > usize::from(u16::MAX) || filled.contains('\0') {
        let message = "the session at the upstream belongs to the client id, so there must be one";
        context.error(
            Code::OutOfRange,
            &place,
            message,
            "remove it for `{gateway}`, or write one",
        );
    }
    Some(filled)
}

fn forward(
    context: &mut Context<'_>,
    section: &Section<raw::Bridge>,
    gateway: &Gateway,
    client_id: &str,
) -> Vec<ForwardRoute> {
    let routes = section.required(
        context,
        "forward",
        section.raw.forward.as_ref(),
        "[{ filter: \"{gateway}/#\" }]",
    );
    let receives = section
        .raw
        .receive
        .as_ref()
        .is_some_and(|routes| !routes.is_empty());
    if routes.is_some_and(Vec::is_empty) && !receives {
        let message = "a bridge without routes carries nothing";
        context.error(
            Code::MissingKey,
            &section.at("forward"),
            message,
            "add `- filter: \"{gateway}/#\"`",
        );
    }
    let mut built = Vec::new();
    for entry in each::<raw::Route>(context, routes, &section.at("forward")) {
        if let Some(mut route) = route(context, &entry, &gateway.id) {
            let profile = profile_of(section);
            profile::fit_route(context, &entry, profile, client_id, &mut route);
            built.push((route, entry.place));
        }
    }
    check_order(context, &built);
    built.into_iter().map(|(route, _)| route).collect()
}

/// What the upstream says of us when the link breaks: the gateway's status, as the first route that takes it would send
/// it; none where no route does.
fn will(gateway: &str, routes: &[ForwardRoute]) -> Option<Message> {
    own(&gateway_status(gateway)?, br#"{"state":"offline"}"#, routes)
}

/// What tells of holes in the backlog, likewise.
fn gap(gateway: &str, bridge: &str, routes: &[ForwardRoute]) -> Option<Message> {
    let topic = TopicName::try_from(format!("{gateway}/$bridge/{bridge}/gap"));
    own(&topic.ok()?, b"", routes)
}

fn own(topic: &TopicName, payload: &'static [u8], routes: &[ForwardRoute]) -> Option<Message> {
    let is_excepted = |route: &&ForwardRoute| route.except.iter().any(|it| it.matches(topic));
    let mut taking = routes.iter().filter(|route| route.filter.matches(topic));
    let route = taking.find(|route| !is_excepted(route))?;
    Some(Message {
        topic: route.topic.apply(topic).ok()?,
        payload: Bytes::from_static(payload),
        qos: QoS::AtLeastOnce.min(route.qos),
        retain: route.retain == RetainPolicy::Keep,
        properties: None,
    })
}
