//! What the console of a whole gateway says, and when it is not there.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use fieldgate::app::{Gateway, Prepared};
use fieldgate::config;
use fieldgate::net::TlsTime;
use fieldgate::simulator::{DeviceMap, Signal, SimulatedTable, Simulator, Terminal};
use fieldgate::status::{GatewayState, Health, LinkState};

use crate::client::Client;
use crate::write;

/// An upstream and a device that nobody is.
const LONELY: &str = r#"
gateway: { id: g1, data_dir: data }
broker: { listeners: [{ name: local, bind: "127.0.0.1:0", anonymous: true }] }
connections: [{ name: net, modbus_tcp: { host: 127.0.0.1, port: 1 } }]
devices:
  - name: meter
    connection: net
    unit_id: 1
    groups: [{ name: power, tags: [{ name: u, register: input, address: 0, type: uint16 }] }]
bridges:
  - name: cloud
    url: mqtt://127.0.0.1:1
    allow_plaintext: true
    forward: [{ filter: "up/#" }]
"#;

const FREE: &str = "127.0.0.1:0";

/// A meter that has half of what it is asked for, and on a port somebody who is only listened to.
fn measured(meter: SocketAddr, terminal: &Path) -> String {
    format!(
        r#"
gateway: {{ id: g1, data_dir: data }}
broker: {{ listeners: [] }}
connections:
  - {{ name: net, modbus_tcp: {{ host: 127.0.0.1, port: {} }} }}
  - {{ name: port, serial: {{ port: {}, baud_rate: 9600 }} }}
devices:
  - name: meter
    connection: net
    unit_id: 3
    request_delay: 5ms
    groups:
      - {{ name: has, interval: 50ms, tags: [{{ name: u, register: holding, address: 100, type: uint16 }}] }}
      - {{ name: lacks, interval: 50ms, tags: [{{ name: i, register: holding, address: 200, type: uint16 }}] }}
  - name: scanner
    connection: port
    serial:
      framing: {{ delimiter: "\r\n" }}
      parse: {{ regex: "^(?P<code>.+)$", fields: {{ code: {{ type: string }} }} }}
"#,
        meter.port(),
        terminal.display()
    )
}

async fn start(folder: &Path, console: &str) -> Gateway {
    start_with(folder, LONELY, console).await
}

async fn start_with(folder: &Path, text: &str, console: &str) -> Gateway {
    let file = write(
        folder,
        &format!("{text}console: {{ bind: \"{console}\" }}\n"),
    );
    let loaded = config::load(&file).unwrap();
    let prepared = Prepared::new(loaded.config, TlsTime::default()).unwrap();
    Gateway::start(prepared).await.unwrap()
}

fn console_of(gateway: &Gateway) -> SocketAddr {
    let console = gateway.observer().state().console.unwrap();
    assert_eq!(console.error, None);
    console.address.parse().unwrap()
}

/// Status and body.
fn ask(console: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(console).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {console}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// Asks again until it has `line`.
fn until_metrics_have(console: SocketAddr, line: &str) {
    loop {
        let (status, page) = ask(console, "/metrics");
        assert_eq!(status, 200);
        if page.lines().any(|found| found == line) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_link_and_device_is_ready_and_tells_how_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path(), FREE).await;
    let console = console_of(&gateway);
    assert_eq!(ask(console, "/healthz"), (200, "ok\n".to_owned()));
    let mqtt = gateway.listeners().next().unwrap().local_addr().unwrap();
    let (_client, _) = Client::connect(&mqtt.to_string(), "c", None, None);
    for line in [
        "fieldgate_broker_clients 1",
        "fieldgate_listener_up{listener=\"local\"} 1",
        "fieldgate_bridge_connected{bridge=\"cloud\"} 0",
        "fieldgate_connection_up{connection=\"net\"} 0",
        "fieldgate_device_up{connection=\"net\",device=\"meter\"} 0",
        "fieldgate_store_up 1",
    ] {
        until_metrics_have(console, line);
    }
    let (status, body) = ask(console, "/api/state");
    assert_eq!(status, 200);
    let state: GatewayState = serde_json::from_str(&body).unwrap();
    assert_eq!(state.gateway, "g1");
    assert_ne!(state.bridges[0].status.link, LinkState::Up);
    assert_ne!(state.connections[0].devices[0].state, Health::Online);
    assert_eq!(ask(console, "/readyz"), (200, "ready\n".to_owned()));
    gateway.stop().await;
    assert!(TcpStream::connect(console).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_written_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path(), FREE).await;
    let console = console_of(&gateway);
    let mqtt = gateway.listeners().next().unwrap().local_addr().unwrap();
    let (mut client, _) = Client::connect(&mqtt.to_string(), "c", None, None);
    client.publish("up/1", "1");
    until_metrics_have(
        console,
        "fieldgate_bridge_backlog_messages{bridge=\"cloud\"} 1",
    );
    let (_, body) = ask(console, "/api/state");
    let state: GatewayState = serde_json::from_str(&body).unwrap();
    let store = state.store;
    assert!(store.commits > 0 && store.bytes_written > 0, "{body}");
    assert_eq!(store.commit_times.count, store.commits);
    assert!(store.commit_times.sum_s > 0.0, "{body}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_timed_counted_by_their_exceptions_and_told_as_time_of_their_wire() {
    let folder = tempfile::tempdir().unwrap();
    let map = DeviceMap::new(3).with(
        SimulatedTable::HoldingRegisters,
        100,
        Signal::Words(vec![7]),
    );
    let loopback = FREE.parse().unwrap();
    let (meter, _meter) = Simulator::bind(loopback, vec![map]).await.unwrap();
    let terminal = folder.path().join("adapter");
    let _scanner = Terminal::plug_in(&terminal).unwrap();
    let gateway = start_with(folder.path(), &measured(meter, &terminal), FREE).await;
    let console = console_of(&gateway);
    until_metrics_have(console, "fieldgate_connection_up{connection=\"port\"} 1");
    let state = loop {
        let (_, body) = ask(console, "/api/state");
        let state: GatewayState = serde_json::from_str(&body).unwrap();
        let meter = &state.connections[0].devices[0];
        if meter.answered > 1 && meter.exceptions > 1 {
            break state;
        }
    };
    let [net, port] = &state.connections[..] else {
        panic!("{state:?}");
    };
    let meter = &net.devices[0];
    let times = meter.reply_times.as_ref().unwrap();
    assert_eq!(times.count, meter.answered);
    assert!(times.sum_s > 0.0);
    let codes = [("exception_02".to_owned(), meter.exceptions)];
    assert_eq!(meter.exception_codes, codes.into());
    let busy = net.busy.unwrap();
    assert!(busy.ratio > 0.0 && busy.ratio <= 1.0, "{busy:?}");
    assert!(busy.time_s > 0.0, "{busy:?}");
    assert_eq!(net.line_errors, None);
    // Nobody asks it, and the driver of a pseudo terminal counts nothing.
    assert_eq!((port.busy, port.line_errors), (None, None));
    assert_eq!(port.devices[0].reply_times, None);
    let (_, page) = ask(console, "/metrics");
    assert!(!page.contains("fieldgate_serial_line_errors_total"));
    assert!(!page.contains("fieldgate_bus_utilization_ratio{connection=\"port\"}"));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_open_its_store_is_alive_and_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), "in the way").unwrap();
    let gateway = start(folder.path(), FREE).await;
    let console = console_of(&gateway);
    assert_eq!(ask(console, "/healthz").0, 200);
    let (status, why) = ask(console, "/readyz");
    assert_eq!(status, 503, "{why}");
    assert!(
        why.contains("the backlog of bridge cloud cannot be opened"),
        "{why}"
    );
    until_metrics_have(console, "fieldgate_store_up 0");
    until_metrics_have(console, "fieldgate_bridge_store_up{bridge=\"cloud\"} 0");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_whose_address_is_taken_stops_nothing_and_takes_it_when_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind(FREE).unwrap();
    let address = taken.local_addr().unwrap();
    let gateway = start(folder.path(), &address.to_string()).await;
    let error = gateway.observer().state().console.unwrap().error.unwrap();
    assert!(error.contains("is in use"), "{error}");
    assert!(gateway.listeners().next().unwrap().local_addr().is_some());
    drop(taken);
    while gateway.observer().state().console.unwrap().error.is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ask(address, "/readyz").0, 200);
    gateway.stop().await;
}
