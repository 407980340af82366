//! The clean-room application: contracts, consent, documents, secrets, tokens, events, runs.
//!
//! Plain decisions over tables: no I/O, no clock, no keys. What the host must do for it is
//! [`HostServices`]; who calls and what is asked comes as a [`Request`]. [`answer`] is the only
//! entry, and [`Endpoint`] says what can be asked. Nothing is released without
//! a `Permit`, which only `permit` can make, from an `Admitted`, which only `admission` can.

mod admission;
mod alternatives;
mod caller;
mod consent;
mod contracts;
mod delegates;
mod dispatch;
mod document_ballots;
mod document_state;
mod documents;
mod events;
mod floors;
mod frozen;
mod host_services;
mod issuer;
mod issuer_keys;
mod launcher;
pub mod lists;
mod matching;
mod nesting;
mod parties;
mod permit;
mod policies;
mod proof;
mod proposals;
pub mod quotas;
mod releases;
mod reply;
mod request;
mod row_counts;
mod run_requests;
mod run_rules;
mod run_state;
mod runs;
mod secrets;
mod time;
mod token_policy;
mod tokens;
mod user_proposals;
mod users;

pub use cleanroom_model::endpoints::Endpoint;
pub use dispatch::answer;
pub use host_services::{
    CryptoError, EvidenceError, HostServices, KeyKind, KeyWrapping, NonceError, SignatureAlg,
    VerifiedEvidence,
};
pub use reply::Reply;
pub use request::{Caller, Principal, Request};
