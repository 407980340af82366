//! Thirty-six things that somebody who can write a ledger's folder tries on it; an audit by the
//! certificate alone, without any secret, refuses each. The last case is what it cannot refuse.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::arithmetic_side_effects, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the writer is shared with an example")]

mod writer;

use crypto::x509::Certificate;
use kv::TxId;
use ledger::chunk;
use ledger::names::{ChunkName, sequence};
use ledger::replay::Replay;
use writer::{VERIFIER, sample_ledger};

type Files = Vec<(String, Vec<u8>)>;

/// What an auditor does, and a start of a node: names, chunks, entries, and whose ledger it is. Gives
/// the last signed transaction.
fn audit(files: &Files, service_cert: &str) -> Result<TxId, String> {
    let names = files.iter().filter_map(|(name, _)| ChunkName::parse(name));
    let mut replay = Replay::new(&VERIFIER);
    for name in sequence(names).map_err(|e| e.to_string())? {
        let text = name.to_string();
        let (_, bytes) = files.iter().find(|(other, _)| *other == text).unwrap();
        let parsed = chunk::parse(bytes).map_err(|e| e.to_string())?;
        let last = name.first + parsed.entries.len() as u64 - 1;
        if name.last().is_some_and(|named| named != last || !parsed.complete) {
            return Err("a chunk does not hold what its name says".to_owned());
        }
        for entry in &parsed.entries {
            replay.feed(entry, None).map_err(|e| e.to_string())?;
        }
    }
    let report = replay.report();
    let last = report.last_signed.ok_or("nothing is signed")?;
    let named = report.identities.last().ok_or("no identity")?;
    let spki = |pem: &str| Certificate::from_pem(pem).unwrap().spki_der().to_vec();
    if spki(&named.certificate) != spki(service_cert) {
        return Err("another service".to_owned());
    }
    Ok(last)
}

/// Offset of entry `at` in a chunk, and how long its public part is.
fn entry_at(bytes: &[u8], at: usize) -> (usize, usize) {
    let parsed = chunk::parse(bytes).unwrap();
    (parsed.offsets[at] as usize, parsed.entries[at].public.len())
}

/// Bits of the second chunk, each with what it is part of: of an application's entry, of a signature
/// further in front, and of the chunk around them.
fn bits(bytes: &[u8]) -> Vec<(&'static str, usize)> {
    // The eleventh entry is an application's; the second is the first signature.
    let (app, public) = entry_at(bytes, 10);
    let (signature, rows) = entry_at(bytes, 1);
    let private = app + 44 + public;
    let mut bits = vec![
        ("version", app),
        ("flags", app + 1),
        ("size, low", app + 2),
        ("size, high", app + 7),
        ("tag", app + 8),
        ("tag, end", app + 23),
        ("nonce, seqno", app + 24),
        ("nonce, view", app + 33),
        ("length of the public part", app + 36),
        ("entry type", app + 44),
        ("seqno", app + 45),
        ("claims digest", app + 53),
        ("claims digest, end", app + 84),
        ("evidence digest", app + 85),
        ("reserved word", app + 117),
        ("table name", app + 134),
        ("public row", private - 1),
        ("private part", private),
        ("private part, further", private + 4),
        ("a signature's version", signature),
        ("a signature's evidence", signature + 85),
    ];
    for (part, name) in [
        "a signature's rows, 1",
        "a signature's rows, 2",
        "a signature's rows, 3",
        "a signature's rows, 4",
        "a signature's rows, 5",
    ]
    .into_iter()
    .enumerate()
    {
        bits.push((name, signature + 44 + rows * (part + 1) / 6));
    }
    bits.push(("offset of the table", 0));
    bits.push(("table of offsets", bytes.len() - 4));
    bits
}

#[test]
fn nothing_that_is_done_to_a_ledgers_files_passes_an_audit() {
    let (writer, good) = sample_ledger();
    let (_, foreign) = sample_ledger();
    let cert = &writer.keys.service_cert;
    let whole = audit(&good, cert).unwrap();
    let mut cases: Vec<(String, Files)> = Vec::new();
    for (what, at) in bits(&good[1].1) {
        let mut files = good.clone();
        files[1].1[at] ^= 1;
        cases.push((format!("a bit of: {what}"), files));
    }
    assert_eq!(cases.len(), 28);
    let mut add = |what: &str, change: &dyn Fn(&mut Files)| {
        let mut files = good.clone();
        change(&mut files);
        cases.push((what.to_owned(), files));
    };
    add("the first chunk is missing", &|files| drop(files.remove(0)));
    add("a chunk in the middle is missing", &|files| drop(files.remove(1)));
    add("two chunks have each other's content", &|files| {
        let first = files[0].1.clone();
        files[0].1 = std::mem::replace(&mut files[1].1, first);
    });
    add("a chunk is renamed to begin later", &|files| {
        let name = ChunkName::parse(&files[1].0).unwrap();
        files[1].0 = ChunkName::committed(name.first + 1, name.last().unwrap() + 1).to_string();
    });
    add("a chunk is renamed to end earlier", &|files| {
        let name = ChunkName::parse(&files[1].0).unwrap();
        files[1].0 = ChunkName::committed(name.first, name.last().unwrap() - 1).to_string();
    });
    add("a chunk is there twice", &|files| {
        let name = ChunkName::parse(&files[0].0).unwrap();
        let (first, last) = (name.last().unwrap() + 1, 2 * name.last().unwrap());
        let copy = files[0].1.clone();
        files[1] = (ChunkName::committed(first, last).to_string(), copy);
    });
    add("a chunk is another service's", &|files| {
        files[1].1.clone_from(&foreign[1].1);
    });
    add("all of it is another service's", &|files| {
        files.clone_from(&foreign)
    });
    assert_eq!(cases.len(), 36);
    for (what, files) in &cases {
        let verdict = audit(files, cert);
        assert!(verdict.is_err(), "{what}: accepted up to {verdict:?}");
    }
    // An older copy is whole. That it is older is known to the sealed identity and to clients: see
    // `a_ledger_cut_below_the_last_boot_entry_is_behind` and the client's memory.
    let older = good[..2].to_vec();
    assert!(audit(&older, cert).unwrap() < whole);
}
