//! The two commands by which a person tries a login: one that reads and one that publishes, at an address that the user can
//! reach, on a topic that it may use. No I/O.

use crate::auth::{AccessEntry, AccessOptions, Who};
use crate::config::Config;
use crate::listener::{Bind, ListenerOptions};
use crate::topic::Template;

/// What to try, as lines to copy; none where no listener takes a user by TCP.
pub(super) fn commands(config: &Config, user: &str) -> Vec<String> {
    let Some((listener, to)) = config.listeners.iter().find_map(reachable) else {
        return Vec::new();
    };
    let mut options = format!("{to} -u {} -P PASSWORD", quoted(user));
    if let Some(tls) = &listener.tls {
        // Who signed it is not known here; where nobody else did, it is the certificate itself.
        options += &format!(
            " --cafile {}",
            quoted(&tls.certificate.display().to_string())
        );
    }
    let (publish, subscribe) = topics(&config.access, user);
    vec![
        format!("mosquitto_sub {options} -t {} -v", quoted(&subscribe)),
        format!("mosquitto_pub {options} -t {} -m hello", quoted(&publish)),
    ]
}

fn reachable(listener: &ListenerOptions) -> Option<(&ListenerOptions, String)> {
    let Bind::Tcp(address) = listener.bind else {
        return None;
    };
    // Neither tool speaks WebSocket; a certificate is another way to log in.
    if listener.websocket.is_some() || listener.user_from_common_name || address.port() == 0 {
        return None;
    }
    let host = if address.ip().is_unspecified() {
        "127.0.0.1".to_owned()
    } else {
        address.ip().to_string()
    };
    Some((listener, format!("-h {host} -p {}", address.port())))
}

/// One to publish on and a filter to read, which the rules allow where there are any.
fn topics(access: &AccessOptions, user: &str) -> (String, String) {
    let entries = match access {
        AccessOptions::Entries(entries) => entries.as_slice(),
        AccessOptions::NoRules | AccessOptions::MosquittoAcl(_) => &[],
    };
    let is_about = |entry: &&AccessEntry| match &entry.who {
        Who::User(name) => name == user,
        Who::AnyUser | Who::Anyone => true,
        Who::ClientId(_) | Who::Anonymous => false,
    };
    let mine = || entries.iter().filter(is_about);
    let filled = |template: &Template| template.fill(|_| Some(user.to_owned())).text();
    let publish = mine().flat_map(|entry| &entry.publish).find_map(filled);
    let subscribe = mine().flat_map(|entry| &entry.subscribe).find_map(filled);
    let publish = publish.unwrap_or_else(|| "test".to_owned());
    let topic = publish.replace(['+', '#'], "test");
    let subscribe = subscribe.unwrap_or_else(|| topic.clone());
    (topic, subscribe)
}

/// For a shell.
fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./:".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, BeforeFiles, System};

    fn commands_of(text: &str, user: &str) -> Vec<String> {
        let loaded = config::parse(text, Path::new("fieldgate.yaml"), &BeforeFiles(&System));
        commands(&loaded.unwrap().config, user)
    }

    #[test]
    fn a_login_is_tried_where_it_counts_and_with_what_it_may_do() {
        let text = "gateway: { id: g1 }\nbroker:\n  users_file: users\n  listeners:\n    - { name: web, bind: 127.0.0.1:9001, websocket: { path: /mqtt } }\n    - { name: plant, bind: 0.0.0.0:1884 }\n";
        assert_eq!(
            commands_of(text, "it's"),
            [
                r"mosquitto_sub -h 127.0.0.1 -p 1884 -u 'it'\''s' -P PASSWORD -t test -v",
                r"mosquitto_pub -h 127.0.0.1 -p 1884 -u 'it'\''s' -P PASSWORD -t test -m hello",
            ]
        );
        let text = format!(
            "{text}  access:\n    - {{ user: plc7, publish: [\"plant/{{user}}/#\"], subscribe: [\"plant/+/cmd/#\"] }}\n"
        );
        assert_eq!(
            commands_of(&text, "plc7"),
            [
                "mosquitto_sub -h 127.0.0.1 -p 1884 -u plc7 -P PASSWORD -t 'plant/+/cmd/#' -v",
                "mosquitto_pub -h 127.0.0.1 -p 1884 -u plc7 -P PASSWORD -t plant/plc7/test -m hello",
            ]
        );
        let none = "broker: { users_file: users, listeners: [{ name: a, bind: \"unix:/run/mqtt.sock\" }] }\n";
        assert!(commands_of(none, "plc7").is_empty());
    }
}
