//! Which claims a policy may name, which values they may take, and how sets of them are joined
//! and taken apart (`governance-api.md` §11.2 and §14, `attestation-secrets-oidc.md` §1.6).
//!
//! Used for contract policies by the constitution and for delegates by the application.

use std::collections::BTreeMap;

use model::evidence::Platform;
use serde_json::Value as JsonValue;

use crate::policy::{Claims, PolicyType};

/// What a claim's value looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shape {
    /// `true` or `false`.
    Bool,
    /// A whole number, zero or more.
    Number,
    /// Text that is not empty.
    Text,
    /// Lower-case hex of exactly so many bytes.
    Hex(usize),
    /// Lower-case hex of any number of whole bytes, up to 64.
    AnyHex,
    /// Base64 of 32 bytes: a SHA-256 register.
    Register,
    /// A security version: a whole number, which must be met exactly, or `{"min": n}`.
    Svn,
}

const SNP_PREFIX: &str = "x-ms-sevsnpvm-";

/// What a report says about the platform it was made on, after [`SNP_PREFIX`]: of a container
/// group, and of the paravisor of a confidential VM. Security versions of different products do
/// not compare, so a policy that has one had better name the product.
const PLATFORM_CLAIMS: &[(&str, Shape)] = &[
    ("bootloader-svn", Shape::Svn),
    ("chip-id", Shape::Hex(64)),
    ("committed-bootloader-svn", Shape::Svn),
    ("committed-fmc-svn", Shape::Svn),
    ("committed-microcode-svn", Shape::Svn),
    ("committed-snpfw-svn", Shape::Svn),
    ("committed-tee-svn", Shape::Svn),
    ("cpuid", Shape::Hex(4)),
    ("fmc-svn", Shape::Svn),
    ("guestsvn", Shape::Svn),
    ("microcode-svn", Shape::Svn),
    ("platform-info", Shape::Number),
    ("product", Shape::Text),
    ("snpfw-svn", Shape::Svn),
    ("tee-svn", Shape::Svn),
    ("vmpl", Shape::Number),
];

/// Other names of a container group's report, after [`SNP_PREFIX`].
const SNP_CLAIMS: &[(&str, Shape)] = &[
    ("authorkeydigest", Shape::Hex(48)),
    ("familyId", Shape::Hex(16)),
    ("hostdata", Shape::Hex(32)),
    ("idkeydigest", Shape::Hex(48)),
    ("imageId", Shape::Hex(16)),
    ("is-debuggable", Shape::Bool),
    ("launchmeasurement", Shape::Hex(48)),
    ("reportdata", Shape::Hex(64)),
    ("reportid", Shape::Hex(32)),
    ("smt-allowed", Shape::Bool),
];

/// Other names of a container group's policy.
const CACI_CLAIMS: &[(&str, Shape)] = &[("uvm_endorsements-svn", Shape::Svn), ("x-ms-ver", Shape::Text)];

const MACHINE_PREFIX: &str = "vm-configuration-";

/// What a paravisor says about its machine and a policy may ask for, after [`MACHINE_PREFIX`]
/// (`attestation-secrets-oidc.md` §1.9). Members that change with each start are left out.
const MACHINE_CLAIMS: &[(&str, Shape)] = &[
    ("console-enabled", Shape::Bool),
    ("root-cert-thumbprint", Shape::Text),
    ("secure-boot", Shape::Bool),
    ("tpm-enabled", Shape::Bool),
    ("tpm-persisted", Shape::Bool),
    ("vmUniqueId", Shape::Text),
];

/// Names of unsigned development evidence, after [`SNP_PREFIX`] (decision 20).
const VIRTUAL_CLAIMS: &[(&str, Shape)] = &[
    ("hostdata", Shape::AnyHex),
    ("is-debuggable", Shape::Bool),
    ("launchmeasurement", Shape::AnyHex),
    ("reportdata", Shape::Hex(64)),
];

const JWT_CLAIMS: &[&str] = &["appid", "iss", "oid", "sub", "tid"];

/// Platform configuration registers, `pcr0` to `pcr23`.
const REGISTER_COUNT: u8 = 24;

/// The claim that carries a launch document's digest.
pub const HOST_DATA_CLAIM: &str = "x-ms-sevsnpvm-hostdata";

fn shape_of(policy_type: PolicyType, name: &str) -> Option<Shape> {
    let find = |table: &[(&str, Shape)], name: &str| {
        table
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, shape)| *shape)
    };
    match policy_type {
        PolicyType::Evidence(Platform::SnpCaci) => match name.strip_prefix(SNP_PREFIX) {
            Some(rest) => find(SNP_CLAIMS, rest).or_else(|| find(PLATFORM_CLAIMS, rest)),
            None => find(CACI_CLAIMS, name),
        },
        PolicyType::Evidence(Platform::Virtual) => find(VIRTUAL_CLAIMS, name.strip_prefix(SNP_PREFIX)?),
        PolicyType::Evidence(Platform::SnpCvm) => {
            match (name.strip_prefix(MACHINE_PREFIX), name.strip_prefix(SNP_PREFIX)) {
                (Some(rest), _) => find(MACHINE_CLAIMS, rest),
                (None, Some(rest)) => find(PLATFORM_CLAIMS, rest),
                (None, None) => (0..REGISTER_COUNT)
                    .any(|n| format!("pcr{n}") == name)
                    .then_some(Shape::Register),
            }
        }
        PolicyType::Jwt => JWT_CLAIMS.contains(&name).then_some(Shape::Text),
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Shape {
    fn admits(self, value: &JsonValue) -> bool {
        let text = value.as_str();
        match self {
            Self::Bool => value.is_boolean(),
            Self::Number => value.as_u64().is_some(),
            Self::Text => text.is_some_and(|t| !t.is_empty()),
            Self::Hex(bytes) => text.is_some_and(|t| t.len() == bytes.saturating_mul(2) && is_hex(t)),
            Self::AnyHex => {
                text.is_some_and(|t| (2..=128).contains(&t.len()) && t.len().is_multiple_of(2) && is_hex(t))
            }
            Self::Register => text
                .and_then(|t| model::b64::decode(t).ok())
                .is_some_and(|bytes| bytes.len() == 32),
            Self::Svn => value.as_u64().is_some() || minimum(value).is_some(),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::Number => "a whole number".into(),
            Self::Text => "a text".into(),
            Self::Hex(bytes) => format!("{} lower-case hex digits", bytes.saturating_mul(2)),
            Self::AnyHex => "lower-case hex of at most 64 bytes".into(),
            Self::Register => "base64 of 32 bytes".into(),
            Self::Svn => "a whole number or {\"min\": a whole number}".into(),
        }
    }
}

/// The number of `{"min": n}`, which accepts n and above.
fn minimum(value: &JsonValue) -> Option<u64> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    members.get("min")?.as_u64()
}

/// Whether one of the `accepted` values of a claim stands for `got`: the same value, or a minimum
/// that it reaches.
#[must_use]
pub fn accepts(accepted: &[JsonValue], got: &JsonValue) -> bool {
    accepted
        .iter()
        .any(|wanted| match (minimum(wanted), got.as_u64()) {
            (Some(min), Some(number)) => number >= min,
            (Some(_), None) => false,
            (None, _) => wanted == got,
        })
}

/// Why claims cannot be part of a policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidClaims {
    /// The type has no such claim.
    #[error("the claim '{name}' is not an allowed {policy_type} claim")]
    Name {
        /// The claim.
        name: String,
        /// The policy type's wire name.
        policy_type: &'static str,
    },
    /// A value of the wrong type or form.
    #[error("the claim '{name}' takes {expected}, not {got}")]
    Value {
        /// The claim.
        name: String,
        /// What it takes.
        expected: String,
        /// What was given, as JSON.
        got: String,
    },
    /// A claim with an empty list.
    #[error("the claim '{0}' has no values")]
    NoValues(String),
    /// A boolean claim with both values constrains nothing.
    #[error("the claim '{0}' takes one boolean")]
    BothBooleans(String),
    /// A minimum beside other values: the weakest of them would be the one that counts.
    #[error("the claim '{0}' takes one minimum and nothing beside it")]
    MinimumNotAlone(String),
    /// The claim to be removed is not there.
    #[error("the policy has no claim '{0}'")]
    Absent(String),
    /// The value to be removed is not there.
    #[error("the claim '{name}' does not hold {value}")]
    ValueAbsent {
        /// The claim.
        name: String,
        /// The value, as JSON.
        value: String,
    },
}

/// Longest value quoted in an error, in characters.
const QUOTED_CHARS_MAX: usize = 160;

fn quoted(value: &JsonValue) -> String {
    value.to_string().chars().take(QUOTED_CHARS_MAX).collect()
}

/// Reads `{"claim": value | [values]}`: single values become lists, repeated values are dropped.
///
/// # Errors
///
/// [`InvalidClaims`] for the first claim in name order whose name or value the type does not have.
pub fn parse_claims(
    policy_type: PolicyType,
    given: &BTreeMap<String, JsonValue>,
) -> Result<Claims, InvalidClaims> {
    let mut claims = Claims::new();
    for (name, value) in given {
        let shape = shape_of(policy_type, name).ok_or_else(|| InvalidClaims::Name {
            name: name.clone(),
            policy_type: policy_type.as_str(),
        })?;
        let single = std::slice::from_ref(value);
        let values = value.as_array().map_or(single, Vec::as_slice);
        let mut distinct: Vec<JsonValue> = Vec::new();
        for value in values {
            if !shape.admits(value) {
                return Err(InvalidClaims::Value {
                    name: name.clone(),
                    expected: shape.describe(),
                    got: quoted(value),
                });
            }
            if !distinct.contains(value) {
                distinct.push(value.clone());
            }
        }
        if distinct.is_empty() {
            return Err(InvalidClaims::NoValues(name.clone()));
        }
        if shape == Shape::Bool && distinct.len() > 1 {
            return Err(InvalidClaims::BothBooleans(name.clone()));
        }
        if distinct.len() > 1 && distinct.iter().any(|value| minimum(value).is_some()) {
            return Err(InvalidClaims::MinimumNotAlone(name.clone()));
        }
        claims.insert(name.clone(), distinct);
    }
    Ok(claims)
}

fn is_boolean_claim(values: &[JsonValue]) -> bool {
    values.first().is_some_and(JsonValue::is_boolean)
}

fn has_minimum(values: &[JsonValue]) -> bool {
    values.iter().any(|value| minimum(value).is_some())
}

/// Adds the values of `added` to those of `claims`. A boolean replaces what was there: both values
/// together would constrain nothing. So does a minimum, and what comes to one: beside the old
/// floor a raised one would constrain nothing either.
pub fn add_claims(claims: &mut Claims, added: Claims) {
    for (name, values) in added {
        let stored = claims.entry(name).or_default();
        if is_boolean_claim(&values) || has_minimum(&values) || has_minimum(stored) {
            *stored = values;
            continue;
        }
        for value in values {
            if !stored.contains(&value) {
                stored.push(value);
            }
        }
    }
}

/// Adds the values of `added` to those of `claims`, booleans too: an overview of rules that hold
/// side by side, not a rule.
pub fn union_claims(claims: &mut Claims, added: Claims) {
    for (name, values) in added {
        let stored = claims.entry(name).or_default();
        for value in values {
            if !stored.contains(&value) {
                stored.push(value);
            }
        }
    }
}

/// Takes the values of `removed` out of `claims`; a claim goes with its last value, a boolean
/// claim always. What is not there is passed over.
pub fn remove_claims(claims: &mut Claims, removed: &Claims) {
    for (name, values) in removed {
        let Some(stored) = claims.get_mut(name) else {
            continue;
        };
        if is_boolean_claim(stored) {
            stored.clear();
        } else {
            stored.retain(|value| !values.contains(value));
        }
        if stored.is_empty() {
            claims.remove(name);
        }
    }
}

/// Checks that everything in `removed` is there, so that a proposal to remove it is about something.
///
/// # Errors
///
/// [`InvalidClaims::Absent`] or [`InvalidClaims::ValueAbsent`], first in name order.
pub fn check_removal(claims: &Claims, removed: &Claims) -> Result<(), InvalidClaims> {
    for (name, values) in removed {
        let stored = claims
            .get(name)
            .ok_or_else(|| InvalidClaims::Absent(name.clone()))?;
        if is_boolean_claim(stored) {
            continue;
        }
        if let Some(missing) = values.iter().find(|value| !stored.contains(value)) {
            return Err(InvalidClaims::ValueAbsent {
                name: name.clone(),
                value: quoted(missing),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACI: PolicyType = PolicyType::Evidence(Platform::SnpCaci);
    const CVM: PolicyType = PolicyType::Evidence(Platform::SnpCvm);
    const VIRTUAL: PolicyType = PolicyType::Evidence(Platform::Virtual);
    use serde_json::json;

    fn parse(policy_type: PolicyType, json: JsonValue) -> Result<Claims, InvalidClaims> {
        parse_claims(policy_type, &serde_json::from_value(json).unwrap())
    }

    fn claims(json: JsonValue) -> Claims {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn names_belong_to_one_type() {
        let host_data = json!({HOST_DATA_CLAIM: "ab".repeat(32)});
        assert!(parse(CACI, host_data.clone()).is_ok());
        assert!(parse(VIRTUAL, host_data.clone()).is_ok());
        for other in [CVM, PolicyType::Jwt] {
            assert!(matches!(
                parse(other, host_data.clone()),
                Err(InvalidClaims::Name { .. })
            ));
        }
        for inherited in ["toString", "constructor", "pcr24", "pcr00", "x-ms-sevsnpvm-"] {
            for kind in PolicyType::ALL {
                assert!(
                    parse(kind, json!({inherited: "x"})).is_err(),
                    "{inherited} {kind:?}"
                );
            }
        }
    }

    #[test]
    fn a_claim_that_no_verifier_produces_cannot_be_voted() {
        for name in [
            "x-ms-attestation-type",
            "x-ms-compliance-status",
            "x-ms-policy-hash",
            "vm-configuration-secure-boot",
            "vm-configuration-vmUniqueId",
            "x-ms-sevsnpvm-migration-allowed",
        ] {
            for value in [json!("x"), json!(true)] {
                assert!(
                    matches!(
                        parse(CACI, json!({ name: value })),
                        Err(InvalidClaims::Name { .. })
                    ),
                    "{name}"
                );
            }
        }
        // What a machine's registers and configuration say, its report does not.
        let digest = json!({"x-ms-sevsnpvm-launchmeasurement": "ab".repeat(48)});
        assert!(parse(CVM, digest).is_err());
        assert!(parse(CVM, json!({"uvm_endorsements-svn": 1})).is_err());
    }

    #[test]
    fn a_security_version_is_a_number_or_a_minimum_alone() {
        let kinds = [CACI, CVM];
        for (kind, rest) in kinds.iter().flat_map(|kind| {
            ["bootloader", "committed-fmc", "microcode", "snpfw", "tee"].map(|rest| (*kind, rest))
        }) {
            let name = format!("x-ms-sevsnpvm-{rest}-svn");
            for good in [
                json!(0),
                json!([1, 2]),
                json!({"min": 3}),
                json!([{"min": u64::MAX}]),
            ] {
                assert!(parse(kind, json!({ &name: good })).is_ok(), "{name} {good}");
            }
            for bad in [
                json!("3"),
                json!(-1),
                json!({"min": -1}),
                json!({"min": "3"}),
                json!({"max": 3}),
                json!({"min": 1, "max": 3}),
                json!({}),
                json!([{"min": 3}, 5]),
                json!([{"min": 3}, {"min": 4}]),
            ] {
                assert!(parse(kind, json!({ &name: bad })).is_err(), "{name} {bad}");
            }
        }
        assert!(parse(CACI, json!({"uvm_endorsements-svn": {"min": 100}})).is_ok());
        assert!(parse(CACI, json!({"x-ms-sevsnpvm-vmpl": {"min": 0}})).is_err());
    }

    #[test]
    fn a_minimum_accepts_itself_and_more() {
        let min = [json!({"min": 24})];
        for (got, accepted) in [
            (json!(23), false),
            (json!(24), true),
            (json!(25), true),
            (json!("24"), false),
            (json!({"min": 24}), false),
            (json!(true), false),
        ] {
            assert_eq!(accepts(&min, &got), accepted, "{got}");
        }
        assert!(accepts(&[json!(1), json!(2)], &json!(2)));
        assert!(
            !accepts(&[json!(1), json!(3)], &json!(2)),
            "a plain number means equality"
        );
    }

    #[test]
    fn a_raised_floor_is_raised() {
        let mut policy = claims(json!({"svn": [{"min": 3}]}));
        add_claims(&mut policy, claims(json!({"svn": [{"min": 7}]})));
        assert_eq!(policy, claims(json!({"svn": [{"min": 7}]})));
        // Numbers do not join a minimum either, nor it them.
        add_claims(&mut policy, claims(json!({"svn": [9]})));
        assert_eq!(policy, claims(json!({"svn": [9]})));
        add_claims(&mut policy, claims(json!({"svn": [{"min": 8}]})));
        assert_eq!(policy, claims(json!({"svn": [{"min": 8}]})));
        remove_claims(&mut policy, &claims(json!({"svn": [{"min": 7}]})));
        assert_eq!(policy, claims(json!({"svn": [{"min": 8}]})), "another minimum");
        remove_claims(&mut policy, &claims(json!({"svn": [{"min": 8}]})));
        assert!(policy.is_empty());
    }

    #[test]
    fn values_have_the_claims_own_type() {
        let bad = [
            ("x-ms-sevsnpvm-is-debuggable", json!("false")),
            ("x-ms-sevsnpvm-is-debuggable", json!([true, false])),
            ("x-ms-sevsnpvm-vmpl", json!("0")),
            ("x-ms-sevsnpvm-vmpl", json!(-1)),
            ("x-ms-sevsnpvm-vmpl", json!(0.5)),
            ("x-ms-ver", json!(3)),
            (HOST_DATA_CLAIM, json!("AB".repeat(32))),
            (HOST_DATA_CLAIM, json!("ab".repeat(31))),
            (HOST_DATA_CLAIM, json!([])),
            (HOST_DATA_CLAIM, json!([["ab".repeat(32)]])),
            (HOST_DATA_CLAIM, json!(null)),
        ];
        for (name, value) in bad {
            assert!(parse(CACI, json!({name: value})).is_err(), "{name}: {value}");
        }
        assert!(parse(CVM, json!({"pcr23": model::b64::encode(&[0; 32])})).is_ok());
        assert!(parse(CVM, json!({"pcr0": "00"})).is_err());
    }

    #[test]
    fn adding_unions_and_a_boolean_replaces() {
        let mut policy = claims(json!({"a": ["1"], "b": [true]}));
        add_claims(&mut policy, claims(json!({"a": ["1", "2"], "b": [false]})));
        assert_eq!(policy, claims(json!({"a": ["1", "2"], "b": [false]})));
    }

    #[test]
    fn a_union_shows_both_booleans() {
        let mut union = claims(json!({"a": ["1"], "b": [true]}));
        union_claims(&mut union, claims(json!({"a": ["1", "2"], "b": [false]})));
        assert_eq!(union, claims(json!({"a": ["1", "2"], "b": [true, false]})));
    }

    #[test]
    fn a_machines_configuration_can_be_required_of_machines_only() {
        let flags = ["secure-boot", "tpm-enabled", "tpm-persisted", "console-enabled"];
        for (names, good, bad) in [
            (&flags[..], json!(true), json!("true")),
            (&["vmUniqueId", "root-cert-thumbprint"][..], json!("x"), json!("")),
        ] {
            for name in names {
                let name = format!("vm-configuration-{name}");
                assert!(parse(CVM, json!({ &name: good })).is_ok(), "{name}");
                assert!(parse(CVM, json!({ &name: bad })).is_err(), "{name}");
                assert!(parse(VIRTUAL, json!({ &name: good })).is_err(), "{name}");
            }
        }
        assert!(parse(CVM, json!({"vm-configuration-current-time": 1})).is_err());
        for absent in ["tpm-persisted", "console-enabled", "root-cert-thumbprint"] {
            let name = format!("vm-configuration-{absent}");
            assert!(parse(CACI, json!({ name: true })).is_err(), "{absent}");
        }
    }

    #[test]
    fn removing_takes_a_claim_with_its_last_value() {
        let mut policy = claims(json!({"a": ["1", "2"], "b": [true], "c": ["3"]}));
        let removed = claims(json!({"a": ["1"], "b": [false], "c": ["3"]}));
        assert_eq!(check_removal(&policy, &removed), Ok(()));
        remove_claims(&mut policy, &removed);
        assert_eq!(policy, claims(json!({"a": ["2"]})));
    }

    #[test]
    fn removing_what_is_not_there_is_a_fault_of_the_proposal_and_harmless_later() {
        let mut policy = claims(json!({"a": ["1"]}));
        assert!(matches!(
            check_removal(&policy, &claims(json!({"b": ["1"]}))),
            Err(InvalidClaims::Absent(_))
        ));
        let absent = claims(json!({"a": ["9"]}));
        assert!(matches!(
            check_removal(&policy, &absent),
            Err(InvalidClaims::ValueAbsent { .. })
        ));
        remove_claims(&mut policy, &absent);
        assert_eq!(policy, claims(json!({"a": ["1"]})));
    }
}
