//! The files that are shipped are sound, and mean what their comments say.

use std::path::{Path, PathBuf};

use fieldgate::adapter::Payload;
use fieldgate::bridge::Profile;
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

/// A folder with an example, and with the files that it leaves to its reader: `certs/...` and the users.
fn with_what_it_names(example: &Path) -> (tempfile::TempDir, PathBuf) {
    const HASH: &str = "$7$101$YQtXkMpuA0UZOwiB$3eV/sROD3ibH5zeIEGBFX41t5irHLWHVLzB6YvCpFlKX4oh+TRNcdxhikMRkv53CLgQmwZZoe4jcLQqE1cSc5w==";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(example.file_name().unwrap());
    std::fs::copy(example, &file).unwrap();
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let settings = text.lines().filter(|line| !line.starts_with('#'));
    for word in settings.flat_map(str::split_whitespace) {
        if word.starts_with("certs/") {
            std::fs::write(folder.path().join(word), "PEM").unwrap();
        }
    }
    let users = ["panel1", "plc7"].map(|user| format!("{user}:{HASH}\n"));
    std::fs::write(folder.path().join("users"), users.concat()).unwrap();
    (folder, file)
}

#[test]
fn every_example_is_sound_with_the_files_that_it_names() {
    let folder = shipped("examples");
    let files = std::fs::read_dir(folder).unwrap();
    let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    assert!(files.len() > 5, "{files:?}");
    for example in &files {
        let (_folder, file) = with_what_it_names(example);
        let loaded = config::load(&file).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(loaded.warnings, [], "{}", example.display());
    }
}

#[test]
fn every_example_says_what_to_change_or_what_it_shows_and_how_to_run_it() {
    for example in std::fs::read_dir(shipped("examples")).unwrap() {
        let text = std::fs::read_to_string(example.unwrap().path()).unwrap();
        let head: Vec<&str> = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        assert!(
            head[0].ends_with("$schema=../fieldgate.schema.json"),
            "{head:?}"
        );
        assert!(head[1].len() > 40, "{head:?}");
        let command = |line: &&&str| line.contains("fieldgate ");
        assert!(head.iter().filter(command).count() >= 1, "{head:?}");
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
    assert_eq!(meters[0].devices.len(), 10);
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
    let scales = load("scale-and-barcode.yaml").instruments;
    assert_eq!(scales[1].port.to_string(), "/dev/ttyAMA2 at 4800 7E1");
    assert_eq!(
        scales[0].instrument.payload,
        Payload::Json(topic("packing/floor/reading"))
    );
    let reader = &scales[2].instrument;
    assert_eq!(reader.topics, [topic("packing/reader1/reading/code")]);
    assert_eq!(reader.payload, Payload::Value);
}

#[test]
fn the_bridge_example_lacks_nothing_but_the_certificates() {
    let faults = config::load(&shipped("examples/cloud.yaml")).unwrap_err();
    let codes: Vec<_> = faults.list.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, [config::Code::MissingFile; 3]);

    let (folder, file) = with_what_it_names(&shipped("examples/cloud.yaml"));
    let loaded = config::load(&file).unwrap();
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
fn the_meter_goes_to_aws_under_the_name_of_its_thing() {
    let (_folder, file) = with_what_it_names(&shipped("examples/meter-to-aws.yaml"));
    let config = config::load(&file).unwrap().config;
    let bridge = &config.bridges[0].options;
    assert_eq!(bridge.client_id, config.gateway.id);
    assert_eq!(bridge.ceilings, Profile::AwsIotCore.ceilings());
    assert_eq!(config.connections[0].devices.len(), 1);
}

#[test]
fn the_broker_alone_has_no_listener_on_the_network_without_tls() {
    let (_folder, file) = with_what_it_names(&shipped("examples/broker-only.yaml"));
    let config = config::load(&file).unwrap().config;
    assert!(config.connections.is_empty() && config.bridges.is_empty());
    let [local, plant] = &config.listeners[..] else {
        panic!("{:?}", config.listeners);
    };
    assert!(local.bind.is_local() && local.tls.is_none());
    assert!(!plant.bind.is_local() && plant.tls.is_some() && !plant.anonymous);
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
