//! Workloads on confidential VMs: no host data, a quote with a nonce of its own (decision 16), and
//! policies for them beside those of other platforms (decisions 17, 22, 23).

use governance_app::Caller;
use model::b64;
use serde_json::{Value as JsonValue, json};

use crate::runs::{POD, agreed, ask, ask_with};
use crate::world::{Answer, Workload, World, report_data, workload};

const SECRET: &str = "/contracts/c1/secrets/s";

fn register(digit: char) -> String {
    b64::encode(&[digit as u8; 32])
}

/// Fresh evidence of a VM whose fourth register says who it is.
fn proof(world: &mut World, workload: &Workload, quoted: Option<&[u8]>) -> JsonValue {
    let nonce = world.nonce();
    let data = report_data(&workload.pem, Some(&nonce));
    let digit = workload.host_data.chars().next().unwrap();
    json!({
        "platform": "snp-cvm",
        "attestation": {"machine": {
            "userData": hex::encode(data),
            "claims": {"pcr4": register(digit)},
            "nonce": b64::encode(quoted.unwrap_or(&data[32..])),
        }},
        "encrypt": workload.key_field(),
        "nonce": b64::encode(&nonce),
    })
}

fn welcome(world: &mut World, alternative: &str, digit: char, more: JsonValue) {
    let mut policy = json!({"claims": {"pcr4": [register(digit)]}});
    policy
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    world.set_policy_of("c1", "snp-cvm", alternative, policy);
}

fn post(world: &mut World, digit: char, target: &str) -> Answer {
    let body = proof(world, &workload(digit), None);
    world.post(&Caller::Anonymous, target, body)
}

fn write(world: &mut World, digit: char, method: &str, target: &str, data: JsonValue) -> Answer {
    let workload = workload(digit);
    let body = proof(world, &workload, None);
    let body = world.sign(body, &workload, method, target, &data);
    world.call(&Caller::Anonymous, method, target, body.to_string().as_bytes())
}

#[test]
fn a_quotes_nonce_is_the_second_half_of_report_data() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    welcome(&mut world, "default", 'a', json!({}));
    post(&mut world, 'a', SECRET).is(404, "SecretNotFound");
    for quoted in [&b""[..], &[7; 32]] {
        let body = proof(&mut world, &workload('a'), Some(quoted));
        let refused = world.post(&Caller::Anonymous, SECRET, body);
        refused.is(400, "NonceInvalid");
        assert!(!refused.wrote);
    }
    // The service's nonce itself, as it was before quotes named a service.
    let mut body = proof(&mut world, &workload('a'), None);
    body["attestation"]["machine"]["nonce"] = body["nonce"].clone();
    world
        .post(&Caller::Anonymous, SECRET, body)
        .is(400, "NonceInvalid");
}

#[test]
fn evidence_of_a_type_without_policy_is_refused_with_the_types_there_are() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "default", &workload('a'), json!({}));
    let refused = post(&mut world, 'a', SECRET);
    refused.is(400, "VerifySnpAttestationFailed");
    let detail = json!({
        "code": "ClaimMissing", "claim": "policyType", "expected": ["virtual"], "got": "snp-cvm",
        "alternative": "",
    });
    assert_eq!(refused.json["error"]["details"], json!([detail]));
    assert_eq!(world.trace("c1")[0].detail, Some(detail));
}

#[test]
fn launchers_without_host_data_are_told_apart_by_their_alternative() {
    let mut world = agreed();
    for (alternative, digit) in [("one", 'c'), ("two", 'd')] {
        welcome(&mut world, alternative, digit, json!({"role": "launcher"}));
    }
    let target = "/contracts/c1/queries/q1/runs/r1";
    let run = write(&mut world, 'c', "POST", target, json!({})).ok()["run"].clone();
    assert_eq!(
        (&run["launcherPolicyType"], &run["launcherAlternative"]),
        (&json!("snp-cvm"), &json!("one"))
    );
    let delegates = "/contracts/c1/cleanroompolicy/delegates/secrets/ugo_weather";
    let data = json!({
        "type": "add", "policyType": "snp-cvm", "claims": {"pcr4": register('e')}, "runId": "r1",
    });
    write(&mut world, 'd', "PUT", delegates, data.clone()).is(403, "RunNotAdmitted");
    write(&mut world, 'c', "PUT", delegates, data).ok();
}

#[test]
fn pods_of_two_platforms_may_share_an_alternatives_id() {
    let mut world = agreed();
    welcome(&mut world, "pod", POD, json!({"role": "pod"}));
    ask(&mut world, "r1").is(400, "InvalidPolicy");
    ask_with(&mut world, "r2", json!({"podAlternative": "pod"})).is(400, "InvalidPolicy");
    for (run, kind) in [("r3", "virtual"), ("r4", "snp-cvm")] {
        let request = json!({"podAlternative": "pod", "podPolicyType": kind});
        let record = ask_with(&mut world, run, request).ok()["run"].clone();
        assert_eq!(record["podPolicyType"], kind);
    }
    let pod = workload(POD);
    world.attested(&pod, "/contracts/c1/runs/r3").ok();
    world
        .attested(&pod, "/contracts/c1/runs/r4")
        .is(403, "RunNotAdmitted");
    post(&mut world, POD, "/contracts/c1/runs/r4").ok();
    post(&mut world, POD, "/contracts/c1/runs/r3").is(403, "RunNotAdmitted");
}
