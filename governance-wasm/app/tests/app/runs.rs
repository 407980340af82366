//! The story of a query: asked for before everybody agreed, with a consent off, and mended
//! (decision 22, `spark-analytics.md` §11); and what a pod may do with its run.

use cleanroom_model::error_codes::ErrorCode;
use governance_app::Caller;
use model::b64;
use serde_json::{Value as JsonValue, json};

use crate::world::{Answer, World, as_approver, member, user, workload};

pub(crate) const LAUNCHER: char = 'a';
pub(crate) const POD: char = 'b';
const OWNERS: [(&str, &str); 3] = [("flights", "una"), ("weather", "ugo"), ("planes", "uma")];

pub(crate) fn dataset(owner: &str, name: &str, mode: &str, privacy: JsonValue) -> JsonValue {
    let configuration = b64::encode(br#"{"KeyType":"DEK","EncryptionMode":"CSE"}"#);
    json!({
        "name": name,
        "datasetSchema": {"format": "csv", "fields": [{"fieldName": "tailnum", "fieldType": "string"}]},
        "datasetAccessPolicy": {"accessMode": mode, "allowedFields": ["tailnum"]},
        "datasetAccessPoint": {
            "name": name, "type": "Volume_ReadOnly", "path": "",
            "store": {
                "name": name, "type": "Local_FileSystem",
                "provider": {"protocol": "Local_FileSystem", "url": format!("file:///data/{name}")},
            },
            "protection": {
                "proxyType": "SecureVolume", "proxyMode": "Secure", "privacyPolicy": privacy,
                "configuration": configuration,
                "encryptionSecrets": {"dek": {
                    "type": "Cgs", "name": format!("{owner}_{name}"), "provider": {"protocol": "Cgs_Secret"},
                }},
            },
        },
    })
}

pub(crate) fn query(statement: &str) -> JsonValue {
    query_with(
        statement,
        json!({"limit": {"type": "long", "default": 5, "max": 10}}),
    )
}

fn query_with(statement: &str, parameters: JsonValue) -> JsonValue {
    let query = json!({
        "segments": [{
            "executionSequence": 1, "data": statement,
            "preConditions": [{"viewName": "flights", "minRowCount": 100}],
            "postFilters": [{"columnName": "planes", "value": 10}],
        }],
        "parameters": parameters,
    });
    let inputs: Vec<JsonValue> = OWNERS
        .iter()
        .map(|(name, _)| json!({"specification": name, "view": name}))
        .collect();
    json!({"name": "q1", "application": {
        "applicationType": "Spark-SQL", "inputDataset": inputs,
        "outputDataset": {"specification": "result", "view": "output"},
        "query": b64::encode(query.to_string().as_bytes()),
    }})
}

pub(crate) fn publish(
    world: &mut World,
    owner: &str,
    id: &str,
    data: &JsonValue,
    approvers: &[&str],
) -> String {
    let approvers: Vec<JsonValue> = approvers.iter().map(|who| as_approver(&user(who))).collect();
    let path = format!("/contracts/c1/userdocuments/{id}");
    let put = world.put(
        &user(owner),
        &path,
        json!({"data": data.to_string(), "approvers": approvers}),
    );
    let version = put.tx.to_string();
    put.ok();
    version
}

pub(crate) fn accept(world: &mut World, who: &str, id: &str, version: &str) {
    let path = format!("/contracts/c1/userdocuments/{id}/ballot");
    world
        .post(
            &user(who),
            &path,
            json!({"version": version, "ballot": "accepted"}),
        )
        .ok();
}

/// Everything but the query: contract, policy, datasets with their keys, sink.
pub(crate) fn world() -> World {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "launcher", &workload(LAUNCHER), json!({"role": "launcher"}));
    let tokens = json!([{"sub": "result-store", "aud": ["api://cloud"]}]);
    world.welcome(
        "c1",
        "pod",
        &workload(POD),
        json!({"role": "pod", "tokens": tokens}),
    );
    let sink = ("result", "una");
    for (name, owner) in OWNERS.into_iter().chain([sink]) {
        let mode = if name == "result" { "write" } else { "read" };
        let data = dataset(owner, name, mode, JsonValue::Null);
        let version = publish(&mut world, owner, name, &data, &[owner]);
        accept(&mut world, owner, name, &version);
        let path = format!("/contracts/c1/secrets/{name}");
        world
            .put(&user(owner), &path, json!({"value": format!("key of {name}")}))
            .ok();
    }
    world
}

pub(crate) fn agreed() -> World {
    let mut world = world();
    let version = publish(
        &mut world,
        "una",
        "q1",
        &query("select 1"),
        &["una", "ugo", "uma"],
    );
    for who in ["una", "ugo", "uma"] {
        accept(&mut world, who, "q1", &version);
    }
    world
}

/// Has members let launchers choose the host data of pods; `claims` bind them all the same.
pub(crate) fn make_delegable(world: &mut World, claims: JsonValue) {
    let tokens = json!([{"sub": "result-store", "aud": ["api://cloud"]}]);
    let mut policy = json!({"role": "pod", "delegable": true, "tokens": tokens, "claims": claims});
    policy["claims"]["x-ms-sevsnpvm-hostdata"] = json!([workload(POD).host_data]);
    world.set_policy("c1", "pod", policy);
}

/// What una asks for, she being the creator of every query here, and its admission; or what is
/// said against the request.
pub(crate) fn asked_and_admitted(world: &mut World, target: &str, request: JsonValue) -> Answer {
    let asked = world.put(&user("una"), target, request);
    if asked.status >= 400 {
        return asked;
    }
    world.attested_write(&workload(LAUNCHER), "POST", target, json!({}))
}

pub(crate) fn ask_with(world: &mut World, run: &str, request: JsonValue) -> Answer {
    let target = format!("/contracts/c1/queries/q1/runs/{run}");
    asked_and_admitted(world, &target, request)
}

pub(crate) fn ask(world: &mut World, run: &str) -> Answer {
    ask_with(world, run, json!({}))
}

fn refusal(world: &World) -> (String, String) {
    let trace = world.trace("c1");
    let last = trace.last().unwrap();
    (
        last.code.map_or("", ErrorCode::as_str).to_owned(),
        last.name.clone(),
    )
}

#[test]
fn twice_refused_and_then_admitted() {
    let mut world = world();
    let version = publish(
        &mut world,
        "una",
        "q1",
        &query("select 1"),
        &["una", "ugo", "uma"],
    );
    for who in ["una", "ugo"] {
        accept(&mut world, who, "q1", &version);
    }
    // Before the third approval.
    let refused = ask(&mut world, "r1");
    refused.is(400, "QueryMissingApprovalsFromDatasetOwners");
    assert!(refused.wrote);
    let details = &refused.json["error"]["details"];
    assert_eq!(details.as_array().unwrap().len(), 1);
    assert_eq!(
        (&details[0]["approverId"], &details[0]["datasetId"]),
        (&json!("uma"), &json!("planes"))
    );
    assert_eq!(
        refusal(&world),
        ("QueryMissingApprovalsFromDatasetOwners".into(), "r1".into())
    );
    accept(&mut world, "uma", "q1", &version);
    // With one consent off.
    let switch = "/contracts/c1/userdocuments/weather/runtimeoptions/execution";
    world
        .post(&user("ugo"), &format!("{switch}/disable"), json!(null))
        .ok();
    let refused = ask(&mut world, "r2");
    refused.is(400, "UserDocumentRuntimeOptionDisabled");
    let detail = &refused.json["error"]["details"][0];
    assert_eq!(
        (&detail["documentId"], &detail["approverId"]),
        (&json!("weather"), &json!("ugo"))
    );
    assert_eq!(refusal(&world).1, "r2");
    world
        .post(&user("ugo"), &format!("{switch}/enable"), json!(null))
        .ok();
    // Mended.
    let admitted = ask(&mut world, "r3").ok();
    let run = &admitted["run"];
    assert_eq!(
        run["secretIds"],
        json!(["una_flights", "ugo_weather", "uma_planes", "una_result"])
    );
    assert_eq!(run["podAlternative"], "pod");
    assert_eq!(run["parameters"], json!({"limit": 5}));
    assert_eq!(run["documents"].as_array().unwrap().len(), 5);
    assert_eq!(run["documents"][0]["version"], version);
    assert_eq!(run["tokens"][0]["sub"], "result-store");
}

#[test]
fn the_same_run_id_has_the_same_answer() {
    let mut world = agreed();
    let first = ask(&mut world, "r1").ok();
    world.pass_time(1000);
    assert_eq!(ask(&mut world, "r1").ok(), first);
    // A refusal stays a refusal under its id.
    publish(
        &mut world,
        "una",
        "q2",
        &query("select 2"),
        &["una", "ugo", "uma"],
    );
    let target = "/contracts/c1/queries/q2/runs/r2";
    let refused = asked_and_admitted(&mut world, target, json!({}));
    refused.is(400, "QueryMissingApprovalsFromDatasetOwners");
    let again = asked_and_admitted(&mut world, target, json!({}));
    assert_eq!(again.json, refused.json);
    let codes: Vec<_> = world
        .trace("c1")
        .into_iter()
        .map(|row| row.code.map_or("", ErrorCode::as_str))
        .collect();
    let missing = "QueryMissingApprovalsFromDatasetOwners";
    assert_eq!(codes, ["", missing, missing]);
}

#[test]
fn only_the_launchers_role_admits() {
    let mut world = agreed();
    let target = "/contracts/c1/queries/q1/runs/r1";
    world
        .attested_write(&workload(POD), "POST", target, json!({}))
        .is(403, "RoleNotAllowed");
    world
        .attested_write(&workload('c'), "POST", target, json!({}))
        .is(400, "VerifySnpAttestationFailed");
    world
        .post(&Caller::Anonymous, target, json!({}))
        .is(400, "AttestationMissing");
}

#[test]
fn what_the_documents_lack_is_named() {
    let mut world = agreed();
    ask_with(&mut world, "p1", json!({"parameters": {"limit": 11}})).is(400, "InvalidRunParameters");
    ask_with(&mut world, "p2", json!({"parameters": {"x": 1}})).is(400, "InvalidRunParameters");
    let target = "/contracts/c1/queries/none/runs/p3";
    asked_and_admitted(&mut world, target, json!({})).is(404, "UserDocumentNotFound");
    let version = publish(&mut world, "una", "broken", &json!({"name": "x"}), &["una"]);
    accept(&mut world, "una", "broken", &version);
    let target = "/contracts/c1/queries/broken/runs/p4";
    asked_and_admitted(&mut world, target, json!({})).is(400, "InvalidQueryFormat");
    ask_with(&mut world, "p5", json!({"podAlternative": "launcher"})).is(400, "InvalidPolicy");
    world
        .post(
            &member("ann"),
            "/contracts/c1/runtimeoptions/execution/disable",
            json!(null),
        )
        .ok();
    ask(&mut world, "p6").is(400, "ContractDisabled");
}

#[test]
fn a_dataset_cannot_draw_somebody_elses_key_into_a_run() {
    let mut world = World::new();
    world.accept_contract("c1", json!(1));
    world.welcome("c1", "launcher", &workload(LAUNCHER), json!({"role": "launcher"}));
    world.welcome("c1", "pod", &workload(POD), json!({"role": "pod"}));
    for (name, mode) in [
        ("flights", "read"),
        ("weather", "read"),
        ("planes", "read"),
        ("result", "write"),
    ] {
        // All are una's, but the key of weather is ugo's.
        let key_owner = if name == "weather" { "ugo" } else { "una" };
        let version = publish(
            &mut world,
            "una",
            name,
            &dataset(key_owner, name, mode, json!(null)),
            &["una"],
        );
        accept(&mut world, "una", name, &version);
        let path = format!("/contracts/c1/secrets/{name}");
        world.put(&user(key_owner), &path, json!({"value": "v"})).ok();
    }
    let version = publish(&mut world, "una", "q1", &query("select 1"), &["una"]);
    accept(&mut world, "una", "q1", &version);
    ask(&mut world, "r1").is(400, "UnexpectedSecretIdFormat");
}

#[test]
fn whoever_put_a_key_owns_it_whatever_its_id_reads_like() {
    let mut world = world();
    // This is also what the key `flights` of the user `una_x` is called.
    let (owner, namesake) = ("una_x", "una");
    world.set_identity(owner, Some(crate::world::ISSUER), crate::world::ISSUER);
    let data = dataset(owner, "flights", "read", json!(null));
    for (publisher, id) in [(namesake, "mine"), (owner, "theirs")] {
        let version = publish(&mut world, publisher, id, &data, &[publisher]);
        accept(&mut world, publisher, id, &version);
    }
    let path = "/contracts/c1/secrets/flights";
    world.put(&user(owner), path, json!({"value": "v"})).ok();
    for (publisher, id, allowed) in [(namesake, "mine", false), (owner, "theirs", true)] {
        let mut query = query("select 1");
        query["application"]["inputDataset"][0]["specification"] = json!(id);
        let name = format!("q-{id}");
        let voters = [publisher, "una", "ugo", "uma"];
        let voters = voters.get(usize::from(publisher == "una")..).unwrap();
        let version = publish(&mut world, "una", &name, &query, voters);
        for voter in voters {
            accept(&mut world, voter, &name, &version);
        }
        let target = format!("/contracts/c1/queries/{name}/runs/r-{id}");
        let answer = asked_and_admitted(&mut world, &target, json!({}));
        if allowed {
            answer.ok();
        } else {
            answer.is(400, "UnexpectedSecretIdFormat");
        }
    }
}

#[test]
fn a_query_weaker_than_an_owners_floor_is_refused() {
    let mut world = world();
    for (id, privacy, admitted) in [
        ("f1", json!({"minInputRows": 101}), false),
        ("f2", json!({"minGroupSize": 11}), false),
        (
            "f3",
            json!({"minInputRows": 100, "minGroupSize": 10, "requireAggregation": true}),
            true,
        ),
    ] {
        let version = publish(
            &mut world,
            "una",
            id,
            &dataset("una", "flights", "read", privacy),
            &["una"],
        );
        accept(&mut world, "una", id, &version);
        let text = query("select 1").to_string().replace(
            r#""specification":"flights""#,
            &format!(r#""specification":"{id}""#),
        );
        let document: JsonValue = serde_json::from_str(&text).unwrap();
        let name = format!("q-{id}");
        let version = publish(&mut world, "una", &name, &document, &["una", "ugo", "uma"]);
        for who in ["una", "ugo", "uma"] {
            accept(&mut world, who, &name, &version);
        }
        let target = format!("/contracts/c1/queries/{name}/runs/{id}");
        let answer = asked_and_admitted(&mut world, &target, json!({}));
        if admitted {
            answer.ok();
        } else {
            answer.is(400, "PrivacyFloorNotMet");
        }
    }
}

#[test]
fn prerequisites_are_the_same_rules_without_a_run() {
    let mut world = world();
    let target = "/contracts/c1/queries/q1/prerequisites";
    let version = publish(
        &mut world,
        "una",
        "q1",
        // Nobody has chosen a value yet.
        &query_with("select 1", json!({"limit": {"type": "long"}})),
        &["una", "ugo", "uma"],
    );
    let view = world.attested(&workload(LAUNCHER), target).ok();
    assert_eq!(view["ready"], false);
    assert_eq!(view["reason"]["details"].as_array().unwrap().len(), 4);
    for who in ["una", "ugo", "uma"] {
        accept(&mut world, who, "q1", &version);
    }
    assert_eq!(
        world.post(&user("una"), target, json!(null)).ok(),
        json!({"ready": true})
    );
    // A run without it would be refused, and says so when it is asked about.
    let asked = world.post(&user("una"), target, json!({"run": {}})).ok();
    assert_eq!(asked["reason"]["code"], "InvalidRunParameters");
    world.attested(&workload(POD), target).is(403, "RoleNotAllowed");
}

#[test]
fn a_pod_gets_what_its_run_lists_until_its_time_is_over() {
    let mut world = agreed();
    ask_with(&mut world, "r1", json!({"maxDurationS": 60})).ok();
    let pod = workload(POD);
    let answer = world.attested(&pod, "/contracts/c1/runs/r1").ok();
    let read: JsonValue = serde_json::from_str(&pod.unwrap(&answer)).unwrap();
    assert_eq!(
        (&read["run"]["runId"], read["documents"].as_array().unwrap().len()),
        (&json!("r1"), 5)
    );
    let secret = world
        .attested(&pod, "/contracts/c1/secrets/ugo_weather?runId=r1")
        .ok();
    assert_eq!(pod.unwrap(&secret), "key of weather");
    // The run may also be named in the body.
    let mut body = world.proof(&pod);
    body["runId"] = json!("r1");
    world
        .post(&Caller::Anonymous, "/contracts/c1/secrets/uma_planes", body)
        .ok();
    world
        .put(&user("ugo"), "/contracts/c1/secrets/other", json!({"value": "v"}))
        .ok();
    world
        .attested(&pod, "/contracts/c1/secrets/ugo_other?runId=r1")
        .is(403, "NotInRun");
    world
        .attested(&pod, "/contracts/c1/secrets/ugo_weather?runId=r2")
        .is(403, "RunNotAdmitted");
    world
        .attested(&pod, "/contracts/c1/userdocuments/accepted/q1?runId=r1")
        .ok();
    let event = world.attested_write(
        &pod,
        "PUT",
        "/contracts/c1/events?id=r1&runId=r1",
        json!({"ok": true}),
    );
    assert_eq!(event.status, 204);
    world.pass_time(60_001);
    world
        .attested(&pod, "/contracts/c1/secrets/ugo_weather?runId=r1")
        .is(403, "RunExpired");
    let event = world.attested_write(
        &pod,
        "PUT",
        "/contracts/c1/events?id=r1&runId=r1",
        json!({"late": true}),
    );
    assert_eq!(event.status, 204);
}

#[test]
fn consent_is_asked_again_at_every_release() {
    let mut world = agreed();
    ask(&mut world, "r1").ok();
    let pod = workload(POD);
    let secret = "/contracts/c1/secrets/una_flights?runId=r1";
    world.attested(&pod, secret).ok();
    let switch = "/contracts/c1/userdocuments/planes/runtimeoptions/execution/disable";
    world.post(&user("uma"), switch, json!(null)).ok();
    let refused = world.attested(&pod, secret);
    refused.is(400, "UserDocumentRuntimeOptionDisabled");
    assert!(refused.wrote);
    world
        .attested(&pod, "/contracts/c1/runs/r1")
        .is(400, "UserDocumentRuntimeOptionDisabled");
}

#[test]
fn a_run_of_one_contract_is_nothing_in_another() {
    let mut world = agreed();
    ask(&mut world, "r1").ok();
    world.accept_contract("c2", json!(1));
    let pod = workload(POD);
    world.welcome("c2", "pod", &pod, json!({"role": "pod"}));
    world
        .attested(&pod, "/contracts/c2/runs/r1")
        .is(403, "RunNotAdmitted");
}

#[test]
fn a_launcher_delegates_for_its_own_runs_only() {
    let mut world = agreed();
    make_delegable(&mut world, json!({}));
    ask(&mut world, "r1").ok();
    let target = "/contracts/c1/cleanroompolicy/delegates/secrets/ugo_weather";
    let delegate = |run: Option<&str>| {
        let mut data = json!({
            "type": "add", "policyType": "virtual", "alternative": "pod",
            "claims": {"x-ms-sevsnpvm-hostdata": "d".repeat(64)},
        });
        if let Some(run) = run {
            data["runId"] = json!(run);
        }
        data
    };
    let launcher = workload(LAUNCHER);
    world
        .attested_write(&launcher, "PUT", target, delegate(None))
        .is(400, "RunIdMissing");
    world
        .attested_write(&launcher, "PUT", target, delegate(Some("r9")))
        .is(403, "RunNotAdmitted");
    world
        .attested_write(&workload(POD), "PUT", target, delegate(Some("r1")))
        .is(403, "RoleNotAllowed");
    world
        .attested_write(&launcher, "PUT", target, delegate(Some("r1")))
        .ok();
    let executor = workload('d');
    let secret = world
        .attested(&executor, "/contracts/c1/secrets/ugo_weather?runId=r1")
        .ok();
    assert_eq!(executor.unwrap(&secret), "key of weather");
    world
        .attested(&executor, "/contracts/c1/secrets/ugo_weather")
        .is(400, "VerifySnpAttestationFailed");
}

#[test]
fn a_pod_gets_the_tokens_that_its_alternative_grants() {
    let mut world = agreed();
    ask(&mut world, "r1").ok();
    world.set_issuer(None, 1, Some("https://global.example"));
    world
        .post(&member("ann"), "/oidc/generateSigningKey", json!(null))
        .ok();
    let pod = workload(POD);
    let token = |world: &mut World, query: &str| {
        world.attested(&workload(POD), &format!("/contracts/c1/oauth/token?{query}"))
    };
    let answer = token(&mut world, "sub=result-store&aud=api://cloud&runId=r1").ok();
    let claims = crypto::jws::Jws::parse(&pod.unwrap(&answer))
        .unwrap()
        .claims()
        .clone();
    assert_eq!(claims["run_id"], "r1");
    token(&mut world, "sub=result-store&aud=api://cloud").is(400, "RunIdMissing");
    token(&mut world, "sub=other&aud=api://cloud&runId=r1").is(403, "TokenNotAllowed");
    world
        .attested(
            &workload(LAUNCHER),
            "/contracts/c1/oauth/token?sub=result-store&aud=api://cloud",
        )
        .is(403, "RoleNotAllowed");
}
