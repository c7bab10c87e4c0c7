//! What is measured of a wire, beside the figures of its devices. It outlives the actor, and is right while that waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::line_errors::LineErrors;
use super::wire_use::{Used, WireUse};
use crate::clock;
use crate::status::LineErrorCounts;

/// See the head of this file.
#[derive(Debug)]
pub struct WireFigures {
    wire: Mutex<WireUse>,
    pub(super) line_errors: Arc<LineErrors>,
}

/// The wire is in use until this is dropped.
#[derive(Debug)]
pub(super) struct InUse(Arc<WireFigures>);

impl WireFigures {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            wire: Mutex::new(WireUse::new(clock::now())),
            line_errors: Arc::default(),
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

    /// What the driver of its port counts; `None`: it has no port, or one whose driver does not.
    #[must_use]
    pub fn line_errors(&self) -> Option<LineErrorCounts> {
        self.line_errors.counts()
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
