//! User documents and their consent (`governance-api.md` §9, §12.3; decisions 2 and 38).

use governance_app::Caller;
use model::member::MemberStatus;
use serde_json::{Value as JsonValue, json};

use crate::world::{World, as_approver, member, member_id, pending_member, user, workload};

pub const DOC: &str = "/contracts/c1/userdocuments/q1";

pub fn world() -> World {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world
}

/// Publishes `q1` by una with these approvers; gives the version.
pub fn publish(world: &mut World, approvers: &[&Caller]) -> String {
    let approvers: Vec<JsonValue> = approvers.iter().map(|who| as_approver(who)).collect();
    let put = world.put(
        &user("una"),
        DOC,
        json!({"data": "select 1", "approvers": approvers}),
    );
    assert_eq!(put.status, 200, "{}", put.json);
    put.tx.to_string()
}

pub fn vote(world: &mut World, who: &Caller, version: &str, ballot: &str) -> crate::world::Answer {
    world.post(
        who,
        &format!("{DOC}/ballot"),
        json!({"version": version, "ballot": ballot}),
    )
}

fn read(world: &mut World) -> JsonValue {
    world.post(&member("ann"), DOC, JsonValue::Null).ok()
}

#[test]
fn approvers_move_a_document_from_draft_over_proposed_to_accepted() {
    let mut world = world();
    let (ugo, ann) = (user("ugo"), member("ann"));
    let version = publish(&mut world, &[&ugo, &ann]);
    let draft = read(&mut world);
    assert_eq!(
        (&draft["state"], &draft["proposerId"]),
        (&json!("Draft"), &json!(""))
    );
    assert!(draft.get("finalVotes").is_none());
    assert_eq!(vote(&mut world, &ugo, &version, "accepted").status, 204);
    let proposed = read(&mut world);
    assert_eq!(
        (&proposed["state"], &proposed["version"]),
        (&json!("Proposed"), &json!(version))
    );
    assert_eq!(proposed["missingApprovers"], json!([as_approver(&ann)]));
    assert_eq!(proposed["proposerId"], "una");
    assert_eq!(vote(&mut world, &ann, &version, "accepted").status, 204);
    let accepted = read(&mut world);
    assert_eq!(
        (&accepted["state"], &accepted["version"]),
        (&json!("Accepted"), &json!(version))
    );
    assert_eq!(accepted["finalVotes"].as_array().unwrap().len(), 2);
    assert_eq!(accepted["missingApprovers"], json!([]));
    world
        .put(&user("una"), DOC, json!({"data": "other", "version": version}))
        .is(405, "UserDocumentAlreadyAccepted");
    vote(&mut world, &ugo, &version, "accepted").is(409, "BallotAlreadySubmitted");
}

#[test]
fn one_rejection_is_final() {
    let mut world = world();
    let (ugo, uma) = (user("ugo"), user("uma"));
    let version = publish(&mut world, &[&ugo, &uma]);
    assert_eq!(vote(&mut world, &ugo, &version, "rejected").status, 204);
    assert_eq!(read(&mut world)["state"], "Rejected");
    vote(&mut world, &uma, &version, "accepted").is(405, "UserDocumentRejected");
    world
        .put(&user("una"), DOC, json!({"data": "x", "version": version}))
        .is(405, "UserDocumentRejected");
}

#[test]
fn ballots_are_checked() {
    let mut world = world();
    let version = publish(&mut world, &[&user("ugo"), &user("uma")]);
    vote(&mut world, &user("ugo"), "2.1", "accepted").is(412, "PreconditionFailed");
    vote(&mut world, &user("una"), &version, "accepted").is(403, "NotUserDocumentApprover");
    vote(&mut world, &user("ugo"), &version, "yes").is(400, "InvalidBallotValue");
    world
        .post(
            &user("ugo"),
            &format!("{DOC}/ballot"),
            json!({"ballot": "accepted"}),
        )
        .is(400, "InvalidInput");
    let elsewhere = "/contracts/c1/userdocuments/none/ballot";
    world
        .post(&user("ugo"), elsewhere, json!({"version": version}))
        .is(404, "UserDocumentNotFound");
    assert_eq!(vote(&mut world, &user("ugo"), &version, "accepted").status, 204);
}

#[test]
fn a_user_does_not_vote_for_a_member_of_the_same_id() {
    let mut world = world();
    world.set_identity(
        &member_id("ann"),
        Some(crate::world::ISSUER),
        crate::world::ISSUER,
    );
    let version = publish(&mut world, &[&member("ann")]);
    let namesake = user(&member_id("ann"));
    vote(&mut world, &namesake, &version, "accepted").is(403, "NotUserDocumentApprover");
    vote(&mut world, &pending_member("ann"), &version, "accepted").is(403, "MemberNotActive");
}

#[test]
fn nobody_named_means_all_active_regular_members_frozen_at_the_first_ballot() {
    let mut world = world();
    world.set_member("ope", MemberStatus::Active, Some(json!({"isOperator": true})));
    world.set_member("new", MemberStatus::Accepted, None);
    let version = publish(&mut world, &[]);
    assert_eq!(vote(&mut world, &member("ann"), &version, "accepted").status, 204);
    world.set_member("dot", MemberStatus::Active, None);
    vote(&mut world, &member("dot"), &version, "accepted").is(403, "NotUserDocumentApprover");
    for name in ["bob", "cid"] {
        assert_eq!(vote(&mut world, &member(name), &version, "accepted").status, 204);
    }
    assert_eq!(read(&mut world)["state"], "Accepted");
}

#[test]
fn only_the_creator_edits_and_only_a_draft() {
    let mut world = world();
    let version = publish(&mut world, &[&user("ugo"), &user("uma")]);
    let body = json!({"data": "x", "version": version});
    world
        .put(&user("ugo"), DOC, body.clone())
        .is(403, "NotUserDocumentOwner");
    world
        .put(&user("una"), DOC, json!({"data": "x"}))
        .is(409, "UserDocumentAlreadyExists");
    world
        .put(&user("una"), DOC, json!({"data": "x", "version": "2.1"}))
        .is(412, "PreconditionFailed");
    vote(&mut world, &user("ugo"), &version, "accepted").ok();
    world
        .put(&user("una"), DOC, body)
        .is(409, "UserDocumentAlreadyProposed");
}

#[test]
fn what_is_malformed_about_a_document_is_named() {
    let mut world = world();
    let una = user("una");
    world.put(&una, DOC, json!({})).is(400, "DataMissing");
    world
        .put(&una, DOC, json!({"data": 1, "contractId": "c2"}))
        .is(400, "ContractIdMismatch");
    world
        .put(&una, "/contracts/none/userdocuments/q", json!({"data": 1}))
        .is(404, "ContractNotFound");
    world
        .put(&una, "/contracts/c1/userdocuments/accepted", json!({"data": 1}))
        .is(400, "InvalidResourceName");
    world
        .put(&una, DOC, json!({"data": 1, "labels": {"a": 1}}))
        .is(400, "InvalidInput");
    let ugo = as_approver(&user("ugo"));
    for approvers in [
        json!([ugo, ugo]),
        json!([{"approverId": "zoe", "approverIdType": "user"}]),
        json!([{"approverId": "una", "approverIdType": "member"}]),
    ] {
        world
            .put(&una, DOC, json!({"data": 1, "approvers": approvers}))
            .is(400, "InvalidApprovers");
    }
    let unset = json!({"data": 1, "contractId": "c1", "labels": null, "approvers": []});
    assert_eq!(world.put(&una, DOC, unset).status, 200);
}

#[test]
fn losing_an_approver_who_has_not_voted_rejects() {
    let mut world = world();
    let version = publish(&mut world, &[&user("ugo"), &user("uma")]);
    vote(&mut world, &user("ugo"), &version, "accepted").ok();
    world.remove_identity("ugo");
    assert_eq!(read(&mut world)["state"], "Proposed");
    world.remove_identity("uma");
    assert_eq!(read(&mut world)["state"], "Rejected");
    // Whoever comes back under that id is not the approver that was asked.
    world.set_identity("uma", Some(crate::world::ISSUER), crate::world::ISSUER);
    assert_eq!(read(&mut world)["state"], "Rejected");
    vote(&mut world, &user("uma"), &version, "accepted").is(403, "NotUserDocumentApprover");
}

#[test]
fn an_approver_whose_data_change_is_not_lost_and_a_member_may_be_too() {
    let mut world = world();
    let version = publish(&mut world, &[&user("ugo"), &user("uma"), &member("bob")]);
    vote(&mut world, &user("ugo"), &version, "accepted").ok();
    world.set_identity("uma", Some(crate::world::ISSUER), crate::world::ISSUER);
    world.set_member("bob", MemberStatus::Active, Some(json!({"identifier": "bob"})));
    assert_eq!(read(&mut world)["state"], "Proposed");
    world.remove_member("bob");
    world.set_member("bob", MemberStatus::Active, None);
    assert_eq!(read(&mut world)["state"], "Rejected");
}

#[test]
fn documents_of_one_contract_are_not_another_contracts() {
    let mut world = world();
    world.accept_contract("c10", json!(1));
    publish(&mut world, &[&user("ugo")]);
    world
        .post(&user("una"), "/contracts/c10/userdocuments/q1", json!(null))
        .is(404, "UserDocumentNotFound");
    assert_eq!(
        world.get(&user("una"), "/contracts/c10/userdocuments").ok(),
        json!({"value": []})
    );
}

#[test]
fn labels_select_with_a_logical_and() {
    let mut world = world();
    for (id, labels) in [
        ("a", json!({"type": "dataset", "x": "1"})),
        ("b", json!({"type": "dataset"})),
    ] {
        let path = format!("/contracts/c1/userdocuments/{id}");
        world
            .put(&user("una"), &path, json!({"data": 1, "labels": labels}))
            .ok();
    }
    let mut ids = |selector: &str| {
        let path = format!("/contracts/c1/userdocuments?labelSelector={selector}");
        let list = world.get(&user("una"), &path);
        list.json["value"].as_array().map(Vec::len)
    };
    assert_eq!(ids("type:dataset"), Some(2));
    assert_eq!(ids("type:dataset,x:1"), Some(1));
    assert_eq!(ids("type%3Adataset"), Some(2));
    assert_eq!(ids("x:2"), Some(0));
    assert_eq!(ids("x"), None);
}

#[test]
fn an_admitted_workload_reads_what_members_read_but_only_if_accepted() {
    let mut world = world();
    let pod = workload('a');
    world.welcome("c1", "default", &pod, json!({}));
    let version = publish(&mut world, &[&user("ugo")]);
    let target = "/contracts/c1/userdocuments/accepted/q1";
    world.attested(&pod, target).is(404, "UserDocumentNotFound");
    vote(&mut world, &user("ugo"), &version, "accepted").ok();
    let answer = world.attested(&pod, target).ok();
    let clear = world.post(&member("ann"), DOC, JsonValue::Null).ok();
    let wrapped: JsonValue = serde_json::from_str(&pod.unwrap(&answer)).unwrap();
    assert_eq!(wrapped, clear);
}

#[test]
fn a_clean_room_may_execute_what_contract_and_document_allow() {
    let mut world = world();
    let pod = workload('a');
    world.welcome("c1", "default", &pod, json!({}));
    world.welcome_tokens("c1", json!({"appid": ["app-1"]}));
    let version = publish(&mut world, &[&user("ugo")]);
    vote(&mut world, &user("ugo"), &version, "accepted").ok();
    let switch = "/contracts/c1/runtimeoptions/execution/disable";
    world.post(&member("ann"), switch, json!(null)).ok();
    let execution = format!("{DOC}/runtimeoptions/execution/status");
    let app = crate::world::token(json!({"sub": "app", "appid": "app-1"}));
    let answers = [
        world.attested(&pod, &execution).ok(),
        world.post(&app, &execution, json!(null)).ok(),
    ];
    for answer in answers {
        assert_eq!(answer["reason"]["code"], "ContractDisabled");
    }
    // Its approvers ask for the document's own switches.
    let own = world.post(&user("ugo"), &execution, json!(null)).ok();
    assert_eq!(own, json!({"status": "enabled"}));
    let telemetry = format!("{DOC}/runtimeoptions/telemetry/status");
    assert_eq!(
        world.attested(&pod, &telemetry).ok(),
        json!({"status": "enabled"})
    );
}

#[test]
fn one_approver_is_enough_to_disable_and_needed_to_enable() {
    let mut world = world();
    let version = publish(&mut world, &[&user("ugo"), &user("uma")]);
    let status = format!("{DOC}/runtimeoptions/execution/status");
    let disable = format!("{DOC}/runtimeoptions/execution/disable");
    let enable = format!("{DOC}/runtimeoptions/execution/enable");
    let off = world.post(&user("una"), &status, json!(null)).ok();
    assert_eq!(off["reason"]["code"], "UserDocumentNotAccepted");
    world
        .post(&user("ugo"), &disable, json!(null))
        .is(400, "UserDocumentNotAccepted");
    for who in ["ugo", "uma"] {
        vote(&mut world, &user(who), &version, "accepted").ok();
    }
    assert_eq!(
        world.post(&user("una"), &status, json!(null)).ok(),
        json!({"status": "enabled"})
    );
    world
        .post(&user("una"), &disable, json!(null))
        .is(403, "NotUserDocumentApprover");
    world.post(&user("ugo"), &disable, json!(null)).ok();
    world.post(&user("uma"), &enable, json!(null)).ok();
    let off = world.post(&user("una"), &status, json!(null)).ok();
    assert_eq!(off["reason"]["code"], "UserDocumentRuntimeOptionDisabled");
    assert!(off["reason"]["message"].as_str().unwrap().contains("[ugo]"));
    let telemetry = format!("{DOC}/runtimeoptions/telemetry/status");
    assert_eq!(
        world.post(&user("una"), &telemetry, json!(null)).ok()["status"],
        "enabled"
    );
    world.post(&user("ugo"), &enable, json!(null)).ok();
    assert_eq!(
        world.post(&user("una"), &status, json!(null)).ok()["status"],
        "enabled"
    );
    let logging = format!("{DOC}/runtimeoptions/logging/status");
    world
        .post(&user("una"), &logging, json!(null))
        .is(400, "InvalidUserDocumentRuntimeOption");
}

#[test]
fn what_readers_would_understand_differently_is_refused_in_documents_and_in_their_text() {
    let mut world = world();
    let una = user("una");
    for twice in [
        r#"{"data":"a","data":"b","approvers":[]}"#,
        r#"{"data":{"a":1,"a":2},"approvers":[]}"#,
        r#"{"data":"{\"name\":\"a\",\"name\":\"b\"}","approvers":[]}"#,
        // A number that would not be the same any more when others vote on it.
        r#"{"data":{"a":12345678901234567890123},"approvers":[]}"#,
    ] {
        let refused = world.call(&una, "PUT", DOC, twice.as_bytes());
        refused.is(400, "InvalidInput");
    }
    // Text that is no JSON is nobody's business, and a mark in front of a body is none of it.
    let body = "\u{feff}{\"data\":\"a: 1\\na: 2\",\"approvers\":[]}";
    world.call(&una, "PUT", DOC, body.as_bytes()).ok();
    let contract = r#"{"data":{"a":1,"a":2}}"#;
    let refused = world.call(&member("ann"), "PUT", "/contracts/c9", contract.as_bytes());
    refused.is(400, "InvalidInput");
}
