//! What components can do to a running service: nothing but what their context allows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use host_core::{Call, Caller};
use kv::{Context, Read, Write};
use serde_json::json;
use support::{ROUTE, TestService, app_request, code_of, row};

#[test]
fn an_update_cannot_touch_governance_or_the_hosts_tables() {
    let service = TestService::open();
    let state = service.service.state();
    let mut update = state.trial(Context::Update);
    for table in [
        "public:ccf.gov.members.info",
        "public:ccf.gov.service.info",
        "public:ccf.internal.signatures",
        "ccf.internal.app_keys",
        "public:ccf.mine",
    ] {
        assert!(update.put(table, b"k", b"v").is_err(), "{table}");
        assert!(update.remove(table, b"k").is_err(), "{table}");
    }
    assert!(update.get("ccf.internal.app_keys", b"k").is_err());
    assert!(
        state
            .transaction(Context::Query)
            .put("public:rows", b"k", b"v")
            .is_err()
    );
    assert!(state.transaction(Context::Decide).get("secrets", b"k").is_err());
}

#[test]
fn a_proposal_cannot_write_private_or_internal_tables() {
    for table in ["secrets", "ccf.internal.app_keys", "public:ccf.internal.tree"] {
        let mut service = TestService::active();
        let action = json!([{"name": "write", "args": {"table": table, "key": "k", "value": 1}}]);
        assert_eq!(service.pass(action)["proposalState"], "Failed", "{table}");
    }
}

#[test]
fn a_closed_service_answers_no_application_request() {
    let mut service = TestService::active();
    service.pass(json!([{"name": "set_app"}]));
    let call = service.app(&json!({"public": {"a": 1}}));
    assert_eq!(code_of(&service.commit(call)), "404 FrontendNotOpen");
    service.pass(json!([{"name": "open"}]));
    let call = service.app(&json!({"public": {"a": 1}}));
    assert_eq!(service.commit(call).reply.status, 200);
}

#[test]
fn a_refusal_loses_its_writes_unless_it_must_leave_a_trace() {
    let mut service = TestService::open();
    let call = service.app(&json!({"status": 403, "public": {"a": 1}}));
    let outcome = service.commit(call);
    assert_eq!((outcome.reply.status, outcome.wrote), (403, false));
    assert_eq!(row(&service.service.state(), "public:rows", "a"), None);
    let call = service.app(&json!({"status": 403, "public": {"a": 1}, "commitOnError": true}));
    let outcome = service.commit(call);
    assert_eq!((outcome.reply.status, outcome.wrote), (403, true));
    assert_eq!(row(&service.service.state(), "public:rows", "a").unwrap(), "1");
}

#[test]
fn a_trap_costs_its_own_request_and_nothing_else() {
    let mut service = TestService::open();
    let good = service.app(&json!({"public": {"a": 1}}));
    assert!(service.execute(good).wrote);
    let bad = service.app(&json!({"trap": true, "public": {"b": 1}}));
    let outcome = service.execute(bad);
    assert_eq!(code_of(&outcome), "500 InternalError");
    assert!(outcome.fault.unwrap().contains("asked to"));
    let text = String::from_utf8(outcome.reply.body).unwrap();
    assert!(
        !text.contains("asked to"),
        "the cause goes to the log, not to the caller"
    );
    service.seal();
    assert_eq!(row(&service.service.state(), "public:rows", "a").unwrap(), "1");
}

#[test]
fn a_removed_endpoint_or_another_kind_of_caller_is_refused_by_the_writer() {
    let mut service = TestService::open();
    let mut request = app_request(&service.members[0], &json!({"public": {"a": 1}}));
    request.caller = Caller::Anonymous;
    let call = Call::App {
        route: ROUTE.to_owned(),
        request,
    };
    assert_eq!(code_of(&service.commit(call)), "404 ResourceNotFound");
    let call = service.app(&json!({"public": {"a": 1}}));
    service.pass(json!([{"name": "remove_app"}]));
    assert_eq!(code_of(&service.commit(call)), "404 ResourceNotFound");
}
