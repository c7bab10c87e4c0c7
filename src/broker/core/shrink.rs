//! Tables that many clients have made large become small again when these have left.

use super::{Core, Slot};

impl Core {
    /// To be called now and then, not with every client that leaves: the last place in use decides how small a table can
    /// be, and finding it takes a walk.
    pub fn shrink(&mut self) {
        if is_sparse(self.sessions.len(), self.sessions.capacity()) {
            self.sessions.shrink_to_fit();
        }
        while let Some(Slot::Empty) = self.slots.last() {
            self.slots.pop();
        }
        if is_sparse(self.slots.len(), self.slots.capacity()) {
            self.slots.shrink_to_fit();
        }
        self.clients.shrink(&self.sessions);
        self.subscriptions.shrink();
        self.lanes.shrink();
    }
}

/// Whether so little of a table is in use that a smaller one is worth the move.
pub(super) fn is_sparse(used: usize, capacity: usize) -> bool {
    used < capacity / 4
}
