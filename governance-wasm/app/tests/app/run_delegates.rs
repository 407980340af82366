//! What delegates of a run may do: no more than the run, and each run its own (decisions 21, 22).

use serde_json::{Value as JsonValue, json};

use crate::runs::{LAUNCHER, POD, agreed, ask, make_delegable};
use crate::world::{Answer, World, member, user, workload};

fn data(run: &str, digit: char, audiences: &[&str]) -> JsonValue {
    json!({
        "type": "add", "runId": run, "audiences": audiences, "alternative": "pod",
        "claims": {"x-ms-sevsnpvm-hostdata": digit.to_string().repeat(64)},
    })
}

fn put(world: &mut World, target: &str, data: JsonValue) -> Answer {
    let target = format!("/contracts/c1/cleanroompolicy/delegates/{target}");
    world.attested_write(&workload(LAUNCHER), "PUT", &target, data)
}

fn delegate(world: &mut World, target: &str, run: &str, digit: char, audiences: &[&str]) {
    put(world, target, data(run, digit, audiences)).ok();
}

fn agreed_and_delegable() -> World {
    let mut world = agreed();
    make_delegable(&mut world, json!({}));
    world
}

const SECRET: &str = "secrets/ugo_weather";

fn fetch(world: &mut World, digit: char, run: &str) -> Answer {
    world.attested(
        &workload(digit),
        &format!("/contracts/c1/secrets/ugo_weather?runId={run}"),
    )
}

#[test]
fn a_launcher_cannot_give_a_key_to_a_workload_nobody_voted() {
    let mut world = agreed();
    ask(&mut world, "r1").ok();
    let strangers = data("r1", '9', &[]);
    let mut unnamed = strangers.clone();
    unnamed.as_object_mut().unwrap().remove("alternative");
    let with = |member: &str, value: &str| {
        let mut other = strangers.clone();
        other[member] = json!(value);
        other
    };
    // The alternative of pods says nothing, so nobody but its own host data gets anything.
    for sent in [
        strangers.clone(),
        unnamed.clone(),
        with("alternative", "launcher"),
        with("alternative", "none"),
    ] {
        let refused = put(&mut world, SECRET, sent);
        refused.is(403, "RoleNotAllowed");
        assert!(refused.wrote, "an attempt leaves its trace");
    }
    // Where it says so, what it demands besides host data holds for whoever is let in.
    let measured = json!({"x-ms-sevsnpvm-launchmeasurement": ["11".repeat(48)]});
    make_delegable(&mut world, measured);
    for sent in [
        unnamed,
        with("alternative", "launcher"),
        with("policyType", "snp-caci"),
        with("type", "remove"),
    ] {
        put(&mut world, SECRET, sent).is(403, "RoleNotAllowed");
    }
    let mut loose = strangers.clone();
    loose["claims"]["x-ms-sevsnpvm-launchmeasurement"] = json!("00".repeat(48));
    put(&mut world, SECRET, loose).is(400, "InvalidPolicy");
    put(&mut world, SECRET, strangers).ok();
    let refused = fetch(&mut world, '9', "r1");
    refused.is(400, "VerifySnpAttestationFailed");
    let details = refused.json["error"]["details"].to_string();
    assert!(details.contains("launchmeasurement"), "{details}");
    make_delegable(
        &mut world,
        json!({"x-ms-sevsnpvm-launchmeasurement": ["00".repeat(48)]}),
    );
    fetch(&mut world, '9', "r1").ok();
    // And it ends when members take their leave back.
    let host_data = workload(POD).host_data;
    let policy = json!({"role": "pod", "claims": {"x-ms-sevsnpvm-hostdata": [host_data]}});
    world.set_policy("c1", "pod", policy);
    fetch(&mut world, '9', "r1").is(400, "VerifySnpAttestationFailed");
    fetch(&mut world, POD, "r1").ok();
}

#[test]
fn a_launcher_lets_no_launcher_in() {
    let mut world = agreed_and_delegable();
    ask(&mut world, "r1").ok();
    put(&mut world, SECRET, data("r1", LAUNCHER, &[])).is(403, "RoleNotAllowed");
    // Nor one that members add later, though not its own.
    delegate(&mut world, SECRET, "r1", 'd', &[]);
    fetch(&mut world, 'd', "r1").ok();
    let claims = json!({"x-ms-sevsnpvm-hostdata": ["d".repeat(64)], "x-ms-sevsnpvm-launchmeasurement": ["22".repeat(48)]});
    world.set_policy("c1", "second", json!({"role": "launcher", "claims": claims}));
    fetch(&mut world, 'd', "r1").is(400, "VerifySnpAttestationFailed");
}

#[test]
fn a_delegate_is_of_a_live_run() {
    let mut world = agreed_and_delegable();
    ask(&mut world, "r1").ok();
    let switch = "/contracts/c1/userdocuments/weather/runtimeoptions/execution/disable";
    world.post(&user("ugo"), switch, JsonValue::Null).ok();
    put(&mut world, SECRET, data("r1", 'd', &[])).is(400, "UserDocumentRuntimeOptionDisabled");
    let switch = switch.replace("disable", "enable");
    world.post(&user("ugo"), &switch, JsonValue::Null).ok();
    put(&mut world, SECRET, data("r1", 'd', &[])).ok();
    world.pass_time(7_200_001);
    put(&mut world, SECRET, data("r1", 'e', &[])).is(403, "RunExpired");
}

#[test]
fn what_a_launcher_let_in_is_an_event_and_listed_with_its_run_for_good() {
    let mut world = agreed_and_delegable();
    ask(&mut world, "r1").ok();
    delegate(&mut world, SECRET, "r1", 'c', &[]);
    let trace = world.trace("c1");
    let event = trace.last().unwrap();
    assert_eq!((event.kind.as_str(), event.name.as_str()), ("delegate", SECRET));
    let detail = event.detail.as_ref().unwrap();
    assert_eq!(
        (&detail["alternative"], &detail["hostData"]),
        (&json!("pod"), &json!(["c".repeat(64)]))
    );
    delegate(&mut world, SECRET, "r1", 'd', &[]);
    let list = world
        .get(&member("ann"), "/contracts/c1/cleanroompolicy/delegates")
        .ok();
    let listed = &list["value"][0];
    assert_eq!(
        (&listed["runId"], &listed["alternative"], &listed["hostData"]),
        (
            &json!("r1"),
            &json!("pod"),
            &json!(["c".repeat(64), "d".repeat(64)])
        )
    );
    fetch(&mut world, 'c', "r1").ok();
    fetch(&mut world, 'd', "r1").ok();
}

const RUN_DELEGATE_VALUES_MAX: usize = 64;

#[test]
fn a_delegate_of_a_run_has_a_bound() {
    let mut world = agreed_and_delegable();
    ask(&mut world, "r1").ok();
    let many = |count: usize| {
        let mut sent = data("r1", 'c', &[]);
        let values: Vec<String> = (0..count).map(|n| format!("{n:064x}")).collect();
        sent["claims"]["x-ms-sevsnpvm-hostdata"] = json!(values);
        sent
    };
    put(&mut world, SECRET, many(RUN_DELEGATE_VALUES_MAX + 1)).is(400, "InvalidPolicy");
    put(&mut world, SECRET, many(RUN_DELEGATE_VALUES_MAX)).ok();
    put(&mut world, SECRET, many(RUN_DELEGATE_VALUES_MAX)).ok();
    put(&mut world, SECRET, data("r1", 'c', &[])).is(400, "InvalidPolicy");
}

#[test]
fn runs_do_not_disturb_each_others_delegates() {
    let mut world = agreed_and_delegable();
    for (run, executor) in [("r1", 'c'), ("r2", 'd')] {
        ask(&mut world, run).ok();
        delegate(&mut world, SECRET, run, executor, &[]);
    }
    let of = |run: &str| format!("/contracts/c1/secrets/ugo_weather?runId={run}");
    world.attested(&workload('c'), &of("r1")).ok();
    world.attested(&workload('d'), &of("r2")).ok();
    for (executor, run) in [('c', "r2"), ('d', "r1")] {
        world
            .attested(&workload(executor), &of(run))
            .is(400, "VerifySnpAttestationFailed");
    }
}

#[test]
fn a_launcher_leaves_delegates_without_a_run_alone() {
    let mut world = agreed_and_delegable();
    ask(&mut world, "r1").ok();
    let admin = workload('e');
    world.welcome("c1", "admin", &admin, json!({}));
    let target = "/contracts/c1/cleanroompolicy/delegates/secrets/ugo_weather";
    let data = json!({
        "type": "add", "policyType": "virtual",
        "claims": {"x-ms-sevsnpvm-hostdata": "c".repeat(64)},
    });
    world.attested_write(&admin, "PUT", target, data).ok();
    delegate(&mut world, SECRET, "r1", 'd', &[]);
    world
        .attested(&workload('c'), "/contracts/c1/secrets/ugo_weather")
        .ok();
}

#[test]
fn a_runs_delegate_gets_no_token_that_the_run_does_not_list() {
    let mut world = agreed_and_delegable();
    ask(&mut world, "r1").ok();
    world.set_issuer(None, 1, Some("https://global.example"));
    world
        .post(&member("ann"), "/oidc/generateSigningKey", JsonValue::Null)
        .ok();
    let audiences = ["api://cloud", "api://else"];
    for subject in ["result-store", "other"] {
        let target = format!("oauth-federation-subjects/{subject}");
        delegate(&mut world, &target, "r1", 'c', &audiences);
    }
    let mut token = |digit: char, subject: &str, audience: &str| {
        let query = format!("sub={subject}&aud={audience}&runId=r1");
        world.attested(&workload(digit), &format!("/contracts/c1/oauth/token?{query}"))
    };
    token('c', "result-store", "api://cloud").ok();
    token('c', "result-store", "api://else").is(403, "TokenNotAllowed");
    token('c', "other", "api://cloud").is(403, "TokenNotAllowed");
    token(POD, "result-store", "api://cloud").ok();
}
