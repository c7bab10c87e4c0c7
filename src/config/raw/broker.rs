//! `broker:` and `store:`.

use serde::Deserialize;
use serde_yaml::Value;

use super::{OneOf, Size, Time, Words};
use crate::broker::{Durability, WhenQueueFull};
use crate::net::ClientCertificate;

/// `broker:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Broker {
    pub(in crate::config) listeners: Option<Vec<Value>>,
    pub(in crate::config) users_file: Option<String>,
    pub(in crate::config) access: Option<Vec<Value>>,
    pub(in crate::config) mosquitto_acl_file: Option<String>,
    pub(in crate::config) limits: Option<Value>,
    pub(in crate::config) when_queue_full: Option<OneOf<WhenQueueFull>>,
}

/// An entry of `broker.listeners`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Listener {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) bind: Option<String>,
    pub(in crate::config) anonymous: Option<bool>,
    pub(in crate::config) tls: Option<Value>,
    pub(in crate::config) websocket: Option<Value>,
}

/// `websocket:` of a listener.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct WebSocket {
    pub(in crate::config) path: Option<String>,
    pub(in crate::config) origins: Option<Vec<Value>>,
}

/// `tls:` of a listener.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ListenerTls {
    pub(in crate::config) certificate: Option<String>,
    pub(in crate::config) private_key: Option<String>,
    pub(in crate::config) client_ca: Option<String>,
    pub(in crate::config) client_certificate: Option<OneOf<ClientCertificate>>,
    pub(in crate::config) crl: Option<String>,
    pub(in crate::config) user_from: Option<OneOf<UserFrom>>,
    pub(in crate::config) minimum_version: Option<OneOf<TlsVersion>>,
}

/// An entry of `broker.access`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Access {
    pub(in crate::config) user: Option<String>,
    pub(in crate::config) client_id: Option<String>,
    pub(in crate::config) anonymous: Option<bool>,
    pub(in crate::config) publish: Option<Vec<Value>>,
    pub(in crate::config) subscribe: Option<Vec<Value>>,
}

/// Who a client with a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum UserFrom {
    /// Whoever its user name and password say.
    Off,
    /// Its certificate's common name.
    CommonName,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum TlsVersion {
    Tls12,
    Tls13,
}

/// `broker.limits:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Limits {
    pub(in crate::config) connections: Option<u32>,
    pub(in crate::config) connections_per_address: Option<u32>,
    pub(in crate::config) connect_timeout: Option<Time>,
    pub(in crate::config) packet_size: Option<Size>,
    pub(in crate::config) topic_levels: Option<u32>,
    pub(in crate::config) subscriptions_per_client: Option<u32>,
    pub(in crate::config) receive_maximum: Option<u16>,
    pub(in crate::config) inflight: Option<u16>,
    pub(in crate::config) topic_alias_maximum: Option<u16>,
    pub(in crate::config) sessions: Option<u32>,
    pub(in crate::config) queued_messages: Option<u32>,
    pub(in crate::config) queued_bytes: Option<Size>,
    pub(in crate::config) queued_bytes_total: Option<Size>,
    pub(in crate::config) keep_alive_maximum: Option<Time>,
    pub(in crate::config) session_expiry_maximum: Option<Time>,
    pub(in crate::config) retained_messages: Option<u32>,
    pub(in crate::config) retained_bytes: Option<Size>,
    pub(in crate::config) maximum_qos: Option<u8>,
    pub(in crate::config) empty_client_id: Option<bool>,
}

/// `store:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Store {
    pub(in crate::config) commit_interval: Option<Time>,
    pub(in crate::config) durability: Option<OneOf<Durability>>,
    pub(in crate::config) hold_for_upstream: Option<Time>,
    pub(in crate::config) hold_bytes: Option<Size>,
    pub(in crate::config) free_space_minimum: Option<Size>,
}

impl Words for ClientCertificate {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("optional", Self::Optional),
        ("required", Self::Required),
    ];
}

impl Words for WhenQueueFull {
    const WORDS: &'static [(&'static str, Self)] =
        &[("drop_oldest", Self::DropOldest), ("refuse", Self::Refuse)];
}

impl Words for Durability {
    const WORDS: &'static [(&'static str, Self)] =
        &[("strict", Self::Strict), ("interval", Self::Interval)];
}

impl Words for UserFrom {
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("common_name", Self::CommonName)];
}

impl Words for TlsVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", Self::Tls12), ("1.3", Self::Tls13)];
}
