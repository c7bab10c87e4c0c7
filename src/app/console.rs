//! The console of a gateway: where it is, and what it is told.

use std::net::SocketAddr;

use tokio::sync::{mpsc, watch};

use super::observe::Observer;
use super::running::Running;
use crate::http::{self, Hosts, Limits, Wanted};
use crate::status::ListenerStatus;

/// Requests that wait for the state.
const REQUESTS: usize = 8;

/// The console, or none.
#[derive(Debug)]
pub(super) struct Console {
    observer: Observer,
    running: Option<(SocketAddr, Running<http::Console>)>,
}

impl Console {
    /// None yet.
    pub(super) fn new(observer: Observer) -> Self {
        Self {
            observer,
            running: None,
        }
    }

    /// Has it at `bind` from now on; `None`: nowhere. What was done, where something was.
    pub(super) async fn have_at(&mut self, bind: Option<SocketAddr>) -> Option<&'static str> {
        let done = match (self.running.as_ref().map(|(bind, _)| *bind), bind) {
            (before, now) if before == now => return None,
            (None, _) => "added",
            (Some(_), Some(_)) => "started anew",
            (Some(_), None) => "removed",
        };
        self.stop().await;
        let (observer, name) = (&self.observer, host_name());
        self.running = bind.map(|bind| {
            let hosts = Hosts::of(bind.ip(), name);
            let running = Running::start("console", |stop| {
                let (sender, requests) = mpsc::channel(REQUESTS);
                tokio::spawn(tell_all(requests, observer.clone()));
                http::Console::start(bind, hosts, Limits::default(), sender, stop)
            });
            (bind, running)
        });
        Some(done)
    }

    /// How it stands; `None`: there is none.
    pub(super) fn status(&self) -> Option<watch::Receiver<ListenerStatus>> {
        let (_, running) = self.running.as_ref()?;
        Some(running.part.status.clone())
    }

    pub(super) async fn stop(&self) {
        if let Some((_, running)) = &self.running {
            running.stop().await;
        }
    }
}

/// Ends with the console that asks.
async fn tell_all(mut requests: mpsc::Receiver<Wanted>, observer: Observer) {
    while let Some(wanted) = requests.recv().await {
        wanted.tell(observer.state());
    }
}

/// Of the machine. Asked of the kernel: a hardened service does not see `/proc/sys`.
fn host_name() -> Option<String> {
    let name = rustix::system::uname();
    name.nodename().to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::super::{Gateway, Prepared};
    use crate::config;
    use crate::net::TlsTime;

    #[tokio::test(flavor = "multi_thread")]
    async fn it_goes_where_it_is_wanted_and_stays_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fieldgate.yaml");
        let text = "gateway: { id: g1, data_dir: data }\nbroker: { listeners: [] }\nconsole: { bind: off }\n";
        std::fs::write(&file, text).unwrap();
        let prepared = Prepared::new(config::load(&file).unwrap().config, TlsTime::default());
        let prepared = prepared.unwrap();
        let mut gateway = Gateway::start(prepared).await.unwrap();
        let address = |gateway: &Gateway| {
            let status = gateway.console.status()?;
            let address = status.borrow().address.clone();
            Some(address)
        };
        assert_eq!(address(&gateway), None);
        assert_eq!(gateway.console.have_at(None).await, None);

        let first = Some("127.0.0.1:0".parse().unwrap());
        assert_eq!(gateway.console.have_at(first).await, Some("added"));
        let at = address(&gateway).unwrap();
        TcpStream::connect(&at).unwrap();
        assert_eq!(
            gateway.console.have_at(first).await,
            None,
            "nothing differs"
        );
        assert_eq!(address(&gateway), Some(at.clone()));

        let second = Some("[::1]:0".parse().unwrap());
        let done = gateway.console.have_at(second).await;
        assert_eq!(done, Some("started anew"));
        assert!(TcpStream::connect(&at).is_err());
        assert!(address(&gateway).unwrap().starts_with("[::1]:"));
        assert_eq!(gateway.console.have_at(None).await, Some("removed"));
        assert_eq!(address(&gateway), None);
        gateway.stop().await;
    }
}
