//! MQTT packets by hand: enough of both versions to play a client; `receive` reads strictly what a server may send.
//!
//! It shares nothing with the codec under test. Building takes anything, so that wrong packets can be built too.

mod receive;

pub use receive::{Ack, Codes, Connack, Packet, read};

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V31,
    V311,
    V5,
}

pub use Version::{V5, V31, V311};

impl Version {
    pub fn level(self) -> u8 {
        match self {
            V31 => 3,
            V311 => 4,
            V5 => 5,
        }
    }
}

/// Property identifiers (MQTT 5 section 2.2.2.2).
pub mod id {
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_ID: u8 = 0x0B;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM: u8 = 0x17;
    pub const WILL_DELAY: u8 = 0x18;
    pub const REQUEST_RESPONSE: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub const SHARED_AVAILABLE: u8 = 0x2A;
}

/// Properties, to send and as received.
pub type Properties = Vec<Property>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    Byte(u8, u8),
    Two(u8, u16),
    Four(u8, u32),
    Variable(u8, u32),
    Text(u8, String),
    Binary(u8, Vec<u8>),
    Pair(String, String),
}

impl Property {
    pub fn text(id: u8, text: &str) -> Self {
        Self::Text(id, text.to_owned())
    }

    pub fn pair(name: &str, value: &str) -> Self {
        Self::Pair(name.to_owned(), value.to_owned())
    }

    pub fn id(&self) -> u8 {
        match self {
            Self::Byte(id, _)
            | Self::Two(id, _)
            | Self::Four(id, _)
            | Self::Variable(id, _)
            | Self::Text(id, _)
            | Self::Binary(id, _) => *id,
            Self::Pair(..) => id::USER_PROPERTY,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.id());
        match self {
            Self::Byte(_, value) => out.push(*value),
            Self::Two(_, value) => out.extend(value.to_be_bytes()),
            Self::Four(_, value) => out.extend(value.to_be_bytes()),
            Self::Variable(_, value) => out.extend(variable(*value as usize)),
            Self::Text(_, value) => out.extend(text(value)),
            Self::Binary(_, value) => out.extend(binary(value)),
            Self::Pair(name, value) => {
                out.extend(text(name));
                out.extend(text(value));
            }
        }
    }
}

/// A Variable Byte Integer in its fewest bytes.
pub fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

pub fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut field = (bytes.len() as u16).to_be_bytes().to_vec();
    field.extend(bytes);
    field
}

pub fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

/// A packet with the length that its body has.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    frame.extend(variable(body.len()));
    frame.extend(body);
    frame
}

/// Property block of an MQTT 5 packet.
pub fn block(properties: &[Property]) -> Vec<u8> {
    let mut inner = Vec::new();
    properties
        .iter()
        .for_each(|property| property.write(&mut inner));
    let mut block = variable(inner.len());
    block.extend(inner);
    block
}

/// The property block where the version has one.
fn block_of(version: Version, properties: &[Property]) -> Vec<u8> {
    if version == V5 {
        return block(properties);
    }
    assert!(properties.is_empty(), "3.1.1 has no properties");
    Vec::new()
}

/// CONNECT, by default a clean one without keep alive.
#[derive(Clone, Debug)]
pub struct Connect {
    pub version: Version,
    pub client_id: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub properties: Properties,
    pub will: Option<Will>,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

impl Connect {
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            client_id: client_id.to_owned(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
            user: None,
            password: None,
        }
    }

    /// A session that outlives the connection, and goes on where there is one.
    pub fn lasting(version: Version, client_id: &str) -> Self {
        let mut connect = Self::new(version, client_id);
        connect.clean = false;
        if version == V5 {
            connect = connect.with(Property::Four(id::SESSION_EXPIRY, 3600));
        }
        connect
    }

    pub fn with(mut self, property: Property) -> Self {
        self.properties
            .retain(|other| other.id() != property.id() || property.id() == id::USER_PROPERTY);
        self.properties.push(property);
        self
    }

    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some(name.to_owned());
        self.password = Some(password.as_bytes().to_vec());
        self
    }

    pub fn flags(&self) -> u8 {
        let will = self.will.as_ref();
        u8::from(self.clean) << 1
            | u8::from(will.is_some()) << 2
            | will.map_or(0, |will| will.qos << 3 | u8::from(will.retain) << 5)
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.user.is_some()) << 7
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with_flags(self.flags())
    }

    /// The packet with flags that do not fit it.
    pub fn bytes_with_flags(&self, flags: u8) -> Vec<u8> {
        let name = if self.version == V31 {
            "MQIsdp"
        } else {
            "MQTT"
        };
        let mut body = text(name);
        body.extend([self.version.level(), flags]);
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(block_of(self.version, &self.properties));
        body.extend(text(&self.client_id));
        if let Some(will) = &self.will {
            body.extend(block_of(self.version, &will.properties));
            body.extend(text(&will.topic));
            body.extend(binary(&will.payload));
        }
        body.extend(self.user.iter().flat_map(|user| text(user)));
        body.extend(self.password.iter().flat_map(|word| binary(word)));
        frame(0x10, &body)
    }
}

impl Will {
    pub fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.into(),
            qos: 1,
            retain: false,
            properties: Vec::new(),
        }
    }

    pub fn with(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }
}

/// PUBLISH, to send and as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    pub id: Option<u16>,
    pub properties: Properties,
    pub payload: Vec<u8>,
}

impl Publish {
    /// At QoS 0; give it an id with [`Self::qos`] for more.
    pub fn new(topic: &str, payload: &str) -> Self {
        Self {
            dup: false,
            qos: 0,
            retain: false,
            topic: topic.to_owned(),
            id: None,
            properties: Vec::new(),
            payload: payload.into(),
        }
    }

    pub fn qos(mut self, qos: u8, id: u16) -> Self {
        self.qos = qos;
        self.id = (qos > 0).then_some(id);
        self
    }

    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    pub fn with(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }

    /// The value of a single property.
    pub fn property(&self, id: u8) -> Option<&Property> {
        find(&self.properties, id)
    }

    pub fn bytes(&self, version: Version) -> Vec<u8> {
        let first = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = text(&self.topic);
        body.extend(self.id.iter().flat_map(|id| id.to_be_bytes()));
        body.extend(block_of(version, &self.properties));
        body.extend(&self.payload);
        frame(first, &body)
    }
}

pub fn find(properties: &[Property], id: u8) -> Option<&Property> {
    properties.iter().find(|property| property.id() == id)
}

/// SUBSCRIBE; the options are the byte behind each filter.
pub fn subscribe(
    version: Version,
    packet_id: u16,
    properties: &[Property],
    filters: &[(&str, u8)],
) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(block_of(version, properties));
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    frame(0x82, &body)
}

pub fn unsubscribe(version: Version, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(block_of(version, &[]));
    body.extend(filters.iter().flat_map(|filter| text(filter)));
    frame(0xA2, &body)
}

/// First byte of the acknowledgements.
pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBREL: u8 = 0x62;
pub const PUBCOMP: u8 = 0x70;

/// An acknowledgement in its shortest form, which both versions read as a success.
pub fn ack(first: u8, id: u16) -> Vec<u8> {
    frame(first, &id.to_be_bytes())
}

/// An acknowledgement of MQTT 5 with a reason code.
pub fn ack_with(first: u8, id: u16, code: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.push(code);
    frame(first, &body)
}

pub const PINGREQ: [u8; 2] = [0xC0, 0];

pub fn disconnect() -> Vec<u8> {
    frame(0xE0, &[])
}

/// DISCONNECT of MQTT 5.
pub fn disconnect_with(code: u8, properties: &[Property]) -> Vec<u8> {
    let mut body = vec![code];
    body.extend(block(properties));
    frame(0xE0, &body)
}
