//! Listeners on unix sockets.

use std::path::Path;

use fieldgate::auth::{Authenticator, Users};
use fieldgate::broker::{Broker, BrokerOptions};
use fieldgate::listener::{Bind, Listener, ListenerOptions, PreparedListener};
use fieldgate::shutdown::Shutdown;
use tokio::net::UnixStream;

use crate::support::*;

fn start(path: &Path) -> (Listener, Shutdown) {
    let shutdown = Shutdown::default();
    let users = Authenticator::new(Users::default());
    let broker = Broker::start(BrokerOptions::default(), Vec::new(), users, shutdown.stop());
    let options = ListenerOptions {
        bind: Bind::Unix(path.to_owned()),
        anonymous: true,
        ..listener()
    };
    let prepared = PreparedListener::new(options, &fieldgate::net::TlsTime::default()).unwrap();
    let listener = prepared.start(broker.unwrap(), shutdown.stop());
    (listener, shutdown)
}

async fn stop(shutdown: Shutdown) {
    shutdown.request();
    soon(shutdown.finished()).await;
}

async fn client(path: &Path, version: fieldgate::mqtt::ProtocolVersion) -> Client {
    let stream = soon(UnixStream::connect(path)).await.unwrap();
    let mut client = Client::over(Box::new(stream), version);
    let connack = client.connect(connect(version, "here")).await;
    assert!(!connack.reason.is_error());
    client
}

#[tokio::test]
async fn clients_on_this_machine_come_in_by_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.sock");
    let (listener, shutdown) = start(&path);
    assert_eq!(listener.status.borrow().error, None);
    assert_eq!(listener.local_addr(), None);
    for version in [V311, V5] {
        let mut client = client(&path, version).await;
        client.subscribe("a/#", QOS1).await;
        let payload = vec![7; 200_000];
        client
            .send_publish(message("a/b", payload.clone(), QOS0), 0)
            .await;
        assert!(client.take_payload().await == payload);
    }
    stop(shutdown).await;
    assert!(!path.exists(), "the file is removed at the end");
}

#[tokio::test]
async fn a_second_listener_waits_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.sock");
    let (_, first) = start(&path);
    let (mut second, shutdown) = start(&path);
    let error = second.status.borrow().error.clone().unwrap();
    assert!(error.contains("is in use"), "{error}");
    client(&path, V5).await.ping().await;
    stop(first).await;
    let listening = second.status.wait_for(|status| status.error.is_none());
    soon(listening).await.unwrap();
    client(&path, V5).await.ping().await;
    stop(shutdown).await;
}
