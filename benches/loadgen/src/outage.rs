//! Both ends of an outage: `fill` publishes a fixed number of messages as fast as they are acknowledged; `sink` is an upstream
//! that acknowledges and counts them by publisher and sequence number, so that one lost, swapped or sent again is seen
//! whatever their number.
use crate::sys::{self, now_ns, Epoll, Io};
use crate::{mqtt, Gen, Opt, J};
use std::collections::{HashMap, HashSet};

/// Gives up when nothing happened for this long.
const PATIENCE_NS: u64 = 60_000_000_000;

pub fn fill(o: &Opt) {
    let (count, pubs) = (o.n("count", 100_000), o.n("pubs", 10));
    let (qos, size) = (o.n("qos", 1) as u8, o.n("size", 64) as usize);
    assert!(qos > 0, "acknowledgements are the clock");
    let mut g = Gen::new(o);
    for p in 0..pubs {
        let i = g.open(&format!("fill-{p}"), true, 0);
        g.add_pub(i, &format!("plant/{p}"), qos, false, size);
    }
    g.ready(0, 1);
    g.fan = 0;
    let (t0, mut last, mut last_t) = (now_ns(), 0, now_ns());
    while g.acked < count {
        g.now = now_ns();
        for p in 0..pubs {
            let i = g.pubs[p as usize];
            let share = count / pubs + u64::from(p < count % pubs);
            while u64::from(g.cs[i].seq) < share && g.cs[i].unacked < g.window {
                let now = g.now;
                g.publish(i, now);
            }
        }
        g.flush_dirty();
        g.turn(20_000_000);
        if g.acked != last {
            (last, last_t) = (g.acked, now_ns());
        }
        if now_ns() - last_t > PATIENCE_NS || g.cs.iter().any(|c| c.closed) {
            break;
        }
    }
    let secs = (now_ns() - t0) as f64 / 1e9;
    let mut j = J::new(o, "fill");
    j.n("sent", g.sent as f64);
    j.n("acked", g.acked as f64);
    j.n("msgs_s", g.acked as f64 / secs);
    g.close_all();
    j.done();
}

#[derive(Default)]
struct Peer {
    fd: i32,
    v5: bool,
    rb: Vec<u8>,
    wb: Vec<u8>,
    open: bool,
}

#[derive(Default)]
struct Tally {
    /// The newest sequence number of each publisher.
    last: HashMap<u32, u32>,
    firsts: u64,
    again: u64,
    /// Numbers that were passed over: lost, or out of order.
    missed: u64,
}

impl Tally {
    fn take(&mut self, publisher: u32, seq: u32) {
        let last = self.last.entry(publisher).or_default();
        if seq <= *last {
            self.again += 1;
            return;
        }
        self.missed += u64::from(seq - *last - 1);
        self.firsts += 1;
        *last = seq;
    }
}

/// Ends when `--count` messages have come, each once at least, or nothing comes any more; stops itself (SIGSTOP) once at
/// `--stop-at`.
pub fn sink(o: &Opt) {
    let listener = sys::listen(o.n("port", 1883) as u16);
    let (count, mut stop_at) = (o.n("count", 100_000), o.n("stop-at", u64::MAX));
    let mut ep = Epoll::new();
    ep.add(listener, u64::MAX, false);
    let (mut peers, mut sessions, mut tally) = (Vec::<Peer>::new(), HashSet::new(), Tally::default());
    let mut buf = vec![0u8; 256 << 10];
    let (mut t0, mut last_t, mut connects) = (now_ns(), now_ns(), 0);
    while tally.firsts < count && now_ns() - last_t < PATIENCE_NS {
        for e in 0..ep.wait(1_000_000_000) {
            let id = ep.evs[e].u64;
            if id == u64::MAX {
                while let Some(fd) = sys::accept(listener) {
                    ep.add(fd, peers.len() as u64, false);
                    peers.push(Peer {
                        fd,
                        open: true,
                        ..Peer::default()
                    });
                }
                continue;
            }
            let peer = &mut peers[id as usize];
            match sys::read(peer.fd, &mut buf) {
                Io::N(n) if peer.open => peer.rb.extend_from_slice(&buf[..n]),
                Io::Block => continue,
                _ => {
                    sys::close(peer.fd);
                    peer.open = false;
                    continue;
                }
            }
            let mut at = 0;
            while let Some((head, total)) = mqtt::frame(&peer.rb[at..]) {
                let (kind, body) = (peer.rb[at], &peer.rb[at + head..at + total]);
                match kind >> 4 {
                    1 => {
                        peer.v5 = body[6] == 5;
                        let present = accept(&mut sessions, body, peer.v5);
                        connects += 1;
                        if connects == 1 {
                            t0 = now_ns();
                        }
                        let connack = [0x20, 2 + u8::from(peer.v5), u8::from(present), 0, 0];
                        let length = 4 + usize::from(peer.v5);
                        peer.wb.extend_from_slice(&connack[..length]);
                    }
                    3 => {
                        let p = mqtt::parse_publish(kind, body, peer.v5);
                        if p.publisher != u32::MAX {
                            tally.take(p.publisher, p.seq);
                        }
                        if p.qos > 0 {
                            mqtt::ack(&mut peer.wb, 0x40, p.pid);
                        }
                        last_t = now_ns();
                    }
                    12 => peer.wb.extend_from_slice(&[0xd0, 0]),
                    14 => peer.open = false,
                    kind => panic!("unexpected packet {kind}"),
                }
                at += total;
            }
            peer.rb.drain(..at);
            flush(peer);
        }
        if tally.firsts >= stop_at {
            stop_at = u64::MAX;
            // SAFETY: stops this process until somebody lets it go on; touches no memory.
            unsafe { libc::raise(libc::SIGSTOP) };
            last_t = now_ns();
        }
    }
    let mut j = J::new(o, "sink");
    j.n("firsts", tally.firsts as f64);
    j.n("again", tally.again as f64);
    j.n("missed", tally.missed as f64);
    j.n("connects", f64::from(connects));
    j.n("secs", (now_ns() - t0) as f64 / 1e9);
    j.done();
}

/// Whether the client's session is known, from its CONNECT; it is from now on.
fn accept(sessions: &mut HashSet<Vec<u8>>, connect: &[u8], v5: bool) -> bool {
    let clean = connect[7] & 2 != 0;
    let mut at = 10;
    if v5 {
        at += 1 + usize::from(connect[at]); // properties are short here
    }
    let length = usize::from(u16::from_be_bytes([connect[at], connect[at + 1]]));
    let id = connect[at + 2..at + 2 + length].to_vec();
    !sessions.insert(id) && !clean
}

/// Answers are few bytes a message: whoever does not read them is waited for.
fn flush(peer: &mut Peer) {
    let mut at = 0;
    while at < peer.wb.len() && peer.open {
        match sys::write(peer.fd, &peer.wb[at..]) {
            Io::N(n) => at += n,
            Io::Block => std::thread::yield_now(),
            Io::Closed => break,
        }
    }
    peer.wb.clear();
}
