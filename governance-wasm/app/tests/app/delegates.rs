//! Policies as read, and delegates (`governance-api.md` §14 P1–P8).

use governance_app::Caller;
use model::proposal::ProposalState;
use serde_json::{Value as JsonValue, json};

use crate::world::{Answer, World, evidence, member, member_id, report_data, user, workload};

const EVENTS: &str = "/contracts/c1/cleanroompolicy/delegates/events/writer";

fn world() -> World {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "default", &workload('a'), json!({}));
    world
}

fn claims(digit: char) -> JsonValue {
    json!({"x-ms-sevsnpvm-hostdata": digit.to_string().repeat(64)})
}

fn set(world: &mut World, target: &str, change: &str, digit: char) -> Answer {
    let data = json!({"type": change, "policyType": "virtual", "claims": claims(digit)});
    world.attested_write(&workload('a'), "PUT", target, data)
}

#[test]
fn a_policy_is_read_as_union_and_as_alternatives() {
    let mut world = world();
    world.welcome(
        "c1",
        "pod",
        &workload('b'),
        json!({"role": "pod", "tokens": [{"sub": "s", "aud": ["a"]}]}),
    );
    let args = json!({"contractId": "c1"});
    let id = world.propose('4', ProposalState::Open, "set_clean_room_policy", args);
    let read = world
        .post(&user("una"), "/contracts/c1/cleanroompolicy", json!(null))
        .ok();
    assert_eq!(read["proposalIds"], json!([id]));
    assert_eq!(
        read["policy"]["x-ms-sevsnpvm-hostdata"].as_array().unwrap().len(),
        2
    );
    assert_eq!(read["alternatives"][1]["role"], "pod");
    assert_eq!(read["alternatives"][0]["allowStaticEvidence"], false);
    let none = world
        .post(&user("una"), "/contracts/c2/cleanroompolicy", json!(null))
        .ok();
    assert_eq!(none, json!({"proposalIds": [], "policy": {}, "alternatives": []}));
}

#[test]
fn a_delegate_lets_a_workload_in_for_one_purpose() {
    let mut world = world();
    let writer = workload('c');
    let put = |world: &mut World| world.attested_write(&writer, "PUT", "/contracts/c1/events", json!({}));
    put(&mut world).is(400, "VerifySnpAttestationFailed");
    set(&mut world, EVENTS, "add", 'c').ok();
    assert_eq!(put(&mut world).status, 204);
    world
        .attested(&writer, "/contracts/c1/secrets/s")
        .is(400, "VerifySnpAttestationFailed");
    let list = world
        .get(&member("ann"), "/contracts/c1/cleanroompolicy/delegates")
        .ok();
    assert_eq!(
        list,
        json!({"value": [{"delegateType": "events", "delegateId": "writer"}]})
    );
    let read = world.post(&member("ann"), EVENTS, json!(null)).ok();
    assert_eq!(read["claims"]["x-ms-sevsnpvm-hostdata"], json!(["c".repeat(64)]));
    // Gone with its last claim, from the list too.
    set(&mut world, EVENTS, "remove", 'c').ok();
    put(&mut world).is(400, "VerifySnpAttestationFailed");
    let list = world
        .get(&member("ann"), "/contracts/c1/cleanroompolicy/delegates")
        .ok();
    assert_eq!(list, json!({"value": []}));
    assert_eq!(
        world.post(&member("ann"), EVENTS, json!(null)).ok(),
        json!({"claims": {}})
    );
}

#[test]
fn a_delegate_of_a_secret_opens_that_secret_alone() {
    let mut world = world();
    for name in ["one", "two"] {
        let path = format!("/contracts/c1/secrets/{name}");
        world.put(&member("ann"), &path, json!({"value": name})).ok();
    }
    let id = |name: &str| format!("{}_{name}", member_id("ann"));
    let target = format!("/contracts/c1/cleanroompolicy/delegates/secrets/{}", id("one"));
    set(&mut world, &target, "add", 'c').ok();
    let reader = workload('c');
    let answer = world
        .attested(&reader, &format!("/contracts/c1/secrets/{}", id("one")))
        .ok();
    assert_eq!(reader.unwrap(&answer), "one");
    let refused = world.attested(&reader, &format!("/contracts/c1/secrets/{}", id("two")));
    refused.is(400, "VerifySnpAttestationFailed");
    let message = refused.json["error"]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "Attestation claims do not match the contract policy, or the delegated policies."
    );
}

#[test]
fn delegates_cannot_delegate_and_malformed_ones_are_refused() {
    let mut world = world();
    set(&mut world, EVENTS, "add", 'c').ok();
    let data = json!({"type": "add", "policyType": "virtual", "claims": claims('d')});
    world
        .attested_write(&workload('c'), "PUT", EVENTS, data)
        .is(400, "VerifySnpAttestationFailed");
    let pod = workload('a');
    for (data, code) in [
        (
            json!({"type": "add", "claims": {"toString": "x"}}),
            "InvalidPolicy",
        ),
        (
            json!({"type": "add", "policyType": "virtual", "claims": {}}),
            "InvalidPolicy",
        ),
        (
            json!({"type": "add", "policyType": "jwt", "claims": {"sub": "x"}}),
            "InvalidPolicy",
        ),
        (json!({"type": "set", "claims": {}}), "InvalidInput"),
        (json!("text"), "InvalidInput"),
    ] {
        world.attested_write(&pod, "PUT", EVENTS, data).is(400, code);
    }
}

#[test]
fn a_captured_request_sets_nothing_twice_or_elsewhere() {
    let mut world = world();
    let data = json!({"type": "add", "policyType": "virtual", "claims": claims('c')});
    let body = world.signed(&workload('a'), "PUT", EVENTS, &data).to_string();
    let secrets = "/contracts/c1/cleanroompolicy/delegates/secrets/x";
    world
        .call(&Caller::Anonymous, "PUT", secrets, body.as_bytes())
        .is(400, "SignatureMismatch");
    world
        .call(&Caller::Anonymous, "PUT", EVENTS, body.as_bytes())
        .ok();
    set(&mut world, EVENTS, "remove", 'c').ok();
    world
        .call(&Caller::Anonymous, "PUT", EVENTS, body.as_bytes())
        .is(400, "NonceInvalid");
}

#[test]
fn one_captured_report_is_not_enough_to_install_a_delegate() {
    // P1: static evidence with the thief's own signing key.
    let mut world = world();
    world.welcome(
        "c1",
        "default",
        &workload('a'),
        json!({"allowStaticEvidence": true}),
    );
    let (victim, thief) = (workload('a'), workload('b'));
    let data = json!({"type": "add", "policyType": "virtual", "claims": claims('b')}).to_string();
    let body = json!({
        "platform": "virtual",
        "attestation": evidence(&victim.host_data, report_data(&victim.pem, None)),
        "encrypt": victim.key_field(),
        "sign": {"publicKey": thief.key_field()["publicKey"], "signature": thief.sign(data.as_bytes())},
        "data": model::b64::encode(data.as_bytes()),
    });
    let put = |world: &mut World, body: &JsonValue| {
        world.call(&Caller::Anonymous, "PUT", EVENTS, body.to_string().as_bytes())
    };
    put(&mut world, &body).is(400, "SignatureMismatch");
    let mut own = body;
    own["sign"] =
        json!({"publicKey": victim.key_field()["publicKey"], "signature": victim.sign(data.as_bytes())});
    put(&mut world, &own).ok();
}
