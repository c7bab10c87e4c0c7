//! `broker:`: listeners and users.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::{Names, below, each, is_name, limits};
use crate::broker::BrokerOptions;
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;
use crate::listener::{Bind, ListenerOptions};
use crate::net::{ClientCertificate, ServerTls};

/// A listener with where its address was given.
type Placed = (ListenerOptions, Place);

pub(super) fn broker(
    context: &mut Context<'_>,
    root: &Section<raw::Root>,
) -> (BrokerOptions, Vec<ListenerOptions>, Option<PathBuf>) {
    let section = below::<raw::Broker>(context, root, "broker", root.raw.broker.as_ref());
    let users_file = section
        .raw
        .users_file
        .as_ref()
        .map(|name| context.file(name, &section.at("users_file")));
    let limits = below::<raw::Limits>(context, &section, "limits", section.raw.limits.as_ref());
    let options = BrokerOptions {
        limits: limits::limits(context, &limits),
        ..BrokerOptions::default()
    };
    let listeners = if section.has("listeners") {
        listeners(context, &section, section.has("users_file"))
    } else {
        vec![default_listener()]
    };
    (options, listeners, users_file)
}

/// What listens where the file says nothing: this machine may, nobody else.
fn default_listener() -> ListenerOptions {
    ListenerOptions {
        name: "local".to_owned(),
        bind: Bind::Tcp(SocketAddr::from(([127, 0, 0, 1], 1883))),
        anonymous: true,
        tls: None,
        user_from_common_name: false,
    }
}

fn listeners(
    context: &mut Context<'_>,
    section: &Section<raw::Broker>,
    users: bool,
) -> Vec<ListenerOptions> {
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
    built.into_iter().map(|(listener, _)| listener).collect()
}

fn listener(
    context: &mut Context<'_>,
    entry: &Section<raw::Listener>,
    tls: Option<(Option<ServerTls>, bool)>,
) -> Option<ListenerOptions> {
    let bind = entry.required(context, "bind", entry.raw.bind.as_ref(), "127.0.0.1:1883")?;
    let address = address(context, bind, &entry.at("bind"))?;
    let (tls, user_from_common_name) = match tls {
        Some((tls, user_from)) => (Some(tls?), user_from),
        None => (None, false),
    };
    Some(ListenerOptions {
        name: entry.raw.name.clone().unwrap_or_else(|| bind.clone()),
        bind: Bind::Tcp(address),
        anonymous: entry.raw.anonymous.unwrap_or(false),
        tls,
        user_from_common_name,
    })
}

fn address(context: &mut Context<'_>, bind: &str, place: &Place) -> Option<SocketAddr> {
    if let Ok(address) = bind.parse() {
        return Some(address);
    }
    let remedy = if let Some(port) = bind.strip_prefix("localhost:") {
        format!("write `127.0.0.1:{}`", quoted(port))
    } else if let Some(port) = bind.strip_prefix("*:").or_else(|| bind.strip_prefix(':')) {
        format!(
            "write `0.0.0.0:{}`, or `127.0.0.1:{}` for this machine only",
            quoted(port),
            quoted(port)
        )
    } else if bind.parse::<u16>().is_ok() {
        format!("write `127.0.0.1:{bind}`, or `0.0.0.0:{bind}` for the network")
    } else if let Ok(ip) = bind.parse::<IpAddr>() {
        format!("add the port: `{}`", SocketAddr::new(ip, 1883))
    } else {
        "write `127.0.0.1:1883` or \"[::1]:1883\": an IP address of this machine and a port"
            .to_owned()
    };
    context.error(
        Code::BadAddress,
        place,
        "this is no IP address with a port",
        remedy,
    );
    None
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
    let client_ca = raw
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
    let common_name = raw
        .user_from
        .is_some_and(|word| word.0 == raw::UserFrom::CommonName);
    if common_name && client_certificate == ClientCertificate::Off {
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
            client_ca,
            client_certificate,
            allow_tls12: minimum != Some(raw::TlsVersion::Tls13),
        });
    (tls, common_name)
}

/// Who can come in at this listener: nobody is a fault, everybody a warning.
fn check_access(
    context: &mut Context<'_>,
    entry: &Section<raw::Listener>,
    listener: &ListenerOptions,
    users: bool,
) {
    let Bind::Tcp(address) = &listener.bind;
    let certified = listener
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_certificate == ClientCertificate::Required);
    let misspelt = entry.has("anonymous") && entry.raw.anonymous.is_none();
    if !listener.anonymous && !users && !listener.user_from_common_name && !misspelt {
        let message =
            "nobody can log in here: there are no users and anonymous clients are refused";
        let remedy = if address.ip().is_loopback() {
            "add `anonymous: true`, or `users_file:` to the broker"
        } else {
            "add `users_file:` to the broker; `anonymous: true` would let everybody on the network in"
        };
        context.error_at_key(Code::Contradiction, &entry.at("bind"), message, remedy);
    }
    if listener.anonymous && !address.ip().is_loopback() && !certified {
        let message = format!("anybody who reaches {address} may publish and subscribe");
        let remedy = "set `anonymous: false` and give the broker a `users_file`, or ask for client certificates";
        context.warning(Code::Insecure, &entry.at("anonymous"), message, remedy);
    }
}

fn check_overlaps(context: &mut Context<'_>, listeners: &[Placed]) {
    for (index, (listener, place)) in listeners.iter().enumerate() {
        let Bind::Tcp(address) = &listener.bind;
        let earlier = listeners.iter().take(index).find(|(earlier, _)| {
            let Bind::Tcp(earlier) = &earlier.bind;
            overlap(address, earlier)
        });
        if let Some((_, first)) = earlier {
            let message = format!("{address} is taken already: {first}");
            context.error(
                Code::ListenerOverlap,
                place,
                message,
                "give each listener an address or a port of its own",
            );
        }
    }
}

/// Whether both cannot be listened on. `[::]` takes the IPv4 addresses too.
fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let all = |ip: IpAddr, other: IpAddr| ip.is_unspecified() && (ip.is_ipv6() || other.is_ipv4());
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || all(one.ip(), other.ip()) || all(other.ip(), one.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_take_each_other_overlap() {
        let cases = [
            ("127.0.0.1:1883", "127.0.0.1:1883", true),
            ("127.0.0.1:1883", "0.0.0.0:1883", true),
            ("[::]:1883", "10.0.0.1:1883", true),
            ("0.0.0.0:1883", "[::1]:1883", false),
            ("127.0.0.1:1883", "127.0.0.2:1883", false),
            ("127.0.0.1:1883", "127.0.0.1:1884", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ];
        for (one, other, expected) in cases {
            let (a, b) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(
                (overlap(&a, &b), overlap(&b, &a)),
                (expected, expected),
                "{one} {other}"
            );
        }
    }
}
