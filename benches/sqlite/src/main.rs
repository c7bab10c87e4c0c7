//! Appends messages of 256 bytes to a table, so many a transaction: WAL, synchronous=FULL, the rest as SQLite has it.
//!
//!     sqlite-appends FILE MESSAGES-A-COMMIT COMMITS
//!
//! Prints seconds, bytes of write calls, bytes of dirtied pages, and syncs. A sync is counted on its way: this program has
//! functions of its own in place of libc's.

use std::ffi::c_int;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rusqlite::Connection;

static SYNCS: AtomicU64 = AtomicU64::new(0);

#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: c_int) -> c_int {
    SYNCS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the system call takes any number, and answers with an error where it is no file.
    unsafe { libc::syscall(libc::SYS_fdatasync, file) as c_int }
}

#[unsafe(no_mangle)]
extern "C" fn fsync(file: c_int) -> c_int {
    SYNCS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_fsync, file) as c_int }
}

/// Bytes of write calls, and of dirtied pages.
fn written() -> [u64; 2] {
    let io = fs::read_to_string("/proc/self/io").expect("Linux");
    ["wchar: ", "write_bytes: "].map(|name| {
        let line = io.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).parse().expect("a number")
    })
}

fn main() -> rusqlite::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, per_commit, commits] = &arguments[..] else {
        panic!("sqlite-appends FILE MESSAGES-A-COMMIT COMMITS");
    };
    let number = |text: &String| text.parse::<u64>().expect("a number");
    let mut database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)", ())?;
    let payload = [0x5a_u8; 256];
    let [given, pages] = written();
    let synced = SYNCS.load(Ordering::Relaxed);
    let started = Instant::now();
    for _ in 0..number(commits) {
        let transaction = database.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO messages (payload) VALUES (?1)")?;
            for _ in 0..number(per_commit) {
                insert.execute([&payload[..]])?;
            }
        }
        transaction.commit()?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let syncs = SYNCS.load(Ordering::Relaxed) - synced;
    let [given_after, pages_after] = written();
    println!("{seconds} {} {} {syncs}", given_after - given, pages_after - pages);
    Ok(())
}
