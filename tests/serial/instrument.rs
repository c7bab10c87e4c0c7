//! The actor over an in-memory port: listening, asking, commands, and what is told when an instrument is silent, slow,
//! garbled or gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::adapter::serial::{
    Checksum, ChecksumKind, Command, CommandOptions, Dialect, Encoding, Endian, Framing,
    FramingOptions, Instrument, InstrumentOptions, Mode, Pattern,
};
use fieldgate::adapter::{CommandError, Payload, ProbeBackoff, Reason};
use fieldgate::clock;
use fieldgate::mqtt::{Message, QoS};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::parse::mt_sics;

const STATUS: &str = "g/scale1/$status";

fn scale(mode: Mode) -> InstrumentOptions {
    InstrumentOptions {
        name: "scale1".to_owned(),
        dialect: Dialect {
            framing: FramingOptions {
                kind: Framing::Delimiter(b"\r\n".to_vec()),
                max_length: 64,
                frame_timeout: Duration::from_millis(300),
            },
            checksum: None,
            mode,
            parse: mt_sics(),
            commands: vec![
                CommandOptions {
                    name: "tare".to_owned(),
                    send: b"T\r\n".to_vec(),
                    expect: Some(Pattern::new("^T S").unwrap()),
                    timeout: Duration::from_millis(500),
                    max_age: Duration::from_secs(30),
                    takes_undated: true,
                },
                CommandOptions {
                    name: "beep".to_owned(),
                    send: b"B\r\n".to_vec(),
                    expect: None,
                    timeout: Duration::from_millis(500),
                    max_age: Duration::from_secs(30),
                    takes_undated: true,
                },
            ],
        },
        topics: ["weight", "stable"]
            .map(|name| format!("g/scale1/reading/{name}").try_into().unwrap())
            .into(),
        payload: Payload::Json("g/scale1/reading".to_owned().try_into().unwrap()),
        qos: QoS::AtLeastOnce,
        retain: false,
        status_topic: STATUS.to_owned().try_into().unwrap(),
        set_topic: "g/scale1/set".to_owned().try_into().unwrap(),
        offline_after: 3,
        probe_backoff: ProbeBackoff {
            min: Duration::from_millis(100),
            max: Duration::from_millis(200),
        },
    }
}

/// A scale that is asked.
pub fn asked_scale() -> InstrumentOptions {
    scale(poll(50, 1000))
}

fn poll(interval: u64, timeout: u64) -> Mode {
    Mode::Poll {
        send: b"SI\r\n".to_vec(),
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(timeout),
    }
}

fn listen(stale_after: u64) -> Mode {
    Mode::Listen {
        stale_after: Some(Duration::from_millis(stale_after)),
    }
}

/// An instrument that runs, the other end of its cable, and what it has told.
struct Bench {
    cable: Option<DuplexStream>,
    told: Arc<Mutex<Vec<Message>>>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<std::io::Error>,
}

impl Bench {
    fn new(options: InstrumentOptions) -> Self {
        let (port, cable) = tokio::io::duplex(1024);
        let told = Arc::<Mutex<Vec<Message>>>::default();
        let sink = Arc::clone(&told);
        let (mut instrument, commands) = Instrument::new(options, 0, move |message| {
            sink.lock().unwrap().push(message)
        });
        let task = tokio::spawn(async move { instrument.run(port).await });
        Self {
            cable: Some(cable),
            told,
            commands,
            task,
        }
    }

    async fn say(&mut self, text: &str) {
        let cable = self.cable.as_mut().unwrap();
        cable.write_all(text.as_bytes()).await.unwrap();
    }

    async fn asked(&mut self, text: &str) {
        let mut bytes = vec![0; text.len()];
        let read = self.cable.as_mut().unwrap().read_exact(&mut bytes);
        tokio::time::timeout(Duration::from_secs(10), read)
            .await
            .expect("nothing is asked")
            .unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }

    /// The bodies that were told under readings' topics and under `$status`, without their stamps.
    fn bodies(&self, status: bool) -> Vec<Value> {
        let told = self.told.lock().unwrap();
        let of_kind = told
            .iter()
            .filter(|message| (message.topic.as_str() == STATUS) == status);
        of_kind
            .map(|message| {
                let mut body: Value = serde_json::from_slice(&message.payload).unwrap();
                assert!(status || body["ts"].is_u64());
                body.as_object_mut().unwrap().remove("ts");
                body
            })
            .collect()
    }

    /// Waits for so many readings, then gives them all.
    async fn readings(&self, count: usize) -> Vec<Value> {
        self.until(|bench| bench.bodies(false).len() >= count).await;
        self.bodies(false)
    }

    async fn until(&self, done: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("told only {:?} {:?}", self.bodies(false), self.bodies(true));
    }

    async fn command(&self, name: &str) -> oneshot::Receiver<Result<(), CommandError>> {
        let (answer, receiver) = oneshot::channel();
        let name = name.to_owned();
        self.commands
            .send(Command {
                name,
                until: clock::now() + Duration::from_secs(60),
                answer,
            })
            .await
            .unwrap();
        receiver
    }
}

/// Whether the page of topics shows this body, whatever its stamp.
fn is_on_the_page(body: &Value) -> bool {
    let page = include_str!("../../config/docs/topics.md");
    let bodies = page.lines().filter(|line| line.starts_with("{\"ts\""));
    bodies
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .any(|mut shown| {
            shown.as_object_mut().unwrap().remove("ts");
            shown == *body
        })
}

fn good(weight: f64) -> Value {
    json!({"values": {"weight": weight, "stable": true}, "units": {"weight": "g"}})
}

fn bad(reason: &str) -> Value {
    json!({"values": {}, "bad": {"weight": reason, "stable": reason}})
}

#[tokio::test(start_paused = true)]
async fn what_an_instrument_says_by_itself_is_told() {
    let mut bench = Bench::new(scale(listen(10_000)));
    tokio::time::sleep(Duration::from_millis(400)).await;
    bench.say("S S     100.00 g\r\nS D      9").await;
    assert_eq!(bench.readings(1).await, [good(100.0)]);
    bench.say("9.87 g\r\nS I\r\n").await;
    let swinging = json!({"values": {"weight": 99.87, "stable": false}, "uncertain": {"weight": "flagged"},
        "units": {"weight": "g"}});
    assert!(is_on_the_page(&swinging));
    assert_eq!(
        bench.readings(3).await,
        [good(100.0), swinging, bad("no_match")]
    );
    bench.until(|bench| bench.bodies(true).len() == 1).await;
    assert_eq!(bench.bodies(true)[0]["state"], "online");
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_as_a_reason_and_then_as_offline() {
    let mut bench = Bench::new(scale(listen(1100)));
    let started = clock::now();
    assert_eq!(bench.readings(1).await, [bad("timeout")]);
    bench
        .until(|bench| {
            bench
                .bodies(true)
                .iter()
                .any(|body| body["state"] == "offline")
        })
        .await;
    assert!(
        clock::now().duration_since(started) > Duration::from_secs(3),
        "not by count alone"
    );
    assert_eq!(bench.bodies(false).last(), Some(&bad("timeout")));
    let told = bench.bodies(false).len();
    bench.say("S S     100.00 g\r\n").await;
    bench
        .until(|bench| bench.bodies(false).contains(&good(100.0)))
        .await;
    assert!(
        bench.bodies(false).len() <= told + 2,
        "offline is told once"
    );
    bench
        .until(|bench| bench.bodies(true).last().unwrap()["state"] == "online")
        .await;
}

#[tokio::test(start_paused = true)]
async fn questions_are_answered_or_time_out() {
    let mut bench = Bench::new(scale(poll(500, 300)));
    bench.asked("SI\r\n").await;
    bench.say("S S     100.00 g\r\n").await;
    bench.asked("SI\r\n").await;
    bench.say(&"S S     10".repeat(10)).await;
    assert_eq!(bench.readings(2).await, [good(100.0), bad("garbled")]);
    bench.asked("SI\r\n").await;
    assert_eq!(bench.readings(3).await[2], bad("timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_nobodys() {
    let mut bench = Bench::new(scale(poll(500, 300)));
    bench.asked("SI\r\n").await;
    assert_eq!(bench.readings(1).await, [bad("timeout")]);
    bench.say("S S     111.11 g\r\n").await;
    bench.asked("SI\r\n").await;
    bench.say("S S     222.22 g\r\n").await;
    assert_eq!(bench.readings(2).await, [bad("timeout"), good(222.22)]);
    // What is said without a question is no answer to the next one.
    bench.say("S S     333.33 g\r\n").await;
    bench.asked("SI\r\n").await;
    bench.say("S S     444.44 g\r\n").await;
    assert_eq!(bench.readings(3).await[2], good(444.44));
}

#[tokio::test(start_paused = true)]
async fn an_instrument_that_is_back_is_found_by_a_probe() {
    let mut bench = Bench::new(scale(poll(200, 100)));
    let told =
        |bench: &Bench, state: &str| bench.bodies(true).iter().any(|body| body["state"] == state);
    bench.until(|bench| told(bench, "offline")).await;
    let mut old = vec![0; 1024];
    assert!(bench.cable.as_mut().unwrap().read(&mut old).await.unwrap() > 8);
    let before = bench.bodies(false).len();
    while !told(&bench, "online") {
        bench.asked("SI\r\n").await;
        bench.say("S S     100.00 g\r\n").await;
    }
    assert_eq!(bench.bodies(false)[before], good(100.0));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_checksum_is_no_reading() {
    let mut options = scale(poll(500, 300));
    options.dialect.checksum = Some(Checksum {
        kind: ChecksumKind::Xor8,
        over: "..-3".parse().unwrap(),
        encoding: Encoding::Hex(Endian::Big),
        at: None,
    });
    let mut bench = Bench::new(options);
    bench.asked("SI\r\n").await;
    bench.say("S S     100.00 g*00\r\n").await;
    assert_eq!(bench.readings(1).await, [bad("wrong_checksum")]);
    bench.until(|bench| !bench.bodies(true).is_empty()).await;
    assert_eq!(bench.bodies(true)[0]["crc_errors"], 1);
}

#[tokio::test(start_paused = true)]
async fn commands_have_an_answer_or_none() {
    let mut bench = Bench::new(scale(listen(10_000)));
    tokio::time::sleep(Duration::from_millis(400)).await;
    let tare = bench.command("tare").await;
    bench.asked("T\r\n").await;
    bench.say("S S     100.00 g\r\nT S     100.00 g\r\n").await;
    assert_eq!(tare.await.unwrap(), Ok(()));
    assert_eq!(
        bench.readings(1).await,
        [good(100.0)],
        "a reading as always"
    );
    assert_eq!(bench.command("beep").await.await.unwrap(), Ok(()));
    bench.asked("B\r\n").await;
    assert_eq!(
        bench.command("zero").await.await.unwrap(),
        Err(CommandError::Unknown)
    );
    assert_eq!(
        bench.command("tare").await.await.unwrap(),
        Err(CommandError::Failed(Reason::Timeout))
    );
}

#[tokio::test(start_paused = true)]
async fn a_command_goes_between_questions() {
    let mut bench = Bench::new(scale(poll(500, 300)));
    bench.asked("SI\r\n").await;
    bench.say("S S     100.00 g\r\n").await;
    bench.readings(1).await;
    let tare = bench.command("tare").await;
    bench.asked("T\r\n").await;
    bench.say("T I\r\n").await;
    assert_eq!(tare.await.unwrap(), Err(CommandError::UnexpectedReply));
    bench.asked("SI\r\n").await;
    bench.say("S S     100.00 g\r\n").await;
    assert_eq!(bench.readings(2).await[1], good(100.0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_confirms_no_other_command() {
    let mut bench = Bench::new(scale(poll(3_600_000, 300)));
    bench.asked("SI\r\n").await;
    bench.say("S S     100.00 g\r\n").await;
    let tare = bench.command("tare").await;
    bench.asked("T\r\n").await;
    let timeout = Err(CommandError::Failed(Reason::Timeout));
    assert_eq!(tare.await.unwrap(), timeout);
    let again = bench.command("tare").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench.say("T S     100.00 g\r\n").await;
    bench.asked("T\r\n").await;
    assert_eq!(again.await.unwrap(), timeout);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_a_command_does_not_confirm_it() {
    let mut bench = Bench::new(scale(listen(10_000)));
    tokio::time::sleep(Duration::from_millis(400)).await; // what is asked before it is at work is refused
    bench.say("T S     100.00 g\r\n").await;
    let tare = bench.command("tare").await;
    bench.asked("T\r\n").await;
    let timeout = Err(CommandError::Failed(Reason::Timeout));
    assert_eq!(tare.await.unwrap(), timeout);
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_port_goes_meanwhile_may_have_been_carried_out() {
    let mut bench = Bench::new(scale(listen(10_000)));
    tokio::time::sleep(Duration::from_millis(400)).await; // what is asked before it is at work is refused
    let tare = bench.command("tare").await;
    bench.asked("T\r\n").await;
    bench.cable = None;
    let lost = Err(CommandError::Failed(Reason::ConnectionClosed));
    assert_eq!(tare.await.unwrap(), lost);
}

#[tokio::test(start_paused = true)]
async fn a_command_is_not_carried_out_later() {
    let (mut instrument, commands) = Instrument::new(scale(listen(10_000)), 0, drop::<Message>);
    let give = |name: &str| {
        let (answer, receiver) = oneshot::channel();
        let name = name.to_owned();
        commands
            .try_send(Command {
                name,
                until: clock::now() + Duration::from_secs(60),
                answer,
            })
            .unwrap();
        receiver
    };
    let waited = give("beep");
    let (port, mut cable) = tokio::io::duplex(64);
    let task = tokio::spawn(async move { instrument.run(port).await });
    assert_eq!(
        waited.await.unwrap(),
        Err(CommandError::Offline),
        "there was no port"
    );
    drop(give("beep"));
    assert_eq!(
        give("tare").await.unwrap(),
        Err(CommandError::Failed(Reason::Timeout))
    );
    let mut sent = [0; 64];
    let count = cable.read(&mut sent).await.unwrap();
    assert_eq!(&sent[..count], b"T\r\n", "nobody waited for the beep");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_gone_ends_the_run_and_the_readings() {
    for mode in [listen(10_000), poll(60_000, 50)] {
        let mut bench = Bench::new(scale(mode));
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(bench.cable.take());
        let error = tokio::time::timeout(Duration::from_secs(5), &mut bench.task).await;
        drop(error.expect("the port is closed").unwrap());
        assert_eq!(bench.bodies(false).last(), Some(&bad("connection_closed")));
    }
}

#[tokio::test(start_paused = true)]
async fn one_message_a_field_tells_quality_and_unit() {
    let mut options = scale(listen(10_000));
    options.payload = Payload::JsonPerTag;
    let mut bench = Bench::new(options);
    tokio::time::sleep(Duration::from_millis(400)).await;
    bench.say("S D      99.87 g\r\n").await;
    let weight = json!({"value": 99.87, "quality": "uncertain", "reason": "flagged", "unit": "g"});
    let stable = json!({"value": false, "quality": "good"});
    assert!(is_on_the_page(&weight));
    assert_eq!(bench.readings(2).await, [weight, stable]);
}

#[tokio::test(start_paused = true)]
async fn a_bare_value_is_told_only_where_it_is_certain() {
    let mut options = scale(listen(10_000));
    (options.payload, options.retain) = (Payload::Value, true);
    let mut bench = Bench::new(options);
    tokio::time::sleep(Duration::from_millis(400)).await;
    bench.say("S D     100.00 g\r\nS S     100.00 g\r\n").await;
    let payloads = |bench: &Bench| -> Vec<String> {
        let told = bench.told.lock().unwrap();
        let readings = told
            .iter()
            .filter(|message| message.topic.as_str() != STATUS);
        readings
            .map(|message| String::from_utf8(message.payload.to_vec()).unwrap())
            .collect()
    };
    bench.until(|bench| payloads(bench).len() == 4).await;
    assert_eq!(payloads(&bench), ["", "false", "100.0", "true"]);
}
