//! Every size that the rules bound: taken at its most, refused one beyond.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use cleanroom_model::actions::{ACTIONS_MAX, COMPONENT_SIZE_MAX};
use cleanroom_model::ids::IDENTIFIER_LEN_MAX;
use common::World;
use model::service::{KEYS_TRIED_MAX, ServiceStatus};
use model::tables;
use serde_json::{Value as JsonValue, json};

// The rules' own limits, said here once more: whoever moves one says so in two places.
const KEYS_MAX: usize = 64;
const TEXT_LEN_MAX: usize = 1024;
const THRESHOLD_MAX: u32 = 254;
const REPLAY_WINDOW_MAX: u32 = 10_000;
const KID_LEN_MAX: usize = IDENTIFIER_LEN_MAX - 21;

const ISSUER: &str = "https://one/x";

/// Key number `number` of a set: each has a modulus of its own.
fn jwk(kid: &str, number: usize) -> JsonValue {
    let n = format!("qrq{number:03}{}w", "q".repeat(335));
    json!({"kty": "RSA", "kid": kid, "n": n, "e": "AQAB"})
}

fn keys(kid: impl Fn(usize) -> String, count: usize) -> JsonValue {
    let keys: Vec<_> = (0..count).map(|number| jwk(&kid(number), number)).collect();
    json!({"issuer": ISSUER, "jwks": {"keys": keys}})
}

/// A component as the tests' credentials read it, padded to `size` bytes.
fn component(size: usize) -> JsonValue {
    let mut bytes = br#"[["GET","/app/x"]]"#.to_vec();
    bytes.resize(size, b' ');
    json!({"component": model::b64::encode(&bytes), "digest": crypto::sha256(&bytes)})
}

fn constitution(size: usize) -> JsonValue {
    let mut args = component(size);
    args["constitution"] = args["component"].take();
    args.as_object_mut().unwrap().remove("component");
    args
}

fn issuer(len: usize) -> String {
    format!("{:a<len$}", "https://one/")
}

#[test]
fn every_argument_is_taken_at_its_most_and_refused_one_beyond() {
    let kid = |len: usize| json!({"kid": "k".repeat(len), "contractId": "c1"});
    let threshold = |threshold: u32| json!({ "recovery_threshold": threshold });
    let window = |size: u32| json!({ "recent_cose_proposals_window_size": size });
    let audience = |len: usize| json!({"issuer": ISSUER, "audience": issuer(len)});
    let cases = [
        (
            "enable_oidc_issuer",
            kid(KID_LEN_MAX),
            kid(KID_LEN_MAX + 1),
            "kid has more",
        ),
        (
            "set_recovery_threshold",
            threshold(THRESHOLD_MAX),
            threshold(THRESHOLD_MAX + 1),
            "1 to 254",
        ),
        (
            "set_service_configuration",
            threshold(THRESHOLD_MAX),
            threshold(THRESHOLD_MAX + 1),
            "1 to 254",
        ),
        (
            "set_service_configuration",
            window(REPLAY_WINDOW_MAX),
            window(REPLAY_WINDOW_MAX + 1),
            "1 to 10000",
        ),
        (
            "set_jwt_issuer",
            json!({"issuer": issuer(TEXT_LEN_MAX)}),
            json!({"issuer": issuer(TEXT_LEN_MAX + 1)}),
            "issuer must have 1 to 1024",
        ),
        (
            "set_jwt_issuer",
            audience(TEXT_LEN_MAX),
            audience(TEXT_LEN_MAX + 1),
            "audience must have 1 to 1024",
        ),
        (
            "set_jwt_issuer",
            keys(|n| n.to_string(), KEYS_MAX),
            keys(|n| n.to_string(), KEYS_MAX + 1),
            "at most 64 keys",
        ),
        (
            "set_wasm_app",
            component(COMPONENT_SIZE_MAX),
            component(COMPONENT_SIZE_MAX + 1),
            "at most 4194304 are allowed",
        ),
        (
            "set_constitution",
            constitution(COMPONENT_SIZE_MAX),
            constitution(COMPONENT_SIZE_MAX + 1),
            "at most 4194304 are allowed",
        ),
    ];
    for (action, most, beyond, reason) in cases {
        let mut world = World::new("ann");
        world.put_accepted("c1", None);
        world.carry(action, most);
        world.refuses(action, beyond, reason);
    }
}

#[test]
fn a_threshold_counts_to_its_most_once_the_service_is_open_too() {
    let mut world = World::new("ann");
    world.set_service(ServiceStatus::Open, 1);
    let beyond = json!({"recovery_threshold": THRESHOLD_MAX + 1});
    world.refuses("set_recovery_threshold", beyond, "1 to 254");
}

#[test]
fn key_ids_beyond_their_longest_are_left_out_of_the_set() {
    let mut world = World::new("ann");
    let lengths = [TEXT_LEN_MAX, TEXT_LEN_MAX + 1];
    let set = keys(|number| "k".repeat(lengths[number]), lengths.len());
    world.carry("set_jwt_issuer", set);
    let rows = tables::JWT_KEYS.rows(&world).unwrap();
    let ids: Vec<usize> = rows.iter().map(|row| row.key.len()).collect();
    assert_eq!(ids, [TEXT_LEN_MAX]);
}

#[test]
fn no_more_keys_share_an_id_than_a_token_is_tried_against() {
    let on_record = |count: usize| {
        let mut world = World::new("ann");
        world.carry("set_jwt_issuer", keys(|_| "k".to_owned(), count));
        let row = tables::JWT_KEYS.get(&world, &"k".to_owned()).unwrap();
        let issuer = tables::JWT_ISSUERS.get(&world, &ISSUER.to_owned()).unwrap();
        (row.unwrap().0.len(), issuer.unwrap().0.skipped_keys.len())
    };
    assert_eq!(on_record(KEYS_TRIED_MAX), (KEYS_TRIED_MAX, 0));
    assert_eq!(on_record(KEYS_TRIED_MAX + 1), (KEYS_TRIED_MAX, 1));
}

#[test]
fn a_proposal_has_no_more_actions_than_its_most() {
    let proposal = |count: usize| json!(vec![json!({"name": "trigger_ledger_chunk"}); count]);
    let mut world = World::new("ann");
    assert_eq!(world.validate(proposal(ACTIONS_MAX)), Ok(()));
    let faults = world.validate(proposal(ACTIONS_MAX + 1)).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].reason.contains("1 to 128 actions, this has 129"),
        "{faults:?}"
    );
}
