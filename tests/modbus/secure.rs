//! Modbus TCP over TLS: a device behind a TLS server that wants a certificate, and what is told where either side refuses.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use fieldgate::adapter::{TcpOptions, WireOptions};
use fieldgate::net::{ClientCertificate, ClientTls, ServerTls, TlsTime, server_setup};
use fieldgate::simulator::{DeviceMap, Signal, SimulatedTable, Simulator, SimulatorHandle};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::{LOOPBACK, PATIENCE, Running, connection, device, group, start, tcp, word};

/// Certificates of an authority: of the device (`plc`), and ours (`gateway`).
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        let made = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(made.path("ca.pem"), ca.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        for name in ["plc", "gateway"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            fs::write(made.path(&format!("{name}.crt")), certificate.pem()).unwrap();
            fs::write(made.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn client(&self) -> ClientTls {
        ClientTls {
            ca: self.path("ca.pem"),
            identity: Some((self.path("gateway.crt"), self.path("gateway.key"))),
            server_name: Some("plc".to_owned()),
            alpn: Vec::new(),
        }
    }
}

/// Unit 1 with 17 in holding register 3, behind TLS that wants a client certificate.
struct Plc {
    address: SocketAddr,
    certificates: Certificates,
    _device: SimulatorHandle,
}

impl Plc {
    async fn start() -> Self {
        let map =
            DeviceMap::new(1).with(SimulatedTable::HoldingRegisters, 3, Signal::Words(vec![17]));
        let (plain, handle) = Simulator::bind(LOOPBACK, vec![map]).await.unwrap();
        let certificates = Certificates::new();
        let setup = server_setup(
            &ServerTls {
                certificate: certificates.path("plc.crt"),
                private_key: certificates.path("plc.key"),
                client_ca: Some(certificates.path("ca.pem")),
                client_certificate: ClientCertificate::Required,
                crl: None,
                allow_tls12: true,
            },
            &TlsTime::default(),
        );
        let acceptor = TlsAcceptor::from(setup.unwrap().config);
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut outside = acceptor.accept(stream).await?;
                    let mut inside = TcpStream::connect(plain).await?;
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        Self {
            address,
            certificates,
            _device: handle,
        }
    }

    fn polled_with(&self, tls: ClientTls) -> Running {
        let device = device("plc", 1, vec![group("plc", "g", 50, vec![word("x", 3)])]);
        let options = connection(self.address, vec![device]);
        let tcp = TcpOptions {
            tls: Some(tls),
            ..tcp(self.address)
        };
        start(fieldgate::adapter::ConnectionOptions {
            wire: WireOptions::ModbusTcp(tcp),
            ..options
        })
    }

    /// What is told of the connection that is not made, and of the reading.
    async fn refused(&self, tls: ClientTls) -> String {
        let mut running = self.polled_with(tls);
        let told = running
            .until("g/plc/g", |json| !json["bad"].is_null())
            .await;
        assert_eq!(told["bad"]["x"], "connect_failed", "{told}");
        let mut status = running.adapter.status();
        let told = status.wait_for(|status| status.error.is_some());
        let told = tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
        told.error.clone().unwrap()
    }
}

#[tokio::test]
async fn a_device_is_read_over_tls_with_certificates_on_both_sides() {
    let plc = Plc::start().await;
    let mut running = plc.polled_with(plc.certificates.client());
    let told = running.next("g/plc/g").await;
    assert_eq!(told["values"]["x"], 17, "{told}");
}

#[tokio::test]
async fn a_device_that_is_not_the_one_expected_is_not_asked_and_why_is_told() {
    let plc = Plc::start().await;
    let right = plc.certificates.client();
    let others = Certificates::new();
    let told = plc
        .refused(ClientTls {
            ca: others.path("ca.pem"),
            ..right.clone()
        })
        .await;
    assert!(
        told.starts_with("TLS: unknown issuer: the device's certificate is")
            && told.contains("ca.pem"),
        "{told}"
    );
    let told = plc
        .refused(ClientTls {
            server_name: None,
            ..right.clone()
        })
        .await;
    assert!(
        told.contains("host name mismatch") && told.contains("correct `host`"),
        "{told}"
    );
    let told = plc
        .refused(ClientTls {
            ca: plc.certificates.path("gone.pem"),
            ..right
        })
        .await;
    assert!(told.contains("gone.pem: cannot be read"), "{told}");
}

#[tokio::test]
async fn a_device_that_refuses_us_is_told_as_such_though_it_says_so_after_the_handshake() {
    let plc = Plc::start().await;
    let anonymous = ClientTls {
        identity: None,
        ..plc.certificates.client()
    };
    let told = plc.refused(anonymous).await;
    assert!(
        told.contains("the device wants a client certificate; set `certificate`"),
        "{told}"
    );
}

#[tokio::test]
async fn a_port_that_hangs_up_at_a_handshake_is_asked_about() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let plc = Plc {
        address,
        ..Plc::start().await
    };
    let told = plc.refused(plc.certificates.client()).await;
    assert!(told.contains("is this a TLS port?"), "{told}");
}
