//! Hand-encoded MQTT 3.1.1 / 5 packets, only what a load generator needs.

pub fn varlen(out: &mut Vec<u8>, mut n: usize) {
    loop {
        let b = (n & 127) as u8;
        n >>= 7;
        out.push(if n > 0 { b | 128 } else { b });
        if n == 0 {
            return;
        }
    }
}
fn str16(out: &mut Vec<u8>, s: &[u8]) {
    out.extend_from_slice(&(s.len() as u16).to_be_bytes());
    out.extend_from_slice(s);
}

pub fn connect(out: &mut Vec<u8>, id: &str, clean: bool, keepalive: u16, v5: bool) {
    let mut b = Vec::with_capacity(64);
    str16(&mut b, b"MQTT");
    b.push(if v5 { 5 } else { 4 });
    b.push(if clean { 2 } else { 0 });
    b.extend_from_slice(&keepalive.to_be_bytes());
    if v5 {
        if clean {
            b.push(0);
        } else {
            b.extend_from_slice(&[5, 0x11, 0, 0, 0x0e, 0x10]); // session expiry 3600 s
        }
    }
    str16(&mut b, id.as_bytes());
    out.push(0x10);
    varlen(out, b.len());
    out.extend_from_slice(&b);
}

pub fn subscribe(out: &mut Vec<u8>, pid: u16, topics: &[String], qos: u8, v5: bool) {
    let mut b = Vec::new();
    b.extend_from_slice(&pid.to_be_bytes());
    if v5 {
        b.push(0);
    }
    for t in topics {
        str16(&mut b, t.as_bytes());
        b.push(qos);
    }
    out.push(0x82);
    varlen(out, b.len());
    out.extend_from_slice(&b);
}

/// The part of a PUBLISH that stays the same from one message to the next.
pub struct Template {
    bytes: Vec<u8>,
    pid_at: usize,
    pay_at: usize,
}

pub const STAMP: usize = 16; // u64 time, u32 publisher, u32 sequence

impl Template {
    pub fn new(topic: &[u8], qos: u8, retain: bool, size: usize, publisher: u32, v5: bool) -> Self {
        let size = size.max(STAMP);
        let mut o = Vec::new();
        o.push(0x30 | (qos << 1) | retain as u8);
        let l = 2 + topic.len() + if qos > 0 { 2 } else { 0 } + v5 as usize + size;
        varlen(&mut o, l);
        str16(&mut o, topic);
        let pid_at = if qos > 0 { o.len() } else { 0 };
        if qos > 0 {
            o.extend_from_slice(&[0, 0]);
        }
        if v5 {
            o.push(0);
        }
        let pay_at = o.len();
        o.resize(pay_at + size, b'x');
        o[pay_at + 8..pay_at + 12].copy_from_slice(&publisher.to_le_bytes());
        Template {
            bytes: o,
            pid_at,
            pay_at,
        }
    }
    pub fn qos(&self) -> u8 {
        (self.bytes[0] >> 1) & 3
    }
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>, pid: u16, time: u64, seq: u32) {
        let s = out.len();
        out.extend_from_slice(&self.bytes);
        if self.pid_at > 0 {
            out[s + self.pid_at..s + self.pid_at + 2].copy_from_slice(&pid.to_be_bytes());
        }
        let p = s + self.pay_at;
        out[p..p + 8].copy_from_slice(&time.to_le_bytes());
        out[p + 12..p + 16].copy_from_slice(&seq.to_le_bytes());
    }
}

#[inline]
pub fn ack(out: &mut Vec<u8>, kind: u8, pid: u16) {
    let p = pid.to_be_bytes();
    out.extend_from_slice(&[kind, 2, p[0], p[1]]);
}

/// Length of the first whole packet in `b` as (header length, total length), if it is all there.
#[inline]
pub fn frame(b: &[u8]) -> Option<(usize, usize)> {
    let mut l = 0usize;
    for i in 0..4 {
        let c = *b.get(1 + i)?;
        l |= ((c & 127) as usize) << (7 * i);
        if c < 128 {
            let t = 2 + i + l;
            return if b.len() >= t { Some((2 + i, t)) } else { None };
        }
    }
    panic!("bad remaining length")
}

pub struct Publish {
    pub qos: u8,
    pub pid: u16,
    pub time: u64,
    pub publisher: u32,
    pub seq: u32,
}

#[inline]
pub fn parse_publish(h: u8, body: &[u8], v5: bool) -> Publish {
    let qos = (h >> 1) & 3;
    let mut o = 2 + u16::from_be_bytes([body[0], body[1]]) as usize;
    let mut pid = 0;
    if qos > 0 {
        pid = u16::from_be_bytes([body[o], body[o + 1]]);
        o += 2;
    }
    if v5 {
        // properties are short here; one or two length bytes at most
        let mut l = body[o] as usize;
        o += 1;
        if l > 127 {
            l = (l & 127) | (body[o] as usize) << 7;
            o += 1;
        }
        o += l;
    }
    let p = &body[o..];
    if p.len() < STAMP {
        return Publish {
            qos,
            pid,
            time: 0,
            publisher: u32::MAX,
            seq: 0,
        };
    }
    Publish {
        qos,
        pid,
        time: u64::from_le_bytes(p[0..8].try_into().unwrap()),
        publisher: u32::from_le_bytes(p[8..12].try_into().unwrap()),
        seq: u32::from_le_bytes(p[12..16].try_into().unwrap()),
    }
}
