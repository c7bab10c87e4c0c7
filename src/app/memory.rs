//! Freed memory goes back to the system: first the broker's tables that clients have left, then what the allocator holds.
//!
//! glibc keeps what was freed for later, in an arena for each few threads, and gives back by itself only what lies at the
//! end of one: after a flood of connections that would be megabytes for ever, on a box that has few of them.

use std::time::Duration;

use crate::broker::BrokerHandle;
use crate::clock;
use crate::shutdown::{Pulse, Stop};

/// Often enough for who watches a box under attack; where there is nothing to give back a look takes some 50 us.
const INTERVAL: Duration = Duration::from_secs(10);

/// How long the broker may take for an answer.
const STEP_MAX: Duration = Duration::from_secs(30);

/// The broker's pulse, for [`give_back`].
pub(super) fn pulse() -> Pulse {
    Pulse::new("broker", STEP_MAX, clock::now())
}

/// Gives back what is free, again and again until `stop`, or until the broker has ended.
/// The broker's answer is its pulse.
pub(super) async fn give_back(broker: BrokerHandle, pulse: Pulse, mut stop: Stop) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.requested() => break,
            _ = tick.tick() => {}
        }
        pulse.beat(clock::now());
        if broker.shrink().await.is_err() {
            // A broker that ended by itself is late for ever; one that was stopped is stopped after this.
            return;
        }
        pulse.rest_until(clock::now() + INTERVAL);
        trim();
    }
    pulse.end();
}

/// After ten thousand connections this takes a worker's thread a millisecond: less than one TLS handshake.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)] // no crate wraps it
fn trim() {
    // SAFETY: takes the locks of the allocator, and has no requirement of its caller.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() {}
