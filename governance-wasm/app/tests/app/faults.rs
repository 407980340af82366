//! What is our own fault is no refusal: nothing of it is written or remembered, however far the
//! request had come.

use cleanroom_model::tables::USER_DOCUMENTS;
use governance_app::Caller;
use serde_json::json;

use crate::runs::{LAUNCHER, POD, agreed, ask};
use crate::world::{World, workload};

/// Overwrites a document's row by what is none.
fn spoil(world: &mut World, document: &str) {
    let key = format!("c1/{document}");
    world.govern(|w| {
        w.put(USER_DOCUMENTS.name(), key.as_bytes(), b"{").unwrap();
    });
}

#[test]
fn a_fault_on_the_way_to_a_verdict_is_neither_told_as_refusal_nor_remembered() {
    let mut world = agreed();
    spoil(&mut world, "weather");
    let failed = ask(&mut world, "r1");
    failed.is(500, "InternalError");
    assert!(!failed.wrote);
    assert!(world.trace("c1").is_empty(), "no refusal is on record");
    let target = "/contracts/c1/queries/q1/prerequisites";
    let failed = world.attested(&workload(LAUNCHER), target);
    failed.is(500, "InternalError");
    assert!(!failed.wrote, "not even the nonce's use");
}

#[test]
fn a_fault_on_the_way_to_a_release_leaves_no_trace_of_one() {
    let mut world = agreed();
    ask(&mut world, "r1").ok();
    let traced = world.trace("c1").len();
    spoil(&mut world, "planes");
    for target in ["/contracts/c1/runs/r1", "/contracts/c1/runs/r1/check"] {
        let failed = world.attested(&workload(POD), target);
        failed.is(500, "InternalError");
        assert!(!failed.wrote, "{target}");
    }
    let mut proof = world.proof(&workload(POD));
    proof["runId"] = json!("r1");
    let failed = world.post(&Caller::Anonymous, "/contracts/c1/secrets/una_flights", proof);
    failed.is(500, "InternalError");
    assert_eq!(world.trace("c1").len(), traced);
}
