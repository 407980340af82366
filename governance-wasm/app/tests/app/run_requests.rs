//! Runs are asked for on the ledger by people whom the query names (decision 45), belong to one key,
//! and can be ended; looks at a run are not releases (decision 76).

use cleanroom_model::runs::{
    OPEN_REQUESTS_MAX, PARAMETERS_LEN_MAX, REQUEST_LIFE_MS, RUNNERS_MAX, RUNS_PAGE_MAX,
};
use governance_app::Caller;
use kv::{Json, Singleton, TxId};
use model::service::ServiceTimeReset;
use model::tables::SERVICE_TIME_RESET;
use serde_json::{Value as JsonValue, json};

use crate::host::COMMITTED;
use crate::runs::{LAUNCHER, POD, accept, agreed, ask, ask_with, publish, query};
use crate::workloads::workload;
use crate::world::{ISSUER, World, member, user};

const R1: &str = "/contracts/c1/queries/q1/runs/r1";

fn admit(world: &mut World, target: &str) -> crate::world::Answer {
    world.attested_write(&workload(LAUNCHER), "POST", target, json!({}))
}

fn state(world: &mut World, target: &str) -> JsonValue {
    world.get(&user("una"), target).ok()["state"].clone()
}

#[test]
fn a_stranger_to_the_query_asks_for_a_run() {
    let mut world = agreed();
    // Even an owner of data is no runner: the query's creator is, as it names nobody.
    for stranger in [user("ugo"), member("ann")] {
        let asked = world.put(&stranger, R1, json!({}));
        asked.is(403, "NotARunner");
        assert!(!asked.wrote);
    }
    world
        .put(&Caller::Anonymous, R1, json!({}))
        .is(400, "UnknownAuthenticationPolicy");
    assert_eq!(world.put(&user("una"), R1, json!({})).status, 201);
}

#[test]
fn whom_the_query_names_may_ask_and_its_creator_then_not_and_a_namesake_never() {
    let mut world = agreed();
    let mut text = query("select 1");
    text["runners"] = json!([{"approverId": "ugo", "approverIdType": "user"}]);
    let version = publish(&mut world, "una", "q2", &text, &["una", "ugo", "uma"]);
    for who in ["una", "ugo", "uma"] {
        accept(&mut world, who, "q2", &version);
    }
    let target = "/contracts/c1/queries/q2/runs/r1";
    world.put(&user("una"), target, json!({})).is(403, "NotARunner");
    assert_eq!(world.put(&user("ugo"), target, json!({})).status, 201);
    // Registered again, the id is somebody else's.
    world.remove_identity("ugo");
    world.set_identity("ugo", Some(ISSUER), ISSUER);
    let later = "/contracts/c1/queries/q2/runs/r2";
    world.put(&user("ugo"), later, json!({})).is(403, "NotARunner");
    // What the one before asked for is not admitted either.
    admit(&mut world, target).is(403, "RunNotRequested");
}

#[test]
fn runners_who_are_unknown_too_many_or_said_twice_are_refused() {
    let mut world = agreed();
    let una = json!({"approverId": "una", "approverIdType": "user"});
    let mut put = |runners: JsonValue| {
        let mut text = query("select 1");
        text["runners"] = runners;
        let body = json!({"data": text.to_string()});
        world.put(&user("una"), "/contracts/c1/userdocuments/qx", body)
    };
    let nobody = json!([{"approverId": "nobody", "approverIdType": "user"}]);
    for bad in [
        json!([]),
        json!("una"),
        nobody,
        json!(vec![una.clone(); RUNNERS_MAX + 1]),
    ] {
        put(bad).is(400, "InvalidQueryFormat");
    }
    put(json!(vec![una; RUNNERS_MAX])).ok();
    let twice = query("select 1")
        .to_string()
        .replacen('{', r#"{"runners":[],"runners":[],"#, 1);
    world
        .put(
            &user("una"),
            "/contracts/c1/userdocuments/qy",
            json!({"data": twice}),
        )
        .is(400, "InvalidInput");
}

#[test]
fn a_run_nobody_asked_for_is_admitted() {
    let mut world = agreed();
    let refused = admit(&mut world, R1);
    refused.is(403, "RunNotRequested");
    assert!(refused.wrote, "it leaves its trace");
    // Nor one that was asked for of another query.
    world.put(&user("una"), R1, json!({})).ok_with(201);
    admit(&mut world, "/contracts/c1/queries/q2/runs/r1").is(403, "RunNotRequested");
    admit(&mut world, R1).ok();
}

#[test]
fn a_launcher_adds_parameters_to_what_was_asked_for() {
    let mut world = agreed();
    let body = json!({"parameters": {"limit": 7}, "maxDurationS": 60});
    world.put(&user("una"), R1, body).ok_with(201);
    let launcher = workload(LAUNCHER);
    world
        .attested_write(&launcher, "POST", R1, json!({"parameters": {"limit": 9}}))
        .is(400, "InvalidInput");
    let run = admit(&mut world, R1).ok()["run"].clone();
    assert_eq!(run["parameters"], json!({"limit": 7}));
    assert_eq!(run["requestedBy"]["approverId"], "una");
    let life = run["notAfter"].as_u64().unwrap() - run["admittedOn"].as_u64().unwrap();
    assert_eq!(life, 60_000);
}

#[test]
fn a_forged_seen_is_a_fork_and_harms_its_sender_alone() {
    let mut world = agreed();
    let held = COMMITTED;
    let later = TxId::new(held.view, held.seqno + 1);
    let earlier_view = TxId::new(held.view - 1, held.seqno);
    let later_view = TxId::new(held.view + 1, held.seqno);
    let forged = |world: &mut World| {
        for id in [later, earlier_view, later_view, TxId::new(1 << 62, 1 << 62)] {
            let answer = world.put(&user("una"), R1, json!({"seen": id.to_string()}));
            answer.is(409, "ServiceForked");
            assert!(!answer.wrote, "{id}");
        }
    };
    forged(&mut world);
    let body = json!({"seen": held.to_string()});
    let asked = world.put(&user("una"), R1, body);
    asked.ok_with(201);
    assert_eq!(asked.json["request"]["seen"], held.to_string());
    // When the same is asked for again, too; what was seen by then makes no other request of it.
    forged(&mut world);
    world.put(&user("una"), R1, json!({})).ok_with(200);
    world.put(&user("una"), R1, json!({"seen": "2.1"})).ok_with(200);
    // The run's record carries it, so that its pod can ask for it too.
    let run = admit(&mut world, R1).ok()["run"].clone();
    assert_eq!(run["seen"], held.to_string());
}

#[test]
fn a_seen_that_is_no_transaction_id() {
    let mut world = agreed();
    for text in [
        "",
        "2",
        "2.",
        ".3",
        "2.3.4",
        "-2.3",
        "+2.3",
        "99999999999999999999.1",
    ] {
        let answer = world.put(&user("una"), R1, json!({"seen": text}));
        assert_eq!(answer.status, 400, "{text}");
    }
}

#[test]
fn another_body_under_the_same_id() {
    let mut world = agreed();
    let body = json!({"parameters": {"limit": 7}});
    world.put(&user("una"), R1, body.clone()).ok_with(201);
    let again = world.put(&user("una"), R1, body);
    again.ok_with(200);
    assert!(!again.wrote);
    assert_eq!(again.json["state"], "Requested");
    world
        .put(&user("una"), R1, json!({"parameters": {"limit": 8}}))
        .is(409, "RunIdInUse");
    let version = publish(&mut world, "una", "q2", &query("select 2"), &["una"]);
    accept(&mut world, "una", "q2", &version);
    world
        .put(&user("una"), "/contracts/c1/queries/q2/runs/r1", json!({}))
        .is(409, "RunIdInUse");
    // Not after its verdict, and not after its end.
    admit(&mut world, R1).ok();
    world.put(&user("una"), R1, json!({})).is(409, "RunIdInUse");
    world
        .post(&user("una"), &format!("{R1}/cancel"), json!(null))
        .ok_with(204);
    world.put(&user("una"), R1, json!({})).is(409, "RunIdInUse");
}

#[test]
fn a_request_lapses_after_one_hour_and_not_before() {
    let mut world = agreed();
    let r2 = "/contracts/c1/queries/q1/runs/r2";
    world.put(&user("una"), R1, json!({})).ok_with(201);
    world.put(&user("una"), r2, json!({})).ok_with(201);
    world.pass_time(REQUEST_LIFE_MS);
    admit(&mut world, R1).ok();
    world.pass_time(1);
    assert_eq!(state(&mut world, r2), "Lapsed");
    admit(&mut world, r2).is(403, "RunNotRequested");
    // What was admitted in time stays admitted.
    admit(&mut world, R1).ok();
    assert_eq!(state(&mut world, R1), "Admitted");
}

#[test]
fn a_query_rewritten_after_the_request_is_run() {
    let mut world = agreed();
    publish(&mut world, "una", "q2", &query("select 2"), &["una"]);
    let target = "/contracts/c1/queries/q2/runs/r2";
    let asked = world.put(&user("una"), target, json!({}));
    asked.ok_with(201);
    let body = json!({
        "data": query("select 3").to_string(), "version": asked.json["queryVersion"],
        "approvers": [{"approverId": "una", "approverIdType": "user"}],
    });
    let put = world.put(&user("una"), "/contracts/c1/userdocuments/q2", body);
    let version = put.tx.to_string();
    put.ok();
    accept(&mut world, "una", "q2", &version);
    admit(&mut world, target).is(403, "RunNotRequested");
}

#[test]
fn a_cancelled_run_is_admitted_released_to_or_looked_at() {
    let mut world = agreed();
    let r2 = "/contracts/c1/queries/q1/runs/r2";
    let pod = workload(POD);
    // Before admission, by its asker.
    world.put(&user("una"), R1, json!({})).ok_with(201);
    world
        .post(&user("una"), &format!("{R1}/cancel"), json!(null))
        .ok_with(204);
    assert_eq!(state(&mut world, R1), "Cancelled");
    admit(&mut world, R1).is(403, "RunCancelled");
    // While it is at work, by an owner of data.
    ask(&mut world, "r2").ok();
    world.attested(&pod, "/contracts/c1/runs/r2").ok();
    world
        .post(&user("uma"), &format!("{r2}/cancel"), json!(null))
        .ok_with(204);
    for path in [
        "runs/r2",
        "runs/r2/check",
        "secrets/ugo_weather?runId=r2",
        "userdocuments/accepted/q1?runId=r2",
    ] {
        let refused = world.attested(&pod, &format!("/contracts/c1/{path}"));
        refused.is(403, "RunCancelled");
        assert!(refused.wrote, "{path}");
    }
    admit(&mut world, r2).is(403, "RunCancelled");
    let again = world.post(&user("uma"), &format!("{r2}/cancel"), json!(null));
    again.ok_with(204);
    assert!(!again.wrote);
}

#[test]
fn a_stranger_ends_or_reads_somebody_elses_run() {
    let mut world = agreed();
    world.set_identity("udo", Some(ISSUER), ISSUER);
    world.put(&user("una"), R1, json!({})).ok_with(201);
    let cancel = format!("{R1}/cancel");
    world
        .post(&user("udo"), &cancel, json!(null))
        .is(403, "NotUserDocumentApprover");
    // Members see it; to end it they must own or approve something.
    world
        .post(&member("ann"), &cancel, json!(null))
        .is(403, "NotUserDocumentApprover");
    world.get(&user("udo"), R1).is(403, "NotARunner");
    for reader in [user("una"), user("ugo"), member("ann")] {
        assert_eq!(world.get(&reader, R1).ok()["askedBy"]["approverId"], "una");
    }
    world
        .get(&user("una"), "/contracts/c1/queries/q1/runs/r9")
        .is(404, "RunNotFound");
}

#[test]
fn a_second_pod_reads_the_record() {
    let mut world = agreed();
    // The same policy lets both in; their keys differ.
    let (first, second) = (workload(POD), workload('c'));
    let both =
        json!({"claims": {"x-ms-sevsnpvm-hostdata": [first.host_data, second.host_data]}, "role": "pod"});
    world.set_policy("c1", "pod", both);
    ask(&mut world, "r1").ok();
    world.attested(&first, "/contracts/c1/runs/r1").ok();
    for path in ["runs/r1", "runs/r1/check", "secrets/ugo_weather?runId=r1"] {
        let refused = world.attested(&second, &format!("/contracts/c1/{path}"));
        refused.is(403, "RunTaken");
        assert!(refused.wrote, "{path}");
    }
    // It cannot report failures in its name either.
    let event = "/contracts/c1/events?runId=r1";
    world
        .attested_write(&second, "PUT", event, json!({}))
        .is(403, "RunTaken");
    world.attested_write(&first, "PUT", event, json!({})).ok_with(204);
    world.attested(&first, "/contracts/c1/runs/r1").ok();
}

#[test]
fn row_counts_read_by_a_stranger() {
    let mut world = agreed();
    ask(&mut world, "r1").ok();
    let rows = "/contracts/c1/userdocuments/weather/runs/r1";
    let told = |world: &mut World, path: &str| {
        let data = json!({"rows": 987_654_321});
        world.attested_write(&workload(POD), "PUT", &format!("{path}?runId=r1"), data)
    };
    let put = told(&mut world, rows);
    put.ok_with(204);
    told(&mut world, "/contracts/c1/userdocuments/result/runs/r1").is(403, "NotInRun");
    world
        .attested_write(&workload(LAUNCHER), "PUT", rows, json!({"rows": 1}))
        .is(403, "RoleNotAllowed");
    assert_eq!(world.get(&user("ugo"), rows).ok(), json!({"rows": 987_654_321}));
    for stranger in [user("una"), user("uma"), member("ann")] {
        world.get(&stranger, rows).is(403, "NotUserDocumentApprover");
    }
    world
        .get(&user("ugo"), "/contracts/c1/userdocuments/weather/runs/r2")
        .is(404, "RunNotFound");
    let traces = serde_json::to_string(&world.trace("c1")).unwrap();
    assert!(!traces.contains("987654321"), "{traces}");
}

#[test]
fn waiting_runs_are_listed_to_launchers_alone() {
    let mut world = agreed();
    let list = "/contracts/c1/runs?state=Requested";
    for run in ["r1", "r2", "r3"] {
        let target = format!("/contracts/c1/queries/q1/runs/{run}");
        world.put(&user("una"), &target, json!({})).ok_with(201);
    }
    admit(&mut world, R1).ok();
    world
        .post(
            &user("una"),
            "/contracts/c1/queries/q1/runs/r2/cancel",
            json!(null),
        )
        .ok_with(204);
    let listed = world.attested(&workload(LAUNCHER), list).ok();
    let ids: Vec<&JsonValue> = listed["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["runId"])
        .collect();
    assert_eq!(ids, ["r3"]);
    world.attested(&workload(POD), list).is(403, "RoleNotAllowed");
    world
        .attested(&workload(LAUNCHER), "/contracts/c1/runs?state=Admitted")
        .is(400, "InvalidParameter");
    world.pass_time(REQUEST_LIFE_MS + 1);
    assert_eq!(
        world.attested(&workload(LAUNCHER), list).ok(),
        json!({"value": []})
    );
}

#[test]
fn open_requests_and_parameters_have_bounds() {
    let mut world = agreed();
    let put = |world: &mut World, n: usize| {
        let target = format!("/contracts/c1/queries/q1/runs/n{n}");
        world.put(&user("una"), &target, json!({}))
    };
    for n in 0..OPEN_REQUESTS_MAX {
        put(&mut world, n).ok_with(201);
    }
    put(&mut world, OPEN_REQUESTS_MAX).is(429, "QuotaExceeded");
    // A full page and no more: everything is listed once.
    assert_eq!(RUNS_PAGE_MAX as usize, OPEN_REQUESTS_MAX);
    let list = "/contracts/c1/runs?state=Requested";
    let page = world.attested(&workload(LAUNCHER), list).ok();
    assert_eq!(page["value"].as_array().unwrap().len(), OPEN_REQUESTS_MAX);
    let next = page["nextLink"]
        .as_str()
        .unwrap()
        .strip_prefix("/app")
        .unwrap()
        .to_owned();
    assert_eq!(
        world.attested(&workload(LAUNCHER), &next).ok(),
        json!({"value": []})
    );
    // One that is admitted makes room for one.
    admit(&mut world, "/contracts/c1/queries/q1/runs/n0").ok();
    put(&mut world, OPEN_REQUESTS_MAX).ok_with(201);
    put(&mut world, OPEN_REQUESTS_MAX + 1).is(429, "QuotaExceeded");
    world.pass_time(REQUEST_LIFE_MS + 1);
    put(&mut world, OPEN_REQUESTS_MAX + 1).ok_with(201);
    // `{"p":"…"}` is eight bytes and the value.
    let mut with = |length: usize| {
        let target = format!("/contracts/c1/queries/q1/runs/p{length}");
        let body = json!({"parameters": {"p": "x".repeat(length - 8)}});
        world.put(&user("una"), &target, body)
    };
    with(PARAMETERS_LEN_MAX).ok_with(201);
    with(PARAMETERS_LEN_MAX + 1).is(400, "InvalidRunParameters");
}

#[test]
fn a_stranger_asks_whether_an_id_is_used() {
    let mut world = agreed();
    world.put(&user("una"), R1, json!({})).ok_with(201);
    world.put(&user("ugo"), R1, json!({})).is(403, "NotARunner");
}

#[test]
fn a_look_says_whether_the_run_may_go_on_and_writes_one_row() {
    let mut world = agreed();
    ask_with(&mut world, "r1", json!({"maxDurationS": 60})).ok();
    let pod = workload(POD);
    let check = "/contracts/c1/runs/r1/check";
    let before = world.trace("c1").len();
    for _ in 0..3 {
        let look = world.attested(&pod, check).ok();
        assert!(look["notAfter"].as_u64().unwrap() > 0, "{look}");
        assert!(look.get("value").is_none(), "a look gives nothing out");
        world.pass_time(10);
    }
    assert_eq!(world.trace("c1").len(), before, "a look is no release");
    let looks = world.looks("c1", "r1");
    assert_eq!((looks.count, looks.last - looks.first), (3, 20));
    world
        .attested(&workload(LAUNCHER), check)
        .is(403, "RoleNotAllowed");
    let switch = "/contracts/c1/userdocuments/planes/runtimeoptions/execution/disable";
    world.post(&user("uma"), switch, json!(null)).ok();
    let refused = world.attested(&pod, check);
    refused.is(400, "UserDocumentRuntimeOptionDisabled");
    assert!(refused.wrote);
    assert_eq!(world.looks("c1", "r1").count, 3);
    world
        .post(&user("uma"), &switch.replace("disable", "enable"), json!(null))
        .ok();
    world.pass_time(60_001);
    world.attested(&pod, check).is(403, "RunExpired");
}

#[test]
fn a_reset_of_service_time_ends_the_runs_and_requests_of_before() {
    let mut world = agreed();
    ask_with(&mut world, "r1", json!({"maxDurationS": 3600})).ok();
    let waiting = "/contracts/c1/queries/q1/runs/r3";
    world.put(&user("una"), waiting, json!({})).ok_with(201);
    let secret = |world: &mut World, run: &str| {
        world.attested(
            &workload(POD),
            &format!("/contracts/c1/secrets/ugo_weather?runId={run}"),
        )
    };
    secret(&mut world, "r1").ok();
    world.govern(|changes| {
        let row = Json(ServiceTimeReset { not_after: 1 });
        SERVICE_TIME_RESET.put(changes, &Singleton, &row).unwrap();
    });
    secret(&mut world, "r1").is(403, "RunExpired");
    admit(&mut world, waiting).is(403, "RunNotRequested");
    assert_eq!(state(&mut world, waiting), "Lapsed");
    ask_with(&mut world, "r2", json!({"maxDurationS": 3600})).ok();
    secret(&mut world, "r2").ok();
}

#[test]
fn requests_are_checked_for_form_without_a_trace() {
    let mut world = agreed();
    for (request, code) in [
        (json!({"startDate": "2025-01-01"}), "InvalidDateRange"),
        (
            json!({"startDate": "2025-01-02", "endDate": "2025-01-01"}),
            "InvalidDateRange",
        ),
        (
            json!({"startDate": "2025-01-01T12:00:00", "endDate": "2025-01-02"}),
            "InvalidDateFormat",
        ),
        (json!({"maxDurationS": 86_401}), "InvalidInput"),
        (json!({"secretIds": ["x"]}), "InvalidInput"),
    ] {
        let answer = ask_with(&mut world, "r1", request);
        answer.is(400, code);
        assert!(!answer.wrote, "{code}");
    }
    let dates =
        json!({"startDate": "2025-01-01T00:00:00Z", "endDate": "2025-01-02", "parameters": {"limit": 7}});
    let run = ask_with(&mut world, "r1", dates).ok()["run"].clone();
    assert_eq!(
        (&run["startDate"], &run["parameters"]),
        (&json!("2025-01-01"), &json!({"limit": 7}))
    );
}
