//! `tls:` of whoever dials: a bridge, a Modbus TCP connection.

use std::path::PathBuf;

use super::address::is_host;
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::section::Section;
use crate::net::ClientTls;

/// What both have, as it is written.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) ca: Option<&'a String>,
    pub(super) certificate: Option<&'a String>,
    pub(super) private_key: Option<&'a String>,
    pub(super) server_name: Option<&'a String>,
}

/// Whom to trust, and who we are; `ca` as an example where it is missing. Without ALPN.
pub(super) fn client_tls<T>(
    context: &mut Context<'_>,
    tls: &Section<T>,
    said: Said<'_>,
    example: &str,
) -> Option<ClientTls> {
    let ca = tls.required(context, "ca", said.ca, example);
    let ca = ca.map(|name| context.file(name, &tls.at("ca")));
    let file = |context: &mut Context<'_>, key, name: Option<&String>| -> Option<PathBuf> {
        name.map(|name| context.file(name, &tls.at(key)))
    };
    let certificate = file(context, "certificate", said.certificate);
    let private_key = file(context, "private_key", said.private_key);
    for (given, missing) in [
        ("certificate", "private_key"),
        ("private_key", "certificate"),
    ] {
        if tls.has(given) && !tls.has(missing) {
            let message = format!("`{given}` needs `{missing}`");
            let remedy = format!("add `{missing}`");
            context.error_at_key(Code::MissingKey, &tls.at(given), message, remedy);
        }
    }
    if let Some(name) = said.server_name {
        is_host(context, name, &tls.at("server_name"));
    }
    Some(ClientTls {
        ca: ca?,
        identity: certificate.zip(private_key),
        server_name: said.server_name.cloned(),
        alpn: Vec::new(),
    })
}
