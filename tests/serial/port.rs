//! An instrument on a port: from the file of the device to what the broker is given, and adapters that are unplugged.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fieldgate::adapter::serial::{InstrumentConnection, InstrumentOptions};
use fieldgate::adapter::{Adapter, CommandSource, NoCommands, Parity, SerialOptions, Sink};
use fieldgate::broker::{LinkClosed, Publisher};
use fieldgate::mqtt::{Message, QoS};
use fieldgate::shutdown::Shutdown;
use fieldgate::simulator::Terminal;
use fieldgate::topic::TopicName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::instrument::asked_scale;

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stands where the broker's link would.
struct Channel(mpsc::Sender<Message>);

impl Sink for Channel {
    async fn publish(&mut self, message: Message) -> Result<(), LinkClosed> {
        self.0.send(message).await.map_err(|_| LinkClosed)
    }
}

fn connection(port: &Path, instrument: InstrumentOptions) -> InstrumentConnection {
    InstrumentConnection {
        name: "port".to_owned(),
        port: SerialOptions {
            port: port.to_owned(),
            baud_rate: 9600,
            data_bits: 8,
            parity: Parity::None,
            stop_bits: 1,
            rs485: None,
        },
        instrument,
    }
}

/// The first reading that `accept` takes.
async fn reading(messages: &mut mpsc::Receiver<Message>, accept: impl Fn(&Value) -> bool) -> Value {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let message = messages.recv().await.expect("the adapter has ended");
            let json = serde_json::from_slice(&message.payload).unwrap();
            if message.topic.as_str() == "g/scale1/reading" && accept(&json) {
                return json;
            }
        }
    });
    found.await.expect("no such reading")
}

/// Answers every question with `weight`.
async fn answer(mut terminal: Terminal, weight: u32) {
    let mut question = [0; 4];
    loop {
        terminal.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"SI\r\n");
        let line = format!("S S     {weight}.5 g\r\n");
        terminal.write_all(line.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn an_instrument_is_found_each_time_its_adapter_is_plugged_in() {
    let folder = TempDir::new().unwrap();
    let name = folder.path().join("adapter");
    let (sender, mut messages) = mpsc::channel(1);
    let shutdown = Shutdown::default();
    let adapter = Adapter::start_instrument(
        connection(&name, asked_scale()),
        Channel(sender),
        NoCommands,
        shutdown.stop(),
    );
    for weight in 1..=2 {
        reading(&mut messages, |json| {
            json["bad"]["weight"] == "connect_failed"
        })
        .await;
        let error = adapter.status().borrow().error.clone().unwrap();
        assert!(error.contains("is the adapter plugged in"), "{error}");
        let terminal = Terminal::plug_in(&name).unwrap();
        let scale = tokio::spawn(answer(terminal, weight));
        let json = reading(&mut messages, |json| json["bad"].is_null()).await;
        assert_eq!(json["values"]["weight"], json!(f64::from(weight) + 0.5));
        let status = adapter.status().borrow().clone();
        assert!(status.connected && status.error.is_none(), "{status:?}");
        assert_eq!(status.devices[0].name, "scale1");
        assert!(status.devices[0].status.last_ok.is_some());
        scale.abort();
        scale.await.unwrap_err();
    }
}

/// What comes to the set topics.
struct Asked(mpsc::Receiver<Message>);

impl CommandSource for Asked {
    async fn receive(&mut self) -> Result<(Message, Option<Publisher>), LinkClosed> {
        let message = self.0.recv().await.ok_or(LinkClosed)?;
        Ok((message, None))
    }
}

#[tokio::test]
async fn an_instrument_does_what_comes_to_its_set_topics_and_the_answer_tells_it() {
    let folder = TempDir::new().unwrap();
    let name = folder.path().join("adapter");
    let mut terminal = Terminal::plug_in(&name).unwrap();
    let (sender, mut messages) = mpsc::channel(1);
    let (commands, asked) = mpsc::channel(1);
    let shutdown = Shutdown::default();
    let _adapter = Adapter::start_instrument(
        connection(&name, asked_scale()),
        Channel(sender),
        Asked(asked),
        shutdown.stop(),
    );
    let scale = tokio::spawn(async move {
        let mut line = Vec::new();
        loop {
            line.push(terminal.read_u8().await.unwrap());
            let answer = match &line[..] {
                b"SI\r\n" => "S S     5.5 g\r\n",
                b"T\r\n" => "T S     5.5 g\r\n",
                _ => continue,
            };
            line.clear();
            terminal.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    reading(&mut messages, |json| json["bad"].is_null()).await;
    for (command, payload, answer) in [
        ("tare", "", json!({"ok": true})),
        ("tare", r#"{"id": 7}"#, json!({"id": 7, "ok": true})),
        ("tare", "false", json!({"ok": false, "error": "bad_value"})),
        ("melt", "", json!({"ok": false, "error": "unknown"})),
    ] {
        let topic = TopicName::try_from(format!("g/scale1/set/{command}")).unwrap();
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let message = Message::new(topic.clone(), payload, QoS::AtLeastOnce, false);
        commands.send(message).await.unwrap();
        let told = tokio::time::timeout(PATIENCE, async {
            loop {
                let message = messages.recv().await.unwrap();
                if message.topic.as_str() == format!("{topic}/result") {
                    return message.payload;
                }
            }
        });
        let mut told: Value = serde_json::from_slice(&told.await.unwrap()).unwrap();
        told.as_object_mut().unwrap().remove("ts");
        assert_eq!(told, answer, "{command}");
    }
    scale.abort();
}
