//! `conf.d/*.yaml`: what the files add, what they may not say twice, and where their faults are shown.

use std::os::unix::fs::symlink;
use std::path::Path;

use fieldgate::config::{self, Code};

use crate::support::{faults_in_folder, faults_of, folder_of};

const MAIN: &str = "\
gateway: { id: hall1 }
broker:
  listeners: [{ bind: 127.0.0.1:1883, anonymous: true }]
connections: [{ name: line1, modbus_tcp: { host: plc1 } }]
devices:
  - { name: meter1, connection: line1, unit_id: 1, template: own }
";

const METERS: &str = "\
# The meters of hall 2.
connections:
  - { name: line2, modbus_tcp: { host: plc2 } }
devices:
  - { name: meter2, connection: line2, unit_id: 1, template: own }
  - { name: meter3, connection: line1, unit_id: 2, template: other }
templates:
  own: { groups: [{ name: g, tags: [{ name: t, register: coil, address: 0 }] }] }
";

const PLANT: &str = "\
broker:
  users_file: users
  listeners: [{ bind: 127.0.0.1:1884 }]
  access: [{ user: plc7, publish: [\"#\"] }]
  limits: { inflight: 9 }
templates:
  other: { groups: [{ name: h, tags: [{ name: t, register: coil, address: 0 }] }] }
";

#[test]
fn lists_append_in_the_order_of_the_names_and_sections_join() {
    let folder = folder_of(&[
        ("fieldgate.yaml", MAIN),
        ("conf.d/20-plant.yaml", PLANT),
        ("conf.d/10-meters.yaml", METERS),
        ("conf.d/README", "devices: [read by nobody"),
        ("conf.d/30-new.yaml.sample", "devices: [read by nobody"),
        ("conf.d/.hidden.yaml", "devices: [read by nobody"),
        ("conf.d/40-empty.yaml", "# nothing yet\n"),
        ("conf.d/users", "plc7:x\n"),
    ]);
    let file = folder.path().join("fieldgate.yaml");
    let loaded = config::load(&file).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.warnings, []);
    let names: Vec<(&str, Vec<&str>)> = loaded
        .config
        .connections
        .iter()
        .map(|line| {
            let devices = line.devices.iter().map(|device| device.name.as_str());
            (line.name.as_str(), devices.collect())
        })
        .collect();
    let expected = [
        ("line1", vec!["meter1", "meter3"]),
        ("line2", vec!["meter2"]),
    ];
    assert_eq!(names, expected);
    let listeners = loaded.config.listeners.iter();
    let listeners: Vec<String> = listeners.map(|one| one.bind.to_string()).collect();
    assert_eq!(listeners, ["127.0.0.1:1883", "127.0.0.1:1884"]);
    assert_eq!(loaded.config.broker.limits.inflight, 9);
    // It is relative to the file that names it.
    let users = folder.path().join("conf.d/users");
    assert_eq!(loaded.config.users_file, Some(users));
    let files = config::conf_d(&file);
    let files: Vec<_> = files.iter().filter_map(|file| file.file_name()).collect();
    assert_eq!(files, ["10-meters.yaml", "20-plant.yaml", "40-empty.yaml"]);
}

#[test]
fn the_whole_is_what_one_file_with_all_of_it_would_be() {
    let apart = folder_of(&[("fieldgate.yaml", MAIN), ("conf.d/a.yaml", METERS)]);
    let (_, devices) = METERS.split_once("devices:\n").unwrap();
    let (devices, own) = devices.split_once("templates:\n").unwrap();
    let line2 = "connections: [{ name: line2, modbus_tcp: { host: plc2 } }, ";
    let together = MAIN.replace("connections: [", line2) + devices + "templates:\n" + own;
    let other =
        "  other: { groups: [{ name: h, tags: [{ name: t, register: coil, address: 0 }] }] }\n";
    let together = folder_of(&[("fieldgate.yaml", &(together + other))]);
    std::fs::write(
        apart.path().join("conf.d/b.yaml"),
        format!("templates:\n{other}"),
    )
    .unwrap();
    let read = |folder: &Path| {
        let loaded = config::load(&folder.join("fieldgate.yaml"));
        let mut config = loaded.unwrap_or_else(|faults| panic!("{faults}")).config;
        config.connections.sort_by(|a, b| a.name.cmp(&b.name));
        config.connections
    };
    let without_folders = |folder: &Path| {
        let debug = format!("{:?}", read(folder));
        debug.replace(folder.to_str().unwrap(), "")
    };
    assert_eq!(
        without_folders(apart.path()),
        without_folders(together.path())
    );
}

#[test]
fn what_is_given_twice_names_both_places() {
    let own = "templates:\n  own: { groups: [] }\n";
    let told = faults_of(&[
        ("fieldgate.yaml", MAIN),
        ("conf.d/10.yaml", METERS),
        ("conf.d/20.yaml", own),
        (
            "conf.d/30.yaml",
            "gateway:\n  id: hall2\nbroker:\n  listeners:\n    - { bind: 127.0.0.1:1883, anonymous: true }\n",
        ),
        (
            "conf.d/40.yaml",
            "devices:\n  - { name: meter2, connection: line1, unit_id: 4, template: own }\n",
        ),
        (
            "conf.d/50.yaml",
            "templates:\n  other: { groups: [{ name: h, tags: [{ name: t, register: coil, address: 0 }] }] }\n",
        ),
        (
            "conf.d/60.yaml",
            "defaults: { qos: 0 }\nconnections: { name: line3 }\n",
        ),
        ("conf.d/70.yaml", "defaults: { qos: 1 }\n"),
    ]);
    assert_eq!(
        told,
        [
            "conf.d/20.yaml:2:8: error[FG020]: there is a template `own` already: conf.d/10.yaml:8",
            "conf.d/30.yaml:2:3: error[FG011]: `id` is given already: fieldgate.yaml:1",
            "conf.d/30.yaml:5:15: error[FG052]: 127.0.0.1:1883 is taken already: fieldgate.yaml:3",
            "conf.d/40.yaml:2:13: error[FG020]: there is a device `meter2` already: conf.d/10.yaml:5",
            "conf.d/60.yaml:2:1: error[FG011]: `connections` is keys and values here, and a list where it is given already: fieldgate.yaml:4",
            "conf.d/70.yaml:1:13: error[FG011]: `qos` is given already: conf.d/60.yaml:1",
        ]
    );
}

#[test]
fn a_fault_is_shown_in_its_file_with_its_line_and_path() {
    let meters = METERS.replace("unit_id: 2", "unit_id: 300");
    let folder = folder_of(&[("fieldgate.yaml", MAIN), ("conf.d/10.yaml", &meters)]);
    let faults = config::load(&folder.path().join("fieldgate.yaml")).unwrap_err();
    let within = format!("{}/", folder.path().display());
    let expected = "\
conf.d/10.yaml:6:49: error[FG015]: expected a whole number from 0 to 255, found the number 300
  |
6 |   - { name: meter3, connection: line1, unit_id: 300, template: other }
  |                                                 ^^^
  path: devices[1].unit_id
  help: write a whole number from 0 to 255

conf.d/10.yaml:6:64: error[FG021]: there is no template `other`";
    let told = faults.to_string().replace(&within, "");
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn a_file_that_cannot_be_read_comes_before_what_may_follow_from_it() {
    let folder = folder_of(&[
        ("fieldgate.yaml", MAIN),
        ("conf.d/10.yaml", "templates:\n  own: [\n"),
        ("conf.d/20.yml", METERS),
        ("conf.d/40.yaml", "a password\n"),
    ]);
    let conf_d = folder.path().join("conf.d");
    std::fs::create_dir(conf_d.join("30.yaml")).unwrap();
    symlink("nowhere", conf_d.join("50.yaml")).unwrap();
    symlink("60.yaml", conf_d.join("60.yaml")).unwrap();
    assert_eq!(
        faults_in_folder(folder.path()),
        [
            "conf.d/10.yaml:2:1: error[FG002]: this is no YAML: did not find expected node content",
            "conf.d/30.yaml: error[FG001]: it is not a file",
            "conf.d/50.yaml: error[FG001]: this is a link to a file that is not there",
            "conf.d/60.yaml: error[FG001]: Too many levels of symbolic links (os error 40)",
            "fieldgate.yaml:6:62: error[FG021]: there is no template `own`",
            "conf.d/20.yml: warning[FG060]: this file is not read, because its name does not end in `.yaml`",
            "conf.d/40.yaml:1:1: error[FG014]: expected keys and values, found a text",
        ]
    );
}

#[test]
fn a_link_to_a_file_is_followed() {
    // Kubernetes mounts each file as a link into a folder of this version.
    let folder = folder_of(&[
        ("fieldgate.yaml", MAIN),
        ("conf.d/..data/meters.yaml", METERS),
        ("conf.d/plant.yaml", PLANT),
        ("conf.d/users", "plc7:x\n"),
    ]);
    let link = folder.path().join("conf.d/meters.yaml");
    symlink("..data/meters.yaml", link).unwrap();
    assert_eq!(faults_in_folder(folder.path()), [""; 0]);
}

#[test]
fn all_files_together_are_bounded() {
    let large = format!("# {}\n", "x".repeat(3 << 20));
    let told = faults_of(&[
        ("fieldgate.yaml", &large),
        ("conf.d/a.yaml", "gateway: { idd: x }\n"),
        ("conf.d/b.yaml", &large),
    ]);
    assert_eq!(
        told,
        [
            "conf.d/b.yaml: error[FG001]: with it, the configuration is larger than 4MiB altogether",
            "conf.d/a.yaml:1:12: error[FG010]: unknown key `idd`",
        ]
    );
    let folder = folder_of(&[("fieldgate.yaml", "")]);
    let conf_d = folder.path().join("conf.d");
    std::fs::create_dir(&conf_d).unwrap();
    for number in 0..=200 {
        std::fs::write(conf_d.join(format!("{number}.yaml")), "").unwrap();
    }
    let told = "conf.d: error[FG001]: there are more than 200 files in this folder";
    assert_eq!(faults_in_folder(folder.path()), [told]);
    // A file where the folder should be.
    let told = faults_of(&[("fieldgate.yaml", ""), ("conf.d", "")]);
    assert_eq!(told, ["conf.d: error[FG001]: it is not a folder"]);
}

#[test]
fn aliases_multiply_no_further_in_several_files_than_in_one() {
    let mut text = "gateway: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (key, name, earlier) in [("b", "b", "a"), ("c", "c", "b"), ("d", "d", "c")] {
        let list = vec![format!("*{earlier}"); 10].join(", ");
        text.push_str(&format!("{key}: &{name} [{list}]\n"));
    }
    let files: Vec<(String, String)> = (0..100)
        .map(|number| (format!("conf.d/{number:03}.yaml"), text.clone()))
        .collect();
    let mut files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    files.push(("fieldgate.yaml", ""));
    let folder = folder_of(&files);
    let faults = config::load(&folder.path().join("fieldgate.yaml")).unwrap_err();
    let bounded = faults.list.iter().find(|fault| fault.code == Code::Syntax);
    let bounded = bounded.unwrap_or_else(|| panic!("{faults}"));
    assert_eq!(bounded.message, "too many values");
}
