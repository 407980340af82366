//! What delegates of a run may do: no more than the run, and each run its own (decisions 21, 22).

use serde_json::{Value as JsonValue, json};

use crate::runs::{LAUNCHER, POD, agreed, ask};
use crate::world::{World, member, workload};

fn delegate(world: &mut World, target: &str, change: &str, run: &str, digit: char, audiences: &[&str]) {
    let target = format!("/contracts/c1/cleanroompolicy/delegates/{target}");
    let data = json!({
        "type": change, "policyType": "virtual", "runId": run, "audiences": audiences,
        "claims": {"x-ms-sevsnpvm-hostdata": digit.to_string().repeat(64)},
    });
    world
        .attested_write(&workload(LAUNCHER), "PUT", &target, data)
        .ok();
}

#[test]
fn runs_do_not_disturb_each_others_delegates() {
    let mut world = agreed();
    let secret = "secrets/ugo_weather";
    for (run, executor) in [("r1", 'c'), ("r2", 'd')] {
        ask(&mut world, run).ok();
        delegate(&mut world, secret, "add", run, executor, &[]);
    }
    let of = |run: &str| format!("/contracts/c1/secrets/ugo_weather?runId={run}");
    world.attested(&workload('c'), &of("r1")).ok();
    world.attested(&workload('d'), &of("r2")).ok();
    for (executor, run) in [('c', "r2"), ('d', "r1")] {
        world
            .attested(&workload(executor), &of(run))
            .is(400, "VerifySnpAttestationFailed");
    }
    delegate(&mut world, secret, "remove", "r2", 'd', &[]);
    world.attested(&workload('c'), &of("r1")).ok();
    world
        .attested(&workload('d'), &of("r2"))
        .is(400, "VerifySnpAttestationFailed");
    // Both are one delegate to those who read the policy.
    delegate(&mut world, secret, "add", "r2", 'd', &[]);
    let list = world
        .get(&member("ann"), "/contracts/c1/cleanroompolicy/delegates")
        .ok();
    assert_eq!(list["value"].as_array().unwrap().len(), 1);
}

#[test]
fn a_launcher_leaves_delegates_without_a_run_alone() {
    let mut world = agreed();
    ask(&mut world, "r1").ok();
    let admin = workload('e');
    world.welcome("c1", "admin", &admin, json!({}));
    let target = "/contracts/c1/cleanroompolicy/delegates/secrets/ugo_weather";
    let data = json!({
        "type": "add", "policyType": "virtual",
        "claims": {"x-ms-sevsnpvm-hostdata": "c".repeat(64)},
    });
    world.attested_write(&admin, "PUT", target, data).ok();
    delegate(&mut world, "secrets/ugo_weather", "add", "r1", 'd', &[]);
    delegate(&mut world, "secrets/ugo_weather", "remove", "r1", 'c', &[]);
    world
        .attested(&workload('c'), "/contracts/c1/secrets/ugo_weather")
        .ok();
}

#[test]
fn a_runs_delegate_gets_no_token_that_the_run_does_not_list() {
    let mut world = agreed();
    ask(&mut world, "r1").ok();
    world.set_issuer(None, 1, Some("https://global.example"));
    world
        .post(&member("ann"), "/oidc/generateSigningKey", JsonValue::Null)
        .ok();
    let audiences = ["api://cloud", "api://else"];
    for subject in ["result-store", "other"] {
        let target = format!("oauth-federation-subjects/{subject}");
        delegate(&mut world, &target, "add", "r1", 'c', &audiences);
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
