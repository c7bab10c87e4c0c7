//! What the driver of a serial port counts of what its receiver could not make a byte of, or lost (`TIOCGICOUNT`, Linux: the
//! counts of `uapi/linux/serial.h`). Frame errors that grow say "wrong speed, or noise" where Modbus sees only silence: such
//! bytes are mostly thrown away below it. Not every driver counts.
//!
//! The driver is asked when somebody looks, and when the port is closed; a reading costs nothing. Its counts begin with the
//! device and go round; here they begin with the wire, which a reload that changes it starts anew, and go on over ports that
//! come and go.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::status::LineErrorCounts;

/// The counts of one port at a time.
#[derive(Debug, Default)]
pub(super) struct LineErrors(Mutex<Counted>);

/// A port is followed until this is dropped, which must be before the port is closed: its number may be another file's then.
#[derive(Debug)]
pub(super) struct Followed(Arc<LineErrors>);

#[derive(Debug, Default)]
struct Counted {
    /// The port that is open, if its driver counts.
    port: Option<RawFd>,
    /// What its driver said last.
    said: SerialIcounter,
    /// `None`: there was no port whose driver counts.
    total: Option<LineErrorCounts>,
}

/// The kernel's `struct serial_icounter_struct`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SerialIcounter {
    /// CTS, DSR, RI, DCD; bytes received and sent.
    lines_and_bytes: [u32; 6],
    frame: u32,
    overrun: u32,
    parity: u32,
    brk: u32,
    /// Not the UART was full but the buffer behind it.
    buffer_overrun: u32,
    reserved: [u32; 9],
}

impl LineErrors {
    /// Counts what goes wrong on `port` from now on.
    pub(super) fn follow(self: &Arc<Self>, port: &impl AsRawFd) -> Followed {
        let port = port.as_raw_fd();
        if let Ok(said) = ask(port) {
            let mut counted = self.lock();
            counted.port = Some(port);
            counted.said = said;
            counted.total.get_or_insert_default();
        }
        Followed(Arc::clone(self))
    }

    /// Since the start of the program; `None` where the driver does not count.
    pub(super) fn counts(&self) -> Option<LineErrorCounts> {
        let mut counted = self.lock();
        counted.look();
        counted.total
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut counted = self.0.lock();
        counted.look();
        counted.port = None;
    }
}

impl Counted {
    /// A port that was unplugged has nothing to say any more.
    fn look(&mut self) {
        if let Some(Ok(said)) = self.port.map(ask) {
            self.take(said);
        }
    }

    fn take(&mut self, said: SerialIcounter) {
        let before = std::mem::replace(&mut self.said, said);
        let more = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
        let total = self.total.get_or_insert_default();
        total.frame += more(said.frame, before.frame);
        total.overrun += more(said.overrun, before.overrun);
        total.overrun += more(said.buffer_overrun, before.buffer_overrun);
        total.parity += more(said.parity, before.parity);
        total.breaks += more(said.brk, before.brk);
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // no crate wraps it
fn ask(port: RawFd) -> io::Result<SerialIcounter> {
    let mut said = SerialIcounter::default();
    // SAFETY: the kernel fills one `struct serial_icounter_struct`, of numbers only, and keeps no pointer to it.
    let result = unsafe { libc::ioctl(port, libc::TIOCGICOUNT, std::ptr::from_mut(&mut said)) };
    if result == 0 {
        Ok(said)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(not(target_os = "linux"))]
fn ask(_port: RawFd) -> io::Result<SerialIcounter> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    fn said(frame: u32, overrun: u32, parity: u32) -> SerialIcounter {
        SerialIcounter {
            frame,
            overrun,
            parity,
            brk: 1,
            buffer_overrun: 10,
            ..SerialIcounter::default()
        }
    }

    /// As `uapi/linux/serial.h` has it: eleven counts of which the first six are of no interest here, and nine for later.
    #[test]
    fn the_kernels_counts_are_where_they_are_looked_for() {
        assert_eq!(size_of::<SerialIcounter>(), 80);
        assert_eq!(offset_of!(SerialIcounter, frame), 24);
        assert_eq!(offset_of!(SerialIcounter, overrun), 28);
        assert_eq!(offset_of!(SerialIcounter, parity), 32);
        assert_eq!(offset_of!(SerialIcounter, brk), 36);
        assert_eq!(offset_of!(SerialIcounter, buffer_overrun), 40);
    }

    #[test]
    fn what_the_driver_counted_before_is_not_ours_and_its_counts_may_go_round() {
        let mut counted = Counted {
            said: said(u32::MAX - 1, 7, 100),
            total: Some(LineErrorCounts::default()),
            ..Counted::default()
        };
        counted.take(said(3, 9, 100));
        let once = LineErrorCounts {
            frame: 5,
            overrun: 2,
            ..LineErrorCounts::default()
        };
        assert_eq!(counted.total, Some(once));
        counted.take(SerialIcounter {
            brk: 2,
            buffer_overrun: 11,
            ..said(3, 9, 101)
        });
        let twice = LineErrorCounts {
            overrun: 3,
            parity: 1,
            breaks: 1,
            ..once
        };
        assert_eq!(counted.total, Some(twice));
    }

    /// A pseudo terminal has no driver: there is no UART here that could be asked.
    #[tokio::test]
    async fn of_a_port_that_does_not_count_nothing_is_told() {
        let errors = Arc::new(LineErrors::default());
        assert_eq!(errors.counts(), None, "no port yet");
        let (ours, _theirs) = tokio_serial::SerialStream::pair().unwrap();
        let followed = errors.follow(&ours);
        assert_eq!(errors.counts(), None);
        drop(followed);
        assert_eq!(errors.counts(), None);
    }

    #[tokio::test]
    async fn a_port_that_is_gone_is_asked_no_more_and_what_it_counted_stays() {
        let (ours, _theirs) = tokio_serial::SerialStream::pair().unwrap();
        let errors = Arc::new(LineErrors::default());
        let frame_errors = LineErrorCounts {
            frame: 3,
            ..LineErrorCounts::default()
        };
        // As after a driver that counts.
        *errors.lock() = Counted {
            port: Some(ours.as_raw_fd()),
            said: said(3, 0, 0),
            total: Some(frame_errors),
        };
        drop(Followed(Arc::clone(&errors)));
        assert_eq!(errors.lock().port, None);
        assert_eq!(errors.counts(), Some(frame_errors));
    }
}
