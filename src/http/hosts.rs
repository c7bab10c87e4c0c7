//! Which hosts a request may name. No I/O.
//!
//! A web page on any site can point a name of its own at an address of ours (DNS rebinding), and then read what is answered
//! there as if it was its own. Its requests name that host. So where only this machine reaches the console, only names that
//! nobody else can point here are answered.

use core::net::IpAddr; // an address, no socket

/// The hosts that are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// All: whoever opens the console to a network gives it names that are not known here.
    Any,
    /// Those of this machine.
    Own {
        /// Where it listens.
        address: IpAddr,
        /// The machine's host name.
        name: Option<String>,
    },
}

impl Hosts {
    /// For a console at `address` of the machine that is called `name`.
    #[must_use]
    pub fn of(address: IpAddr, name: Option<String>) -> Self {
        if address.is_loopback() {
            Self::Own { address, name }
        } else {
            Self::Any
        }
    }

    /// Whether `authority`, a host with or without a port, is answered.
    pub(super) fn answer_to(&self, authority: &str) -> bool {
        let Self::Own { address, name } = self else {
            return true;
        };
        let Some(host) = host_of(authority) else {
            return false;
        };
        if let Ok(named) = host.parse::<IpAddr>() {
            return named.is_loopback() || named == *address;
        }
        let name = name.as_deref();
        host.eq_ignore_ascii_case("localhost")
            || name.is_some_and(|name| host.eq_ignore_ascii_case(name))
    }
}

/// Without its port, and an IPv6 address without its brackets. `None` where it is no authority.
fn host_of(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    let is_end = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    (is_end && !host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_only_names_that_nobody_else_can_point_here_are_answered() {
        let hosts = Hosts::of("127.0.0.1".parse().unwrap(), Some("Pump3".to_owned()));
        for host in [
            "127.0.0.1:8080",
            "127.0.0.1",
            "127.9.9.9",
            "localhost:8080",
            "LOCALHOST",
            "[::1]:8080",
            "pump3:8080",
        ] {
            assert!(hosts.answer_to(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8080",
            "pump3.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.7",
            "localhost:80:80",
            "localhost:8o",
            "[::1",
            "[::1]x",
            "",
            ":8080",
            "user@localhost",
        ] {
            assert!(!hosts.answer_to(host), "{host}");
        }
    }

    #[test]
    fn beyond_loopback_the_names_are_the_owners() {
        for address in ["0.0.0.0", "192.0.2.7", "::"] {
            let hosts = Hosts::of(address.parse().unwrap(), None);
            assert!(hosts.answer_to("gateway.plant.example"), "{address}");
        }
    }
}
