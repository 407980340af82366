//! The application natively: every endpoint over an in-memory store, with real cryptography and
//! real verification of (unsigned, `virtual`) evidence. One file per area.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    unreachable_pub,
    reason = "tests"
)]

mod admission;
mod alternatives;
mod approvals;
mod attested_corpus;
mod attested_requests;
mod contracts;
mod delegates;
mod documents;
mod events;
mod faults;
mod genuine;
mod host;
mod limits;
mod lists;
mod machines;
mod people;
mod quotas;
mod routes;
mod run_delegates;
mod run_requests;
mod runs;
mod secrets;
mod tokens;
mod user_proposals;
mod users;
mod workloads;
mod world;
