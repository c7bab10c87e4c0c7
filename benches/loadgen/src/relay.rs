//! The floor: frames are forwarded from publishers to subscribers of the same topic with no MQTT
//! logic at all (a topic is looked at once per publisher; after that only lengths are walked).
use crate::mqtt;
use crate::sys::{self, Epoll, Io};
use std::collections::HashMap;

struct C {
    fd: i32,
    rb: Vec<u8>,
    wb: Vec<u8>,
    wo: usize,
    out: bool,
    dirty: bool,
    target: Option<Vec<usize>>,
}

pub fn main(port: u16) {
    let l = sys::listen(port);
    let mut ep = Epoll::new();
    ep.add(l, u64::MAX, false);
    let mut cs: Vec<Option<C>> = Vec::new();
    let mut subs: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
    let mut buf = vec![0u8; 256 << 10];
    let mut dirty: Vec<usize> = Vec::new();
    loop {
        let n = ep.wait(1_000_000_000);
        for e in 0..n {
            let (id, evs) = (ep.evs[e].u64, ep.evs[e].events);
            if id == u64::MAX {
                while let Some(fd) = sys::accept(l) {
                    ep.add(fd, cs.len() as u64, false);
                    cs.push(Some(C {
                        fd,
                        rb: vec![],
                        wb: vec![],
                        wo: 0,
                        out: false,
                        dirty: false,
                        target: None,
                    }));
                }
                continue;
            }
            let i = id as usize;
            if evs & libc::EPOLLOUT as u32 != 0 {
                mark(&mut cs, i, &mut dirty);
            }
            if evs & !(libc::EPOLLOUT as u32) == 0 {
                continue;
            }
            let Some(mut c) = cs[i].take() else { continue };
            match sys::read(c.fd, &mut buf) {
                Io::N(n) => {
                    let joined;
                    let data: &[u8] = if c.rb.is_empty() {
                        &buf[..n]
                    } else {
                        c.rb.extend_from_slice(&buf[..n]);
                        joined = std::mem::take(&mut c.rb);
                        &joined
                    };
                    let mut o = 0;
                    let mut fwd = 0; // start of the run of whole PUBLISH frames
                    while let Some((h, t)) = mqtt::frame(&data[o..]) {
                        let f = &data[o..o + t];
                        match f[0] >> 4 {
                            3 => {
                                if c.target.is_none() {
                                    let tl = u16::from_be_bytes([f[h], f[h + 1]]) as usize;
                                    c.target = Some(
                                        subs.get(&f[h + 2..h + 2 + tl])
                                            .cloned()
                                            .unwrap_or_default(),
                                    );
                                }
                            }
                            1 => {
                                c.wb.extend_from_slice(&[0x20, 2, 0, 0]);
                                fwd = o + t;
                            }
                            8 => {
                                let tl = u16::from_be_bytes([f[h + 2], f[h + 3]]) as usize;
                                subs.entry(f[h + 4..h + 4 + tl].to_vec())
                                    .or_default()
                                    .push(i);
                                c.wb.extend_from_slice(&[0x90, 3, f[h], f[h + 1], 0]);
                                fwd = o + t;
                            }
                            _ => fwd = o + t,
                        }
                        o += t;
                    }
                    if o > fwd {
                        if let Some(t) = &c.target {
                            for &s in t {
                                if let Some(sc) = &mut cs[s] {
                                    sc.wb.extend_from_slice(&data[fwd..o]);
                                }
                                mark(&mut cs, s, &mut dirty);
                            }
                        }
                    }
                    if o < data.len() {
                        c.rb = data[o..].to_vec();
                    }
                    if !c.wb.is_empty() && !c.dirty {
                        c.dirty = true;
                        dirty.push(i);
                    }
                    cs[i] = Some(c);
                }
                Io::Block => cs[i] = Some(c),
                Io::Closed => {
                    sys::close(c.fd);
                    for v in subs.values_mut() {
                        v.retain(|&s| s != i);
                    }
                }
            }
        }
        for i in dirty.drain(..) {
            let Some(c) = &mut cs[i] else { continue };
            c.dirty = false;
            while c.wo < c.wb.len() {
                match sys::write(c.fd, &c.wb[c.wo..]) {
                    Io::N(n) => c.wo += n,
                    _ => break,
                }
            }
            if c.wo == c.wb.len() {
                c.wb.clear();
                c.wo = 0;
            }
            let want = !c.wb.is_empty();
            if want != c.out {
                c.out = want;
                ep.modify(c.fd, i as u64, want);
            }
        }
    }
}

fn mark(cs: &mut [Option<C>], i: usize, dirty: &mut Vec<usize>) {
    if let Some(c) = &mut cs[i] {
        if !c.dirty {
            c.dirty = true;
            dirty.push(i);
        }
    }
}
