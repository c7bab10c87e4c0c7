//! Asks the kernel to switch the driver of an RS-485 line on for each frame and off behind it (`TIOCSRS485`,
//! Linux: Documentation/driver-api/serial/serial-rs485.rst). Not every port can.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use super::wire_options::Rs485Options;

const ENABLED: u32 = 1;
/// RTS drives the line while something is sent.
const RTS_ON_SEND: u32 = 1 << 1;

/// The kernel's `struct serial_rs485`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SerialRs485 {
    flags: u32,
    /// In milliseconds.
    delay_rts_before_send: u32,
    /// In milliseconds.
    delay_rts_after_send: u32,
    padding: [u32; 5],
}

impl SerialRs485 {
    fn new(options: &Rs485Options) -> Self {
        let milliseconds = |delay: Duration| u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
        Self {
            flags: ENABLED | RTS_ON_SEND,
            delay_rts_before_send: milliseconds(options.delay_before_send),
            delay_rts_after_send: milliseconds(options.delay_after_send),
            padding: [0; 5],
        }
    }
}

/// # Errors
/// The kernel's: `ENOTTY` where the port cannot.
pub(super) fn enable(port: &impl AsRawFd, options: &Rs485Options) -> io::Result<()> {
    set(port.as_raw_fd(), &SerialRs485::new(options))
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // no crate wraps it
fn set(port: RawFd, value: &SerialRs485) -> io::Result<()> {
    // SAFETY: the kernel reads one `struct serial_rs485` and keeps no pointer to it.
    let result = unsafe { libc::ioctl(port, libc::TIOCSRS485, std::ptr::from_ref(value)) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(not(target_os = "linux"))]
fn set(_port: RawFd, _value: &SerialRs485) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_told_flags_and_milliseconds() {
        let told = SerialRs485::new(&Rs485Options {
            delay_before_send: Duration::from_millis(1),
            delay_after_send: Duration::from_millis(20),
        });
        assert_eq!(
            told,
            SerialRs485 {
                flags: 3,
                delay_rts_before_send: 1,
                delay_rts_after_send: 20,
                padding: [0; 5],
            }
        );
        assert_eq!(size_of::<SerialRs485>(), 32);
    }

    /// A pipe is no terminal, a pseudo terminal has no driver: both say so.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_port_that_cannot_says_so() {
        let (ours, _theirs) = tokio_serial::SerialStream::pair().unwrap();
        let error = enable(&ours, &Rs485Options::default()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    }
}
