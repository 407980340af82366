//! The second door to document decisions (`governance-api.md` §9.2 D1–D7, §10).

use governance_app::Caller;
use serde_json::{Value as JsonValue, json};

use crate::documents::{DOC, publish, world};
use crate::world::{World, as_approver, member, user};

const ID: &str = "5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c";

fn path(rest: &str) -> String {
    format!("/users/proposals/{ID}{rest}")
}

fn proposal(version: &str, approvers: &[&Caller]) -> JsonValue {
    let approvers: Vec<JsonValue> = approvers.iter().map(|who| as_approver(who)).collect();
    json!({
        "name": "set_user_document", "approvers": approvers,
        "args": {"documentId": "q1", "document": {"version": version, "contractId": "c1", "data": "select 1"}},
    })
}

fn ballot(world: &mut World, who: &str, ballot: &str) -> crate::world::Answer {
    world.post(&user(who), &path("/ballots/submit"), json!({"ballot": ballot}))
}

#[test]
fn a_proposal_freezes_the_draft_and_its_ballots_decide_the_document() {
    let mut world = world();
    let (ugo, uma) = (user("ugo"), user("uma"));
    let version = publish(&mut world, &[&ugo, &uma]);
    let made = world
        .put(&user("una"), &path(""), proposal(&version, &[&ugo, &uma]))
        .ok();
    assert_eq!(made, json!({"proposalId": ID}));
    let read = world.post(&member("ann"), DOC, json!(null)).ok();
    assert_eq!(
        (&read["state"], &read["proposalId"]),
        (&json!("Proposed"), &json!(ID))
    );
    let status = ballot(&mut world, "ugo", "accepted").ok();
    let expected = json!({
        "proposerId": "una", "state": "Open", "ballots": [{"approverId": "ugo", "ballot": "accepted"}],
    });
    assert_eq!(status, expected);
    // The other door leads to the same state.
    let direct = json!({"version": version, "ballot": "accepted"});
    assert_eq!(world.post(&uma, &format!("{DOC}/ballot"), direct).status, 204);
    let status = world.post(&member("ann"), &path("/status"), json!(null)).ok();
    assert_eq!(status["state"], "Accepted");
    assert_eq!(
        world.post(&member("ann"), DOC, json!(null)).ok()["state"],
        "Accepted"
    );
    let shown = world.post(&member("ann"), &path(""), json!(null)).ok();
    assert_eq!(shown["args"]["document"]["data"], "select 1");
    world
        .put(&user("una"), &path(""), json!({}))
        .is(409, "ProposalAlreadyExists");
    ballot(&mut world, "ugo", "accepted").is(409, "ProposalNotOpen");
}

#[test]
fn content_version_and_approvers_are_the_drafts() {
    let mut world = world();
    let ugo = user("ugo");
    let version = publish(&mut world, &[&ugo]);
    let put = |world: &mut World, body: JsonValue| world.put(&user("una"), &path(""), body);
    // D1: neither other content nor oneself as sole approver gets a document accepted.
    let mut other_data = proposal(&version, &[&ugo]);
    other_data["args"]["document"]["data"] = json!("select secret");
    put(&mut world, other_data).is(409, "UserDocumentModified");
    put(&mut world, proposal(&version, &[&user("una")])).is(409, "UserDocumentModified");
    put(&mut world, proposal("2.1", &[&ugo])).is(409, "UserDocumentModified");
    world
        .put(&user("uma"), &path(""), proposal(&version, &[&ugo]))
        .is(403, "NotUserDocumentOwner");
    put(&mut world, proposal(&version, &[&ugo])).ok();
    // D7: frozen now.
    let edit = json!({"data": "x", "version": version});
    world
        .put(&user("una"), DOC, edit)
        .is(409, "UserDocumentAlreadyProposed");
    let second = "/users/proposals/00000000000000000000000000000000";
    let again = world.put(&user("una"), second, proposal(&version, &[&ugo]));
    again.is(409, "UserDocumentAlreadyProposed");
    assert!(again.json["error"]["message"].as_str().unwrap().contains(ID));
}

#[test]
fn what_is_malformed_about_a_proposal_is_named() {
    let mut world = world();
    let version = publish(&mut world, &[&user("ugo")]);
    let good = proposal(&version, &[&user("ugo")]);
    let with = |pointer: &str, value: JsonValue| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    for (body, status, code) in [
        (with("/approvers", json!(null)), 400, "ApproversMissing"),
        (with("/approvers", json!([])), 400, "EmptyApprovers"),
        (with("/name", json!("other")), 400, "InvalidProposalType"),
        (
            with("/args/documentId", json!(null)),
            400,
            "InvalidUserDocumentId",
        ),
        (
            with("/args/document/contractId", json!(null)),
            400,
            "ContractIdMissing",
        ),
        (
            with("/args/documentId", json!("none")),
            404,
            "UserDocumentNotFound",
        ),
    ] {
        world.put(&user("una"), &path(""), body).is(status, code);
    }
    world
        .put(&user("una"), "/users/proposals/mine", good)
        .is(400, "InvalidResourceName");
    for rest in ["", "/status", "/withdraw", "/ballots/submit"] {
        world
            .post(&user("una"), &path(rest), json!({}))
            .is(404, "ProposalNotFound");
    }
}

#[test]
fn a_proposer_can_withdraw_until_somebody_voted() {
    let mut world = world();
    let (ugo, uma) = (user("ugo"), user("uma"));
    let version = publish(&mut world, &[&ugo, &uma]);
    world
        .put(&user("una"), &path(""), proposal(&version, &[&ugo, &uma]))
        .ok();
    world
        .post(&ugo, &path("/withdraw"), json!(null))
        .is(403, "NotProposalOwner");
    let withdrawn = world.post(&user("una"), &path("/withdraw"), json!(null)).ok();
    assert_eq!(withdrawn["state"], "Withdrawn");
    assert_eq!(
        world.post(&member("ann"), DOC, json!(null)).ok()["state"],
        "Draft"
    );
    ballot(&mut world, "ugo", "accepted").is(409, "ProposalNotOpen");
    let second = "/users/proposals/00000000000000000000000000000000";
    world
        .put(&user("una"), second, proposal(&version, &[&ugo, &uma]))
        .ok();
    assert_eq!(
        world.post(&user("una"), &path("/status"), json!(null)).ok()["state"],
        "Withdrawn"
    );
    world
        .post(
            &ugo,
            &format!("{second}/ballots/submit"),
            json!({"ballot": "accepted"}),
        )
        .ok();
    world
        .post(&user("una"), &format!("{second}/withdraw"), json!(null))
        .is(409, "ProposalNotOpen");
}

#[test]
fn ballots_through_this_door_are_checked() {
    let mut world = world();
    let (ugo, uma) = (user("ugo"), user("uma"));
    let version = publish(&mut world, &[&ugo, &uma]);
    world
        .put(&user("una"), &path(""), proposal(&version, &[&ugo, &uma]))
        .ok();
    ballot(&mut world, "una", "accepted").is(403, "NotProposalApprover");
    ballot(&mut world, "ugo", "maybe").is(400, "InvalidBallotValue");
    let stale = json!({"ballot": "accepted", "version": "2.1"});
    world
        .post(&ugo, &path("/ballots/submit"), stale)
        .is(412, "PreconditionFailed");
    ballot(&mut world, "ugo", "accepted").ok();
    ballot(&mut world, "ugo", "accepted").is(409, "BallotAlreadySubmitted");
    assert_eq!(ballot(&mut world, "uma", "rejected").ok()["state"], "Rejected");
}
