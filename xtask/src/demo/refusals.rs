//! Refusals leave a trace: members read it on the ledger, and so does the demo before it says so.

use anyhow::{Context as _, Result};
use serde_json::Value as JsonValue;

use super::story::{CONTRACT, Story};

/// A refusal that must be on the ledger.
pub(crate) struct Refused<'a> {
    /// What was asked for: `admission`, `run` or `secret`.
    pub(crate) kind: &'a str,
    /// Of what name.
    pub(crate) name: &'a str,
    /// The code that was answered.
    pub(crate) code: &'a str,
    /// Host data of the workload that asked.
    pub(crate) host_data: &'a str,
}

/// Finds the row of a refusal as a member who had no part in it sees it; gives its detail.
pub(crate) fn on_ledger(story: &Story, wanted: &Refused<'_>) -> Result<JsonValue> {
    let events = story.cli().run(
        &story.member(2),
        &["event", "list", CONTRACT, "--scope", "releases"],
    )?;
    find(&events, wanted).with_context(|| {
        format!(
            "the ledger shows no refusal {} of {} {} to {}: {events}",
            wanted.code, wanted.kind, wanted.name, wanted.host_data
        )
    })
}

fn find(events: &JsonValue, wanted: &Refused<'_>) -> Option<JsonValue> {
    let row = events
        .as_array()?
        .iter()
        .filter_map(|event| event.get("data"))
        .find(|row| {
            [
                ("outcome", "refused"),
                ("kind", wanted.kind),
                ("name", wanted.name),
                ("code", wanted.code),
                ("hostData", wanted.host_data),
            ]
            .iter()
            .all(|(field, value)| row.get(*field).and_then(JsonValue::as_str) == Some(*value))
        })?;
    Some(row.get("detail").cloned().unwrap_or(JsonValue::Null))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_very_refusal_counts() {
        let wanted = Refused {
            kind: "run",
            name: "run-1",
            code: "No",
            host_data: "ab",
        };
        let row = json!({
            "outcome": "refused", "kind": "run", "name": "run-1", "code": "No", "hostData": "ab", "detail": 7,
        });
        assert_eq!(find(&json!([{ "data": row }]), &wanted), Some(json!(7)));
        for field in ["outcome", "kind", "name", "code", "hostData"] {
            let mut other = row.clone();
            other[field] = json!("released");
            assert_eq!(find(&json!([{ "data": other }]), &wanted), None, "{field}");
        }
        assert_eq!(find(&json!([]), &wanted), None);
    }
}
