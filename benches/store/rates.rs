//! What is written of 1000 messages a second: with the link up, where most are acknowledged before they are due to be
//! written, and with the link down. All options are the defaults.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::thread;
use std::time::{Duration, Instant};

use fieldgate::clock;
use fieldgate::mqtt::QoS;
use fieldgate::store::{LinkHealth, Log, Outcome, Seq};
use tempfile::tempdir;
use tokio::runtime::Runtime;

use super::backlog;
use super::meter::{Cost, met};

const PER_SECOND: u32 = 1000;
const SECONDS: u32 = 15;
const GOAL_UP: f64 = 20.0;
const GOAL_DOWN: f64 = 600.0;

pub fn run() {
    Cost::header("1000 messages of 256 bytes a second");
    let (link, goal) = (LinkHealth::Up, GOAL_UP);
    report("link up, upstream answers in 30 to 600 ms", link, goal);
    let (link, goal) = (LinkHealth::Down, GOAL_DOWN);
    report("link down", link, goal);
}

fn report(what: &str, link: LinkHealth, goal: f64) {
    let folder = tempdir().unwrap();
    let runtime = backlog::runtime();
    let log = Log::open(backlog::options(folder.path())).unwrap();
    log.link(clock::now(), link);
    let upstream = (link == LinkHealth::Up).then(Upstream::new);
    let cost = Cost::of(|| log.stats().syncs, || publish(&runtime, &log, upstream));
    log.close();
    cost.print(what);
    println!(
        "    bytes given: {:.1}, goal at most {goal}: {}",
        cost.given,
        met(cost.given <= goal)
    );
}

fn publish(runtime: &Runtime, log: &Log, mut upstream: Option<Upstream>) -> u64 {
    let message = backlog::message(QoS::AtLeastOnce);
    let started = clock::now();
    for number in 0..PER_SECOND * SECONDS {
        backlog::append(log, &message);
        if let Some(upstream) = &mut upstream {
            upstream.take(runtime, log);
            upstream.answer(log);
        }
        let due = started + Duration::from_secs(1) / PER_SECOND * (number + 1);
        thread::sleep(due.saturating_duration_since(clock::now()));
    }
    u64::from(PER_SECOND * SECONDS)
}

/// The other end of a mobile link: nine answers in ten come after 30 to 50 ms, most others after 100 to 150, one in a
/// hundred after 400 to 600.
struct Upstream {
    from: Seq,
    answers: BinaryHeap<Reverse<(Instant, Seq)>>,
    random: fastrand::Rng,
}

impl Upstream {
    fn new() -> Self {
        Self {
            from: Seq(0),
            answers: BinaryHeap::new(),
            random: fastrand::Rng::with_seed(1),
        }
    }

    fn take(&mut self, runtime: &Runtime, log: &Log) {
        let entries = runtime.block_on(log.read(self.from, 200, 1 << 20)).unwrap();
        for entry in entries {
            let millis = match self.random.u32(0..100) {
                0 => self.random.u64(400..600),
                1..10 => self.random.u64(100..150),
                _ => self.random.u64(30..50),
            };
            let due = clock::now() + Duration::from_millis(millis);
            self.answers.push(Reverse((due, entry.seq)));
            self.from = Seq(entry.seq.0 + 1);
        }
    }

    fn answer(&mut self, log: &Log) {
        while let Some(Reverse((due, seq))) = self.answers.peek().copied()
            && due <= clock::now()
        {
            self.answers.pop();
            log.done(clock::now(), [(seq, Outcome::Delivered)]);
        }
    }
}
