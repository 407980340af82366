//! Who must agree to what, row by row of `governance-api.md` §6.6 to §6.8.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, certificate, id_of, member, text};
use model::member::MemberStatus;
use model::proposal::{Moment, ProposalState, Resolution};
use serde_json::{Value as JsonValue, json};

use Moment::{Ballot, Change, Creation};
use Resolution::{Accepted, Open, Rejected};

/// Actions by short names: what matters to voting is the action and the contract it names.
fn action(short: &str) -> JsonValue {
    let (name, contract) = short.split_once(' ').unwrap_or((short, "c1"));
    let zero = "00".repeat(32);
    match name {
        "contract" => json!({"name": "set_contract", "args": {"contractId": contract,
            "contract": {"data": "text", "version": "2.10"}}}),
        "policy" => json!({"name": "set_clean_room_policy", "args": {"contractId": contract, "type": "add",
            "claims": {"x-ms-sevsnpvm-is-debuggable": false}}}),
        "enable_logging" | "disable_logging" | "enable_telemetry" | "disable_telemetry" => json!({
            "name": format!("set_contract_runtime_options_{name}"), "args": {"contractId": contract}}),
        "issuer" => json!({"name": "enable_oidc_issuer", "args": {"kid": "k", "contractId": contract}}),
        "constitution" => json!({"name": "set_constitution", "args": {"constitution": "", "digest": zero}}),
        "app" => json!({"name": "set_wasm_app", "args": {"component": "", "digest": zero}}),
        "threshold" => json!({"name": "set_recovery_threshold", "args": {"recovery_threshold": 1}}),
        "open" => json!({"name": "transition_service_to_open", "args": {"next_service_identity": "x"}}),
        "jwt" => json!({"name": "set_jwt_issuer", "args": {"issuer": "https://issuer"}}),
        "remove_jwt" => json!({"name": "remove_jwt_issuer", "args": {"issuer": "https://issuer"}}),
        "data" => json!({"name": "set_user_data", "args": {"user_id": zero}}),
        "remove" => json!({"name": "remove_member", "args": {"member_id": member(contract)}}),
        other => panic!("no short name {other}"),
    }
}

fn actions(shorts: &str) -> JsonValue {
    shorts.split(", ").map(action).collect()
}

/// Resolves ballots written `ann+ bob-` among `members` at a ballot.
#[track_caller]
fn check(shorts: &str, members: &str, ballots: &str, expected: Resolution) {
    let mut world = World::new(members);
    let found = world.resolve("ann", Ballot, actions(shorts), ballots);
    assert_eq!(found, expected, "{shorts} among {members}: {ballots}");
}

/// A contract whose data name its voters.
fn listing(contract: &str, voters: &[&str]) -> JsonValue {
    let ids: Vec<_> = voters.iter().map(|name| member(name)).collect();
    json!({"name": "set_contract", "args": {"contractId": contract, "contract": {
        "data": {"metadata": {"voters": {"requiredMembers": ids}}}, "version": "2.10"}}})
}

#[test]
fn every_active_regular_member_must_agree() {
    for shorts in [
        "contract",
        "policy",
        "app",
        "constitution",
        "threshold",
        "data",
        "jwt",
        "remove_jwt",
        "open",
    ] {
        check(shorts, "ann bob cid", "", Open);
        check(shorts, "ann bob cid", "ann+ bob+", Open);
        check(shorts, "ann bob cid", "ann+ bob+ cid+", Accepted);
    }
}

#[test]
fn one_no_closes_every_kind_of_proposal() {
    for shorts in [
        "contract",
        "policy",
        "app",
        "constitution",
        "threshold",
        "data",
        "enable_logging",
    ] {
        check(shorts, "ann bob cid", "ann+ bob-", Rejected);
    }
}

#[test]
fn operators_and_role_holders_are_not_counted_and_veto_nothing() {
    for role in ["operator", "recovery", "cgs", "contract", "c9"] {
        let members = format!("ann bob opa:{role}");
        check("app", &members, "ann+ bob+", Accepted);
        check("app", &members, "ann+ opa+", Open);
        check("contract", &members, "ann+ bob+ opa-", Accepted);
    }
}

#[test]
fn pending_members_hold_up_contracts_and_nothing_else() {
    check("contract", "ann bob cid?", "ann+ bob+", Open);
    check("policy", "ann bob cid?", "ann+ bob+", Accepted);
    check("contract", "ann bob opa?:operator", "ann+ bob+", Accepted);
}

#[test]
fn an_electorate_of_nobody_accepts_nothing() {
    for shorts in ["contract", "app", "threshold"] {
        check(shorts, "ann? opa:operator", "", Open);
        check(shorts, "ann? opa:operator", "opa+", Open);
        check(shorts, "", "", Open);
    }
}

#[test]
fn votes_of_strangers_and_of_members_that_are_not_active_do_not_count() {
    // A voter was removed: its vote is passed over, the others decide.
    check("app", "ann bob", "ann+ bob+ gone-", Accepted);
    check("app", "ann bob", "ann+ gone+", Open);
    // A voter was registered anew: neither its yes nor its no counts until it acknowledges.
    check("app", "ann bob cid?", "ann+ cid+", Open);
    check("app", "ann bob cid?", "ann+ bob+ cid-", Accepted);
}

#[test]
fn the_departure_of_the_last_missing_voter_completes_a_proposal() {
    let mut world = World::new("ann bob cid");
    assert_eq!(world.resolve("ann", Ballot, actions("app"), "ann+ bob+"), Open);
    world.remove_member("cid");
    assert_eq!(
        world.resolve("ann", Change, actions("app"), "ann+ bob+"),
        Accepted
    );
}

#[test]
fn a_member_that_joins_must_agree_too() {
    let mut world = World::new("ann bob");
    assert_eq!(world.resolve("ann", Ballot, actions("app"), "ann+"), Open);
    world.put_member("cid");
    assert_eq!(world.resolve("ann", Change, actions("app"), "ann+ bob+"), Open);
}

#[test]
fn contracts_are_not_mixed_repeated_or_accepted_twice() {
    check("contract c1, app", "ann", "ann+", Rejected);
    check("app, contract c1", "ann", "", Rejected);
    check("contract c1, contract c1", "ann", "ann+", Rejected);
    check("contract c1, contract c2", "ann", "ann+", Accepted);
    let mut world = World::new("ann bob");
    world.put_accepted("c1", None);
    assert_eq!(
        world.resolve("ann", Creation, actions("contract c1"), ""),
        Rejected
    );
    assert_eq!(world.resolve("ann", Creation, actions("contract c2"), ""), Open);
}

#[test]
fn a_contract_is_in_one_open_proposal_at_a_time() {
    for (state, expected) in [
        (ProposalState::Open, Rejected),
        (ProposalState::Withdrawn, Open),
        (ProposalState::Rejected, Open),
        (ProposalState::Dropped, Open),
        (ProposalState::Failed, Open),
    ] {
        let mut world = World::new("ann bob");
        world.put_proposal("other", &text(actions("contract c0, contract c1")), state, &[]);
        assert_eq!(
            world.resolve("ann", Creation, actions("contract c1"), ""),
            expected,
            "{state:?}"
        );
        assert_eq!(world.resolve("ann", Creation, actions("contract c2"), ""), Open);
    }
    // Its own row does not count.
    let mut world = World::new("ann bob");
    world.put_proposal("this", &text(actions("contract c1")), ProposalState::Open, &[]);
    assert_eq!(world.resolve("ann", Creation, actions("contract c1"), ""), Open);
}

#[test]
fn listed_members_alone_decide_their_contract() {
    let mut world = World::new("ann bob cid dan eve?");
    let proposal = json!([listing("c1", &["ann", "bob"])]);
    let mut at = |ballots: &str| world.resolve("cid", Ballot, proposal.clone(), ballots);
    // The worked example: D's no is recorded and changes nothing, A and B carry it.
    assert_eq!(at("dan-"), Open);
    assert_eq!(at("dan- ann+"), Open);
    assert_eq!(at("dan- ann+ bob+"), Accepted);
    assert_eq!(at("cid+ dan+"), Open, "votes of others are not sufficient");
    assert_eq!(at("ann+ bob-"), Rejected, "a listed no closes it");
}

#[test]
fn the_list_may_be_inside_a_json_string() {
    let data = json!({"metadata": {"voters": {"requiredMembers": [member("ann")]}}}).to_string();
    let proposal = json!([{"name": "set_contract", "args": {"contractId": "c1",
        "contract": {"data": data, "version": "2.10"}}}]);
    let mut world = World::new("ann bob");
    assert_eq!(world.resolve("bob", Ballot, proposal.clone(), "bob+"), Open);
    assert_eq!(world.resolve("bob", Ballot, proposal, "ann+"), Accepted);
}

#[test]
fn a_pending_member_holds_a_contract_up_if_it_is_listed() {
    let mut world = World::new("ann eve?");
    let proposal = json!([listing("c1", &["ann", "eve"])]);
    assert_eq!(world.resolve("ann", Ballot, proposal.clone(), "ann+ eve+"), Open);
    world.put_member("eve");
    assert_eq!(world.resolve("ann", Change, proposal, "ann+ eve+"), Accepted);
}

#[test]
fn a_listed_member_that_can_no_longer_vote_rejects_the_proposal() {
    let proposal = json!([listing("c1", &["ann", "bob"])]);
    let mut world = World::new("ann bob cid");
    world.remove_member("bob");
    assert_eq!(
        world.resolve("ann", Change, proposal.clone(), "ann+ bob+"),
        Rejected
    );
    let mut world = World::new("ann bob:operator cid");
    assert_eq!(world.resolve("ann", Change, proposal, "ann+ bob+"), Rejected);
}

#[test]
fn several_contracts_need_the_voters_of_each() {
    let mut world = World::new("ann bob cid");
    let proposal = json!([listing("c1", &["ann"]), listing("c2", &["bob"])]);
    assert_eq!(world.resolve("ann", Ballot, proposal.clone(), "ann+"), Open);
    assert_eq!(
        world.resolve("ann", Ballot, proposal.clone(), "ann+ bob-"),
        Rejected
    );
    assert_eq!(
        world.resolve("ann", Ballot, proposal.clone(), "ann+ bob+ cid-"),
        Accepted
    );
    // One of them without a list: everybody.
    let mixed = json!([listing("c1", &["ann"]), action("contract c2")]);
    assert_eq!(world.resolve("ann", Ballot, mixed, "ann+ bob+"), Open);
}

#[test]
fn the_same_members_decide_what_follows_on_their_contract() {
    for short in ["policy", "enable_logging", "enable_telemetry", "issuer"] {
        let mut world = World::new("ann bob cid");
        world.put_accepted("c1", Some(&["ann", "bob"]));
        let mut at = |ballots: &str| world.resolve("cid", Ballot, actions(short), ballots);
        assert_eq!(at("cid- ann+"), Open, "{short}");
        assert_eq!(at("cid- ann+ bob+"), Accepted, "{short}");
        assert_eq!(at("cid+ bob-"), Rejected, "{short}");
    }
}

#[test]
fn a_proposal_about_two_contracts_needs_both_electorates() {
    let mut world = World::new("ann bob cid");
    world.put_accepted("c1", Some(&["ann"]));
    world.put_accepted("c2", Some(&["bob"]));
    let both = actions("policy c1, policy c2");
    assert_eq!(world.resolve("ann", Ballot, both.clone(), "ann+"), Open);
    assert_eq!(world.resolve("ann", Ballot, both, "ann+ bob+"), Accepted);
    // Together with something of the whole service: everybody.
    let wide = actions("policy c1, app");
    assert_eq!(world.resolve("ann", Ballot, wide, "ann+ bob+"), Open);
}

#[test]
fn outward_flows_are_turned_off_by_any_member_at_once() {
    for short in [
        "disable_logging",
        "disable_telemetry",
        "disable_logging, disable_telemetry",
    ] {
        for proposer in ["ann", "opa"] {
            let mut world = World::new("ann bob opa:operator");
            assert_eq!(world.resolve(proposer, Creation, actions(short), ""), Accepted);
        }
        let mut world = World::new("ann bob? opa:operator");
        assert_eq!(
            world.resolve("bob", Creation, actions(short), ""),
            Open,
            "not by a pending one"
        );
    }
    let mut world = World::new("ann bob");
    let mixed = actions("disable_logging, enable_telemetry");
    assert_eq!(world.resolve("ann", Creation, mixed, ""), Open);
}

#[test]
fn an_operator_passes_what_gives_it_neither_voice_nor_secret() {
    let mut world = World::new("ann opa:operator opb:operator");
    for (short, expected) in [
        ("open", Accepted),
        ("remove opb", Accepted),
        ("open, remove opb", Accepted),
        // O2: the id that is removed is what counts.
        ("remove ann", Open),
        // O4, O5: threshold and token issuers need votes.
        ("threshold", Open),
        ("jwt", Open),
        ("app", Open),
        ("open, app", Open),
        // Without their issuer users could not withdraw a consent.
        ("remove_jwt", Open),
        ("open, remove_jwt", Open),
    ] {
        assert_eq!(
            world.resolve("opa", Creation, actions(short), ""),
            expected,
            "{short}"
        );
        assert_eq!(
            world.resolve("ann", Creation, actions(short), ""),
            Open,
            "{short} by a member"
        );
        assert_eq!(
            world.resolve("opa", Ballot, actions(short), ""),
            Open,
            "{short} after creation"
        );
    }
}

#[test]
fn an_operator_adds_operators_that_are_nothing_else_and_nobody_existing() {
    let cert = certificate("new");
    let set_member = |cert: &str, extra: JsonValue| {
        let mut args = json!({"cert": cert, "member_data": {"isOperator": true}});
        for (name, value) in extra.as_object().unwrap() {
            args[name] = value.clone();
        }
        json!([{"name": "set_member", "args": args}])
    };
    let mut world = World::new("ann opa:operator");
    let mut at = |proposal: JsonValue| world.resolve("opa", Creation, proposal, "");
    assert_eq!(at(set_member(&cert, json!({}))), Accepted);
    for extra in [
        json!({"member_data": {}}),
        json!({"member_data": {"isOperator": "false"}}),
        json!({"member_data": {"isOperator": true, "isRecoveryOperator": true}}),
        json!({"member_data": {"isOperator": true, "cgsRoles": {"cgsOperator": true}}}),
        json!({"encryption_pub_key": "x"}),
        json!({"cert": "x"}),
    ] {
        assert_eq!(at(set_member(&cert, extra.clone())), Open, "{extra}");
    }
    // O1: somebody else's certificate.
    world.put_member_info(&id_of(&cert), MemberStatus::Active, None);
    let victim = set_member(&cert, json!({}));
    assert_eq!(world.resolve("opa", Creation, victim, ""), Open);
}

#[test]
fn role_holders_approve_their_own_proposals_where_the_option_is_on() {
    let options = [
        ("constitution", "autoapprove-constitution-proposal", "cgs"),
        ("app", "autoapprove-jsapp-proposal", "cgs"),
        ("policy", "autoapprove-cleanroompolicy-proposal", "contract"),
        ("policy", "autoapprove-cleanroompolicy-proposal", "c1"),
    ];
    for (short, option, role) in options {
        let mut world = World::new(&format!("ann bob rol:{role} opa:operator"));
        world.put_accepted("c1", None);
        let off = world.resolve("rol", Creation, actions(short), "");
        assert_eq!(off, Open, "{short} while the option is off");
        world.carry(
            "set_cgs_runtime_options",
            json!({"option": option, "status": "enabled"}),
        );
        assert_eq!(
            world.resolve("rol", Creation, actions(short), ""),
            Accepted,
            "{short} by {role}"
        );
        for other in ["ann", "opa"] {
            assert_eq!(
                world.resolve(other, Creation, actions(short), ""),
                Open,
                "{short} by {other}"
            );
        }
        for moment in [Ballot, Change] {
            let later = world.resolve("rol", moment, actions(short), "");
            assert_eq!(
                later, Open,
                "an option turned on later does not wake old proposals"
            );
        }
    }
}

#[test]
fn no_option_lets_one_member_alone_give_tokens() {
    let mut world = World::new("ann bob rol:contract");
    world.put_accepted("c1", None);
    let option = json!({"option": "autoapprove-cleanroompolicy-proposal", "status": "enabled"});
    world.carry("set_cgs_runtime_options", option);
    let policy = |more: JsonValue| {
        let mut args = json!({"contractId": "c1", "type": "add",
            "claims": {"x-ms-sevsnpvm-hostdata": "11".repeat(32)}});
        args.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!([{"name": "set_clean_room_policy", "args": args}])
    };
    let tokens = json!({"tokens": [{"sub": "s", "aud": ["a"]}]});
    assert_eq!(world.resolve("rol", Creation, policy(json!({})), ""), Accepted);
    assert_eq!(world.resolve("rol", Creation, policy(tokens.clone()), ""), Open);
    // Nor to choose who has those that others voted.
    assert_eq!(world.apply(policy(tokens)), Ok(()));
    assert_eq!(world.resolve("rol", Creation, policy(json!({})), ""), Open);
    let other = policy(json!({"alternative": "other"}));
    assert_eq!(world.resolve("rol", Creation, other, ""), Accepted);
}

#[test]
fn a_scoped_contract_operator_keeps_to_its_contracts() {
    let mut world = World::new("ann rol:c1");
    world.put_accepted("c1", None);
    world.put_accepted("c2", None);
    world.put_accepted("c3", Some(&["ann"]));
    let option = json!({"option": "autoapprove-cleanroompolicy-proposal", "status": "enabled"});
    world.carry("set_cgs_runtime_options", option);
    assert_eq!(world.resolve("rol", Creation, actions("policy c1"), ""), Accepted);
    assert_eq!(world.resolve("rol", Creation, actions("policy c2"), ""), Open);
    assert_eq!(
        world.resolve("rol", Creation, actions("policy c1, policy c2"), ""),
        Open
    );
    world.put_member("rol:contract");
    assert_eq!(world.resolve("rol", Creation, actions("policy c2"), ""), Accepted);
    assert_eq!(
        world.resolve("rol", Creation, actions("policy c3"), ""),
        Open,
        "a contract that names its voters is decided by them"
    );
}

#[test]
fn what_the_rules_cannot_read_any_more_is_rejected() {
    check_text(br#"{"actions":[{"name":"set_js_app","args":{}}]}"#);
    check_text(b"nonsense");
}

#[track_caller]
fn check_text(text: &[u8]) {
    let context = constitution_rules::ProposalContext {
        proposal_id: common::proposal_id("this"),
        proposer_id: member("ann"),
        moment: Change,
    };
    let mut world = World::new("ann");
    world.context = kv::Context::Decide;
    let found = constitution_rules::resolve(&world, &common::Native, &context, text, &common::votes("ann+"));
    assert_eq!(found, Ok(Rejected));
}
