//! What is wrong with the first packet.

use super::{Answer, Table};
use crate::packet::{
    Connect, PINGREQ, Property, Publish, V5, V311, Version, Will, ack, binary, block, disconnect,
    frame, id, subscribe, text,
};

/// Flags, version and fields of CONNECT put together as they come.
fn connect(version: Version, flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([version.level(), flags, 0, 0]);
    if version == V5 {
        body.push(0);
    }
    body.extend(fields.concat());
    frame(0x10, &body)
}

/// The same with a will, whose properties are none.
fn connect_with_will(version: Version, flags: u8, topic: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    connect(
        version,
        flags,
        &[&text("a"), properties, &binary(topic), &text("x")],
    )
}

fn named(name: &str, level: u8) -> Vec<u8> {
    let mut body = text(name);
    body.extend([level, 2, 0, 0]);
    if level >= 5 {
        body.push(0);
    }
    body.extend(text("a"));
    frame(0x10, &body)
}

pub(super) fn connects(table: &mut Table) {
    const FIRST: &str = "MQTT-3.1.0-1 / MQTT311-3.1.0-1";
    table.first("PUBLISH before CONNECT", FIRST, |v| {
        Publish::new("t", "x").bytes(v)
    });
    table.first("SUBSCRIBE before CONNECT", FIRST, |v| {
        subscribe(v, 1, &[], &[("t", 0)])
    });
    table.first("PINGREQ before CONNECT", FIRST, |_| PINGREQ.to_vec());
    table.first("PUBACK before CONNECT", FIRST, |_| ack(0x40, 1));
    table.first("DISCONNECT before CONNECT", FIRST, |_| disconnect());
    table.first("AUTH before CONNECT", FIRST, |_| frame(0xF0, &[]));
    table.first("CONNACK before CONNECT", FIRST, |_| vec![0x20, 2, 0, 0]);
    table.first("packet type 0 before CONNECT", FIRST, |_| vec![0, 0]);

    const NAME: &str = "MQTT-3.1.2-1 / MQTT311-3.1.2-1 MQTT311-3.2.2-6";
    table.first("protocol name mqtt", NAME, |v| named("mqtt", v.level()));
    table.first("protocol name MQTTX", NAME, |v| named("MQTTX", v.level()));
    table.first("no protocol name", NAME, |v| named("", v.level()));
    let unserved = Answer::Connack(1);
    for level in [0, 2, 3, 6, 255] {
        let name = format!("protocol level {level}");
        table.push(
            V311,
            &name,
            "MQTT-3.1.2-2 MQTT311-3.1.2-2",
            named("MQTT", level),
            false,
            unserved,
        );
    }
    table.push(
        V311,
        "level 4 of MQIsdp",
        "MQTT311-3.1.2-2",
        named("MQIsdp", 4),
        false,
        unserved,
    );

    bodies(table);
    flags_of_the_will(table);
    credentials(table);
    strings_of_connect(table);
}

/// Connect flags, the payload, and the frame around them.
fn bodies(table: &mut Table) {
    table.first(
        "reserved connect flag",
        "MQTT-3.1.2-3 / MQTT311-3.1.2-3",
        |v| connect(v, 0x03, &[&text("a")]),
    );
    const CONFORMS: &str = "MQTT-3.1.4-1 / MQTT311-3.1.4-1";
    table.first("CONNECT without a body", CONFORMS, |_| frame(0x10, &[]));
    table.first("CONNECT that ends in its keep alive", CONFORMS, |v| {
        frame(0x10, &[&text("MQTT")[..], &[v.level(), 2, 0]].concat())
    });
    table.first(
        "CONNECT whose client identifier is cut off",
        CONFORMS,
        |v| connect(v, 2, &[&[0, 5, b'a']]),
    );
    table.first(
        "CONNECT without a client identifier",
        "MQTT-3.1.3-3 / MQTT311-3.1.3-3",
        |v| connect(v, 2, &[]),
    );
    table.first("CONNECT with bytes behind its end", CONFORMS, |v| {
        connect(v, 2, &[&text("a"), &[0]])
    });
    for flags in [0x11, 0x12, 0x14, 0x18] {
        let name = format!("CONNECT with first byte {flags:#04x}");
        table.first(
            &name,
            "MQTT-2.1.3-1 / MQTT311-2.2.2-1 MQTT311-2.2.2-2",
            |v| {
                let mut bytes = Connect::new(v, "a").bytes();
                bytes[0] = flags;
                bytes
            },
        );
    }
    table.first("CONNECT with a length of five bytes", "", |_| {
        vec![0x10, 0x80, 0x80, 0x80, 0x80, 1]
    });
    let mut longer = Connect::new(V5, "a").bytes();
    let len = longer[1];
    longer.splice(1..2, [len | 0x80, 0]);
    let tag = "MQTT-1.5.5-1";
    table.push(
        V5,
        "CONNECT with a length that is not minimal",
        tag,
        longer,
        false,
        Answer::Closed,
    );
}

fn flags_of_the_will(table: &mut Table) {
    let id = text("a");
    for (qos, name) in [(0x08, "1"), (0x10, "2"), (0x18, "3")] {
        let name = format!("will QoS {name} without a will");
        let tags = "MQTT-3.1.2-11 / MQTT311-3.1.2-11 MQTT311-3.1.2-13";
        table.first(&name, tags, |v| connect(v, 0x02 | qos, &[&id]));
    }
    let tags = "MQTT-3.1.2-13 / MQTT311-3.1.2-11 MQTT311-3.1.2-15";
    table.first("will retain without a will", tags, |v| {
        connect(v, 0x22, &[&id])
    });
    let tags = "MQTT-3.1.2-12 / MQTT311-3.1.2-14";
    table.first("will QoS 3", tags, |v| connect_with_will(v, 0x1E, b"t"));
    let tags = "MQTT-3.1.2-9 / MQTT311-3.1.2-9";
    table.first("a will flag without a will", tags, |v| {
        connect(v, 0x06, &[&id])
    });
    table.first("a will topic without a payload", tags, |v| {
        let properties: &[u8] = if v == V5 { &[0] } else { &[] };
        connect(v, 0x06, &[&id, properties, &text("t")])
    });
    table.first("a will without its flag", " / MQTT311-3.1.2-11", |v| {
        connect_with_will(v, 0x02, b"t")
    });
    table.first("a will topic with a wildcard", "", |v| {
        connect_with_will(v, 0x06, b"t/#")
    });
    table.first("an empty will topic", "", |v| {
        connect_with_will(v, 0x06, b"")
    });
}

fn credentials(table: &mut Table) {
    let (id, user, word) = (text("a"), text("user"), text("word"));
    let tags = "MQTT-3.1.2-16 / MQTT311-3.1.2-18";
    table.first("a user name without its flag", tags, |v| {
        connect(v, 0x02, &[&id, &user])
    });
    let tags = "MQTT-3.1.2-17 / MQTT311-3.1.2-19";
    table.first("a user name flag without a user name", tags, |v| {
        connect(v, 0x82, &[&id])
    });
    let tags = "MQTT-3.1.2-18 / MQTT311-3.1.2-20";
    table.first("a password without its flag", tags, |v| {
        connect(v, 0x82, &[&id, &user, &word])
    });
    let tags = "MQTT-3.1.2-19 / MQTT311-3.1.2-21";
    table.first("a password flag without a password", tags, |v| {
        connect(v, 0xC2, &[&id, &user])
    });
    let alone = connect(V311, 0x42, &[&id, &word]);
    let tags = "MQTT311-3.1.2-22";
    table.push(
        V311,
        "a password without a user name",
        tags,
        alone,
        false,
        Answer::Closed,
    );
}

/// Bytes that are no string: not UTF-8, a surrogate, overlong, beyond Unicode, a null character.
pub(super) const NO_STRINGS: [&[u8]; 7] = [
    b"a\xff",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"\xc3",
    b"a\0b",
];

fn strings_of_connect(table: &mut Table) {
    for bytes in NO_STRINGS {
        let field = binary(bytes);
        let name = format!("client identifier {bytes:02x?}");
        table.first(&name, "MQTT-3.1.3-4 / MQTT311-3.1.3-4", |v| {
            connect(v, 2, &[&field])
        });
        let name = format!("will topic {bytes:02x?}");
        table.first(&name, "MQTT-3.1.3-11 / MQTT311-3.1.3-10", |v| {
            connect_with_will(v, 6, bytes)
        });
        let name = format!("user name {bytes:02x?}");
        let tags = "MQTT-3.1.3-12 / MQTT311-3.1.3-11";
        table.first(&name, tags, |v| connect(v, 0x82, &[&text("a"), &field]));
    }
}

/// CONNECT of MQTT 5 with this block of properties is closed.
fn refused(table: &mut Table, name: &str, block: &[u8]) {
    let mut body = text("MQTT");
    body.extend([5, 2, 0, 0]);
    body.extend(block);
    body.extend(text("a"));
    let send = frame(0x10, &body);
    table.push(V5, name, "MQTT-3.1.4-1", send, false, Answer::Closed);
}

pub(super) fn connect_properties(table: &mut Table) {
    let expiry = Property::Four(id::SESSION_EXPIRY, 1);
    let maximum = Property::Two(id::RECEIVE_MAXIMUM, 1);
    for (name, properties) in [
        (
            "Session Expiry Interval twice",
            vec![expiry.clone(), expiry],
        ),
        ("Receive Maximum twice", vec![maximum.clone(), maximum]),
        (
            "Receive Maximum 0",
            vec![Property::Two(id::RECEIVE_MAXIMUM, 0)],
        ),
        (
            "Maximum Packet Size 0",
            vec![Property::Four(id::MAXIMUM_PACKET_SIZE, 0)],
        ),
        (
            "Request Problem Information 2",
            vec![Property::Byte(id::REQUEST_PROBLEM, 2)],
        ),
        (
            "Request Response Information 2",
            vec![Property::Byte(id::REQUEST_RESPONSE, 2)],
        ),
        (
            "data without an Authentication Method",
            vec![Property::Binary(id::AUTHENTICATION_DATA, vec![1])],
        ),
        (
            "Will Delay Interval outside the will",
            vec![Property::Four(id::WILL_DELAY, 1)],
        ),
        (
            "Topic Alias in CONNECT",
            vec![Property::Two(id::TOPIC_ALIAS, 1)],
        ),
        (
            "Assigned Client Identifier from a client",
            vec![Property::text(id::ASSIGNED_CLIENT_ID, "a")],
        ),
    ] {
        refused(table, name, &block(&properties));
    }
}

pub(super) fn connect_blocks(table: &mut Table) {
    let mut refused = |name: &str, block: &[u8]| refused(table, name, block);
    refused("an unknown property", &[2, 0x7E, 0]);
    refused("property 0", &[2, 0, 0]);
    refused("a property that is cut off", &[3, id::SESSION_EXPIRY, 0, 0]);
    refused(
        "a property length beyond the packet",
        &[0x7F, id::SESSION_EXPIRY, 0, 0, 0, 1],
    );
    refused("a property length that is not minimal", &[0x80, 0]);
    for bytes in NO_STRINGS {
        let name = format!("User Property {bytes:02x?}");
        let pair = [&[0x26][..], &text("a"), &binary(bytes)].concat();
        refused(&name, &[&[pair.len() as u8], &pair[..]].concat());
    }
}

pub(super) fn will_properties(table: &mut Table) {
    let format = Property::Byte(id::PAYLOAD_FORMAT, 1);
    for (name, properties) in [
        (
            "Session Expiry Interval in a will",
            vec![Property::Four(id::SESSION_EXPIRY, 1)],
        ),
        (
            "Payload Format Indicator of a will twice",
            vec![format.clone(), format],
        ),
        (
            "Payload Format Indicator 2 of a will",
            vec![Property::Byte(id::PAYLOAD_FORMAT, 2)],
        ),
        (
            "Response Topic of a will with a wildcard",
            vec![Property::text(id::RESPONSE_TOPIC, "a/+")],
        ),
    ] {
        let mut will = Will::new("t", "x");
        will.properties = properties;
        let bytes = Connect::new(V5, "a").will(will).bytes();
        table.push(V5, name, "MQTT-3.1.4-1", bytes, false, Answer::Closed);
    }
}
