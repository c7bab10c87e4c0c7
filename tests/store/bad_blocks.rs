//! Blocks of the medium that wear out: what is on them is lost and counted, all else is there, and the log goes on in a new
//! file.

use fieldgate::mqtt::QoS;
use fieldgate::store::{Log, LogOptions, Seq};
use tempfile::tempdir;

use crate::faulty::FaultyFolder;
use crate::support::{append, append_many, assert_intact, covered, options, read_all, seqs};

const FIRST: &str = "q-00000001.redb";

fn open(folder: &FaultyFolder) -> Log {
    let unused = tempdir().unwrap();
    let options = LogOptions {
        hold_bytes: 32 << 10,
        max_bytes: 16 << 20,
        ..options(&unused)
    };
    Log::open_in(options, Box::new(folder.clone())).unwrap()
}

async fn filled(count: u64, size: usize) -> FaultyFolder {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    for _ in 0..count / 10 {
        covered(&log, append_many(&log, 10, size)).await;
    }
    log.close();
    folder
}

fn is_aside(folder: &FaultyFolder) -> bool {
    let names = folder.names();
    names
        .iter()
        .any(|name| name.starts_with("q-00000001.redb.bad-"))
}

#[tokio::test]
async fn a_bad_block_under_the_active_file_costs_only_what_was_on_it() {
    let pages = filled(100, 400).await.pages(FIRST);
    let (mut least, mut salvaged) = (100, 0);
    for page in 0..pages {
        let folder = filled(100, 400).await;
        folder.wear_out(FIRST, page);
        let log = open(&folder);
        let entries = read_all(&log).await;
        assert_intact(&entries, 400);
        let found = seqs(&entries);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
        least = least.min(found.len());
        salvaged += u32::from(is_aside(&folder));
        let seq = append(&log, QoS::AtLeastOnce, 400);
        covered(&log, seq).await;
        assert_eq!(log.error(), None, "page {page}");
    }
    assert!((50..100).contains(&least), "{least}");
    assert!(salvaged > 5, "{salvaged} of {pages}");
}

#[tokio::test]
async fn a_bad_block_under_a_sealed_file_is_counted_and_holds_nothing_up() {
    let folder = filled(5000, 1000).await;
    let page = folder.pages(FIRST) / 3;
    folder.wear_out(FIRST, page);
    let log = open(&folder);
    let entries = read_all(&log).await;
    assert_intact(&entries, 1000);
    let lost = 5000 - entries.len() as u64;
    assert!(lost < 200, "{lost}");
    assert_eq!(log.stats().lost, lost);
    assert!(is_aside(&folder));
    let seq = append(&log, QoS::AtLeastOnce, 1000);
    assert_eq!(seq, Seq(5001));
    covered(&log, seq).await;
    assert_eq!(log.error(), None);
}
