//! The host: HTTPS, files, clocks and the component engine around `host-core`.
//!
//! [`Node::start`] is what `concordat-host start` and whole-service tests call.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "sizes and times here are the host's own and bounded; outside data is parsed elsewhere"
)]

mod ahead;
mod authenticate;
pub mod config;
mod directories;
pub mod executor;
mod framework;
pub mod guest_imports;
pub mod guests;
pub mod https;
mod jwt;
pub mod ledger_files;
mod memory;
pub mod node;
mod router;
mod routes;
pub mod sealed_keys;
mod start;
pub mod tls;

pub use start::Node;
