//! The HTTP request that asks for a WebSocket (RFC 6455 section 4.2), and its answer. No I/O.
//!
//! Who is refused is told what this is and what is missing, in words: whoever points a browser at the port reads them.

use core::net::IpAddr; // an address, no socket

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::WebSocketOptions;

/// What RFC 6455 section 1.3 has the key hashed with.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Sub-protocols, the one of the standard first [MQTT-6.0.0-3]; clients of MQTT 3.1 know only the other.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Which web pages may connect. A browser says of which site the page is; other clients say nothing and are not asked.
///
/// A page on any site can have its visitor's browser connect to us. Where a user name and password are needed, the page
/// does not have them; where none are needed, or the browser shows a client certificate by itself, it would have all
/// the visitor's rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Pages of every site.
    Any,
    /// Pages of the address that the client connects to, which must be an IP address or `localhost`: a name could be
    /// made to point here by whoever made the page (DNS rebinding).
    OwnAddress,
    /// Pages of these sites, such as `https://panel.example.com`.
    These(Vec<String>),
}

/// Why there is no WebSocket: the status and what the client reads.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::listener) enum Refusal {
    #[error("it is not a HTTP/1.1 request")]
    NotHttp,
    #[error("the method is not GET")]
    Method,
    #[error("there is no such path here; the path is {0}")]
    Path(String),
    #[error("it asks for no WebSocket (Upgrade: websocket, Connection: Upgrade)")]
    NoUpgrade,
    #[error("it asks for another version of WebSocket than 13")]
    Version,
    #[error("its Sec-WebSocket-Key is missing or is none")]
    Key,
    #[error("it offers no sub-protocol `mqtt`")]
    Protocol,
    #[error(
        "web pages of {0} may not connect; whoever runs the gateway allows them with `origins: [\"{0}\"]` in `websocket`"
    )]
    Origin(String),
}

/// The answer to the head of a request, its last empty line included; either way it is sent as it is.
pub(super) fn answer(head: &[u8], options: &WebSocketOptions) -> Result<String, (Refusal, String)> {
    accept(head, options).map_err(|refusal| {
        let response = refusal.response(&options.path);
        (refusal, response)
    })
}

fn accept(head: &[u8], options: &WebSocketOptions) -> Result<String, Refusal> {
    let head = str::from_utf8(head).map_err(|_| Refusal::NotHttp)?;
    let (line, fields) = head.split_once("\r\n").ok_or(Refusal::NotHttp)?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(target), Some("HTTP/1.1"), None) = (target, version, words.next()) else {
        return Err(Refusal::NotHttp);
    };
    let fields = Fields::parse(fields).ok_or(Refusal::NotHttp)?;
    if method != Some("GET") {
        return Err(Refusal::Method);
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    if path != options.path {
        return Err(Refusal::Path(options.path.clone()));
    }
    if !fields.has("Upgrade", "websocket") || !fields.has("Connection", "Upgrade") {
        return Err(Refusal::NoUpgrade);
    }
    if fields.only("Sec-WebSocket-Version") != Some("13") {
        return Err(Refusal::Version);
    }
    let key = fields.only("Sec-WebSocket-Key").filter(|key| is_key(key));
    let key = key.ok_or(Refusal::Key)?;
    if let Some(origin) = fields.only("Origin")
        && !options.origins.allow(origin, fields.only("Host"))
    {
        return Err(Refusal::Origin(shown(origin)));
    }
    let offered = |protocol: &&&str| fields.has("Sec-WebSocket-Protocol", protocol);
    let protocol = PROTOCOLS.iter().find(offered).ok_or(Refusal::Protocol)?;
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n",
        accept_key(key)
    ))
}

impl Refusal {
    fn response(&self, path: &str) -> String {
        let status = match self {
            Self::NotHttp | Self::Key | Self::Protocol => "400 Bad Request",
            Self::Origin(_) => "403 Forbidden",
            Self::Path(_) => "404 Not Found",
            Self::Method => "405 Method Not Allowed\r\nAllow: GET",
            Self::NoUpgrade | Self::Version => {
                "426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
            }
        };
        let body = format!(
            "This is MQTT over WebSocket, at the path {path} with the sub-protocol `mqtt`. The request was refused: {self}.\n"
        );
        format!(
            "HTTP/1.1 {status}\r\nConnection: {}close\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\n\r\n{body}",
            if matches!(self, Self::NoUpgrade | Self::Version) {
                "Upgrade, "
            } else {
                ""
            },
            body.len()
        )
    }
}

/// The header fields.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    /// `None` where a line is no field. Their count is bounded by the size of the head.
    fn parse(lines: &'a str) -> Option<Self> {
        let lines = lines.strip_suffix("\r\n\r\n").or_else(|| {
            // No field at all: only the empty line is left.
            lines.strip_suffix("\r\n").filter(|rest| rest.is_empty())
        })?;
        let fields = lines.split("\r\n").filter(|line| !line.is_empty());
        let fields = fields.map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
            is_name.then(|| (name, value.trim_matches([' ', '\t'])))
        });
        fields.collect::<Option<Vec<_>>>().map(Self)
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let fields = self.0.iter();
        fields.filter_map(move |(found, value)| found.eq_ignore_ascii_case(name).then_some(*value))
    }

    /// The value of a field that is there once.
    fn only(&self, name: &str) -> Option<&'a str> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether a field that is a list has `word` in it, in whatever case.
    fn has(&self, name: &str, word: &str) -> bool {
        let mut words = self.values(name).flat_map(|value| value.split(','));
        words.any(|found| found.trim_matches([' ', '\t']).eq_ignore_ascii_case(word))
    }
}

impl Origins {
    fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::These(sites) => sites.iter().any(|site| site.eq_ignore_ascii_case(origin)),
            Self::OwnAddress => {
                let site = origin.split_once("://").map(|(_, site)| host_of(site));
                let own = host.map(host_of);
                site.is_some_and(|site| {
                    let is_address = site.parse::<IpAddr>().is_ok() || site == "localhost";
                    is_address && Some(site) == own
                })
            }
        }
    }
}

/// Without port, and an IPv6 address without its brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    authority
        .split_once(':')
        .map_or(authority, |(host, _)| host)
}

/// What a stranger wrote, fit for a log and for being sent back.
fn shown(text: &str) -> String {
    let safe = |letter: &char| letter.is_ascii_graphic() && !matches!(letter, '"' | '`' | '<');
    text.chars().filter(safe).take(100).collect()
}

/// Base64 of 16 bytes.
fn is_key(key: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let digits = key.strip_suffix("==");
    digits.is_some_and(|digits| digits.len() == 22 && digits.bytes().all(digit))
}

fn accept_key(key: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    base64(hash.as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 0x3F;
            let digit = DIGITS.get(digit as usize).copied().unwrap_or(b'=');
            text.push(if place > chunk.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn options(origins: Origins) -> WebSocketOptions {
        WebSocketOptions {
            path: "/mqtt".to_owned(),
            origins,
        }
    }

    /// A sound request with one line another; an empty one takes it away.
    fn request(change: &str, into: &str) -> String {
        let lines = [
            "GET /mqtt HTTP/1.1",
            "Host: 192.168.1.5:9001",
            "Upgrade: websocket",
            "Connection: keep-alive, Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: chat, mqtt",
        ];
        let mut text = String::new();
        for line in lines {
            let line = if line.starts_with(change) && !change.is_empty() {
                into
            } else {
                line
            };
            if !line.is_empty() {
                write!(text, "{line}\r\n").unwrap();
            }
        }
        text + "\r\n"
    }

    fn ask(request: &str, origins: Origins) -> Result<String, (Refusal, String)> {
        answer(request.as_bytes(), &options(origins))
    }

    /// The status line of the answer.
    fn status(change: &str, into: &str) -> String {
        let answer = ask(&request(change, into), Origins::Any);
        let answer = answer.unwrap_or_else(|(_, response)| response);
        let (status, _) = answer.split_once("\r\n").unwrap();
        status.strip_prefix("HTTP/1.1 ").unwrap().to_owned()
    }

    #[test]
    fn the_example_of_the_rfc_is_answered_as_there() {
        let answer = ask(&request("", ""), Origins::Any).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "));
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"));
        assert!(answer.ends_with("\r\n\r\n"));
    }

    #[test]
    fn mqtt_6_0_0_4_the_sub_protocol_is_one_that_the_client_offers() {
        for (offer, chosen) in [
            ("mqtt", Some("mqtt")),
            ("MQTT", Some("mqtt")),
            ("mqttv3.1,mqtt", Some("mqtt")),
            ("mqttv3.1", Some("mqttv3.1")),
            ("mqttish", None),
            ("", None),
        ] {
            let line = format!("Sec-WebSocket-Protocol: {offer}");
            let answer = ask(&request("Sec-WebSocket-Protocol", &line), Origins::Any);
            match chosen {
                Some(chosen) => {
                    let line = format!("\r\nSec-WebSocket-Protocol: {chosen}\r\n");
                    assert!(answer.unwrap().contains(&line), "{offer}");
                }
                None => assert_eq!(answer.unwrap_err().0, Refusal::Protocol, "{offer}"),
            }
        }
        let two = "Sec-WebSocket-Protocol: chat\r\nsec-websocket-protocol: mqtt";
        assert!(ask(&request("Sec-WebSocket-Protocol", two), Origins::Any).is_ok());
    }

    #[test]
    fn each_thing_missing_has_its_status() {
        let cases = [
            (
                "GET",
                "GET /mqtt?token=x HTTP/1.1",
                "101 Switching Protocols",
            ),
            ("GET", "GET / HTTP/1.1", "404 Not Found"),
            ("GET", "GET /mqtt/ HTTP/1.1", "404 Not Found"),
            ("GET", "POST /mqtt HTTP/1.1", "405 Method Not Allowed"),
            ("GET", "GET /mqtt HTTP/1.0", "400 Bad Request"),
            ("GET", "GET /mqtt", "400 Bad Request"),
            ("GET", "GET  /mqtt HTTP/1.1", "400 Bad Request"),
            ("Host", "no field", "400 Bad Request"),
            ("Host", ": no name", "400 Bad Request"),
            ("Host", " folded: line", "400 Bad Request"),
            ("Upgrade", "", "426 Upgrade Required"),
            ("Upgrade", "Upgrade: h2c", "426 Upgrade Required"),
            ("Connection", "Connection: close", "426 Upgrade Required"),
            ("Sec-WebSocket-Version", "", "426 Upgrade Required"),
            (
                "Sec-WebSocket-Version",
                "Sec-WebSocket-Version: 8",
                "426 Upgrade Required",
            ),
            ("Sec-WebSocket-Key", "", "400 Bad Request"),
            (
                "Sec-WebSocket-Key",
                "Sec-WebSocket-Key: short",
                "400 Bad Request",
            ),
            ("Sec-WebSocket-Protocol", "", "400 Bad Request"),
        ];
        for (change, into, expected) in cases {
            assert_eq!(status(change, into), expected, "{into:?}");
        }
        assert!(ask("\r\n\r\n", Origins::Any).is_err());
        assert!(answer(b"GET /\xFF HTTP/1.1\r\n\r\n", &options(Origins::Any)).is_err());
    }

    #[test]
    fn a_refusal_says_what_this_is_and_what_to_do() {
        let (_, response) = ask("GET / HTTP/1.1\r\n\r\n", Origins::Any).unwrap_err();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(body.contains("This is MQTT over WebSocket, at the path /mqtt"));
        assert!(body.contains("no such path here"));
        let foreign = request("Host", "Origin: http://evil.example/\"<script>");
        let (_, response) = ask(&foreign, Origins::OwnAddress).unwrap_err();
        assert!(response.starts_with("HTTP/1.1 403 "));
        assert!(response.contains("origins: [\"http://evil.example/script>\"]"));
    }

    #[test]
    fn web_pages_of_other_sites_are_kept_out_where_they_would_have_rights() {
        let ask = |origin: &str, host: &str, origins: &Origins| {
            let lines = format!("Host: {host}\r\nOrigin: {origin}");
            ask(&request("Host", &lines), origins.clone()).is_ok()
        };
        let own = Origins::OwnAddress;
        assert!(ask("http://192.168.1.5:8080", "192.168.1.5:9001", &own));
        assert!(ask("https://[fd00::1]", "[fd00::1]:9001", &own));
        assert!(ask("http://localhost:3000", "localhost:9001", &own));
        assert!(!ask("http://evil.example", "192.168.1.5:9001", &own));
        assert!(!ask("http://evil.example:9001", "evil.example:9001", &own));
        assert!(!ask("null", "192.168.1.5", &own));
        let these = Origins::These(vec!["https://panel.example".to_owned()]);
        assert!(ask("https://panel.example", "gateway:9001", &these));
        assert!(!ask("http://panel.example", "gateway:9001", &these));
        assert!(ask("http://evil.example", "gateway:9001", &Origins::Any));
    }

    #[test]
    fn a_client_that_is_no_browser_says_no_origin() {
        for origins in [Origins::OwnAddress, Origins::These(Vec::new())] {
            assert!(ask(&request("", ""), origins).is_ok());
        }
    }

    #[test]
    fn base64_pads() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foo"), "Zm9v");
    }
}
