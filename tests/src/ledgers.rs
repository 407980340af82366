//! Two independent readers of a ledger folder: our own replay, and the public Python package.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use crypto::native::Native;
use ledger::chunk;
use ledger::names::{self, ChunkName};
use ledger::replay::{Replay, Report};
use serde_json::Value as JsonValue;

use crate::built;

/// The chunks of a ledger folder, in order.
///
/// # Errors
///
/// If the folder cannot be read or chunks are missing.
pub fn chunks(folder: &Path) -> Result<Vec<ChunkName>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        found.extend(file?.file_name().to_str().and_then(ChunkName::parse));
    }
    Ok(names::sequence(found)?)
}

/// Replays a ledger and checks that it is the ledger of this service.
///
/// # Errors
///
/// If an entry is not acceptable, or the service is another one.
pub fn replay(folder: &Path, service_cert_pem: &str) -> Result<Report> {
    let mut replay = Replay::new(&Native);
    for name in chunks(folder)? {
        let bytes = std::fs::read(folder.join(name.to_string()))?;
        let chunk = chunk::parse(&bytes).with_context(|| name.to_string())?;
        for entry in &chunk.entries {
            replay.feed(entry, None)?;
        }
        ensure!(
            !chunk.complete || replay.ends_in_signature(),
            "{name} is complete and does not end in a signature"
        );
    }
    let report = replay.report();
    let last = report.identities.last().context("no service identity")?;
    ensure!(
        last.certificate == service_cert_pem,
        "the ledger is another service's"
    );
    Ok(report)
}

/// Has the public validator verify every transaction up to `last`, open chunks included.
///
/// # Errors
///
/// If it does not get there, with what it said.
pub fn validate_publicly(folder: &Path, last: u64) -> Result<()> {
    let mut command = Command::new(built::tool("python")?);
    command
        .arg(built::source("xtask/demo/validate_ledger.py"))
        .arg(folder)
        .arg(last.to_string());
    built::output(&mut command)?;
    Ok(())
}

/// Has the public package verify a receipt against a service certificate.
///
/// # Errors
///
/// If it does not verify, with what it said.
pub fn verify_receipt_publicly(receipt: &Path, service_cert: &Path) -> Result<JsonValue> {
    let mut command = Command::new(built::tool("python")?);
    command
        .arg(built::source("xtask/demo/verify_receipt.py"))
        .arg(receipt)
        .arg(service_cert);
    Ok(serde_json::from_str(&built::output(&mut command)?)?)
}
