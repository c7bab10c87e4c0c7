//! How many wants of all sessions each generation holds. No I/O.

use std::collections::BTreeMap;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Census {
    wanted: BTreeMap<u64, u64>,
    /// Generations that have become empty of wants since somebody asked.
    emptied: Vec<u64>,
}

impl Census {
    pub(super) fn of(&self, generation: u64) -> u64 {
        self.wanted.get(&generation).copied().unwrap_or(0)
    }

    /// The lowest generation that anybody wants something of.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.wanted.keys().next().copied()
    }

    pub(super) fn add(&mut self, generation: u64, wants: u64) {
        if wants > 0 {
            *self.wanted.entry(generation).or_default() += wants;
        }
    }

    /// `None`: the wants were of no file.
    pub(super) fn remove(&mut self, generation: Option<u64>, wants: u64) {
        let Some(generation) = generation.filter(|_| wants > 0) else {
            return;
        };
        if let Some(left) = self.wanted.get_mut(&generation) {
            *left = left.saturating_sub(wants);
            if *left == 0 {
                self.forget(generation);
                self.emptied.push(generation);
            }
        }
    }

    pub(super) fn forget(&mut self, generation: u64) {
        self.wanted.remove(&generation);
    }

    pub(super) fn take_emptied(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.emptied)
    }
}
