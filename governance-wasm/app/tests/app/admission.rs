//! Evidence, nonce, binding, signature, policy, in this order (decisions 5, 6, 16–18, 23).

use cleanroom_model::error_codes::ErrorCode;
use governance_app::Caller;
use model::b64;
use serde_json::{Value as JsonValue, json};

use crate::world::{Answer, NOW_MS, Workload, World, evidence, member, report_data, workload};

const SECRET: &str = "/contracts/c1/secrets/s";

fn world_with_policy() -> (World, Workload) {
    let mut world = World::new();
    let pod = workload('a');
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "default", &pod, json!({}));
    (world, pod)
}

fn ask(world: &mut World, body: JsonValue) -> Answer {
    world.post(&Caller::Anonymous, SECRET, body)
}

#[test]
fn the_form_is_checked_first_and_nothing_is_written() {
    let (mut world, pod) = world_with_policy();
    let good = world.proof(&pod);
    let without = |field: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        body
    };
    let with = |field: &str, value: JsonValue| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (body, code) in [
        (json!({}), "AttestationMissing"),
        (with("attestation", JsonValue::Null), "AttestationMissing"),
        (without("encrypt"), "EncryptionMissing"),
        // What has another form is judged in its turn, not by the parser ahead of everything.
        (json!({"attestation": ""}), "AttestationMissing"),
        (json!({"attestation": false}), "AttestationMissing"),
        (json!({"encrypt": {}}), "AttestationMissing"),
        (
            json!({"encrypt": {"publicKey": null}, "nonce": 5}),
            "AttestationMissing",
        ),
        (json!({"runId": "a/b", "platform": []}), "AttestationMissing"),
        (json!({"attestation": {}, "encrypt": {}}), "EncryptionMissing"),
        (with("encrypt", json!({"publicKey": null})), "EncryptionMissing"),
        (with("encrypt", json!("x")), "EncryptionMissing"),
        (with("encrypt", json!({"publicKey": 5})), "InvalidInput"),
        (with("platform", json!(5)), "UnsupportedPlatform"),
        (with("nonce", json!(5)), "NonceInvalid"),
        (with("platform", json!("tdx")), "UnsupportedPlatform"),
        (without("nonce"), "NonceMissing"),
        (with("nonce", json!("no base64!")), "NonceInvalid"),
        (with("nonce", json!(b64::encode(&[0; 32]))), "NonceInvalid"),
        (
            with("attestation", json!({"evidence": "AAAA"})),
            "VerifySnpAttestationFailed",
        ),
        (
            with("encrypt", json!({"publicKey": "no base64!"})),
            "InvalidInput",
        ),
    ] {
        let answer = ask(&mut world, body);
        answer.is(400, code);
        assert!(!answer.wrote, "{code}");
    }
    assert!(world.trace("c1").is_empty());
    // The same body is still good: none of the above used up its nonce.
    ask(&mut world, good).is(404, "SecretNotFound");
}

#[test]
fn evidence_must_bind_the_key_and_the_nonce() {
    let (mut world, pod) = world_with_policy();
    let other = workload('b');
    let mut body = world.proof(&pod);
    body["encrypt"] = other.key_field();
    ask(&mut world, body.clone()).is(400, "ReportDataMismatch");
    // A trailing newline makes another text.
    body["encrypt"] = json!({"publicKey": b64::encode(format!("{}\n", pod.pem).as_bytes())});
    ask(&mut world, body).is(400, "ReportDataMismatch");
    // Another nonce than the one bound.
    let mut body = world.proof(&pod);
    body["nonce"] = json!(b64::encode(&world.nonce()));
    ask(&mut world, body).is(400, "ReportDataMismatch");
    // Evidence made without a nonce does not do for a request with one.
    let mut body = world.proof(&pod);
    body["attestation"] = evidence(&pod.host_data, report_data(&pod.pem, None));
    ask(&mut world, body).is(400, "ReportDataMismatch");
}

#[test]
fn the_bound_text_must_be_an_rsa_key() {
    let (mut world, pod) = world_with_policy();
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
    let nonce = world.nonce();
    let body = json!({
        "platform": "virtual",
        "attestation": evidence(&pod.host_data, report_data(text, Some(&nonce))),
        "encrypt": {"publicKey": b64::encode(text.as_bytes())},
        "nonce": b64::encode(&nonce),
    });
    ask(&mut world, body).is(400, "InvalidInput");
}

#[test]
fn a_nonce_works_once_and_for_five_minutes() {
    let (mut world, pod) = world_with_policy();
    world
        .put(&member("ann"), "/contracts/c1/secrets/s", json!({"value": "v"}))
        .ok();
    let target = format!("/contracts/c1/secrets/{}_s", crate::world::member_id("ann"));
    let body = world.proof(&pod);
    world.post(&Caller::Anonymous, &target, body.clone()).ok();
    world
        .post(&Caller::Anonymous, &target, body)
        .is(400, "NonceInvalid");
    let body = world.proof(&pod);
    world.pass_time(300_001);
    world
        .post(&Caller::Anonymous, &target, body)
        .is(400, "NonceInvalid");
}

#[test]
fn a_refusal_uses_up_the_nonce_and_leaves_a_trace_although_the_status_is_400() {
    let (mut world, _) = world_with_policy();
    let stranger = workload('c');
    let body = world.proof(&stranger);
    let answer = ask(&mut world, body.clone());
    answer.is(400, "VerifySnpAttestationFailed");
    assert!(answer.wrote);
    let detail = &answer.json["error"]["details"][0];
    assert_eq!(detail["code"], "ClaimRejected");
    assert_eq!(detail["claim"], "x-ms-sevsnpvm-hostdata");
    assert_eq!(detail["got"], json!(stranger.host_data));
    assert_eq!(detail["expected"], json!(["a".repeat(64)]));
    assert_eq!(detail["alternative"], "default");
    let trace = world.trace("c1");
    assert_eq!(trace.len(), 1);
    assert_eq!(trace[0].code, Some(ErrorCode::VerifySnpAttestationFailed));
    assert_eq!((trace[0].kind.as_str(), trace[0].name.as_str()), ("secret", "s"));
    assert_eq!(trace[0].host_data, stranger.host_data);
    assert_eq!(trace[0].detail.as_ref(), Some(detail));
    ask(&mut world, body).is(400, "NonceInvalid");
}

#[test]
fn a_contract_without_a_policy_admits_nobody() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    let pod = workload('a');
    let answer = world.attested(&pod, SECRET);
    answer.is(400, "VerifySnpAttestationFailed");
    assert_eq!(
        answer.json["error"]["message"],
        "The clean room policy is missing. Please propose a new clean room policy."
    );
    assert_eq!(world.trace("c1").len(), 1);
    // An alternative without claims is no policy either.
    world.set_policy("c1", "default", json!({"claims": {}}));
    world.attested(&pod, SECRET).is(400, "VerifySnpAttestationFailed");
}

#[test]
fn nothing_is_recorded_for_contracts_that_nobody_accepted() {
    let mut world = World::new();
    let answer = world.attested(&workload('a'), "/contracts/made-up/secrets/s");
    answer.is(400, "VerifySnpAttestationFailed");
    assert!(!answer.wrote);
}

#[test]
fn one_contracts_policy_admits_nobody_to_another() {
    let (mut world, pod) = world_with_policy();
    world.accept_contract("c10", json!(1));
    world.welcome("c10", "default", &workload('b'), json!({}));
    world
        .attested(&pod, "/contracts/c10/secrets/s")
        .is(400, "VerifySnpAttestationFailed");
    world.attested(&pod, SECRET).is(404, "SecretNotFound");
}

#[test]
fn an_alternative_must_be_satisfied_completely() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    let claims = |host_data: char, measurement: &str| {
        json!({"claims": {
            "x-ms-sevsnpvm-hostdata": [host_data.to_string().repeat(64)],
            "x-ms-sevsnpvm-launchmeasurement": [measurement.repeat(48)],
        }})
    };
    world.set_policy("c1", "one", claims('a', "11"));
    world.set_policy("c1", "two", claims('c', "00"));
    // Host data of one with the measurement of the other: a mixed pair.
    world
        .attested(&workload('a'), SECRET)
        .is(400, "VerifySnpAttestationFailed");
    world.attested(&workload('c'), SECRET).is(404, "SecretNotFound");
}

#[test]
fn static_evidence_is_for_alternatives_that_allow_it() {
    let (mut world, pod) = world_with_policy();
    let body = json!({
        "platform": "virtual",
        "attestation": evidence(&pod.host_data, report_data(&pod.pem, None)),
        "encrypt": pod.key_field(),
    });
    ask(&mut world, body.clone()).is(400, "NonceMissing");
    let other = workload('b');
    world.welcome("c1", "lenient", &other, json!({"allowStaticEvidence": true}));
    // Some alternative takes it now, but not the one that this workload satisfies.
    let refused = ask(&mut world, body.clone());
    refused.is(400, "VerifySnpAttestationFailed");
    assert_eq!(refused.json["error"]["details"][0]["claim"], "nonce");
    world.welcome("c1", "default", &pod, json!({"allowStaticEvidence": true}));
    for _ in 0..2 {
        ask(&mut world, body.clone()).is(404, "SecretNotFound");
    }
    assert!(world.trace("c1")[0].static_evidence);
}

#[test]
fn a_policy_that_is_missing_is_told_before_a_nonce_that_is() {
    let mut world = World::new();
    let pod = workload('a');
    let body = json!({
        "platform": "virtual",
        "attestation": evidence(&pod.host_data, report_data(&pod.pem, None)),
        "encrypt": pod.key_field(),
    });
    ask(&mut world, body).is(400, "VerifySnpAttestationFailed");
}

#[test]
fn the_signature_covers_method_target_nonce_time_and_data() {
    let (mut world, pod) = world_with_policy();
    let target = "/contracts/c1/events?id=x";
    let data = json!({"message": "started"});
    let put = |world: &mut World, target: &str, body: &JsonValue| {
        world.call(&Caller::Anonymous, "PUT", target, body.to_string().as_bytes())
    };
    let good = world.signed(&pod, "PUT", target, &data);
    put(&mut world, "/contracts/c1/events?id=y", &good).is(400, "SignatureMismatch");
    let mut later = good.clone();
    later["timestamp"] = json!((NOW_MS + 1).to_string());
    put(&mut world, target, &later).is(400, "SignatureMismatch");
    let mut other_data = good.clone();
    other_data["data"] = json!(b64::encode(b"{}"));
    put(&mut world, target, &other_data).is(400, "SignatureMismatch");
    let wrong_method = world.signed(&pod, "POST", target, &data);
    put(&mut world, target, &wrong_method).is(400, "SignatureMismatch");
    assert_eq!(put(&mut world, target, &good).status, 204);
}

#[test]
fn the_attested_key_must_sign() {
    let (mut world, pod) = world_with_policy();
    let thief = workload('b');
    let mut body = world.signed(&pod, "PUT", "/contracts/c1/secrets/s", &json!({"value": "v"}));
    body["sign"]["publicKey"] = thief.key_field()["publicKey"].clone();
    let target = "/contracts/c1/secrets/s";
    let answer = world.call(&Caller::Anonymous, "PUT", target, body.to_string().as_bytes());
    answer.is(400, "SignatureMismatch");
    assert!(!answer.wrote);
}

#[test]
fn signed_requests_are_of_the_last_five_minutes() {
    let (mut world, pod) = world_with_policy();
    let target = "/contracts/c1/events";
    let now = world.host.now_ms.get();
    world.host.now_ms.set(now - 300_001);
    let mut body = world.signed(&pod, "PUT", target, &json!({}));
    world.host.now_ms.set(now);
    // A fresh nonce and evidence, but the old signature's time.
    let fresh = world.proof(&pod);
    for field in ["nonce", "attestation"] {
        body[field] = fresh[field].clone();
    }
    world
        .call(&Caller::Anonymous, "PUT", target, body.to_string().as_bytes())
        .is(400, "TimestampOutOfRange");
    body.as_object_mut().unwrap().remove("timestamp");
    world
        .call(&Caller::Anonymous, "PUT", target, body.to_string().as_bytes())
        .is(400, "TimestampMissing");
}

#[test]
fn at_most_sixty_refusals_a_minute_are_recorded_and_the_rest_counted() {
    let (mut world, _) = world_with_policy();
    let stranger = workload('c');
    for _ in 0..62 {
        world
            .attested(&stranger, SECRET)
            .is(400, "VerifySnpAttestationFailed");
    }
    assert_eq!(world.trace("c1").len(), 60);
    world.pass_time(60_000);
    world
        .attested(&stranger, SECRET)
        .is(400, "VerifySnpAttestationFailed");
    assert_eq!(world.trace("c1").len(), 61);
}

const PER_SOURCE_MAX: usize = 60;
const PER_CONTRACT_MAX: u32 = 600;

#[test]
fn a_stranger_does_not_hide_what_others_were_refused() {
    let (mut world, _) = world_with_policy();
    let mut ask = |digit: char, times: usize| {
        let workload = workload(digit);
        for _ in 0..times {
            let refused = world.attested(&workload, SECRET);
            refused.is(400, "VerifySnpAttestationFailed");
            assert!(refused.wrote, "the nonce is used up either way");
        }
        world.trace("c1").len()
    };
    assert_eq!(ask('c', PER_SOURCE_MAX), PER_SOURCE_MAX);
    assert_eq!(
        ask('c', 1),
        PER_SOURCE_MAX,
        "one host data has sixty rows a minute"
    );
    assert_eq!(ask('d', 2), PER_SOURCE_MAX + 2, "and another has its own");
}

#[test]
fn above_the_bound_of_a_contract_everybody_has_one_row_a_minute() {
    let (mut world, _) = world_with_policy();
    let counted = cleanroom_model::tables::RefusalCount {
        minute: NOW_MS / 60_000,
        recorded: PER_CONTRACT_MAX - 1,
        suppressed: 0,
    };
    let contract: cleanroom_model::ids::ContractId = "c1".parse().unwrap();
    world.govern(|w| {
        let table = cleanroom_model::tables::REFUSAL_COUNTS;
        table.put(w, &contract, &kv::Json(counted)).unwrap();
    });
    let rows = |world: &mut World, digit: char| {
        for _ in 0..3 {
            world
                .attested(&workload(digit), SECRET)
                .is(400, "VerifySnpAttestationFailed");
        }
        world.trace("c1").len()
    };
    assert_eq!(
        rows(&mut world, 'c'),
        1,
        "the six hundredth, and no more of the same"
    );
    assert_eq!(rows(&mut world, 'd'), 2);
    assert_eq!(rows(&mut world, 'e'), 3);
    world.pass_time(60_000);
    assert_eq!(rows(&mut world, 'c'), 6, "the next minute begins anew");
}

#[test]
fn public_allow_all_host_data_is_refused_without_the_flag() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    let mut pod = workload('a');
    pod.host_data = cleanroom_model::policy::ALLOW_ALL_HOST_DATA[0].to_owned();
    world.welcome("c1", "default", &pod, json!({"allowStaticEvidence": true}));
    world.attested(&pod, SECRET).is(404, "SecretNotFound");
    world.host.insecure_virtual.set(false);
    let refused = world.attested(&pod, SECRET);
    refused.is(400, "VerifySnpAttestationFailed");
    assert_eq!(
        refused.json["error"]["details"][0]["claim"],
        "x-ms-sevsnpvm-hostdata"
    );
}

#[test]
fn a_consent_check_is_attested_or_by_somebody_known() {
    let (mut world, pod) = world_with_policy();
    let target = "/contracts/c1/runtimeoptions/execution/status";
    world
        .post(&Caller::Anonymous, target, JsonValue::Null)
        .is(400, "AttestationMissing");
    assert_eq!(world.attested(&pod, target).ok(), json!({"status": "enabled"}));
    world
        .attested(&workload('c'), target)
        .is(400, "VerifySnpAttestationFailed");
    // A clean room may show a token that the contract's policy admits.
    let app = |name: &str| crate::world::token(json!({"sub": "app", "appid": name}));
    world
        .post(&app("app-1"), target, JsonValue::Null)
        .is(403, "CallerNotAuthorized");
    world.welcome_tokens("c1", json!({"appid": ["app-1"]}));
    let status = world.post(&app("app-1"), target, JsonValue::Null).ok();
    assert_eq!(status, json!({"status": "enabled"}));
    world
        .post(&app("app-2"), target, JsonValue::Null)
        .is(403, "CallerNotAuthorized");
}

#[test]
fn the_very_same_body_is_refused_after_the_sweep_and_the_clock_set_back() {
    let (mut world, pod) = world_with_policy();
    world.put(&member("ann"), SECRET, json!({"value": "v"})).ok();
    let second = world.host.now_ms.get() / 1000 * 1000;
    world.host.now_ms.set(second + 100);
    let body = world.proof(&pod);
    let target = format!("/contracts/c1/secrets/{}_s", crate::world::member_id("ann"));
    let ask = |world: &mut World, body: &JsonValue| world.post(&Caller::Anonymous, &target, body.clone());
    ask(&mut world, &body).ok();
    let nonce = b64::decode(body["nonce"].as_str().unwrap()).unwrap();
    let expiry = u64::from_be_bytes(nonce[16..24].try_into().unwrap());
    // The clock passes the expiry within its second, and others' requests sweep.
    world.host.now_ms.set(expiry + 800);
    for _ in 0..3 {
        world.attested(&pod, &target).ok();
    }
    // Set back, service time is what the last signature carries: whole seconds.
    world.host.now_ms.set(expiry / 1000 * 1000);
    assert_eq!(ask(&mut world, &body).status, 400);
    // A second later the row may go, for the nonce's time has.
    world.host.now_ms.set(expiry / 1000 * 1000 + 1000);
    world.attested(&pod, &target).ok();
    assert_eq!(ask(&mut world, &body).status, 400);
}
