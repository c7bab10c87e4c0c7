//! What the brokers of the large providers take, and how they want to be spoken to. They say little of it themselves: a
//! limit is often told by a closed connection, or by an acknowledgement that never comes.
//!
//! From their documents as of 2026: AWS IoT Core quotas, Azure IoT Hub "communicate using MQTT", Azure Event Grid MQTT
//! quotas. What an upstream says in its CONNACK counts beside this, and the smaller of both is kept.

use std::time::Duration;

use super::{Ceilings, Rate};
use crate::mqtt::{ProtocolVersion, QoS};

/// Whose broker the upstream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Any; it says by itself what it takes.
    #[default]
    Generic,
    /// AWS IoT Core.
    AwsIotCore,
    /// Azure IoT Hub.
    AzureIotHub,
    /// Azure Event Grid, its MQTT broker.
    AzureEventGrid,
}

impl Profile {
    /// As its provider calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "the upstream",
            Self::AwsIotCore => "AWS IoT Core",
            Self::AzureIotHub => "Azure IoT Hub",
            Self::AzureEventGrid => "Azure Event Grid",
        }
    }

    /// What it takes at most.
    #[must_use]
    pub fn ceilings(self) -> Ceilings {
        let at_least_once = Ceilings {
            maximum_qos: QoS::AtLeastOnce,
            ..Ceilings::default()
        };
        match self {
            Self::Generic => Ceilings::default(),
            // 128 KB of payload; seven slashes.
            Self::AwsIotCore => Ceilings {
                packet_size: 128 << 10,
                topic_levels: 8,
                topic_bytes: 256,
                ..at_least_once
            },
            // It retains nothing, and passes the flag on as a property.
            Self::AzureIotHub => Ceilings {
                packet_size: 256 << 10,
                retain: false,
                ..at_least_once
            },
            // Whether a retained message closes the connection depends on the age of the namespace.
            Self::AzureEventGrid => Ceilings {
                packet_size: 512 << 10,
                retain: false,
                ..at_least_once
            },
        }
    }

    /// What one connection may send; above it, AWS just leaves out the PUBACK.
    #[must_use]
    pub fn rate(self) -> Rate {
        match self {
            Self::Generic | Self::AzureIotHub => Rate::default(),
            Self::AwsIotCore => Rate {
                messages_per_second: 100,
                bytes_per_second: 512 << 10,
            },
            Self::AzureEventGrid => Rate {
                messages_per_second: 1000,
                bytes_per_second: 1 << 20,
            },
        }
    }

    /// The version it speaks best.
    #[must_use]
    pub fn protocol(self) -> ProtocolVersion {
        match self {
            Self::AzureIotHub => ProtocolVersion::V311,
            Self::Generic | Self::AwsIotCore | Self::AzureEventGrid => ProtocolVersion::V5,
        }
    }

    /// The longest keep alive it takes.
    #[must_use]
    pub fn keep_alive_max(self) -> Duration {
        Duration::from_secs(match self {
            Self::Generic => u64::from(u16::MAX),
            Self::AwsIotCore => 1200,
            Self::AzureIotHub => 1177,
            Self::AzureEventGrid => 1160,
        })
    }

    /// How long it keeps a session unless an account says otherwise.
    #[must_use]
    pub fn session_expiry(self) -> Duration {
        match self {
            Self::Generic | Self::AzureIotHub => Duration::from_secs(7 * 86_400),
            Self::AwsIotCore | Self::AzureEventGrid => Duration::from_secs(3600),
        }
    }

    /// The User Name that it wants of a client with a certificate.
    #[must_use]
    pub fn user(self, host: &str, client_id: &str) -> Option<String> {
        match self {
            Self::Generic | Self::AwsIotCore => None,
            Self::AzureIotHub => Some(format!("{host}/{client_id}/?api-version=2021-04-12")),
            Self::AzureEventGrid => Some(client_id.to_owned()),
        }
    }

    /// The ALPN names that it wants at this port: on 443, AWS tells MQTT from HTTP by them.
    #[must_use]
    pub fn alpn(self, port: u16) -> Vec<String> {
        match self {
            Self::AwsIotCore if port == 443 => vec!["x-amzn-mqtt-ca".to_owned()],
            _ => Vec::new(),
        }
    }

    /// What every topic begins with.
    #[must_use]
    pub fn topic_prefix(self, client_id: &str) -> Option<String> {
        (self == Self::AzureIotHub).then(|| format!("devices/{client_id}/messages/events/"))
    }
}
