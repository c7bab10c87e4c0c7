//! Requests by hand through the actor of a wire: between its polls, one at a time, and never at their cost. In memory, where
//! time stands still.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::adapter::by_hand::{Actor, Call, Data, Unanswered, What};
use fieldgate::adapter::{
    Adapter, ConnectionOptions, DeviceOptions, DeviceState, NoCommands, Opener, Reason, RtuOptions,
    Table, UnitId, WireOptions,
};
use fieldgate::shutdown::Shutdown;
use fieldgate::simulator::{Asked, Fault, FaultyDevice, Framing, Script};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::support::{Channel, LOOPBACK, PATIENCE, Running, device, group, hasty, tcp, word};

/// The unit that is polled.
const POLLED: u8 = 1;
/// One that nobody has configured.
const STRANGE: u8 = 7;
/// One that never answers.
const SILENT: u8 = 9;
/// One that is polled, and never answers either.
const DEAD: u8 = 8;
/// What each answer takes, longer than the interval of the polls: so one is always due.
const REPLY: Duration = Duration::from_millis(20);
const INTERVAL_MS: u64 = 10;

/// What was asked, in order.
type Heard = watch::Sender<Vec<Asked>>;

/// Registers hold their addresses.
struct Listener(Heard);

impl Script for Listener {
    fn fault(&mut self, asked: &Asked) -> Fault {
        self.0.send_modify(|heard| heard.push(*asked));
        match asked.unit {
            SILENT | DEAD => Fault::Silent,
            _ => Fault::Late(REPLY),
        }
    }

    fn word(&self, _asked: &Asked, address: u16) -> u16 {
        address
    }
}

struct Bench {
    running: Running,
    actor: Actor,
    heard: Heard,
    /// Cleared, no connection can be made.
    is_there: Arc<AtomicBool>,
}

impl Bench {
    fn new(framing: Framing) -> Self {
        let polled = |of: &str| vec![group(of, "g", INTERVAL_MS, vec![word("w", 5)])];
        let dead = hasty(device("dead", DEAD, polled("dead")));
        Self::of(framing, vec![device("d", POLLED, polled("d")), dead], || {})
    }

    /// `opening` is called each time that the wire is opened.
    fn of(
        framing: Framing,
        devices: Vec<DeviceOptions>,
        opening: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let heard = Heard::default();
        let is_there = Arc::new(AtomicBool::new(true));
        let wire = match framing {
            Framing::Tcp => WireOptions::ModbusTcp(tcp(LOOPBACK)),
            Framing::Rtu => WireOptions::ModbusRtuOverTcp(tcp(LOOPBACK), RtuOptions::default()),
        };
        let options = ConnectionOptions {
            name: "line".to_owned(),
            wire,
            devices,
            splits_file: None,
        };
        let faulty = FaultyDevice::new(Listener(heard.clone()));
        let opens = Arc::clone(&is_there);
        let opener = Opener::Memory(Arc::new(move || {
            opening();
            if opens.load(Ordering::SeqCst) {
                Ok(faulty.connect(framing))
            } else {
                Err(io::Error::other("the cable is out"))
            }
        }));
        let (sender, messages) = mpsc::channel(1000);
        let shutdown = Shutdown::default();
        let stop = shutdown.stop();
        let adapter = Adapter::start_over(opener, options, Channel(sender), NoCommands, stop);
        let adapter = adapter.unwrap();
        Self {
            actor: adapter.by_hand().unwrap(),
            running: Running {
                adapter,
                messages,
                shutdown,
            },
            heard,
            is_there,
        }
    }

    /// Asks in the background.
    fn ask(&self, asking: &mut JoinSet<Result<Data, Unanswered>>, call: Call) {
        let actor = self.actor.clone();
        asking.spawn(async move { actor.make(call).await });
    }

    /// Reads what was polled, well.
    async fn reads(&mut self) {
        let told = self.running.next("g/d/g").await;
        assert_eq!(told["values"]["w"], 5, "{told}");
    }

    fn units(&self) -> Vec<u8> {
        let heard = self.heard.borrow();
        heard.iter().map(|asked| asked.unit).collect()
    }

    /// Until the silent unit is being asked.
    async fn until_silent(&self) {
        let mut heard = self.heard.subscribe();
        let is_asked = heard.wait_for(|heard| heard.iter().any(|asked| asked.unit == SILENT));
        tokio::time::timeout(PATIENCE, is_asked)
            .await
            .unwrap()
            .unwrap();
    }
}

fn read(unit: u8, address: u16) -> Call {
    Call {
        unit: UnitId(unit),
        timeout: Duration::from_millis(500),
        what: What::Read {
            table: Table::HoldingRegisters,
            address,
            quantity: 2,
        },
    }
}

fn write(unit: u8) -> Call {
    let what = json!({ "write": { "address": 5, "data": { "register": 7 } } });
    Call {
        what: serde_json::from_value(what).unwrap(),
        ..read(unit, 5)
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_by_hand_at_most_goes_between_two_polls_that_are_due_and_none_beside_one() {
    for framing in [Framing::Tcp, Framing::Rtu] {
        let mut bench = Bench::new(framing);
        bench.reads().await;
        let from = bench.units().len();
        let mut asking = JoinSet::new();
        for address in 0..12 {
            bench.ask(&mut asking, read(STRANGE, address));
        }
        let mut answers: Vec<_> = asking.join_all().await;
        answers.sort_by_key(|answer| format!("{answer:?}").len());
        let expected = (0..12).map(|address| Ok(Data::Registers(vec![address, address + 1])));
        for answer in expected {
            assert!(answers.contains(&answer), "{answer:?}: {answers:?}");
        }
        let heard = bench.heard.borrow().clone();
        assert!(heard.iter().all(|asked| asked.waiting == 0), "{heard:?}");
        let units: Vec<_> = heard[from..].iter().map(|asked| asked.unit).collect();
        let by_hand = units.iter().filter(|unit| **unit == STRANGE).count();
        assert_eq!(by_hand, 12);
        assert!(
            units.windows(2).all(|two| two != [STRANGE, STRANGE]),
            "{framing:?}: {units:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_is_silent_by_hand_costs_no_poll() {
    for framing in [Framing::Tcp, Framing::Rtu] {
        let mut bench = Bench::new(framing);
        bench.reads().await;
        for _ in 0..20 {
            let answer = bench.actor.make(read(SILENT, 0)).await;
            assert_eq!(answer, Err(Unanswered::Reason(Reason::Timeout)));
            while let Ok(message) = bench.running.messages.try_recv() {
                let told: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
                let is_well = message.topic.as_str() != "g/d/g" || told.get("bad").is_none();
                assert!(is_well, "{framing:?}: {told}");
            }
            bench.reads().await;
        }
        let status = bench.running.adapter.status();
        let status = status.borrow().devices[0].status.clone();
        assert_eq!(status.state, Some(DeviceState::Online), "{framing:?}");
        assert_eq!(status.timeouts, 0, "they are nobody's: {framing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_too_late_or_to_a_full_queue_is_not_made() {
    let mut bench = Bench::new(Framing::Tcp);
    bench.reads().await;
    let slow = Call {
        timeout: Duration::from_secs(10),
        ..read(SILENT, 0)
    };
    // Two take their whole time; the third has waited for too long then.
    let mut asking = JoinSet::new();
    for _ in 0..3 {
        bench.ask(&mut asking, slow.clone());
    }
    let answers = asking.join_all().await;
    let silence = Unanswered::Reason(Reason::Timeout);
    let silent = answers.iter().filter(|it| **it == Err(silence.clone()));
    assert_eq!(silent.count(), 2, "{answers:?}");
    assert!(answers.contains(&Err(Unanswered::Busy)), "{answers:?}");
    let asked = bench.units().iter().filter(|it| **it == SILENT).count();
    assert_eq!(asked, 2);

    // Sixteen wait, beside one that is made.
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        bench.ask(&mut asking, read(STRANGE, 0));
    }
    let answers = asking.join_all().await;
    let busy = answers.iter().filter(|it| **it == Err(Unanswered::Busy));
    assert!((3..=4).contains(&busy.count()), "{answers:?}");
    let well = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((16..=17).contains(&well), "{answers:?}");

    let line = Bench::of(Framing::Rtu, Vec::new(), || {});
    let long = Call {
        timeout: Duration::from_secs(5),
        ..read(STRANGE, 0)
    };
    let answer = line.actor.make(long).await;
    assert!(matches!(answer, Err(Unanswered::Refused(_))), "{answer:?}");
    for wrong in [
        Call {
            timeout: Duration::from_secs(11),
            ..read(STRANGE, 0)
        },
        read(STRANGE, 65_535),
    ] {
        let answer = bench.actor.make(wrong).await;
        assert!(matches!(answer, Err(Unanswered::Refused(_))), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_for_who_has_gone() {
    let mut bench = Bench::new(Framing::Tcp);
    bench.reads().await;
    let mut asking = JoinSet::new();
    bench.ask(&mut asking, read(SILENT, 0));
    bench.ask(&mut asking, read(STRANGE, 0));
    bench.until_silent().await;
    asking.abort_all();
    while asking.join_next().await.is_some() {}
    let last = bench.actor.make(read(STRANGE, 3)).await;
    assert_eq!(last, Ok(Data::Registers(vec![3, 4])));
    let asked = bench.units().iter().filter(|it| **it == STRANGE).count();
    assert_eq!(asked, 1, "that of who waited");
}

#[tokio::test(start_paused = true)]
async fn those_who_have_gone_take_no_turn() {
    let mut bench = Bench::new(Framing::Tcp);
    bench.reads().await;
    let mut asking = JoinSet::new();
    bench.ask(&mut asking, read(SILENT, 0));
    bench.until_silent().await;
    for address in 0..12 {
        bench.ask(&mut asking, read(STRANGE, address));
    }
    tokio::task::yield_now().await;
    asking.shutdown().await;
    let last = bench.actor.make(read(STRANGE, 3)).await;
    assert_eq!(last, Ok(Data::Registers(vec![3, 4])));
    let units = bench.units();
    let since = units.iter().rev().skip(1);
    let polls = since.take_while(|unit| **unit != SILENT).count();
    assert!(polls <= 2, "{units:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_begun_for_who_goes_while_the_wire_is_opened() {
    let (is_opening, mut opening) = mpsc::unbounded_channel();
    let (go_on, waiting) = std::sync::mpsc::channel();
    let waiting = Mutex::new(waiting);
    let bench = Bench::of(Framing::Tcp, Vec::new(), move || {
        is_opening.send(()).unwrap();
        waiting.lock().unwrap().recv().unwrap();
    });
    let mut asking = JoinSet::new();
    bench.ask(&mut asking, write(STRANGE));
    opening.recv().await.unwrap();
    asking.shutdown().await;
    go_on.send(()).unwrap();
    let last = bench.actor.make(read(STRANGE, 3)).await;
    assert_eq!(last, Ok(Data::Registers(vec![3, 4])));
    assert_eq!(bench.units(), [STRANGE], "the read of who waited");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_had_its_turn_in_time_is_not_sent_too_late_either() {
    let slow = DeviceOptions {
        request_delay: Duration::from_secs(6),
        ..device("slow", POLLED, Vec::new())
    };
    let bench = Bench::of(Framing::Tcp, vec![slow], || {});
    let mut asking = JoinSet::new();
    let silence = Call {
        timeout: Duration::from_secs(10),
        ..read(SILENT, 0)
    };
    bench.ask(&mut asking, silence);
    bench.until_silent().await;
    let answer = bench.actor.make(write(POLLED)).await;
    assert_eq!(answer, Err(Unanswered::Busy), "16 s after it was asked for");
    assert_eq!(bench.units(), [SILENT]);
}

#[tokio::test(start_paused = true)]
async fn a_wire_that_is_down_is_opened_for_who_asks_and_why_it_cannot_be_is_told() {
    let mut bench = Bench::new(Framing::Tcp);
    bench.is_there.store(false, Ordering::SeqCst);
    let mut down = bench.running.adapter.status();
    let is_down = down.wait_for(|status| status.error.is_some());
    tokio::time::timeout(PATIENCE, is_down)
        .await
        .unwrap()
        .unwrap();
    let answer = bench.actor.make(read(STRANGE, 0)).await;
    assert_eq!(
        answer,
        Err(Unanswered::NotOpen("the cable is out".to_owned()))
    );
    bench.is_there.store(true, Ordering::SeqCst);
    let answer = bench.actor.make(read(STRANGE, 0)).await;
    assert_eq!(answer, Ok(Data::Registers(vec![0, 1])), "at once");
    let is_back = |told: &serde_json::Value| told["values"]["w"] == 5;
    bench.running.until("g/d/g", is_back).await;
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_stops_says_what_was_not_made_and_what_may_have_been() {
    let mut bench = Bench::new(Framing::Tcp);
    bench.reads().await;
    let endless = Call {
        timeout: Duration::from_secs(10),
        ..read(SILENT, 0)
    };
    let mut asking = JoinSet::new();
    bench.ask(&mut asking, endless);
    bench.ask(&mut asking, read(STRANGE, 0));
    bench.until_silent().await;
    bench.running.shutdown.request();
    bench.running.shutdown.finished().await;
    let answers = asking.join_all().await;
    let lost = |answer: &Result<Data, _>| matches!(answer, Err(Unanswered::Lost(_)));
    assert!(answers.iter().any(lost), "{answers:?}");
    assert!(answers.contains(&Err(Unanswered::Ended)), "{answers:?}");
    let answer = bench.actor.make(read(STRANGE, 0)).await;
    assert_eq!(answer, Err(Unanswered::Ended));
}
