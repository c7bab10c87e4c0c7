//! MQTT load generator: one thread, one epoll, hand-encoded packets. See README.md.
mod disk;
mod mqtt;
mod outage;
mod relay;
mod sys;

use mqtt::Template;
use std::collections::HashMap;
use sys::{now_ns, Epoll, Hist, Io, Proc};

struct Opt {
    m: HashMap<String, String>,
}
impl Opt {
    fn s(&self, k: &str, d: &str) -> String {
        self.m.get(k).cloned().unwrap_or_else(|| d.into())
    }
    fn n(&self, k: &str, d: u64) -> u64 {
        self.m.get(k).map(|v| v.parse().expect(k)).unwrap_or(d)
    }
    fn f(&self, k: &str, d: f64) -> f64 {
        self.m.get(k).map(|v| v.parse().expect(k)).unwrap_or(d)
    }
}

#[derive(Default)]
struct Conn {
    fd: i32,
    rb: Vec<u8>,
    wb: Vec<u8>,
    wo: usize,
    out: bool,
    dirty: bool,
    closed: bool,
    acks: u32, // CONNACK and SUBACK seen
    // publisher side
    publisher: bool,
    pidx: u32,
    tmpl: usize,
    unacked: u64,
    outstanding: i64,
    pid: u16,
    seq: u32,
}

struct Gen {
    ep: Epoll,
    cs: Vec<Conn>,
    tmpls: Vec<Template>,
    dirty: Vec<usize>,
    buf: Vec<u8>,
    v5: bool,
    port: u16,
    pubs: Vec<usize>, // connection of publisher i
    window: u64,
    fan: i64,
    paused: bool,
    rate: bool,
    delivered: u64,
    acked: u64,
    sent: u64,
    expected: u64,
    disorder: u64,
    last: Vec<u32>, // last sequence per (sub, publisher) when small enough
    npub: usize,
    hist: Hist,
    record: bool,
    now: u64,
    topics: Option<Topics>,
    refused: u64,
}

/// Scenario h: topics encoded on the fly.
struct Topics {
    n: u64,
    qos: u8,
    size: usize,
    rng: u64,
}
impl Topics {
    fn name(i: u64) -> String {
        format!("site/{}/dev/{}/val/{}", i / 1000, i / 10 % 100, i % 10)
    }
    /// The filter that subscription slot i stands for.
    fn filter(i: u64) -> String {
        let (a, b) = (i / 1000, i / 10 % 100);
        if i % 1000 == 999 {
            format!("site/{a}/#")
        } else if i % 10 == 9 {
            format!("site/{a}/dev/{b}/val/+")
        } else {
            Self::name(i)
        }
    }
    fn fanout(i: u64) -> i64 {
        (i % 10 != 9) as i64 + (i / 10 % 100 != 99) as i64 + 1
    }
}

impl Gen {
    fn new(o: &Opt) -> Gen {
        Gen {
            ep: Epoll::new(),
            cs: vec![],
            tmpls: vec![],
            dirty: vec![],
            buf: vec![0; 256 << 10],
            v5: o.n("v5", 0) == 1,
            port: o.n("port", 1883) as u16,
            pubs: vec![],
            window: o.n("window", 100),
            fan: 1,
            paused: true,
            rate: false,
            delivered: 0,
            acked: 0,
            sent: 0,
            expected: 0,
            disorder: 0,
            last: vec![],
            npub: 0,
            hist: Hist::new(),
            record: false,
            now: now_ns(),
            topics: None,
            refused: 0,
        }
    }
    fn open(&mut self, id: &str, clean: bool, src: u32) -> usize {
        let fd = sys::connect(self.port, src, true).expect("connect");
        let i = self.cs.len();
        self.ep.add(fd, i as u64, false);
        let mut c = Conn {
            fd,
            ..Default::default()
        };
        mqtt::connect(&mut c.wb, id, clean, 600, self.v5);
        self.cs.push(c);
        self.flush(i);
        i
    }
    fn mark(&mut self, i: usize) {
        if !self.cs[i].dirty {
            self.cs[i].dirty = true;
            self.dirty.push(i);
        }
    }
    fn flush(&mut self, i: usize) {
        let c = &mut self.cs[i];
        while c.wo < c.wb.len() && !c.closed {
            match sys::write(c.fd, &c.wb[c.wo..]) {
                Io::N(n) => c.wo += n,
                Io::Block => break,
                Io::Closed => c.closed = true,
            }
        }
        if c.wo >= c.wb.len() || c.closed {
            c.wb.clear();
            c.wo = 0;
        }
        let want = !c.wb.is_empty();
        if want != c.out {
            c.out = want;
            self.ep.modify(c.fd, i as u64, want);
        }
    }
    /// Fills publisher `i` up to its window (closed loop).
    fn pump(&mut self, i: usize) {
        if self.paused || self.rate {
            return;
        }
        loop {
            let c = &self.cs[i];
            if c.unacked >= self.window
                || c.outstanding >= self.window as i64 * self.fan
                || c.wb.len() - c.wo > 128 << 10
            {
                return;
            }
            self.publish(i, self.now);
        }
    }
    fn publish(&mut self, i: usize, time: u64) {
        let c = &mut self.cs[i];
        c.pid = if c.pid == u16::MAX { 1 } else { c.pid + 1 };
        c.seq += 1;
        let mut fan = self.fan;
        let qos;
        if let Some(t) = &mut self.topics {
            t.rng ^= t.rng << 13;
            t.rng ^= t.rng >> 7;
            t.rng ^= t.rng << 17;
            let k = t.rng % t.n;
            fan = Topics::fanout(k);
            qos = t.qos;
            Template::new(
                Topics::name(k).as_bytes(),
                qos,
                false,
                t.size,
                c.pidx,
                self.v5,
            )
            .put(&mut c.wb, c.pid, time, c.seq);
        } else {
            self.tmpls[c.tmpl].put(&mut c.wb, c.pid, time, c.seq);
            qos = self.tmpls[c.tmpl].qos();
        }
        if qos > 0 {
            c.unacked += 1;
        }
        c.outstanding += fan;
        self.sent += 1;
        self.expected += fan as u64;
        self.mark(i);
    }
    fn packet(&mut self, i: usize, h: u8, body: &[u8]) {
        match h >> 4 {
            3 => {
                let p = mqtt::parse_publish(h, body, self.v5);
                if p.qos == 1 {
                    mqtt::ack(&mut self.cs[i].wb, 0x40, p.pid);
                    self.mark(i);
                } else if p.qos == 2 {
                    mqtt::ack(&mut self.cs[i].wb, 0x50, p.pid);
                    self.mark(i);
                }
                self.delivered += 1;
                if self.record && p.time > 0 {
                    self.hist.add(self.now.saturating_sub(p.time));
                }
                if (p.publisher as usize) < self.pubs.len() {
                    let pc = self.pubs[p.publisher as usize];
                    self.cs[pc].outstanding -= 1;
                    self.mark(pc);
                    if !self.last.is_empty() {
                        let l = &mut self.last[i * self.npub + p.publisher as usize];
                        if p.seq != *l + 1 {
                            self.disorder += 1;
                        }
                        *l = p.seq;
                    }
                }
            }
            4 | 7 => {
                let c = &mut self.cs[i];
                c.unacked = c.unacked.saturating_sub(1);
                self.acked += 1;
                self.mark(i);
            }
            5 => {
                mqtt::ack(
                    &mut self.cs[i].wb,
                    0x62,
                    u16::from_be_bytes([body[0], body[1]]),
                );
                self.mark(i);
            }
            6 => {
                mqtt::ack(
                    &mut self.cs[i].wb,
                    0x70,
                    u16::from_be_bytes([body[0], body[1]]),
                );
                self.mark(i);
            }
            2 => {
                self.cs[i].acks += 1;
                if body[1] != 0 {
                    self.refused += 1;
                }
            }
            9 => self.cs[i].acks += 1,
            13 => {}
            14 => self.cs[i].closed = true,
            k => panic!("unexpected packet {k}"),
        }
    }
    /// One turn of the loop: wait, read, answer, refill, write once per connection.
    fn turn(&mut self, timeout_ns: u64) {
        let n = self.ep.wait(timeout_ns);
        self.now = now_ns();
        for e in 0..n {
            let (i, evs) = (self.ep.evs[e].u64 as usize, self.ep.evs[e].events);
            if evs & libc::EPOLLOUT as u32 != 0 {
                self.mark(i);
            }
            if evs & !(libc::EPOLLOUT as u32) == 0 || self.cs[i].closed {
                continue;
            }
            let mut buf = std::mem::take(&mut self.buf);
            match sys::read(self.cs[i].fd, &mut buf) {
                Io::N(n) => {
                    let joined;
                    let data: &[u8] = if self.cs[i].rb.is_empty() {
                        &buf[..n]
                    } else {
                        let mut v = std::mem::take(&mut self.cs[i].rb);
                        v.extend_from_slice(&buf[..n]);
                        joined = v;
                        &joined
                    };
                    let mut o = 0;
                    while let Some((h, t)) = mqtt::frame(&data[o..]) {
                        self.packet(i, data[o], &data[o + h..o + t]);
                        o += t;
                    }
                    if o < data.len() {
                        self.cs[i].rb = data[o..].to_vec();
                    }
                }
                Io::Block => {}
                Io::Closed => {
                    self.cs[i].closed = true;
                    self.ep.modify(self.cs[i].fd, i as u64, false);
                    sys::close(self.cs[i].fd);
                }
            }
            self.buf = buf;
        }
        self.flush_dirty();
    }
    fn flush_dirty(&mut self) {
        let mut d = std::mem::take(&mut self.dirty);
        for &i in &d {
            self.cs[i].dirty = false;
            if self.cs[i].publisher {
                self.pump(i);
                self.cs[i].dirty = false;
            }
            self.flush(i);
        }
        d.clear();
        // pump() marks again what it filled and what was flushed right here
        std::mem::swap(&mut self.dirty, &mut d);
        for i in d {
            if self.cs[i].dirty {
                self.dirty.push(i);
            }
        }
    }
    fn until(&mut self, what: &str, secs: f64, f: impl Fn(&Gen) -> bool) -> bool {
        let end = now_ns() + (secs * 1e9) as u64;
        while !f(self) {
            self.turn(20_000_000);
            if now_ns() > end {
                if !what.is_empty() {
                    eprintln!("timeout: {what}");
                }
                return false;
            }
        }
        true
    }
    fn ready(&mut self, from: usize, acks: u32) {
        self.until("connack/suback", 30., |g| {
            g.cs[from..].iter().all(|c| c.acks >= acks || c.closed)
        });
    }
    fn sub(&mut self, i: usize, topics: &[String], qos: u8) {
        let mut b = vec![];
        mqtt::subscribe(&mut b, 1, topics, qos, self.v5);
        self.cs[i].wb.extend_from_slice(&b);
        self.flush(i);
    }
    fn add_pub(&mut self, i: usize, topic: &str, qos: u8, retain: bool, size: usize) {
        let pidx = self.pubs.len() as u32;
        self.tmpls.push(Template::new(
            topic.as_bytes(),
            qos,
            retain,
            size,
            pidx,
            self.v5,
        ));
        let t = self.tmpls.len() - 1;
        let c = &mut self.cs[i];
        c.publisher = true;
        c.pidx = pidx;
        c.tmpl = t;
        self.pubs.push(i);
    }
    fn start(&mut self) {
        self.paused = false;
        self.now = now_ns();
        for k in 0..self.pubs.len() {
            let i = self.pubs[k];
            self.pump(i);
            self.flush(i);
        }
    }
    fn close_all(&mut self) {
        for c in &mut self.cs {
            if !c.closed {
                sys::write(c.fd, &[0xe0, 0]);
                sys::close(c.fd);
                c.closed = true;
            }
        }
    }
}

struct J(String);
impl J {
    fn new(o: &Opt, sc: &str) -> J {
        let mut j = J("{".into());
        j.t("scenario", sc);
        j.t("name", &o.s("name", ""));
        j
    }
    fn t(&mut self, k: &str, v: &str) {
        if self.0.len() > 1 {
            self.0.push(',')
        }
        self.0 += &format!("\"{k}\":\"{v}\"");
    }
    fn n(&mut self, k: &str, v: f64) {
        let s = format!("{v:.3}");
        self.0 += &format!(",\"{k}\":{}", s.trim_end_matches('0').trim_end_matches('.'));
    }
    fn cost(&mut self, a: &Proc, b: &Proc, msgs: f64, secs: f64) {
        let m = (msgs / 1e6).max(1e-9);
        self.n("cpu_s_per_M", (b.cpu() - a.cpu()) / m);
        self.n("user_s_per_M", (b.user - a.user) / m);
        self.n("sys_s_per_M", (b.sys - a.sys) / m);
        self.n("cpu_util", (b.cpu() - a.cpu()) / secs);
        self.n(
            "ctxt_per_msg",
            (b.ctxt.saturating_sub(a.ctxt)) as f64 / msgs.max(1.),
        );
        self.n("rss_mb", b.rss_kb as f64 / 1024.);
        self.n("peak_rss_mb", b.hwm_kb as f64 / 1024.);
        self.n("threads", b.threads as f64);
    }
    fn done(self) {
        println!("{}}}", self.0);
    }
}

fn flow(o: &Opt, sc: &str) {
    let mut g = Gen::new(o);
    let pid = o.n("pid", 0) as u32;
    let (qos, size) = (o.n("qos", 0) as u8, o.n("size", 64) as usize);
    let secs = o.f("secs", 3.).min(60.);
    let topo = if sc == "rate" {
        o.s("topo", "pairs")
    } else {
        sc.into()
    };
    let (np, ns) = match topo.as_str() {
        "fanin" => (o.n("pubs", 50), 1),
        "fanout" => (1, o.n("subs", 100)),
        "pairs" => (o.n("pairs", 50), o.n("pairs", 50)),
        "topics" => (o.n("pubs", 10), o.n("subs", 100)),
        t => panic!("topology {t}"),
    };
    let tag = std::process::id();
    let t_set = now_ns();
    for s in 0..ns {
        let i = g.open(&format!("s{tag}-{s}"), true, 0);
        if topo != "topics" {
            let t = match topo.as_str() {
                "pairs" => format!("bench/{tag}/{s}"),
                _ => format!("bench/{tag}/0"),
            };
            g.ready(i, 1);
            g.sub(i, &[t], qos);
        }
    }
    g.ready(0, if topo == "topics" { 1 } else { 2 });
    let mut sub_s = 0.;
    let before_subs = Proc::read(pid);
    let ntop = o.n("subscriptions", 100_000);
    if topo == "topics" {
        let t0 = now_ns();
        let mut per: Vec<Vec<String>> = vec![vec![]; ns as usize];
        for i in 0..ntop {
            let c = if i % 1000 == 999 {
                ns - 1
            } else if i % 10 == 9 {
                ns - 2
            } else {
                i % (ns - 2)
            };
            per[c as usize].push(Topics::filter(i));
        }
        for (c, list) in per.iter().enumerate() {
            for (k, ch) in list.chunks(50).enumerate() {
                let want = 2 + k as u32;
                g.sub(c, ch, qos);
                g.until("suback", 30., |g| g.cs[c].acks >= want || g.cs[c].closed);
            }
        }
        sub_s = (now_ns() - t0) as f64 / 1e9;
        g.topics = Some(Topics {
            n: ntop,
            qos,
            size,
            rng: 0x9E37_79B9_7F4A_7C15,
        });
    }
    let after_subs = Proc::read(pid);
    for p in 0..np {
        let i = g.open(&format!("p{tag}-{p}"), true, 0);
        let t = match topo.as_str() {
            "pairs" => format!("bench/{tag}/{p}"),
            _ => format!("bench/{tag}/0"),
        };
        g.add_pub(i, &t, qos, false, size);
        g.ready(i, 1);
    }
    let set_s = (now_ns() - t_set) as f64 / 1e9;
    g.fan = if topo == "fanout" { ns as i64 } else { 1 };
    g.npub = np as usize;
    if g.topics.is_none() && g.cs.len() * g.npub <= 4 << 20 {
        g.last = vec![0; g.cs.len() * g.npub];
    }
    Proc::reset_peak(pid);
    let rate = o.f("rate", 0.);
    g.rate = sc == "rate";
    let warm = o.f("warm", 0.5);
    g.start();
    let begin = now_ns();
    let (mut t0, mut a, mut d0, mut own0) = (0u64, Proc::default(), 0u64, 0f64);
    let (mut stalled, mut last_d, mut last_t) = (false, 0u64, begin);
    let per = if rate > 0. { 1e9 / rate } else { 0. };
    let mut k = 0u64;
    loop {
        let now = now_ns();
        if t0 == 0 && now - begin >= (warm * 1e9) as u64 {
            a = Proc::read(pid);
            own0 = sys::self_cpu();
            t0 = now_ns();
            d0 = g.delivered;
            g.record = true;
        }
        if t0 > 0 && now.saturating_sub(t0) >= (secs * 1e9) as u64 {
            break;
        }
        if g.rate {
            // open loop: the stamp is the time the message was due, so a late send counts as latency
            let due = begin + (k as f64 * per) as u64;
            let mut wait = due.saturating_sub(now);
            if wait == 0 {
                let mut burst = 0;
                loop {
                    let d = begin + (k as f64 * per) as u64;
                    if d > now || burst >= 2000 {
                        break;
                    }
                    let i = g.pubs[(k as usize) % g.pubs.len()];
                    if g.cs[i].unacked < 60_000 && !g.cs[i].closed {
                        g.publish(i, d);
                    }
                    k += 1;
                    burst += 1;
                }
                g.flush_dirty();
                wait = 0;
            }
            g.turn(wait.min(50_000_000));
        } else {
            g.turn(50_000_000);
        }
        if g.delivered != last_d {
            last_d = g.delivered;
            last_t = now;
        } else if now.saturating_sub(last_t) > 2_000_000_000 {
            stalled = true;
            break;
        }
    }
    let t1 = now_ns();
    let b = Proc::read(pid);
    let own1 = sys::self_cpu();
    let d1 = g.delivered;
    g.record = false;
    g.paused = true;
    g.rate = true;
    let exp = g.expected;
    g.until("", 5., |g| g.delivered >= exp);
    let mut el = (t1 - t0) as f64 / 1e9;
    if t0 == 0 {
        el = f64::NAN
    }
    if stalled {
        el -= 2.
    }
    let msgs = (d1 - d0) as f64;
    let mut j = J::new(o, sc);
    j.t("topo", &topo);
    j.n("pubs", np as f64);
    j.n("subs", ns as f64);
    j.n("qos", qos as f64);
    j.n("size", size as f64);
    j.n("window", g.window as f64);
    if rate > 0. {
        j.n("rate", rate);
    }
    j.n("msgs_s", msgs / el);
    j.n("sent", g.sent as f64);
    j.n("expected", exp as f64);
    j.n("lost", exp as f64 - g.delivered as f64);
    j.n("disorder", g.disorder as f64);
    j.n("stalled", stalled as u8 as f64);
    j.n("closed", g.cs.iter().filter(|c| c.closed).count() as f64);
    j.n("p50_us", g.hist.us(0.5));
    j.n("p99_us", g.hist.us(0.99));
    j.n("p999_us", g.hist.us(0.999));
    j.n("max_us", g.hist.max as f64 / 1000.);
    j.cost(&a, &b, msgs, el);
    j.n("gen_cpu_s_per_M", (own1 - own0) / (msgs / 1e6).max(1e-9));
    j.n("setup_s", set_s);
    if topo == "topics" {
        j.n("subscribe_s", sub_s);
        j.n(
            "bytes_per_subscription",
            (after_subs.rss_kb as f64 - before_subs.rss_kb as f64) * 1024. / ntop as f64,
        );
    }
    g.close_all();
    j.done();
}

fn idle(o: &Opt) {
    let mut g = Gen::new(o);
    let pid = o.n("pid", 0) as u32;
    let n = o.n("conns", 10_000);
    let a = Proc::read(pid);
    let t0 = now_ns();
    for i in 0..n {
        let c = g.open(&format!("idle{i}"), true, 2 + (i / 20_000) as u32);
        if i % 64 == 63 || i + 1 == n {
            let from = c.saturating_sub(63);
            g.ready(from, 1);
            if o.n("sub", 1) == 1 {
                for k in from..=c {
                    g.sub(k, &[format!("idle/{k}/cmd")], 1);
                }
                g.ready(from, 2);
            }
        }
    }
    let el = (now_ns() - t0) as f64 / 1e9;
    std::thread::sleep(std::time::Duration::from_millis(1000));
    let b = Proc::read(pid);
    let hold = o.f("secs", 3.);
    g.until("", hold, |_| false);
    let c = Proc::read(pid);
    let live = g.cs.iter().filter(|c| !c.closed).count();
    let mut j = J::new(o, "idle");
    j.n("conns", n as f64);
    j.n("live", live as f64);
    j.n("connects_s", n as f64 / el);
    j.n("connect_cpu_us", (b.cpu() - a.cpu()) * 1e6 / n as f64);
    j.n("rss_before_mb", a.rss_kb as f64 / 1024.);
    j.n("rss_after_mb", b.rss_kb as f64 / 1024.);
    j.n(
        "bytes_per_conn",
        (b.rss_kb as f64 - a.rss_kb as f64) * 1024. / n as f64,
    );
    j.n("idle_cpu_util", (c.cpu() - b.cpu()) / hold);
    g.close_all();
    j.done();
}

fn offline(o: &Opt) {
    let pid = o.n("pid", 0) as u32;
    let m = o.n("count", 100_000);
    let (qos, size) = (o.n("qos", 1) as u8, o.n("size", 64) as usize);
    let (cid, topic) = (
        format!("off{}", std::process::id()),
        format!("off/{}", std::process::id()),
    );
    let mut g = Gen::new(o);
    let s = g.open(&cid, false, 0);
    g.ready(0, 1);
    g.sub(s, &[topic.clone()], qos);
    g.ready(0, 2);
    g.close_all();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let a = Proc::read(pid);
    Proc::reset_peak(pid);
    let p = g.open("offpub", true, 0);
    g.add_pub(p, &topic, qos, false, size);
    g.ready(p, 1);
    // queueing: QoS >= 1 acknowledgements are the clock, nothing is delivered
    g.fan = 0;
    let t0 = now_ns();
    g.rate = true;
    g.paused = true;
    let (mut last, mut last_t) = (0, t0);
    while g.acked < m {
        while g.sent < m && g.cs[p].unacked < g.window {
            let now = g.now;
            g.publish(p, now);
        }
        g.flush_dirty();
        g.turn(20_000_000);
        if g.acked != last {
            last = g.acked;
            last_t = now_ns();
        }
        if now_ns() - last_t > 5_000_000_000 || g.cs[p].closed {
            break;
        }
    }
    let qs = (now_ns() - t0) as f64 / 1e9;
    let b = Proc::read(pid);
    let acked = g.acked;
    g.pubs.clear();
    let t1 = now_ns();
    let s = g.open(&cid, false, 0);
    g.ready(s, 1);
    let want = acked;
    let (mut last, mut last_t, mut end) = (0, t1, t1);
    while g.delivered < want {
        g.turn(20_000_000);
        if g.delivered != last {
            last = g.delivered;
            last_t = now_ns();
            end = last_t;
        }
        if now_ns() - last_t > 5_000_000_000 || g.cs[s].closed {
            break;
        }
    }
    g.until("", 0.3, |_| false);
    let ds = (end - t1) as f64 / 1e9;
    let c = Proc::read(pid);
    g.close_all();
    let mut z = Gen::new(o);
    z.open(&cid, true, 0);
    z.ready(0, 1);
    z.close_all();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let e = Proc::read(pid);
    let mut j = J::new(o, "offline");
    j.n("qos", qos as f64);
    j.n("size", size as f64);
    j.n("count", m as f64);
    j.n("acked", acked as f64);
    j.n("queue_msgs_s", acked as f64 / qs);
    j.n(
        "queue_cpu_s_per_M",
        (b.cpu() - a.cpu()) / (acked as f64 / 1e6),
    );
    j.n(
        "bytes_per_queued",
        (b.rss_kb as f64 - a.rss_kb as f64) * 1024. / acked.max(1) as f64,
    );
    j.n(
        "written_per_queued",
        (b.written - a.written) as f64 / acked.max(1) as f64,
    );
    j.n("drained", g.delivered as f64);
    j.n("lost", acked as f64 - g.delivered as f64);
    j.n("drain_msgs_s", g.delivered as f64 / ds);
    j.n(
        "drain_cpu_s_per_M",
        (c.cpu() - b.cpu()) / (g.delivered.max(1) as f64 / 1e6),
    );
    j.n("peak_rss_mb", c.hwm_kb as f64 / 1024.);
    j.n("rss_end_mb", e.rss_kb as f64 / 1024.);
    j.done();
}

fn storm(o: &Opt) {
    let pid = o.n("pid", 0) as u32;
    let mut g = Gen::new(o);
    let conc = o.n("conc", 50) as usize;
    let secs = o.f("secs", 3.).min(60.);
    let a = Proc::read(pid);
    let t0 = now_ns();
    let end = t0 + (secs * 1e9) as u64;
    let mut hist = Hist::new();
    let (mut live, mut done, mut failed, mut k) = (0usize, 0u64, 0u64, 0u64);
    let mut started: Vec<u64> = vec![];
    let mut open: Vec<usize> = vec![];
    while now_ns() < end || live > 0 {
        while live < conc && now_ns() < end {
            k += 1;
            let i = g.cs.len();
            let Ok(fd) = sys::connect(g.port, 2 + (k % 200) as u32, false) else {
                failed += 1;
                continue;
            };
            let mut c = Conn {
                fd,
                ..Default::default()
            };
            mqtt::connect(&mut c.wb, &format!("st{k}"), true, 60, g.v5);
            c.out = true;
            g.cs.push(c);
            g.ep.add(fd, i as u64, true);
            started.push(now_ns());
            open.push(i);
            live += 1;
        }
        g.turn(5_000_000);
        let now = now_ns();
        open.retain(|&i| {
            let c = &mut g.cs[i];
            if c.acks > 0 && !c.closed {
                sys::write(c.fd, &[0xe0, 0]);
                sys::close(c.fd);
                c.closed = true;
                done += 1;
                hist.add(now - started[i]);
                c.rb = vec![];
                c.wb = vec![];
            } else if c.closed {
                failed += 1;
            } else if now > end + 2_000_000_000 {
                sys::close(c.fd);
                c.closed = true;
                failed += 1;
            } else {
                return true;
            }
            live -= 1;
            false
        });
    }
    let el = (now_ns() - t0) as f64 / 1e9;
    let b = Proc::read(pid);
    let mut j = J::new(o, "storm");
    j.n("conc", conc as f64);
    j.n("conns_s", done as f64 / el);
    j.n("failed", failed as f64);
    j.n("p50_us", hist.us(0.5));
    j.n("p99_us", hist.us(0.99));
    j.cost(&a, &b, done as f64, el);
    j.done();
}

fn retained(o: &Opt) {
    let pid = o.n("pid", 0) as u32;
    let n = o.n("count", 100_000);
    let size = o.n("size", 64) as usize;
    let mut g = Gen::new(o);
    let a = Proc::read(pid);
    let p = g.open("retpub", true, 0);
    g.ready(p, 1);
    let t0 = now_ns();
    let (mut sent, mut last, mut last_t) = (0u64, 0, t0);
    while g.acked < n {
        g.turn(if sent - g.acked < g.window && sent < n {
            0
        } else {
            20_000_000
        });
        while sent < n && sent - g.acked < g.window {
            let c = &mut g.cs[p];
            let t = Template::new(Topics::name(sent).as_bytes(), 1, true, size, u32::MAX, g.v5);
            t.put(&mut c.wb, (sent % 65535 + 1) as u16, 0, 0);
            sent += 1;
        }
        g.flush(p);
        if g.acked != last {
            last = g.acked;
            last_t = now_ns();
        }
        if now_ns() - last_t > 5_000_000_000 || g.cs[p].closed {
            break;
        }
    }
    let store_s = (now_ns() - t0) as f64 / 1e9;
    let stored = g.acked;
    let b = Proc::read(pid);
    let s = g.open("retsub", true, 0);
    g.ready(s, 1);
    Proc::reset_peak(pid);
    let t1 = now_ns();
    g.sub(s, &["#".into()], 0);
    let (mut last, mut last_t, mut end, mut first) = (0, t1, t1, 0);
    while g.delivered < n {
        g.turn(20_000_000);
        if g.delivered != last {
            last = g.delivered;
            last_t = now_ns();
            end = last_t;
            if first == 0 {
                first = end - t1;
            }
        }
        if now_ns() - last_t > 4_000_000_000 || g.cs[s].closed {
            break;
        }
    }
    let c = Proc::read(pid);
    let mut j = J::new(o, "retained");
    j.n("count", n as f64);
    j.n("size", size as f64);
    j.n("stored", stored as f64);
    j.n("store_msgs_s", stored as f64 / store_s);
    j.n(
        "store_cpu_s_per_M",
        (b.cpu() - a.cpu()) / (stored.max(1) as f64 / 1e6),
    );
    j.n(
        "bytes_per_retained",
        (b.rss_kb as f64 - a.rss_kb as f64) * 1024. / stored.max(1) as f64,
    );
    j.n("received", g.delivered as f64);
    j.n("first_ms", first as f64 / 1e6);
    j.n("all_ms", (end - t1) as f64 / 1e6);
    j.n(
        "replay_cpu_s_per_M",
        (c.cpu() - b.cpu()) / (g.delivered.max(1) as f64 / 1e6),
    );
    j.n("peak_rss_mb", c.hwm_kb as f64 / 1024.);
    g.close_all();
    j.done();
}

fn main() {
    sys::raise_nofile();
    let mut args = std::env::args().skip(1);
    let sc = args.next().unwrap_or_default();
    let mut o = Opt { m: HashMap::new() };
    while let Some(k) = args.next() {
        let v = args.next().unwrap_or_else(|| panic!("{k} needs a value"));
        o.m.insert(k.trim_start_matches('-').into(), v);
    }
    match sc.as_str() {
        "fanin" | "fanout" | "pairs" | "rate" | "topics" => flow(&o, &sc),
        "idle" => idle(&o),
        "offline" => offline(&o),
        "storm" => storm(&o),
        "retained" => retained(&o),
        "relay" => relay::main(o.n("port", 1890) as u16),
        "fill" => outage::fill(&o),
        "sink" => outage::sink(&o),
        "disk" => disk::main(&o.s("dir", "."), o.f("secs", 2.)),
        _ => {
            eprintln!("loadgen fanin|fanout|pairs|rate|topics|idle|offline|storm|retained|relay|fill|sink|disk [--key value]...; see README.md");
            std::process::exit(2);
        }
    }
}
