//! Keeps a bridge running: a panic in it is caught, counted, told, and it starts anew. Nothing is lost by that, because
//! everything is in the log.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::task::{STABLE, Task};
use crate::clock;

/// Runs until asked to stop.
pub(super) async fn run(mut task: Task) {
    let mut wait = Duration::ZERO;
    loop {
        let started = clock::now();
        let Err(panic) = caught(task.run()).await else {
            break;
        };
        if clock::now().saturating_duration_since(started) >= STABLE {
            wait = Duration::ZERO;
        }
        task.begin_anew(&panic);
        if !task.pause(&mut wait).await {
            break;
        }
    }
    task.stopped().await;
}

/// What `future` gives, or what it said when it panicked; it is not polled again then. Safe to unwind from: of what it
/// borrows, the core is thrown away, and the rest is changed in single steps.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = AssertUnwindSafe(|| future.as_mut().poll(context));
        match panic::catch_unwind(polled) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(said(panic.as_ref()))),
        }
    })
    .await
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    //! The panic is planted where packets come in. Each test has one thread for itself and its bridge.

    use std::cell::RefCell;
    use std::collections::{HashMap, VecDeque};
    use std::sync::Arc;

    use bytes::{Bytes, BytesMut};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use super::super::{Address, Backoff, BridgeOptions, PreparedBridge};
    use super::*;
    use crate::broker::Latest;
    use crate::mqtt::{
        Acknowledge, Connack, Decoder, Message, Packet, ProtocolVersion, QoS, ReasonCode,
    };
    use crate::shutdown::Shutdown;
    use crate::status::LinkState;
    use crate::store::{Log, LogOptions, Record};
    use crate::topic::TopicName;

    const COUNT: usize = 60;
    /// Nothing here takes long; this only ends a test that hangs.
    const HANGS: Duration = Duration::from_secs(60);

    thread_local! {
        /// After how many reads each the bridge panics.
        static PLANTED: RefCell<VecDeque<u32>> = const { RefCell::new(VecDeque::new()) };
    }

    pub(in crate::bridge) fn fail_if_planted() {
        let is_due = PLANTED.with_borrow_mut(|planted| {
            let Some(reads) = planted.front_mut() else {
                return false;
            };
            *reads = reads.saturating_sub(1);
            *reads == 0 && planted.pop_front().is_some()
        });
        assert!(!is_due, "planted");
    }

    /// What an upstream with a session has been given.
    #[derive(Default)]
    struct Given {
        delivered: Vec<(Bytes, QoS)>,
        held: HashMap<u16, Bytes>,
        has_session: bool,
    }

    impl Given {
        fn handle(&mut self, packet: Packet) -> Option<Packet> {
            let answer = |id| Acknowledge::new(id, ReasonCode::Success);
            Some(match packet {
                Packet::Connect(connect) => {
                    if connect.clean_start {
                        *self = Self {
                            delivered: std::mem::take(&mut self.delivered),
                            ..Self::default()
                        };
                    }
                    let connack = Connack::new(ReasonCode::Success, self.has_session);
                    self.has_session = true;
                    Packet::Connack(Box::new(connack))
                }
                Packet::Publish(publish) => {
                    let (id, payload) = (publish.packet_id?, publish.payload);
                    if publish.qos == QoS::AtLeastOnce {
                        self.delivered.push((payload, publish.qos));
                        return Some(Packet::Puback(answer(id)));
                    }
                    if let Some(held) = self.held.insert(id.get(), payload.clone()) {
                        assert_eq!(held, payload, "swallowed");
                    } else {
                        self.delivered.push((payload, publish.qos));
                    }
                    Packet::Pubrec(answer(id))
                }
                Packet::Pubrel(pubrel) => {
                    self.held.remove(&pubrel.packet_id.get());
                    Packet::Pubcomp(answer(pubrel.packet_id))
                }
                _ => return None,
            })
        }
    }

    async fn serve(stream: &mut TcpStream, given: &watch::Sender<Given>) -> std::io::Result<()> {
        let mut decoder = Decoder::new(None, 1 << 20);
        let mut input = BytesMut::new();
        while stream.read_buf(&mut input).await? > 0 {
            decoder.push(input.split().freeze());
            let mut out = BytesMut::new();
            while let Ok(Some(packet)) = decoder.next_packet() {
                given.send_modify(|given| {
                    if let Some(answer) = given.handle(packet) {
                        answer.encode(ProtocolVersion::V5, &mut out).unwrap();
                    }
                });
            }
            stream.write_all_buf(&mut out).await?;
        }
        Ok(())
    }

    async fn upstream() -> (u16, watch::Receiver<Given>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, given) = watch::channel(Given::default());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // A bridge that fails leaves its connection in the middle of anything.
                serve(&mut stream, &sender).await.unwrap_or_default();
            }
        });
        (port, given)
    }

    fn options(port: u16) -> BridgeOptions {
        BridgeOptions {
            name: "cloud".to_owned(),
            gateway: "gw".to_owned(),
            addresses: vec![Address {
                host: "127.0.0.1".to_owned(),
                port,
                tls: false,
            }],
            protocol: ProtocolVersion::V5,
            client_id: "gw".to_owned(),
            user: None,
            password: None,
            keep_alive: Duration::from_secs(60),
            session_expiry: Duration::from_secs(3600),
            tls: None,
            forward: Vec::new(),
            receive: Vec::new(),
            will: None,
            gap: None,
            inflight: 7,
            packet_size: 1 << 20,
            ceilings: Default::default(),
            late_share: 50,
            rate: Default::default(),
            dead_letter: LogOptions::new("unused".into()),
            backoff: Backoff {
                min: Duration::from_millis(1),
                max: Duration::from_millis(5),
            },
            stage_timeout: Duration::from_secs(10),
        }
    }

    fn open(folder: &tempfile::TempDir) -> Log {
        Log::open(LogOptions {
            commit_interval: Duration::from_millis(2),
            ..LogOptions::new(folder.path().join("queue"))
        })
        .unwrap()
    }

    fn append(log: &Log) {
        for number in 0..COUNT {
            let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][number % 2];
            let topic = TopicName::try_from("t".to_owned()).unwrap();
            let payload = Bytes::from(format!("m{number}"));
            let record = Record {
                message: Message::new(topic, payload, qos, false),
                stamped: clock::wall(),
            };
            log.append(clock::now(), log.next_seq(), record, None);
        }
    }

    #[tokio::test]
    async fn a_bridge_that_panics_starts_again_and_delivers_all_and_qos_2_once() {
        // At CONNACK, at the first acknowledgements, and at many places further on.
        PLANTED.set((1..12).collect());
        let folder = tempfile::tempdir().unwrap();
        let log = open(&folder);
        append(&log);
        let (port, mut given) = upstream().await;
        let shutdown = Shutdown::default();
        let latest = Arc::new(Latest::default());
        let mut bridge = PreparedBridge::new(options(port), crate::net::TlsTime::default())
            .unwrap()
            .start(log.clone(), latest, None, shutdown.stop());
        let told = bridge.status.wait_for(|status| status.restarts > 0);
        let told = tokio::time::timeout(HANGS, told)
            .await
            .unwrap()
            .unwrap()
            .clone();
        assert_ne!(told.link, LinkState::Up);
        assert!(told.error.unwrap().contains("planted"));
        let done = bridge
            .status
            .wait_for(|status| status.backlog_messages == 0 && status.link == LinkState::Up);
        let done = tokio::time::timeout(HANGS, done)
            .await
            .unwrap()
            .unwrap()
            .clone();
        assert!(done.restarts > 3, "{}", done.restarts);
        assert!(done.delivered <= COUNT as u64 && done.connects >= done.restarts);
        assert_eq!(done.error, None);
        let given = given.borrow_and_update();
        for number in 0..COUNT {
            let text = format!("m{number}");
            let copies = given.delivered.iter().filter(|(p, _)| *p == text).count();
            let is_once = copies == 1 || number % 2 == 0 && copies > 1;
            assert!(is_once, "{text}: {copies} copies");
        }
        drop(given);
        shutdown.request();
        tokio::time::timeout(HANGS, bridge.task)
            .await
            .unwrap()
            .unwrap();
        log.close();
    }
}
