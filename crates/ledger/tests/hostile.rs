//! Every reader of outside bytes takes anything without panicking, and refuses it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::PathBuf;

use crypto::Portable;
use crypto::x509::Certificate;
use kv::WriteSet;
use ledger::names::ChunkName;
use ledger::receipt::Receipt;
use ledger::replay::Replay;
use ledger::signature::SignatureRows;
use ledger::{chunk, cose_receipt, endorsement};
use model::tables;
use proptest::prelude::*;

fn file(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/ccf-golden");
    fs::read(folder.join(name)).unwrap()
}

fn spki() -> Vec<u8> {
    let pem = String::from_utf8(file("service_cert_1.pem")).unwrap();
    Certificate::from_pem(&pem).unwrap().spki_der().to_vec()
}

/// A good message with a few bytes replaced, inserted or cut off.
fn damaged(good: &[u8], edits: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for (at, kind, byte) in edits {
        let at = at.index(bytes.len().max(1)).min(bytes.len());
        match kind % 3 {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 1..4)
}

proptest! {
    #[test]
    fn no_json_receipt_panics(random: Vec<u8>, edits in edits()) {
        let good = file("receipts/before_recovery_public_100.receipt.json");
        let trusted = String::from_utf8(file("service_cert_1.pem")).unwrap();
        for bytes in [random, damaged(&good, &edits)] {
            if let Ok(receipt) = Receipt::from_json(&bytes) {
                let _ = receipt.verify(&trusted, &Portable);
            }
        }
    }

    #[test]
    fn no_cose_receipt_or_endorsement_panics(random: Vec<u8>, edits in edits()) {
        let good = file("receipts/before_recovery_public_100.receipt.cose");
        let endorsing = file("receipts/previous_service_endorsement_seqno_63.cose");
        prop_assert!(cose_receipt::verify(&random, &spki(), &Portable).is_err());
        let _ = cose_receipt::verify(&damaged(&good, &edits), &spki(), &Portable);
        prop_assert!(endorsement::verify(&random, &spki(), &Portable).is_err());
        let _ = endorsement::verify(&damaged(&endorsing, &edits), &spki(), &Portable);
    }

    #[test]
    fn no_signature_rows_panic(values: [Vec<u8>; 3]) {
        let mut writes = WriteSet::default();
        let names = [tables::SIGNATURES.name(), tables::COSE_SIGNATURES.name(), tables::TREE.name()];
        for (name, value) in names.into_iter().zip(values) {
            writes.set(name, &[0; 8], Some(value));
        }
        prop_assert!(SignatureRows::read(&writes).is_err());
    }

    #[test]
    fn no_damaged_chunk_panics_or_passes_for_more_than_it_was(edits in edits()) {
        let good = file("ledger/ledger_1-13.committed");
        let bytes = damaged(&good, &edits);
        let mut replay = Replay::new(&Portable);
        if let Ok(chunk) = chunk::parse(&bytes) {
            for entry in chunk.entries.iter().take(3) {
                if replay.feed(entry, None).is_err() {
                    break;
                }
            }
            prop_assert!(replay.report().signatures <= 1);
        }
    }

    #[test]
    fn no_file_name_panics(name: String) {
        if let Some(parsed) = ChunkName::parse(&name) {
            prop_assert_eq!(parsed.to_string(), name);
        }
    }
}
