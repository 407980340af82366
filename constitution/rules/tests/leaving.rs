//! Members that leave, or lose their vote: what they decided alone must neither freeze nor become
//! a way in, and nobody keeps himself in by his own ballot (decisions 54 and 78).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use cleanroom_model::governance::CLEAN_ROOM_POLICIES;
use common::{World, certificate, id_of, member, proposal_id};
use kv::{Context, Raw, TxId};
use model::member::MemberStatus;
use model::proposal::{Moment, Resolution};
use model::tables;
use serde_json::{Value as JsonValue, json};

use Moment::{Ballot, Change};
use Resolution::{Accepted, Open, Rejected};

fn policy(change: &str, claims: JsonValue) -> JsonValue {
    json!([{"name": "set_clean_room_policy",
        "args": {"contractId": "c1", "type": change, "claims": claims}}])
}

fn remove(name: &str) -> JsonValue {
    json!([{"name": "remove_member", "args": {"member_id": member(name)}}])
}

/// Takes the member's vote, or gives it back.
fn set_operator(name: &str, operator: bool) -> JsonValue {
    json!([{"name": "set_member_data",
        "args": {"member_id": member(name), "member_data": {"isOperator": operator}}}])
}

fn host_data(at: u8) -> JsonValue {
    json!(model::Digest([at; 32]))
}

/// Contract c1 names ann and bob; cid and dan are members too. Its policy knows two host data.
fn world() -> World {
    let mut world = World::new("ann bob cid dan");
    world.put_accepted("c1", Some(&["ann", "bob"]));
    world.now = TxId::new(2, 11);
    world
        .apply(policy(
            "add",
            json!({"x-ms-sevsnpvm-hostdata": [host_data(1), host_data(2)],
                "x-ms-sevsnpvm-is-debuggable": false}),
        ))
        .unwrap();
    world.now = TxId::new(2, 20);
    world
}

fn add_host_data() -> JsonValue {
    policy("add", json!({"x-ms-sevsnpvm-hostdata": [host_data(3)]}))
}

#[test]
fn a_required_member_that_is_removed_does_not_freeze_its_contract() {
    let mut world = world();
    assert_eq!(world.resolve("ann", Ballot, add_host_data(), "ann+"), Open);
    world.apply(remove("bob")).unwrap();
    assert_eq!(world.resolve("ann", Change, add_host_data(), "ann+"), Accepted);
    // The remaining decide, not the others.
    assert_eq!(world.resolve("ann", Ballot, add_host_data(), "cid+ dan+"), Open);
    assert_eq!(world.resolve("ann", Ballot, add_host_data(), "ann-"), Rejected);
}

#[test]
fn a_required_member_that_loses_its_vote_leaves_the_list_for_good() {
    let mut world = world();
    world.apply(set_operator("bob", true)).unwrap();
    assert_eq!(world.resolve("ann", Ballot, add_host_data(), "ann+"), Accepted);
    world.now = TxId::new(2, 21);
    world.apply(set_operator("bob", false)).unwrap();
    assert_eq!(world.resolve("ann", Ballot, add_host_data(), "ann+"), Accepted);
    assert_eq!(
        world.resolve("ann", Ballot, add_host_data(), "ann+ bob-"),
        Accepted
    );
    // Other data of a member change nothing.
    let mut world = self::world();
    let data = json!([{"name": "set_member_data",
        "args": {"member_id": member("bob"), "member_data": {"identifier": "b"}}}]);
    world.apply(data).unwrap();
    assert_eq!(world.resolve("ann", Ballot, add_host_data(), "ann+"), Open);
}

#[test]
fn a_required_member_registered_anew_is_not_on_the_list_of_before() {
    let mut world = world();
    world.apply(remove("bob")).unwrap();
    world.now = TxId::new(2, 21);
    world.put_member("bob");
    tables::MEMBER_CERTS
        .put(&mut world, &member("bob"), &Raw(b"pem".to_vec()))
        .unwrap();
    assert_eq!(world.resolve("ann", Ballot, add_host_data(), "ann+"), Accepted);
    assert_eq!(
        world.resolve("ann", Ballot, add_host_data(), "ann+ bob-"),
        Accepted
    );
}

#[test]
fn set_member_cannot_bring_a_lost_voter_back() {
    let mut world = World::new("ann");
    let cert = certificate("eve");
    let id = id_of(&cert);
    world.carry("set_member", json!({"cert": cert}));
    world.put_member_info(&id, MemberStatus::Active, None);
    world.now = TxId::new(2, 30);
    let row = cleanroom_model::governance::AcceptedContract {
        data: json!("text"),
        version: TxId::new(2, 1),
        proposal_id: proposal_id("earlier"),
        final_votes: std::collections::BTreeMap::new(),
        required_members: Some(vec![member("ann"), id]),
    };
    cleanroom_model::governance::ACCEPTED_CONTRACTS
        .put(&mut world, &"c1".parse().unwrap(), &kv::Json(row))
        .unwrap();
    assert_eq!(world.resolve("ann", Ballot, add_host_data(), "ann+"), Open);
    world.now = TxId::new(2, 31);
    world.carry(
        "set_member",
        json!({"cert": cert, "member_data": {"isOperator": true}}),
    );
    world.now = TxId::new(2, 32);
    world.carry("set_member", json!({"cert": cert}));
    assert_eq!(world.resolve("ann", Ballot, add_host_data(), "ann+"), Accepted);
}

/// Both that c1 names are gone.
fn orphaned() -> World {
    let mut world = world();
    world.apply(remove("ann")).unwrap();
    world.apply(remove("bob")).unwrap();
    world
}

#[test]
fn taking_a_contracts_members_out_is_no_way_into_it() {
    let mut world = orphaned();
    let of_contract = |name: &str, args: JsonValue| json!([{"name": name, "args": args}]);
    for actions in [
        add_host_data(),
        of_contract(
            "set_contract_runtime_options_enable_logging",
            json!({"contractId": "c1"}),
        ),
        of_contract("enable_oidc_issuer", json!({"kid": "k", "contractId": "c1"})),
        of_contract(
            "oidc_issuer_enable_rotate_signing_key",
            json!({"contractId": "c1"}),
        ),
        // A condition that goes as a whole lets more in.
        policy("remove", json!({"x-ms-sevsnpvm-is-debuggable": false})),
        policy(
            "remove",
            json!({"x-ms-sevsnpvm-hostdata": [host_data(1), host_data(2)]}),
        ),
    ] {
        let found = world.resolve("cid", Ballot, actions.clone(), "cid+ dan+");
        assert_eq!(found, Rejected, "{actions}");
    }
}

#[test]
fn a_compromised_pod_is_taken_out_of_a_contract_whose_members_are_gone() {
    let mut world = orphaned();
    let one = policy("remove", json!({"x-ms-sevsnpvm-hostdata": [host_data(1)]}));
    assert_eq!(world.resolve("cid", Ballot, one.clone(), "cid+"), Open);
    assert_eq!(world.resolve("cid", Ballot, one.clone(), "cid+ dan+"), Accepted);
    world.apply(one).unwrap();
    // What is left goes as a whole, and with it the alternative.
    let rest = policy(
        "remove",
        json!({"x-ms-sevsnpvm-hostdata": [host_data(2)], "x-ms-sevsnpvm-is-debuggable": false}),
    );
    assert_eq!(world.resolve("cid", Ballot, rest.clone(), "cid+ dan+"), Accepted);
    world.apply(rest).unwrap();
    assert!(CLEAN_ROOM_POLICIES.rows(&world).unwrap().is_empty());
    let off = json!([{"name": "set_contract_runtime_options_disable_logging",
        "args": {"contractId": "c1"}}]);
    assert_eq!(world.resolve("cid", Ballot, off, "cid+ dan+"), Accepted);
}

#[test]
fn two_removals_in_one_proposal_do_not_add_up_to_a_condition_less() {
    let mut world = orphaned();
    let one = |at| policy("remove", json!({"x-ms-sevsnpvm-hostdata": [host_data(at)]}))[0].clone();
    let both = json!([one(1), one(2)]);
    // Each of them passes when it is looked at alone.
    assert_eq!(world.resolve("cid", Ballot, both.clone(), "cid+ dan+"), Accepted);
    let failed = world.apply(both).unwrap_err();
    assert!(failed.reason.contains("has left"), "{}", failed.reason);
    world.context = Context::Host;
    assert_eq!(CLEAN_ROOM_POLICIES.rows(&world).unwrap().len(), 1);
}

#[test]
fn a_removal_tells_which_contracts_named_the_member() {
    let mut world = World::new("ann bob cid");
    world.put_proposal("this", b"{}", model::proposal::ProposalState::Open, &[]);
    for contract in ["c1", "c2"] {
        let voters = json!({"metadata": {"voters": {"requiredMembers": [member("ann"), member("bob")]}}});
        world.put_draft(contract, voters.clone());
        let args = json!({"contractId": contract, "contract": {"data": voters, "version": "2.10"}});
        world
            .apply(json!([{"name": "set_contract", "args": args}]))
            .unwrap();
    }
    world.apply(json!([remove("bob")[0], remove("cid")[0]])).unwrap();
    let row = tables::PROPOSALS_EFFECTS
        .get(&world, &proposal_id("this"))
        .unwrap()
        .unwrap();
    let shown = serde_json::to_value(&row.0).unwrap();
    let expected = json!({"contractsConcerned": {member("bob").to_string(): ["c1", "c2"]}});
    assert_eq!(shown, expected);
}

#[test]
fn nobody_stops_his_own_removal_by_voting() {
    for actions in [remove("cid"), set_operator("cid", true)] {
        let mut world = World::new("ann bob cid");
        assert_eq!(world.resolve("ann", Ballot, actions.clone(), "ann+ cid-"), Open);
        assert_eq!(
            world.resolve("ann", Ballot, actions.clone(), "ann+ bob+ cid-"),
            Accepted
        );
        assert_eq!(
            world.resolve("ann", Ballot, actions.clone(), "ann+ bob- cid+"),
            Rejected
        );
        // Nor does his ballot replace another's.
        assert_eq!(world.resolve("cid", Ballot, actions, "ann+ cid+"), Open);
    }
    // Data that leave the vote alone are his business too.
    let mut world = World::new("ann bob cid");
    let actions = set_operator("cid", false);
    assert_eq!(world.resolve("ann", Ballot, actions, "ann+ bob+"), Open);
}

#[test]
fn of_two_members_neither_removes_the_other_alone() {
    for actions in [remove("bob"), set_operator("bob", true)] {
        let mut world = World::new("ann bob opa:operator cid?");
        assert_eq!(world.resolve("ann", Ballot, actions.clone(), "ann+"), Open);
        assert_eq!(
            world.resolve("ann", Ballot, actions.clone(), "ann+ bob-"),
            Rejected
        );
        assert_eq!(world.resolve("ann", Ballot, actions, "ann+ bob+"), Accepted);
    }
}

#[test]
fn one_of_three_cannot_remove_both_others_in_one_proposal() {
    let mut world = World::new("ann bob cid");
    let both = json!([remove("bob")[0], remove("cid")[0]]);
    assert_eq!(world.resolve("ann", Ballot, both, "ann+"), Open);
    // And what else is in a proposal is for all to decide.
    let more =
        json!([remove("cid")[0], {"name": "set_recovery_threshold", "args": {"recovery_threshold": 1}}]);
    assert_eq!(world.resolve("ann", Ballot, more.clone(), "ann+ bob+"), Open);
    assert_eq!(world.resolve("ann", Ballot, more, "ann+ bob+ cid-"), Rejected);
}
