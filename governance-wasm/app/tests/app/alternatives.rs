//! Which alternative or delegate a workload acts under where there are several (decisions 8, 17).

use governance_app::Caller;
use serde_json::{Value as JsonValue, json};

use crate::runs::{POD, agreed, ask_with};
use crate::world::{Answer, Workload, World, evidence, report_data, user, workload};

fn world() -> World {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world
}

fn let_in(world: &mut World, by: &Workload, secret: &str, delegate: char) {
    let target = format!("/contracts/c1/cleanroompolicy/delegates/secrets/{secret}");
    let data = json!({
        "type": "add", "policyType": "virtual",
        "claims": {"x-ms-sevsnpvm-hostdata": delegate.to_string().repeat(64)},
    });
    world.attested_write(by, "PUT", &target, data).ok();
}

fn ask_without_nonce(world: &mut World, workload: &Workload, target: &str) -> Answer {
    let body = json!({
        "platform": "virtual",
        "attestation": evidence(&workload.host_data, report_data(&workload.pem, None)),
        "encrypt": workload.key_field(),
    });
    world.post(&Caller::Anonymous, target, body)
}

#[test]
fn the_alternative_whose_role_may_do_it_is_taken() {
    let mut world = world();
    let workload = workload('a');
    world.welcome("c1", "first", &workload, json!({"role": "launcher"}));
    world.welcome("c1", "second", &workload, json!({}));
    let secret = "/contracts/c1/secrets/s";
    world.attested(&workload, secret).is(404, "SecretNotFound");
    world.set_policy("c1", "second", JsonValue::Null);
    world.attested(&workload, secret).is(403, "RoleNotAllowed");
}

#[test]
fn the_alternative_that_the_run_is_about_is_taken() {
    let mut world = agreed();
    let pod = workload(POD);
    for other in ["a-pod", "z-pod"] {
        world.welcome("c1", other, &pod, json!({"role": "pod"}));
        let run = format!("r-{other}");
        ask_with(&mut world, &run, json!({"podAlternative": other})).ok();
        let target = format!("/contracts/c1/runs/{run}");
        world.attested(&pod, &target).ok();
        let trace = world.trace("c1");
        assert_eq!(trace.last().unwrap().alternative.as_deref(), Some(other));
    }
}

#[test]
fn delegates_take_static_evidence_only_if_whoever_set_them_does() {
    let mut world = world();
    let (strict, lenient) = (workload('a'), workload('b'));
    world.welcome("c1", "strict", &strict, json!({}));
    world.welcome("c1", "lenient", &lenient, json!({"allowStaticEvidence": true}));
    let_in(&mut world, &strict, "one", 'c');
    let_in(&mut world, &lenient, "two", 'c');
    let delegate = workload('c');
    let (one, two) = ("/contracts/c1/secrets/one", "/contracts/c1/secrets/two");
    ask_without_nonce(&mut world, &delegate, one).is(400, "VerifySnpAttestationFailed");
    ask_without_nonce(&mut world, &delegate, two).is(404, "SecretNotFound");
    world.attested(&delegate, one).is(404, "SecretNotFound");
    // Neither loosens what the other set; and with the last such alternative it ends.
    let_in(&mut world, &lenient, "one", 'c');
    ask_without_nonce(&mut world, &delegate, one).is(400, "VerifySnpAttestationFailed");
    world.welcome("c1", "lenient", &lenient, json!({}));
    ask_without_nonce(&mut world, &delegate, two).is(400, "NonceMissing");
}

#[test]
fn delegates_end_with_the_last_alternative_for_evidence() {
    let mut world = world();
    let setter = workload('a');
    world.welcome("c1", "default", &setter, json!({}));
    let_in(&mut world, &setter, "s", 'c');
    world.set_policy_of("c1", "jwt", "writers", json!({"claims": {"sub": ["x"]}}));
    let secret = "/contracts/c1/secrets/s";
    world.attested(&workload('c'), secret).is(404, "SecretNotFound");
    world.set_policy("c1", "default", JsonValue::Null);
    for who in ['a', 'c'] {
        let refused = world.attested(&workload(who), secret);
        refused.is(400, "VerifySnpAttestationFailed");
        assert_eq!(
            refused.json["error"]["message"],
            "The clean room policy is missing. Please propose a new clean room policy."
        );
        assert_eq!(refused.json["error"]["details"][0]["claim"], "policyType");
    }
}

#[test]
fn the_policy_as_read_shows_both_values_of_a_boolean() {
    let mut world = world();
    for (alternative, debuggable) in [("one", true), ("two", false)] {
        let policy = json!({"claims": {"x-ms-sevsnpvm-is-debuggable": [debuggable]}});
        world.set_policy("c1", alternative, policy);
    }
    let read = world
        .post(&user("una"), "/contracts/c1/cleanroompolicy", JsonValue::Null)
        .ok();
    assert_eq!(
        read["policy"],
        json!({"x-ms-sevsnpvm-is-debuggable": [true, false]})
    );
}
