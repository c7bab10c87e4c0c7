//! Parts that can be stopped one by one.

use crate::shutdown::{Shutdown, Stop};

/// A part that runs, and what stops it. Dropped, it is asked to stop and not waited for.
#[derive(Debug)]
pub(super) struct Running<T> {
    /// As in the configuration.
    pub(super) name: String,
    pub(super) part: T,
    stop: Shutdown,
}

impl<T> Running<T> {
    /// What `start` starts.
    pub(super) fn start(name: &str, start: impl FnOnce(Stop) -> T) -> Self {
        let stop = Shutdown::default();
        let part = start(stop.stop());
        let name = name.to_owned();
        Self { name, part, stop }
    }

    /// What `start` starts, where it does.
    pub(super) fn try_start<E>(
        name: &str,
        start: impl FnOnce(Stop) -> Result<T, E>,
    ) -> Result<Self, E> {
        let stop = Shutdown::default();
        let part = start(stop.stop())?;
        let name = name.to_owned();
        Ok(Self { name, part, stop })
    }

    /// Asks it to stop, and waits until it has done its last.
    pub(super) async fn stop(&self) {
        self.stop.request();
        self.stop.finished().await;
    }
}

/// Stops all of them at the same time.
pub(super) async fn stop_all<T>(parts: &[Running<T>]) {
    for part in parts {
        part.stop.request();
    }
    for part in parts {
        part.stop.finished().await;
    }
}

/// Takes those of these names out.
pub(super) fn take<T>(parts: &mut Vec<Running<T>>, names: &[String]) -> Vec<Running<T>> {
    let taken = parts.extract_if(.., |part| names.contains(&part.name));
    taken.collect()
}
