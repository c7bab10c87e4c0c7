//! Hosts, and the URLs of upstreams.

use std::net::IpAddr;

use super::texts;
use crate::bridge::Address;
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::section::Section;
use crate::config::{later, raw};

const FORM: &str = "write mqtts://broker.example.com:8883";

pub(super) fn addresses(context: &mut Context<'_>, section: &Section<raw::Bridge>) -> Vec<Address> {
    let raw = &section.raw;
    if section.has("url") && section.has("urls") {
        let message = "`url` and `urls` both say where the upstream is";
        context.error_at_key(
            Code::Contradiction,
            &section.at("urls"),
            message,
            "put all into `urls`",
        );
    }
    if !section.has("url") && !section.has("urls") {
        let remedy = "add `url: mqtts://broker.example.com:8883`, or several as `urls:`";
        let (message, place) = ("`url` is missing", &section.place);
        context.error_at_key(Code::MissingKey, place, message, remedy);
    }
    let mut urls: Vec<(String, Place)> = raw
        .url
        .iter()
        .map(|url| (url.clone(), section.at("url")))
        .collect();
    if raw.urls.as_ref().is_some_and(Vec::is_empty) {
        context.error(
            Code::MissingKey,
            &section.at("urls"),
            "`urls` is empty",
            "name at least one upstream",
        );
    }
    urls.extend(texts(context, raw.urls.as_ref(), &section.at("urls")));
    let mut addresses = Vec::new();
    for (url, place) in urls {
        let Some(address) = address(context, &url, &place) else {
            continue;
        };
        if !address.tls && raw.allow_plaintext != Some(true) {
            let message = "mqtt:// sends everything, passwords too, readable to anybody on the way";
            let remedy = "write `mqtts://` and `tls:`, or accept it with `allow_plaintext: true`";
            context.error(Code::Insecure, &place, message, remedy);
        }
        addresses.push(address);
    }
    addresses
}

/// An upstream's address; what is wrong with it is noted.
fn address(context: &mut Context<'_>, url: &str, place: &Place) -> Option<Address> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (tls, usual) = scheme_of(context, scheme, place)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        let message = "a URL is shown in logs, so it holds no user and no password";
        let remedy = "write `user:` and `password: ${file:...}` beside it";
        context.error(Code::BadAddress, place, message, remedy);
        return None;
    }
    if rest.contains(['/', '?', '#']) {
        let message = "an upstream has a host and a port, but no path";
        context.error(Code::BadAddress, place, message, FORM);
        return None;
    }
    let (host, port) = host_and_port(rest);
    let port = match port.map(str::parse::<u16>) {
        None => usual,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => {
            let message = format!("`{}` is no port", quoted(port.unwrap_or_default()));
            context.error(Code::BadAddress, place, message, "write 1 to 65535");
            return None;
        }
    };
    is_host(context, host, place).then(|| Address {
        host: host.to_owned(),
        port,
        tls,
    })
}

/// Whether the scheme means TLS, and its usual port.
fn scheme_of(context: &mut Context<'_>, scheme: &str, place: &Place) -> Option<(bool, u16)> {
    let (code, message, remedy) = match scheme {
        "mqtts" => return Some((true, 8883)),
        "mqtt" => return Some((false, 1883)),
        "" => (
            Code::BadAddress,
            "this is no URL of an upstream".to_owned(),
            FORM,
        ),
        "ws" | "wss" => (
            Code::NotAvailable,
            later::not_available(&format!("{scheme}://")),
            FORM,
        ),
        other => {
            let remedy = match other {
                "tcp" => "write `mqtt://`",
                "ssl" | "tls" | "mqtt+ssl" => "write `mqtts://`",
                _ => FORM,
            };
            (
                Code::BadAddress,
                format!("`{}://` is no way to an upstream", quoted(other)),
                remedy,
            )
        }
    };
    context.error(code, place, message, remedy);
    None
}

/// `host:port`, `[::1]:port`, and both without a port.
fn host_and_port(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

/// Whether `host` is a host name or an IP address; what it is else is noted at `place`.
pub(super) fn is_host(context: &mut Context<'_>, host: &str, place: &Place) -> bool {
    let of_a_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '.' | '_');
    if host.parse::<IpAddr>().is_ok()
        || !host.is_empty() && host.len() < 254 && host.chars().all(of_a_name)
    {
        return true;
    }
    let remedy = match host.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && !host.contains([':', '/']) => {
            format!("write `host: {}` and `port: {port}`", quoted(host))
        }
        _ => {
            "write a name such as plc.example.com, or an address such as 192.168.10.21 or fd00::21"
                .to_owned()
        }
    };
    context.error(
        Code::BadAddress,
        place,
        format!("`{}` is no host", quoted(host)),
        remedy,
    );
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_come_apart() {
        assert_eq!(host_and_port("a:1"), ("a", Some("1")));
        assert_eq!(host_and_port("a"), ("a", None));
        assert_eq!(host_and_port("[::1]:1883"), ("::1", Some("1883")));
        assert_eq!(host_and_port("[::1]"), ("::1", None));
        assert_eq!(host_and_port("::1"), ("::1", None));
    }
}
