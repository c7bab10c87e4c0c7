//! The gateway put together: which part starts after which, who tells whom, and in what order all of it stops.
//!
//! Start: stores (what was kept before anything new comes), broker, bridges, adapters, listeners. Stop, so that
//! nothing acknowledged is left behind: listeners (nothing new), adapters (their last readings still go out), broker
//! (clients are told), bridges (what is in flight gets its acknowledgement), stores (everything left is committed).

mod absent;
pub mod alive;
mod apply;
mod boot;
mod bridges;
mod console;
mod control;
mod difference;
mod export;
mod gateway;
pub mod last_good;
pub mod logging;
mod logins;
mod memory;
mod notify;
mod observe;
mod prepare;
mod reload;
mod report;
mod running;
mod seen;
mod stores;
mod sys;
mod wires;

pub use absent::RegainWait;
pub use apply::Applied;
pub use boot::{Boot, BootError};
pub use control::ReloadRequest;
pub use export::Export;
pub use gateway::{Gateway, ReloadRequests, StartError};
pub use notify::Notifier;
pub use observe::Observer;
pub use prepare::{FileFaults, Prepared};
pub use reload::{Outcome, Reload, WITHOUT};
