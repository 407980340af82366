//! A proposal's text: `{"actions":[{"name","args"}, …]}`, and nothing else.

use std::borrow::Cow;

use cleanroom_model::actions::{ACTIONS_MAX, Action, InvalidAction};
use model::json;
use model::proposal::RawAction;
use serde::Deserialize;
use serde_json::Value as JsonValue;

use crate::Invalid;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    actions: Vec<BodyAction>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyAction {
    name: String,
    #[serde(default)]
    args: JsonValue,
}

/// What could be read of a proposal.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The actions that have a form, with their positions.
    pub actions: Vec<(u32, Action)>,
    /// The faults of the others.
    pub faults: Vec<Invalid>,
}

fn malformed(reason: String) -> Invalid {
    Invalid {
        position: 0,
        action: String::new(),
        reason,
        unavailable: false,
    }
}

/// Refuses a text in which a key occurs twice or a number would be rounded. That is a property of the text, which never changes
/// after its submission, so it is looked at then and not at every ballot.
///
/// # Errors
///
/// One [`Invalid`] naming the key.
pub fn check_text(text: &[u8]) -> Result<(), Vec<Invalid>> {
    json::check_unique_keys(json::without_mark(text))
        .map_err(|e| vec![malformed(format!("not a proposal: {e}"))])?;
    json::check_numbers(text).map_err(|e| vec![malformed(format!("not a proposal: {e}"))])
}

/// Reads a proposal and goes on after a malformed action, so that its author sees every fault.
///
/// # Errors
///
/// One [`Invalid`] if it is not a proposal at all.
pub fn parse_all(text: &[u8]) -> Result<Parsed, Vec<Invalid>> {
    let body: Body = serde_json::from_slice(json::without_mark(text)).map_err(|e| {
        vec![malformed(format!(
            "not a proposal: {e}; expected {{\"actions\":[{{\"name\",\"args\"}}]}}"
        ))]
    })?;
    if body.actions.is_empty() || body.actions.len() > ACTIONS_MAX {
        let count = body.actions.len();
        return Err(vec![malformed(format!(
            "a proposal has 1 to {ACTIONS_MAX} actions, this has {count}"
        ))]);
    }
    let mut parsed = Parsed::default();
    for (position, action) in (0..).zip(body.actions) {
        let BodyAction { name, args } = action;
        match Action::parse(RawAction {
            name: name.clone(),
            args,
        }) {
            Ok(action) => parsed.actions.push((position, action)),
            Err(fault) => parsed.faults.push(Invalid {
                position,
                action: name,
                unavailable: matches!(fault, InvalidAction::NotAvailable { .. }),
                reason: fault.to_string(),
            }),
        }
    }
    Ok(parsed)
}

/// Reads a proposal that was validated when it was submitted.
///
/// # Errors
///
/// The first fault. Possible if the rules were replaced in between.
pub fn parse(text: &[u8]) -> Result<Vec<Action>, Invalid> {
    let parsed = parse_all(text).map_err(|mut faults| faults.remove(0))?;
    if let Some(fault) = parsed.faults.into_iter().next() {
        return Err(fault);
    }
    Ok(parsed.actions.into_iter().map(|(_, action)| action).collect())
}

#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    actions: Vec<OutlineAction<'a>>,
}

#[derive(Deserialize)]
struct OutlineAction<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    args: Option<OutlineArgs<'a>>,
}

#[derive(Deserialize)]
struct OutlineArgs<'a> {
    #[serde(borrow, default, rename = "contractId")]
    contract_id: Option<Cow<'a, str>>,
}

/// Ids of the contracts that a proposal would accept. Reads past everything else without keeping
/// it: another open proposal may carry a component of several megabytes.
#[must_use]
pub fn contracts_to_accept(text: &[u8]) -> Vec<String> {
    let Ok(outline) = serde_json::from_slice::<Outline<'_>>(json::without_mark(text)) else {
        return Vec::new();
    };
    outline
        .actions
        .into_iter()
        .filter(|action| action.name == "set_contract")
        .filter_map(|action| action.args?.contract_id)
        .map(Cow::into_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_reported_with_its_position() {
        let text = br#"{"actions":[
            {"name":"nonsense","args":{}},
            {"name":"assert_service_identity","args":{"service_identity":"x"}},
            {"name":"set_js_app","args":{}},
            {"name":"remove_user","args":{"user_id":7}}]}"#;
        let parsed = parse_all(text).unwrap();
        let faults: Vec<(u32, &str, bool)> = parsed
            .faults
            .iter()
            .map(|f| (f.position, f.action.as_str(), f.unavailable))
            .collect();
        assert_eq!(
            faults,
            [
                (0, "nonsense", false),
                (2, "set_js_app", true),
                (3, "remove_user", false)
            ]
        );
        assert_eq!(parsed.actions.len(), 1);
    }

    #[test]
    fn what_is_not_a_proposal_is_one_fault() {
        let many = format!(
            r#"{{"actions":[{}]}}"#,
            vec![r#"{"name":"x"}"#; ACTIONS_MAX + 1].join(",")
        );
        for bad in [
            "",
            "{",
            "[]",
            r#"{"actions":[]}"#,
            r#"{"actions":{}}"#,
            r#"{"actions":[{"name":"x","extra":1}]}"#,
            r#"{"actions":[{"name":"x"}],"more":1}"#,
            &many,
        ] {
            assert_eq!(parse_all(bad.as_bytes()).unwrap_err().len(), 1, "{bad:.60}");
        }
    }

    #[test]
    fn a_proposal_may_stand_behind_a_byte_order_mark() {
        let text = "\u{feff}{\"actions\":[{\"name\":\"x\"}]}";
        assert_eq!(check_text(text.as_bytes()), Ok(()));
        assert_eq!(parse_all(text.as_bytes()).unwrap().faults.len(), 1);
    }

    #[test]
    fn the_outline_finds_contracts_only() {
        let text = br#"{"actions":[{"name":"set_contract","args":{"contractId":"c1","contract":{"data":[1,{"contractId":"x"}]}}},
            {"name":"enable_ca","args":{"contractId":"c2"}},{"name":"oidc_issuer_enable_rotate_signing_key"}]}"#;
        assert_eq!(contracts_to_accept(text), ["c1"]);
        assert!(contracts_to_accept(b"nonsense").is_empty());
    }
}
