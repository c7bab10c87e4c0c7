//! `bridges:`.

use serde::Deserialize;
use serde_yaml::Value;

use super::{OneOf, Size, Time, Words};
use crate::bridge::Profile;
use crate::broker::RetainPolicy;
use crate::mqtt::ProtocolVersion;
use crate::secret::Secret;
use crate::store::WhenFull;

/// An entry of `bridges`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Bridge {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) url: Option<String>,
    pub(in crate::config) urls: Option<Vec<Value>>,
    pub(in crate::config) allow_plaintext: Option<bool>,
    pub(in crate::config) profile: Option<OneOf<Profile>>,
    pub(in crate::config) protocol: Option<OneOf<ProtocolVersion>>,
    pub(in crate::config) client_id: Option<String>,
    pub(in crate::config) user: Option<String>,
    pub(in crate::config) password: Option<Secret<String>>,
    pub(in crate::config) keep_alive: Option<Time>,
    pub(in crate::config) session_expiry: Option<Time>,
    pub(in crate::config) tls: Option<Value>,
    pub(in crate::config) forward: Option<Vec<Value>>,
    pub(in crate::config) receive: Option<Vec<Value>>,
    pub(in crate::config) backlog: Option<Value>,
    pub(in crate::config) rate: Option<Value>,
    pub(in crate::config) inflight: Option<u16>,
    pub(in crate::config) backoff: Option<Value>,
}

/// `tls:` of a bridge.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct BridgeTls {
    pub(in crate::config) ca: Option<String>,
    pub(in crate::config) certificate: Option<String>,
    pub(in crate::config) private_key: Option<String>,
    pub(in crate::config) server_name: Option<String>,
    pub(in crate::config) alpn: Option<Vec<Value>>,
}

/// An entry of `forward`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Route {
    pub(in crate::config) filter: Option<String>,
    pub(in crate::config) except: Option<Vec<Value>>,
    pub(in crate::config) topic: Option<String>,
    pub(in crate::config) qos: Option<u8>,
    pub(in crate::config) raise_qos0: Option<bool>,
    pub(in crate::config) live_first: Option<bool>,
    pub(in crate::config) retain: Option<OneOf<RetainPolicy>>,
}

/// An entry of `receive`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Receive {
    pub(in crate::config) filter: Option<String>,
    pub(in crate::config) topic: Option<String>,
    pub(in crate::config) qos: Option<u8>,
    pub(in crate::config) retain: Option<OneOf<RetainPolicy>>,
}

/// `backlog:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Backlog {
    pub(in crate::config) max_bytes: Option<Size>,
    pub(in crate::config) max_age: Option<Time>,
    pub(in crate::config) when_full: Option<OneOf<WhenFull>>,
    pub(in crate::config) late_share: Option<u8>,
}

/// `rate:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Rate {
    pub(in crate::config) messages_per_second: Option<u64>,
    pub(in crate::config) bytes_per_second: Option<u64>,
}

/// `backoff:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Backoff {
    pub(in crate::config) min: Option<Time>,
    pub(in crate::config) max: Option<Time>,
}

impl Words for ProtocolVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("5", Self::V5), ("3.1.1", Self::V311)];
}

impl Words for Profile {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("generic", Self::Generic),
        ("aws_iot_core", Self::AwsIotCore),
        ("azure_iot_hub", Self::AzureIotHub),
        ("azure_event_grid", Self::AzureEventGrid),
    ];
}

impl Words for RetainPolicy {
    const WORDS: &'static [(&'static str, Self)] = &[("keep", Self::Keep), ("never", Self::Never)];
}

impl Words for WhenFull {
    const WORDS: &'static [(&'static str, Self)] =
        &[("drop_oldest", Self::DropOldest), ("refuse", Self::Refuse)];
}
