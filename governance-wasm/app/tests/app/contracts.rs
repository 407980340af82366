//! Contracts and their consent (`governance-api.md` §7, §12.1, §12.2).

use model::member::MemberStatus;
use model::proposal::ProposalState;
use serde_json::json;

use crate::world::{World, member, member_id, pending_member, user};

#[test]
fn a_draft_is_created_and_changed_with_its_version_only() {
    let mut world = World::new();
    let ann = member("ann");
    let created = world.put(&ann, "/contracts/c1", json!({"data": "hello"}));
    assert_eq!((created.status, created.wrote), (200, true));
    world
        .put(&ann, "/contracts/c1", json!({"data": "x"}))
        .is(409, "ContractAlreadyExists");
    world
        .put(&ann, "/contracts/c1", json!({"data": "x", "version": "2.999"}))
        .is(412, "PreconditionFailed");
    let version = created.tx.to_string();
    let changed = world.put(
        &member("bob"),
        "/contracts/c1",
        json!({"data": {"a": 1}, "version": version}),
    );
    let read = world.post(&user("una"), "/contracts/c1", json!(null)).ok();
    assert_eq!(
        read,
        json!({"id": "c1", "state": "Draft", "version": changed.tx.to_string(), "data": {"a": 1}, "proposalId": ""})
    );
}

#[test]
fn what_is_malformed_about_a_draft_is_named() {
    let mut world = World::new();
    let ann = member("ann");
    world.put(&ann, "/contracts/c1", json!({})).is(400, "DataMissing");
    world
        .put(&ann, "/contracts/c1", json!({"data": null}))
        .is(400, "DataMissing");
    world
        .put(&ann, "/contracts/a b", json!({"data": 1}))
        .is(400, "InvalidResourceName");
    world
        .put(&ann, "/contracts/..", json!({"data": 1}))
        .is(400, "InvalidResourceName");
    world
        .put(&ann, "/contracts/c1", json!({"data": 1, "version": "2.1"}))
        .is(412, "PreconditionFailed");
    world
        .call(&ann, "PUT", "/contracts/c1", b"{\"data\":")
        .is(400, "InvalidInput");
    world
        .put(&pending_member("ann"), "/contracts/c1", json!({"data": 1}))
        .is(403, "MemberNotActive");
    // Falsy is not missing.
    for (id, data) in [("f1", json!("")), ("f2", json!(0)), ("f3", json!(false))] {
        assert_eq!(
            world
                .put(&ann, &format!("/contracts/{id}"), json!({"data": data}))
                .status,
            200
        );
    }
    world
        .post(&ann, "/contracts/none", json!(null))
        .is(404, "ContractNotFound");
}

#[test]
fn required_members_must_be_regular_members() {
    let mut world = World::new();
    world.set_member("ope", MemberStatus::Active, Some(json!({"isOperator": true})));
    let draft = |ids: serde_json::Value| json!({"data": {"metadata": {"voters": {"requiredMembers": ids}}}});
    for bad in [
        json!([]),
        json!([member_id("zed")]),
        json!([member_id("ope")]),
        json!(["ann"]),
    ] {
        world
            .put(&member("ann"), "/contracts/c1", draft(bad))
            .is(400, "InvalidRequiredMembers");
    }
    let good = draft(json!([member_id("ann"), member_id("bob")]));
    assert_eq!(world.put(&member("ann"), "/contracts/c1", good).status, 200);
}

#[test]
fn a_contract_is_proposed_while_its_proposal_is_open_and_cannot_change_then() {
    let mut world = World::new();
    let created = world.put(&member("ann"), "/contracts/c1", json!({"data": 1}));
    let version = created.tx.to_string();
    world.propose(
        '1',
        ProposalState::Rejected,
        "set_contract",
        json!({"contractId": "c1"}),
    );
    let id = world.propose(
        '2',
        ProposalState::Open,
        "set_contract",
        json!({"contractId": "c1"}),
    );
    let read = world.post(&member("bob"), "/contracts/c1", json!(null)).ok();
    assert_eq!(
        (&read["state"], &read["proposalId"]),
        (&json!("Proposed"), &json!(id))
    );
    world
        .put(
            &member("ann"),
            "/contracts/c1",
            json!({"data": 2, "version": version}),
        )
        .is(409, "ContractProposed");
}

#[test]
fn an_action_that_cannot_be_outlined_hides_no_other() {
    let mut world = World::new();
    let created = world.put(&member("ann"), "/contracts/c1", json!({"data": 1}));
    created.ok();
    let text = r#"{"actions":[
        {"name":"set_wasm_app","args":"x"}, {"name":7,"args":{"contractId":"c1"}}, 5, {},
        {"name":"set_contract","name":"set_contract","args":{"contractId":"no id"},
         "args":{"contractId":"c9","contractId":"c1","contract":{"data":[1,{"a":2}]}}}
    ]}"#;
    let id = world.propose_text('2', ProposalState::Open, text.into());
    world.propose_text('3', ProposalState::Open, "not JSON".into());
    let read = world.post(&member("bob"), "/contracts/c1", json!(null)).ok();
    assert_eq!(
        (&read["state"], &read["proposalId"]),
        (&json!("Proposed"), &json!(id))
    );
    let list = world.get(&member("bob"), "/contracts?state=Proposed").ok();
    assert_eq!(list["value"][0]["id"], "c1");
}

#[test]
fn lists_of_long_contracts_have_every_id() {
    let mut world = World::new();
    for n in 0..5 {
        let path = format!("/contracts/c{n}");
        world
            .put(&member("ann"), &path, json!({"data": "x".repeat(3000)}))
            .ok();
    }
    let list = world.get(&member("ann"), "/contracts").ok();
    assert_eq!(list["value"].as_array().unwrap().len(), 5);
}

#[test]
fn an_accepted_contract_shows_its_votes_and_is_immutable() {
    let mut world = World::new();
    world.accept_contract("c1", json!("hello"));
    let read = world.post(&member("bob"), "/contracts/c1", json!(null)).ok();
    assert_eq!(read["state"], "Accepted");
    assert_eq!(
        read["finalVotes"],
        json!([{"memberId": member_id("ann"), "vote": true}])
    );
    world
        .put(&member("ann"), "/contracts/c1", json!({"data": 2}))
        .is(405, "ContractAlreadyAccepted");
}

#[test]
fn lists_are_sorted_and_filtered_by_state() {
    let mut world = World::new();
    world.accept_contract("b", json!(1));
    for id in ["c", "a"] {
        world
            .put(&member("ann"), &format!("/contracts/{id}"), json!({"data": 1}))
            .ok();
    }
    world.propose(
        '2',
        ProposalState::Open,
        "set_contract",
        json!({"contractId": "a"}),
    );
    let mut ids = |query: &str| -> Vec<String> {
        let list = world.get(&member("ann"), &format!("/contracts{query}")).ok();
        list["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(""), ["a", "b", "c"]);
    assert_eq!(ids("?state=Accepted"), ["b"]);
    assert_eq!(ids("?state=Proposed"), ["a"]);
    assert_eq!(ids("?state=Draft"), ["c"]);
    world
        .get(&member("ann"), "/contracts?state=draft")
        .is(400, "InvalidParameter");
    world
        .get(&member("ann"), "/contracts?state=Draft&state=Draft")
        .is(400, "InvalidParameter");
}

#[test]
fn one_switch_disables_execution_and_only_its_owner_can_enable_it() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    let status = "/contracts/c1/runtimeoptions/execution/status";
    assert_eq!(
        world.post(&user("una"), status, json!(null)).ok(),
        json!({"status": "enabled"})
    );
    world
        .post(
            &member("bob"),
            "/contracts/c1/runtimeoptions/execution/disable",
            json!(null),
        )
        .ok();
    world
        .post(
            &member("ann"),
            "/contracts/c1/runtimeoptions/execution/enable",
            json!(null),
        )
        .ok();
    let off = world.post(&user("una"), status, json!(null)).ok();
    assert_eq!(off["reason"]["code"], "ContractDisabled");
    assert!(
        off["reason"]["message"]
            .as_str()
            .unwrap()
            .contains(&member_id("bob"))
    );
    // A departed member blocks nothing.
    world.remove_member("bob");
    assert_eq!(
        world.post(&user("una"), status, json!(null)).ok()["status"],
        "enabled"
    );
}

#[test]
fn only_members_who_decide_a_contract_can_stop_it() {
    let mut world = World::new();
    world.accept_contract(
        "c1",
        json!({"metadata": {"voters": {"requiredMembers": [member_id("ann"), member_id("bob")]}}}),
    );
    world
        .post(
            &member("cid"),
            "/contracts/c1/runtimeoptions/execution/disable",
            json!(null),
        )
        .ok();
    let status = "/contracts/c1/runtimeoptions/execution/status";
    assert_eq!(
        world.post(&member("ann"), status, json!(null)).ok()["status"],
        "enabled"
    );
}

#[test]
fn contract_options_name_what_is_wrong() {
    let mut world = World::new();
    world
        .put(&member("ann"), "/contracts/c1", json!({"data": 1}))
        .ok();
    let status = world
        .post(
            &member("ann"),
            "/contracts/c1/runtimeoptions/logging/status",
            json!(null),
        )
        .ok();
    assert_eq!(status["reason"]["code"], "ContractNotAccepted");
    let disable = "/contracts/c1/runtimeoptions/execution/disable";
    world
        .post(&member("ann"), disable, json!(null))
        .is(400, "ContractNotAccepted");
    for (path, code) in [
        ("logging/enable", "InvalidOption"),
        ("nonsense/status", "InvalidOption"),
    ] {
        world
            .post(
                &member("ann"),
                &format!("/contracts/c1/runtimeoptions/{path}"),
                json!(null),
            )
            .is(400, code);
    }
    world.accept_contract("c2", json!(1));
    let id = world.propose(
        '3',
        ProposalState::Open,
        "set_contract_runtime_options_disable_logging",
        json!({"contractId": "c2"}),
    );
    let status = world
        .post(
            &member("ann"),
            "/contracts/c2/runtimeoptions/logging/status",
            json!(null),
        )
        .ok();
    assert_eq!(status, json!({"status": "disabled", "proposalIds": [id]}));
}

#[test]
fn service_options_default_to_disabled() {
    let mut world = World::new();
    let path = "/runtimeoptions/autoapprove-jsapp-proposal/status";
    assert_eq!(
        world.post(&member("ann"), path, json!(null)).ok(),
        json!({"status": "disabled"})
    );
    world
        .post(&member("ann"), "/runtimeoptions/other/status", json!(null))
        .is(400, "InvalidOption");
}
