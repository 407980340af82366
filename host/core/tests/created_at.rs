//! Times that members write under their signatures: from the future, from the past, and again.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use host_core::governance::replay::SAME_SECOND_MAX;
use host_core::time::SKEW_SECONDS_MAX;
use host_core::{AuthError, Call, MessageType, Outcome};
use model::service::ServiceConfig;
use model::tables;
use serde_json::json;
use support::{NOW, TestService, code_of, id_of, json_of, row};

/// A signed proposal of this member that passes at once; `mark` makes it another one.
fn signed(service: &TestService, member: usize, at: u64, mark: usize) -> Vec<u8> {
    let text = json!({"actions": [{"name": "auto", "args": {"mark": mark}}]}).to_string();
    service.members[member].sign(MessageType::Proposal, None, text.as_bytes(), at)
}

fn post(service: &mut TestService, message: &[u8]) -> Outcome {
    match service.verify(message, MessageType::Proposal, None) {
        Ok(request) => service.commit(Call::Governance(request)),
        Err(error) => Outcome {
            reply: error.reply(),
            tx: kv::TxId::default(),
            wrote: false,
            fault: None,
        },
    }
}

fn propose(service: &mut TestService, member: usize, at: u64, mark: usize) -> String {
    let message = signed(service, member, at, mark);
    code_of(&post(service, &message))
}

fn window_of(service: &mut TestService, size: u32) {
    let config = ServiceConfig {
        recovery_threshold: 2,
        maximum_node_certificate_validity_days: None,
        maximum_service_certificate_validity_days: None,
        recent_cose_proposals_window_size: Some(size),
        quota_rows: None,
        quota_bytes: None,
    };
    let args = json!({"table": tables::SERVICE_CONFIG.name(), "key": "\0\0\0\0\0\0\0\0", "value": config});
    let summary = service.pass(json!([{"name": "write", "args": args}]));
    assert_eq!(summary["proposalState"], "Accepted", "{summary}");
}

#[test]
fn fifty_proposals_dated_2286_change_nothing_for_others() {
    let mut service = TestService::active();
    for mark in 0..50 {
        assert_eq!(
            propose(&mut service, 1, 9_999_999_999, mark),
            "400 InvalidCreatedAt"
        );
    }
    for member in 0..3 {
        assert_eq!(propose(&mut service, member, NOW, 0), "200 -");
    }
}

#[test]
fn a_signed_message_ten_minutes_ahead_is_the_last_that_is_taken() {
    let service = TestService::active();
    for kind in [MessageType::Proposal, MessageType::StateDigest, MessageType::Ack] {
        let verify = |at| {
            let message = service.members[0].sign(kind, None, b"{}", at);
            service.verify(&message, kind, None).map(|_| ())
        };
        let latest = service.clock + SKEW_SECONDS_MAX;
        assert_eq!(verify(latest), Ok(()));
        let ahead = AuthError::CreatedAhead {
            created_at: latest + 1,
            now: service.clock,
        };
        let text = ahead.to_string();
        assert!(text.contains(&service.clock.to_string()) && text.contains(&(latest + 1).to_string()));
        assert_eq!(verify(latest + 1), Err(ahead));
    }
}

#[test]
fn a_ballot_from_the_future_is_refused_before_it_is_counted() {
    let mut service = TestService::active();
    let id = id_of(&json_of(&service.propose(0, json!([{"name": "nothing"}]))));
    let payload = br#"{"ballot":{"vote":"accept"}}"#;
    let ballot = service.members[0].sign(MessageType::Ballot, Some(id), payload, NOW + 365 * 86_400);
    let refused = service
        .verify(&ballot, MessageType::Ballot, Some(id))
        .unwrap_err();
    assert_eq!(refused.reply().status, 400);
}

#[test]
fn a_member_with_its_clock_ahead_pushes_nobody_out() {
    let mut service = TestService::active();
    window_of(&mut service, 5);
    let now = service.clock;
    let kept = signed(&service, 0, now, 0);
    assert_eq!(code_of(&post(&mut service, &kept)), "200 -");
    for mark in 0..20 {
        assert_eq!(propose(&mut service, 1, now + 500, mark), "200 -");
    }
    assert_eq!(code_of(&post(&mut service, &kept)), "400 ProposalReplay");
    // Nor keeps anybody from speaking at the right time.
    assert_eq!(propose(&mut service, 0, now + 1, 1), "200 -");
    assert_eq!(propose(&mut service, 2, NOW - 100, 1), "200 -");
}

#[test]
fn two_messages_of_one_second_replayed_after_a_hundred_others_are_refused() {
    let mut service = TestService::active();
    let pair = [signed(&service, 0, NOW, 0), signed(&service, 0, NOW, 1)];
    for message in &pair {
        assert_eq!(code_of(&post(&mut service, message)), "200 -");
    }
    // 99 more: the window of 100 would end between the two.
    for mark in 2..101 {
        assert_eq!(propose(&mut service, 0, NOW + 1, mark), "200 -");
    }
    for message in &pair {
        assert_eq!(code_of(&post(&mut service, message)), "400 ProposalReplay");
    }
    // One more, and both are behind it.
    assert_eq!(propose(&mut service, 0, NOW + 1, 101), "200 -");
    for message in &pair {
        let refused = post(&mut service, message);
        assert_eq!(code_of(&refused), "400 ProposalCreatedTooLongAgo");
        let details = &json_of(&refused)["error"]["details"][0];
        let told = json!({"leastCreatedAt": NOW + 1, "latestCreatedAt": NOW + 1});
        assert_eq!(details, &told);
    }
    assert_eq!(propose(&mut service, 0, NOW + 1, 102), "200 -");
}

#[test]
fn the_window_of_each_signer_has_as_many_as_configured() {
    let mut service = TestService::active();
    for at in 0..105 {
        for member in 0..2 {
            assert_eq!(propose(&mut service, member, NOW + at, 0), "200 -");
        }
    }
    let state = service.service.state();
    let public = tables::COSE_RECENT_PROPOSALS.rows(&state).unwrap();
    assert_eq!(public.len(), 200);
    assert!(public.iter().all(|row| row.key.len() == 10 + 1 + 64), "its form");
    assert_eq!(tables::PROPOSAL_WINDOWS.rows(&state).unwrap().len(), 200);
    // A wider window does not make young again what a narrower one has dropped.
    window_of(&mut service, 1000);
    assert_eq!(
        propose(&mut service, 1, NOW + 4, 0),
        "400 ProposalCreatedTooLongAgo"
    );
}

#[test]
fn a_thousand_proposals_of_one_second_are_the_most() {
    let mut service = TestService::active();
    let second = service.clock;
    for mark in 0..SAME_SECOND_MAX {
        let message = signed(&service, 0, second, mark);
        let request = service.verify(&message, MessageType::Proposal, None).unwrap();
        assert_eq!(service.execute(Call::Governance(request)).reply.status, 200);
    }
    assert_eq!(
        propose(&mut service, 0, second, SAME_SECOND_MAX),
        "400 InvalidCreatedAt"
    );
    assert_eq!(propose(&mut service, 0, second + 1, 0), "200 -");
}

#[test]
fn a_removed_signer_who_comes_back_cannot_be_replayed() {
    let mut service = TestService::active();
    let message = signed(&service, 2, NOW, 0);
    assert_eq!(code_of(&post(&mut service, &message)), "200 -");
    let cid = service.members[2].id;
    let state = service.service.state();
    let keep = |table: &str| row(&state, table, &cid.to_string()).unwrap();
    let info = keep(tables::MEMBER_INFO.name());
    service.pass(json!([{"name": "remove_member", "args": cid}]));
    let write = |table: &str, value: &str| {
        json!({"name": "write", "args": {"table": table, "key": cid.to_string(),
            "value": serde_json::from_str::<serde_json::Value>(value).unwrap()}})
    };
    assert_eq!(
        code_of(&post(&mut service, &message)),
        "401 InvalidAuthenticationInfo"
    );
    service.pass(json!([
        write(tables::MEMBER_INFO.name(), &info),
        {"name": "restore_cert", "args": {"id": cid, "pem": service.members[2].pem}},
    ]));
    assert_eq!(code_of(&post(&mut service, &message)), "400 ProposalReplay");
    assert_eq!(
        propose(&mut service, 2, NOW - 1, 7),
        "400 ProposalCreatedTooLongAgo"
    );
}
