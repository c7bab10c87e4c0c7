//! What systemd is told: that the gateway is ready, reloads and stops, how it stands, and that all of it is alive.
//!
//! By datagrams to `$NOTIFY_SOCKET` (sd_notify(3)); where there is none, nothing is told to nobody. `WATCHDOG=1` goes out at half of
//! `$WATCHDOG_USEC`, and only while no part is late (`alive`): else systemd ends the program and starts it anew, which is the last
//! remedy there is. A systemd that reads nothing costs a second for each word.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// To systemd. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Socket>>);

/// systemd's buffer is never full for longer.
const SEND_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Socket {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Where the environment says. A socket that cannot be had is told in the log: systemd would wait for us in vain.
    #[must_use]
    pub fn of_environment() -> Self {
        let Some(path) = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Self::default();
        };
        let value = |name| env::var(name).ok();
        let watchdog = watchdog(value("WATCHDOG_USEC"), value("WATCHDOG_PID"));
        match Socket::open(path.as_bytes(), watchdog) {
            Ok(socket) => Self(Some(Arc::new(socket))),
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "$NOTIFY_SOCKET cannot be used: systemd is told nothing");
                Self::default()
            }
        }
    }

    /// To a socket of a test.
    #[cfg(test)]
    pub(super) fn to(path: &[u8], watchdog: Option<Duration>) -> io::Result<Self> {
        let socket = Socket::open(path, watchdog)?;
        Ok(Self(Some(Arc::new(socket))))
    }

    /// Whether somebody is told.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// How long systemd waits for [`Self::alive`]; `None`: it does not.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    /// All parts run.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The configuration is read again; [`Self::ready`] follows. `now`: since the machine started, as the kernel counts it.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// It was asked to stop.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// What is under way may take so much longer.
    pub fn extend(&self, by: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()));
    }

    /// How it stands, in a line.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// All of it is alive.
    pub fn alive(&self) {
        if self.watchdog().is_some() {
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, text: &str) {
        let Some(socket) = &self.0 else {
            return;
        };
        if let Err(error) = socket.socket.send_to_addr(text.as_bytes(), &socket.address) {
            tracing::debug!(%error, text, "systemd was not told");
        }
    }
}

impl Socket {
    /// A path, or `@` and a name that is in no folder.
    fn open(path: &[u8], watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match path {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_MAX))?;
        Ok(Self {
            socket,
            address,
            watchdog,
        })
    }
}

/// What `$WATCHDOG_USEC` says, where `$WATCHDOG_PID` means this process or nobody in particular.
fn watchdog(usec: Option<String>, pid: Option<String>) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let usec = usec.filter(|_| is_ours)?.parse().ok()?;
    Some(Duration::from_micros(usec)).filter(|period| *period >= Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_that_of_this_process() {
        let of = |usec: &str, pid: Option<u32>| {
            watchdog(Some(usec.to_owned()), pid.map(|pid| pid.to_string()))
        };
        let (own, minute) = (std::process::id(), Some(Duration::from_secs(60)));
        assert_eq!(of("60000000", None), minute);
        assert_eq!(of("60000000", Some(own)), minute);
        assert_eq!(of("60000000", Some(own + 1)), None);
        assert_eq!(
            (of("0", None), of("", None), of("-1", None)),
            (None, None, None)
        );
        assert_eq!(watchdog(None, None), None);
    }

    #[test]
    fn what_is_told_arrives_by_a_path_and_by_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("fieldgate-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (systemd, address) in [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.to_str().unwrap().to_owned(),
            ),
            (
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
                format!("@{name}"),
            ),
        ] {
            let socket = Socket::open(address.as_bytes(), None).unwrap();
            let notifier = Notifier(Some(Arc::new(socket)));
            let told = || {
                let mut text = [0; 256];
                let length = systemd.recv(&mut text).unwrap();
                String::from_utf8(text[..length].to_vec()).unwrap()
            };
            notifier.alive(); // nobody asked for it
            notifier.ready();
            assert_eq!(told(), "READY=1");
            notifier.reloading();
            let reloading = told();
            let usec = reloading
                .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
                .unwrap();
            assert!(usec.parse::<u64>().unwrap() > 0);
            notifier.extend(Duration::from_secs(30));
            assert_eq!(told(), "EXTEND_TIMEOUT_USEC=30000000");
            notifier.status("fine");
            assert_eq!(told(), "STATUS=fine");
        }
    }
}
