//! Evidence recorded from real hardware, each file with the verdict it must get.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod common;
mod cvm;
mod forged;
mod hostile;
mod limits;
mod snp;
mod uvm;
