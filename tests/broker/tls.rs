//! TLS and client certificates.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use fieldgate::auth::Users;
use fieldgate::listener::ListenerOptions;
use fieldgate::mqtt::ReasonCode;
use fieldgate::net::{ClientCertificate, ClientTls, ServerTls, TlsTime, client_setup};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::*;

/// A certificate authority with a folder for what it issues.
pub(crate) struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "CA");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.crt"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { dir, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Certificate and key of `name`.
    pub(crate) fn issue(&self, name: Option<&str>) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serial_number = name.map(|name| SerialNumber::from(name.as_bytes().to_vec()));
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let stem = name.unwrap_or("nameless");
        let (crt, pem) = (format!("{stem}.crt"), format!("{stem}.key"));
        fs::write(self.path(&crt), certificate.pem()).unwrap();
        fs::write(self.path(&pem), key.serialize_pem()).unwrap();
        (self.path(&crt), self.path(&pem))
    }

    /// A list of those revoked, each by its name.
    fn revoke(&self, file: &str, names: &[&str], next_year: i32) -> PathBuf {
        let revoked = |name: &&str| RevokedCertParams {
            serial_number: SerialNumber::from(name.as_bytes().to_vec()),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(next_year, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: names.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap().pem().unwrap();
        fs::write(self.path(file), list).unwrap();
        self.path(file)
    }

    fn gateway(&self, client_certificate: ClientCertificate) -> Gateway {
        self.gateway_with(|tls| tls.client_certificate = client_certificate)
    }

    fn gateway_with(&self, change: impl FnOnce(&mut ServerTls)) -> Gateway {
        let options = ListenerOptions {
            anonymous: false,
            user_from_common_name: true,
            ..listener()
        };
        self.gateway_with_listener(change, options)
    }

    pub(crate) fn gateway_with_listener(
        &self,
        change: impl FnOnce(&mut ServerTls),
        options: ListenerOptions,
    ) -> Gateway {
        let (certificate, private_key) = self.issue(Some("gateway"));
        let mut tls = ServerTls {
            certificate,
            private_key,
            client_ca: Some(self.path("ca.crt")),
            client_certificate: ClientCertificate::Required,
            crl: None,
            allow_tls12: true,
        };
        change(&mut tls);
        let listener = ListenerOptions {
            tls: Some(tls),
            ..options
        };
        Gateway::full(|_| (), Vec::new(), Users::default(), listener)
    }

    /// A TLS connection.
    pub(crate) async fn connect(
        &self,
        gateway: &Gateway,
        identity: Option<(PathBuf, PathBuf)>,
    ) -> Box<dyn Bytestream> {
        let config = client_setup(&self.client(identity), &TlsTime::default())
            .unwrap()
            .config;
        let socket = soon(TcpStream::connect(gateway.address)).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let connecting = TlsConnector::from(config).connect(name, socket);
        Box::new(soon(connecting).await.unwrap())
    }

    fn client(&self, identity: Option<(PathBuf, PathBuf)>) -> ClientTls {
        ClientTls {
            ca: self.path("ca.crt"),
            identity,
            server_name: None,
            alpn: Vec::new(),
        }
    }
}

/// The answer to a CONNECT; `None` where the handshake failed or the broker closed.
async fn connack(gateway: &Gateway, tls: &ClientTls) -> Option<(Client, ReasonCode)> {
    connack_by(
        gateway,
        &client_setup(tls, &TlsTime::default()).unwrap().config,
    )
    .await
}

async fn connack_by(gateway: &Gateway, config: &Arc<ClientConfig>) -> Option<(Client, ReasonCode)> {
    let socket = soon(TcpStream::connect(gateway.address)).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = TlsConnector::from(Arc::clone(config))
        .connect(name, socket)
        .await
        .ok()?;
    let mut client = Client::over(Box::new(stream), V5);
    let connect = fieldgate::mqtt::Packet::Connect(Box::new(connect(V5, "client")));
    let mut frame = bytes::BytesMut::new();
    connect.encode(V5, &mut frame).unwrap();
    // In TLS 1.3 the client learns of its refusal only when it reads.
    tokio::io::AsyncWriteExt::write_all(&mut client.stream, &frame)
        .await
        .ok()?;
    match client.next().await? {
        fieldgate::mqtt::Packet::Connack(connack) => Some((client, connack.reason)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_with_a_certificate_of_the_ca_is_its_common_name() {
    let authority = Authority::new();
    let gateway = authority.gateway(ClientCertificate::Required);
    let tls = authority.client(Some(authority.issue(Some("plc-7"))));
    // The listener takes nobody without a user, so success means that the certificate named one.
    let (mut client, reason) = connack(&gateway, &tls).await.unwrap();
    assert_eq!(reason, ReasonCode::Success);
    client.subscribe("a", QOS1).await;
    let payload = vec![7; 100_000];
    client.publish(message("b", "x", QOS1), 1).await;
    client
        .send_publish(message("a", payload.clone(), QOS1), 2)
        .await;
    let mut got = None;
    for _ in 0..2 {
        if let fieldgate::mqtt::Packet::Publish(publish) = client.receive().await {
            got = Some(publish.payload);
        }
    }
    assert!(got.unwrap() == payload);
}

#[tokio::test]
async fn without_a_certificate_or_with_one_of_another_ca_nobody_comes_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let gateway = authority.gateway(ClientCertificate::Required);
    assert!(connack(&gateway, &authority.client(None)).await.is_none());
    let foreign = authority.client(Some(stranger.issue(Some("plc-7"))));
    assert!(connack(&gateway, &foreign).await.is_none());
    let nameless = authority.client(Some(authority.issue(None)));
    assert!(connack(&gateway, &nameless).await.is_none());
    let known = authority.client(Some(authority.issue(Some("plc-7"))));
    assert!(connack(&gateway, &known).await.is_some());
}

#[tokio::test]
async fn an_optional_certificate_is_checked_where_shown() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let gateway = authority.gateway(ClientCertificate::Optional);
    let (_, reason) = connack(&gateway, &authority.client(None)).await.unwrap();
    assert_eq!(reason, ReasonCode::NotAuthorized);
    let foreign = authority.client(Some(stranger.issue(Some("plc-7"))));
    assert!(connack(&gateway, &foreign).await.is_none());
    let known = authority.client(Some(authority.issue(Some("plc-7"))));
    let (_, reason) = connack(&gateway, &known).await.unwrap();
    assert_eq!(reason, ReasonCode::Success);
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_or_nothing_at_all_is_closed() {
    let authority = Authority::new();
    let gateway = authority.gateway(ClientCertificate::Off);
    let mut plain = Client::open(gateway.address, V5).await;
    plain
        .send_bytes(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00")
        .await;
    // The TLS alert is no MQTT packet; what counts is that the connection ends.
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut plain.stream, &mut rest);
    drop(soon(read).await);
    assert!(connack(&gateway, &authority.client(None)).await.is_some());
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_others_come_in() {
    let authority = Authority::new();
    // The second list is out of date: whom it names stays out, and nobody else is kept out.
    for next_year in [2100, 2025] {
        let crl = authority.revoke("clients.crl", &["lost", "sold"], next_year);
        for shown in [ClientCertificate::Required, ClientCertificate::Optional] {
            let gateway = authority.gateway_with(|tls| {
                tls.client_certificate = shown;
                tls.crl = Some(crl.clone());
            });
            for revoked in ["lost", "sold"] {
                let tls = authority.client(Some(authority.issue(Some(revoked))));
                assert!(connack(&gateway, &tls).await.is_none(), "{revoked}");
            }
            let tls = authority.client(Some(authority.issue(Some("plc-7"))));
            let (_, reason) = connack(&gateway, &tls).await.unwrap();
            assert_eq!(reason, ReasonCode::Success);
        }
    }
}

#[tokio::test]
async fn a_certificate_that_no_list_speaks_for_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let foreign = stranger.revoke("foreign.crl", &[], 2100);
    let gateway = authority.gateway_with(|tls| tls.crl = Some(foreign));
    let tls = authority.client(Some(authority.issue(Some("plc-7"))));
    assert!(connack(&gateway, &tls).await.is_none());
}

/// A client that speaks one version of TLS only.
fn client_of(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let (certificate, key) = authority.issue(Some("plc-7"));
    let mut anchors = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.path("ca.crt")).unwrap();
    anchors.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(anchors)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(certificate).unwrap()],
            PrivateKeyDer::from_pem_file(key).unwrap(),
        );
    Arc::new(config.unwrap())
}

#[tokio::test]
async fn tls_1_2_is_spoken_unless_the_listener_wants_1_3() {
    use rustls::version::{TLS12, TLS13};
    let authority = Authority::new();
    for (allow_tls12, version, expected) in [
        (true, &TLS12, true),
        (true, &TLS13, true),
        (false, &TLS12, false),
        (false, &TLS13, true),
    ] {
        let gateway = authority.gateway_with(|tls| tls.allow_tls12 = allow_tls12);
        let config = client_of(&authority, version);
        let answer = connack_by(&gateway, &config).await;
        assert_eq!(answer.is_some(), expected, "{allow_tls12} {version:?}");
    }
}

#[tokio::test]
async fn new_files_count_from_the_next_handshake_on_and_connections_stay() {
    let authority = Authority::new();
    let list = authority.revoke("renewed.crl", &[], 2100);
    let gateway = authority.gateway_with(|tls| tls.crl = Some(list));
    let lost = authority.client(Some(authority.issue(Some("lost"))));
    let (mut stays, _) = connack(&gateway, &lost).await.unwrap();
    authority.revoke("renewed.crl", &["lost"], 2100);
    gateway.renew();
    assert!(connack(&gateway, &lost).await.is_none());
    stays.ping().await;
    // Its certificate too.
    let shown = |stream: &tokio_rustls::client::TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let good = authority.client(Some(authority.issue(Some("good"))));
    let config = client_setup(&good, &TlsTime::default()).unwrap().config;
    let mut certificates = Vec::new();
    for _ in 0..2 {
        let socket = soon(TcpStream::connect(gateway.address)).await.unwrap();
        let connecting = TlsConnector::from(Arc::clone(&config));
        let connecting = connecting.connect("localhost".try_into().unwrap(), socket);
        certificates.push(shown(&soon(connecting).await.unwrap()));
        authority.issue(Some("gateway"));
        gateway.renew();
    }
    assert_ne!(certificates[0], certificates[1]);
}
