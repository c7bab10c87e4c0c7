//! Thin wrappers over epoll, sockets and /proc. Loopback (127.0.0.0/8) only.
use std::fs;
use std::io;
use std::os::raw::{c_int, c_void};

pub fn now_ns() -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

pub struct Epoll {
    fd: c_int,
    pub evs: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new() -> Self {
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0);
        Epoll {
            fd,
            evs: vec![libc::epoll_event { events: 0, u64: 0 }; 1024],
        }
    }
    fn ctl(&self, op: c_int, fd: c_int, id: u64, out: bool) {
        let mut e = libc::epoll_event {
            events: (libc::EPOLLIN | if out { libc::EPOLLOUT } else { 0 }) as u32,
            u64: id,
        };
        unsafe { libc::epoll_ctl(self.fd, op, fd, &mut e) };
    }
    pub fn add(&self, fd: c_int, id: u64, out: bool) {
        self.ctl(libc::EPOLL_CTL_ADD, fd, id, out)
    }
    pub fn modify(&self, fd: c_int, id: u64, out: bool) {
        self.ctl(libc::EPOLL_CTL_MOD, fd, id, out)
    }
    /// Nanosecond timeout through epoll_pwait2, so that a rate run does not spin.
    pub fn wait(&mut self, timeout_ns: u64) -> usize {
        let ts = libc::timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as i64,
            tv_nsec: (timeout_ns % 1_000_000_000) as i64,
        };
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd,
                self.evs.as_mut_ptr(),
                self.evs.len() as c_int,
                &ts as *const libc::timespec,
                std::ptr::null::<c_void>(),
                0usize,
            )
        };
        n.max(0) as usize
    }
}

fn sockaddr(ip: u32, port: u16) -> libc::sockaddr_in {
    assert_eq!(ip >> 24, 127, "loopback only");
    let mut a: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    a.sin_family = libc::AF_INET as u16;
    a.sin_port = port.to_be();
    a.sin_addr.s_addr = ip.to_be();
    a
}

fn setopt(fd: c_int, level: c_int, opt: c_int, v: c_int) {
    unsafe { libc::setsockopt(fd, level, opt, &v as *const c_int as *const c_void, 4) };
}

pub fn nonblock(fd: c_int) {
    unsafe {
        let f = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, f | libc::O_NONBLOCK);
    }
}

/// `src`: which 127.0.x.y source address to bind (0 = leave to the kernel).
pub fn connect(port: u16, src: u32, blocking: bool) -> io::Result<c_int> {
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        setopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        if src != 0 {
            setopt(
                fd,
                libc::IPPROTO_IP,
                24, /* IP_BIND_ADDRESS_NO_PORT */
                1,
            );
            let a = sockaddr(0x7f00_0000 | (src & 0x00ff_ffff), 0);
            libc::bind(fd, &a as *const _ as *const libc::sockaddr, 16);
        }
        if !blocking {
            nonblock(fd);
        }
        let a = sockaddr(0x7f00_0001, port);
        let r = libc::connect(fd, &a as *const _ as *const libc::sockaddr, 16);
        if r < 0 {
            let e = io::Error::last_os_error();
            if e.raw_os_error() != Some(libc::EINPROGRESS) {
                libc::close(fd);
                return Err(e);
            }
        }
        if blocking {
            nonblock(fd);
        }
        Ok(fd)
    }
}

pub fn listen(port: u16) -> c_int {
    unsafe {
        let fd = libc::socket(
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            0,
        );
        setopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        let a = sockaddr(0x7f00_0001, port);
        assert_eq!(
            libc::bind(fd, &a as *const _ as *const libc::sockaddr, 16),
            0,
            "bind"
        );
        assert_eq!(libc::listen(fd, 4096), 0);
        fd
    }
}

pub fn accept(l: c_int) -> Option<c_int> {
    let fd = unsafe {
        libc::accept4(
            l,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    };
    if fd < 0 {
        return None;
    }
    setopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    Some(fd)
}

pub enum Io {
    N(usize),
    Block,
    Closed,
}

pub fn read(fd: c_int, buf: &mut [u8]) -> Io {
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr() as *mut c_void, buf.len(), 0) };
    conv(n)
}
pub fn write(fd: c_int, buf: &[u8]) -> Io {
    let n = unsafe {
        libc::send(
            fd,
            buf.as_ptr() as *const c_void,
            buf.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    conv(n)
}
fn conv(n: isize) -> Io {
    if n > 0 {
        return Io::N(n as usize);
    }
    if n < 0 {
        let e = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        if e == libc::EAGAIN || e == libc::EINTR || e == libc::ENOTCONN {
            return Io::Block;
        }
    }
    Io::Closed
}
pub fn close(fd: c_int) {
    unsafe { libc::close(fd) };
}

pub fn raise_nofile() {
    unsafe {
        let mut r: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut r);
        r.rlim_cur = r.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &r);
    }
}

pub fn self_cpu() -> f64 {
    unsafe {
        let mut r: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut r);
        (r.ru_utime.tv_sec + r.ru_stime.tv_sec) as f64
            + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) as f64 / 1e6
    }
}

/// What the kernel says about the broker process.
#[derive(Clone, Copy, Default)]
pub struct Proc {
    pub user: f64,
    pub sys: f64,
    pub rss_kb: u64,
    pub hwm_kb: u64,
    pub ctxt: u64,
    pub threads: u64,
    /// Handed to block devices since the start; 0 where another user runs the broker.
    pub written: u64,
}

impl Proc {
    pub fn read(pid: u32) -> Proc {
        let mut p = Proc::default();
        if pid == 0 {
            return p;
        }
        if let Ok(s) = fs::read_to_string(format!("/proc/{pid}/stat")) {
            let rest = &s[s.rfind(')').unwrap_or(0) + 1..];
            let f: Vec<&str> = rest.split_whitespace().collect();
            let hz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
            p.user = f[11].parse::<f64>().unwrap_or(0.) / hz;
            p.sys = f[12].parse::<f64>().unwrap_or(0.) / hz;
        }
        let val = |l: &str| {
            l.split_whitespace()
                .nth(1)
                .and_then(|x| x.parse().ok())
                .unwrap_or(0u64)
        };
        if let Ok(s) = fs::read_to_string(format!("/proc/{pid}/status")) {
            for l in s.lines() {
                if l.starts_with("VmRSS") {
                    p.rss_kb = val(l)
                } else if l.starts_with("VmHWM") {
                    p.hwm_kb = val(l)
                }
            }
        }
        if let Ok(s) = fs::read_to_string(format!("/proc/{pid}/io")) {
            p.written = s
                .lines()
                .filter(|l| l.starts_with("write_bytes"))
                .map(val)
                .sum();
        }
        if let Ok(d) = fs::read_dir(format!("/proc/{pid}/task")) {
            for t in d.flatten() {
                p.threads += 1;
                if let Ok(s) = fs::read_to_string(t.path().join("status")) {
                    for l in s.lines() {
                        if l.contains("voluntary_ctxt_switches") {
                            p.ctxt += val(l)
                        }
                    }
                }
            }
        }
        p
    }
    pub fn cpu(&self) -> f64 {
        self.user + self.sys
    }
    pub fn reset_peak(pid: u32) {
        if pid != 0 {
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }
}

/// Log-linear histogram, 1/64 relative precision.
pub struct Hist {
    b: Vec<u64>,
    pub n: u64,
    pub max: u64,
}
impl Hist {
    pub fn new() -> Self {
        Hist {
            b: vec![0; 64 * 64],
            n: 0,
            max: 0,
        }
    }
    pub fn add(&mut self, v: u64) {
        let i = if v < 64 {
            v as usize
        } else {
            let e = 63 - v.leading_zeros() as usize; // >= 6
            (e - 5) * 64 + ((v >> (e - 6)) as usize & 63)
        };
        self.b[i.min(64 * 64 - 1)] += 1;
        self.n += 1;
        self.max = self.max.max(v);
    }
    /// Percentile in microseconds.
    pub fn us(&self, q: f64) -> f64 {
        if self.n == 0 {
            return 0.;
        }
        let want = ((self.n as f64) * q).ceil() as u64;
        let mut s = 0;
        for (i, c) in self.b.iter().enumerate() {
            s += c;
            if s >= want {
                let v = if i < 64 {
                    i as u64
                } else {
                    (64 + (i as u64 & 63)) << (i / 64 - 1)
                };
                return v.min(self.max) as f64 / 1000.;
            }
        }
        self.max as f64 / 1000.
    }
}
