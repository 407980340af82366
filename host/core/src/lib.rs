//! The service as a deterministic state machine: calls in, outcomes and batches of entries out.
//!
//! No sockets, files or clocks. Time, keys and entropy come in as arguments; the same entries
//! give the same state on every machine. [`Service`] executes calls one after another and seals
//! them in batches; [`State`] is what readers see; [`Guests`] runs the two components.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "counters and seqnos of our own; sizes from outside are bounded in crates/ledger"
)]

pub mod commit;
mod effects;
pub mod genesis;
pub mod governance;
pub mod guests;
pub mod identity;
pub mod member_request;
pub mod receipts;
pub mod reply;
pub mod resume;
pub mod service;
pub mod shares;
pub mod state;
pub mod time;
pub mod transaction;

pub use commit::Batch;
pub use genesis::{Genesis, GenesisMember, NodeSetup};
pub use guests::{
    AppRequest, AppResponse, Caller, Component, Failed, GuestFailure, Guests, Invalid, Principal,
    ResolveContext,
};
pub use member_request::{AuthError, MemberRequest, MessageType};
pub use reply::{Outcome, Reply};
pub use resume::Resume;
pub use service::{Call, Service, Settings};
pub use state::{State, TxStatus};
pub use time::ServiceTime;
pub use transaction::Transaction;
