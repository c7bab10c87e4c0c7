//! The dead-letter of a bridge: not configured, but where the backlog is configured to be.

use std::time::Duration;

use crate::config::{Gateway, StoreSettings};
use crate::store::LogOptions;

/// Size of a dead-letter: enough to see what is wrong, and small beside any backlog.
const DEAD_LETTER_BYTES: u64 = 16 << 20;

/// Beside the backlog, kept until there are too many.
pub(super) fn dead_letter(name: &str, gateway: &Gateway, store: &StoreSettings) -> LogOptions {
    LogOptions {
        commit_interval: store.commit_interval,
        hold_for_upstream: Duration::ZERO,
        max_bytes: DEAD_LETTER_BYTES,
        max_age: Duration::MAX,
        free_space_minimum: store.free_space_minimum,
        ..LogOptions::new(gateway.data_dir.join("dead-letter").join(name))
    }
}
