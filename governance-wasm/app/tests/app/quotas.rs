//! What belongs to whom, and how much of it (decision 53).

use cleanroom_model::tables::{USAGE, Usage};
use governance_app::Caller;
use governance_app::quotas::{RUN_EVENT_BYTES_MAX, RUN_EVENTS_MAX};
use kv::{Json, Pair, Singleton};
use model::service::ServiceConfig;
use model::tables::SERVICE_CONFIG;
use serde_json::json;

use crate::world::{Answer, ISSUER, World, member, user, workload};

/// A service with contract `c1` and these quotas.
fn quotas(rows: u64, bytes: u64) -> World {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world.govern(|changes| {
        let config = ServiceConfig {
            recovery_threshold: 1,
            maximum_node_certificate_validity_days: None,
            maximum_service_certificate_validity_days: None,
            recent_cose_proposals_window_size: None,
            quota_rows: Some(rows),
            quota_bytes: Some(bytes),
        };
        SERVICE_CONFIG.put(changes, &Singleton, &Json(config)).unwrap();
    });
    world
}

fn secret(world: &mut World, caller: &Caller, name: &str, value: &str) -> Answer {
    let path = format!("/contracts/c1/secrets/{name}");
    world.put(caller, &path, json!({ "value": value }))
}

#[test]
fn a_caller_may_keep_as_many_rows_as_the_quota_says_and_not_one_more() {
    let mut world = quotas(2, 1_000_000);
    secret(&mut world, &user("una"), "a", "1").ok();
    world
        .put(
            &user("una"),
            "/contracts/c1/userdocuments/d",
            json!({"data": "x"}),
        )
        .ok();
    secret(&mut world, &user("una"), "b", "1").is(429, "QuotaExceeded");
    world
        .put(
            &user("una"),
            "/contracts/c1/userdocuments/e",
            json!({"data": "x"}),
        )
        .is(429, "QuotaExceeded");
    // What is there may still be replaced, and nobody else's room is used.
    secret(&mut world, &user("una"), "a", "2").ok();
    secret(&mut world, &member("ann"), "a", "1").ok();
    secret(&mut world, &user("ugo"), "a", "1").ok();
}

#[test]
fn bytes_are_counted_to_the_last_one_and_a_smaller_value_gives_room_back() {
    let mut world = quotas(100, 10);
    secret(&mut world, &user("una"), "a", "123456").ok();
    secret(&mut world, &user("una"), "b", "12345").is(429, "QuotaExceeded");
    secret(&mut world, &user("una"), "b", "1234").ok();
    secret(&mut world, &user("una"), "a", "1234567").is(429, "QuotaExceeded");
    secret(&mut world, &user("una"), "a", "12").ok();
    secret(&mut world, &user("una"), "b", "12345678").ok();
}

#[test]
fn room_in_one_contract_is_not_room_in_another() {
    let mut world = quotas(1, 100);
    world.accept_contract("c2", json!(1));
    secret(&mut world, &user("una"), "a", "1").ok();
    secret(&mut world, &user("una"), "b", "1").is(429, "QuotaExceeded");
    world
        .put(&user("una"), "/contracts/c2/secrets/b", json!({"value": "1"}))
        .ok();
}

#[test]
fn a_user_cannot_put_a_secret_into_a_contract_that_does_not_exist() {
    let mut world = World::new();
    world
        .put(
            &user("una"),
            "/contracts/nowhere/secrets/k",
            json!({"value": "v"}),
        )
        .is(404, "ContractNotFound");
    // Members prepare contracts.
    world
        .put(
            &member("ann"),
            "/contracts/nowhere/secrets/k",
            json!({"value": "v"}),
        )
        .ok();
}

#[test]
fn users_list_their_own_secrets_alone_and_members_all() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    secret(&mut world, &user("una"), "k", "v").ok();
    secret(&mut world, &user("ugo"), "k", "v").ok();
    secret(&mut world, &member("ann"), "k", "v").ok();
    let listed = |world: &mut World, caller: &Caller| {
        let answer = world.get(caller, "/contracts/c1/secrets").ok();
        answer["value"].as_array().unwrap().len()
    };
    assert_eq!(listed(&mut world, &user("una")), 1);
    assert_eq!(listed(&mut world, &user("ugo")), 1);
    assert_eq!(listed(&mut world, &member("ben")), 3);
}

#[test]
fn two_owners_cannot_share_a_shown_id_in_either_order() {
    for names in [
        [("victim", "v3_dek"), ("victim_v3", "dek")],
        [("victim_v3", "dek"), ("victim", "v3_dek")],
    ] {
        let mut world = World::new();
        world.accept_contract("c1", json!(1));
        for (id, _) in names {
            world.set_identity(id, Some(ISSUER), ISSUER);
        }
        let [(first, first_name), (second, second_name)] = names;
        secret(&mut world, &user(first), first_name, "mine").ok();
        secret(&mut world, &user(second), second_name, "other").is(409, "SecretIdInUse");
    }
}

#[test]
fn a_user_registered_again_cannot_touch_its_predecessors_secret() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world.set_identity("victim", Some(ISSUER), ISSUER);
    secret(&mut world, &user("victim"), "dek", "mine").ok();
    world.remove_identity("victim");
    world.set_identity("victim", Some(ISSUER), ISSUER);
    secret(&mut world, &user("victim"), "dek", "stolen").is(409, "SecretIdInUse");
    let listed = world.get(&user("victim"), "/contracts/c1/secrets").ok();
    assert_eq!(listed, json!({"value": []}));
    // A name of its own is free, and its room is not its predecessor's.
    secret(&mut world, &user("victim"), "dek2", "new").ok();
}

#[test]
fn events_of_a_workload_are_counted_by_its_host_data() {
    let mut world = quotas(1, 1_000);
    let pod = workload('a');
    let other = workload('b');
    world.welcome("c1", "default", &pod, json!({}));
    world.welcome("c1", "second", &other, json!({}));
    let event = |world: &mut World, from| {
        world.attested_write(from, "PUT", "/contracts/c1/events?id=s", json!({"n": 1}))
    };
    event(&mut world, &pod).ok();
    event(&mut world, &pod).is(429, "QuotaExceeded");
    event(&mut world, &other).ok();
}

#[test]
fn the_events_of_a_run_have_a_bound_that_nobody_else_can_use_up() {
    let mut world = crate::runs::agreed();
    for run in ["r1", "r2"] {
        crate::runs::ask(&mut world, run).ok();
    }
    let event = |world: &mut World, run: &str| {
        let target = format!("/contracts/c1/events?id=s&runId={run}");
        world.attested_write(&workload(crate::runs::POD), "PUT", &target, json!({"n": 1}))
    };
    let fill = |world: &mut World, rows, bytes| {
        let key = Pair("c1".parse().unwrap(), "run/r1".to_owned());
        world.govern(|changes| USAGE.put(changes, &key, &Json(Usage { rows, bytes })).unwrap());
    };
    event(&mut world, "r1").ok();
    let key = Pair("c1".parse().unwrap(), "run/r1".to_owned());
    let one = world.row(&USAGE, &key).0;
    assert_eq!(one.rows, 1);
    fill(&mut world, RUN_EVENTS_MAX - 1, one.bytes);
    event(&mut world, "r1").ok();
    event(&mut world, "r1").is(429, "QuotaExceeded");
    // To the byte.
    fill(&mut world, 1, RUN_EVENT_BYTES_MAX - one.bytes + 1);
    event(&mut world, "r1").is(429, "QuotaExceeded");
    fill(&mut world, 1, RUN_EVENT_BYTES_MAX - one.bytes);
    event(&mut world, "r1").ok();
    event(&mut world, "r2").ok();
}
