//! What we write, our reader accepts; what a writer must not do, it refuses.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::arithmetic_side_effects, reason = "tests")]
#![allow(unreachable_pub, reason = "the writer is shared with an example")]

mod writer;

use kv::{TxId, WriteSet};
use ledger::chunk;
use ledger::entry::FORCE_CHUNK_AFTER;
use ledger::receipt::{self, Receipt};
use ledger::replay::{Fault, Replay, ReplayError, Transaction};
use ledger::service_state::StateError;
use ledger::signature::{SignatureError, SignatureRows};
use ledger::{cose_receipt, merkle};
use model::service::ServiceStatus;
use writer::{Keys, VERIFIER, Writer, application_rows, sample_ledger};

/// Feeds a chunk's entries without secrets.
fn feed(replay: &mut Replay<'_>, bytes: &[u8]) -> Result<Vec<Transaction>, ReplayError> {
    let mut proven = Vec::new();
    for entry in &chunk::parse(bytes).unwrap().entries {
        proven.extend(replay.feed(entry, None)?);
    }
    Ok(proven)
}

/// What is wrong with the writer's open chunk.
#[track_caller]
fn fault(writer: &Writer) -> Fault {
    feed(&mut Replay::new(&VERIFIER), &writer.open).unwrap_err().fault
}

#[test]
fn our_ledger_is_accepted_by_our_reader() {
    let (writer, files) = sample_ledger();
    let mut replay = Replay::new(&VERIFIER);
    let mut open = writer.opener();
    let mut proven = Vec::new();
    for (name, bytes) in &files {
        let chunk = chunk::parse(bytes).unwrap();
        assert_eq!(chunk.complete, name.ends_with(".committed"));
        for entry in &chunk.entries {
            proven.extend(replay.feed(entry, Some(&mut open)).unwrap());
        }
    }
    let report = replay.report();
    assert_eq!(report.unsigned_entries, 0);
    assert_eq!(report.last_signed, proven.last().map(|t| t.id));
    assert_eq!(report.view_max, 3);
    assert_eq!(report.identities[0].certificate, writer.keys.service_cert);
    // Every transaction came out once, in order, with its private rows.
    let seqnos: Vec<u64> = proven.iter().map(|t| t.id.seqno).collect();
    assert_eq!(seqnos, (1..=proven.len() as u64).collect::<Vec<_>>());
    let secrets = proven.iter().filter(|t| t.writes.table("app.secrets").is_some());
    assert_eq!(secrets.count(), 50);
    let resumed = replay.resume();
    assert_eq!(resumed.tree.root(), writer.tree.root());
    assert_eq!(resumed.state.status(), Some(ServiceStatus::Open));
}

#[test]
fn private_rows_are_nowhere_in_clear() {
    let (_, files) = sample_ledger();
    for (_, bytes) in &files {
        assert!(!bytes.windows(14).any(|window| window == b"never in clear"));
    }
    assert!(files[1].1.windows(8).any(|window| window == b"in clear"));
}

#[test]
fn a_private_part_under_another_secret_does_not_open() {
    let (_, files) = sample_ledger();
    let other = Writer::genesis();
    let mut open = other.opener();
    let entry = chunk::parse(&files[0].1).unwrap().entries[0];
    let error = Replay::new(&VERIFIER).feed(&entry, Some(&mut open)).unwrap_err();
    assert!(matches!(error.fault, Fault::Private(_)));
}

#[test]
fn nothing_is_given_out_before_it_is_signed() {
    let mut writer = Writer::genesis();
    for number in 0..3 {
        writer.append(&application_rows(number), 0);
    }
    let mut replay = Replay::new(&VERIFIER);
    let proven = feed(&mut replay, &writer.open).unwrap();
    assert_eq!(proven.len(), 2);
    let report = replay.report();
    assert_eq!(report.unsigned_entries, 3);
    assert_eq!(
        (report.last_signed, report.last),
        (Some(TxId::new(2, 2)), Some(TxId::new(2, 5)))
    );
    assert!(!replay.ends_in_signature());
}

#[test]
fn an_unsigned_suffix_still_counts_for_the_next_view() {
    let mut writer = Writer::genesis();
    writer.view = 9;
    writer.append(&application_rows(0), 0);
    let mut replay = Replay::new(&VERIFIER);
    feed(&mut replay, &writer.open).unwrap();
    assert_eq!(replay.report().view_max, 9);
    assert_eq!(replay.resume().last, TxId::new(2, 2));
}

#[test]
fn a_node_whose_certificate_the_service_did_not_issue_is_refused() {
    let mut writer = Writer::genesis();
    let stranger = Keys::generate();
    // Known to the ledger, trusted by its rows, and certified by somebody else.
    let mut rows = WriteSet::default();
    rows.extend(stranger.rows(ServiceStatus::Opening));
    rows.extend(writer.keys.status(ServiceStatus::Opening));
    writer.append(&rows, 0);
    writer.keys.node = stranger.node;
    writer.keys.node_id = stranger.node_id;
    writer.keys.node_cert = stranger.node_cert;
    writer.sign(0);
    let fault = fault(&writer);
    assert!(
        matches!(fault, Fault::Signature(SignatureError::Certificate(_))),
        "{fault}"
    );
}

#[test]
fn a_node_that_the_ledger_does_not_know_is_refused() {
    let mut writer = Writer::genesis();
    let stranger = Keys::generate();
    writer.keys.node_id = stranger.node_id;
    writer.sign(0);
    assert_eq!(
        fault(&writer),
        Fault::State(StateError::UnknownNode(stranger.node_id))
    );
}

#[test]
fn a_signature_by_another_service_key_is_refused() {
    let mut writer = Writer::genesis();
    writer.keys.service = Keys::generate().service;
    writer.sign(0);
    assert!(matches!(
        fault(&writer),
        Fault::Signature(SignatureError::Service(_))
    ));
}

#[test]
fn the_service_key_changes_through_a_recovery_only() {
    let mut writer = Writer::genesis();
    let opening = writer.keys.status(ServiceStatus::Open);
    writer.append(&opening, 0);
    let usurper = Keys::generate();
    let mut renewed = usurper.rows(ServiceStatus::Open);
    renewed.extend(usurper.status(ServiceStatus::Open));
    writer.append(&renewed, 0);
    assert_eq!(
        fault(&writer),
        Fault::State(StateError::KeyChanged(ServiceStatus::Open))
    );
}

#[test]
fn a_signature_transaction_holds_its_rows_and_nothing_else() {
    let mut writer = Writer::genesis();
    let mut rows = writer.signature_rows();
    rows.set("public:app.log", b"smuggled", Some(Vec::new()));
    writer.append(&rows, 0);
    assert_eq!(fault(&writer), Fault::Signature(SignatureError::Rows));

    let mut writer = Writer::genesis();
    let mut rows = writer.signature_rows();
    rows.set("app.secrets", b"smuggled", Some(Vec::new()));
    writer.append(&rows, 0);
    assert_eq!(fault(&writer), Fault::SignatureContent);
}

#[test]
fn a_signature_without_its_tree_is_refused() {
    let mut writer = Writer::genesis();
    let mut rows = WriteSet::default();
    for (table, changes) in writer.signature_rows().tables() {
        if !table.ends_with(".tree") {
            rows.set(table, &[0; 8], changes[&vec![0; 8]].clone());
        }
    }
    writer.append(&rows, 0);
    assert_eq!(fault(&writer), Fault::Signature(SignatureError::Rows));
}

#[test]
fn a_signature_of_an_earlier_root_is_refused() {
    let mut writer = Writer::genesis();
    let stale = writer.signature_rows();
    writer.append(&application_rows(0), 0);
    writer.append(&stale, 0);
    assert_eq!(fault(&writer), Fault::Signature(SignatureError::TxId));
}

#[test]
fn only_a_signature_ends_a_chunk() {
    let mut writer = Writer::genesis();
    writer.append(&application_rows(0), FORCE_CHUNK_AFTER);
    assert_eq!(fault(&writer), Fault::Flag);
}

#[test]
fn views_never_go_back() {
    let mut writer = Writer::genesis();
    writer.view = 1;
    writer.append(&application_rows(0), 0);
    assert_eq!(fault(&writer), Fault::View(TxId::new(2, 2)));
}

#[test]
fn every_transaction_has_both_receipts() {
    let (writer, files) = sample_ledger();
    let service = crypto::x509::Certificate::from_pem(&writer.keys.service_cert).unwrap();
    let mut receipts = 0;
    let mut replay = Replay::new(&VERIFIER);
    for (_, bytes) in &files {
        for entry in &chunk::parse(bytes).unwrap().entries {
            let proven = replay.feed(entry, None).unwrap();
            let Some((signature, covered)) = proven.split_last() else {
                continue;
            };
            let rows = SignatureRows::read(&signature.writes).unwrap().unwrap();
            let tree = merkle::Tree::from_segment(&rows.segment).unwrap();
            for transaction in covered {
                let leaf = writer.leaves[&transaction.id.seqno].clone();
                let path = tree.path(transaction.id.seqno, signature.id.seqno).unwrap();
                let receipt = receipt::build(&rows.node, leaf.clone(), path.clone(), Vec::new());
                let json = serde_json::to_vec(&receipt).unwrap();
                let verified = Receipt::from_json(&json)
                    .unwrap()
                    .verify(&writer.keys.service_cert, &VERIFIER)
                    .unwrap();
                assert_eq!(verified.tx_id(), Some(transaction.id));
                assert_eq!(verified.write_set_digest(), Some(transaction.write_set_digest));
                let cose = cose_receipt::build(&rows.cose, &leaf, &path).unwrap();
                let verified = cose_receipt::verify(&cose, service.spki_der(), &VERIFIER).unwrap();
                assert_eq!(verified.tx_id(), Some(transaction.id));
                receipts += 1;
            }
        }
    }
    assert_eq!(receipts, 54);
}
