//! 200 devices of 100 holding registers, each on a connection of its own, once a second: fieldgate, which decodes and
//! publishes them as JSON too, and pymodbus's asynchronous client, which only reads them.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use fieldgate::clock;
use tempfile::TempDir;

use super::configuration::meters;
use super::devices::Devices;
use super::lateness::Lateness;
use super::process::Process;

const DEVICES: u8 = 200;
const REGISTERS: u16 = 100;
const INTERVAL: Duration = Duration::from_secs(1);
const GATEWAY: &str = "gateway: { id: bench, data_dir: data }\n";
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(30);

pub fn run() {
    println!(
        "{DEVICES} devices, {REGISTERS} registers a second each    readings/s  CPU s/s  RSS MB  late ms: p50     p99     max  missed"
    );
    let devices = Devices::start();
    let folder = TempDir::new().unwrap();
    measure("fieldgate, no device", &devices, || {
        Process::fieldgate(folder.path(), GATEWAY)
    });
    let meters = meters(devices.port, DEVICES, REGISTERS, INTERVAL);
    let config = format!("{GATEWAY}{meters}");
    let fieldgate = measure("fieldgate", &devices, || {
        Process::fieldgate(folder.path(), &config)
    });
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/rigs/venv/bin/python");
    if !python.exists() {
        println!("  pymodbus is left out: `tests/run peers_device` installs it");
        return;
    }
    let pymodbus = measure("pymodbus's client", &devices, || {
        let mut command = Command::new(&python);
        let command = command.arg(root.join("benches/field/pymodbus_client.py"));
        let numbers = [devices.port, u16::from(DEVICES), REGISTERS];
        Process::start(command.args(numbers.map(|number| number.to_string())))
    });
    println!(
        "  of pymodbus's: CPU {:.2}, RSS {:.2}",
        fieldgate.cpu / pymodbus.cpu,
        fieldgate.rss / pymodbus.rss
    );
}

struct Cost {
    /// Seconds a second.
    cpu: f64,
    rss: f64,
}

fn measure(what: &str, devices: &Devices, start: impl FnOnce() -> Process) -> Cost {
    let process = start();
    thread::sleep(WARM_UP);
    let (cpu, began) = (process.cpu(), clock::now());
    devices.take();
    thread::sleep(MEASURED);
    let requests = devices.take();
    let seconds = clock::now().duration_since(began).as_secs_f64();
    let cost = Cost {
        cpu: (process.cpu() - cpu) / seconds,
        rss: process.rss(),
    };
    print!(
        "  {what:<42}{:>12.1}{:>9.3}{:>8.1}",
        requests.len() as f64 / seconds,
        cost.cpu,
        cost.rss
    );
    if requests.is_empty() {
        println!();
        return cost;
    }
    let late = Lateness::of(&requests, INTERVAL);
    println!("{late}");
    cost
}
