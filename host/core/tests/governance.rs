//! Proposals, ballots and acknowledgements, with real signatures and a native constitution.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use crypto::native::{Curve, EcKeyPair, Native};
use host_core::{AuthError, Call, MemberRequest, MessageType, ServiceTime};
use model::ProposalId;
use model::proposal::{ACCEPT_SCRIPT, REJECT_SCRIPT};
use model::tables;
use serde_json::{Value as JsonValue, json};
use support::{Member, NOW, TestService, code_of, id_of, json_of, row};

fn nothing() -> JsonValue {
    json!([{"name": "nothing"}])
}

#[test]
fn a_proposal_carries_once_all_have_voted_and_stays_readable() {
    let mut service = TestService::active();
    let first =
        service.pass(json!([{"name": "write", "args": {"table": "public:rows", "key": "a", "value": 1}}]));
    assert_eq!(first["proposalState"], "Accepted");
    assert_eq!(first["finalVotes"].as_object().unwrap().len(), 3);
    assert_eq!(row(&service.service.state(), "public:rows", "a").unwrap(), "1");
    service.pass(nothing());
    let state = service.service.state();
    let kept = tables::PROPOSALS_INFO.get(&state, &id_of(&first)).unwrap();
    assert!(kept.is_some(), "closed proposals are kept");
}

#[test]
fn creating_a_proposal_casts_no_vote() {
    let mut service = TestService::active();
    let summary = json_of(&service.propose(0, nothing()));
    assert_eq!(summary["ballotCount"], 0);
    assert_eq!(summary["proposalState"], "Open");
}

#[test]
fn one_no_rejects_and_closed_proposals_take_no_ballot() {
    let mut service = TestService::active();
    let id = id_of(&json_of(&service.propose(0, nothing())));
    assert_eq!(
        json_of(&service.vote(1, id, "reject"))["proposalState"],
        "Rejected"
    );
    assert_eq!(code_of(&service.vote(0, id, "accept")), "400 ProposalNotOpen");
}

#[test]
fn a_failed_apply_is_final_and_writes_nothing_else() {
    for name in ["fail", "trap", "no-such-action"] {
        let mut service = TestService::active();
        let summary = service.pass(json!([{"name": name}]));
        assert_eq!(summary["proposalState"], "Failed", "{name}");
        assert!(summary["failure"]["reason"].is_string());
        let state = service.service.state();
        assert_eq!(row(&state, "public:rows", "half"), None);
        let stored = tables::PROPOSALS_INFO
            .get(&state, &id_of(&summary))
            .unwrap()
            .unwrap();
        assert_eq!(stored.0.ballots.len(), 3, "the last ballot stays");
    }
}

#[test]
fn scripts_and_native_ballots_are_the_same_vote() {
    let mut service = TestService::active();
    let id = id_of(&json_of(&service.propose(0, nothing())));
    service.vote(0, id, "accept");
    let script = json!({"ballot": ACCEPT_SCRIPT}).to_string();
    let again = service.ballot(0, id, &script);
    assert_eq!((again.reply.status, again.wrote), (200, false));
    let other = json!({"ballot": REJECT_SCRIPT}).to_string();
    assert_eq!(code_of(&service.ballot(0, id, &other)), "400 VoteAlreadyExists");
    let state = service.service.state();
    let info = tables::PROPOSALS_INFO.get(&state, &id).unwrap().unwrap().0;
    assert_eq!(info.ballots[&service.members[0].id], ACCEPT_SCRIPT);
}

#[test]
fn other_ballots_are_refused() {
    let mut service = TestService::active();
    let id = id_of(&json_of(&service.propose(0, nothing())));
    let code = |service: &mut TestService, payload: &str| code_of(&service.ballot(0, id, payload));
    let script = json!({"ballot": "export function vote () { return true }"}).to_string();
    assert_eq!(code(&mut service, &script), "400 UnsupportedBallot");
    assert_eq!(
        code(&mut service, r#"{"ballot":{"vote":"maybe"}}"#),
        "400 UnsupportedBallot"
    );
    assert_eq!(code(&mut service, r#"{"ballot":true}"#), "400 InvalidInput");
    assert_eq!(code(&mut service, "{}"), "400 InvalidInput");
    assert_eq!(code(&mut service, "{"), "400 InvalidInput");
    let wrong = json!({"ballot": {"vote": "accept", "proposalDigest": "00".repeat(32)}}).to_string();
    assert_eq!(code(&mut service, &wrong), "400 InvalidInput");
    let text = json!({"actions": nothing()}).to_string();
    let digest = crypto::sha256(text.as_bytes()).to_string();
    let right = json!({"ballot": {"vote": "accept", "proposalDigest": digest}}).to_string();
    assert_eq!(service.ballot(0, id, &right).reply.status, 200);
}

#[test]
fn unknown_proposals_and_malformed_ones_have_their_codes() {
    let mut service = TestService::active();
    let unknown = ProposalId(crypto::sha256(b"nothing"));
    assert_eq!(
        code_of(&service.vote(0, unknown, "accept")),
        "404 ProposalNotFound"
    );
    let request = service.request(0, MessageType::Withdrawal, Some(unknown), b"");
    assert_eq!(service.commit(Call::Governance(request)).reply.status, 204);
    let request = service.request(0, MessageType::Proposal, None, b"no JSON");
    let outcome = service.commit(Call::Governance(request));
    assert_eq!(code_of(&outcome), "400 ProposalFailedToValidate");
    assert!(!outcome.wrote);
    let later = service.propose(0, json!([{"name": "later"}]));
    assert_eq!(code_of(&later), "400 ActionNotAvailable");
    let endless = service.propose(0, json!([{"name": "loop"}]));
    assert_eq!(code_of(&endless), "503 ExecutionLimit");
}

#[test]
fn only_its_proposer_withdraws_an_open_proposal() {
    let mut service = TestService::active();
    let id = id_of(&json_of(&service.propose(0, nothing())));
    let withdraw = |service: &mut TestService, member: usize| {
        let request = service.request(member, MessageType::Withdrawal, Some(id), b"");
        service.commit(Call::Governance(request))
    };
    assert_eq!(code_of(&withdraw(&mut service, 1)), "403 AuthorizationFailed");
    assert_eq!(json_of(&withdraw(&mut service, 0))["proposalState"], "Withdrawn");
    let again = withdraw(&mut service, 0);
    assert_eq!((again.reply.status, again.wrote), (200, false));
    let carried = id_of(&service.pass(nothing()));
    let request = service.request(0, MessageType::Withdrawal, Some(carried), b"");
    assert_eq!(
        code_of(&service.commit(Call::Governance(request))),
        "400 ProposalNotOpen"
    );
}

#[test]
fn the_same_signed_proposal_is_taken_once() {
    let mut service = TestService::active();
    let text = json!({"actions": nothing()}).to_string();
    let message = service.members[0].sign(MessageType::Proposal, None, text.as_bytes(), NOW);
    let request = service.verify(&message, MessageType::Proposal, None).unwrap();
    // Both in one batch: the second must see the first.
    let first = service.execute(Call::Governance(request.clone()));
    assert_eq!(first.reply.status, 200);
    let second = service.execute(Call::Governance(request));
    assert_eq!(code_of(&second), "400 ProposalReplay");
    assert!(!second.wrote);
}

#[test]
fn members_act_only_after_acknowledging_the_digest_on_record() {
    let mut service = TestService::begin();
    let text = json!({"actions": nothing()}).to_string();
    let message = service.members[0].sign(MessageType::Proposal, None, text.as_bytes(), NOW);
    let refused = service.verify(&message, MessageType::Proposal, None);
    assert_eq!(refused.unwrap_err(), AuthError::NotActive);
    let update = service.request(0, MessageType::StateDigest, None, b"");
    assert_eq!(service.commit(Call::Governance(update)).reply.status, 200);
    let wrong = json!({"stateDigest": "00".repeat(32)}).to_string();
    let ack = service.request(0, MessageType::Ack, None, wrong.as_bytes());
    assert_eq!(
        code_of(&service.commit(Call::Governance(ack))),
        "400 StateDigestMismatch"
    );
    service.acknowledge(0);
    service.verify(&message, MessageType::Proposal, None).unwrap();
}

#[test]
fn a_member_removed_meanwhile_is_refused_by_the_writer() {
    let mut service = TestService::active();
    let cid = service.members[2].id;
    let late = service.request(
        2,
        MessageType::Proposal,
        None,
        br#"{"actions":[{"name":"auto"}]}"#,
    );
    service.pass(json!([{"name": "remove_member", "args": cid}]));
    assert_eq!(
        code_of(&service.commit(Call::Governance(late))),
        "401 InvalidAuthenticationInfo"
    );
}

#[test]
fn removing_the_missing_voter_decides_open_proposals() {
    let mut service = TestService::active();
    let waiting = id_of(&json_of(&service.propose(
        0,
        json!([{"name": "write", "args": {"table": "public:rows", "key": "b", "value": 2}}]),
    )));
    service.vote(0, waiting, "accept");
    service.vote(1, waiting, "accept");
    let cid = service.members[2].id;
    service.pass(json!([{"name": "remove_member", "args": cid}]));
    let state = service.service.state();
    let info = tables::PROPOSALS_INFO.get(&state, &waiting).unwrap().unwrap().0;
    assert_eq!(format!("{:?}", info.state), "Accepted");
    assert_eq!(row(&state, "public:rows", "b").unwrap(), "2");
}

#[test]
fn the_index_of_open_proposals_holds_just_those() {
    let mut service = TestService::active();
    let open = |service: &TestService| -> Vec<ProposalId> {
        let state = service.service.state();
        let indexed: Vec<_> = tables::OPEN_PROPOSALS.rows(&state).unwrap();
        let ids: Vec<_> = indexed.into_iter().map(|row| row.key).collect();
        let found = model::proposal_rows::open(&state).unwrap();
        assert_eq!(found.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ids);
        ids
    };
    let write = json!([{"name": "write", "args": {"table": "public:rows", "key": "a", "value": 1}}]);
    let withdrawn = id_of(&json_of(&service.propose(0, write.clone())));
    assert_eq!(open(&service), [withdrawn]);
    let request = service.request(0, MessageType::Withdrawal, Some(withdrawn), b"");
    service.commit(Call::Governance(request));
    assert!(open(&service).is_empty());
    let passed = id_of(&json_of(&service.propose(1, write)));
    service.vote(0, passed, "accept");
    assert_eq!(open(&service), [passed]);
    service.vote(1, passed, "accept");
    service.vote(2, passed, "accept");
    assert!(open(&service).is_empty());
}

#[test]
fn changes_that_would_break_the_service_fail() {
    for name in ["recover", "break_constitution"] {
        let mut service = TestService::active();
        assert_eq!(
            service.pass(json!([{"name": name}]))["proposalState"],
            "Failed",
            "{name}"
        );
    }
    // Opening without enough members that hold shares.
    let mut service = TestService::begin();
    service.acknowledge(0);
    assert_eq!(service.pass(json!([{"name": "open"}]))["proposalState"], "Failed");
    // Nor may a threshold rise above them.
    let mut service = TestService::open();
    assert_eq!(
        service.pass(json!([{"name": "threshold", "args": 4}]))["proposalState"],
        "Failed"
    );
}

#[test]
fn a_critical_header_is_understood_and_there_or_the_message_is_401_with_that_reason() {
    use crypto::cose::{ProtectedHeader, assemble, label, to_be_signed};
    let service = TestService::active();
    let member = &service.members[0];
    let sign = |crit: &[&str]| {
        let labels = crit.iter().map(|name| (*name).into()).collect();
        let header = ProtectedHeader::new()
            .int(label::ALG, member.key.curve().cose_alg())
            .int(label::CRIT, ciborium::Value::Array(labels))
            .int(label::KID, member.id.to_string().into_bytes())
            .text("ccf.gov.msg.type", MessageType::Ack.as_str())
            .text("ccf.gov.msg.created_at", NOW)
            .text("x-unknown", 1)
            .encode();
        let signature = member.key.sign_fixed(&to_be_signed(&header, b"{}")).unwrap();
        assemble(&header, &[], Some(b"{}"), &signature)
    };
    let verify = |crit: &[&str]| service.verify(&sign(crit), MessageType::Ack, None);
    verify(&["ccf.gov.msg.type", "ccf.gov.msg.created_at"]).unwrap();
    for (crit, reason) in [
        (&["x-unknown"][..], "\"x-unknown\" is not understood"),
        (&["ccf.gov.msg.proposal_id"], "critical and absent"),
        (&["ccf.gov.msg.type", "x-absent"], "critical and absent"),
        (&[], "not a list"),
    ] {
        let error = verify(crit).unwrap_err();
        assert!(error.to_string().contains(reason), "{crit:?}: {error}");
        assert_eq!(error.reply().status, 401, "{crit:?}");
    }
}

#[test]
fn the_reply_to_the_deciding_ballot_tells_what_came_of_it() {
    let mut service = TestService::active();
    let effects = json!({"contractsConcerned": {service.members[2].id.to_string(): ["c1", "c2"]}});
    let actions = json!([{"name": "effects", "args": effects}]);
    let id = id_of(&json_of(&service.propose(0, actions)));
    for member in 0..2 {
        assert_eq!(json_of(&service.vote(member, id, "accept")).get("effects"), None);
    }
    assert_eq!(json_of(&service.vote(2, id, "accept"))["effects"], effects);
}

#[test]
fn signed_messages_are_checked_before_anything_else() {
    let service = TestService::active();
    let member = &service.members[0];
    let id = ProposalId(crypto::sha256(b"p"));
    let good = member.sign(MessageType::Ballot, Some(id), b"{}", NOW);
    service.verify(&good, MessageType::Ballot, Some(id)).unwrap();
    let other = ProposalId(crypto::sha256(b"q"));
    let check = |message: &[u8], kind, proposal| service.verify(message, kind, proposal).unwrap_err();
    assert_eq!(
        check(&good, MessageType::Ballot, Some(other)),
        AuthError::OtherProposal
    );
    assert_eq!(check(&good, MessageType::Ballot, Some(other)).reply().status, 400);
    assert!(matches!(
        check(&good, MessageType::Ack, None),
        AuthError::Type { .. }
    ));
    assert!(matches!(
        check(b"", MessageType::Ack, None),
        AuthError::Malformed(_)
    ));
    assert!(matches!(
        check(&good[..good.len() - 1], MessageType::Ballot, Some(id)),
        AuthError::Malformed(_)
    ));
    for at in [good.len() - 1, good.len() - 50] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(
            matches!(
                check(&bad, MessageType::Ballot, Some(id)),
                AuthError::Signature(_)
            ),
            "{at}"
        );
    }
    // Somebody else's key under a member's id.
    let mut stranger = Member::new("eve", None);
    assert_eq!(
        check(
            &stranger.sign(MessageType::Ack, None, b"{}", NOW),
            MessageType::Ack,
            None
        ),
        AuthError::UnknownSigner
    );
    stranger.id = member.id;
    let forged = stranger.sign(MessageType::Ack, None, b"{}", NOW);
    assert!(matches!(
        check(&forged, MessageType::Ack, None),
        AuthError::Signature(_)
    ));
    assert_eq!(check(&forged, MessageType::Ack, None).reply().status, 401);
    // A year later the certificate has expired.
    let state = service.service.state();
    let late = MemberRequest::verify(
        &state,
        &good,
        MessageType::Ballot,
        Some(&id),
        &Native,
        ServiceTime::new((NOW + 366 * 86_400) * 1000, 0),
    );
    assert_eq!(late.unwrap_err(), AuthError::CertificateExpired);
}

#[test]
fn headers_may_come_in_any_order_and_created_at_is_mandatory() {
    use crypto::cose::{ProtectedHeader, assemble, label, to_be_signed};
    let service = TestService::active();
    let member = &service.members[0];
    let sign = |header: ProtectedHeader| {
        let protected = header.encode();
        let signature = member.key.sign_fixed(&to_be_signed(&protected, b"{}")).unwrap();
        assemble(&protected, &[], Some(b"{}"), &signature)
    };
    let kid = member.id.to_string().into_bytes();
    let alg = EcKeyPair::generate(Curve::P384).unwrap().curve().cose_alg();
    let turned = sign(
        ProtectedHeader::new()
            .text("ccf.gov.msg.created_at", NOW)
            .text("ccf.gov.msg.type", "ack")
            .text("unknown", "ignored")
            .int(label::KID, kid.clone())
            .int(label::ALG, alg),
    );
    service.verify(&turned, MessageType::Ack, None).unwrap();
    let timeless = sign(
        ProtectedHeader::new()
            .int(label::ALG, alg)
            .int(label::KID, kid)
            .text("ccf.gov.msg.type", "ack"),
    );
    assert!(matches!(
        service.verify(&timeless, MessageType::Ack, None),
        Err(AuthError::Malformed(_))
    ));
}

#[test]
fn every_change_is_stored_with_the_message_that_made_it() {
    let mut service = TestService::active();
    let kept = |service: &mut TestService, by: usize, request: MemberRequest| {
        let outcome = service.commit(Call::Governance(request.clone()));
        assert!(outcome.reply.status < 300, "{:?}", request.kind());
        let signer = service.members[by].id;
        let row = tables::COSE_HISTORY
            .get(&service.service.state(), &signer)
            .unwrap();
        let message = model::b64::decode(&row.unwrap().0).unwrap();
        assert!(message == request.envelope(), "{:?}", request.kind());
        outcome
    };
    let propose = |service: &mut TestService| {
        let text = json!({ "actions": nothing() }).to_string();
        let request = service.request(0, MessageType::Proposal, None, text.as_bytes());
        id_of(&json_of(&kept(service, 0, request)))
    };
    let id = propose(&mut service);
    let ballot = json!({ "ballot": { "vote": "accept" } }).to_string();
    let request = service.request(1, MessageType::Ballot, Some(id), ballot.as_bytes());
    kept(&mut service, 1, request);
    let id = propose(&mut service);
    let request = service.request(0, MessageType::Withdrawal, Some(id), b"");
    kept(&mut service, 0, request);
    let request = service.request(2, MessageType::StateDigest, None, b"");
    kept(&mut service, 2, request);
}
