//! The host: HTTPS, files, clocks and the component engine around `host-core`.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "sizes and times here are the host's own and bounded; outside data is parsed elsewhere"
)]

pub mod executor;
pub mod ledger_files;
pub mod node;
pub mod sealed_keys;
