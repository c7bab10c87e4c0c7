//! P1: acknowledged means kept.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use fieldgate::broker::{Attachment, ForwardRoute, Latest, LinkOptions, Origin, RetainPolicy};
use fieldgate::clock;
use fieldgate::mqtt::{Acknowledge, Packet, QoS, ReasonCode};
use fieldgate::store::{Directory, Folder, Log, LogOptions, Outcome, Seq};
use fieldgate::topic::{Template, TopicFilter};
use redb::StorageBackend;

use crate::support::*;

/// No commit happens by itself: what is acknowledged was released by the test.
const NEVER: Duration = Duration::from_secs(3600);

fn attachment(log: &Log, filter: &str) -> Attachment {
    Attachment {
        name: "cloud".to_owned(),
        log: log.clone(),
        routes: vec![ForwardRoute {
            filter: TopicFilter::try_from(filter).unwrap(),
            except: Vec::new(),
            topic: Template::parse("site/{topic}", &[], true).unwrap(),
            qos: QOS2,
            raise_qos0: false,
            live_first: false,
            retain: RetainPolicy::Keep,
        }],
        latest: Arc::new(Latest::default()),
        live: None,
    }
}

fn open(dir: &tempfile::TempDir, change: impl FnOnce(&mut LogOptions)) -> Log {
    let mut options = LogOptions::new(dir.path().join("cloud"));
    change(&mut options);
    Log::open(options).unwrap()
}

fn ack(number: u16) -> Acknowledge {
    Acknowledge::new(id(number), ReasonCode::Success)
}

#[tokio::test]
async fn an_acknowledgement_waits_until_the_log_covers_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir, |options| options.commit_interval = NEVER);
    let gateway = Gateway::with_logs(|_| (), vec![attachment(&log, "up/#")]);
    let mut client = gateway.client(V5, "client").await;
    for (number, seq) in [(1, Seq(1)), (2, Seq(2))] {
        client
            .send_publish(message("up/1", "x", QOS1), number)
            .await;
        // The answer to what was sent later is here, that of the publish is not.
        client.ping().await;
        log.done(clock::now(), [(seq, Outcome::Delivered)]);
        assert_eq!(client.receive().await, Packet::Puback(ack(number)));
    }
    client.publish(message("elsewhere", "x", QOS1), 3).await;
    let stored = soon(log.read(Seq(0), 10, 1 << 20)).await.unwrap();
    assert!(stored.is_empty());
    gateway.stop().await;
    log.close();
}

#[tokio::test]
async fn a_commit_acknowledges_what_clients_and_links_published() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir, |options| {
        options.commit_interval = Duration::from_millis(20);
    });
    let gateway = Gateway::with_logs(|_| (), vec![attachment(&log, "up/#")]);
    let mut clients = [
        gateway.client(V311, "old").await,
        gateway.client(V5, "new").await,
    ];
    for client in &mut clients {
        client.publish(message("up/1", "x", QOS1), 1).await;
        client.publish(message("up/2", "x", QOS2), 1).await;
        client.publish(message("up/3", "x", QOS0), 1).await;
    }
    let mut link = gateway
        .broker
        .link(LinkOptions {
            // Devices are answered before.
            origin: Origin::Bridge(9),
            ..crate::link::options("$link")
        })
        .await
        .unwrap();
    for _ in 0..200 {
        soon(link.publish(message("up/4", "x", QOS1)))
            .await
            .unwrap();
    }
    // More than the receive maximum: the first of them have been acknowledged.
    assert!(log.progress().borrow().covered >= Seq(6 + 100));
    // QoS 0 is not stored: no link is up that it could be for.
    let entries = soon(log.read(Seq(0), 4, 1 << 20)).await.unwrap();
    let stored: Vec<(&str, QoS)> = entries
        .iter()
        .map(|entry| {
            let message = &entry.record.message;
            (message.topic.as_str(), message.qos)
        })
        .collect();
    let of_one_client = [("site/up/1", QOS1), ("site/up/2", QOS2)];
    assert_eq!(stored, [of_one_client, of_one_client].concat());
    gateway.stop().await;
    log.close();
}

/// A disk that makes everybody wait, until it is let go.
#[derive(Debug)]
struct StuckDisk {
    folder: Folder,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn close(&self) {
        *self.is_closed.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.is_closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_closed = self.is_closed.lock().unwrap();
        drop(self.opened.wait_while(is_closed, |closed| *closed).unwrap());
    }
}

impl Directory for StuckDisk {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.folder.list()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn StorageBackend>> {
        let file = self.folder.open(name, create)?;
        let gate = Arc::clone(&self.gate);
        Ok(Box::new(StuckFile { file, gate }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.folder.read(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.gate.pass();
        self.folder.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.folder.sync()
    }
}

#[derive(Debug)]
struct StuckFile {
    file: Box<dyn StorageBackend>,
    gate: Arc<Gate>,
}

impl StorageBackend for StuckFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

#[tokio::test]
async fn a_full_log_holds_up_only_who_feeds_it() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let disk = StuckDisk {
        folder: Folder::create(dir.path().join("cloud")).unwrap(),
        gate: Arc::clone(&gate),
    };
    let options = LogOptions {
        hold_bytes: 30_000,
        ..LogOptions::new(dir.path().join("cloud"))
    };
    let log = Log::open_in(options, Box::new(disk)).unwrap();
    gate.close();
    let gateway = Gateway::with_logs(|_| (), vec![attachment(&log, "up/#")]);
    let mut watcher = gateway.client(V5, "watcher").await;
    watcher.subscribe("#", QOS0).await;
    let mut feeder = gateway.client(V5, "feeder").await;
    let mut other = gateway.client(V5, "other").await;

    for number in 1..=8 {
        let message = message("up/1", vec![0; 8000], QOS1);
        feeder.send_publish(message, number).await;
    }
    feeder.send(Packet::Pingreq).await;
    let fed = async |watcher: &mut Client| {
        assert_eq!(watcher.take().await.topic.unwrap().as_str(), "up/1");
    };
    // The message that fills the log is its last for now; the rest is not even read.
    for _ in 0..4 {
        fed(&mut watcher).await;
    }
    for _ in 0..10 {
        other.publish(message("other", "x", QOS2), 1).await;
        assert_eq!(watcher.take().await.topic.unwrap().as_str(), "other");
    }
    assert!(!log.has_room());

    gate.open();
    for _ in 4..8 {
        fed(&mut watcher).await;
    }
    let mut acknowledged = 0;
    let mut answered = false;
    while acknowledged < 8 || !answered {
        match feeder.receive().await {
            Packet::Puback(puback) => {
                acknowledged += 1;
                assert_eq!(puback, ack(acknowledged));
            }
            Packet::Pingresp => answered = true,
            other => panic!("{other:?}"),
        }
    }
    gateway.stop().await;
    log.close();
}

#[tokio::test]
async fn a_link_that_fills_a_log_waits_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir, |options| options.hold_bytes = 30_000);
    let gateway = Gateway::with_logs(|_| (), vec![attachment(&log, "up/#")]);
    let mut link = gateway
        .broker
        .link(crate::link::options("$link"))
        .await
        .unwrap();
    for _ in 0..100 {
        soon(link.publish(message("up/1", vec![0; 8000], QOS1)))
            .await
            .unwrap();
    }
    let mut progress = log.progress();
    soon(progress.wait_for(|progress| progress.covered == Seq(100)))
        .await
        .unwrap();
    gateway.stop().await;
    log.close();
}
