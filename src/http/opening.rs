//! The address of the console: tried until it can be had.
//!
//! One that is taken ends nothing and stops nothing: what watches the gateway must not be what keeps it from its work.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::net;
use crate::status::ListenerStatus;

/// Between two attempts.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Connections that the kernel completes and keeps until they are accepted.
const BACKLOG: u32 = 16;

/// The attempts to open one address.
#[derive(Debug)]
pub(super) struct Opening {
    address: SocketAddr,
    report: watch::Sender<ListenerStatus>,
    wait: Duration,
}

impl Opening {
    pub(super) fn new(address: SocketAddr) -> Self {
        let status = ListenerStatus::new("console".to_owned(), &address);
        Self {
            address,
            report: watch::Sender::new(status),
            wait: Duration::ZERO,
        }
    }

    pub(super) fn status(&self) -> watch::Receiver<ListenerStatus> {
        self.report.subscribe()
    }

    /// Tells a fault when it is another than before.
    pub(super) fn attempt(&mut self) -> Option<TcpListener> {
        match net::listen_tcp(self.address, BACKLOG) {
            Ok((listener, address)) => {
                tracing::info!(%address, "the console is up");
                self.report.send_modify(|status| status.opened(&address));
                Some(listener)
            }
            Err(fault) => {
                let error = explained(self.address, &fault);
                let is_new = self.report.send_if_modified(|status| status.failed(&error));
                if is_new {
                    tracing::error!(error, "no console: the gateway runs without; trying on");
                }
                None
            }
        }
    }

    pub(super) async fn until_open(&mut self) -> TcpListener {
        loop {
            self.wait = (self.wait * 2).clamp(AGAIN_MIN, AGAIN_MAX);
            tokio::time::sleep(self.wait).await;
            if let Some(listener) = self.attempt() {
                return listener;
            }
        }
    }
}

/// With what to do.
fn explained(address: SocketAddr, fault: &io::Error) -> String {
    match fault.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is in use; end the program that has it (`ss -ltnp` shows it), or choose another port in `console.bind`"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine has no address {address} at present (`ip address` shows those it has); correct `console.bind`"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("{address} is not ours to open; choose a port from 1024 on in `console.bind`")
        }
        _ => format!("cannot listen on {address}: {fault}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_taken_is_told_once_and_tried_until_it_is_free() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut opening = Opening::new(taken.local_addr().unwrap());
        let mut status = opening.status();
        assert!(opening.attempt().is_none());
        let error = status.borrow_and_update().error.clone().unwrap();
        assert!(error.contains("is in use"), "{error}");
        assert!(opening.attempt().is_none());
        assert!(!status.has_changed().unwrap(), "it is told once");
        drop(taken);
        let listener = opening.until_open().await;
        let found = status.borrow_and_update().clone();
        assert_eq!(found.error, None);
        assert_eq!(found.address, listener.local_addr().unwrap().to_string());
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        let mut opening = Opening::new("192.0.2.1:0".parse().unwrap());
        assert!(opening.attempt().is_none());
        let error = opening.status().borrow().error.clone().unwrap();
        assert!(error.contains("no address 192.0.2.1:0"), "{error}");
    }
}
