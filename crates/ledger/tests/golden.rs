//! The reader against a ledger and receipts that the reference host wrote
//! (`tests/vectors/ccf-golden`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::PathBuf;

use crypto::Portable;
use crypto::native::Native;
use crypto::x509::Certificate;
use kv::TxId;
use ledger::chunk::{self, Chunk};
use ledger::entry::Sealed;
use ledger::names::{self, ChunkName};
use ledger::receipt::{Receipt, ReceiptError};
use ledger::replay::{Replay, ReplayError, Report};
use ledger::signature::{SignatureRows, Signing};
use ledger::{cose_receipt, endorsement, entry, merkle, receipt, signature};
use model::Digest;
use model::service::ServiceStatus;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/ccf-golden")
}

fn file(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

fn text(name: &str) -> String {
    String::from_utf8(file(name)).unwrap()
}

fn service_spki(number: u8) -> Vec<u8> {
    let pem = text(&format!("service_cert_{number}.pem"));
    Certificate::from_pem(&pem).unwrap().spki_der().to_vec()
}

/// The chunks of the ledger, in order.
fn chunks() -> Vec<Vec<u8>> {
    let listed = fs::read_dir(folder().join("ledger")).unwrap();
    let found = listed.filter_map(|f| ChunkName::parse(f.unwrap().file_name().to_str().unwrap()));
    let chunks = names::sequence(found).unwrap();
    chunks
        .iter()
        .map(|name| file(&format!("ledger/{name}")))
        .collect()
}

/// Feeds every chunk, and asks of closed ones that they end in a signature.
fn replay(chunks: &[Vec<u8>]) -> Result<Report, ReplayError> {
    let mut replay = Replay::new(&Native);
    for bytes in chunks {
        let chunk = chunk::parse(bytes).unwrap();
        feed(&mut replay, &chunk)?;
        assert!(!chunk.complete || replay.ends_in_signature());
    }
    Ok(replay.report())
}

fn feed(replay: &mut Replay<'_>, chunk: &Chunk<'_>) -> Result<(), ReplayError> {
    for entry in &chunk.entries {
        replay.feed(entry, None)?;
    }
    Ok(())
}

#[test]
fn a_ledger_of_the_reference_host_verifies_through_a_recovery() {
    let report = replay(&chunks()).unwrap();
    assert_eq!(report.last_signed, Some(TxId::new(4, 76)));
    assert_eq!(report.last, report.last_signed);
    assert_eq!(
        (report.signatures, report.unsigned_entries, report.view_max),
        (9, 0, 4)
    );
    let identities: Vec<_> = report.identities.iter().map(|i| (i.since, i.status)).collect();
    assert_eq!(
        identities,
        [
            (TxId::new(2, 1), ServiceStatus::Open),
            (TxId::new(4, 56), ServiceStatus::Open)
        ]
    );
    assert_eq!(report.identities[0].certificate, text("service_cert_1.pem"));
    assert_eq!(report.identities[1].certificate, text("service_cert_2.pem"));
}

#[test]
fn portable_verification_agrees() {
    let chunks = chunks();
    let mut replay = Replay::new(&Portable);
    feed(&mut replay, &chunk::parse(&chunks[0]).unwrap()).unwrap();
    assert_eq!(replay.report().last_signed, Some(TxId::new(2, 13)));
}

#[test]
fn our_tree_rows_are_the_reference_hosts_byte_for_byte() {
    let mut tree = merkle::Tree::default();
    let mut compared = 0;
    for bytes in &chunks() {
        for entry in &chunk::parse(bytes).unwrap().entries {
            let public = entry.decode_public().unwrap();
            if let Some(rows) = SignatureRows::read(&public.maps).unwrap() {
                let flushed = u64::from_be_bytes(rows.segment[8..16].try_into().unwrap());
                assert_eq!(tree.segment(flushed).unwrap(), rows.segment);
                compared += 1;
            }
            let (evidence, claims) = (public.commit_evidence_digest, public.claims_digest);
            tree.append(entry::leaf(entry.write_set_digest(), evidence, claims));
        }
    }
    assert_eq!(compared, 9);
}

#[test]
fn our_signature_is_the_reference_hosts_byte_for_byte() {
    let bytes = &chunks()[1];
    let entries = chunk::parse(bytes).unwrap().entries;
    let writes = entries.last().unwrap().decode_public().unwrap().maps;
    let rows = SignatureRows::read(&writes).unwrap().unwrap();
    let envelope = crypto::cose::Sign1::parse(&rows.cose).unwrap();
    let kid = crypto::spki::key_id(&service_spki(1));
    // `iat` is the one value that the ledger does not tell otherwise.
    let claims = envelope.int_header(15).unwrap().as_map().unwrap();
    let iat = crypto::cose::integer(&claims[0].1).unwrap().try_into().unwrap();
    let id = TxId::new(2, 52);
    let (issuer, subject) = ("service.example.com", "ledger.signature");
    let protected = signature::cose_protected(signature::COSE_ES384, &kid, iat, issuer, subject, id);
    assert_eq!(protected, envelope.protected());
    assert_eq!(
        signature::cose_assemble(&protected, envelope.signature()),
        rows.cose
    );
    let written = signature::rows(Signing {
        id,
        root: rows.node.root,
        node: rows.node.node,
        node_certificate: &rows.node.cert,
        node_signature: &model::b64::decode(&rows.node.sig).unwrap(),
        cose: &rows.cose,
        segment: rows.segment,
    });
    assert_eq!(written, writes);
}

#[test]
fn our_entries_are_the_reference_hosts_byte_for_byte() {
    let mut compared = 0;
    for bytes in &chunks() {
        for entry in &chunk::parse(bytes).unwrap().entries {
            let public = entry.decode_public().unwrap();
            let (claims, evidence) = (public.claims_digest, public.commit_evidence_digest);
            let domains = entry::encode_domains(public.seqno, claims, evidence, &public.maps);
            // The reference keeps no order of keys; where a table has one row there is nothing to order.
            if public.maps.tables().all(|(_, changes)| changes.len() == 1) {
                assert_eq!(domains.public, entry.public);
                compared += 1;
            } else {
                assert_eq!(domains.public.len(), entry.public.len());
            }
            let sealed = Sealed {
                tag: entry.tag,
                iv: entry.iv,
                ciphertext: entry.private.to_vec(),
            };
            assert_eq!(
                entry::frame(entry.header.flags, entry.public, &sealed),
                entry.frame
            );
        }
    }
    assert!(compared > 60, "{compared}");
}

/// Flips one bit in every `step`th byte of the entries of a chunk; parsing or the replay must
/// refuse each. The last signature's own tag
/// and commit evidence digest are excepted: only the ledger secret or a later root covers them.
#[track_caller]
fn check_flips(before: &[Vec<u8>], bytes: &[u8], step: usize) {
    let last = *chunk::parse(bytes).unwrap().offsets.last().unwrap() as usize;
    let unauthenticated = |at: usize| {
        let at = at.wrapping_sub(last);
        (8..24).contains(&at) || (44 + 41..44 + 73).contains(&at) || at == 1
    };
    let mut proven = Replay::new(&Native);
    for earlier in before {
        feed(&mut proven, &chunk::parse(earlier).unwrap()).unwrap();
    }
    let end = chunk::parse(bytes).unwrap().end;
    for at in (8..end).step_by(step).filter(|at| !unauthenticated(*at)) {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        let Ok(chunk) = chunk::parse(&changed) else {
            continue;
        };
        let mut replay = proven.clone();
        let signatures = replay.report().signatures;
        if feed(&mut replay, &chunk).is_ok() {
            // A length that swallows the rest of an open chunk leaves its entries unproven.
            assert!(!chunk.complete && chunk.end < end, "flip at {at} was not noticed");
            assert_eq!(replay.report().signatures, signatures, "flip at {at}");
        }
    }
}

#[test]
fn any_changed_byte_of_a_signed_entry_is_noticed() {
    let chunks = chunks();
    check_flips(&chunks[..2], &chunks[2], 1);
}

#[test]
fn any_changed_byte_of_the_first_chunk_is_noticed() {
    // A sample of 32 kB; the step is prime, so that it does not keep to one kind of field.
    check_flips(&[], &chunks()[0], 31);
}

#[test]
fn an_open_chunk_is_proven_up_to_its_last_whole_signature() {
    let chunks = chunks();
    let open = chunks.last().unwrap();
    let offsets = chunk::parse(open).unwrap().offsets;
    for cut in [
        open.len() - 1,
        *offsets.last().unwrap() as usize,
        offsets[3] as usize + 5,
    ] {
        let mut replay = Replay::new(&Native);
        for bytes in &chunks[..5] {
            feed(&mut replay, &chunk::parse(bytes).unwrap()).unwrap();
        }
        let chunk = chunk::parse(&open[..cut]).unwrap();
        feed(&mut replay, &chunk).unwrap();
        let report = replay.report();
        assert_eq!(report.last_signed, Some(TxId::new(4, 64)));
        assert_eq!(report.unsigned_entries, chunk.entries.len());
        let resumed = replay.resume();
        assert_eq!((resumed.last, resumed.tree.len()), (TxId::new(4, 64), 65));
    }
}

#[test]
fn a_chunk_left_out_is_noticed() {
    let mut chunks = chunks();
    chunks.remove(1);
    assert!(replay(&chunks).is_err());
}

#[test]
fn json_receipts_verify_under_the_service_of_their_time_only() {
    for (name, service, id) in [
        ("before_recovery_public_100", 1, TxId::new(2, 36)),
        ("before_recovery_private_9", 1, TxId::new(2, 46)),
        ("after_recovery_public_209", 2, TxId::new(4, 75)),
        ("after_recovery_public_100", 2, TxId::new(2, 36)),
    ] {
        let receipt = Receipt::from_json(&file(&format!("receipts/{name}.receipt.json"))).unwrap();
        let verify = |service| receipt.verify(&text(&format!("service_cert_{service}.pem")), &Portable);
        let verified = verify(service).unwrap();
        assert_eq!(verified.tx_id(), Some(id), "{name}");
        assert_eq!(verified.claims_digest(), Some(Digest::ZERO));
        let other = verify(3 - service).unwrap_err();
        assert!(matches!(other, ReceiptError::Chain { .. }), "{name}: {other}");
    }
}

#[test]
fn an_old_receipt_needs_the_former_services_endorsement() {
    let mut receipt = Receipt::from_json(&file("receipts/after_recovery_public_100.receipt.json")).unwrap();
    let trusted = text("service_cert_2.pem");
    assert!(receipt.verify(&trusted, &Portable).is_ok());
    receipt.service_endorsements.clear();
    assert_eq!(
        receipt.verify(&trusted, &Portable),
        Err(ReceiptError::Chain { which: "node" })
    );
}

#[test]
fn a_changed_receipt_is_refused() {
    let good = Receipt::from_json(&file("receipts/before_recovery_public_100.receipt.json")).unwrap();
    let trusted = text("service_cert_1.pem");
    let refused = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        receipt.verify(&trusted, &Portable).unwrap_err()
    };
    let leaf = |r: &mut Receipt| r.leaf_components.take().unwrap();
    let is_signature = |e: ReceiptError| matches!(e, ReceiptError::Signature { .. });
    assert!(is_signature(refused(&|r| {
        let mut components = leaf(r);
        components.claims_digest = Digest([1; 32]);
        r.leaf_components = Some(components);
    })));
    assert!(is_signature(refused(&|r| {
        let mut components = leaf(r);
        components.commit_evidence = components.commit_evidence.replace("ce:2.36", "ce:2.37");
        r.leaf_components = Some(components);
    })));
    assert!(is_signature(refused(&|r| r.proof.truncate(3))));
    assert!(is_signature(refused(&|r| {
        let merkle::Sibling::Right(node) = r.proof[0] else {
            panic!("the vector starts with a right sibling");
        };
        r.proof[0] = merkle::Sibling::Left(node);
    })));
    assert_eq!(
        refused(&|r| r.node_id = model::NodeId(Digest([1; 32]))),
        ReceiptError::NodeId
    );
    assert_eq!(refused(&|r| r.leaf = Some(Digest::ZERO)), ReceiptError::LeafForm);
    assert_eq!(
        refused(&|r| {
            let components = leaf(r);
            r.leaf = Some(components.digest());
        }),
        ReceiptError::ProofOfSignature
    );
    assert!(matches!(
        refused(&|r| r.proof = vec![r.proof[0]; 49]),
        ReceiptError::PathTooLong(_)
    ));
    assert_eq!(
        refused(&|r| r.service_endorsements = vec![trusted.clone(); 65]),
        ReceiptError::TooManyEndorsements(65)
    );
    // A node must not vouch for a node.
    assert_eq!(
        refused(&|r| r.service_endorsements = vec![r.cert.clone()]),
        ReceiptError::Chain { which: "node" }
    );
}

#[test]
fn a_receipt_is_rebuilt_from_the_ledger() {
    let expected = Receipt::from_json(&file("receipts/before_recovery_public_100.receipt.json")).unwrap();
    let cose = file("receipts/before_recovery_public_100.receipt.cose");
    let proof = file("receipts/before_recovery_public_100.proof.cbor");
    let bytes = &chunks()[1];
    // The first signature after 2.36 is the last entry of its chunk.
    let signature = chunk::parse(bytes)
        .unwrap()
        .entries
        .last()
        .unwrap()
        .decode_public()
        .unwrap();
    let rows = SignatureRows::read(&signature.maps).unwrap().unwrap();
    let tree = merkle::Tree::from_segment(&rows.segment).unwrap();
    let path = tree.path(36, signature.seqno).unwrap();
    let leaf = expected.leaf_components.clone().unwrap();
    assert_eq!(cose_receipt::inclusion_proof(&leaf, &path), proof);
    assert_eq!(cose_receipt::build(&rows.cose, &leaf, &path).unwrap(), cose);
    assert_eq!(receipt::build(&rows.node, leaf, path, Vec::new()), expected);

    let of_signature = receipt::build_for_signature(&rows.node, Vec::new());
    let json = serde_json::to_vec(&of_signature).unwrap();
    let verified = Receipt::from_json(&json)
        .unwrap()
        .verify(&text("service_cert_1.pem"), &Portable);
    let verified = verified.unwrap();
    assert_eq!((verified.root(), verified.tx_id()), (rows.node.root, None));
}

#[test]
fn cose_receipts_verify_under_the_key_that_signed_them_only() {
    for (name, service, id) in [
        ("before_recovery_public_100", 1, TxId::new(2, 36)),
        ("before_recovery_private_9", 1, TxId::new(2, 46)),
        ("after_recovery_public_209", 2, TxId::new(4, 75)),
        ("after_recovery_public_100", 1, TxId::new(2, 36)),
    ] {
        let receipt = file(&format!("receipts/{name}.receipt.cose"));
        let verified = cose_receipt::verify(&receipt, &service_spki(service), &Portable).unwrap();
        assert_eq!(verified.tx_id(), Some(id), "{name}");
        assert!(cose_receipt::verify(&receipt, &service_spki(3 - service), &Portable).is_err());
    }
}

#[test]
fn any_changed_byte_of_a_cose_receipt_is_noticed() {
    let receipt = file("receipts/after_recovery_public_209.receipt.cose");
    for at in 0..receipt.len() {
        let mut changed = receipt.clone();
        changed[at] ^= 1;
        assert!(
            cose_receipt::verify(&changed, &service_spki(2), &Native).is_err(),
            "{at}"
        );
    }
}

#[test]
fn a_former_key_is_believed_for_its_own_transactions_only() {
    let endorsement_bytes = file("receipts/previous_service_endorsement_seqno_63.cose");
    let endorsed = endorsement::verify(&endorsement_bytes, &service_spki(2), &Portable).unwrap();
    assert_eq!(endorsed.spki_der(), service_spki(1));
    for (id, covered) in [
        (TxId::new(2, 1), true),
        (TxId::new(2, 36), true),
        (TxId::new(2, 55), true),
        (TxId::new(2, 56), false),
        (TxId::new(3, 40), false),
        (TxId::new(4, 56), false),
    ] {
        assert_eq!(endorsed.covers(id), covered, "{id}");
    }
    let receipt = file("receipts/after_recovery_public_100.receipt.cose");
    let verified = cose_receipt::verify(&receipt, endorsed.spki_der(), &Portable).unwrap();
    assert!(endorsed.covers(verified.tx_id().unwrap()));
    assert!(endorsement::verify(&endorsement_bytes, &service_spki(1), &Portable).is_err());
}
