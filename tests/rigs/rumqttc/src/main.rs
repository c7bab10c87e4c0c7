//! rumqttc as a peer of rig_interop.py: a line of JSON in is a thing to do, a line out is what happened. See `LinePeer` there.

use std::io::{BufRead as _, Write as _};
use std::sync::{Arc, Mutex};
use std::thread;

use rumqttc::{TlsConfiguration, Transport};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

mod v311;
mod v5;

/// A message out, both versions.
pub(crate) struct Outgoing {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Value,
}

/// What a client of either version does.
pub(crate) trait Client: Send {
    fn subscribe(&self, filter: String, qos: u8);
    fn unsubscribe(&self, filter: String);
    fn publish(&self, message: Outgoing);
    fn disconnect(&self);
}

/// The QoS of the PUBLISH that waits for its end; the rig sends one at a time.
pub(crate) type Pending = Arc<Mutex<Option<u8>>>;

pub(crate) fn say(event: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{event}")
        .and_then(|()| out.flush())
        .expect("the rig reads");
}

/// The PUBLISH that was waited for has come as far as its QoS asks.
pub(crate) fn published(pending: &Pending, qos: u8) {
    let mut pending = pending.lock().expect("no panic");
    if *pending == Some(qos) {
        *pending = None;
        say(&json!({ "event": "published" }));
    }
}

pub(crate) fn text<'a>(command: &'a Value, key: &str) -> &'a str {
    command[key].as_str().unwrap_or_default()
}

pub(crate) fn transport(command: &Value) -> Option<Transport> {
    let file = command["ca"].as_str()?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).expect("a file of the rig") {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(Transport::Tls(TlsConfiguration::Rustls(Arc::new(config))))
}

fn outgoing(command: &Value) -> Outgoing {
    Outgoing {
        topic: text(command, "topic").to_owned(),
        payload: text(command, "payload").into(),
        qos: command["qos"].as_u64().unwrap_or_default() as u8,
        retain: command["retain"].as_bool().unwrap_or_default(),
        properties: command["properties"].clone(),
    }
}

fn main() {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("the first");
    let pending = Pending::default();
    let mut client: Option<Box<dyn Client>> = None;
    for line in std::io::stdin().lock().lines() {
        let command: Value = serde_json::from_str(&line.expect("the rig writes")).expect("JSON");
        if command["do"] == "connect" {
            let pending = Arc::clone(&pending);
            client = Some(if command["version"] == 5 {
                v5::connect(&command, pending)
            } else {
                v311::connect(&command, pending)
            });
            continue;
        }
        let client = client.as_ref().expect("connect comes first");
        match text(&command, "do") {
            "subscribe" => client.subscribe(
                text(&command, "filter").to_owned(),
                command["qos"].as_u64().unwrap_or(0) as u8,
            ),
            "unsubscribe" => client.unsubscribe(text(&command, "filter").to_owned()),
            "publish" => {
                let message = outgoing(&command);
                *pending.lock().expect("no panic") = Some(message.qos);
                client.publish(message);
            }
            "disconnect" => client.disconnect(),
            other => panic!("{other}"),
        }
    }
}

/// Runs the event loop until the connection ends.
pub(crate) fn run(events: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        events();
        say(&json!({ "event": "closed" }));
        std::process::exit(0);
    });
}
