//! What an accepting ballot on a query covers (decision 52).

use cleanroom_model::tables::{USER_DOCUMENTS, UserDocumentDraft};
use kv::{Json, Pair};
use serde_json::{Value as JsonValue, json};

use crate::runs::{accept, agreed, ask, dataset, publish, query, world};
use crate::world::{Answer, World, as_approver, user};

const VOTERS: [&str; 3] = ["una", "ugo", "uma"];

fn ballot(world: &mut World, who: &str, id: &str, version: &str, ballot: &str) -> Answer {
    let path = format!("/contracts/c1/userdocuments/{id}/ballot");
    let body = json!({"version": version, "ballot": ballot});
    world.post(&user(who), &path, body)
}

/// A query into this sink.
fn query_into(sink: &str) -> JsonValue {
    let mut query = query("select 1");
    query["application"]["outputDataset"]["specification"] = json!(sink);
    query
}

#[test]
fn a_sink_rewritten_after_the_ballot_stops_the_run() {
    let mut world = world();
    // The analyst shows a sink that it can still change.
    let sink = dataset("una", "result", "write", JsonValue::Null);
    let draft = publish(&mut world, "una", "o3", &sink, &["una"]);
    let version = publish(&mut world, "una", "q3", &query_into("o3"), &VOTERS);
    let refused = ballot(&mut world, "ugo", "q3", &version, "accepted");
    refused.is(400, "UserDocumentNotAccepted");
    assert_eq!(refused.json["error"]["details"][0]["documentId"], "o3");
    // Once it is final, the ballot is about this version of it.
    accept(&mut world, "una", "o3", &draft);
    for voter in VOTERS {
        accept(&mut world, voter, "q3", &version);
    }
    let target = "/contracts/c1/queries/q3/prerequisites";
    let ready = world.post(&user("una"), target, JsonValue::Null).ok();
    assert_eq!(ready, json!({"ready": true}));
    // If something else lay under that name, whatever the way it came there, nothing would run.
    let key = Pair("c1".parse().unwrap(), "o3".parse().unwrap());
    let mut row: UserDocumentDraft = world.row(&USER_DOCUMENTS, &key).0;
    row.data = json!(dataset("una", "elsewhere", "write", JsonValue::Null).to_string());
    world.govern(|w| USER_DOCUMENTS.put(w, &key, &Json(row)).unwrap());
    let reason = world.post(&user("una"), target, JsonValue::Null).ok()["reason"].clone();
    assert_eq!(reason["code"], "UserDocumentModified");
    assert_eq!(reason["details"][0]["documentId"], "o3");
}

#[test]
fn a_document_changed_under_a_live_run_stops_it() {
    let mut world = agreed();
    ask(&mut world, "r1").ok();
    let pod = crate::world::workload(crate::runs::POD);
    let secret = "/contracts/c1/secrets/una_flights?runId=r1";
    world.attested(&pod, secret).ok();
    let key = Pair("c1".parse().unwrap(), "result".parse().unwrap());
    let row = world.row(&USER_DOCUMENTS, &key);
    world.govern(|w| USER_DOCUMENTS.put(w, &key, &row).unwrap());
    world.attested(&pod, secret).is(409, "UserDocumentModified");
}

#[test]
fn a_query_over_documents_that_are_not_there_or_not_accepted_can_only_be_rejected() {
    let mut world = world();
    for (sink, id) in [("nowhere", "q1"), ("a b", "q2")] {
        let version = publish(&mut world, "una", id, &query_into(sink), &VOTERS);
        ballot(&mut world, "ugo", id, &version, "accepted").is(400, "UserDocumentNotAccepted");
        assert_eq!(ballot(&mut world, "ugo", id, &version, "rejected").status, 204);
    }
    let sink = dataset("una", "result", "write", JsonValue::Null);
    let draft = publish(&mut world, "una", "o3", &sink, &["una"]);
    ballot(&mut world, "una", "o3", &draft, "rejected").ok();
    let version = publish(&mut world, "una", "q3", &query_into("o3"), &VOTERS);
    ballot(&mut world, "ugo", "q3", &version, "accepted").is(400, "UserDocumentNotAccepted");
}

#[test]
fn a_proposal_of_a_query_freezes_what_it_names_too() {
    let mut world = world();
    let sink = dataset("una", "result", "write", JsonValue::Null);
    let draft = publish(&mut world, "una", "o3", &sink, &["una"]);
    let version = publish(&mut world, "una", "q3", &query_into("o3"), &VOTERS);
    let id = "5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c";
    let path = format!("/users/proposals/{id}");
    let approvers: Vec<JsonValue> = VOTERS.iter().map(|who| as_approver(&user(who))).collect();
    let body = json!({
        "name": "set_user_document", "approvers": approvers,
        "args": {"documentId": "q3", "document": {"version": version, "contractId": "c1"}},
    });
    world
        .put(&user("una"), &path, body.clone())
        .is(400, "UserDocumentNotAccepted");
    accept(&mut world, "una", "o3", &draft);
    world.put(&user("una"), &path, body).ok();
    for voter in VOTERS {
        let vote = json!({"ballot": "accepted"});
        world
            .post(&user(voter), &format!("{path}/ballots/submit"), vote)
            .ok();
    }
    let target = "/contracts/c1/queries/q3/prerequisites";
    let ready = world.post(&user("una"), target, JsonValue::Null).ok();
    assert_eq!(ready, json!({"ready": true}));
}

#[test]
fn what_calls_itself_a_query_and_is_none_is_not_accepted() {
    let mut world = world();
    let labels = json!({"type": "spark-application"});
    let put = world.put(
        &user("una"),
        "/contracts/c1/userdocuments/q9",
        json!({"data": "select 1", "labels": labels, "approvers": [as_approver(&user("ugo"))]}),
    );
    let version = put.tx.to_string();
    put.ok();
    ballot(&mut world, "ugo", "q9", &version, "accepted").is(400, "InvalidQueryFormat");
    assert_eq!(ballot(&mut world, "ugo", "q9", &version, "rejected").status, 204);
}

#[test]
fn an_owner_registered_again_has_not_accepted_what_its_predecessor_did() {
    let mut world = world();
    let version = publish(&mut world, "una", "q1", &query("select 1"), &VOTERS);
    for voter in VOTERS {
        accept(&mut world, voter, "q1", &version);
    }
    world.remove_identity("uma");
    world.set_identity("uma", Some(crate::world::ISSUER), crate::world::ISSUER);
    // As if the new uma's dataset lay where the query looks for it.
    let key = Pair("c1".parse().unwrap(), "planes".parse().unwrap());
    let mut row: UserDocumentDraft = world.row(&USER_DOCUMENTS, &key).0;
    row.creator.registration = kv::TxId::new(2, world.last_seqno());
    world.govern(|w| USER_DOCUMENTS.put(w, &key, &Json(row)).unwrap());
    let refused = ask(&mut world, "r1");
    refused.is(400, "QueryMissingApprovalsFromDatasetOwners");
    assert_eq!(refused.json["error"]["details"][0]["approverId"], "uma");
}
