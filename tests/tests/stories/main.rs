//! Stories of whole services, one file each, in one program: it links once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod attested;
mod bad_input;
mod crash;
mod forks;
mod garbage;
mod governance;
mod main_job;
mod processes;
mod public_client;
mod relay;
mod restart;
mod runs;
mod secrets_at_rest;
