//! MQTT 3.1.1.

use std::time::Duration;

use rumqttc::{Client, Connection, Event, LastWill, MqttOptions, Outgoing, Packet, QoS};
use serde_json::{Value, json};

use crate::{Pending, published, run, say, text, transport};

struct Peer(Client);

fn qos(bits: u8) -> QoS {
    rumqttc::qos(bits).expect("0, 1 or 2")
}

pub(crate) fn connect(command: &Value, pending: Pending) -> Box<dyn crate::Client> {
    let port = command["port"].as_u64().expect("a port") as u16;
    let mut options = MqttOptions::new(text(command, "id"), "localhost", port);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_max_packet_size(1 << 20, 1 << 20);
    options.set_clean_session(command["clean"] == true);
    if let Some(transport) = transport(command) {
        options.set_transport(transport);
    }
    if let Some(will) = command["will"].as_object() {
        let will = Value::Object(will.clone());
        let bits = will["qos"].as_u64().unwrap_or(0) as u8;
        let retain = will["retain"] == true;
        options.set_last_will(LastWill::new(
            text(&will, "topic"),
            text(&will, "payload"),
            qos(bits),
            retain,
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
            "topic": publish.topic,
            "payload": String::from_utf8_lossy(&publish.payload),
            "qos": publish.qos as u8,
            "retain": publish.retain,
        })),
        _ => {}
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
        let sent = self.0.publish(
            message.topic,
            qos(message.qos),
            message.retain,
            message.payload,
        );
        sent.expect("it runs");
    }

    fn disconnect(&self) {
        self.0.disconnect().expect("it runs");
    }
}
