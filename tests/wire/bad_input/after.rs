//! What is wrong with a packet of a client that was let in.

use super::Table;
use super::before::NO_STRINGS;
use crate::packet::{
    PUBACK, PUBCOMP, PUBREC, PUBREL, Property, Publish, V5, V311, Version, ack, ack_with, binary,
    block, disconnect_with, frame, id, subscribe, text, unsubscribe,
};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

pub(super) fn frames(table: &mut Table) {
    for first in [0x41, 0x48, 0x51, 0x71, 0xC1, 0xC8, 0xE1, 0xE8] {
        let name = format!("flags of {first:#04x}");
        let tags = match first {
            0xE1 | 0xE8 => "MQTT-3.14.1-1 MQTT-4.13.1-1 / MQTT311-3.14.1-1",
            _ => "MQTT-2.1.3-1 MQTT-4.13.1-1 / MQTT311-2.2.2-1 MQTT311-2.2.2-2",
        };
        let body: &[u8] = if first < 0x80 { &[0, 1] } else { &[] };
        table.both(&name, tags, MALFORMED, |_| frame(first, body));
    }
    for first in [0x60, 0x61, 0x63, 0x6A] {
        let name = format!("PUBREL with first byte {first:#04x}");
        table.both(&name, "MQTT-3.6.1-1 / MQTT311-3.6.1-1", MALFORMED, |_| {
            ack(first, 1)
        });
    }
    for nibble in [0, 1, 3, 0xA] {
        let name = format!("SUBSCRIBE with flags {nibble:#x}");
        table.both(&name, "MQTT-3.8.1-1 / MQTT311-3.8.1-1", MALFORMED, |v| {
            let mut bytes = subscribe(v, 1, &[], &[("t", 0)]);
            bytes[0] = 0x80 | nibble;
            bytes
        });
        let name = format!("UNSUBSCRIBE with flags {nibble:#x}");
        table.both(&name, "MQTT-3.10.1-1 / MQTT311-3.10.1-1", MALFORMED, |v| {
            let mut bytes = unsubscribe(v, 1, &["t"]);
            bytes[0] = 0xA0 | nibble;
            bytes
        });
    }
    table.both("packet type 0", "", MALFORMED, |_| vec![0, 0]);
    table.both("a length of five bytes", "", MALFORMED, |_| {
        vec![0x30, 0x80, 0x80, 0x80, 0x80, 1]
    });
    table.v5(
        "a length that is not minimal",
        "MQTT-1.5.5-1",
        MALFORMED,
        vec![0xC0, 0x80, 0],
    );
    table.both("PINGREQ with a body", "", MALFORMED, |_| frame(0xC0, &[0]));
    const VIOLATION: &str = "MQTT-4.13.2-1 / MQTT311-4.8.0-1";
    for (name, v5, v311) in [
        (
            "CONNACK from a client",
            &[0x20, 3, 0, 0, 0][..],
            &[0x20, 2, 0, 0][..],
        ),
        (
            "SUBACK from a client",
            &[0x90, 4, 0, 1, 0, 0],
            &[0x90, 3, 0, 1, 0],
        ),
        (
            "UNSUBACK from a client",
            &[0xB0, 4, 0, 1, 0, 0],
            &[0xB0, 2, 0, 1],
        ),
        ("PINGRESP from a client", &[0xD0, 0], &[0xD0, 0]),
        // Whatever is in them, they are out of place before they are malformed.
        ("CONNACK without a body", &[0x20, 0], &[0x20, 0]),
        ("SUBACK with flags set", &[0x9F, 0], &[0x9F, 0]),
        ("UNSUBACK that is not whole", &[0xB0, 99], &[0xB0, 99]),
        ("PINGRESP with a body", &[0xD0, 1, 0], &[0xD0, 1, 0]),
    ] {
        table.both(name, VIOLATION, PROTOCOL_ERROR, |v| {
            if v == V5 { v5 } else { v311 }.to_vec()
        });
    }
}

/// PUBLISH with a topic and an end put together as they come.
fn publish(version: Version, first: u8, topic: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = topic.to_vec();
    if first & 6 > 0 {
        body.extend([0, 1]);
    }
    if version == V5 {
        body.push(0);
    }
    body.extend(rest);
    frame(first, &body)
}

pub(super) fn publishes(table: &mut Table) {
    for first in [0x36, 0x37, 0x3E, 0x3F] {
        let name = format!("PUBLISH at QoS 3, first byte {first:#04x}");
        let tags = "MQTT-3.3.1-4 / MQTT311-3.3.1-4";
        table.both(&name, tags, MALFORMED, |v| {
            publish(v, first, &text("t"), b"x")
        });
    }
    let tags = "MQTT-3.3.1-2 / MQTT311-3.3.1-2";
    table.both("DUP at QoS 0", tags, MALFORMED, |v| {
        publish(v, 0x38, &text("t"), b"x")
    });
    for topic in ["t/#", "#", "+", "a/+/b", "a+", "a#"] {
        let name = format!("PUBLISH to {topic}");
        let tags = "MQTT-3.3.2-2 MQTT-4.7.0-1 / MQTT311-3.3.2-2 MQTT311-4.7.1-1";
        table.both(&name, tags, MALFORMED, |v| {
            publish(v, 0x30, &text(topic), b"x")
        });
    }
    for bytes in NO_STRINGS {
        let name = format!("PUBLISH to {bytes:02x?}");
        let tags = if bytes.contains(&0) {
            "MQTT-1.5.4-2 MQTT-4.7.3-2 / MQTT311-1.5.3-2 MQTT311-4.7.3-2"
        } else {
            "MQTT-1.5.4-1 MQTT-3.3.2-1 / MQTT311-1.5.3-1 MQTT311-3.3.2-1"
        };
        table.both(&name, tags, MALFORMED, |v| {
            publish(v, 0x32, &binary(bytes), b"x")
        });
    }
    let empty = |v| publish(v, 0x30, &text(""), b"x");
    table.v5(
        "PUBLISH to nothing",
        "MQTT-4.7.3-1",
        PROTOCOL_ERROR,
        empty(V5),
    );
    table.v311("PUBLISH to nothing", "MQTT311-4.7.3-1", empty(V311));
    let tags = "MQTT-3.3.2-1 / MQTT311-3.3.2-1";
    table.both("PUBLISH without a topic", tags, MALFORMED, |_| {
        frame(0x30, &[])
    });
    table.both("PUBLISH whose topic is cut off", tags, MALFORMED, |_| {
        frame(0x30, &[0, 5, b't'])
    });
    table.both(
        "PUBLISH at QoS 1 without an identifier",
        "",
        MALFORMED,
        |_| frame(0x32, &text("t")),
    );
    for (first, qos) in [(0x32, 1), (0x34, 2)] {
        let name = format!("PUBLISH at QoS {qos} with identifier 0");
        let tags = " / MQTT311-2.3.1-1";
        table.both(&name, tags, PROTOCOL_ERROR, |v| {
            Publish::new("t", "x").qos(first >> 1 & 3, 0).bytes(v)
        });
    }
}

pub(super) fn publish_properties(table: &mut Table) {
    let with = |properties: &[Property]| {
        let mut publish = Publish::new("t", "x").qos(1, 1);
        publish.properties = properties.to_vec();
        publish.bytes(V5)
    };
    let expiry = Property::Four(id::MESSAGE_EXPIRY, 1);
    let alias = |alias| Property::Two(id::TOPIC_ALIAS, alias);
    for (name, tags, code, properties) in [
        (
            "Payload Format Indicator 2",
            "",
            PROTOCOL_ERROR,
            vec![Property::Byte(id::PAYLOAD_FORMAT, 2)],
        ),
        (
            "Message Expiry Interval twice",
            "",
            PROTOCOL_ERROR,
            vec![expiry.clone(), expiry],
        ),
        ("Topic Alias 0", "MQTT-3.3.2-8", 0x94, vec![alias(0)]),
        (
            "Topic Alias twice",
            "",
            PROTOCOL_ERROR,
            vec![alias(1), alias(1)],
        ),
        (
            "Topic Alias above the maximum",
            "MQTT-3.2.2-17 MQTT-3.3.2-9",
            0x94,
            vec![alias(u16::MAX)],
        ),
        (
            "Response Topic with #",
            "MQTT-3.3.2-14",
            MALFORMED,
            vec![Property::text(id::RESPONSE_TOPIC, "a/#")],
        ),
        (
            "Response Topic with +",
            "MQTT-3.3.2-14",
            MALFORMED,
            vec![Property::text(id::RESPONSE_TOPIC, "+")],
        ),
        (
            "Subscription Identifier from a client",
            "MQTT-3.3.4-6",
            PROTOCOL_ERROR,
            vec![Property::Variable(id::SUBSCRIPTION_ID, 1)],
        ),
        (
            "Session Expiry Interval in PUBLISH",
            "",
            MALFORMED,
            vec![Property::Four(id::SESSION_EXPIRY, 1)],
        ),
    ] {
        table.v5(name, tags, code, with(&properties));
    }
}

pub(super) fn publish_blocks(table: &mut Table) {
    let mut raw = |name: &str, tags: &'static str, properties: &[u8]| {
        let mut body = text("t");
        body.extend(properties);
        table.v5(name, tags, MALFORMED, frame(0x30, &body));
    };
    raw("an unknown property in PUBLISH", "", &[2, 0x7E, 0]);
    raw("a property length beyond PUBLISH", "", &[9, 1, 1]);
    raw(
        "a property length without an end",
        "",
        &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    );
    raw("PUBLISH without a property length", "", &[]);
    raw(
        "a property that ends the block too late",
        "",
        &[2, 2, 0, 0, 0, 1],
    );
    for bytes in NO_STRINGS {
        for (id, tags) in [
            (id::CONTENT_TYPE, "MQTT-3.3.2-19"),
            (id::RESPONSE_TOPIC, "MQTT-3.3.2-13"),
            (id::USER_PROPERTY, "MQTT-1.5.7-1"),
        ] {
            let mut property = [&[id], &binary(bytes)[..]].concat();
            if id == id::USER_PROPERTY {
                property.extend(text("value"));
            }
            let name = format!("property {id:#04x} that is {bytes:02x?}");
            raw(
                &name,
                tags,
                &[&[property.len() as u8], &property[..]].concat(),
            );
        }
    }
}

pub(super) fn acknowledgements(table: &mut Table) {
    for (first, name, wrong) in [
        (PUBACK, "PUBACK", [0x01, 0x92]),
        (PUBREC, "PUBREC", [0x02, 0x8E]),
        (PUBREL, "PUBREL", [0x10, 0x80]),
        (PUBCOMP, "PUBCOMP", [0x10, 0x87]),
    ] {
        let of = |what: &str| format!("{name} {what}");
        table.both(&of("with identifier 0"), "", PROTOCOL_ERROR, |_| {
            ack(first, 0)
        });
        table.both(&of("without a body"), "", MALFORMED, |_| frame(first, &[]));
        table.both(&of("with half an identifier"), "", MALFORMED, |_| {
            frame(first, &[1])
        });
        table.v311(&of("with a third byte"), "", frame(first, &[0, 1, 0]));
        let tags = match first {
            PUBACK => "MQTT-3.4.2-1",
            PUBREC => "MQTT-3.5.2-1",
            PUBREL => "MQTT-3.6.2-1",
            _ => "MQTT-3.7.2-1",
        };
        for code in wrong {
            let name = of(&format!("with {code:#04x}"));
            table.v5(&name, tags, PROTOCOL_ERROR, ack_with(first, 1, code));
        }
        let with = |properties: &[Property]| {
            let mut body = vec![0, 1, 0];
            body.extend(block(properties));
            frame(first, &body)
        };
        let text = Property::text(id::REASON_STRING, "x");
        let twice = with(&[text.clone(), text]);
        table.v5(&of("with Reason String twice"), "", PROTOCOL_ERROR, twice);
        let foreign = with(&[Property::text(id::CONTENT_TYPE, "x")]);
        table.v5(&of("with a Content Type"), "", MALFORMED, foreign);
        let late = frame(first, &[0, 1, 0, 0, 0]);
        table.v5(&of("with bytes behind its end"), "", MALFORMED, late);
    }
}

pub(super) fn subscribes(table: &mut Table) {
    let one = |v, options| subscribe(v, 1, &[], &[("t", options)]);
    let tags = "MQTT-3.8.3-2 / MQTT311-3.8.3-3";
    table.both("SUBSCRIBE without a filter", tags, PROTOCOL_ERROR, |v| {
        subscribe(v, 1, &[], &[])
    });
    table.both("SUBSCRIBE without a body", "", MALFORMED, |_| {
        frame(0x82, &[])
    });
    table.both(
        "SUBSCRIBE with identifier 0",
        " / MQTT311-2.3.1-1",
        PROTOCOL_ERROR,
        |v| subscribe(v, 0, &[], &[("t", 0)]),
    );
    let tags = " / MQTT311-3.8.3-4";
    table.both("SUBSCRIBE at QoS 3", tags, PROTOCOL_ERROR, |v| one(v, 3));
    for bits in [0x40, 0x80, 0xC0] {
        let name = format!("reserved bits {bits:#04x} in SUBSCRIBE");
        let tags = "MQTT-3.8.3-5 / MQTT311-3.8.3-4";
        table.both(&name, tags, MALFORMED, |v| one(v, bits | 1));
    }
    for bits in [0x04, 0x08, 0x10, 0x20] {
        let name = format!("bits {bits:#04x} that 3.1.1 does not have");
        table.v311(&name, "MQTT311-3.8.3-4", one(V311, bits));
    }
    table.v5("Retain Handling 3", "", PROTOCOL_ERROR, one(V5, 0x30));
    let shared = subscribe(V5, 1, &[], &[("$share/s/t", 4)]);
    table.v5(
        "No Local on a shared subscription",
        "MQTT-3.8.3-4",
        PROTOCOL_ERROR,
        shared,
    );
    for bytes in NO_STRINGS {
        let name = format!("SUBSCRIBE to {bytes:02x?}");
        table.both(&name, "MQTT-3.8.3-1 / MQTT311-3.8.3-1", MALFORMED, |v| {
            let mut body = vec![0, 1];
            if v == V5 {
                body.push(0);
            }
            body.extend(binary(bytes));
            body.push(0);
            frame(0x82, &body)
        });
    }
    table.both("SUBSCRIBE whose options are missing", "", MALFORMED, |v| {
        let mut bytes = one(v, 0);
        bytes.pop();
        bytes[1] -= 1;
        bytes
    });
    let number = |number| Property::Variable(id::SUBSCRIPTION_ID, number);
    for (name, code, properties) in [
        ("Subscription Identifier 0", PROTOCOL_ERROR, vec![number(0)]),
        (
            "Subscription Identifier twice",
            PROTOCOL_ERROR,
            vec![number(1), number(2)],
        ),
        (
            "Topic Alias in SUBSCRIBE",
            MALFORMED,
            vec![Property::Two(id::TOPIC_ALIAS, 1)],
        ),
    ] {
        table.v5(name, "", code, subscribe(V5, 1, &properties, &[("t", 0)]));
    }
}

pub(super) fn unsubscribes(table: &mut Table) {
    let tags = "MQTT-3.10.3-2 / MQTT311-3.10.3-2";
    table.both("UNSUBSCRIBE without a filter", tags, PROTOCOL_ERROR, |v| {
        unsubscribe(v, 1, &[])
    });
    table.both(
        "UNSUBSCRIBE with identifier 0",
        " / MQTT311-2.3.1-1",
        PROTOCOL_ERROR,
        |v| unsubscribe(v, 0, &["t"]),
    );
    for bytes in NO_STRINGS {
        let name = format!("UNSUBSCRIBE from {bytes:02x?}");
        table.both(&name, "MQTT-3.10.3-1 / MQTT311-3.10.3-1", MALFORMED, |v| {
            let mut body = vec![0, 1];
            if v == V5 {
                body.push(0);
            }
            body.extend(binary(bytes));
            frame(0xA2, &body)
        });
    }
}

pub(super) fn ends(table: &mut Table) {
    for code in [0x01, 0x03, 0x7F, 0x84, 0xFF] {
        let name = format!("DISCONNECT with {code:#04x}");
        table.v5(&name, "MQTT-3.14.2-1", PROTOCOL_ERROR, frame(0xE0, &[code]));
    }
    let expiry = Property::Four(id::SESSION_EXPIRY, 0);
    let twice = disconnect_with(0, &[expiry.clone(), expiry]);
    table.v5(
        "DISCONNECT with Session Expiry Interval twice",
        "",
        PROTOCOL_ERROR,
        twice,
    );
    let founded = disconnect_with(0, &[Property::Four(id::SESSION_EXPIRY, 1)]);
    table.v5(
        "DISCONNECT that founds a session",
        "",
        PROTOCOL_ERROR,
        founded,
    );
    let foreign = disconnect_with(0, &[Property::Two(id::TOPIC_ALIAS, 1)]);
    table.v5("DISCONNECT with a Topic Alias", "", MALFORMED, foreign);
    table.v311("DISCONNECT with a body", "", frame(0xE0, &[0]));

    let method = block(&[Property::text(id::AUTHENTICATION_METHOD, "SCRAM")]);
    let auth = |code: u8| frame(0xF0, &[&[code], &method[..]].concat());
    let tags = "MQTT-4.12.0-7";
    table.v5(
        "AUTH without a method in CONNECT",
        tags,
        PROTOCOL_ERROR,
        auth(0x18),
    );
    table.v5(
        "AUTH in its shortest form",
        tags,
        PROTOCOL_ERROR,
        frame(0xF0, &[]),
    );
    table.v5(
        "re-authentication",
        "MQTT-4.12.1-2",
        PROTOCOL_ERROR,
        auth(0x19),
    );
    table.v5(
        "AUTH without a method",
        "",
        PROTOCOL_ERROR,
        frame(0xF0, &[0x18, 0]),
    );
    for code in [0x01, 0x80] {
        let name = format!("AUTH with {code:#04x}");
        table.v5(&name, "MQTT-3.15.2-1", PROTOCOL_ERROR, auth(code));
    }
    for first in [0xF1, 0xF2, 0xFF] {
        let name = format!("AUTH with first byte {first:#04x}");
        table.v5(&name, "MQTT-3.15.1-1", MALFORMED, frame(first, &[]));
    }
    table.v311("packet type 15", "", frame(0xF0, &[]));
}
