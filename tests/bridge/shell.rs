//! The whole bridge with a real log against an upstream on a loopback socket.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use fieldgate::bridge::{Address, BridgeHandle, BridgeOptions, PreparedBridge, StartError};
use fieldgate::broker::Latest;
use fieldgate::clock;
use fieldgate::mqtt::{Message, ProtocolVersion, QoS, ReasonCode};
use fieldgate::net::{ClientTls, TlsTime};
use fieldgate::shutdown::Shutdown;
use fieldgate::status::{BridgeStatus, LinkState};
use fieldgate::store::{Log, LogOptions, Record, Seq};

use crate::sim::{message, options, topic};
use crate::upstream::{Behaviour, Certificates, Seen, Upstream};

/// Nothing here takes long; this only ends a test that hangs.
pub const HANGS: Duration = Duration::from_secs(60);

pub struct Rig {
    dir: tempfile::TempDir,
    pub log: Log,
    latest: Arc<Latest>,
    pub shutdown: Shutdown,
}

impl Rig {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            log: open(&dir),
            dir,
            latest: Arc::new(Latest::default()),
            shutdown: Shutdown::default(),
        }
    }

    pub fn append(&self, message: Message) {
        let record = Record {
            message,
            stamped: clock::wall(),
        };
        self.log
            .append(clock::now(), self.log.next_seq(), record, None);
    }

    pub fn start(&self, options: BridgeOptions) -> BridgeHandle {
        self.try_start(options).unwrap()
    }

    fn try_start(&self, options: BridgeOptions) -> Result<BridgeHandle, StartError> {
        Ok(self.begin(PreparedBridge::new(options, TlsTime::default())?))
    }

    /// Whatever its TLS files are.
    pub fn start_patiently(&self, options: BridgeOptions) -> BridgeHandle {
        self.begin(PreparedBridge::patient(options, TlsTime::default()))
    }

    fn begin(&self, prepared: PreparedBridge) -> BridgeHandle {
        let latest = Arc::clone(&self.latest);
        prepared.start(self.log.clone(), latest, None, self.shutdown.stop())
    }
}

fn open(dir: &tempfile::TempDir) -> Log {
    let mut options = LogOptions::new(dir.path().join("queue"));
    options.commit_interval = Duration::from_millis(5);
    Log::open(options).unwrap()
}

fn to(port: u16) -> BridgeOptions {
    BridgeOptions {
        addresses: vec![Address {
            host: "localhost".to_owned(),
            port,
            tls: false,
        }],
        ..options()
    }
}

pub fn by_tls(port: u16, tls: ClientTls) -> BridgeOptions {
    let mut options = to(port);
    options.addresses[0].tls = true;
    options.tls = Some(tls);
    options
}

pub async fn seen(upstream: &mut Upstream, is: impl FnMut(&Seen) -> bool) {
    let waited = timeout(HANGS, upstream.seen.wait_for(is)).await;
    drop(waited.expect("the upstream never saw it").unwrap());
}

pub async fn status(
    receiver: &mut watch::Receiver<BridgeStatus>,
    is: impl FnMut(&BridgeStatus) -> bool,
) -> BridgeStatus {
    let waited = timeout(HANGS, receiver.wait_for(is)).await;
    waited.expect("the status never said it").unwrap().clone()
}

/// The first error that the status tells.
async fn first_error(options: BridgeOptions) -> String {
    let rig = Rig::new();
    let mut handle = rig.start(options);
    let status = status(&mut handle.status, |status| status.error.is_some()).await;
    assert_eq!(status.connects, 0);
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    rig.log.close();
    status.error.unwrap()
}

pub fn numbered(count: usize) -> HashSet<String> {
    (0..count).map(|number| format!("m{number}")).collect()
}

async fn delivers(options: impl FnOnce(u16) -> BridgeOptions, behaviour: Behaviour) {
    let mut upstream = Upstream::start(behaviour).await;
    let rig = Rig::new();
    for number in 0..60 {
        let qos = QoS::from_bits(1 + number % 2).unwrap();
        rig.append(message(&format!("m{number}"), qos));
    }
    let mut handle = rig.start(options(upstream.port));
    seen(&mut upstream, |seen| seen.texts() == numbered(60)).await;
    let status = status(&mut handle.status, |status| status.delivered == 60).await;
    assert_eq!((status.link, status.error), (LinkState::Up, None));
    assert_eq!(status.connects, 1);
    assert!(handle.dead_letters.borrow().is_none(), "none is needed");
    assert!((0..60).all(|number| upstream.seen.borrow().times(&format!("m{number}")) == 1));
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    rig.log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_over_mqtt_5() {
    delivers(to, Behaviour::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_over_mqtt_3_1_1() {
    let v311 = |port| BridgeOptions {
        protocol: ProtocolVersion::V311,
        ..to(port)
    };
    delivers(v311, Behaviour::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_over_mutual_tls() {
    let certificates = Certificates::new();
    let behaviour = certificates.server("server");
    delivers(|port| by_tls(port, certificates.client()), behaviour).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qos_0_leaves_while_the_link_is_up() {
    let mut upstream = Upstream::start(Behaviour::default()).await;
    let rig = Rig::new();
    let mut handle = rig.start(to(upstream.port));
    status(&mut handle.status, |status| status.link == LinkState::Up).await;
    rig.append(message("m0", QoS::AtMostOnce));
    seen(&mut upstream, |seen| seen.times("m0") == 1).await;
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    rig.log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_lose_nothing_and_double_no_qos_2() {
    const COUNT: usize = 200;
    let mut upstream = Upstream::start(Behaviour {
        cuts: (1..12).map(|cut| cut * 17).collect(),
        ..Behaviour::default()
    })
    .await;
    let rig = Rig::new();
    for number in 0..COUNT {
        let qos = QoS::from_bits(1 + (number % 2) as u8).unwrap();
        rig.append(message(&format!("m{number}"), qos));
    }
    let mut handle = rig.start(to(upstream.port));
    seen(&mut upstream, |seen| seen.texts() == numbered(COUNT)).await;
    let status = status(&mut handle.status, |status| {
        status.delivered == COUNT as u64
    })
    .await;
    assert!(status.connects > 3);
    let seen = upstream.seen.borrow();
    for number in (1..COUNT).step_by(2) {
        assert_eq!(seen.times(&format!("m{number}")), 1, "m{number}");
    }
    drop(seen);
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    rig.log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_refuses_is_kept_on_disk_and_found_by_the_next_start() {
    let upstream = Upstream::start(Behaviour {
        refuses: Some(("refused", ReasonCode::NotAuthorized)),
        closes_on: Some("closed upon"),
        ..Behaviour::default()
    })
    .await;
    let rig = Rig::new();
    let dead_letter = LogOptions {
        max_age: Duration::MAX,
        ..LogOptions::new(rig.dir.path().join("dead-letter"))
    };
    let options = BridgeOptions {
        dead_letter: dead_letter.clone(),
        ..to(upstream.port)
    };
    rig.append(message("refused", QoS::ExactlyOnce));
    rig.append(message("m0", QoS::AtLeastOnce));
    rig.append(message("closed upon", QoS::AtLeastOnce));
    rig.append(message("m1", QoS::AtLeastOnce));
    let mut handle = rig.start(options.clone());
    let told = status(&mut handle.status, |status| {
        status.dead_letters == 2 && status.backlog_messages == 0
    });
    assert_eq!(told.await.dropped, 0);
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    assert!(upstream.seen.borrow().texts() == numbered(2));

    let log = Log::view(dead_letter).unwrap();
    let letters = log.read(Seq(0), 9, usize::MAX).await.unwrap();
    let texts: Vec<_> = letters
        .iter()
        .map(|l| &l.record.message.payload[..])
        .collect();
    assert_eq!(texts, [&b"refused"[..], b"closed upon"]);

    let again = Rig {
        shutdown: Shutdown::default(),
        ..rig
    };
    let mut handle = again.start(options);
    status(&mut handle.status, |status| status.dead_letters == 2).await;
    again.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    again.log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_backlog_stands() {
    let rig = Rig::new();
    for number in 0..20 {
        rig.append(message(&format!("m{number}"), QoS::ExactlyOnce));
    }
    rig.log.close();
    let Rig { dir, latest, .. } = rig;
    let rig = Rig {
        log: open(&dir),
        dir,
        latest,
        shutdown: Shutdown::default(),
    };
    let mut upstream = Upstream::start(Behaviour::default()).await;
    let handle = rig.start(to(upstream.port));
    seen(&mut upstream, |seen| seen.texts() == numbered(20)).await;
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    rig.log.close();
    assert!(rig.dir.path().exists());
    let seen = upstream.seen.borrow();
    assert!((0..20).all(|number| seen.times(&format!("m{number}")) == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_topics_are_sent_on_every_connect_and_on_change() {
    let mut upstream = Upstream::start(Behaviour {
        cuts: vec![3],
        ..Behaviour::default()
    })
    .await;
    let rig = Rig::new();
    let value = |text: &str| Message {
        topic: topic("gw/$status"),
        retain: true,
        ..message(text, QoS::AtLeastOnce)
    };
    rig.latest.put(value("first"));
    let handle = rig.start(to(upstream.port));
    seen(&mut upstream, |seen| seen.times("first") == 1).await;
    rig.latest.put(value("second"));
    seen(&mut upstream, |seen| seen.times("second") == 1).await;
    // The third PUBLISH cuts the connection: what is newest comes again.
    rig.append(message("cut", QoS::AtLeastOnce));
    seen(&mut upstream, |seen| seen.times("second") == 2).await;
    seen(&mut upstream, |seen| seen.times("cut") == 1).await;
    assert!(upstream.seen.borrow().delivered[0].retain);
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    rig.log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_the_upstream_and_leaves_the_backlog() {
    let mut upstream = Upstream::start(Behaviour::default()).await;
    let rig = Rig::new();
    let mut handle = rig.start(BridgeOptions {
        will: Some(message("offline", QoS::AtLeastOnce)),
        ..to(upstream.port)
    });
    status(&mut handle.status, |status| status.link == LinkState::Up).await;
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    seen(&mut upstream, |seen| {
        seen.disconnects == [ReasonCode::DisconnectWithWill]
    })
    .await;
    rig.log.close();
}

// What an engineer reads when it does not work

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_named() {
    let upstream = Upstream::start(Behaviour {
        connack: ReasonCode::BadUserNameOrPassword,
        ..Behaviour::default()
    })
    .await;
    let error = first_error(to(upstream.port)).await;
    assert!(
        error.contains("bad user name or password (0x86)"),
        "{error}"
    );
    assert!(error.starts_with("localhost:"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_named_in_mqtt_3_1_1() {
    let upstream = Upstream::start(Behaviour {
        connack: ReasonCode::BadUserNameOrPassword,
        ..Behaviour::default()
    })
    .await;
    let error = first_error(BridgeOptions {
        protocol: ProtocolVersion::V311,
        ..to(upstream.port)
    })
    .await;
    assert!(error.contains("bad user name or password"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ca_is_named() {
    let ours = Certificates::new();
    // One of another name, and a renewed one of the same name.
    for name in ["other CA", "test CA"] {
        let upstream = Upstream::start(Certificates::signed_by(name).server("server")).await;
        let error = first_error(by_tls(upstream.port, ours.client())).await;
        assert!(error.contains("TLS: unknown issuer"), "{error}");
        assert!(error.contains("ca.pem"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_host_name_is_named() {
    let certificates = Certificates::new();
    certificates.issue("other", "other.example.com", 2100);
    let upstream = Upstream::start(certificates.server("other")).await;
    let error = first_error(by_tls(upstream.port, certificates.client())).await;
    assert!(error.contains("TLS: host name mismatch"), "{error}");
    assert!(error.contains("other.example.com"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_named() {
    let certificates = Certificates::new();
    certificates.issue("old", "localhost", 2001);
    let upstream = Upstream::start(certificates.server("old")).await;
    let error = first_error(by_tls(upstream.port, certificates.client())).await;
    assert!(error.contains("certificate has expired"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_client_certificate_is_named() {
    let certificates = Certificates::new();
    let upstream = Upstream::start(certificates.server("server")).await;
    let tls = ClientTls {
        identity: None,
        ..certificates.client()
    };
    let error = first_error(by_tls(upstream.port, tls)).await;
    assert!(error.contains("wants a client certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_of_another_ca_is_named() {
    let (theirs, ours) = (Certificates::new(), Certificates::new());
    let upstream = Upstream::start(theirs.server("server")).await;
    let tls = ClientTls {
        ca: theirs.path("ca.pem"),
        ..ours.client()
    };
    let error = first_error(by_tls(upstream.port, tls)).await;
    assert!(error.contains("TLS: the upstream"), "{error}");
    assert!(error.contains("our certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_tls_is_named() {
    let certificates = Certificates::new();
    let upstream = Upstream::start(Behaviour::default()).await;
    let error = first_error(by_tls(upstream.port, certificates.client())).await;
    assert!(error.contains("is this a TLS port?"), "{error}");
}

/// Takes every connection and says nothing.
async fn mute() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_says_nothing_is_named_by_the_stage_that_hangs() {
    let port = mute().await;
    let impatient = |options| BridgeOptions {
        stage_timeout: Duration::from_millis(50),
        ..options
    };
    let error = first_error(impatient(to(port))).await;
    assert!(error.contains("sent no CONNACK in time"), "{error}");
    let certificates = Certificates::new();
    let error = first_error(impatient(by_tls(port, certificates.client()))).await;
    assert!(error.contains("TLS: the handshake did not end"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_above_our_limit_ends_the_connection_and_costs_nothing_of_the_backlog() {
    // A SUBACK that says it is of 256 MiB: no room is made for it. (A PUBLISH is passed by.)
    let upstream = Upstream::start(Behaviour {
        says: vec![0x90, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b't'],
        ..Behaviour::default()
    })
    .await;
    let rig = Rig::new();
    rig.append(message("m", QoS::ExactlyOnce));
    let mut handle = rig.start(to(upstream.port));
    let told = status(&mut handle.status, |status| {
        status.connects > 1 && status.error.is_some()
    })
    .await;
    let error = told.error.unwrap();
    assert!(error.contains("a packet of 268435460 bytes"), "{error}");
    assert_eq!((told.backlog_messages, told.dropped), (1, 0));
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    rig.log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listening_is_named() {
    // Bound and closed again, so that nobody listens there.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut options = to(port);
    options.addresses[0].host = "127.0.0.1".to_owned();
    let error = first_error(options).await;
    assert!(error.contains("TCP: connection refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_with_the_same_client_id_is_named_when_it_is_no_accident() {
    let upstream = Upstream::start(Behaviour {
        takes_over: true,
        ..Behaviour::default()
    })
    .await;
    let rig = Rig::new();
    let mut handle = rig.start(to(upstream.port));
    let named = |status: &BridgeStatus| {
        let error = status.error.as_deref().unwrap_or_default();
        error.contains("another client connects with the client_id \"gw\" again and again")
    };
    let told = status(&mut handle.status, named).await;
    assert!(told.connects >= 3);
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    rig.log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_address_is_tried_when_the_first_fails() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let upstream = Upstream::start(Behaviour::default()).await;
    let rig = Rig::new();
    let mut options = to(port);
    options.addresses.extend(to(upstream.port).addresses);
    let mut handle = rig.start(options);
    status(&mut handle.status, |status| status.link == LinkState::Up).await;
    rig.shutdown.request();
    timeout(HANGS, handle.task).await.unwrap().unwrap();
    rig.log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_an_error_at_start() {
    let certificates = Certificates::new();
    let rig = Rig::new();
    let tls = ClientTls {
        ca: certificates.path("absent.pem"),
        ..certificates.client()
    };
    let error = rig.try_start(by_tls(1, tls)).unwrap_err().to_string();
    assert!(error.contains("absent.pem"), "{error}");
    let mut options = by_tls(1, certificates.client());
    options.tls = None;
    let error = rig.try_start(options).unwrap_err().to_string();
    assert!(error.contains("tls"), "{error}");
    rig.log.close();
}
