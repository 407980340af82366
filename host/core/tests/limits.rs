//! Each size limit of the host's core: taken at its most, refused one beyond.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use crypto::native::issue::{Validity, self_signed_member};
use crypto::native::{Curve, EcKeyPair, LedgerSecret};
use crypto::x509::Certificate;
use host_core::genesis::GenesisError;
use host_core::member_request::BODY_BYTES_MAX;
use host_core::transaction::SCAN_ROWS_MAX;
use host_core::{AuthError, Call, MessageType, Service, Settings};
use kv::Read as _;
use ledger::limits::BATCH_ENTRIES_MAX;
use model::MemberId;
use serde_json::json;
use support::{Member, NOW, TestService, code_of, entropy, genesis, json_of, node_setup};

// The core's own limits, said here once more: whoever moves one says so in two places.
const CREATED_AT_MAX: u64 = 9_999_999_999;
const THRESHOLD_MAX: u16 = 254;

#[test]
fn a_signed_message_of_the_most_bytes_is_verified_and_one_byte_more_is_not() {
    let service = TestService::active();
    let kind = MessageType::Proposal;
    let message = |payload: usize| service.members[0].sign(kind, None, &vec![b' '; payload], NOW);
    let most = BODY_BYTES_MAX - (message(BODY_BYTES_MAX).len() - BODY_BYTES_MAX);
    assert_eq!(message(most).len(), BODY_BYTES_MAX);
    assert!(service.verify(&message(most), kind, None).is_ok());
    assert_eq!(
        service.verify(&message(most + 1), kind, None).map(drop),
        Err(AuthError::Malformed("it is larger than 8 MiB".into()))
    );
}

/// A member whose certificate outlives the tenth digit of time.
fn far_sighted() -> Member {
    let key = EcKeyPair::generate(Curve::P384).unwrap();
    let validity = Validity {
        not_before: NOW - 1000,
        days: 365 * 400,
    };
    let pem = self_signed_member(&key, "ann", validity).unwrap();
    let certificate = Certificate::from_pem(&pem).unwrap();
    Member {
        key,
        id: MemberId(certificate.id()),
        pem: certificate.to_pem(),
        ..Member::new("ann", Some(0))
    }
}

#[test]
fn a_time_of_ten_digits_is_remembered_and_one_of_eleven_is_refused() {
    let mut service = TestService::with(vec![far_sighted()], 1);
    service.acknowledge(0);
    service.clock = CREATED_AT_MAX;
    let mut propose = |at: u64| {
        let text = json!({"actions": [{"name": "nothing"}]}).to_string();
        let message = service.members[0].sign(MessageType::Proposal, None, text.as_bytes(), at);
        let request = service.verify(&message, MessageType::Proposal, None).unwrap();
        service.commit(Call::Governance(request))
    };
    assert_eq!(code_of(&propose(CREATED_AT_MAX)), "200 -");
    let refused = propose(CREATED_AT_MAX + 1);
    assert_eq!(code_of(&refused), "400 InvalidCreatedAt");
    let message = json_of(&refused)["error"]["message"].to_string();
    assert!(message.contains("more than ten digits"), "{message}");
}

#[test]
fn a_service_begins_with_the_highest_threshold_and_not_with_a_higher_one() {
    // Enough of them for one more.
    let members: Vec<Member> = (0..=THRESHOLD_MAX)
        .map(|at| Member::new(&format!("m{at}"), Some(0)))
        .collect();
    let begin = |threshold: u16| {
        Service::genesis(
            &genesis(&members, threshold),
            node_setup(),
            EcKeyPair::generate(Curve::P384).unwrap(),
            LedgerSecret::random(),
            Settings::default(),
            entropy(1),
            NOW,
        )
        .map(drop)
    };
    assert!(begin(THRESHOLD_MAX).is_ok());
    assert!(matches!(
        begin(THRESHOLD_MAX + 1),
        Err(GenesisError::Threshold {
            threshold: 255,
            participants: 255
        })
    ));
}

#[test]
fn a_reader_of_the_state_gets_the_most_rows_and_not_one_more() {
    let mut service = TestService::open();
    let rows: serde_json::Map<_, _> = (0..=SCAN_ROWS_MAX)
        .map(|n| (format!("{n:04}"), json!("x")))
        .collect();
    let call = service.app(&json!({ "public": rows }));
    service.commit(call);
    let state = service.service.state();
    let scan = |limit| state.scan("public:rows", b"", None, limit).unwrap().len();
    assert_eq!(scan(SCAN_ROWS_MAX - 1), SCAN_ROWS_MAX as usize - 1);
    assert_eq!(scan(SCAN_ROWS_MAX + 1), SCAN_ROWS_MAX as usize);
}

#[test]
fn a_batch_takes_the_most_entries_and_then_its_signature() {
    let mut service = TestService::open();
    let mut entries = 0;
    while !service.service.batch_is_full() {
        let call = service.app(&json!({"public": {"a": entries}}));
        assert!(service.execute(call).wrote);
        entries += 1;
    }
    assert_eq!(entries, BATCH_ENTRIES_MAX);
    assert_eq!(service.seal().unwrap().entry_sizes.len(), BATCH_ENTRIES_MAX + 1);
    assert!(!service.service.batch_is_full());
}
