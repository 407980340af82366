//! Which claims a policy may name, which values they may take, and how sets of them are joined
//! and taken apart (`governance-api.md` §11.2 and §14, `attestation-secrets-oidc.md` §1.6).
//!
//! Used for contract policies by the constitution and for delegates by the application.

use std::collections::BTreeMap;

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
    /// Anything but an object, a list or null. For names that no verifier produces: a policy with
    /// one matches nobody, so the value does not matter.
    Scalar,
}

const SNP_PREFIX: &str = "x-ms-sevsnpvm-";

/// Claim names after [`SNP_PREFIX`].
const SNP_CLAIMS: &[(&str, Shape)] = &[
    ("authorkeydigest", Shape::Hex(48)),
    ("bootloader-svn", Shape::Scalar),
    ("familyId", Shape::Hex(16)),
    ("guestsvn", Shape::Number),
    ("hostdata", Shape::Hex(32)),
    ("idkeydigest", Shape::Hex(48)),
    ("imageId", Shape::Hex(16)),
    ("is-debuggable", Shape::Bool),
    ("launchmeasurement", Shape::Hex(48)),
    ("microcode-svn", Shape::Scalar),
    ("migration-allowed", Shape::Scalar),
    ("reportdata", Shape::Hex(64)),
    ("reportid", Shape::Hex(32)),
    ("smt-allowed", Shape::Bool),
    ("snpfw-svn", Shape::Scalar),
    ("tee-svn", Shape::Scalar),
    ("vmpl", Shape::Number),
];

/// Other names of a container group's policy. All but the last are never produced.
const CACI_CLAIMS: &[(&str, Shape)] = &[
    ("vm-configuration-secure-boot", Shape::Scalar),
    ("vm-configuration-secure-boot-template-id", Shape::Scalar),
    ("vm-configuration-tpm-enabled", Shape::Scalar),
    ("vm-configuration-vmUniqueId", Shape::Scalar),
    ("x-ms-attestation-type", Shape::Scalar),
    ("x-ms-compliance-status", Shape::Scalar),
    ("x-ms-policy-hash", Shape::Scalar),
    ("x-ms-ver", Shape::Text),
];

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
        PolicyType::SnpCaci => match name.strip_prefix(SNP_PREFIX) {
            Some(rest) => find(SNP_CLAIMS, rest),
            None => find(CACI_CLAIMS, name),
        },
        PolicyType::Virtual => find(VIRTUAL_CLAIMS, name.strip_prefix(SNP_PREFIX)?),
        PolicyType::SnpCvm => match name.strip_prefix(MACHINE_PREFIX) {
            Some(rest) => find(MACHINE_CLAIMS, rest),
            None => (0..REGISTER_COUNT)
                .any(|n| format!("pcr{n}") == name)
                .then_some(Shape::Register),
        },
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
            Self::Scalar => value.is_boolean() || value.is_number() || value.is_string(),
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
            Self::Scalar => "a text, a number or a boolean".into(),
        }
    }
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
        claims.insert(name.clone(), distinct);
    }
    Ok(claims)
}

fn is_boolean_claim(values: &[JsonValue]) -> bool {
    values.first().is_some_and(JsonValue::is_boolean)
}

/// Adds the values of `added` to those of `claims`. A boolean replaces what was there: both values
/// together would constrain nothing.
pub fn add_claims(claims: &mut Claims, added: Claims) {
    for (name, values) in added {
        let stored = claims.entry(name).or_default();
        if is_boolean_claim(&values) {
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
        assert!(parse(PolicyType::SnpCaci, host_data.clone()).is_ok());
        assert!(parse(PolicyType::Virtual, host_data.clone()).is_ok());
        for other in [PolicyType::SnpCvm, PolicyType::Jwt] {
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
    fn never_produced_names_are_accepted_with_any_scalar() {
        let names: Vec<&str> = CACI_CLAIMS
            .iter()
            .filter(|(_, s)| *s == Shape::Scalar)
            .map(|(n, _)| *n)
            .collect();
        assert_eq!(names.len(), 7);
        for name in names {
            assert!(parse(PolicyType::SnpCaci, json!({name: "x"})).is_ok());
            assert!(parse(PolicyType::SnpCaci, json!({name: {}})).is_err());
        }
        assert_eq!(
            CACI_CLAIMS.len() + SNP_CLAIMS.len(),
            25,
            "the reference has 25 names"
        );
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
            assert!(
                parse(PolicyType::SnpCaci, json!({name: value})).is_err(),
                "{name}: {value}"
            );
        }
        assert!(parse(PolicyType::SnpCvm, json!({"pcr23": model::b64::encode(&[0; 32])})).is_ok());
        assert!(parse(PolicyType::SnpCvm, json!({"pcr0": "00"})).is_err());
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
                assert!(
                    parse(PolicyType::SnpCvm, json!({ &name: good })).is_ok(),
                    "{name}"
                );
                assert!(
                    parse(PolicyType::SnpCvm, json!({ &name: bad })).is_err(),
                    "{name}"
                );
                assert!(
                    parse(PolicyType::Virtual, json!({ &name: good })).is_err(),
                    "{name}"
                );
            }
        }
        assert!(parse(PolicyType::SnpCvm, json!({"vm-configuration-current-time": 1})).is_err());
        for absent in ["tpm-persisted", "console-enabled", "root-cert-thumbprint"] {
            let name = format!("vm-configuration-{absent}");
            assert!(
                parse(PolicyType::SnpCaci, json!({ name: true })).is_err(),
                "{absent}"
            );
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
