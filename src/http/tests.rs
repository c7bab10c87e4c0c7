//! The server over real sockets, written to and read by hand.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::shutdown::Shutdown;
use crate::status::GatewayState;

/// Nothing here takes so long.
const PATIENT: Limits = Limits {
    connections: 8,
    head_bytes: 8 << 10,
    head_time: Duration::from_secs(600),
    connection_time: Duration::from_secs(600),
    answer_time: Duration::from_secs(600),
};
const SOON: Duration = Duration::from_millis(50);

struct Served {
    address: SocketAddr,
    shutdown: Shutdown,
}

/// A console of a gateway that is called `name`.
fn serve(limits: Limits, name: &str) -> Served {
    let (sender, mut wanted) = mpsc::channel::<Wanted>(1);
    let state = GatewayState {
        gateway: name.to_owned(),
        ..GatewayState::default()
    };
    tokio::spawn(async move {
        while let Some(wanted) = wanted.recv().await {
            wanted.tell(state.clone());
        }
    });
    let shutdown = Shutdown::default();
    let bind: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let hosts = Hosts::of(bind.ip(), None);
    let console = Console::start(bind, hosts, limits, sender, shutdown.stop());
    let status = console.status.borrow();
    assert_eq!(status.error, None);
    Served {
        address: status.address.parse().unwrap(),
        shutdown,
    }
}

impl Served {
    async fn connect(&self) -> Peer {
        Peer(TcpStream::connect(self.address).await.unwrap())
    }

    /// What is answered to bytes on a connection of their own, until that is closed.
    async fn answers(&self, bytes: &str) -> String {
        let mut peer = self.connect().await;
        peer.write(bytes).await;
        peer.rest().await
    }

    async fn status(&self, request: &str) -> String {
        let answer = self.answers(request).await;
        let (line, _) = answer.split_once("\r\n").expect(&answer);
        line.to_owned()
    }
}

struct Peer(TcpStream);

impl Peer {
    async fn write(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// All that comes before the connection is closed.
    async fn rest(mut self) -> String {
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Reads up to the end of `ending`.
    async fn until(&mut self, ending: &str) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(ending.as_bytes()) {
            answer.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(answer).unwrap()
    }
}

const CLOSE: &str = "Host: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn what_there_is_is_answered() {
    let served = serve(PATIENT, "g1");
    for (path, body) in [
        ("/", "/metrics    figures for Prometheus\n"),
        ("/healthz", "ok\n"),
        ("/readyz", "ready\n"),
        ("/metrics", "\nfieldgate_broker_clients 0\n"),
        ("/api/state", "\"gateway\":\"g1\""),
    ] {
        let answer = served
            .answers(&format!("GET {path} HTTP/1.1\r\n{CLOSE}"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("\r\ncache-control: no-store\r\n"),
            "{answer}"
        );
        let (_, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(text.contains(body), "{answer}");
    }
}

#[tokio::test]
async fn what_there_is_not_is_refused() {
    let served = serve(PATIENT, "g1");
    for (request, status) in [
        (
            format!("POST /metrics HTTP/1.1\r\n{CLOSE}"),
            "405 Method Not Allowed",
        ),
        (format!("GET /metric HTTP/1.1\r\n{CLOSE}"), "404 Not Found"),
        (
            format!(
                "GET / HTTP/1.1\r\n{}",
                CLOSE.replace("localhost", "evil.example")
            ),
            "421 Misdirected Request",
        ),
        (
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            "400 Bad Request",
        ),
        (
            format!("GET / HTTP/1.1\r\nno field\r\n{CLOSE}"),
            "400 Bad Request",
        ),
        ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), "400 Bad Request"),
    ] {
        let told = served.status(&request).await;
        assert_eq!(told, format!("HTTP/1.1 {status}"), "{request:?}");
    }
    let post = served.answers(&format!("POST / HTTP/1.1\r\n{CLOSE}")).await;
    assert!(post.contains("\r\nallow: GET, HEAD\r\n"), "{post}");
    let none = served
        .answers(&format!("GET /none HTTP/1.1\r\n{CLOSE}"))
        .await;
    assert!(none.contains("/api/state"), "{none}");
}

#[tokio::test]
async fn a_head_request_is_answered_without_the_body() {
    let served = serve(PATIENT, "g1");
    let answer = served
        .answers(&format!("HEAD /healthz HTTP/1.1\r\n{CLOSE}"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\ncontent-length: 3\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_of_http_1_0_is_answered_and_the_connection_closed() {
    let served = serve(PATIENT, "g1");
    let answer = served.answers("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_their_order() {
    let served = serve(PATIENT, "g1");
    let first = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let both = format!("{first}GET /readyz HTTP/1.1\r\n{CLOSE}");
    let answers = served.answers(&both).await;
    let (ok, ready) = (
        answers.find("\r\n\r\nok\n"),
        answers.find("\r\n\r\nready\n"),
    );
    assert!(ok.is_some() && ok < ready, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
}

#[tokio::test]
async fn who_is_slow_with_a_request_or_has_none_is_cut() {
    let limits = Limits {
        head_time: SOON,
        ..PATIENT
    };
    let served = serve(limits, "g1");
    for begun in ["", "GET /healthz HTTP/1.1\r\nHost: loc"] {
        let answer = served.answers(begun).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    let mut drop_by_drop = served.connect().await;
    let (mut sent, mut said) = (0, [0]);
    while drop_by_drop.0.write_all(b"G").await.is_ok() {
        sent += 1;
        let ended = timeout(SOON / 10, drop_by_drop.0.read(&mut said));
        if ended.await.is_ok() {
            break;
        }
    }
    assert!(sent < limits.head_bytes, "it was cut by its length: {sent}");
    // Answered, it has as much time to ask again.
    let kept = served
        .answers("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert!(kept.ends_with("ok\n"), "{kept}");
}

#[tokio::test]
async fn a_connection_has_its_time_and_an_answer_under_way_is_finished() {
    let limits = Limits {
        connection_time: SOON,
        ..PATIENT
    };
    let name = "x".repeat(32 << 20); // more than sockets hold
    let served = serve(limits, &name);
    let mut peer = served.connect().await;
    peer.write("GET /api/state HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    tokio::time::sleep(SOON * 2).await; // a slow peer
    let answer = peer.rest().await; // which ends, since the connection does
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let state: GatewayState = serde_json::from_str(body).unwrap();
    assert!(state.gateway == name);
}

#[tokio::test]
async fn who_does_not_take_the_answer_does_not_keep_the_place() {
    let limits = Limits {
        connections: 1,
        connection_time: SOON,
        answer_time: SOON,
        ..PATIENT
    };
    let served = serve(limits, &"x".repeat(32 << 20)); // more than sockets hold
    let mut greedy = served.connect().await;
    greedy
        .write("GET /api/state HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    greedy.until("\r\n\r\n").await;
    while served
        .status(&format!("GET /healthz HTTP/1.1\r\n{CLOSE}"))
        .await
        != "HTTP/1.1 200 OK"
    {}
    drop(greedy);
}

#[tokio::test]
async fn the_ninth_connection_is_told_that_there_is_no_room_until_one_leaves() {
    let served = serve(PATIENT, "g1");
    let mut peers = Vec::new();
    for _ in 0..8 {
        let mut peer = served.connect().await;
        peer.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        peer.until("ok\n").await;
        peers.push(peer);
    }
    let ask = format!("GET /healthz HTTP/1.1\r\n{CLOSE}");
    let ninth = served.answers(&ask).await;
    assert!(ninth.starts_with("HTTP/1.1 503 "), "{ninth}");
    let (head, body) = ninth.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("\r\nContent-Length: {}", body.len())),
        "{ninth}"
    );
    // The others are not disturbed.
    for peer in &mut peers {
        peer.write("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        peer.until("ready\n").await;
    }
    peers.pop();
    while served.status(&ask).await != "HTTP/1.1 200 OK" {}
}

#[tokio::test]
async fn an_endless_head_is_cut_and_others_are_answered() {
    let served = serve(PATIENT, "g1");
    let mut peer = served.connect().await;
    peer.write("GET / HTTP/1.1\r\nX: ").await;
    let chunk = "x".repeat(1024);
    let mut sent = 0;
    while peer.0.write_all(chunk.as_bytes()).await.is_ok() {
        sent += chunk.len();
        assert!(sent < 64 << 20, "nobody cut it");
    }
    // Where the answer outran the end, it names the reason.
    let mut answer = Vec::new();
    if peer.0.read_to_end(&mut answer).await.is_ok() {
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
            "{answer}"
        );
    }
    let status = served.status(&format!("GET / HTTP/1.1\r\n{CLOSE}")).await;
    assert_eq!(status, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn stopped_it_leaves_its_address_and_its_connections() {
    let served = serve(PATIENT, "g1");
    let mut peer = served.connect().await;
    peer.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    peer.until("ok\n").await;
    served.shutdown.request();
    served.shutdown.finished().await;
    assert_eq!(peer.rest().await, "");
    TcpListener::bind(served.address).await.unwrap();
}
