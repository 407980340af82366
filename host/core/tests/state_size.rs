//! A state that grows until the machine has no room is the end of governance too.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod support;

use serde_json::json;
use support::{TestService, code_of, row};

#[test]
fn a_full_state_takes_governance_and_nothing_else() {
    let mut service = TestService::open();
    let write = json!({"public": {"a": 1}});
    let size = service.service.state().store.size();
    service.service.limit_state(size);
    // At the limit one more goes.
    let call = service.app(&write);
    assert!(service.execute(call).wrote);
    let call = service.app(&json!({"public": {"b": 1}}));
    let refused = service.execute(call);
    assert_eq!(code_of(&refused), "503 StateFull");
    assert!(!refused.wrote);
    service.seal();
    assert!(row(&service.service.state(), "public:rows", "b").is_none());
    // Members can still act, and once there is room so can everybody.
    let proposed = service.propose(0, json!([{"name": "auto", "args": null}]));
    assert!(proposed.wrote, "{:?}", proposed.reply);
    service.service.limit_state(usize::MAX);
    let call = service.app(&json!({"public": {"b": 1}}));
    assert!(service.execute(call).wrote);
}
