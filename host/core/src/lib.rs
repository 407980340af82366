//! The service as a deterministic state machine: calls in, outcomes and batches of entries out.
//!
//! No sockets, files or clocks. Time and entropy come in as arguments; the same entries give the
//! same state on every machine.

pub mod guests;
pub mod transaction;

pub use guests::{
    AppRequest, AppResponse, Caller, Component, Failed, GuestFailure, Guests, Invalid, Principal,
    ResolveContext,
};
pub use transaction::Transaction;
