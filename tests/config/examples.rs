//! The files that are shipped are sound, and mean what their comments say.

use std::path::{Path, PathBuf};

use fieldgate::adapter::Payload;
use fieldgate::config::{self, System};
use fieldgate::topic::TopicName;

use crate::support::{Surroundings, read};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name)
}

#[test]
fn the_default_file_works_with_nothing_else_present() {
    let loaded = config::load(&shipped("fieldgate.yaml")).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.listeners.len(), 1);
    assert!(loaded.config.connections.is_empty() && loaded.config.bridges.is_empty());
    let mut built_in = read("").unwrap().config;
    built_in.gateway = loaded.config.gateway.clone();
    assert_eq!(
        loaded.config, built_in,
        "the default file says what no file at all means"
    );
}

#[test]
fn what_the_default_file_offers_is_sound_too() {
    let text = std::fs::read_to_string(shipped("fieldgate.yaml")).unwrap();
    let lines = text.lines().map(|line| match line.split_once("# ") {
        Some((indent, offer)) if indent.trim().is_empty() => format!("{indent}{offer}\n"),
        _ => format!("{line}\n"),
    });
    let offered: String = lines.collect();
    let config = config::parse(
        &offered,
        Path::new("fieldgate.yaml"),
        &Surroundings::default(),
    );
    let config = config
        .unwrap_or_else(|faults| panic!("{faults}\n{offered}"))
        .config;
    assert_eq!(config.gateway.id, "press-line-3");
    assert_eq!(config.listeners.len(), 4);
    assert_eq!(config.connections.len(), 1);
    assert_eq!(config.connections[0].devices[0].groups[0].tags.len(), 1);
    assert_eq!(config.bridges.len(), 1);
}

#[test]
fn every_example_is_sound_as_it_is_but_for_certificates() {
    let folder = shipped("examples");
    let files = std::fs::read_dir(folder).unwrap();
    let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    assert!(files.len() > 5, "{files:?}");
    for file in files.iter().filter(|file| !file.ends_with("cloud.yaml")) {
        let loaded = config::load(file).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(loaded.warnings, [], "{}", file.display());
    }
}

#[test]
fn the_examples_mean_what_their_comments_say() {
    let load = |name: &str| {
        config::load(&shipped("examples").join(name))
            .unwrap()
            .config
    };
    let meters = load("meters.yaml").connections;
    let own = &meters[0].devices[2];
    assert_eq!(
        (own.name.as_str(), own.max_gap, own.groups.len()),
        ("press2", 8, 2)
    );
    assert_eq!(
        meters[1].devices[0].groups.len(),
        3,
        "two of the template and one of its own"
    );
    // A tag with an interval of its own is sent apart, to the same topic.
    let chiller = &load("plc.yaml").connections[1].devices[0];
    assert_eq!(chiller.groups.len(), 2);
    assert_eq!(chiller.groups[0].payload, chiller.groups[1].payload);
    let topic = |text: &str| TopicName::try_from(text).unwrap();
    let scales = load("scales.yaml").instruments;
    assert_eq!(scales[1].port.to_string(), "/dev/ttyAMA2 at 4800 7E1");
    assert_eq!(
        scales[0].instrument.payload,
        Payload::Json(topic("packing/floor/reading"))
    );
    let reader = &load("barcode.yaml").instruments[0].instrument;
    assert_eq!(reader.topics, [topic("packing/reader1/reading/code")]);
    assert_eq!(reader.payload, Payload::Value);
}

#[test]
fn the_bridge_example_lacks_nothing_but_the_certificates() {
    let faults = config::load(&shipped("examples/cloud.yaml")).unwrap_err();
    let codes: Vec<_> = faults.list.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, [config::Code::MissingFile; 3]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fieldgate.yaml");
    std::fs::copy(shipped("examples/cloud.yaml"), &file).unwrap();
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    for name in ["cloud-ca.pem", "device.crt", "device.key"] {
        std::fs::write(folder.path().join("certs").join(name), "PEM").unwrap();
    }
    let loaded = config::load(&file).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.warnings, []);
    let bridge = &loaded.config.bridges[0];
    assert_eq!(
        bridge.options.tls.as_ref().unwrap().ca,
        folder.path().join("certs/cloud-ca.pem")
    );
    let will = bridge.options.will.as_ref().unwrap();
    assert_eq!(will.topic.as_str(), "site/berlin/hall1/$status");
    assert!(will.retain);
}

#[test]
fn every_key_of_this_version_is_read() {
    let text = include_str!("full.yaml");
    let loaded = read(text).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config, read(text).unwrap().config);
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| {
        let faults = config::load(path).unwrap_err();
        assert_eq!(faults.summary(), "1 error");
        faults.list[0].message.clone()
    };
    assert_eq!(
        message(&folder.path().join("none.yaml")),
        "there is no such file"
    );
    assert_eq!(message(folder.path()), "it is not a file");
    let file = folder.path().join("fieldgate.yaml");
    std::fs::write(&file, b"gateway:\n  id: caf\xe9\n").unwrap();
    assert_eq!(message(&file), "line 2 is not UTF-8");
    std::fs::write(&file, vec![b' '; 5 << 20]).unwrap();
    assert_eq!(message(&file), "it is larger than 4MiB");
}

#[test]
fn files_and_variables_come_from_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("id"), "g7\n").unwrap();
    let text = "gateway: { id: \"${file:id}\" }\n";
    let loaded = config::parse(text, &folder.path().join("fieldgate.yaml"), &System).unwrap();
    assert_eq!(loaded.config.gateway.id, "g7");
}
