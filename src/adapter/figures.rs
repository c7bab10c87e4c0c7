//! What is measured of a wire, beside the figures of its devices. It outlives the actor, and is right while that waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::wire_use::{Used, WireUse};
use crate::clock;

/// See the head of this file.
#[derive(Debug)]
pub struct WireFigures {
    wire: Mutex<WireUse>,
}

/// The wire is in use until this is dropped.
#[derive(Debug)]
pub(super) struct InUse(Arc<WireFigures>);

impl WireFigures {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            wire: Mutex::new(WireUse::new(clock::now())),
        })
    }

    pub(super) fn in_use(self: &Arc<Self>) -> InUse {
        let mut wire = self.lock();
        wire.turn(clock::now(), true);
        InUse(Arc::clone(self))
    }

    /// How much of its time requests took until now: sending and waiting for replies, in vain too, with the silence between
    /// frames and the pauses that devices want.
    #[must_use]
    pub fn used(&self) -> Used {
        let wire = self.lock();
        wire.until(clock::now())
    }

    fn lock(&self) -> MutexGuard<'_, WireUse> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut wire = self.0.lock();
        wire.turn(clock::now(), false);
    }
}
