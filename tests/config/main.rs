//! The configuration as its users meet it: the files that are shipped, the texts of faults, and what happens to a file
//! when somebody slips.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod access;
mod bad_input;
mod conf_d;
mod examples;
mod faults;
mod golden;
mod json;
mod mutations;
mod profiles;
mod schema;
mod support;
mod templates;
mod values;
