//! Each size limit of the application: taken at its most, refused or cut off one beyond.

use cleanroom_model::tables::{EVENTS, sequence};
use governance_app::Caller;
use serde_json::{Value as JsonValue, json};

use crate::world::{Answer, NOW_MS, World, member, user, workload};

// The application's own limits, said here once more: whoever moves one says so in two places.
const APPROVERS_MAX: usize = 256;
const CLAIM_BYTES_MAX: usize = 512;
const CLOCK_SKEW_MS_MAX: u64 = 300_000;
const DETAILS_MAX: usize = 16;
const LABELS_MAX: usize = 64;
const PAGE_MAX: u64 = 10_000;
const QUERY_PARAMETERS_MAX: usize = 64;
const TOKEN_SECONDS_MAX: u64 = 3600;
const VALUE_LEN_MAX: usize = 25_600;

fn world() -> World {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world
}

fn message(answer: &Answer) -> &str {
    answer.json["error"]["message"].as_str().unwrap()
}

/// Puts a document of its own for each size.
fn put_document(world: &mut World, size: usize, body: JsonValue) -> Answer {
    world.put(
        &user("una"),
        &format!("/contracts/c1/userdocuments/q{size}"),
        body,
    )
}

#[test]
fn a_document_has_the_most_labels_and_not_one_more() {
    let mut world = world();
    let mut put = |count: usize| {
        let labels: JsonValue = (0..count).map(|n| (format!("l{n}"), json!("x"))).collect();
        put_document(&mut world, count, json!({"data": 1, "labels": labels}))
    };
    put(LABELS_MAX).ok();
    let refused = put(LABELS_MAX + 1);
    refused.is(400, "InvalidInput");
    assert_eq!(message(&refused), "at most 64 labels");
}

#[test]
fn a_document_has_the_most_approvers_and_not_one_more() {
    let mut world = world();
    for n in 0..=APPROVERS_MAX {
        world.set_identity(&format!("u{n}"), None, "t");
    }
    let mut put = |count: usize| {
        let approvers: Vec<JsonValue> = (0..count)
            .map(|n| json!({"approverId": format!("u{n}"), "approverIdType": "user"}))
            .collect();
        put_document(&mut world, count, json!({"data": 1, "approvers": approvers}))
    };
    put(APPROVERS_MAX).ok();
    let refused = put(APPROVERS_MAX + 1);
    refused.is(400, "InvalidApprovers");
    assert_eq!(message(&refused), "at most 256 approvers");
}

#[test]
fn a_secret_has_the_most_characters_and_not_one_more() {
    let mut world = world();
    // Clients count UTF-16 units: the second is two.
    for (text, units) in [("x", 1), ("\u{1d11e}", 2)] {
        let mut put = |count: usize| {
            let value = text.repeat(count / units);
            world.put(
                &member("ann"),
                "/contracts/c1/secrets/s",
                json!({ "value": value }),
            )
        };
        put(VALUE_LEN_MAX).ok();
        put(VALUE_LEN_MAX + units).is(400, "ValueTooLarge");
    }
}

#[test]
fn a_query_has_the_most_parameters_and_not_one_more() {
    let mut world = world();
    let mut get = |count: usize| {
        let parameters: Vec<String> = (0..count).map(|n| format!("p{n}=x")).collect();
        let target = format!("/contracts/c1/userdocuments?{}", parameters.join("&"));
        world.get(&user("una"), &target)
    };
    let most = get(QUERY_PARAMETERS_MAX);
    assert!(
        most.status == 200 || !message(&most).contains("too many"),
        "{most:?}"
    );
    let refused = get(QUERY_PARAMETERS_MAX + 1);
    refused.is(400, "InvalidParameter");
    assert_eq!(message(&refused), "the query has too many parameters");
}

#[test]
fn a_page_holds_the_most_events_however_many_are_asked_for() {
    let mut world = world();
    let mut page = |count: u64| {
        world.govern(|w| {
            for number in 1..=count {
                let key = format!("c1/s/job/{}", sequence(number));
                let event = br#"{"timestamp":"1","data":{}}"#;
                w.put(EVENTS.name(), key.as_bytes(), event).unwrap();
            }
        });
        let asked = format!("id=job&scope=s&from_seqno=1&max_seqno_per_page={}", PAGE_MAX + 1);
        let page = world
            .get(&member("ann"), &format!("/contracts/c1/events?{asked}"))
            .ok();
        let count = page["value"].as_array().unwrap().len() as u64;
        (count, page["nextLink"].is_string())
    };
    assert_eq!(page(PAGE_MAX), (PAGE_MAX, false));
    assert_eq!(page(PAGE_MAX + 1), (PAGE_MAX, true));
}

const TOKEN: &str = "/contracts/c1/oauth/token?sub=storage&aud=api%3A%2F%2Fcloud";

#[test]
fn tokens_have_claims_of_the_most_bytes_and_live_for_the_most_seconds() {
    let mut world = world();
    let pod = workload('a');
    let tokens = json!({"tokens": [{"sub": "storage", "aud": ["api://cloud"]}]});
    world.welcome("c1", "default", &pod, tokens);
    world.set_issuer(
        Some("c1"),
        1,
        Some("https://issuer.example/app/contracts/c1/oidc"),
    );
    let key = "/contracts/c1/oidc/generateSigningKey";
    world.post(&member("ann"), key, json!(null)).ok();
    let with_id = |len: usize| format!("{TOKEN}&jti={}", "j".repeat(len));
    world.attested(&pod, &with_id(CLAIM_BYTES_MAX)).ok();
    world
        .attested(&pod, &with_id(CLAIM_BYTES_MAX + 1))
        .is(400, "InvalidInput");
    let now = NOW_MS / 1000;
    for (asked, given) in [
        (TOKEN_SECONDS_MAX - 1, TOKEN_SECONDS_MAX - 1),
        (TOKEN_SECONDS_MAX, TOKEN_SECONDS_MAX),
        (TOKEN_SECONDS_MAX + 1, TOKEN_SECONDS_MAX),
    ] {
        let answer = world.attested(&pod, &format!("{TOKEN}&exp={}", now + asked)).ok();
        let token = crypto::jws::Jws::parse(&pod.unwrap(&answer)).unwrap();
        assert_eq!(token.claims()["exp"], now + given);
    }
}

#[test]
fn a_signed_request_is_off_by_the_most_milliseconds_and_not_by_one_more() {
    let mut world = world();
    let pod = workload('a');
    world.welcome("c1", "default", &pod, json!({}));
    let target = "/contracts/c1/events?id=job";
    let mut signed_at = |now_ms: u64| {
        let proof = world.proof(&pod);
        world.host.now_ms.set(now_ms);
        let body = world.sign(proof, &pod, "PUT", target, &json!({"n": 1}));
        world.host.now_ms.set(NOW_MS);
        world.call(&Caller::Anonymous, "PUT", target, body.to_string().as_bytes())
    };
    for (most, beyond) in [
        (NOW_MS - CLOCK_SKEW_MS_MAX, NOW_MS - CLOCK_SKEW_MS_MAX - 1),
        (NOW_MS + CLOCK_SKEW_MS_MAX, NOW_MS + CLOCK_SKEW_MS_MAX + 1),
    ] {
        signed_at(most).ok();
        let refused = signed_at(beyond);
        assert_eq!(refused.code(), "TimestampOutOfRange");
    }
}

#[test]
fn a_refusal_tells_the_most_mismatches_and_not_one_more() {
    let told = |alternatives: usize| {
        let mut world = world();
        for n in 0..alternatives {
            world.welcome("c1", &format!("a{n:02}"), &workload('b'), json!({}));
        }
        let refused = world.attested(&workload('a'), "/contracts/c1/secrets/x");
        refused.is(400, "VerifySnpAttestationFailed");
        refused.json["error"]["details"].as_array().unwrap().len()
    };
    assert_eq!(told(DETAILS_MAX), DETAILS_MAX);
    assert_eq!(told(DETAILS_MAX + 1), DETAILS_MAX);
}
