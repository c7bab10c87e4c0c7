//! An upstream on a loopback socket, speaking our codec: keeps a session, answers, and cuts connections where told to.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use fieldgate::mqtt::{
    Acknowledge, Connack, Connect, Decoder, Disconnect, Packet, ProtocolVersion, Publish, QoS,
    ReasonCode,
};
use fieldgate::net::{ClientCertificate, ClientTls, ServerTls, TlsTime, common_name, server_setup};

/// How it behaves.
#[derive(Clone)]
pub struct Behaviour {
    pub connack: ReasonCode,
    /// Closes the connection at these PUBLISH packets, counted over all connections, before it looks at them.
    pub cuts: Vec<usize>,
    pub tls: Option<ServerTls>,
    /// Refuses PUBLISHes with this payload.
    pub refuses: Option<(&'static str, ReasonCode)>,
    /// Closes the connection at PUBLISHes with this payload.
    pub closes_on: Option<&'static str>,
    /// These bytes follow each CONNACK.
    pub says: Vec<u8>,
    /// Says after each CONNACK that another client has taken the session over.
    pub takes_over: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            connack: ReasonCode::Success,
            cuts: Vec::new(),
            refuses: None,
            closes_on: None,
            tls: None,
            says: Vec::new(),
            takes_over: false,
        }
    }
}

/// What it has seen.
#[derive(Default)]
pub struct Seen {
    pub connects: Vec<Connect>,
    /// Whose certificate came with each of them.
    pub subjects: Vec<Option<String>>,
    pub delivered: Vec<Publish>,
    pub disconnects: Vec<ReasonCode>,
    publishes: usize,
    held: HashSet<u16>,
    has_session: bool,
}

impl Seen {
    pub fn times(&self, text: &str) -> usize {
        let is = |publish: &&Publish| publish.payload == text.as_bytes();
        self.delivered.iter().filter(is).count()
    }

    pub fn texts(&self) -> HashSet<String> {
        let text = |publish: &Publish| String::from_utf8(publish.payload.to_vec()).unwrap();
        self.delivered.iter().map(text).collect()
    }
}

pub struct Upstream {
    pub port: u16,
    pub seen: watch::Receiver<Seen>,
}

impl Upstream {
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, seen) = watch::channel(Seen::default());
        let tls = behaviour
            .tls
            .as_ref()
            .map(|tls| TlsAcceptor::from(server_setup(tls, &TlsTime::default()).unwrap().config));
        let (behaviour, sender) = (Arc::new(behaviour), Arc::new(sender));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let connection = Connection {
                    behaviour: Arc::clone(&behaviour),
                    seen: Arc::clone(&sender),
                    subject: None,
                    out: BytesMut::new(),
                };
                tokio::spawn(connection.begin(stream, tls.clone()));
            }
        });
        Self { port, seen }
    }
}

struct Connection {
    behaviour: Arc<Behaviour>,
    seen: Arc<watch::Sender<Seen>>,
    subject: Option<String>,
    out: BytesMut,
}

impl Connection {
    async fn begin(mut self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let Some(tls) = tls else {
            return self.serve(stream).await;
        };
        if let Ok(stream) = tls.accept(stream).await {
            let shown = stream.get_ref().1.peer_certificates();
            self.subject = shown.and_then(|chain| common_name(&chain[0]));
            self.serve(stream).await;
        }
    }

    async fn serve(mut self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut decoder = Decoder::new(None, 1 << 20);
        let mut input = BytesMut::new();
        loop {
            match stream.read_buf(&mut input).await {
                Ok(0) | Err(_) => return,
                Ok(_) => decoder.push(input.split().freeze()),
            }
            let mut goes_on = true;
            while goes_on {
                let packet = match decoder.next_packet() {
                    Ok(Some(packet)) => packet,
                    Ok(None) => break,
                    // A TLS client on a plain port.
                    Err(_) => return,
                };
                goes_on = self.handle(packet, decoder.version().unwrap());
            }
            if stream.write_all_buf(&mut self.out).await.is_err() || !goes_on {
                return;
            }
            if stream.flush().await.is_err() {
                return;
            }
        }
    }

    fn answer(&mut self, packet: &Packet, version: ProtocolVersion) {
        packet.encode(version, &mut self.out).unwrap();
    }

    /// False: the connection ends.
    fn handle(&mut self, packet: Packet, version: ProtocolVersion) -> bool {
        match packet {
            Packet::Connect(connect) => {
                let mut session_present = false;
                self.seen.send_modify(|seen| {
                    if connect.clean_start {
                        seen.has_session = false;
                        seen.held.clear();
                    }
                    session_present = seen.has_session;
                    seen.has_session = connect.session_expiry > 0;
                    seen.connects.push(*connect);
                    seen.subjects.push(self.subject.clone());
                });
                let reason = self.behaviour.connack;
                let accepted = reason == ReasonCode::Success;
                let connack = Connack::new(reason, session_present && accepted);
                self.answer(&Packet::Connack(Box::new(connack)), version);
                self.out.extend_from_slice(&self.behaviour.says);
                if self.behaviour.takes_over {
                    let reason = ReasonCode::SessionTakenOver;
                    self.answer(&Packet::Disconnect(Disconnect::new(reason)), version);
                }
                accepted && !self.behaviour.takes_over
            }
            Packet::Publish(publish) => self.publish(publish, version),
            Packet::Pubrel(pubrel) => {
                let id = pubrel.packet_id;
                self.seen.send_modify(|seen| {
                    seen.held.remove(&id.get());
                });
                let pubcomp = Acknowledge::new(id, ReasonCode::Success);
                self.answer(&Packet::Pubcomp(pubcomp), version);
                true
            }
            Packet::Pingreq => {
                self.answer(&Packet::Pingresp, version);
                true
            }
            Packet::Disconnect(disconnect) => {
                self.seen
                    .send_modify(|seen| seen.disconnects.push(disconnect.reason));
                false
            }
            _ => true,
        }
    }

    fn publish(&mut self, publish: Publish, version: ProtocolVersion) -> bool {
        let mut cut = false;
        let (qos, id) = (publish.qos, publish.packet_id);
        let behaviour = &self.behaviour;
        let refuses = behaviour
            .refuses
            .filter(|(text, _)| publish.payload == *text);
        let closes = behaviour
            .closes_on
            .is_some_and(|text| publish.payload == text);
        self.seen.send_modify(|seen| {
            seen.publishes += 1;
            cut = closes || behaviour.cuts.contains(&seen.publishes);
            if cut || refuses.is_some() {
                return;
            }
            let known =
                qos == QoS::ExactlyOnce && !seen.held.insert(id.expect("QoS 2 has an id").get());
            if !known {
                seen.delivered.push(publish);
            }
        });
        if cut {
            return false;
        }
        if let Some(id) = id {
            let reason = refuses.map_or(ReasonCode::Success, |(_, reason)| reason);
            let answer = Acknowledge::new(id, reason);
            let answer = match qos {
                QoS::ExactlyOnce => Packet::Pubrec(answer),
                _ => Packet::Puback(answer),
            };
            self.answer(&answer, version);
        }
        true
    }
}

/// A CA, a server certificate for `localhost` and a client certificate, as files.
pub struct Certificates {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    pub fn new() -> Self {
        Self::signed_by("test CA")
    }

    pub fn signed_by(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let ca = params.self_signed(&key).unwrap();
        let made = Self {
            dir: tempfile::tempdir().unwrap(),
            issuer: Issuer::new(params, key),
        };
        fs::write(made.path("ca.pem"), ca.pem()).unwrap();
        made.issue("server", "localhost", 2100);
        made.issue("client", "gw", 2100);
        made
    }

    /// Writes `NAME.crt` and `NAME.key`, valid to the first day of `year`.
    pub fn issue(&self, name: &str, subject: &str, year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![subject.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.distinguished_name.push(DnType::CommonName, subject);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A server that wants a client certificate.
    pub fn server(&self, name: &str) -> Behaviour {
        Behaviour {
            tls: Some(ServerTls {
                certificate: self.path(&format!("{name}.crt")),
                private_key: self.path(&format!("{name}.key")),
                client_ca: Some(self.path("ca.pem")),
                client_certificate: ClientCertificate::Required,
                crl: None,
                allow_tls12: true,
            }),
            ..Behaviour::default()
        }
    }

    pub fn client(&self) -> ClientTls {
        ClientTls {
            ca: self.path("ca.pem"),
            identity: Some((self.path("client.crt"), self.path("client.key"))),
            server_name: None,
            alpn: Vec::new(),
        }
    }
}
