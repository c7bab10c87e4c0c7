//! What the handles of both kinds of log have in common: the thread, and the way to the core.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::directory::{Directory, Meter};
use super::error::StoreError;
use super::keeper::{Keeper, Loaded};
use super::reading::Ask;
use super::sessions::Survey;
use super::shared::Shared;
use super::writer::{Files, Place, Writer};
use super::{LogStats, Progress};
use crate::clock;
use crate::shutdown::Pulse;

/// An open log. When it is dropped without [`Self::close`], what was not covered is lost, as in a crash.
#[derive(Debug)]
pub(super) struct Handle<K: Keeper> {
    shared: Arc<Shared<K>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pulse: Pulse,
}

/// A card may take seconds for a sync, and a step of a log's thread may have several, or salvage a file.
pub(super) const STEP_MAX: Duration = Duration::from_secs(120);

/// Opens the files, and the core with what they say; the thread is not started.
pub(super) fn prepare<K: Keeper>(
    now: Instant,
    generation_bytes: u64,
    directory: Box<dyn Directory>,
    core: impl FnOnce(Loaded, &mut Survey<'_>) -> Result<K, StoreError>,
) -> Result<(Arc<Shared<K>>, Writer<K>), StoreError> {
    let meter = Meter::default();
    let place = Place {
        directory,
        meter: meter.clone(),
    };
    let (files, loaded) = Files::open(&place, None)?;
    let epoch = loaded.epoch;
    let core = core(loaded, &mut |take| files.for_each(&place, take))?;
    let shared = Arc::new(Shared::new(core, meter));
    let writer = Writer::new(
        now,
        Arc::clone(&shared),
        place,
        files,
        epoch,
        generation_bytes,
    );
    Ok((shared, writer))
}

impl<K: Keeper> Handle<K> {
    /// Starts the thread. `dir` is for its name.
    pub(super) fn start(
        dir: &Path,
        shared: Arc<Shared<K>>,
        writer: Writer<K>,
    ) -> Result<Self, StoreError> {
        let name = dir.file_name().unwrap_or_default();
        let pulse = Pulse::new(format!("store {}", dir.display()), STEP_MAX, clock::now());
        let beating = pulse.clone();
        let thread = thread::Builder::new()
            .name(format!("store-{}", name.to_string_lossy()))
            .spawn(move || writer.run(&beating))
            .map_err(|source| StoreError::Io {
                path: dir.to_owned(),
                source,
            })?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
            pulse,
        })
    }

    pub(super) fn with_core<T>(&self, call: impl FnOnce(&mut K) -> T) -> T {
        self.shared.with(|state| call(&mut state.core))
    }

    /// Waits until the core has room.
    pub(super) async fn room(&self) {
        loop {
            let changed = self.shared.room.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.with_core(|core| core.has_room()) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Messages from the files, and up to where they were looked for.
    pub(super) async fn read(&self, ask: Ask) -> Result<(Vec<K::Entry>, u64), StoreError> {
        self.shared
            .ask(ask)?
            .await
            .map_err(|_| StoreError::Closed)?
    }

    pub(super) fn stats(&self, of_core: impl FnOnce(&K) -> LogStats) -> LogStats {
        let mut stats = self.shared.with(|state| LogStats {
            commits: state.commits,
            ..of_core(&state.core)
        });
        stats.bytes_written = self.shared.meter.bytes();
        stats.syncs = self.shared.meter.syncs();
        stats
    }

    pub(super) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    pub(super) fn error(&self) -> Option<String> {
        self.shared.with(|state| state.error.clone())
    }

    /// Commits what waits and ends the thread. Blocks.
    pub(super) fn close(&self) {
        self.shared.close();
        self.join();
    }

    fn join(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("a log's thread panicked; please report this");
        }
    }
}

impl<K: Keeper> Drop for Handle<K> {
    fn drop(&mut self) {
        self.shared.abandon();
        self.join();
    }
}
