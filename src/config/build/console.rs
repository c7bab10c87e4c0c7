//! `console:`, where the state of the gateway is served by HTTP. It has no login, so it is for this machine unless the
//! file says otherwise.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::broker::Placed;
use super::{below, bind};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::raw;
use crate::config::section::Section;
use crate::listener::{Bind, ListenerOptions};

/// Where it is unless the file says otherwise.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Its address; `None`: there is none. `listeners` have theirs already, each with where it was given.
pub(super) fn console(
    context: &mut Context<'_>,
    root: &Section<raw::Root>,
    listeners: &[Placed],
) -> Option<SocketAddr> {
    let section = below::<raw::Console>(context, root, "console", root.raw.console.as_ref());
    let place = section.at("bind");
    let said = match section.raw.bind.as_deref() {
        Some("off") => return None,
        Some(bind) => Some(bind::address(context, bind, &place, DEFAULT.port())?),
        None => None,
    };
    let address = said.unwrap_or(DEFAULT);
    let taken = |listener: &ListenerOptions| bind::overlap(&listener.bind, &Bind::Tcp(address));
    if let Some((_, first)) = listeners.iter().find(|(listener, _)| taken(listener)) {
        if said.is_some() {
            let message = format!("{address} is taken already");
            let remedy = "give the console an address or a port of its own";
            context.error_again(Code::ListenerOverlap, &place, first, message, remedy);
        } else {
            let message =
                format!("{DEFAULT} is where the console is by default: there is none now");
            let remedy = "add `console: { bind: 127.0.0.1:8081 }`, or `console: { bind: off }`";
            context.warning(Code::ListenerOverlap, first, message, remedy);
        }
        return None;
    }
    if !address.ip().is_loopback() {
        let message = format!(
            "anybody who reaches {address} may see the state of the gateway: the console has no login"
        );
        let remedy =
            "write `127.0.0.1:8080`, and reach it through SSH or a proxy that asks who it is";
        context.warning(Code::Insecure, &place, message, remedy);
    }
    Some(address)
}
