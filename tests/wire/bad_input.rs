//! Whatever is malformed or forbidden, with the answer it gets: one row each.
//!
//! A client of 3.1.1 is closed without a word, because its version has none; one of MQTT 5 is told the reason code.

mod after;
mod before;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::client::Client;
use crate::packet::{Connect, Packet, V5, V311, Version};
use crate::server::Server;

/// One thing that a client must not do.
pub struct Row {
    pub name: String,
    /// The statements that it shows, one space between them.
    pub tags: &'static str,
    version: Version,
    /// A client that was let in sends it, instead of its first packet.
    connected: bool,
    send: Vec<u8>,
    answer: Answer,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Closed without a word.
    Closed,
    /// CONNACK with this code, then closed.
    Connack(u8),
    /// DISCONNECT with this code, then closed.
    Disconnect(u8),
}

impl Row {
    fn check(&self, server: &Server) {
        let mut client = if self.connected {
            server.client(self.version, "bad")
        } else {
            server.open(self.version)
        };
        client.send(&self.send);
        self.answered(&mut client);
    }

    fn answered(&self, client: &mut Client) {
        match self.answer {
            Answer::Closed => {}
            Answer::Connack(code) => {
                let connack = client.connack();
                assert_eq!((connack.code, connack.session_present), (code, false));
            }
            Answer::Disconnect(expected) => match client.receive() {
                Packet::Disconnect { code, .. } => {
                    assert_eq!(code, expected, "{code:#04x} and not {expected:#04x}");
                }
                other => panic!("{other:?}"),
            },
        }
        client.closed();
    }
}

/// Rows in the making.
#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    /// Sent by a client that was let in; MQTT 5 says `code`.
    fn both(
        &mut self,
        name: &str,
        tags: &'static str,
        code: u8,
        build: impl Fn(Version) -> Vec<u8>,
    ) {
        let (tags, old_tags) = tags.split_once(" / ").unwrap_or((tags, ""));
        self.after(V5, name, tags, code, build(V5));
        self.after(V311, name, old_tags, code, build(V311));
    }

    fn v5(&mut self, name: &str, tags: &'static str, code: u8, send: Vec<u8>) {
        self.after(V5, name, tags, code, send);
    }

    fn v311(&mut self, name: &str, tags: &'static str, send: Vec<u8>) {
        self.after(V311, name, tags, 0, send);
    }

    fn after(&mut self, version: Version, name: &str, tags: &'static str, code: u8, send: Vec<u8>) {
        let answer = match version {
            V5 => Answer::Disconnect(code),
            _ => Answer::Closed,
        };
        self.push(version, name, tags, send, true, answer);
    }

    /// Sent instead of a proper CONNECT, in both versions.
    fn first(&mut self, name: &str, tags: &'static str, build: impl Fn(Version) -> Vec<u8>) {
        let (tags, old_tags) = tags.split_once(" / ").unwrap_or((tags, ""));
        self.push(V5, name, tags, build(V5), false, Answer::Closed);
        self.push(V311, name, old_tags, build(V311), false, Answer::Closed);
    }

    fn push(
        &mut self,
        version: Version,
        name: &str,
        tags: &'static str,
        send: Vec<u8>,
        connected: bool,
        answer: Answer,
    ) {
        self.0.push(Row {
            name: format!("{version:?} {name}"),
            tags,
            version,
            connected,
            send,
            answer,
        });
    }
}

/// All of them.
pub fn rows() -> Vec<Row> {
    let mut table = Table::default();
    before::connects(&mut table);
    before::connect_properties(&mut table);
    before::connect_blocks(&mut table);
    before::will_properties(&mut table);
    after::frames(&mut table);
    after::publishes(&mut table);
    after::publish_properties(&mut table);
    after::publish_blocks(&mut table);
    after::acknowledgements(&mut table);
    after::subscribes(&mut table);
    after::unsubscribes(&mut table);
    after::ends(&mut table);
    table.0
}

/// Each row fails by itself; and nobody else notices any of them.
#[test]
fn every_row_is_answered_as_it_should_be() {
    let server = Server::start();
    let mut witness = server.connect(&Connect::new(V5, "witness"));
    witness.subscribe("#", 2);
    let rows = rows();
    println!("{} rows", rows.len());
    let wrong: Vec<String> = rows
        .iter()
        .filter(|row| catch_unwind(AssertUnwindSafe(|| row.check(&server))).is_err())
        .map(|Row { name, tags, .. }| format!("{name} [{tags}]"))
        .collect();
    assert_eq!(wrong, [""; 0]);
    witness.ping(); // nothing of all that was published
}
