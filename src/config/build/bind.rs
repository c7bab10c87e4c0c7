//! Addresses that are listened on.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::listener::Bind;

/// The path of a unix socket.
pub(super) fn socket_path(context: &mut Context<'_>, path: &str, place: &Place) -> Option<PathBuf> {
    let whole = context.path(path, place);
    let length = whole.as_os_str().len();
    if path.is_empty() || path.ends_with('/') || length > Bind::PATH_BYTES_MAX {
        let message = format!(
            "a unix socket needs the path of a file, of at most {} bytes",
            Bind::PATH_BYTES_MAX
        );
        let remedy = "write `unix:/run/fieldgate/mqtt.sock`";
        context.error(Code::BadAddress, place, message, remedy);
        return None;
    }
    Some(whole)
}

/// An address of this machine; `usual` is the port that an example has.
pub(super) fn address(
    context: &mut Context<'_>,
    bind: &str,
    place: &Place,
    usual: u16,
) -> Option<SocketAddr> {
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
        format!("add the port: `{}`", SocketAddr::new(ip, usual))
    } else {
        format!(
            "write `127.0.0.1:{usual}` or \"[::1]:{usual}\": an IP address of this machine and a port"
        )
    };
    context.error(
        Code::BadAddress,
        place,
        "this is no IP address with a port",
        remedy,
    );
    None
}

/// Whether both cannot be listened on. `[::]` takes the IPv4 addresses too.
pub(super) fn overlap(one: &Bind, other: &Bind) -> bool {
    let (Bind::Tcp(one), Bind::Tcp(other)) = (one, other) else {
        return one == other;
    };
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
            ("unix:/run/a", "unix:/run/a", true),
            ("unix:/run/a", "unix:/run/b", false),
            ("unix:/run/a", "127.0.0.1:1883", false),
        ];
        for (one, other, expected) in cases {
            let bind = |text: &str| match text.strip_prefix("unix:") {
                Some(path) => Bind::Unix(path.into()),
                None => Bind::Tcp(text.parse().unwrap()),
            };
            let (a, b) = (bind(one), bind(other));
            assert_eq!(
                (overlap(&a, &b), overlap(&b, &a)),
                (expected, expected),
                "{one} {other}"
            );
        }
    }
}
