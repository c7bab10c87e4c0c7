//! Never a wrong value (P4): devices whose registers are a known function of unit, table, address and the number of the
//! request, which answer wrongly in every way at random; and a [`Judge`] in the broker's place that knows the function and
//! which request was the last for each tag, and so tells a value that is older, another's or made up.
//!
//! Most readings are taken in memory, where time stands still and a seed repeats what was chosen at random; a part over
//! sockets and pseudo terminals, where the system cuts and delays what passes as it likes. `ORACLE=N` says how many thousand
//! readings there are to be in all, 100 without it; `RIG_SEED=N` repeats a run.

mod field;
mod judge;
mod naive;
mod script;
mod ways;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::adapter::{Adapter, ConnectionOptions, NoCommands};
use fieldgate::shutdown::Shutdown;
use fieldgate::simulator::{FaultyDevice, Framing};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::field::{Field, devices};
use self::judge::Judge;
use self::script::{Liar, Random};
use self::ways::{Reached, Way, in_memory, in_reality};

/// Thousands of readings.
const READINGS: u64 = 100;
/// Of twenty, one is over sockets and pseudo terminals.
const REAL: u64 = 20;
/// Lines of each kind that are read at the same time where time goes by.
const AT_ONCE: u64 = 16;
/// Nothing takes as long, also where time passes as fast as it is waited for.
const STUCK: Duration = Duration::from_secs(10_000_000);

fn number_in(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok();
    let text = text.filter(|text| !text.is_empty())?;
    Some(text.parse().expect("a number"))
}

fn readings() -> u64 {
    number_in("ORACLE").unwrap_or(READINGS) * 1000
}

/// What the gateway chooses at random is the seed's as well.
fn seed() -> u64 {
    let seed = number_in("RIG_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    fastrand::seed(seed);
    seed
}

/// The whole adapter, until so many readings were judged.
async fn read(reached: Reached, field: &Arc<Mutex<Field>>, readings: u64) {
    let options = ConnectionOptions {
        name: "line".to_owned(),
        wire: reached.wire,
        devices: devices(reached.timeout, reached.step_ms),
        splits_file: None,
    };
    let (sender, mut enough) = mpsc::channel(1);
    let judge = Judge::new(Arc::clone(field), readings, sender);
    let shutdown = Shutdown::default();
    let adapter =
        Adapter::start_over(reached.opener, options, judge, NoCommands, shutdown.stop()).unwrap();
    let status = adapter.status();
    if tokio::time::timeout(STUCK, enough.recv()).await.is_err() {
        panic!("stuck: {:?}", status.borrow());
    }
    assert_eq!(status.borrow().restarts, 0, "the adapter panicked");
    shutdown.request();
    shutdown.finished().await;
}

/// Every fault that the way knows, so often that a good part of the readings is bad.
async fn none_is_wrong_in_memory(way: Way) {
    let seed = seed();
    let field = Field::shared(seed);
    let reached = in_memory(way, |cut| Random::new(&field, way, cut));
    let readings = readings() * (REAL - 1) / REAL / Way::ALL.len() as u64;
    read(reached, &field, readings).await;
    field.lock().unwrap().close(&format!("{way:?} in memory"));
}

#[tokio::test(start_paused = true)]
async fn no_value_over_tcp_is_ever_wrong() {
    none_is_wrong_in_memory(Way::Tcp).await;
}

#[tokio::test(start_paused = true)]
async fn no_value_through_a_converter_is_ever_wrong() {
    none_is_wrong_in_memory(Way::Converter).await;
}

#[tokio::test(start_paused = true)]
async fn no_value_on_a_line_is_ever_wrong() {
    none_is_wrong_in_memory(Way::Line).await;
}

#[tokio::test]
async fn no_value_over_sockets_and_terminals_is_ever_wrong() {
    let seed = seed();
    let of_each = readings() / REAL / AT_ONCE / Way::ALL.len() as u64;
    let fields = Way::ALL.map(|way| {
        let of_way = (0..AT_ONCE).map(|number| Field::shared(seed.wrapping_add(number)));
        (way, of_way.collect::<Vec<_>>())
    });
    let mut lines = JoinSet::new();
    for (way, of_way) in &fields {
        for field in of_way {
            let (way, field) = (*way, Arc::clone(field));
            lines.spawn(async move {
                let reached = in_reality(way, |cut| Random::new(&field, way, cut)).await;
                read(reached, &field, of_each).await;
            });
        }
    }
    while let Some(line) = lines.join_next().await {
        line.unwrap();
    }
    for (way, of_way) in fields {
        let mut sum = Field::new(seed);
        for field in of_way {
            sum.add(&field.lock().unwrap());
        }
        sum.close(&format!("{way:?} in reality"));
    }
}

/// Of one reading in a hundred the device says what it said to the request before: nobody but the judge can tell.
#[tokio::test(start_paused = true)]
async fn the_judge_finds_a_lie_that_nobody_else_can_tell() {
    for way in Way::ALL {
        let field = Field::shared(seed());
        let reached = in_memory(way, |_| Liar::new(&field));
        read(reached, &field, 2000).await;
        let field = field.lock().unwrap();
        let wrong = field.wrong().len();
        assert!((1..=100).contains(&wrong), "{way:?}: {wrong}");
        assert_eq!(field.bad(), 0, "{way:?}");
    }
}

/// What most clients do: the reply to any request of this unit, function and count is taken.
#[tokio::test(start_paused = true)]
async fn the_judge_finds_the_wrong_values_of_a_naive_client() {
    let field = Field::shared(seed());
    let device = FaultyDevice::new(Random::new(&field, Way::Converter, ways::Cut::default()));
    let stream = || device.connect(Framing::Rtu);
    naive::read(stream, Arc::clone(&field), 2000).await;
    let wrong = field.lock().unwrap().wrong().len();
    assert!(wrong > 0);
}
