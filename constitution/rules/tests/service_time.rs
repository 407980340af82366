//! `reset_service_time`: who decides it, and what it writes (decision 49).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::World;
use kv::Singleton;
use model::proposal::{Moment, Resolution};
use model::tables;
use serde_json::{Value as JsonValue, json};

fn reset() -> JsonValue {
    json!([{"name": "reset_service_time", "args": {"notAfter": 1_800_000_000}}])
}

fn rules() -> JsonValue {
    json!([{"name": "set_constitution", "args": {"constitution": "", "digest": "00".repeat(32)}}])
}

#[test]
fn time_goes_back_only_for_those_who_may_replace_the_rules() {
    for (members, proposer, ballots) in [
        ("ann bob cid", "ann", "ann+ bob+"),
        ("ann bob cid", "ann", "ann+ bob+ cid+"),
        ("ann bob cid", "ann", "ann+ bob-"),
        ("ann opa:operator", "opa", ""),
        ("ann opa:operator", "opa", "opa+"),
        ("ann sam:cgs", "sam", ""),
    ] {
        for moment in [Moment::Creation, Moment::Ballot] {
            for option in ["disabled", "enabled"] {
                let mut world = World::new(members);
                world
                    .apply(json!([{"name": "set_cgs_runtime_options",
                        "args": {"option": "autoapprove-constitution-proposal", "status": option}}]))
                    .unwrap();
                let found = world.resolve(proposer, moment, reset(), ballots);
                let expected = world.resolve(proposer, moment, rules(), ballots);
                assert_eq!(
                    found, expected,
                    "{members}: {proposer} {moment:?} {ballots} {option}"
                );
            }
        }
    }
    let mut world = World::new("ann bob");
    assert_eq!(
        world.resolve("ann", Moment::Ballot, reset(), "ann+"),
        Resolution::Open
    );
}

#[test]
fn what_members_know_of_the_time_is_written_down_for_the_host() {
    let mut world = World::new("ann");
    world.carry("reset_service_time", json!({"notAfter": 1_800_000_000}));
    let row = tables::SERVICE_TIME_RESET
        .get(&world, &Singleton)
        .unwrap()
        .unwrap();
    assert_eq!(row.0.not_after, 1_800_000_000);
    let refuses = |world: &mut World, not_after: u64| {
        world.refuses(
            "reset_service_time",
            json!({"notAfter": not_after}),
            "Unix seconds",
        );
    };
    refuses(&mut world, 0);
    refuses(&mut world, 10_000_000_000);
}
