//! `websocket:` of a listener.

use super::{below, texts};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::raw;
use crate::config::section::Section;
use crate::listener::{Origins, WebSocketOptions};

const PATH: &str = "/mqtt";

/// `by_itself`: whoever reaches the listener has rights without a password, so that a web page of any site would have
/// them in its visitor's browser.
pub(super) fn websocket(
    context: &mut Context<'_>,
    entry: &Section<raw::Listener>,
    by_itself: bool,
) -> WebSocketOptions {
    let value = entry.raw.websocket.as_ref();
    let section = below::<raw::WebSocket>(context, entry, "websocket", value);
    let path = section.raw.path.clone().unwrap_or_else(|| PATH.to_owned());
    let is_path = path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
    if !is_path {
        context.error(
            Code::BadAddress,
            &section.at("path"),
            "this is no path of a URL",
            "write `/mqtt`: it begins with `/` and has no blank, `?` or `#`",
        );
    }
    let place = section.at("origins");
    let sites = texts(context, section.raw.origins.as_ref(), &place);
    for (site, place) in &sites {
        let is_site = site == "*"
            || site == "null"
            || site
                .split_once("://")
                .is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
        if !is_site {
            context.error(
                Code::BadAddress,
                place,
                "this is no site as browsers name it",
                "write `https://panel.example.com` or `http://10.0.0.5:3000`, without a path; \"*\" for all",
            );
        }
    }
    let origins = if sites.iter().any(|(site, _)| site == "*") {
        Origins::Any
    } else if section.has("origins") {
        Origins::These(sites.into_iter().map(|(site, _)| site).collect())
    } else if by_itself {
        Origins::OwnAddress
    } else {
        Origins::Any
    };
    WebSocketOptions { path, origins }
}
