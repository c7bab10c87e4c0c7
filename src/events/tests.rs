//! Events over restarts, and what they cost the disk. Time is simulated.

use std::time::Duration;

use super::*;
use crate::clock;
use crate::shutdown::Shutdown;

fn open(folder: &Path) -> (Events, EventFile) {
    let boot = clock::Boot {
        id: 7 << 96,
        uptime: 60_000,
    };
    let reading = ClockReading {
        wall: WallTime(0),
        boot: Some(boot),
    };
    Events::open(folder, clock::now(), reading)
}

fn say(events: &Events, place: u64, text: &str, sameness: u64) {
    let event = Event {
        severity: Severity::Warning,
        kind: "bridge/task".to_owned(),
        subject: Some("bridge cloud".to_owned()),
        text: text.to_owned(),
        place,
        sameness,
    };
    events.happened(clock::now(), WallTime(1), event);
}

fn texts(events: &Events) -> Vec<(u64, String)> {
    let recent = events.recent(usize::MAX, 0).into_iter();
    recent.map(|entry| (entry.count, entry.text)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_happened_is_there_after_a_clean_stop_and_numbers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("events");
    for start in 1..=3_u64 {
        let (events, file) = open(&folder);
        assert_eq!(texts(&events).len() as u64, start - 1);
        let since = *events.follow().borrow();
        let shutdown = Shutdown::default();
        let keeper = tokio::spawn(keep(events.clone(), file, shutdown.stop()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        say(&events, start, &format!("start {start}"), 0);
        let entry = &events.recent(9, since)[0];
        assert_eq!(
            entry.boot,
            Some(entry::Boot {
                id: 7,
                uptime: 61_000
            })
        );
        assert_eq!(entry.number, start);
        shutdown.request();
        assert!(keeper.await.unwrap() > 0);
    }
    let (events, _) = open(&folder);
    assert_eq!(
        texts(&events),
        [1, 2, 3].map(|start| (1, format!("start {start}")))
    );
}

#[tokio::test(start_paused = true)]
async fn what_happened_two_seconds_before_a_power_cut_is_there_and_what_does_not_happen_writes_nothing()
 {
    let folder = tempfile::tempdir().unwrap();
    let (events, file) = open(folder.path());
    let shutdown = Shutdown::default();
    let keeper = tokio::spawn(keep(events.clone(), file, shutdown.stop()));
    say(&events, 1, "lost", 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(texts(&open(folder.path()).0), [(1, "lost".to_owned())]);
    let size = || std::fs::metadata(folder.path().join("log")).unwrap();
    let before = (size().len(), size().modified().unwrap());
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!((size().len(), size().modified().unwrap()), before);
    shutdown.request();
    assert_eq!(keeper.await.unwrap(), before.0);
}

/// At the worst moment: the ring is full, and the file nearly, so that it is replaced within the hour.
#[tokio::test(start_paused = true)]
async fn a_link_that_flaps_for_an_hour_writes_less_than_200_kb() {
    let folder = tempfile::tempdir().unwrap();
    let (events, mut file) = open(folder.path());
    for number in 0..2000 {
        say(
            &events,
            number,
            &format!("device {number} is offline {}", "x".repeat(40)),
            0,
        );
    }
    let filled = events.recent(usize::MAX, 0).len();
    assert!(filled > ENTRIES_MAX / 2, "{filled}");
    file.replace(&events.ring().lines(0)).unwrap();
    let filler = events.recent(1, 0)[0].line().repeat(16);
    while !file.is_full(4 << 10) {
        file.append(&filler).unwrap();
    }
    let full = file.length();
    let (events, file) = open(folder.path());
    let shutdown = Shutdown::default();
    let keeper = tokio::spawn(keep(events.clone(), file, shutdown.stop()));
    for second in 0..3600_u64 {
        say(
            &events,
            9001,
            &format!("link lost: the upstream closed lasted={second}s"),
            1,
        );
        say(&events, 9002, "connected to the upstream", 2);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    shutdown.request();
    let written = keeper.await.unwrap();
    println!("an hour of a flapping link: {written} bytes");
    assert!(written < 200_000, "{written}");
    let (events, file) = open(folder.path());
    assert!(file.length() < full, "it was replaced");
    let told: u64 = texts(&events)
        .iter()
        .filter(|(_, text)| text.starts_with("link lost"))
        .map(|(count, _)| count)
        .sum();
    assert_eq!(told, 3600, "all are counted");
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_written_costs_only_that_until_it_can() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("events");
    std::fs::write(&folder, "in the way").unwrap();
    let (events, file) = open(&folder);
    let shutdown = Shutdown::default();
    let keeper = tokio::spawn(keep(events.clone(), file, shutdown.stop()));
    say(&events, 1, "lost", 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(texts(&events).len(), 1);
    std::fs::remove_file(&folder).unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(
        texts(&open(&folder).0),
        [(1, "lost".to_owned())],
        "without anything new"
    );
    shutdown.request();
    keeper.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_of_a_newer_fieldgate_is_never_written() {
    const NEWER: &str = "fieldgate-events 2\nsomething\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    std::fs::write(&path, NEWER).unwrap();
    let (events, file) = open(folder.path());
    let shutdown = Shutdown::default();
    say(&events, 1, "lost", 0);
    assert_eq!(keep(events, file, shutdown.stop()).await, 0);
    assert_eq!(std::fs::read_to_string(path).unwrap(), NEWER);
}

#[tokio::test(start_paused = true)]
async fn who_follows_is_told_of_each_change_and_may_be_slow() {
    let events = Events::new(clock::now(), clock::reading());
    let mut newest = events.follow();
    let mut since = *newest.borrow();
    for round in 1..=3_usize {
        for number in 0..round as u64 {
            say(&events, number, "x", 0);
        }
        newest.changed().await.unwrap();
        let new = events.recent(usize::MAX, since);
        assert_eq!(new.len(), round, "a repetition is one change");
        since = *newest.borrow_and_update();
    }
    assert!(!newest.has_changed().unwrap());
}
