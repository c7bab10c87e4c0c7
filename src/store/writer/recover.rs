//! What the thread does after an error: let go of the files, open them, make room where the medium is full, make sure of
//! what a failed sync may not have written, and only then write again.

use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use super::super::error::StoreError;
use super::super::keeper::{Keeper, Relief};
use super::{Files, NAP, RETRY_MAX, RETRY_MIN, Writer};

impl<K: Keeper> Writer<K> {
    /// When there may be something to do of which nobody tells.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        if self.write_at > now {
            // The reader may have made it possible to make room.
            return self.write_at.min(now + RETRY_MIN);
        }
        let due = self.shared.lock().core.due();
        due.map_or(now + NAP, |due| due.min(now + NAP))
    }

    /// Unlinks one file, on a medium that takes no write; then that is tried again at once. False: none can go.
    pub(super) fn make_room(
        &mut self,
        now: Instant,
        files: Option<&mut Files>,
    ) -> Result<bool, StoreError> {
        let relief = self.shared.lock().core.relief();
        let Some(relief) = relief else {
            return Ok(false);
        };
        let (Relief::Consumed(number) | Relief::Oldest(number)) = relief;
        self.remove(files, number)?;
        match relief {
            Relief::Consumed(_) => self.shared.with(|state| state.core.unlinked(number)),
            Relief::Oldest(_) => self.dropped(now, number),
        }
        if let Some(loaded) = &mut self.unsure {
            loaded.files.retain(|(summary, _)| summary.number != number);
        }
        self.room = self.room.saturating_add(self.generation_bytes);
        (self.open_at, self.write_at) = (now, now);
        Ok(true)
    }

    /// Whether what is due to be written would take of the space that stays free. Below the limit a log does not grow: what
    /// it writes it has taken off before.
    pub(super) fn is_short(&mut self, now: Instant) -> bool {
        let waits = {
            let core = &self.shared.lock().core;
            let progress = core.progress();
            progress.appended > progress.covered && core.due().is_some_and(|due| due <= now)
        };
        if !waits || self.free_space_minimum == 0 {
            return false;
        }
        // A medium that does not tell is written until it is full.
        let free = self.place.directory.free_space();
        let is_short = free.is_ok_and(|free| free < self.free_space_minimum);
        if !is_short {
            self.room = 0;
        }
        is_short && self.room == 0
    }

    /// There is too little space, and none can be made: what waits is not written, and so not acknowledged, for now.
    pub(super) fn hold_back(&mut self, now: Instant) {
        self.is_full = true;
        self.write_at = now + RETRY_MIN;
        let path = self.place.directory.path().display();
        let reason = format!(
            "{path}: less than {} bytes are free (`store.free_space_minimum`), and nothing older can be dropped: \
             make room on this disk",
            self.free_space_minimum
        );
        let known = self.shared.with(|state| {
            state.core.medium_full(true);
            state.error.replace(reason.clone())
        });
        if known.as_ref() != Some(&reason) {
            tracing::error!("{} waits for room: {reason}", K::NAME);
        }
    }

    /// Copies the active file, where the medium may not have all of it, before anything is built on it.
    pub(super) fn make_sure(&mut self, now: Instant, files: &mut Files) -> Result<(), StoreError> {
        let Some(loaded) = self.unsure.take() else {
            return Ok(());
        };
        let failed = self.place.meter.failed_syncs();
        let copy = files.copy_active(&self.place)?;
        files.publish_copy(&self.place, copy)?;
        self.settled_syncs = failed;
        self.shared.with(|state| state.core.reopened(now, loaded));
        Ok(())
    }

    pub(super) fn reopen(&mut self, now: Instant) -> Result<bool, StoreError> {
        let failed = self.place.meter.failed_syncs();
        let (files, loaded) = Files::open(&self.place, Some(self.epoch))?;
        self.files = Some(files);
        tracing::info!(path = %self.place.directory.path().display(), "files are open again");
        if failed == self.settled_syncs {
            self.shared.with(|state| state.core.reopened(now, loaded));
        } else {
            self.unsure = Some(loaded);
        }
        Ok(true)
    }

    /// Lets go of the files. They are opened again at once where they were open, for the reader; and written again later.
    pub(super) fn fail(&mut self, now: Instant, error: &StoreError) {
        tracing::error!(%error, retry_in = ?self.retry_delay, "the files of {} are out of use", K::NAME);
        let files = self.files.take();
        let were_open = files.is_some();
        if panic::catch_unwind(AssertUnwindSafe(|| drop(files))).is_err() {
            tracing::error!("redb panicked while closing a file");
        }
        self.unsure = None;
        self.is_full = error.is_full();
        self.write_at = now + self.retry_delay;
        self.open_at = if were_open { now } else { self.write_at };
        self.retry_delay = (self.retry_delay * 2).min(RETRY_MAX);
        self.shared.with(|state| {
            state.core.medium_full(error.is_full());
            state.error = Some(error.to_string());
        });
        self.refuse_reads();
    }
}
