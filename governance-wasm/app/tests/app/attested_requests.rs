//! Evidence names the service it was made for (decision 43): what is carried from one service to
//! another opens neither, and nothing is written about it.

use governance_app::Caller;
use model::attested::{self, Bound};
use model::{Digest, ServiceId, b64};
use serde_json::{Value as JsonValue, json};

use crate::world::{Workload, World, evidence, member, member_id, report_data_for, workload};

/// The service of somebody who starts a genuine pod and stands between it and this one.
const RELAY: ServiceId = ServiceId(Digest([0x66; 32]));

/// A contract whose one alternative a workload satisfies, and a secret of ann's.
fn world_with_secret() -> (World, Workload, String) {
    let mut world = World::new();
    let pod = workload('a');
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "default", &pod, json!({}));
    world
        .put(&member("ann"), "/contracts/c1/secrets/s", json!({"value": "v"}))
        .ok();
    (
        world,
        pod,
        format!("/contracts/c1/secrets/{}_s", member_id("ann")),
    )
}

/// Evidence with these 64 bytes, beside a nonce of this service.
fn body(pod: &Workload, nonce: &[u8], data: [u8; 64]) -> JsonValue {
    json!({
        "platform": "virtual",
        "attestation": evidence(&pod.host_data, data),
        "encrypt": pod.key_field(),
        "nonce": b64::encode(nonce),
    })
}

#[test]
fn a_relayed_nonce_is_a_report_data_mismatch_and_nothing_is_written() {
    let (mut world, pod, secret) = world_with_secret();
    let traces = world.trace("c1").len();
    let nonce = world.nonce();
    // The pod took the relay's word for whose nonce this is, but not for whom its TLS verifies.
    let relayed = body(&pod, &nonce, report_data_for(&RELAY, &pod.pem, Some(&nonce)));
    let refused = world.post(&Caller::Anonymous, &secret, relayed);
    refused.is(400, "ReportDataMismatch");
    assert!(!refused.wrote);
    assert_eq!(world.trace("c1").len(), traces);
    // The nonce was not used up by it: a pod that speaks to this service may still use it.
    let direct = body(
        &pod,
        &nonce,
        report_data_for(&crate::host::SERVICE, &pod.pem, Some(&nonce)),
    );
    world.post(&Caller::Anonymous, &secret, direct).ok();
}

#[test]
fn a_relayed_write_is_a_report_data_mismatch() {
    let (mut world, pod, _) = world_with_secret();
    let nonce = world.nonce();
    let relayed = body(&pod, &nonce, report_data_for(&RELAY, &pod.pem, Some(&nonce)));
    let target = "/contracts/c1/events?id=x";
    let signed = world.sign(relayed, &pod, "PUT", target, &json!({"message": "m"}));
    let refused = world.call(&Caller::Anonymous, "PUT", target, signed.to_string().as_bytes());
    refused.is(400, "ReportDataMismatch");
    assert!(!refused.wrote);
}

#[test]
fn forms_that_name_no_service_are_not_accepted_beside_a_nonce() {
    let (mut world, pod, secret) = world_with_secret();
    let nonce = world.nonce();
    let service = crate::host::SERVICE;
    let halves = |second: Digest| {
        let mut data = [0; 64];
        data[..32].copy_from_slice(&crypto::sha256(pod.pem.as_bytes()).0);
        data[32..].copy_from_slice(&second.0);
        data
    };
    let hash = |parts: &[&[u8]]| halves(crypto::sha256_parts(parts));
    for data in [
        // The nonce alone, as it was before.
        hash(&[&nonce]),
        hash(&[b"concordat-bind-v2", &nonce]),
        // Nonce and service without the words, in the other order, under the launcher's words.
        hash(&[&nonce, &service.0.0]),
        hash(&[b"concordat-bind-v2", &service.0.0, &nonce]),
        hash(&[b"concordat-serves-v1", &nonce, &service.0.0]),
        // What a launcher shows its users.
        attested::report_data(&pod.pem, Bound::Serves(&service), crypto::sha256),
        attested::report_data(&pod.pem, Bound::KeyAlone, crypto::sha256),
        halves(Digest(service.0.0)),
    ] {
        let refused = world.post(&Caller::Anonymous, &secret, body(&pod, &nonce, data));
        refused.is(400, "ReportDataMismatch");
        assert!(!refused.wrote);
    }
}

/// What strangers can send as often as they like: the host answers it before the writer sees it.
#[test]
fn what_the_request_alone_gives_away_is_refused_without_a_look_at_state() {
    let (mut world, pod, secret) = world_with_secret();
    let nonce = world.nonce();
    let service = crate::host::SERVICE;
    let good = body(&pod, &nonce, report_data_for(&service, &pod.pem, Some(&nonce)));
    let with = |field: &str, value: JsonValue| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let mut forged = nonce.clone();
    forged[31] ^= 1;
    let junk: Vec<u8> = [b"[".as_slice(), &b"0,".repeat(1000)].concat();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("junk", junk, 400, "InvalidInput"),
        (
            "no evidence",
            json!({"junk": vec![0; 1000]}).to_string().into(),
            400,
            "AttestationMissing",
        ),
        (
            "key not base64",
            with("encrypt", json!({"publicKey": "*"})).to_string().into(),
            400,
            "InvalidInput",
        ),
        (
            "no key",
            with("encrypt", JsonValue::Null).to_string().into(),
            400,
            "EncryptionMissing",
        ),
        (
            "platform",
            with("platform", json!("x")).to_string().into(),
            400,
            "UnsupportedPlatform",
        ),
        (
            "nonce not base64",
            with("nonce", json!("*")).to_string().into(),
            400,
            "NonceInvalid",
        ),
        (
            "nonce of nobody",
            with("nonce", json!(b64::encode(&forged))).to_string().into(),
            400,
            "NonceInvalid",
        ),
        (
            "evidence",
            with("attestation", json!({"x": 1})).to_string().into(),
            400,
            "VerifySnpAttestationFailed",
        ),
        (
            "evidence and no nonce",
            json!({"platform": "virtual", "attestation": {"x": 1}, "encrypt": pod.key_field()})
                .to_string()
                .into(),
            400,
            "VerifySnpAttestationFailed",
        ),
        (
            "another's report data",
            body(&pod, &nonce, [0; 64]).to_string().into(),
            400,
            "ReportDataMismatch",
        ),
    ];
    for (what, sent, status, code) in cases {
        let refused = world.call(&Caller::Anonymous, "POST", &secret, &sent);
        refused.is(status, code);
        assert!(
            !refused.looked && !refused.wrote,
            "{what}: the writer would see it"
        );
    }
    let target = "/contracts/c1/events?id=x";
    let mut event = body(&pod, &nonce, report_data_for(&service, &pod.pem, Some(&nonce)));
    event = world.sign(event, &pod, "PUT", target, &json!({"message": "m"}));
    event["data"] = json!(b64::encode(b"{}"));
    let refused = world.call(&Caller::Anonymous, "PUT", target, event.to_string().as_bytes());
    refused.is(400, "SignatureMismatch");
    assert!(!refused.looked);
    // And what does need state is the writer's: this one used its nonce up.
    world.post(&Caller::Anonymous, &secret, good.clone()).ok();
    let again = world.post(&Caller::Anonymous, &secret, good);
    again.is(400, "NonceInvalid");
    assert!(again.looked);
}
