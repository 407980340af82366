//! What becomes of open proposals: a busy machine, new rules, limits, a restart.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use crypto::native::{Curve, EcKeyPair, LedgerSecret};
use host_core::{Call, Genesis, MessageType, Service, Settings};
use model::ProposalId;
use model::proposal::{ProposalInfo, ProposalState};
use model::tables;
use serde_json::{Value as JsonValue, json};
use support::{
    CONSTITUTION, Member, NOW, TestService, code_of, entropy, genesis, id_of, json_of, node_setup,
};

fn nothing() -> JsonValue {
    json!([{"name": "nothing"}])
}

fn info(service: &TestService, id: ProposalId) -> ProposalInfo {
    let state = service.service.state();
    tables::PROPOSALS_INFO.get(&state, &id).unwrap().unwrap().0
}

#[test]
fn a_busy_machine_decides_nothing() {
    let mut service = TestService::active();
    let id = id_of(&json_of(&service.propose(0, json!([{"name": "busy"}]))));
    service.vote(0, id, "accept");
    service.vote(1, id, "accept");
    let last = service.vote(2, id, "accept");
    assert_eq!(
        (code_of(&last).as_str(), last.wrote),
        ("503 ExecutionLimit", false)
    );
    let info = info(&service, id);
    assert_eq!((info.state, info.ballots.len()), (ProposalState::Open, 2));
}

#[test]
fn new_rules_drop_every_other_open_proposal() {
    let mut service = TestService::active();
    let waiting = id_of(&json_of(&service.propose(0, nothing())));
    service.vote(1, waiting, "accept");
    let same = std::str::from_utf8(CONSTITUTION).unwrap();
    service.pass(json!([{"name": "set_constitution", "args": same}]));
    assert_eq!(
        info(&service, waiting).state,
        ProposalState::Open,
        "the rules are the same"
    );
    let summary = service.pass(json!([{"name": "set_constitution", "args": "other rules"}]));
    assert_eq!(summary["proposalState"], "Accepted");
    let dropped = info(&service, waiting);
    assert_eq!(dropped.state, ProposalState::Dropped);
    assert_eq!(dropped.final_votes.unwrap().len(), 1);
    assert_eq!(dropped.constitution_digest, Some(crypto::sha256(CONSTITUTION)));
    assert_eq!(
        code_of(&service.vote(0, waiting, "accept")),
        "400 ProposalNotOpen"
    );
    let under_new = json_of(&service.propose(0, nothing()));
    let digest = crypto::sha256(b"other rules").to_string();
    assert_eq!(under_new["constitutionDigest"], digest);
}

#[test]
fn a_member_has_a_hundred_open_proposals_at_most() {
    let mut service = TestService::active();
    let first = id_of(&json_of(&service.propose(0, nothing())));
    // The host's own limit, said here once more.
    const OPEN_PER_MEMBER_MAX: usize = 100;
    for _ in 1..OPEN_PER_MEMBER_MAX {
        assert_eq!(service.propose(0, nothing()).reply.status, 200);
    }
    assert_eq!(
        code_of(&service.propose(0, nothing())),
        "400 TooManyOpenProposals"
    );
    assert_eq!(service.propose(1, nothing()).reply.status, 200);
    let request = service.request(0, MessageType::Withdrawal, Some(first), b"");
    service.commit(Call::Governance(request));
    assert_eq!(service.propose(0, nothing()).reply.status, 200);
}

#[test]
fn a_restart_makes_the_index_of_open_proposals_anew() {
    let mut service = TestService::active();
    let open = id_of(&json_of(&service.propose(0, nothing())));
    let closed = id_of(&service.pass(nothing()));
    let table = tables::OPEN_PROPOSALS.name();
    service.pass(json!([
        {"name": "remove", "args": {"table": table, "key": open}},
        {"name": "write", "args": {"table": table, "key": closed, "value": 0}},
    ]));
    let indexed = |service: &Service| -> Vec<ProposalId> {
        let state = service.state();
        let mut keys = Vec::new();
        for id in [open, closed] {
            if tables::OPEN_PROPOSALS.has(&state, &id).unwrap() {
                keys.push(id);
            }
        }
        keys
    };
    assert_eq!(indexed(&service.service), [closed]);
    let (resumed, _, _) = service.resume(&service.ledger).unwrap();
    assert_eq!(indexed(&resumed), [open]);
}

#[test]
fn the_largest_component_passes_when_it_is_proposed() {
    let mut service = TestService::active();
    let component = model::b64::encode(&vec![7; 4 << 20]);
    let summary = json_of(&service.propose(0, json!([{"name": "auto", "args": {"component": component}}])));
    assert_eq!(summary["proposalState"], "Accepted", "{summary}");
}

fn begin(genesis: &Genesis) -> Result<Service, String> {
    Service::genesis(
        genesis,
        node_setup(),
        EcKeyPair::generate(Curve::P384).unwrap(),
        LedgerSecret::random(),
        Settings::default(),
        entropy(1),
        NOW,
    )
    .map(|(service, _)| service)
    .map_err(|e| e.to_string())
}

#[test]
fn members_of_the_first_hour_obey_the_rules_for_members() {
    let members = [Member::new("ann", Some(0)), Member::new("op", Some(1))];
    let with = |data: JsonValue, key: bool| {
        let mut genesis = genesis(&members, 1);
        genesis.members[1].data = Some(data);
        if !key {
            genesis.members[1].encryption_key = None;
        }
        begin(&genesis)
    };
    let operator = json!({"isOperator": true});
    let refused = with(operator.clone(), true).err().unwrap();
    assert!(refused.contains("share"), "{refused}");
    let service = with(operator.clone(), false).unwrap();
    let row = tables::MEMBER_INFO
        .get(&service.state(), &members[1].id)
        .unwrap()
        .unwrap();
    assert_eq!(row.0.member_data, Some(operator));
    for data in [
        json!({"isOperator": "true"}),
        json!({"isRecoveryOperator": "false"}),
        json!({"isOperator": 1}),
        json!({"isRecoveryOperator": "yes"}),
        json!({"cgsRoles": {"cgsOperator": "TRUE"}}),
        json!({"cgsRoles": []}),
        json!("operator"),
    ] {
        assert!(with(data.clone(), false).is_err(), "{data}");
    }
    with(JsonValue::Null, true).unwrap();
}
