//! Clocks that lie: what the ledger has signed about the time is the least that anybody is judged
//! by, and only members let it go back.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use host_core::time::SKEW_SECONDS_MAX;
use host_core::{Call, MessageType, Outcome};
use kv::Singleton;
use model::tables;
use serde_json::{Value as JsonValue, json};
use support::{NOW, ROUTE, TestService, app_request, id_of, json_of, row};

/// A write that the door judged by this time; the row `time` says by which it was carried out.
fn write_at(service: &mut TestService, seconds: u64) -> Outcome {
    let body = json!({"public": {"a": seconds}, "time": true});
    let mut request = app_request(&service.members[0], &body);
    request.received_at_ms = seconds * 1000;
    let route = ROUTE.to_owned();
    service.commit(Call::App { route, request })
}

fn issue_time(service: &TestService) -> u64 {
    let state = service.service.state();
    let cose = tables::COSE_SIGNATURES.get(&state, &Singleton).unwrap().unwrap();
    let issued = ledger::signature::issued_at(&model::b64::decode(&cose.0).unwrap()).unwrap();
    assert_eq!(issued, state.signed_at);
    issued
}

fn reset(not_after: u64) -> JsonValue {
    json!([{"name": "write", "args": {"table": tables::SERVICE_TIME_RESET.name(),
        "key": "\0\0\0\0\0\0\0\0", "value": {"notAfter": not_after}}}])
}

#[test]
fn a_clock_that_leapt_ahead_and_came_back_makes_nothing_young_again() {
    let mut service = TestService::open();
    assert!(write_at(&mut service, NOW + 400).wrote);
    // Sealed by a clock that is back already.
    assert_eq!(issue_time(&service), NOW + 400);
    // What comes with the earlier time is judged by the later one.
    assert!(write_at(&mut service, NOW).wrote);
    let state = service.service.state();
    let judged = row(&state, "public:rows", "time").unwrap();
    assert_eq!(judged, ((NOW + 400) * 1000).to_string());
    assert_eq!(issue_time(&service), NOW + 400);
}

#[test]
fn a_restart_with_the_clock_set_back_goes_on_from_the_last_signature() {
    let mut service = TestService::open();
    assert!(write_at(&mut service, NOW + 3 * 3600).wrote);
    let (resumed, _, _) = service.resume(&service.ledger).unwrap();
    let state = resumed.state();
    assert_eq!(state.signed_at, NOW + 3 * 3600);
    let time = state.time(NOW * 1000);
    assert_eq!(time.seconds(), NOW + 3 * 3600);
    assert!(time.clock_is_behind());
}

#[test]
fn what_wrote_nothing_moves_no_time() {
    let mut service = TestService::open();
    let before = service.service.state().signed_at;
    let mut request = app_request(&service.members[0], &json!({"status": 400, "public": {"a": 1}}));
    request.received_at_ms = (NOW + 900) * 1000;
    let route = ROUTE.to_owned();
    assert!(!service.execute(Call::App { route, request }).wrote);
    assert!(write_at(&mut service, NOW).wrote);
    assert_eq!(service.service.state().signed_at, before);
}

#[test]
fn members_let_a_wrong_floor_go_and_no_further_than_they_say() {
    let year = 365 * 86_400;
    for (not_after, state) in [(0, "Accepted"), (1, "Failed")] {
        let mut service = TestService::open();
        assert!(write_at(&mut service, NOW + year).wrote);
        assert_eq!(issue_time(&service), NOW + year);
        // The ballot that decides is signed by a clock this far past what is voted.
        service.clock = NOW + 1000;
        let proposed = service.propose(0, reset(service.clock + 4 - SKEW_SECONDS_MAX - not_after));
        let id = id_of(&json_of(&proposed));
        service.vote(0, id, "accept");
        service.vote(1, id, "accept");
        let summary = json_of(&service.vote(2, id, "accept"));
        assert_eq!(service.clock, NOW + 1004);
        assert_eq!(summary["proposalState"], state, "{summary}");
        let expected = if state == "Accepted" {
            NOW + 1004
        } else {
            NOW + year
        };
        assert_eq!(issue_time(&service), expected);
        // And it stays so over a restart, for the last signature is what counts.
        let (resumed, _, _) = service.resume(&service.ledger).unwrap();
        assert_eq!(resumed.state().signed_at, expected);
    }
}

#[test]
fn only_a_reset_and_its_ballots_are_taken_while_the_clocks_differ() {
    let mut service = TestService::active();
    let state = service.service.state();
    let reset = json!([{"name": "reset_service_time", "args": {"notAfter": NOW}}]);
    let other = json!([{"name": "nothing"}]);
    let both = json!([reset[0], other[0]]);
    for (actions, taken) in [(&reset, true), (&other, false), (&both, false)] {
        let text = json!({"actions": actions}).to_string();
        let request = service.request(0, MessageType::Proposal, None, text.as_bytes());
        assert_eq!(request.resets_service_time(&state), taken, "{actions}");
    }
    for (actions, taken) in [(reset, true), (other, false)] {
        let id = id_of(&json_of(&service.propose(0, actions)));
        let state = service.service.state();
        let ballot = service.request(1, MessageType::Ballot, Some(id), b"{}");
        assert_eq!(ballot.resets_service_time(&state), taken);
        let withdrawal = service.request(0, MessageType::Withdrawal, Some(id), b"");
        assert!(!withdrawal.resets_service_time(&state));
    }
    let ack = service.request(
        0,
        MessageType::Ack,
        None,
        json!({"actions": []}).to_string().as_bytes(),
    );
    assert!(!ack.resets_service_time(&state));
}
