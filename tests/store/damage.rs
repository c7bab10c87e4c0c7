//! Damaged files: put aside and salvaged, and the log goes on.

use std::fs;
use std::path::PathBuf;

use fieldgate::mqtt::QoS;
use fieldgate::store::{Log, LogOptions, Seq, StoreError};
use tempfile::{TempDir, tempdir};

use crate::support::{
    append, append_many, assert_intact, assert_run, covered, done, files, open, options, read_all,
    seqs, wait,
};

fn path(folder: &TempDir, number: u32) -> PathBuf {
    folder.path().join(format!("cloud/q-{number:08}.redb"))
}

/// A log with a hundred messages in commits of ten, ended in order.
async fn filled(folder: &TempDir) {
    let log = open(folder);
    for _ in 0..10 {
        covered(&log, append_many(&log, 10, 400)).await;
    }
    done(&log, 1..=20);
    wait(&log, |progress| progress.cursor == Seq(20)).await;
    log.close();
}

#[tokio::test]
async fn a_damaged_active_file_is_salvaged() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    // The first page says which tree is the current one.
    let mut bytes = fs::read(path(&folder, 1)).unwrap();
    bytes[..4096].fill(0xee);
    fs::write(path(&folder, 1), &bytes).unwrap();

    let log = open(&folder);
    let entries = read_all(&log).await;
    assert_run(&entries, 21, 100);
    assert_intact(&entries, 400);
    assert!(entries.iter().all(|entry| entry.maybe_sent));
    let names = files(&folder);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[1].starts_with("q-00000001.redb.bad-"), "{names:?}");
    let aside = fs::read(folder.path().join("cloud").join(&names[1])).unwrap();
    assert!(aside == bytes, "kept as it was");
    // It goes on.
    assert_eq!(append(&log, QoS::AtLeastOnce, 400), Seq(101));
    covered(&log, Seq(101)).await;
    drop(log);
    assert_eq!(read_all(&open(&folder)).await.len(), 81);
}

#[tokio::test]
async fn a_damaged_page_costs_only_what_was_on_it() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    let whole = fs::read(path(&folder, 1)).unwrap();
    let mut least = 80;
    for page in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096 + 100..page * 4096 + 300].fill(0xee);
        if bytes == whole {
            continue;
        }
        fs::write(path(&folder, 1), &bytes).unwrap();
        let log = open(&folder);
        let entries = read_all(&log).await;
        assert_intact(&entries, 400);
        let found = seqs(&entries);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
        least = least.min(found.len());
        drop(log);
    }
    assert!((50..80).contains(&least), "{least}");
}

#[tokio::test]
async fn an_empty_file_is_no_new_log() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    fs::write(path(&folder, 1), b"").unwrap();
    let log = open(&folder);
    assert!(read_all(&log).await.is_empty());
    assert_eq!(files(&folder).len(), 2);
}

#[tokio::test]
async fn only_two_damaged_files_are_kept() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    for second in [1, 2, 3] {
        let name = format!("cloud/q-00000001.redb.bad-{second}");
        fs::write(folder.path().join(name), b"old").unwrap();
    }
    fs::write(path(&folder, 1), b"garbage").unwrap();
    drop(open(&folder));
    let names = files(&folder);
    let bad: Vec<_> = names.iter().filter(|name| name.contains(".bad-")).collect();
    assert_eq!(bad.len(), 2, "{names:?}");
    assert!(bad.iter().any(|name| name.ends_with(".bad-3")));
}

#[tokio::test]
async fn a_salvage_that_was_interrupted_is_finished() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    let name = path(&folder, 1);
    fs::rename(&name, name.with_extension("redb.tmp")).unwrap();
    fs::write(name.with_extension("redb.bad-7"), b"damaged").unwrap();
    assert_eq!(read_all(&open(&folder)).await.len(), 80);
}

#[tokio::test]
async fn a_damaged_sealed_file_costs_only_itself() {
    let folder = tempdir().unwrap();
    let small = LogOptions {
        hold_bytes: 32 << 10,
        max_bytes: 16 << 20,
        ..options(&folder)
    };
    let log = Log::open(small.clone()).unwrap();
    for _ in 0..5000 {
        log.room().await;
        append(&log, QoS::AtLeastOnce, 1000);
    }
    covered(&log, Seq(5000)).await;
    log.close();
    drop(log);
    assert!(files(&folder).len() > 2);
    let mut bytes = fs::read(path(&folder, 2)).unwrap();
    bytes[..4096].fill(0xee);
    fs::write(path(&folder, 2), &bytes).unwrap();

    let log = Log::open(small).unwrap();
    let entries = read_all(&log).await;
    assert_intact(&entries, 1000);
    assert_run(&entries, 1, 5000);
    assert!(
        files(&folder)
            .iter()
            .any(|name| name.starts_with("q-00000002.redb.bad-"))
    );
}

#[tokio::test]
async fn a_flipped_bit_in_a_sealed_file_is_never_a_wrong_message() {
    let folder = tempdir().unwrap();
    let small = LogOptions {
        hold_bytes: 32 << 10,
        max_bytes: 2 << 20,
        ..options(&folder)
    };
    let log = Log::open(small.clone()).unwrap();
    for _ in 0..500 {
        log.room().await;
        append(&log, QoS::AtLeastOnce, 1000);
    }
    covered(&log, Seq(500)).await;
    log.close();
    drop(log);
    let dir = folder.path().join("cloud");
    let names = files(&folder).into_iter();
    let whole: Vec<_> = names
        .map(|name| (fs::read(dir.join(&name)).unwrap(), name))
        .collect();
    let mut lost = 0;
    for place in 1..20 {
        // As it was: what is lost once is told, and stays lost.
        for name in files(&folder) {
            fs::remove_file(dir.join(name)).unwrap();
        }
        for (bytes, name) in &whole {
            fs::write(dir.join(name), bytes).unwrap();
        }
        let mut bytes = fs::read(path(&folder, 1)).unwrap();
        let at = place * bytes.len() / 20;
        bytes[at] ^= 0x04;
        fs::write(path(&folder, 1), &bytes).unwrap();
        let log = Log::open(small.clone()).unwrap();
        let entries = read_all(&log).await;
        assert_intact(&entries, 1000);
        let stats = log.stats();
        let missing = 500 - entries.len() as u64;
        assert_eq!(stats.lost, missing, "counted");
        lost += missing;
        log.close();
    }
    assert!(lost > 0, "some flip must have hit");
}

#[tokio::test]
async fn a_damaged_file_of_a_newer_program_is_left_to_that() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    let mut bytes = fs::read(path(&folder, 1)).unwrap();
    let magic = b"FGSEGMT";
    for at in 0..bytes.len() - magic.len() {
        if bytes[at..].starts_with(magic) {
            bytes[at + magic.len()] = 3;
        }
    }
    bytes[..4096].fill(0xee);
    fs::write(path(&folder, 1), &bytes).unwrap();
    let error = Log::open(options(&folder)).unwrap_err();
    let is_newer = matches!(error, StoreError::NewerFormat { found: 3, .. });
    assert!(is_newer, "{error:?}");
    assert_eq!(files(&folder), ["q-00000001.redb"]);
    let kept = fs::read(path(&folder, 1)).unwrap();
    assert!(kept == bytes, "kept as it was");
}
