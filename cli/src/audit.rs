//! Check a ledger directory: every frame, every root, every signature, up to a trusted identity.

use std::path::{Path, PathBuf};

use clap::Args;
use client::ClientError;
use crypto::native::Native;
use crypto::x509::Certificate;
use ledger::chunk;
use ledger::limits::CHUNK_FILE_SIZE_MAX;
use ledger::names::{ChunkName, sequence};
use ledger::replay::{Replay, Report};
use serde_json::json;

use crate::answer::{Answer, Failure};
use crate::session::{Session, read_bounded};

#[derive(Args)]
pub(crate) struct AuditArguments {
    /// Folder with the ledger's chunks
    dir: PathBuf,
}

pub(crate) fn run(arguments: &AuditArguments, session: &Session) -> Result<Answer, Failure> {
    let trusted =
        Certificate::from_pem(&session.service_cert_pem()?).map_err(|e| Failure::Usage(e.to_string()))?;
    let mut replay = Replay::new(&Native);
    let mut entries = 0_u64;
    for (name, path) in chunks(&arguments.dir)? {
        entries = feed(&mut replay, &path, name.last().is_none())?.saturating_add(entries);
    }
    let report = replay.report();
    let last = report
        .last_signed
        .ok_or_else(|| refused("the ledger has no signature"))?;
    check_identity(&report, &trusted)?;
    let answer = json!({
        "lastVerified": last,
        "entries": entries,
        "signatures": report.signatures,
        "unsignedEntries": report.unsigned_entries,
    });
    let text = format!(
        "{entries} entries, {} signatures: verified to {last}; {} entries after it are signed by nobody",
        report.signatures, report.unsigned_entries
    );
    Ok(Answer::new(answer, text))
}

fn refused(reason: impl Into<String>) -> Failure {
    Failure::Client(ClientError::Verification(reason.into()))
}

fn chunks(dir: &Path) -> Result<Vec<(ChunkName, PathBuf)>, Failure> {
    let unreadable = |e: std::io::Error| Failure::Usage(format!("cannot list {}: {e}", dir.display()));
    let mut names = Vec::new();
    for file in std::fs::read_dir(dir).map_err(unreadable)? {
        let file = file.map_err(unreadable)?.file_name();
        names.extend(file.to_str().and_then(ChunkName::parse));
    }
    let names = sequence(names).map_err(|e| refused(e.to_string()))?;
    Ok(names
        .into_iter()
        .map(|name| (name, dir.join(name.to_string())))
        .collect())
}

/// Gives every entry of a chunk to the replay; an open chunk may end in a torn entry.
fn feed(replay: &mut Replay<'_>, path: &Path, open: bool) -> Result<u64, Failure> {
    let bytes = read_bounded(path, CHUNK_FILE_SIZE_MAX)?;
    let wrong = |e: &dyn std::fmt::Display| refused(format!("{}: {e}", path.display()));
    let chunk = chunk::parse(&bytes).map_err(|e| wrong(&e))?;
    if !open && !chunk.complete {
        return Err(wrong(&"named as complete, but its table of offsets is missing"));
    }
    let mut entries = 0_u64;
    for entry in &chunk.entries {
        replay.feed(entry, None).map_err(|e| wrong(&e))?;
        entries = entries.saturating_add(1);
    }
    Ok(entries)
}

/// The ledger must be of the service whose certificate we trust.
fn check_identity(report: &Report, trusted: &Certificate) -> Result<(), Failure> {
    let last = report
        .identities
        .last()
        .ok_or_else(|| refused("the ledger names no service identity"))?;
    let named = Certificate::from_pem(&last.certificate).map_err(|e| refused(e.to_string()))?;
    if named.spki_der() != trusted.spki_der() {
        return Err(refused(
            "the ledger's service identity is not the one in --service-cert",
        ));
    }
    Ok(())
}
