//! Secrets (`attestation-secrets-oidc.md` §2).

use governance_app::Caller;
use serde_json::{Value as JsonValue, json};

use crate::world::{World, member, member_id, pending_member, user, workload};

fn secret_path(owner: &str, name: &str) -> String {
    format!("/contracts/c1/secrets/{}_{name}", member_id(owner))
}

#[test]
fn an_admitted_workload_gets_the_value_wrapped_to_its_key_and_the_ledger_says_so() {
    let mut world = World::new();
    let pod = workload('a');
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "default", &pod, json!({}));
    let put = world
        .put(
            &member("ann"),
            "/contracts/c1/secrets/dek",
            json!({"value": "s3cret"}),
        )
        .ok();
    assert_eq!(put, json!({"secretId": format!("{}_dek", member_id("ann"))}));
    let answer = world.attested(&pod, &secret_path("ann", "dek"));
    assert!(answer.wrote);
    let answer = answer.ok();
    assert_eq!(pod.unwrap(&answer), "s3cret");
    assert!(!workload('b').unwraps(&answer));
    let trace = world.trace("c1");
    assert_eq!(trace.len(), 1);
    assert_eq!(trace[0].outcome, cleanroom_model::tables::Outcome::Released);
    assert_eq!(trace[0].alternative.as_deref(), Some("default"));
    assert_ne!(trace[0].evidence_digest, model::Digest::ZERO);
    assert!(!serde_json::to_string(&trace[0]).unwrap().contains("s3cret"));
}

#[test]
fn who_puts_is_part_of_the_id_and_lists_show_no_values() {
    let mut world = World::new();
    let pod = workload('a');
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "default", &pod, json!({}));
    world
        .put(&user("una"), "/contracts/c1/secrets/k", json!({"value": "one"}))
        .ok();
    world
        .put(&member("ann"), "/contracts/c1/secrets/k", json!({"value": "two"}))
        .ok();
    world
        .put(
            &member("ann"),
            "/contracts/c1/secrets/k",
            json!({"value": "three"}),
        )
        .ok();
    let put = world
        .attested_write(&pod, "PUT", "/contracts/c1/secrets/k", json!({"value": "four"}))
        .ok();
    assert_eq!(put, json!({"secretId": "cleanroom_k"}));
    let list = world.get(&member("ben"), "/contracts/c1/secrets").ok();
    let ids: Vec<&str> = list["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["secretId"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [format!("{}_k", member_id("ann")).as_str(), "cleanroom_k", "una_k"]
    );
    assert!(!list.to_string().contains("three"));
    let answer = world.attested(&pod, &secret_path("ann", "k")).ok();
    assert_eq!(pod.unwrap(&answer), "three");
}

#[test]
fn ids_that_read_the_same_stay_with_whoever_put_them_first() {
    let mut world = World::new();
    let pod = workload('a');
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "default", &pod, json!({}));
    for name in ["alice", "alice_x", "cleanroom"] {
        world.set_identity(name, Some(crate::world::ISSUER), crate::world::ISSUER);
    }
    let put = |world: &mut World, who: &str, name: &str| {
        let path = format!("/contracts/c1/secrets/{name}");
        world.put(&user(who), &path, json!({"value": format!("{who}'s")}))
    };
    assert_eq!(put(&mut world, "alice", "x_k").ok()["secretId"], "alice_x_k");
    put(&mut world, "alice_x", "k").is(409, "SecretIdInUse");
    put(&mut world, "alice", "x_k").ok();
    let released = world.attested(&pod, "/contracts/c1/secrets/alice_x_k").ok();
    assert_eq!(pod.unwrap(&released), "alice's");
    let target = "/contracts/c1/secrets/k";
    world
        .attested_write(&pod, "PUT", target, json!({"value": "v"}))
        .ok();
    put(&mut world, "cleanroom", "k").is(409, "SecretIdInUse");
    put(&mut world, "cleanroom", "l").ok();
    world
        .attested_write(&pod, "PUT", "/contracts/c1/secrets/l", json!({"value": "v"}))
        .is(409, "SecretIdInUse");
}

#[test]
fn lists_of_long_secrets_have_every_id() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    for n in 0..5 {
        let path = format!("/contracts/c1/secrets/s{n}");
        world
            .put(&user("una"), &path, json!({"value": "x".repeat(3000)}))
            .ok();
    }
    let list = world.get(&user("una"), "/contracts/c1/secrets").ok();
    assert_eq!(list["value"].as_array().unwrap().len(), 5);
}

#[test]
fn values_have_bounds() {
    let mut world = World::new();
    world
        .put(&member("ann"), "/contracts/c1", json!({"data": 1}))
        .ok();
    let path = "/contracts/c1/secrets/s";
    for missing in [json!({}), json!({"value": ""}), json!({"value": null})] {
        world.put(&member("ann"), path, missing).is(400, "ValueMissing");
    }
    world
        .put(&member("ann"), path, json!({"value": 5}))
        .is(400, "InvalidInput");
    assert_eq!(
        world
            .put(&member("ann"), path, json!({"value": "x".repeat(25_600)}))
            .status,
        200
    );
    world
        .put(&member("ann"), path, json!({"value": "x".repeat(25_601)}))
        .is(400, "ValueTooLarge");
    // Clients count UTF-16 units: this character is two.
    world
        .put(&member("ann"), path, json!({"value": "\u{1d11e}".repeat(12_801)}))
        .is(400, "ValueTooLarge");
}

#[test]
fn secrets_are_put_by_callers_who_are_known_and_for_any_contract() {
    let mut world = World::new();
    let body = json!({"value": "v"});
    // Keys may be put before anybody drafts the contract.
    assert_eq!(
        world
            .put(&member("ann"), "/contracts/c1/secrets/s", body.clone())
            .status,
        200
    );
    world
        .put(&user("zoe"), "/contracts/c1/secrets/s", body.clone())
        .is(403, "CallerNotAuthorized");
    world
        .put(&pending_member("ann"), "/contracts/c1/secrets/s", body.clone())
        .is(403, "MemberNotActive");
    world
        .put(&Caller::Anonymous, "/contracts/c1/secrets/s", body)
        .is(400, "AttestationMissing");
    world
        .put(
            &member("ann"),
            "/contracts/c1/secrets/a%2Fb",
            json!({"value": "v"}),
        )
        .is(400, "InvalidResourceName");
}

#[test]
fn a_secret_of_another_contract_is_not_found() {
    let mut world = World::new();
    let pod = workload('a');
    for id in ["c1", "c2"] {
        world.accept_contract(id, json!(1));
        world.welcome(id, "default", &pod, json!({}));
    }
    world
        .put(&member("ann"), "/contracts/c2/secrets/s", json!({"value": "v"}))
        .ok();
    world
        .attested(&pod, &secret_path("ann", "s"))
        .is(404, "SecretNotFound");
}

#[test]
fn launchers_get_no_secrets_and_pods_none_without_a_run() {
    let mut world = World::new();
    let (launcher, pod) = (workload('a'), workload('b'));
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "launcher", &launcher, json!({"role": "launcher"}));
    world.welcome("c1", "pod", &pod, json!({"role": "pod"}));
    world
        .put(&member("ann"), "/contracts/c1/secrets/s", json!({"value": "v"}))
        .ok();
    let path = secret_path("ann", "s");
    let refused = world.attested(&launcher, &path);
    refused.is(403, "RoleNotAllowed");
    assert!(refused.wrote);
    world.attested(&pod, &path).is(400, "RunIdMissing");
    world
        .attested(&pod, &format!("{path}?runId=r1"))
        .is(403, "RunNotAdmitted");
    for workload in [&launcher, &pod] {
        let data: JsonValue = json!({"value": "v"});
        let put = world.attested_write(workload, "PUT", "/contracts/c1/secrets/s", data);
        put.is(403, "RoleNotAllowed");
    }
    assert_eq!(world.trace("c1").len(), 5);
}
