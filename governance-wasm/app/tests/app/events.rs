//! Events and the trace of releases (`governance-api.md` §15).

use governance_app::Caller;
use model::b64;
use serde_json::{Value as JsonValue, json};

use crate::world::{NOW_MS, Workload, World, member, token, user, workload};

fn world() -> (World, Workload) {
    let mut world = World::new();
    let pod = workload('a');
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "default", &pod, json!({}));
    (world, pod)
}

#[test]
fn the_latest_event_of_a_series_is_read_back() {
    let (mut world, pod) = world();
    let none = world.get(&member("ann"), "/contracts/c1/events").ok();
    assert_eq!(none, json!({"value": []}));
    for n in 1..=2 {
        let put = world.attested_write(&pod, "PUT", "/contracts/c1/events", json!({"n": n}));
        assert_eq!(put.status, 204);
    }
    let list = world.get(&user("una"), "/contracts/c1/events").ok();
    let event = &list["value"][0];
    assert_eq!(list["value"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&event["id"], &event["scope"], &event["data"]),
        (&json!("c1"), &json!(""), &json!({"n": 2}))
    );
    assert_eq!(event["timestamp"], NOW_MS.to_string());
    assert_eq!(event["timestamp_iso"], event["timestampIso"]);
}

#[test]
fn history_is_paged_by_events_and_series_are_apart() {
    let (mut world, pod) = world();
    for n in 0..5 {
        world
            .attested_write(
                &pod,
                "PUT",
                "/contracts/c1/events?id=job&scope=s",
                json!({"n": n}),
            )
            .ok();
        world
            .attested_write(&pod, "PUT", "/contracts/c1/events?id=job", json!({"other": n}))
            .ok();
    }
    let mut link = "/contracts/c1/events?id=job&scope=s&from_seqno=1&max_seqno_per_page=2".to_owned();
    let mut seen = Vec::new();
    let mut pages = 0;
    loop {
        let page = world.get(&member("ann"), &link).ok();
        pages += 1;
        seen.extend(
            page["value"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["data"]["n"].as_u64().unwrap()),
        );
        match page["nextLink"].as_str() {
            Some(next) => link = next.strip_prefix("/app").unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!((seen, pages), (vec![0, 1, 2, 3, 4], 3));
    // Polling behind the last event is an empty page.
    let last = world.last_seqno();
    let series = "/contracts/c1/events?id=job&scope=s";
    let poll = world
        .get(&member("ann"), &format!("{series}&from_seqno={}", last + 1))
        .ok();
    assert_eq!(poll, json!({"value": []}));
    // Positions that are not committed yet have no history.
    for beyond in [
        format!("from_seqno={}", last + 2),
        format!("to_seqno={}", last + 1),
        format!("from_seqno={}&to_seqno={}", last + 1, last + 1),
    ] {
        world
            .get(&member("ann"), &format!("{series}&{beyond}"))
            .is(400, "InvalidParameter");
    }
}

/// Text of arrays within arrays.
fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let (mut world, pod) = world();
    let data = |levels| serde_json::from_str::<JsonValue>(&nested(levels)).unwrap();
    let target = "/contracts/c1/events";
    world
        .attested_write(&pod, "PUT", target, data(127))
        .is(400, "InvalidInput");
    world.attested_write(&pod, "PUT", target, data(64)).ok();
    let body = |levels| format!("{{\"data\":{}}}", nested(levels)).into_bytes();
    for path in ["/contracts/c2", "/contracts/c1/userdocuments/d"] {
        world
            .call(&member("ann"), "PUT", path, &body(126))
            .is(400, "InvalidInput");
        assert_eq!(world.call(&member("ann"), "PUT", path, &body(64)).status, 200);
        assert_eq!(world.post(&member("ann"), path, json!(null)).status, 200);
    }
    for list in [target, "/contracts/c1/events?from_seqno=1", "/contracts"] {
        assert_eq!(world.get(&member("ann"), list).status, 200, "{list}");
    }
}

#[test]
fn a_page_of_long_events_ends_early_and_leads_on() {
    let (mut world, pod) = world();
    let target = "/contracts/c1/events";
    for n in 0..5 {
        let data = json!({"n": n, "text": "x".repeat(600_000)});
        world.attested_write(&pod, "PUT", target, data).ok();
    }
    let mut link = format!("{target}?from_seqno=1");
    let mut counts = Vec::new();
    loop {
        let page = world.get(&member("ann"), &link).ok();
        counts.push(page["value"].as_array().unwrap().len());
        match page["nextLink"].as_str() {
            Some(next) => link = next.strip_prefix("/app").unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(counts, [4, 1]);
}

#[test]
fn malformed_questions_and_events_are_refused() {
    let (mut world, pod) = world();
    for query in [
        "from_seqno=x",
        "from_seqno=5&to_seqno=4",
        "from_seqno=1&max_seqno_per_page=0",
    ] {
        let target = format!("/contracts/c1/events?{query}");
        world.get(&member("ann"), &target).is(400, "InvalidParameter");
    }
    let target = "/contracts/c1/events";
    let put = |world: &mut World, body: &JsonValue| {
        world.call(&Caller::Anonymous, "PUT", target, body.to_string().as_bytes())
    };
    put(&mut world, &json!({})).is(400, "AttestationMissing");
    let good = world.signed(&pod, "PUT", target, &json!({}));
    for (field, value, code) in [
        ("sign", json!(null), "SignatureMissing"),
        ("sign", json!({}), "SignatureMissing"),
        ("sign", json!({"publicKey": "AAAA"}), "SignatureMissing"),
        ("attestation", json!(""), "AttestationMissing"),
        ("timestamp", json!(null), "TimestampMissing"),
        ("timestamp", json!("99999999999999"), "TimestampTooLarge"),
        ("timestamp", json!("abc"), "InvalidInput"),
        ("data", json!(null), "DataMissing"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        put(&mut world, &body).is(400, code);
    }
    let own = world.attested_write(&pod, "PUT", "/contracts/c1/events?scope=releases", json!({}));
    own.is(400, "InvalidParameter");
}

#[test]
fn members_do_not_write_events_and_tokens_only_if_the_policy_says_so() {
    let (mut world, _) = world();
    let body = json!({"timestamp": "1735689600123", "data": b64::encode(b"{\"by\":\"token\"}")});
    let target = "/contracts/c1/events";
    let writer = token(json!({"sub": "una", "appid": "app-1"}));
    world
        .put(&writer, target, body.clone())
        .is(400, "VerifyJwtAttestationFailed");
    world.welcome_tokens("c1", json!({"appid": ["app-1"]}));
    assert_eq!(world.put(&writer, target, body.clone()).status, 204);
    let other = token(json!({"sub": "una", "appid": "app-2"}));
    let refused = world.put(&other, target, body.clone());
    refused.is(400, "VerifyJwtAttestationFailed");
    assert_eq!(refused.json["error"]["details"][0]["claim"], "appid");
    world
        .put(&writer, target, json!({"timestamp": "1", "data": "e30"}))
        .is(400, "InvalidInput");
    let list = world.get(&member("ann"), target).ok();
    assert_eq!(list["value"][0]["timestamp_iso"], "2025-01-01T00:00:00.123Z");
}

#[test]
fn releases_and_refusals_are_read_as_events() {
    let (mut world, pod) = world();
    world
        .put(&member("ann"), "/contracts/c1/secrets/s", json!({"value": "v"}))
        .ok();
    let path = format!("/contracts/c1/secrets/{}_s", crate::world::member_id("ann"));
    world.attested(&pod, &path).ok();
    world
        .attested(&workload('c'), &path)
        .is(400, "VerifySnpAttestationFailed");
    let list = world
        .get(&user("una"), "/contracts/c1/events?scope=releases")
        .ok();
    let outcomes: Vec<&str> = list["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["data"]["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["released", "refused"]);
}
