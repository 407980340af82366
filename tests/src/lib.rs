//! Whole-service tests: the programs as they are shipped, driven over TLS and read back from disk.
//!
//! The stories are in `tests/`, one file each. This library starts nodes, plays members and pods,
//! and reads ledgers with two independent readers. Nothing here is a stand-in for a part of the
//! product; what is made by hand are keys, evidence of a development chip, and hostile guests.

#![allow(clippy::arithmetic_side_effects, reason = "numbers here are ours and small")]

pub mod built;
pub mod cleanroom;
pub mod garbage;
pub mod guests;
pub mod launcher;
pub mod ledgers;
pub mod node;
pub mod outcome;
pub mod passage;
pub mod people;
pub mod pods;
pub mod relay;
pub mod service;
