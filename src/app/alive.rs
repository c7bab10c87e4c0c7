//! Tells systemd how the gateway stands and that all of it is alive: its watchdog is fed while no part is late, and only then.
//!
//! Without systemd, a part that hangs is told in the log all the same. A gateway that starts or stops shows no pulse of its own
//! parts then; it is given its time, but not for ever.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::logging::escaped;
use super::notify::Notifier;
use super::observe::Observer;
use crate::clock;
use crate::shutdown::{Pulse, Stop};
use crate::status::{GatewayState, Health, LinkState};

/// Looks in the time of a watchdog: a part that is late for a moment costs a few of them and no restart.
const LOOKS: u32 = 6;

/// How often the parts are looked at without a watchdog.
const LOOK: Duration = Duration::from_secs(10);

/// Between two words on how it stands.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// While something is under way more time is asked for so often,
const PATIENCE_EVERY: Duration = Duration::from_secs(10);
/// so much of it each time,
const PATIENCE: Duration = Duration::from_secs(30);
/// and for so long: what takes longer hangs. A store of any size opens in far less,
pub const START_MAX: Duration = Duration::from_secs(15 * 60);
/// and what a stop has to write is bounded.
pub const STOP_MAX: Duration = Duration::from_secs(2 * 60);

/// A part that hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Late {
    part: String,
    since: Duration,
}

/// Watches the parts of a gateway, until `stop`.
pub async fn watch(notifier: Notifier, observer: Observer, stop: Stop) {
    feed(notifier, || observer.pulses(), || observer.state(), stop).await;
}

async fn feed(
    notifier: Notifier,
    pulses: impl Fn() -> Vec<Pulse>,
    state: impl Fn() -> GatewayState,
    mut stop: Stop,
) {
    let mut tick = interval(
        notifier
            .watchdog()
            .map_or(LOOK, |watchdog| watchdog / LOOKS),
    );
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = interval(STATUS_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut late, mut said) = (Vec::new(), String::new());
    loop {
        tokio::select! {
            () = stop.requested() => return,
            _ = tick.tick() => {
                let now = late_of(&pulses(), clock::now());
                tell(&late, &now);
                if now.is_empty() {
                    notifier.alive();
                }
                late = now;
            }
            _ = look.tick(), if notifier.is_there() => {
                let status = status(&state(), &late);
                if status != said {
                    notifier.status(&status);
                    said = status;
                }
            }
        }
    }
}

/// Does `work`, a start or a stop, and asks systemd for the time that it takes, `most` at the most.
pub async fn patiently<T>(notifier: &Notifier, most: Duration, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut tick = interval(PATIENCE_EVERY.min(notifier.watchdog().unwrap_or(LOOK) / 2));
    let began = clock::now();
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tick.tick() => {
                if clock::now().saturating_duration_since(began) < most {
                    notifier.extend(PATIENCE);
                    notifier.alive();
                }
            }
        }
    }
}

fn late_of(pulses: &[Pulse], now: Instant) -> Vec<Late> {
    let late = pulses.iter().filter_map(|pulse| {
        Some(Late {
            part: pulse.name().to_owned(),
            since: pulse.late(now)?,
        })
    });
    late.collect()
}

/// Of parts that hang what is new, and of those that go on.
fn tell(before: &[Late], now: &[Late]) {
    let is_in = |part: &Late, list: &[Late]| list.iter().any(|late| late.part == part.part);
    for late in now.iter().filter(|late| !is_in(late, before)) {
        let (part, since) = (&late.part, late.since);
        tracing::error!(%part, ?since, "a part hangs: systemd's watchdog is fed no more. This is a fault of fieldgate, of a driver or of the disk");
    }
    for late in before.iter().filter(|late| !is_in(late, now)) {
        tracing::warn!(part = %late.part, "a part that hung goes on");
    }
}

/// A line for `systemctl status`: what hangs, devices, bridges, what else needs attention.
fn status(state: &GatewayState, late: &[Late]) -> String {
    let mut words = Vec::new();
    for Late { part, since } in late {
        words.push(format!("{part} hangs since {} s", since.as_secs()));
    }
    let devices = state.connections.iter().flat_map(|wire| &wire.devices);
    let (ok, all) = devices.fold((0, 0), |(ok, all), device| {
        (ok + u32::from(device.state == Health::Online), all + 1)
    });
    if all > 0 {
        words.push(format!("{ok} of {all} devices ok"));
    }
    for bridge in &state.bridges {
        let link = match bridge.status.link {
            LinkState::Up => "up",
            LinkState::Connecting => "connecting",
            LinkState::Down => "down",
        };
        let waiting = bridge.status.backlog_messages;
        words.push(format!("bridge {} {link}, {waiting} waiting", bridge.name));
    }
    let clients = state.broker.clients;
    words.push(format!("{clients} clients"));
    match &state.problems[..] {
        [] => {}
        [one] => words.push(format!("{}: {}", one.part, one.what)),
        more => words.push(format!("{} problems", more.len())),
    }
    escaped(&words.join("; "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::shutdown::Shutdown;
    use crate::status::{
        BridgeState, BridgeStatus, BrokerState, ConnectionState, DeviceState, Problem, Severity,
    };

    fn wire(devices: &[Health]) -> ConnectionState {
        let devices = devices.iter().map(|state| DeviceState {
            state: *state,
            ..DeviceState::default()
        });
        ConnectionState {
            devices: devices.collect(),
            ..ConnectionState::default()
        }
    }

    fn problem(what: &str) -> Problem {
        Problem {
            severity: Severity::Error,
            part: "device meter".to_owned(),
            what: what.to_owned(),
            remedy: String::new(),
        }
    }

    #[test]
    fn the_status_is_a_line_with_what_hangs_first() {
        let mut state = GatewayState {
            connections: vec![
                wire(&[Health::Online, Health::Offline]),
                wire(&[Health::Online]),
            ],
            bridges: vec![BridgeState {
                name: "cloud".to_owned(),
                status: BridgeStatus {
                    link: LinkState::Up,
                    backlog_messages: 7,
                    ..BridgeStatus::default()
                },
                ..BridgeState::default()
            }],
            broker: BrokerState {
                clients: 3,
                ..BrokerState::default()
            },
            ..GatewayState::default()
        };
        let fine = "2 of 3 devices ok; bridge cloud up, 7 waiting; 3 clients";
        assert_eq!(status(&state, &[]), fine);
        let late = Late {
            part: "connection rs485".to_owned(),
            since: Duration::from_millis(95_400),
        };
        let hangs = "connection rs485 hangs since 95 s";
        assert_eq!(status(&state, &[late]), format!("{hangs}; {fine}"));
        state.problems = vec![problem("says\nnothing")];
        assert_eq!(
            status(&state, &[]),
            format!("{fine}; device meter: says\\nnothing")
        );
        state.problems.push(problem("x"));
        assert_eq!(status(&state, &[]), format!("{fine}; 2 problems"));
        assert_eq!(status(&GatewayState::default(), &[]), "0 clients");
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_hangs_ends_the_feeding_of_the_watchdog_until_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_nonblocking(true).unwrap();
        let heard = || {
            let mut heard = Vec::new();
            let mut buffer = [0; 1024];
            while let Ok(length) = systemd.recv(&mut buffer) {
                heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
            heard
        };
        let fed = |heard: &[String]| heard.iter().filter(|it| *it == "WATCHDOG=1").count();
        let watchdog = Duration::from_secs(60);
        let notifier = Notifier::to(path.as_os_str().as_bytes(), Some(watchdog)).unwrap();
        let pulse = Pulse::new("connection rs485", watchdog / 2, clock::now());
        let (pulses, shutdown) = (vec![pulse.clone()], Shutdown::default());
        let state = GatewayState::default;
        tokio::spawn(feed(
            notifier,
            move || pulses.clone(),
            state,
            shutdown.stop(),
        ));
        let pass = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;
        for _ in 0..6 {
            pulse.beat(clock::now());
            pass(20).await;
        }
        assert!(fed(&heard()) >= 10, "twice as often as there is need");
        pass(31).await; // late from here on
        heard();
        pass(120).await;
        let silence = heard();
        assert_eq!(fed(&silence), 0, "{silence:?}");
        assert!(
            silence
                .iter()
                .any(|it| it.contains("connection rs485 hangs since"))
        );
        pulse.beat(clock::now());
        pass(20).await;
        assert!(fed(&heard()) > 0, "it goes on");
    }

    #[test]
    fn the_parts_that_are_late_are_named() {
        let now = clock::now();
        let pulse = |name: &str, limit| Pulse::new(name, Duration::from_secs(limit), now);
        let pulses = [
            pulse("broker", 10),
            pulse("store state", 120),
            pulse("bridge cloud", 60),
        ];
        let later = now + Duration::from_secs(61);
        assert_eq!(late_of(&pulses, now), []);
        let names = |late: Vec<Late>| late.into_iter().map(|late| late.part).collect::<Vec<_>>();
        assert_eq!(names(late_of(&pulses, later)), ["broker", "bridge cloud"]);
        pulses[0].beat(later);
        assert_eq!(names(late_of(&pulses, later)), ["bridge cloud"]);
    }
}
