//! The templates that are shipped: registers as the device has them, in the hex of its maker, and the values that the
//! gateway makes of them, by the real file, plan and poller.

use std::collections::BTreeMap;
use std::path::Path;

use fieldgate::adapter::ConnectionOptions;
use fieldgate::config::{self, System};
use fieldgate::simulator::SimulatedTable::{self, HoldingRegisters, InputRegisters};
use fieldgate::simulator::{DeviceMap, Signal, Simulator};
use serde_json::{Value as Json, json};

use crate::support::{LOOPBACK, start};

/// What a device has in a table: from where on, how many registers, and which of them are not 0.
type Block = (SimulatedTable, u16, usize, &'static [(u16, &'static str)]);

fn device(blocks: &[Block]) -> DeviceMap {
    blocks
        .iter()
        .fold(DeviceMap::new(1), |map, (table, from, length, set)| {
            let mut words = vec![0; *length];
            for (address, hex) in *set {
                let at = usize::from(address - from);
                for (offset, word) in hex.split_whitespace().enumerate() {
                    words[at + offset] = u16::from_str_radix(word, 16).unwrap();
                }
            }
            map.with(*table, *from, Signal::Words(words))
        })
}

/// The first message of each group of a device with the template.
async fn readings(template: &str, device: DeviceMap) -> BTreeMap<String, Json> {
    let (address, _simulator) = Simulator::bind(LOOPBACK, vec![device]).await.unwrap();
    let text = format!(
        "gateway: {{ id: g }}\n\
         connections: [{{ name: line, modbus_tcp: {{ host: 127.0.0.1, port: {} }} }}]\n\
         devices: [{{ name: d, connection: line, unit_id: 1, template: {template}, request_delay: 0ms }}]\n",
        address.port()
    );
    let loaded = config::parse(&text, Path::new("/nowhere/fieldgate.yaml"), &System);
    let loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.warnings, []);
    let [connection] = &loaded.config.connections[..] else {
        panic!("{:?}", loaded.config.connections);
    };
    let groups = connection.devices[0].groups.len();
    let mut running = start(ConnectionOptions::clone(connection));
    let mut readings = BTreeMap::new();
    // In whatever order: a group that is read once an hour has no second message.
    while readings.len() < groups {
        let (topic, message) = running.next_to(|topic| !topic.ends_with("/$status")).await;
        let group = topic.rsplit('/').next().unwrap().to_owned();
        readings.entry(group).or_insert(message);
    }
    readings
}

/// Compares what is read with `good`, by group, where nothing may be bad but what `bad` has.
async fn check(template: &str, blocks: &[Block], good: Json, bad: Json) {
    let readings = readings(template, device(blocks)).await;
    let part = |key: &str| {
        let found = readings
            .iter()
            .filter_map(|(group, json)| Some((group.clone(), json.get(key)?.clone())));
        Json::Object(found.collect())
    };
    assert_eq!((part("values"), part("bad")), (good, bad), "{template}");
}

#[tokio::test]
async fn eastron_sdm630() {
    let blocks: &[Block] = &[
        (
            InputRegisters,
            0x0000,
            0x24,
            &[
                (0x0000, "4366 6666 4367 0000 4365 CCCD"),
                (0x0006, "40A3 D70A 4148 0000 3E80 0000"),
                (0x000C, "4493 5000 C493 5000 4000 0000"),
                (0x0012, "4496 0000 4496 0000 4000 0000"),
                (0x0018, "4361 8000 C211 0000 0000 0000"),
                (0x001E, "3F7A E148 BF00 0000 3F80 0000"),
            ],
        ),
        (InputRegisters, 0x0034, 2, &[(0x0034, "4493 5000")]),
        (
            InputRegisters,
            0x0046,
            6,
            &[(0x0046, "4248 147B 4640 E6B6 4060 0000")],
        ),
        (
            InputRegisters,
            0x0156,
            4,
            &[(0x0156, "4640 F4B6 429B 6666")],
        ),
    ];
    let good = json!({
        "power": {
            "voltage_l1": 230.4, "voltage_l2": 231.0, "voltage_l3": 229.8,
            "current_l1": 5.12, "current_l2": 12.5, "current_l3": 0.25,
            "power_l1": 1178.5, "power_l2": -1178.5, "power_l3": 2.0,
            "apparent_power_l1": 1200.0, "apparent_power_l2": 1200.0, "apparent_power_l3": 2.0,
            "reactive_power_l1": 225.5, "reactive_power_l2": -36.25, "reactive_power_l3": 0.0,
            "power_factor_l1": 0.98, "power_factor_l2": -0.5, "power_factor_l3": 1.0,
            "power": 1178.5, "frequency": 50.02,
        },
        "energy": {
            "import_kwh": 12345.678, "export_kwh": 3.5, "total_kwh": 12349.178, "total_kvarh": 77.7,
        },
    });
    check("eastron_sdm630", blocks, good, json!({})).await;
}

#[tokio::test]
async fn eastron_sdm120() {
    let blocks: &[Block] = &[
        (InputRegisters, 0x0000, 2, &[(0x0000, "4366 6666")]),
        (InputRegisters, 0x0006, 2, &[(0x0006, "40A3 D70A")]),
        (InputRegisters, 0x000C, 2, &[(0x000C, "C493 5000")]),
        (InputRegisters, 0x0012, 2, &[(0x0012, "4496 0000")]),
        (InputRegisters, 0x0018, 2, &[(0x0018, "C211 0000")]),
        (InputRegisters, 0x001E, 2, &[(0x001E, "3F7A E148")]),
        (
            InputRegisters,
            0x0046,
            10,
            &[(0x0046, "4248 147B 4640 E6B6 4060 0000 429B 6666 3E80 0000")],
        ),
        (
            InputRegisters,
            0x0156,
            4,
            &[(0x0156, "4640 F4B6 429B 6666")],
        ),
    ];
    let good = json!({
        "power": {
            "voltage": 230.4, "current": 5.12, "power": -1178.5, "apparent_power": 1200.0,
            "reactive_power": -36.25, "power_factor": 0.98, "frequency": 50.02,
        },
        "energy": {
            "import_kwh": 12345.678, "export_kwh": 3.5, "import_kvarh": 77.7, "export_kvarh": 0.25,
            "total_kwh": 12349.178, "total_kvarh": 77.7,
        },
    });
    check("eastron_sdm120", blocks, good, json!({})).await;
}

#[tokio::test]
async fn carlo_gavazzi_em340() {
    let blocks: &[Block] = &[(
        InputRegisters,
        0,
        0x50,
        &[
            (0x0000, "0901 0000 0900 0000 0000 0000"),
            (0x000C, "1403 0000 0001 0000 0000 0000"),
            (0x0012, "CFC7 FFFF 0901 0000 0000 0000"),
            (0x0028, "CFC7 FFFF"),
            (0x002E, "03D4 FC18 0000 03E8"),
            (0x0033, "01F4"),
            (0x0034, "D687 0012"),
            (0x0040, "0901 0000 1403 0000 0001 0000"),
            (0x004E, "000A 0000"),
        ],
    )];
    let good = json!({
        "power": {
            "voltage_l1": 230.5, "voltage_l2": 230.4, "voltage_l3": 0.0,
            "current_l1": 5.123, "current_l2": 0.001, "current_l3": 0.0,
            "power_l1": -1234.5, "power_l2": 230.5, "power_l3": 0.0, "power": -1234.5,
            "power_factor_l1": 0.98, "power_factor_l2": -1.0, "power_factor_l3": 0.0, "power_factor": 1.0,
            "frequency": 50.0,
        },
        "energy": {
            "import_kwh": 123456.7, "import_kwh_l1": 230.5, "import_kwh_l2": 512.3, "import_kwh_l3": 0.1,
            "export_kwh": 1.0,
        },
    });
    check("carlo_gavazzi_em340", blocks, good, json!({})).await;
}

#[tokio::test]
async fn schneider_iem3000() {
    // One without export, as an iEM3150.
    let blocks: &[Block] = &[
        (
            HoldingRegisters,
            2999,
            6,
            &[(2999, "40A3 D70A 4148 0000 3E80 0000")],
        ),
        (
            HoldingRegisters,
            3027,
            6,
            &[(3027, "4366 6666 4367 0000 4365 CCCD")],
        ),
        (
            HoldingRegisters,
            3053,
            8,
            &[(3053, "3F96 D917 BE80 0000 0000 0000 3E80 0000")],
        ),
        (HoldingRegisters, 3109, 2, &[(3109, "4248 147B")]),
        (HoldingRegisters, 3203, 4, &[(3203, "0000 001C BE99 1A14")]),
        (
            HoldingRegisters,
            3517,
            12,
            &[(
                3517,
                "0000 0000 0000 0001 0000 0000 0001 0000 0000 001C BE99 1A14",
            )],
        ),
    ];
    let good = json!({
        "power": {
            "current_l1": 5.12, "current_l2": 12.5, "current_l3": 0.25,
            "voltage_l1": 230.4, "voltage_l2": 231.0, "voltage_l3": 229.8,
            "power_l1": 1178.5, "power_l2": -250.0, "power_l3": 0.0, "power": 250.0, "frequency": 50.02,
        },
        "energy": {
            "import_wh": 123_456_789_012_i64,
            "import_wh_l1": 1, "import_wh_l2": 65_536, "import_wh_l3": 123_456_789_012_i64,
        },
    });
    let bad = json!({ "energy": { "export_wh": "exception_02" } });
    check("schneider_iem3000", blocks, good, bad).await;
}

/// An inverter whose model of inverters begins at `model`, with nothing at its DC side.
fn inverter(model: u16) -> (Vec<(u16, String)>, Json) {
    let text = |address: u16, text: &str| {
        let padded: Vec<u8> = text.bytes().chain([0]).collect();
        let words = padded
            .chunks_exact(2)
            .map(|pair| format!("{:02X}{:02X}", pair[0], pair[1]));
        (address, words.collect::<Vec<_>>().join(" "))
    };
    let at = |offset: u16, hex: &str| (model + offset, hex.to_owned());
    let set = vec![
        (40_000, "5375 6E53".to_owned()),
        text(40_004, "Fronius"),
        text(40_020, "Symo 5"),
        text(40_044, "3.1"),
        text(40_052, "SN123"),
        at(0, "0067 0032"),
        at(2, "00D9 0048 0049 0048 FFFF"), // 21.7 A at 10 to the power of -1
        at(7, "FFFF FFFF FFFF 08FC 08FE 0900 FFFF"), // 230.0 V
        at(14, "01F4 0001 1389 FFFE"),     // 5000 W, 50.01 Hz
        at(18, "01F5 0001 FFF6 0001 2694 FFFE"), // 5010 VA, -100 var, 98.76 %
        at(24, "0012 D687 0000"),          // 1234567 Wh
        at(27, "FFFF 8000 FFFF 8000 8000 8000"),
        at(33, "0181 8000 8000 8000 FFFF"), // 38.5 degrees
        at(38, "0004 0000 0000 0001"),
    ];
    let events = [
        "ground_fault",
        "dc_over_voltage",
        "ac_disconnect",
        "dc_disconnect",
        "grid_disconnect",
        "cabinet_open",
        "manual_shutdown",
        "over_temperature",
        "over_frequency",
        "under_frequency",
        "ac_over_voltage",
        "ac_under_voltage",
        "blown_string_fuse",
        "under_temperature",
        "memory_loss",
        "hardware_test_failure",
    ];
    let events: BTreeMap<_, _> = events.map(|event| (event, event == "ground_fault")).into();
    let values = json!({
        "identity": { "manufacturer": "Fronius", "product": "Symo 5", "version": "3.1", "serial_number": "SN123" },
        "inverter": {
            "model": "three_phase", "current": 21.7, "current_l1": 7.2, "current_l2": 7.3, "current_l3": 7.2,
            "current_sf": -1, "voltage_l1": 230.0, "voltage_l2": 230.2, "voltage_l3": 230.4, "voltage_sf": -1,
            "power": 5000.0, "power_sf": 1, "frequency": 50.01, "frequency_sf": -2,
            "apparent_power": 5010.0, "apparent_power_sf": 1, "reactive_power": -100.0, "reactive_power_sf": 1,
            "power_factor": 98.76, "power_factor_sf": -2, "energy": 1_234_567.0, "energy_sf": 0,
            "cabinet_temperature": 38.5, "temperature_sf": -1, "state": "mppt",
            "events": events,
        },
    });
    (set, values)
}

async fn check_inverter(template: &str, model: u16) {
    let (set, good) = inverter(model);
    let mut words = vec![0; 130];
    for (address, hex) in set {
        for (offset, word) in hex.split_whitespace().enumerate() {
            words[usize::from(address - 40_000) + offset] = u16::from_str_radix(word, 16).unwrap();
        }
    }
    let device = DeviceMap::new(1).with(HoldingRegisters, 40_000, Signal::Words(words));
    let readings = readings(template, device).await;
    let values = json!({ "identity": readings["identity"]["values"], "inverter": readings["inverter"]["values"] });
    assert_eq!(values, good);
    let mut missing = BTreeMap::new();
    for tag in ["voltage_l1_l2", "voltage_l2_l3", "voltage_l3_l1"] {
        missing.insert(tag.to_owned(), "invalid");
    }
    for tag in ["dc_current", "dc_voltage", "dc_power"] {
        missing.insert(format!("{tag}_sf"), "invalid");
        missing.insert(tag.to_owned(), "bad_scale_factor");
    }
    assert_eq!(readings["inverter"]["bad"], json!(missing));
}

#[tokio::test]
async fn sunspec_inverter_with_both_lengths_of_the_common_model() {
    check_inverter("sunspec_inverter", 40_070).await;
    check_inverter("sunspec_inverter_65", 40_069).await;
}

#[tokio::test]
async fn growatt_hybrid() {
    let blocks: &[Block] = &[
        (
            InputRegisters,
            0,
            125,
            &[
                (1, "0000 C350"),
                (35, "0000 BB80 1389 08FC"),
                (53, "0000 007B 0001 E240"),
                (91, "0012 D687"),
                (93, "FFCE"),
            ],
        ),
        (
            InputRegisters,
            1000,
            125,
            &[
                (1009, "0000 2710 0000 0000 0213 0055"),
                (1021, "0000 03E9"),
                (1029, "0001 0000"),
                (1046, "0000 0064"),
                (1054, "0000 0065"),
            ],
        ),
    ];
    let good = json!({
        "inverter": {
            "pv_power": 5000.0, "ac_power": 4800.0, "frequency": 50.01, "voltage_l1": 230.0,
            "ac_kwh_today": 12.3, "ac_kwh_total": 12345.6, "pv_kwh_total": 123_456.7, "temperature": -5.0,
        },
        "battery": {
            "discharge_power": 1000.0, "charge_power": 0.0, "battery_voltage": 53.1, "state_of_charge": 85,
            "grid_import_power": 100.1, "grid_export_power": 6553.6, "grid_import_kwh": 10.0,
            "discharge_kwh": 10.1,
        },
    });
    check("growatt_hybrid", blocks, good, json!({})).await;
}

#[test]
fn every_shipped_template_has_a_fixture_here() {
    let here = include_str!("templates.rs");
    for (name, _) in config::SHIPPED_TEMPLATES {
        let checked = [
            format!("check(\"{name}\""),
            format!("check_inverter(\"{name}\""),
        ];
        assert!(checked.iter().any(|call| here.contains(call)), "{name}");
    }
}
