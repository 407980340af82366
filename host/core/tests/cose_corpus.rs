//! Governance messages that attackers made of good ones: none of them is anybody's request.
//!
//! Each case changes one thing. Where the signature covers what was changed, the member's own key
//! signs the changed header, so that the case stands on the check that it is about.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use ciborium::Value;
use crypto::cose::{Sign1, assemble, label, to_be_signed};
use crypto::native::{Curve, EcKeyPair};
use crypto::spki::KeyKind;
use host_core::{Call, MessageType};
use model::ProposalId;
use support::{Member, NOW, TestService};

const TYPE: &str = "ccf.gov.msg.type";
const CREATED_AT: &str = "ccf.gov.msg.created_at";
const PROPOSAL: &str = "ccf.gov.msg.proposal_id";
const SERVICE: &str = "ccf.gov.msg.service";
const PAYLOAD: &[u8] = br#"{"ballot":{"vote":"accept"}}"#;

type Header = Vec<(Value, Value)>;

fn proposal() -> ProposalId {
    ProposalId(crypto::sha256(b"p"))
}

/// The header of a good ballot.
fn good(member: &Member) -> Header {
    vec![
        (label::ALG.into(), (-35).into()),
        (label::KID.into(), member.id.to_string().into_bytes().into()),
        (TYPE.into(), "ballot".into()),
        (CREATED_AT.into(), NOW.into()),
        (PROPOSAL.into(), proposal().to_string().into()),
    ]
}

fn encode(header: &Header) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&Value::Map(header.clone()), &mut bytes).unwrap();
    bytes
}

fn sign_bytes(key: &EcKeyPair, protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let signature = key.sign_fixed(&to_be_signed(protected, payload)).unwrap();
    assemble(protected, &[], Some(payload), &signature)
}

fn sign(key: &EcKeyPair, header: &Header) -> Vec<u8> {
    sign_bytes(key, &encode(header), PAYLOAD)
}

/// A good header with one entry replaced.
fn with(member: &Member, label: impl Into<Value>, value: impl Into<Value>) -> Header {
    let label = label.into();
    let mut header = without(member, label.clone());
    header.push((label, value.into()));
    header
}

fn without(member: &Member, label: impl Into<Value>) -> Header {
    let label = label.into();
    good(member)
        .into_iter()
        .filter(|(known, _)| *known != label)
        .collect()
}

/// A good header with one entry more, which may be there already.
fn and(member: &Member, label: impl Into<Value>, value: impl Into<Value>) -> Header {
    let mut header = good(member);
    header.push((label.into(), value.into()));
    header
}

/// An array in an array, and so on.
fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = vec![0x81; depth];
    bytes.push(0);
    bytes
}

/// A header map of one text label and these bytes as its value.
fn map_of(value: &[u8]) -> Vec<u8> {
    [&[0xa1, 0x61, b'x'], value].concat()
}

/// Head of a CBOR item that claims 2^63 elements.
fn huge(major: u8) -> Vec<u8> {
    [vec![(major << 5) | 27], (1_u64 << 63).to_be_bytes().to_vec()].concat()
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn corpus(ann: &Member, bob: &Member) -> Vec<(&'static str, Vec<u8>)> {
    let (key, kid) = (&ann.key, ann.id.to_string());
    let fine = sign(key, &good(ann));
    let read = Sign1::parse(&fine).unwrap();
    let (protected, signature) = (read.protected(), read.signature());
    let p256 = EcKeyPair::generate(Curve::P256).unwrap();
    let with_unprotected = |header: &Header, unprotected: &[(i64, Value)]| {
        let protected = encode(header);
        let signature = key.sign_fixed(&to_be_signed(&protected, PAYLOAD)).unwrap();
        assemble(&protected, unprotected, Some(PAYLOAD), &signature)
    };
    let parts = |protected: &[u8], unprotected: &[u8], payload: &[u8], signature: &[u8]| {
        [&[0xd2, 0x84], protected, unprotected, payload, signature].concat()
    };
    let string = |bytes: &[u8]| {
        let mut out = Vec::new();
        ciborium::into_writer(&Value::Bytes(bytes.to_vec()), &mut out).unwrap();
        out
    };
    let (protected_item, payload_item, signature_item) =
        (string(protected), string(PAYLOAD), string(signature));
    let deep = map_of(&nested(100_000));
    let kid_value = || Value::from(kid.clone().into_bytes());
    vec![
        // Whose key, and which algorithm.
        (
            "another member's kid over one's own signature",
            sign(key, &with(ann, label::KID, bob.id.to_string().into_bytes())),
        ),
        ("another key under a member's kid", sign(&bob.key, &good(ann))),
        (
            "a kid that nobody has",
            sign(key, &with(ann, label::KID, "00".repeat(32).into_bytes())),
        ),
        (
            "a kid in capitals",
            sign(key, &with(ann, label::KID, kid.to_uppercase().into_bytes())),
        ),
        ("a kid as text", sign(key, &with(ann, label::KID, kid.clone()))),
        (
            "a kid of 32 raw bytes",
            sign(key, &with(ann, label::KID, ann.id.0.0.to_vec())),
        ),
        (
            "an empty kid",
            sign(key, &with(ann, label::KID, Vec::<u8>::new())),
        ),
        ("no kid", sign(key, &without(ann, label::KID))),
        ("ES256 by a key of P-384", sign(key, &with(ann, label::ALG, -7))),
        ("ES512 by a key of P-384", sign(key, &with(ann, label::ALG, -36))),
        (
            "ES256 by a key of P-256 under a member's kid",
            sign(&p256, &with(ann, label::ALG, -7)),
        ),
        ("HMAC with the public key", sign(key, &with(ann, label::ALG, 5))),
        ("EdDSA", sign(key, &with(ann, label::ALG, -8))),
        ("no algorithm", sign(key, &without(ann, label::ALG))),
        (
            "the algorithm as text",
            sign(key, &with(ann, label::ALG, "ES384")),
        ),
        // What is not signed.
        (
            "the kid in the unprotected header",
            with_unprotected(&without(ann, label::KID), &[(label::KID, kid_value())]),
        ),
        (
            "the algorithm in the unprotected header",
            with_unprotected(&without(ann, label::ALG), &[(label::ALG, (-35).into())]),
        ),
        (
            "an unprotected header that is no map",
            parts(&protected_item, &[0x80], &payload_item, &signature_item),
        ),
        // The signature.
        ("no signature", assemble(protected, &[], Some(PAYLOAD), &[])),
        (
            "two signatures in a row",
            assemble(protected, &[], Some(PAYLOAD), &[signature, signature].concat()),
        ),
        (
            "a signature of zeros",
            assemble(protected, &[], Some(PAYLOAD), &[0; 96]),
        ),
        (
            "a signature cut by one byte",
            assemble(protected, &[], Some(PAYLOAD), &signature[..95]),
        ),
        (
            "a fifth element",
            [&[0xd2, 0x85][..], &fine[2..], &signature_item].concat(),
        ),
        ("bytes behind the message", [&fine[..], &[0]].concat()),
        // The payload.
        (
            "another payload",
            assemble(protected, &[], Some(b"{}"), signature),
        ),
        (
            "a payload that is detached",
            assemble(protected, &[], None, signature),
        ),
        // Labels.
        (
            "two kids",
            sign(key, &and(ann, label::KID, bob.id.to_string().into_bytes())),
        ),
        ("two types", sign(key, &and(ann, TYPE, "proposal"))),
        ("two proposals", sign(key, &and(ann, PROPOSAL, "00".repeat(32)))),
        (
            "crit",
            sign(key, &and(ann, label::CRIT, Value::Array(vec!["x".into()]))),
        ),
        // Depth and counts.
        (
            "a protected header nested 100,000 deep",
            sign_bytes(key, &deep, PAYLOAD),
        ),
        ("a header of 2^63 entries", sign_bytes(key, &huge(5), PAYLOAD)),
        (
            "a payload of 2^63 bytes",
            parts(&protected_item, &[0xa0], &huge(2), &signature_item),
        ),
        // What it is for.
        (
            "the type of another endpoint",
            sign(key, &with(ann, TYPE, "proposal")),
        ),
        (
            "another proposal than the path's",
            sign(key, &with(ann, PROPOSAL, "00".repeat(32))),
        ),
        ("another service", sign(key, &and(ann, SERVICE, "00".repeat(32)))),
        (
            "a time that is text",
            sign(key, &with(ann, CREATED_AT, NOW.to_string())),
        ),
    ]
}

#[test]
fn of_37_messages_that_attackers_make_of_a_good_one_none_is_a_request() {
    let service = TestService::active();
    let (ann, bob) = (&service.members[0], &service.members[1]);
    let fine = sign(&ann.key, &good(ann));
    service
        .verify(&fine, MessageType::Ballot, Some(proposal()))
        .unwrap();
    let corpus = corpus(ann, bob);
    assert_eq!(corpus.len(), 37);
    for (name, message) in corpus {
        let refused = service.verify(&message, MessageType::Ballot, Some(proposal()));
        let status = refused.map(|_| ()).map_err(|error| error.reply().status);
        assert!(matches!(status, Err(400 | 401)), "{name}: {status:?}");
    }
}

#[test]
fn a_ballot_under_the_twin_of_its_signature_counts_once() {
    let mut service = TestService::active();
    let id = support::id_of(&support::json_of(
        &service.propose(0, serde_json::json!([{"name": "nothing"}])),
    ));
    let message = service.members[0].sign(MessageType::Ballot, Some(id), PAYLOAD, NOW);
    let read = Sign1::parse(&message).unwrap();
    let twin = crypto::ecdsa::twin(KeyKind::EcP384, read.signature()).unwrap();
    let twin = assemble(read.protected(), &[], read.payload(), &twin);
    for message in [message, twin] {
        let request = service.verify(&message, MessageType::Ballot, Some(id)).unwrap();
        let summary = support::json_of(&service.commit(Call::Governance(request)));
        assert_eq!(summary["ballotCount"], 1);
    }
}
