//! Evidence recorded on real hardware, in the reference's static form (decisions 5 and 17;
//! `attestation-secrets-oidc.md` §1.10). Its private keys are public, so a policy that admits it
//! says so, and the node must have been started for it.

use std::path::PathBuf;

use cleanroom_model::governance::CLEAN_ROOM_POLICIES;
use cleanroom_model::policy::ALLOW_ALL_HOST_DATA;
use crypto::native::RsaKeyPair;
use crypto::native::wrap::unwrap;
use governance_app::Caller;
use kv::{Json, Pair};
use model::b64;
use serde_json::{Value as JsonValue, json};

use crate::world::{World, member, member_id};

fn recorded(file: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root
        .join("../../tests/vectors/attestation/azure-cleanroom/caci")
        .join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The recorded evidence with the key that it binds.
fn body(which: &str) -> JsonValue {
    let file: JsonValue = serde_json::from_str(&recorded(&format!("{which}/attestation.json"))).unwrap();
    let report = &file["report"]["snpCACI"];
    let attestation = json!({
        "evidence": report["attestation"],
        "endorsements": report["platformCertificates"],
        "uvm_endorsements": report["uvmEndorsements"],
    });
    let pem = recorded(&format!("{which}/pub_key.pem"));
    json!({ "attestation": attestation, "encrypt": { "publicKey": b64::encode(pem.trim_end().as_bytes()) } })
}

fn world(allow_static: bool) -> (World, String) {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world
        .put(
            &member("ann"),
            "/contracts/c1/secrets/s",
            json!({"value": "s3cret"}),
        )
        .ok();
    let policy = json!({
        "claims": {
            "x-ms-sevsnpvm-hostdata": [ALLOW_ALL_HOST_DATA[0]], "x-ms-sevsnpvm-is-debuggable": [false],
        },
        "allowStaticEvidence": allow_static,
    });
    let policy = serde_json::from_value(policy).unwrap();
    let key = Pair(
        "c1".parse().unwrap(),
        Pair("snp-caci".parse().unwrap(), "default".parse().unwrap()),
    );
    world.govern(|w| CLEAN_ROOM_POLICIES.put(w, &key, &Json(policy)).unwrap());
    (world, format!("/contracts/c1/secrets/{}_s", member_id("ann")))
}

#[test]
fn recorded_evidence_works_on_the_same_endpoints_where_members_allow_it() {
    let (mut world, target) = world(true);
    let answer = world.post(&Caller::Anonymous, &target, body("encryption")).ok();
    let key = RsaKeyPair::from_pem(&recorded("encryption/priv_key.pem")).unwrap();
    let wrapped = b64::decode(answer["value"].as_str().unwrap()).unwrap();
    assert_eq!(unwrap(&key, &wrapped).unwrap().as_slice(), b"s3cret");
    assert!(world.trace("c1")[0].static_evidence);
}

#[test]
fn recorded_evidence_needs_the_alternative_and_the_flag() {
    let (mut lenient, target) = world(true);
    lenient.host.insecure_virtual.set(false);
    lenient
        .post(&Caller::Anonymous, &target, body("encryption"))
        .is(400, "VerifySnpAttestationFailed");
    let (mut strict, target) = world(false);
    strict
        .post(&Caller::Anonymous, &target, body("encryption"))
        .is(400, "NonceMissing");
}

#[test]
fn a_report_made_for_another_kind_of_key_is_refused() {
    let (mut world, target) = world(true);
    world
        .post(&Caller::Anonymous, &target, body("signing"))
        .is(400, "InvalidInput");
    let mut other = body("encryption");
    other["encrypt"] = body("signing")["encrypt"].clone();
    world
        .post(&Caller::Anonymous, &target, other)
        .is(400, "ReportDataMismatch");
}

#[test]
fn a_flipped_byte_of_the_report_is_refused_and_writes_nothing() {
    let (mut world, target) = world(true);
    let mut body = body("encryption");
    let mut report = b64::decode(body["attestation"]["evidence"].as_str().unwrap()).unwrap();
    report[0xc0] ^= 1;
    body["attestation"]["evidence"] = json!(b64::encode(&report));
    let answer = world.post(&Caller::Anonymous, &target, body);
    answer.is(400, "VerifySnpAttestationFailed");
    assert!(!answer.wrote);
}
