//! The stand-in upstream: our own broker on a port of its own with mutual TLS, and an observer that counts what it
//! received.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;

use super::certificates::Certificates;
use super::story::DemoError;
use super::tally::{Item, Received, Source};
use crate::auth::{Authenticator, Users};
use crate::bridge::ID_PROPERTY;
use crate::broker::{Broker, BrokerHandle, BrokerOptions, Limits, Link, LinkOptions, Origin};
use crate::listener::{Bind, ListenerOptions, PreparedListener};
use crate::mqtt::{Message, QoS};
use crate::net::{ClientCertificate, ServerTls};
use crate::shutdown::Shutdown;
use crate::topic::TopicFilter;

/// The running upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    broker: BrokerHandle,
    /// Ends with the upstream.
    _observer: JoinSet<()>,
    /// Dropped, it stops the broker and its listener.
    _shutdown: Shutdown,
}

impl Upstream {
    /// Listens on a free port of loopback; only clients with a certificate of the demo's authority get in.
    pub(super) async fn start(certificates: &Certificates) -> Result<Self, DemoError> {
        let shutdown = Shutdown::default();
        let limits = Limits {
            queued_messages: 100_000,
            queued_bytes: 64 << 20,
            ..Limits::default()
        };
        let broker = Broker::start(
            BrokerOptions {
                limits,
                ..BrokerOptions::default()
            },
            Vec::new(),
            Authenticator::new(Users::default()),
            shutdown.stop(),
        )
        .map_err(DemoError::Threads)?;
        let options = ListenerOptions {
            name: "upstream".to_owned(),
            bind: Bind::Tcp((Ipv4Addr::LOCALHOST, 0).into()),
            anonymous: true,
            tls: Some(ServerTls {
                certificate: certificates.upstream.0.clone(),
                private_key: certificates.upstream.1.clone(),
                client_ca: Some(certificates.authority.clone()),
                client_certificate: ClientCertificate::Required,
                crl: None,
                allow_tls12: true,
            }),
            websocket: None,
            user_from_common_name: true,
        };
        let listener = PreparedListener::new(options, &crate::net::TlsTime::default())?;
        let listener = listener.start(broker.clone(), shutdown.stop());
        let address = listener.local_addr().ok_or(DemoError::NoPort)?;
        let options = LinkOptions {
            client_id: "$demo/observer".into(),
            origin: Origin::Gateway,
        };
        let mut link = broker.link(options).await?;
        link.subscribe(TopicFilter::try_from("site/#")?, QoS::ExactlyOnce)
            .await?;
        let received = Arc::default();
        let mut observer = JoinSet::new();
        observer.spawn(observe(link, Arc::clone(&received)));
        Ok(Self {
            address,
            received,
            broker,
            _observer: observer,
            _shutdown: shutdown,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deliveries that the upstream's own broker dropped; anything but 0 would make the verdict wrong.
    pub(super) fn dropped(&self) -> u64 {
        self.broker.stats().dropped
    }
}

async fn observe(mut link: Link, received: Arc<Mutex<Received>>) {
    while let Ok(message) = link.receive().await {
        if let Some(item) = item(&message) {
            received
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(item, id(&message));
        }
    }
}

/// What the bridge tells copies of one message by.
fn id(message: &Message) -> Option<&str> {
    let mut properties = message.properties.as_ref()?.user_properties.iter();
    let (_, id) = properties.find(|(name, _)| name == ID_PROPERTY)?;
    Some(id)
}

/// What a message counts as; status topics and readings without a counter count as nothing.
fn item(message: &Message) -> Option<Item> {
    if message.topic.as_str().ends_with("/numbered") {
        return std::str::from_utf8(&message.payload)
            .ok()?
            .parse()
            .ok()
            .map(Item::Numbered);
    }
    let body: serde_json::Value = serde_json::from_slice(&message.payload).ok()?;
    let count = body.get("values")?.get("counter")?.as_u64()?;
    Some(Item::Reading(Source::of(message.topic.as_str())?, count))
}
