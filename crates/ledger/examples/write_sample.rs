//! Writes a sample ledger of three chunks into a directory, for public ledger readers:
//! `cargo run -p ledger --example write_sample -- DIR`. Its last chunk is open.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "shares the tests' writer"
)]
#![allow(clippy::arithmetic_side_effects, reason = "shares the tests' writer")]
#![allow(dead_code, unreachable_pub, reason = "shares the tests' writer")]

#[path = "../tests/writer/mod.rs"]
mod writer;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(std::io::Error::other("usage: write_sample DIR"));
    };
    std::fs::create_dir_all(&directory)?;
    for (name, bytes) in writer::sample_ledger().1 {
        std::fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}
