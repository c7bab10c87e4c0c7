//! What happened, as the real program keeps it over starts.

use std::process::Command;

use crate::{Running, write};

#[test]
fn what_happened_is_kept_over_starts_and_damage_costs_only_what_it_hits() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "gateway: { id: g1, data_dir: data }\nbroker: { listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }] }\n",
    );
    let kept = folder.path().join("data/events/log");
    let run = |until: &str| {
        let mut gateway = Running::start(&file);
        let line = gateway.until(until).unwrap();
        let pid = gateway.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        gateway.until("stopped").unwrap();
        assert!(gateway.child.wait().unwrap().success());
        line
    };
    let count = |what: &str| {
        std::fs::read_to_string(&kept)
            .unwrap()
            .matches(what)
            .count()
    };
    run("running");
    run("running");
    assert_eq!(count("\"running gateway="), 2);
    assert_eq!(count("\"stopped\""), 2);
    assert_eq!(count("SIGTERM: stopping"), 2);
    let mut bytes = std::fs::read(&kept).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.extend_from_slice(b"torn");
    std::fs::write(&kept, bytes).unwrap();
    let line = run("the file of events was damaged");
    assert!(line.contains("lines=1"), "{line}");
    assert_eq!(
        count("\"running gateway="),
        3,
        "what was damaged was another line"
    );
    assert_eq!(count("torn"), 0);
}
