//! `profile:`: what it presets, what the file may say instead, and what is warned of.

use std::time::Duration;

use fieldgate::bridge::{BridgeOptions, Ceilings};
use fieldgate::broker::RetainPolicy;
use fieldgate::mqtt::{ProtocolVersion, QoS};

use crate::support::{faults, read};

fn text(url: &str, lines: &str, route: &str) -> String {
    format!(
        "gateway: {{ id: g }}\nbridges:\n  - name: cloud\n    url: {url}\n    tls: {{ ca: ca.pem }}\n{lines}    forward:\n      - {{ {route} }}\n"
    )
}

fn built(url: &str, lines: &str) -> BridgeOptions {
    let loaded = read(&text(url, lines, "filter: a/+")).unwrap();
    assert_eq!(loaded.warnings, []);
    loaded.config.bridges[0].options.clone()
}

#[test]
fn aws_iot_core() {
    let options = built("mqtts://h", "    profile: aws_iot_core\n");
    assert_eq!(options.protocol, ProtocolVersion::V5);
    assert_eq!(options.user, None);
    assert_eq!(options.forward[0].qos, QoS::AtLeastOnce);
    assert_eq!(options.forward[0].retain, RetainPolicy::Keep);
    assert_eq!(options.rate.messages_per_second, 100);
    assert_eq!(options.rate.bytes_per_second, 512 << 10);
    assert_eq!(options.session_expiry, Duration::from_secs(3600));
    assert_eq!(options.ceilings.packet_size, 128 << 10);
    assert_eq!(options.ceilings.topic_levels, 8);
    assert_eq!(options.addresses[0].port, 8883);
    assert!(options.tls.unwrap().alpn.is_empty());
    // On 443 AWS tells MQTT from HTTP by ALPN.
    let options = built("mqtts://h:443", "    profile: aws_iot_core\n");
    assert_eq!(options.tls.unwrap().alpn, ["x-amzn-mqtt-ca"]);
}

#[test]
fn azure_iot_hub() {
    let lines = "    profile: azure_iot_hub\n    client_id: box7\n";
    let route = "filter: a/+, topic: \"devices/box7/messages/events/{topic}\"";
    let loaded = read(&text("mqtts://hub.example.net", lines, route)).unwrap();
    assert_eq!(loaded.warnings, []);
    let options = &loaded.config.bridges[0].options;
    assert_eq!(options.protocol, ProtocolVersion::V311);
    assert_eq!(
        options.user.as_deref(),
        Some("hub.example.net/box7/?api-version=2021-04-12")
    );
    assert_eq!(options.forward[0].qos, QoS::AtLeastOnce);
    assert_eq!(options.forward[0].retain, RetainPolicy::Never);
}

#[test]
fn azure_event_grid() {
    let options = built(
        "mqtts://h",
        "    profile: azure_event_grid\n    client_id: box7\n",
    );
    assert_eq!(options.user.as_deref(), Some("box7"));
    assert!(!options.ceilings.retain);
    assert_eq!(options.rate.messages_per_second, 1000);
}

#[test]
fn what_the_file_says_counts_before_the_profile() {
    let lines = "    profile: azure_iot_hub\n    protocol: 5\n    user: me\n    session_expiry: 2h\n    rate: { messages_per_second: 7 }\n";
    let route = "filter: a/+, topic: \"devices/g/messages/events/{topic}\"";
    let loaded = read(&text("mqtts://h", lines, route)).unwrap();
    let options = &loaded.config.bridges[0].options;
    assert_eq!(options.protocol, ProtocolVersion::V5);
    assert_eq!(options.user.as_deref(), Some("me"));
    assert_eq!(options.session_expiry, Duration::from_secs(7200));
    assert_eq!(options.rate.messages_per_second, 7);
    // No user at all is a choice, too.
    let lines = "    profile: azure_event_grid\n    user: \"\"\n";
    assert_eq!(built("mqtts://h", lines).user, None);
}

#[test]
fn generic_changes_nothing() {
    let generic = built("mqtts://h:443", "    profile: generic\n");
    assert_eq!(generic, built("mqtts://h:443", ""));
    assert_eq!(generic.ceilings, Ceilings::default());
}

#[test]
fn fg034_what_a_provider_does_not_take_is_warned_of() {
    let warned = |lines: &str, route: &str| faults(&text("mqtts://h", lines, route));
    let aws = "    profile: aws_iot_core\n";
    assert_eq!(
        warned(aws, "filter: a, qos: 2"),
        [
            "8:27 FG034 bridges[0].forward[0].qos: AWS IoT Core takes QoS 1 at most: what is published at QoS 2 goes up at QoS 1, and may arrive twice (write `qos: 1`; `fieldgate-id` tells copies apart)"
        ]
    );
    assert_eq!(
        warned(aws, "filter: a/b/c/d/e/f/+, topic: \"x/y/{topic}\""),
        [
            "8:41 FG034 bridges[0].forward[0].topic: this route makes topics of 9 levels and more, and AWS IoT Core takes 8 levels and 256 bytes at most: they would be dropped (write a `topic` with fewer levels, such as site/{3..})"
        ]
    );
    assert_eq!(
        warned(aws, "filter: a/b/c/d/e/f/+, topic: \"x/{topic}\""),
        Vec::<String>::new()
    );
    let event_grid = "    profile: azure_event_grid\n";
    assert_eq!(
        warned(event_grid, "filter: a, retain: keep"),
        [
            "8:30 FG034 bridges[0].forward[0].retain: Azure Event Grid keeps no retained messages: the flag is taken off (write `retain: never`)"
        ]
    );
    let hub = warned("    profile: azure_iot_hub\n", "filter: a");
    assert_eq!(hub.len(), 1);
    assert!(
        hub[0].contains("`devices/g/messages/events/` only"),
        "{hub:?}"
    );
    let keep_alive = warned(
        "    profile: aws_iot_core\n    keep_alive: 30min\n",
        "filter: a",
    );
    assert_eq!(keep_alive.len(), 1);
    assert!(
        keep_alive[0].contains("a keep alive of 1200 s at most"),
        "{keep_alive:?}"
    );
}

#[test]
fn fg034_a_packet_size_that_was_raised_above_the_provider_s_is_warned_of() {
    let sized = |size: &str| {
        let limits = format!("broker: {{ limits: {{ packet_size: {size} }} }}\n");
        faults(&(limits + &text("mqtts://h", "    profile: aws_iot_core\n", "filter: a")))
    };
    assert_eq!(sized("128KiB"), Vec::<String>::new());
    let warned = sized("1MiB");
    assert_eq!(warned.len(), 1);
    assert!(
        warned[0].contains("more than the 128KiB that AWS IoT Core takes"),
        "{warned:?}"
    );
}
