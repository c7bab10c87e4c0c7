//! `backlog:` of a bridge: how much is kept for its upstream, for how long, and how fast it follows what overtakes it.

use std::time::Duration;

use super::{below, time};
use crate::config::context::Context;
use crate::config::raw;
use crate::config::section::Section;
use crate::config::units::show_size;
use crate::config::{Gateway, StoreSettings};
use crate::store::LogOptions;

/// Of a hundred messages that leave while newer ones overtake the backlog, so many are of the backlog.
pub(super) const LATE_SHARE: u8 = 50;

/// The log, and the share.
pub(super) fn backlog(
    context: &mut Context<'_>,
    section: &Section<raw::Bridge>,
    name: &str,
    gateway: &Gateway,
    store: &StoreSettings,
) -> (LogOptions, u8) {
    let backlog = below::<raw::Backlog>(context, section, "backlog", section.raw.backlog.as_ref());
    let defaults = LogOptions::new(gateway.data_dir.join("backlog").join(name));
    let size = backlog.raw.max_bytes.map(|size| size.0);
    let age = Duration::from_secs(60)..=Duration::from_secs(3650 * 86_400);
    // At least something, or it would never drain beside a steady stream.
    let share = backlog.within(
        context,
        "late_share",
        backlog.raw.late_share,
        1..=99,
        |share| share.to_string(),
    );
    let options = LogOptions {
        commit_interval: store.commit_interval,
        hold_for_upstream: store.hold_for_upstream,
        hold_bytes: store.hold_bytes,
        max_bytes: backlog
            .within(context, "max_bytes", size, 1 << 20..=1 << 50, show_size)
            .unwrap_or(defaults.max_bytes),
        max_age: time(context, &backlog, "max_age", backlog.raw.max_age, age)
            .unwrap_or(defaults.max_age),
        when_full: backlog
            .raw
            .when_full
            .map_or(defaults.when_full, |word| word.0),
        free_space_minimum: store.free_space_minimum,
        dir: defaults.dir,
    };
    (options, share.unwrap_or(LATE_SHARE))
}
