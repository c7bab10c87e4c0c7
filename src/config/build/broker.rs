//! `broker:`: its parts, and listeners.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::access::{self, Logins};
use super::websocket::websocket;
use super::{Names, below, bind, each, is_name, limits};
use crate::auth::AccessOptions;
use crate::broker::BrokerOptions;
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;
use crate::listener::{Bind, ListenerOptions};
use crate::net::{ClientCertificate, ServerTls};

/// A listener with where its address was given.
pub(super) type Placed = (ListenerOptions, Place);

/// What `broker:` amounts to.
pub(super) struct Broker {
    pub(super) options: BrokerOptions,
    pub(super) listeners: Vec<Placed>,
    pub(super) users_file: Option<PathBuf>,
    pub(super) access: AccessOptions,
    /// All sessions, on disk; `None`: not said.
    pub(super) queued_bytes_total: Option<u64>,
}

pub(super) fn broker(
    context: &mut Context<'_>,
    root: &Section<raw::Root>,
    gateway: &str,
) -> Broker {
    let section = below::<raw::Broker>(context, root, "broker", root.raw.broker.as_ref());
    let users_file = section
        .raw
        .users_file
        .as_ref()
        .map(|name| context.file(name, &section.at("users_file")));
    let limits = below::<raw::Limits>(context, &section, "limits", section.raw.limits.as_ref());
    let when_full = section.raw.when_queue_full.map(|word| word.0);
    let options = BrokerOptions {
        limits: limits::limits(context, &limits),
        when_queue_full: when_full.unwrap_or_default(),
        ..BrokerOptions::default()
    };
    let queued_bytes_total = limits::queued_bytes_total(context, &limits);
    let listeners = if section.has("listeners") {
        listeners(context, &section, section.has("users_file"))
    } else {
        vec![(default_listener(), section.at("listeners"))]
    };
    let by_certificate = |(listener, _): &Placed| listener.user_from_common_name;
    let logins = Logins {
        users_file: users_file.as_deref(),
        certificates: listeners.iter().any(by_certificate),
    };
    let access = access::access(context, &section, gateway, logins);
    Broker {
        options,
        listeners,
        users_file,
        access,
        queued_bytes_total,
    }
}

/// What listens where the file says nothing: this machine may, nobody else.
fn default_listener() -> ListenerOptions {
    ListenerOptions {
        name: "local".to_owned(),
        bind: Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 1883))),
        anonymous: true,
        tls: None,
        websocket: None,
        user_from_common_name: false,
    }
}

fn listeners(
    context: &mut Context<'_>,
    section: &Section<raw::Broker>,
    users: bool,
) -> Vec<Placed> {
    let mut names = Names::default();
    let mut built: Vec<Placed> = Vec::new();
    for entry in each::<raw::Listener>(
        context,
        section.raw.listeners.as_ref(),
        &section.at("listeners"),
    ) {
        if let Some(name) = &entry.raw.name
            && is_name(context, name, &entry.at("name"))
        {
            names.take(context, "listener", name, &entry.at("name"));
        }
        let tls = entry.has("tls").then(|| tls(context, &entry));
        let Some(listener) = listener(context, &entry, tls) else {
            continue;
        };
        check_access(context, &entry, &listener, users);
        built.push((listener, entry.at("bind")));
    }
    check_overlaps(context, &built);
    built
}

fn listener(
    context: &mut Context<'_>,
    entry: &Section<raw::Listener>,
    tls: Option<(Option<ServerTls>, bool)>,
) -> Option<ListenerOptions> {
    let said = entry.required(context, "bind", entry.raw.bind.as_ref(), "127.0.0.1:1883")?;
    let address = match said.strip_prefix("unix:") {
        Some(path) => Bind::Unix(bind::socket_path(context, path, &entry.at("bind"))?),
        None => Bind::Tcp(bind::address(context, said, &entry.at("bind"), 1883)?),
    };
    let (tls, user_from_common_name) = match tls {
        Some((tls, user_from)) => (Some(tls?), user_from),
        None => (None, false),
    };
    let anonymous = entry.raw.anonymous.unwrap_or(false);
    let shows_certificate = |tls: &ServerTls| tls.client_certificate != ClientCertificate::Off;
    let by_itself = anonymous || tls.as_ref().is_some_and(shows_certificate);
    let websocket = entry
        .has("websocket")
        .then(|| websocket(context, entry, by_itself));
    Some(ListenerOptions {
        name: entry.raw.name.clone().unwrap_or_else(|| said.clone()),
        bind: address,
        anonymous,
        tls,
        websocket,
        user_from_common_name,
    })
}

/// TLS of a listener (`None` where something needed is missing), and whether the common name is the user.
fn tls(context: &mut Context<'_>, entry: &Section<raw::Listener>) -> (Option<ServerTls>, bool) {
    let section = below::<raw::ListenerTls>(context, entry, "tls", entry.raw.tls.as_ref());
    let raw = &section.raw;
    let certificate = section.required(
        context,
        "certificate",
        raw.certificate.as_ref(),
        "certs/gateway.crt",
    );
    let certificate = certificate.map(|name| context.file(name, &section.at("certificate")));
    let private_key = section.required(
        context,
        "private_key",
        raw.private_key.as_ref(),
        "certs/gateway.key",
    );
    let private_key = private_key.map(|name| context.file(name, &section.at("private_key")));
    let clients = client_certificates(context, &section);
    let common_name = raw
        .user_from
        .is_some_and(|word| word.0 == raw::UserFrom::CommonName);
    if common_name && clients.asked == ClientCertificate::Off {
        let message = "`user_from: common_name` needs a client certificate";
        let remedy = "add `client_ca` and `client_certificate: required`";
        context.error(
            Code::Contradiction,
            &section.at("user_from"),
            message,
            remedy,
        );
    }
    let minimum = raw.minimum_version.map(|word| word.0);
    let tls = certificate
        .zip(private_key)
        .map(|(certificate, private_key)| ServerTls {
            certificate,
            private_key,
            client_ca: clients.ca,
            client_certificate: clients.asked,
            crl: clients.crl,
            allow_tls12: minimum != Some(raw::TlsVersion::Tls13),
        });
    (tls, common_name)
}

/// What a listener asks its clients for.
struct ClientCertificates {
    ca: Option<PathBuf>,
    asked: ClientCertificate,
    crl: Option<PathBuf>,
}

fn client_certificates(
    context: &mut Context<'_>,
    section: &Section<raw::ListenerTls>,
) -> ClientCertificates {
    let raw = &section.raw;
    let ca = raw
        .client_ca
        .as_ref()
        .map(|name| context.file(name, &section.at("client_ca")));
    let asked = raw.client_certificate.map(|word| word.0);
    // Whoever names a CA for clients means it to be used.
    let client_certificate = match asked {
        Some(asked) => asked,
        None if section.has("client_ca") => ClientCertificate::Required,
        None => ClientCertificate::Off,
    };
    if client_certificate != ClientCertificate::Off && !section.has("client_ca") {
        let message = "`client_certificate` needs `client_ca`: who signs the clients' certificates";
        context.error(
            Code::MissingKey,
            &section.at("client_certificate"),
            message,
            "add `client_ca: certs/clients.crt`",
        );
    }
    if asked == Some(ClientCertificate::Off) && section.has("client_ca") {
        let remedy = "write `client_certificate: required` or `optional`, or remove `client_ca`";
        context.warning(
            Code::NoEffect,
            &section.at("client_ca"),
            "no client is asked for a certificate",
            remedy,
        );
    }
    let crl = raw
        .crl
        .as_ref()
        .map(|name| context.file(name, &section.at("crl")));
    if crl.is_some() && client_certificate == ClientCertificate::Off {
        context.warning(
            Code::NoEffect,
            &section.at("crl"),
            "no client is asked for a certificate that could be revoked",
            "add `client_ca` and `client_certificate: required`, or remove `crl`",
        );
    }
    ClientCertificates {
        ca,
        asked: client_certificate,
        crl,
    }
}

/// Who can come in at this listener: nobody is a fault, everybody a warning.
fn check_access(
    context: &mut Context<'_>,
    entry: &Section<raw::Listener>,
    listener: &ListenerOptions,
    users: bool,
) {
    let certified = listener
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_certificate == ClientCertificate::Required);
    let misspelt = entry.has("anonymous") && entry.raw.anonymous.is_none();
    if !listener.anonymous && !users && !listener.user_from_common_name && !misspelt {
        let message =
            "nobody can log in here: there are no users and anonymous clients are refused";
        let remedy = if listener.bind.is_local() {
            "add `anonymous: true`, or `users_file:` to the broker"
        } else {
            "add `users_file:` to the broker; `anonymous: true` would let everybody on the network in"
        };
        context.error_at_key(Code::Contradiction, &entry.at("bind"), message, remedy);
    }
    if listener.anonymous && !listener.bind.is_local() && !certified {
        let message = format!(
            "anybody who reaches {} may publish and subscribe",
            listener.bind
        );
        let remedy = "set `anonymous: false` and give the broker a `users_file`, or ask for client certificates";
        context.warning(Code::Insecure, &entry.at("anonymous"), message, remedy);
    }
}

fn check_overlaps(context: &mut Context<'_>, listeners: &[Placed]) {
    for (index, (listener, place)) in listeners.iter().enumerate() {
        let bind = &listener.bind;
        let mut earlier = listeners.iter().take(index);
        let earlier = earlier.find(|(earlier, _)| bind::overlap(bind, &earlier.bind));
        if let Some((_, first)) = earlier {
            let message = format!("{bind} is taken already");
            let remedy = "give each listener an address or a port of its own";
            context.error_again(Code::ListenerOverlap, place, first, message, remedy);
        }
    }
}
