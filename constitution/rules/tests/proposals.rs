//! What a proposal's text may not be, and what concerns the service's own machinery.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{World, proposal_id};
use kv::{Json, Singleton};
use model::proposal::{Moment, Resolution};
use model::tables;
use serde_json::json;

#[test]
fn a_chunk_is_asked_for_by_proposal_and_an_operator_needs_no_vote() {
    let mut world = World::new("ann bob opa:operator");
    world.carry("trigger_ledger_chunk", json!({}));
    let row = tables::CHUNK_REQUESTS.get(&world, &Singleton).unwrap();
    assert_eq!(row, Some(Json(proposal_id("this"))));
    world.refuses("trigger_ledger_chunk", json!({"now": true}), "unknown field");
    let proposal = json!([{"name": "trigger_ledger_chunk"}]);
    for (who, resolution) in [("opa", Resolution::Accepted), ("ann", Resolution::Open)] {
        assert_eq!(
            world.resolve(who, Moment::Creation, proposal.clone(), ""),
            resolution
        );
    }
}

#[test]
fn a_key_that_occurs_twice_is_refused_when_the_proposal_is_submitted() {
    // Readers that take the first value and readers that take the last would disagree.
    for twice in [
        r#"{"actions":[{"name":"remove_jwt_issuer","args":{"issuer":"a","issuer":"b"}}]}"#,
        r#"{"actions":[{"name":"set_contract","args":{"contractId":"c1","contract":{"data":{"a":1,"a":2},"version":"2.1"}}}]}"#,
    ] {
        let world = World::new("ann");
        let faults = constitution_rules::validate(&world, &common::Native, twice.as_bytes()).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].reason.contains("occurs twice"), "{faults:?}");
    }
}
