//! Who cannot speak has not agreed, and whoever comes back under an id is somebody else
//! (decisions 51, 53).

use governance_app::Caller;
use model::member::MemberStatus;
use serde_json::{Value as JsonValue, json};

use crate::documents::{DOC, publish, vote, world};
use crate::runs::{POD, agreed, ask};
use crate::world::{ISSUER, World, member, member_id, user, workload};

const OFF: &str = "UserDocumentRuntimeOptionDisabled";

/// A document of una's that these have accepted.
fn accepted(world: &mut World, approvers: &[Caller], voters: &[Caller]) {
    let approvers: Vec<&Caller> = approvers.iter().collect();
    let version = publish(world, &approvers);
    for voter in voters {
        assert_eq!(vote(world, voter, &version, "accepted").status, 204);
    }
}

fn status(world: &mut World, option: &str) -> JsonValue {
    let path = format!("{DOC}/runtimeoptions/{option}/status");
    world.post(&member("ann"), &path, JsonValue::Null).ok()
}

fn switch(world: &mut World, who: &Caller, to: &str) -> crate::world::Answer {
    let path = format!("{DOC}/runtimeoptions/execution/{to}");
    world.post(who, &path, JsonValue::Null)
}

#[track_caller]
fn is_off(world: &mut World, detail: &str, who: &str) {
    for option in ["execution", "telemetry"] {
        let status = status(world, option);
        assert_eq!(status["reason"]["code"], OFF, "{status}");
        assert!(
            status["reason"]["message"].as_str().unwrap().contains(who),
            "{status}"
        );
    }
    let loaded = world.post(&member("ann"), DOC, JsonValue::Null).ok();
    assert_eq!(
        loaded["state"], "Accepted",
        "{detail}: the decision itself stands"
    );
}

#[test]
fn consent_of_a_removed_owner_is_no_consent() {
    let mut world = world();
    accepted(&mut world, &[user("ugo")], &[user("ugo")]);
    assert_eq!(status(&mut world, "execution")["status"], "enabled");
    world.remove_identity("una");
    is_off(&mut world, "owner", "[una]");
    // Not of somebody else who comes under the same id either.
    world.set_identity("una", Some(ISSUER), ISSUER);
    is_off(&mut world, "owner", "[una]");
}

#[test]
fn consent_of_a_removed_approver_is_no_consent() {
    let mut world = world();
    let bob = member("bob");
    accepted(&mut world, &[user("ugo"), bob.clone()], &[user("ugo"), bob]);
    // What changes about a person without changing who it is.
    world.set_identity("ugo", Some(ISSUER), ISSUER);
    world.set_member("bob", MemberStatus::Active, Some(json!({"identifier": "bob"})));
    assert_eq!(status(&mut world, "execution")["status"], "enabled");
    world.remove_member("bob");
    is_off(&mut world, "member", &format!("[{}]", member_id("bob")));
    world.remove_identity("ugo");
    is_off(&mut world, "both", &format!("[ugo,{}]", member_id("bob")));
}

#[test]
fn consent_of_users_whose_issuer_was_removed_is_no_consent() {
    let mut world = world();
    accepted(&mut world, &[member("ann")], &[member("ann")]);
    world.remove_jwt_issuer(ISSUER);
    is_off(&mut world, "issuer", "[una]");
    // The identity was registered all the time.
    world.set_jwt_issuer(ISSUER);
    assert_eq!(status(&mut world, "execution")["status"], "enabled");
}

#[test]
fn an_entra_user_without_a_voted_issuer_speaks_by_its_tenants() {
    let mut world = world();
    world.set_identity("eva", None, "t-1");
    let approvers = json!([{"approverId": "eva", "approverIdType": "user"}]);
    let put = world.put(&user("una"), DOC, json!({"data": 1, "approvers": approvers}));
    let version = put.tx.to_string();
    put.ok();
    let eva = Caller::Token {
        issuer: "https://sts.windows.net/t-1/".into(),
        claims_json: r#"{"oid":"eva","sub":"x","tid":"t-1"}"#.into(),
    };
    vote(&mut world, &eva, &version, "accepted").ok();
    is_off(&mut world, "none of its issuers is registered", "[eva]");
    world.set_jwt_issuer("https://sts.windows.net/t-1/");
    assert_eq!(status(&mut world, "execution")["status"], "enabled");
}

#[test]
fn where_nobody_was_named_those_who_left_are_left_out_until_nobody_is_left() {
    let mut world = world();
    let members = ["ann", "bob", "cid"].map(member);
    accepted(&mut world, &[], &members);
    switch(&mut world, &member("bob"), "disable").ok();
    assert_eq!(status(&mut world, "execution")["reason"]["code"], OFF);
    // With its member goes the switch, and it does not come back with somebody of the same key.
    world.remove_member("bob");
    assert_eq!(status(&mut world, "execution")["status"], "enabled");
    world.set_member("bob", MemberStatus::Active, None);
    assert_eq!(status(&mut world, "execution")["status"], "enabled");
    switch(&mut world, &member("bob"), "disable").is(403, "NotUserDocumentApprover");
    world.set_member("dot", MemberStatus::Active, None);
    for name in ["ann", "cid"] {
        world.remove_member(name);
    }
    let path = format!("{DOC}/runtimeoptions/execution/status");
    let status = world.post(&member("dot"), &path, JsonValue::Null).ok();
    assert_eq!(status["reason"]["code"], OFF, "one of them must remain");
}

#[test]
fn a_member_registered_again_does_not_inherit_the_switch_of_the_contract() {
    let mut world = world();
    let path = "/contracts/c1/runtimeoptions/execution";
    let of_bob = format!("{path}/disable");
    world.post(&member("bob"), &of_bob, JsonValue::Null).ok();
    let status = |world: &mut World| {
        let path = format!("{path}/status");
        world.post(&member("ann"), &path, JsonValue::Null).ok()["status"].clone()
    };
    assert_eq!(status(&mut world), "disabled");
    world.remove_member("bob");
    world.set_member("bob", MemberStatus::Active, None);
    assert_eq!(status(&mut world), "enabled");
}

#[test]
fn a_run_stops_when_an_owner_or_its_issuer_goes() {
    let pod = workload(POD);
    let secret = "/contracts/c1/secrets/una_flights?runId=r1";
    let by_registration: fn(&mut World) = |world| world.remove_identity("uma");
    let by_issuer: fn(&mut World) = |world| world.remove_jwt_issuer(ISSUER);
    for go in [by_registration, by_issuer] {
        let mut world = agreed();
        ask(&mut world, "r1").ok();
        world.attested(&pod, secret).ok();
        go(&mut world);
        let refused = world.attested(&pod, secret);
        refused.is(400, OFF);
        assert!(refused.wrote, "with its trace");
        world.attested(&pod, "/contracts/c1/runs/r1").is(400, OFF);
        ask(&mut world, "r2").is(400, OFF);
    }
}

#[test]
fn a_user_registered_again_is_neither_owner_nor_approver_of_what_its_predecessor_was() {
    let mut world = world();
    let version = publish(&mut world, &[&user("una"), &user("ugo")]);
    vote(&mut world, &user("ugo"), &version, "accepted").ok();
    for name in ["una", "ugo"] {
        world.remove_identity(name);
        world.set_identity(name, Some(ISSUER), ISSUER);
    }
    vote(&mut world, &user("una"), &version, "accepted").is(403, "NotUserDocumentApprover");
    // A draft stays its creator's.
    let draft = "/contracts/c1/userdocuments/d1";
    let put = world.put(&user("uma"), draft, json!({"data": 1}));
    let body = json!({"data": 2, "version": put.tx.to_string()});
    put.ok();
    world.remove_identity("uma");
    world.set_identity("uma", Some(ISSUER), ISSUER);
    world
        .put(&user("uma"), draft, body)
        .is(403, "NotUserDocumentOwner");
}

#[test]
fn a_draft_means_the_approvers_who_were_registered_when_it_was_put() {
    let mut world = world();
    let version = publish(&mut world, &[&user("ugo")]);
    world.remove_identity("ugo");
    world.set_identity("ugo", Some(ISSUER), ISSUER);
    vote(&mut world, &user("ugo"), &version, "accepted").is(403, "NotUserDocumentApprover");
}
