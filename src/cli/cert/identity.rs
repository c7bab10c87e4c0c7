//! The certificates that a gateway shows to others, as its configuration names them. No I/O.

use std::path::{Path, PathBuf};

use crate::config::Config;

/// A certificate, its key, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// `bridge cloud`; several may share the files.
    pub(super) used_by: Vec<String>,
    pub(super) certificate: PathBuf,
    pub(super) private_key: PathBuf,
    /// Whose certificates it believes in return.
    pub(super) trusts: Option<PathBuf>,
    /// Whom a certificate would name if there is none yet.
    pub(super) common_name: String,
}

/// All of them, in the order of the configuration.
pub(super) fn identities(config: &Config) -> Vec<Identity> {
    let mut found: Vec<Identity> = Vec::new();
    let mut add = |used_by: String, pair: (&Path, &Path), trusts: Option<&Path>, name: &str| {
        let same = found
            .iter_mut()
            .find(|it| it.certificate == pair.0 && it.private_key == pair.1);
        match same {
            Some(identity) => identity.used_by.push(used_by),
            None => found.push(Identity {
                used_by: vec![used_by],
                certificate: pair.0.to_owned(),
                private_key: pair.1.to_owned(),
                trusts: trusts.map(Path::to_owned),
                common_name: name.to_owned(),
            }),
        }
    };
    let gateway = &config.gateway.id;
    for listener in &config.listeners {
        if let Some(tls) = &listener.tls {
            let pair = (&*tls.certificate, &*tls.private_key);
            let used_by = format!("listener {}", listener.name);
            add(used_by, pair, tls.client_ca.as_deref(), gateway);
        }
    }
    for connection in &config.connections {
        if let Some(tls) = connection.tls()
            && let Some((certificate, key)) = &tls.identity
        {
            let used_by = format!("connection {}", connection.name);
            add(used_by, (certificate, key), Some(&tls.ca), gateway);
        }
    }
    for bridge in &config.bridges {
        let options = &bridge.options;
        if let Some(tls) = &options.tls
            && let Some((certificate, key)) = &tls.identity
        {
            let used_by = format!("bridge {}", options.name);
            add(
                used_by,
                (certificate, key),
                Some(&tls.ca),
                &options.client_id,
            );
        }
    }
    found
}

impl Identity {
    /// Whether it is meant: `bridge cloud`, or `cloud` alone.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.used_by.iter().any(|used_by| {
            used_by == name || used_by.split_once(' ').is_some_and(|(_, it)| it == name)
        })
    }

    /// The key that waits for its certificate: `device.key` to `device.new.key`.
    pub(super) fn new_key(&self) -> PathBuf {
        let ending = self.private_key.extension().unwrap_or_default();
        let mut new = std::ffi::OsString::from("new.");
        new.push(if ending.is_empty() {
            "key".as_ref()
        } else {
            ending
        });
        self.private_key.with_extension(new)
    }

    pub(super) fn users(&self) -> String {
        self.used_by.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, BeforeFiles, System};

    #[test]
    fn files_that_are_shared_are_one_identity() {
        let text = "gateway: { id: g1 }\nbroker: { listeners: [{ name: plant, bind: 127.0.0.1:8883, anonymous: true, tls: { certificate: a.crt, private_key: a.key } }] }\nbridges:\n  - { name: cloud, url: mqtts://h, tls: { ca: ca.pem, certificate: a.crt, private_key: a.key }, forward: [{ filter: a }] }\n  - { name: plant, url: mqtts://h, client_id: me, tls: { ca: ca.pem, certificate: b.pem, private_key: b }, forward: [{ filter: b }] }\n  - { name: none, url: mqtts://h, client_id: none, tls: { ca: ca.pem }, forward: [{ filter: c }] }\n";
        let loaded = config::parse(
            text,
            Path::new("/etc/fieldgate.yaml"),
            &BeforeFiles(&System),
        );
        let found = identities(&loaded.unwrap().config);
        let users: Vec<_> = found.iter().map(Identity::users).collect();
        assert_eq!(users, ["listener plant, bridge cloud", "bridge plant"]);
        assert_eq!(found[0].new_key(), Path::new("/etc/a.new.key"));
        assert_eq!(found[1].new_key(), Path::new("/etc/b.new.key"));
        assert_eq!(
            (&*found[0].common_name, &*found[1].common_name),
            ("g1", "me")
        );
        assert!(found[0].is_named("cloud") && found[0].is_named("bridge cloud"));
        assert!(found[1].is_named("plant") && !found[1].is_named("listener plant"));
    }
}
