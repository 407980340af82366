//! Workloads on confidential VMs: no host data, a quote with a nonce of its own (decision 16), and
//! policies for them beside those of other platforms (decisions 17, 22, 23).

use governance_app::Caller;
use model::b64;
use serde_json::{Value as JsonValue, json};

use crate::runs::{POD, agreed, ask, ask_with};
use crate::world::{Answer, Workload, World, report_data, user, workload};

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
    world.put(&user("una"), target, json!({})).ok_with(201);
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
    // Its own run, but registers are no host data, and nobody made the pod's alternative delegable.
    write(&mut world, 'c', "PUT", delegates, data).is(403, "RoleNotAllowed");
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

/// What the report of a paravisor says of a Milan processor.
fn platform(snp: u64) -> JsonValue {
    json!({
        "x-ms-sevsnpvm-cpuid": "00a00f11", "x-ms-sevsnpvm-bootloader-svn": 4, "x-ms-sevsnpvm-tee-svn": 0,
        "x-ms-sevsnpvm-snpfw-svn": snp, "x-ms-sevsnpvm-microcode-svn": 219,
    })
}

fn post_from(world: &mut World, platform: &JsonValue) -> Answer {
    let mut body = proof(world, &workload('a'), None);
    let claims = body["attestation"]["machine"]["claims"].as_object_mut().unwrap();
    claims.extend(platform.as_object().unwrap().clone());
    world.post(&Caller::Anonymous, SECRET, body)
}

fn set_floor(world: &mut World, cpuid: &str, row: JsonValue) {
    let table = model::tables::SNP_TCB_VERSIONS;
    world.govern(|w| table.put(w, &cpuid.to_owned(), &kv::Json(row)).unwrap());
}

#[test]
fn old_firmware_is_refused_by_the_floor_of_its_processor_whatever_the_policy_says() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    welcome(&mut world, "default", 'a', json!({}));
    post_from(&mut world, &platform(1)).is(404, "SecretNotFound");
    let floor = json!({"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 219});
    set_floor(&mut world, "00a00f11", floor);
    for (snp, code) in [
        (23, None),
        (24, Some("SecretNotFound")),
        (25, Some("SecretNotFound")),
    ] {
        let answer = post_from(&mut world, &platform(snp));
        match code {
            Some(code) => drop(answer.is(404, code)),
            None => {
                answer.is(400, "VerifySnpAttestationFailed");
                assert!(answer.wrote, "a refusal leaves its event");
                let detail = world.trace("c1").last().unwrap().detail.clone().unwrap();
                assert_eq!(
                    (&detail["claim"], &detail["expected"], &detail["got"]),
                    (
                        &json!("x-ms-sevsnpvm-snpfw-svn"),
                        &json!([{"min": 24}]),
                        &json!(23)
                    )
                );
            }
        }
    }
    // With a table, what it does not name is below it: other processors, and who says nothing.
    let mut genoa = platform(99);
    genoa["x-ms-sevsnpvm-cpuid"] = json!("00a10f11");
    for unnamed in [genoa, json!({})] {
        post_from(&mut world, &unnamed).is(400, "VerifySnpAttestationFailed");
        let detail = world.trace("c1").last().unwrap().detail.clone().unwrap();
        assert_eq!(detail["claim"], "x-ms-sevsnpvm-cpuid");
    }
    // Unsigned development evidence has no firmware; it is refused elsewhere.
    world.welcome("c1", "default", &workload('a'), json!({}));
    world.attested(&workload('a'), SECRET).is(404, "SecretNotFound");
}

#[test]
fn a_minimum_in_a_policy_is_met_at_n_and_not_below() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    let claims = json!({"pcr4": [register('a')], "x-ms-sevsnpvm-snpfw-svn": [{"min": 24}]});
    world.set_policy_of("c1", "snp-cvm", "default", json!({ "claims": claims }));
    post_from(&mut world, &platform(23)).is(400, "VerifySnpAttestationFailed");
    post_from(&mut world, &platform(24)).is(404, "SecretNotFound");
    post_from(&mut world, &platform(255)).is(404, "SecretNotFound");
    post_from(&mut world, &json!({})).is(400, "VerifySnpAttestationFailed");
}

#[test]
fn machines_without_host_data_are_counted_by_chip() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    welcome(&mut world, "default", 'b', json!({}));
    let rows = |world: &mut World, chip: char, times: usize| {
        let chip = json!({ "x-ms-sevsnpvm-chip-id": chip.to_string().repeat(128) });
        for _ in 0..times {
            post_from(world, &chip).is(400, "VerifySnpAttestationFailed");
        }
        world.trace("c1").len()
    };
    assert_eq!(rows(&mut world, '1', 61), 60);
    assert_eq!(rows(&mut world, '2', 1), 61);
}
