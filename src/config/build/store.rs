//! `store:`, and where sessions are kept.

use std::path::PathBuf;
use std::time::Duration;

use super::{below, bytes, time};
use crate::broker::Durability;
use crate::config::context::Context;
use crate::config::raw;
use crate::config::section::Section;
use crate::config::units::show_size;
use crate::config::{Gateway, SessionStoreOptions, StoreSettings};
use crate::store::{LogOptions, SessionLogOptions, StateOptions};

pub(super) fn store(context: &mut Context<'_>, root: &Section<raw::Root>) -> StoreSettings {
    let section = below::<raw::Store>(context, root, "store", root.raw.store.as_ref());
    let defaults = LogOptions::new(PathBuf::new());
    let hold = Duration::ZERO..=Duration::from_secs(60);
    let commit = Duration::from_millis(1)..=Duration::from_secs(60);
    let free = section.raw.free_space_minimum.map(|size| size.0);
    StoreSettings {
        commit_interval: time(
            context,
            &section,
            "commit_interval",
            section.raw.commit_interval,
            commit,
        )
        .unwrap_or(defaults.commit_interval),
        durability: section
            .raw
            .durability
            .map_or_else(Durability::default, |word| word.0),
        hold_for_upstream: time(
            context,
            &section,
            "hold_for_upstream",
            section.raw.hold_for_upstream,
            hold,
        )
        .unwrap_or(defaults.hold_for_upstream),
        hold_bytes: bytes(
            context,
            &section,
            "hold_bytes",
            section.raw.hold_bytes,
            64 << 10..=1 << 30,
        )
        .unwrap_or(defaults.hold_bytes),
        free_space_minimum: section
            .within(context, "free_space_minimum", free, 0..=1 << 50, show_size)
            .unwrap_or(defaults.free_space_minimum),
    }
}

/// Where sessions are kept.
pub(super) fn sessions(
    gateway: &Gateway,
    store: &StoreSettings,
    total: Option<u64>,
) -> SessionStoreOptions {
    let log = SessionLogOptions::new(gateway.data_dir.join("sessions"));
    let state = StateOptions::new(gateway.data_dir.clone());
    SessionStoreOptions {
        state: StateOptions {
            commit_interval: store.commit_interval,
            ..state
        },
        log: SessionLogOptions {
            commit_interval: store.commit_interval,
            hold: store.hold_for_upstream,
            hold_bytes: store.hold_bytes,
            queued_bytes_total: total.unwrap_or(log.queued_bytes_total),
            free_space_minimum: store.free_space_minimum,
            ..log
        },
    }
}
