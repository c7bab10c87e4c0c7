//! MQTT 5.

use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill, Packet, PublishProperties};
use rumqttc::v5::mqttbytes::{QoS, qos as qos_of};
use rumqttc::v5::{Client, Connection, Event, MqttOptions};
use serde_json::{Value, json};

use crate::{Pending, published, run, say, text, transport};

struct Peer(Client);

fn qos(bits: u8) -> QoS {
    qos_of(bits).expect("0, 1 or 2")
}

pub(crate) fn connect(command: &Value, pending: Pending) -> Box<dyn crate::Client> {
    let port = command["port"].as_u64().expect("a port") as u16;
    let mut options = MqttOptions::new(text(command, "id"), "localhost", port);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_clean_start(command["clean"] == true);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = command["expiry"].as_u64().map(|seconds| seconds as u32);
    properties.max_packet_size = Some(1 << 20);
    options.set_connect_properties(properties);
    if let Some(transport) = transport(command) {
        options.set_transport(transport);
    }
    if let Some(will) = command["will"].as_object() {
        let will = Value::Object(will.clone());
        let bits = will["qos"].as_u64().unwrap_or(0) as u8;
        let retain = will["retain"] == true;
        let payload = text(&will, "payload").to_owned();
        options.set_last_will(LastWill::new(
            text(&will, "topic"),
            payload,
            qos(bits),
            retain,
            None,
        ));
    }
    let (client, connection) = Client::new(options, 10);
    run(move || follow(connection, &pending));
    Box::new(Peer(client))
}

fn follow(mut connection: Connection, pending: &Pending) {
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(packet)) => told(packet, pending),
            Ok(Event::Outgoing(Outgoing::Publish(_))) => published(pending, 0),
            Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_) => return,
            Ok(Event::Outgoing(_)) => {}
        }
    }
}

fn told(packet: Packet, pending: &Pending) {
    match packet {
        Packet::ConnAck(connack) => {
            say(&json!({ "event": "connected", "present": connack.session_present }))
        }
        Packet::SubAck(_) => say(&json!({ "event": "subscribed" })),
        Packet::UnsubAck(_) => say(&json!({ "event": "unsubscribed" })),
        Packet::PubAck(_) => published(pending, 1),
        Packet::PubComp(_) => published(pending, 2),
        Packet::Publish(publish) => say(&json!({
            "event": "message",
            "topic": String::from_utf8_lossy(&publish.topic),
            "payload": String::from_utf8_lossy(&publish.payload),
            "qos": publish.qos as u8,
            "retain": publish.retain,
            "properties": publish.properties.as_ref().map_or(json!({}), properties),
        })),
        _ => {}
    }
}

fn properties(properties: &PublishProperties) -> Value {
    json!({
        "content_type": properties.content_type,
        "response_topic": properties.response_topic,
        "correlation": properties.correlation_data.as_ref().map(|data| String::from_utf8_lossy(data)),
        "expiry": properties.message_expiry_interval,
        "user": properties.user_properties,
    })
}

/// As the rig writes them.
fn asked(properties: &Value) -> PublishProperties {
    let pairs = properties["user"].as_array();
    PublishProperties {
        content_type: properties["content_type"].as_str().map(str::to_owned),
        response_topic: properties["response_topic"].as_str().map(str::to_owned),
        correlation_data: properties["correlation"]
            .as_str()
            .map(|data| data.to_owned().into()),
        message_expiry_interval: properties["expiry"].as_u64().map(|seconds| seconds as u32),
        user_properties: pairs
            .into_iter()
            .flatten()
            .map(|pair| {
                let part = |place: usize| pair[place].as_str().unwrap_or_default().to_owned();
                (part(0), part(1))
            })
            .collect(),
        ..PublishProperties::default()
    }
}

impl crate::Client for Peer {
    fn subscribe(&self, filter: String, bits: u8) {
        self.0.subscribe(filter, qos(bits)).expect("it runs");
    }

    fn unsubscribe(&self, filter: String) {
        self.0.unsubscribe(filter).expect("it runs");
    }

    fn publish(&self, message: crate::Outgoing) {
        let level = qos(message.qos);
        let sent = if message.properties.is_object() {
            let properties = asked(&message.properties);
            self.0.publish_with_properties(
                message.topic,
                level,
                message.retain,
                message.payload,
                properties,
            )
        } else {
            self.0
                .publish(message.topic, level, message.retain, message.payload)
        };
        sent.expect("it runs");
    }

    fn disconnect(&self) {
        self.0.disconnect().expect("it runs");
    }
}
