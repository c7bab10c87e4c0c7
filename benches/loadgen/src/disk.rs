//! How often and how fast this disk makes data durable.
use crate::sys::now_ns;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;

fn sync(f: &File) {
    unsafe { libc::fdatasync(f.as_raw_fd()) };
}

fn open(path: &str, prealloc: usize) -> File {
    let mut f = OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    if prealloc > 0 {
        let z = vec![0u8; 1 << 20];
        let mut n = 0;
        while n < prealloc {
            f.write_all(&z).unwrap();
            n += z.len();
        }
        f.sync_all().unwrap();
        f.seek(SeekFrom::Start(0)).unwrap();
    }
    f
}

/// Append `unit`-byte writes, `batch` of them per write call, one fdatasync per batch, `secs` long.
fn run(path: &str, unit: usize, batch: usize, prealloc: bool, secs: f64) {
    let chunk = unit * batch;
    let cap = if prealloc { 256usize << 20 } else { 0 };
    let mut f = open(path, cap);
    let buf = vec![7u8; chunk];
    let (t0, end) = (now_ns(), (secs * 1e9) as u64);
    let (mut n, mut pos) = (0u64, 0usize);
    let mut h = crate::sys::Hist::new();
    loop {
        let a = now_ns();
        if a - t0 >= end || (!prealloc && pos > (1 << 30)) {
            break;
        }
        if prealloc && pos + chunk > cap {
            f.seek(SeekFrom::Start(0)).unwrap();
            pos = 0;
        }
        f.write_all(&buf).unwrap();
        sync(&f);
        pos += chunk;
        n += 1;
        h.add(now_ns() - a);
    }
    let t = (now_ns() - t0) as f64 / 1e9;
    println!(
        "{{\"scenario\":\"disk\",\"unit\":{unit},\"batch\":{batch},\"prealloc\":{prealloc},\"syncs_s\":{:.0},\"records_s\":{:.0},\"mb_s\":{:.2},\"p50_us\":{:.0},\"p99_us\":{:.0},\"p999_us\":{:.0}}}",
        n as f64 / t,
        (n as f64) * batch as f64 / t,
        (n as f64) * chunk as f64 / t / 1e6,
        h.us(0.5),
        h.us(0.99),
        h.us(0.999)
    );
    drop(f);
    let _ = std::fs::remove_file(path);
}

pub fn main(dir: &str, secs: f64) {
    let p = format!("{dir}/loadgen-disk-probe.bin");
    for pre in [false, true] {
        run(&p, 4096, 1, pre, secs);
        run(&p, 1 << 20, 1, pre, secs);
    }
    for b in [1, 16, 64, 256, 1024, 4096] {
        run(&p, 256, b, false, secs);
    }
    run(&p, 256, 256, true, secs);
}
