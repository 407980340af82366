//! Whether verified claims satisfy a policy: every constrained claim must be present with one of
//! its accepted values, exactly, or reach its minimum. A policy without claims admits nobody.
//!
//! Source: `attestation-secrets-oidc.md` §1.6, §1.10; decisions 8, 17, 23.

use cleanroom_model::claims::accepts;
use cleanroom_model::policy::{ALLOW_ALL_HOST_DATA, Claims, PolicyType};
use model::evidence::Platform;
use serde_json::{Value as JsonValue, json};

use crate::host_services::VerifiedEvidence;

/// Claim that carries the digest of what was launched with a container group.
pub(crate) const HOST_DATA: &str = "x-ms-sevsnpvm-hostdata";
/// Claim that carries the processor's identity.
pub(crate) const CHIP_ID: &str = "x-ms-sevsnpvm-chip-id";
const VMPL: &str = "x-ms-sevsnpvm-vmpl";
const LAUNCH_MEASUREMENT: &str = "x-ms-sevsnpvm-launchmeasurement";

/// What a policy asks for.
pub(crate) struct Rule<'a> {
    /// Its name in verdicts.
    pub(crate) name: String,
    pub(crate) policy_type: PolicyType,
    pub(crate) claims: &'a Claims,
    /// Evidence without a nonce will do.
    pub(crate) allow_static: bool,
}

/// What is held against it.
pub(crate) struct Presented<'a> {
    pub(crate) evidence: &'a VerifiedEvidence,
    pub(crate) is_static: bool,
    pub(crate) insecure_virtual: bool,
}

/// A claim that stands in the way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mismatch {
    code: &'static str,
    claim: String,
    expected: Vec<JsonValue>,
    got: Option<JsonValue>,
    alternative: String,
}

impl Mismatch {
    /// Evidence of a type that no alternative is about.
    pub(crate) fn of_type(presented: PolicyType, in_policy: impl Iterator<Item = PolicyType>) -> Self {
        let mut expected: Vec<JsonValue> = Vec::new();
        for policy_type in in_policy.map(|policy_type| json!(policy_type)) {
            if !expected.contains(&policy_type) {
                expected.push(policy_type);
            }
        }
        Self {
            code: "ClaimMissing",
            claim: "policyType".to_owned(),
            expected,
            got: Some(json!(presented)),
            alternative: String::new(),
        }
    }

    /// A claim that is not what it must be, by a rule that no alternative has.
    pub(crate) fn of_claim(
        rule: &str,
        claim: &str,
        expected: Vec<JsonValue>,
        got: Option<JsonValue>,
    ) -> Self {
        Self {
            code: if got.is_some() {
                "ClaimRejected"
            } else {
                "ClaimMissing"
            },
            claim: claim.to_owned(),
            expected,
            got,
            alternative: rule.to_owned(),
        }
    }

    /// As it goes into `error.details` and the event.
    pub(crate) fn detail(&self) -> JsonValue {
        json!({
            "code": self.code, "claim": self.claim, "expected": self.expected,
            "got": self.got, "alternative": self.alternative,
        })
    }
}

/// Every claim that stands in the way, in name order, host data first: it says who is asking.
pub(crate) fn mismatches(rule: &Rule<'_>, presented: &Presented<'_>) -> Vec<Mismatch> {
    let evidence = presented.evidence;
    let mut found = claim_mismatches(&rule.name, rule.claims, |name| evidence.claims.get(name));
    let mut add = |code, claim: &str, expected: Vec<JsonValue>| {
        found.push(Mismatch {
            code,
            claim: claim.to_owned(),
            expected,
            got: evidence.claims.get(claim).cloned(),
            alternative: rule.name.clone(),
        });
    };
    let host_data = evidence
        .claims
        .get(HOST_DATA)
        .and_then(JsonValue::as_str)
        .unwrap_or_default();
    if ALLOW_ALL_HOST_DATA.contains(&host_data) && !(presented.insecure_virtual && rule.allow_static) {
        add("ClaimRejected", HOST_DATA, Vec::new());
    }
    let pinned = rule.claims.contains_key(LAUNCH_MEASUREMENT);
    if rule.policy_type == PolicyType::Evidence(Platform::SnpCaci) && !pinned && !evidence.uvm_endorsed {
        add(
            "ClaimMissing",
            "uvm_endorsements-svn",
            vec![json!("verified endorsements of the launch measurement")],
        );
    }
    // Code at a lower level than the guest's own shares the machine's report; who wants it says so.
    let own_level = evidence.claims.get(VMPL).and_then(JsonValue::as_u64) == Some(0);
    if rule.policy_type == PolicyType::Evidence(Platform::SnpCaci)
        && !rule.claims.contains_key(VMPL)
        && !own_level
    {
        add("ClaimRejected", VMPL, vec![json!(0)]);
    }
    if presented.is_static && !rule.allow_static {
        add("ClaimMissing", "nonce", vec![json!("a nonce of this service")]);
    }
    found.sort_by_key(|mismatch| mismatch.claim != HOST_DATA);
    found
}

/// The claims of `policy` that `get` does not satisfy. Used alone for tokens.
pub(crate) fn claim_mismatches<'a>(
    alternative: &str,
    policy: &Claims,
    get: impl Fn(&str) -> Option<&'a JsonValue>,
) -> Vec<Mismatch> {
    let mut found = Vec::new();
    for (name, accepted) in policy {
        let got = get(name);
        if got.is_some_and(|value| accepts(accepted, value)) {
            continue;
        }
        found.push(Mismatch {
            code: if got.is_some() {
                "ClaimRejected"
            } else {
                "ClaimMissing"
            },
            claim: name.clone(),
            expected: accepted.clone(),
            got: got.cloned(),
            alternative: alternative.to_owned(),
        });
    }
    if policy.is_empty() {
        found.push(Mismatch {
            code: "ClaimMissing",
            claim: String::new(),
            expected: Vec::new(),
            got: None,
            alternative: alternative.to_owned(),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(claims: JsonValue) -> VerifiedEvidence {
        VerifiedEvidence {
            report_data: vec![0; 64],
            claims: {
                let mut claims: std::collections::BTreeMap<String, JsonValue> =
                    serde_json::from_value(claims).unwrap();
                claims.entry(VMPL.to_owned()).or_insert(json!(0));
                claims
            },
            evidence_digest: model::Digest::ZERO,
            uvm_endorsed: true,
            quote_nonce: Vec::new(),
        }
    }

    #[track_caller]
    fn check(policy: JsonValue, claims: JsonValue, expected: &[&str]) {
        let policy: Claims = serde_json::from_value(policy).unwrap();
        let rule = Rule {
            name: "a".into(),
            policy_type: PolicyType::Evidence(Platform::SnpCaci),
            claims: &policy,
            allow_static: false,
        };
        let evidence = evidence(claims);
        let presented = Presented {
            evidence: &evidence,
            is_static: false,
            insecure_virtual: false,
        };
        let found: Vec<String> = mismatches(&rule, &presented)
            .iter()
            .map(|m| format!("{} {}", m.code, m.claim))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_constrained_claim_must_be_met_exactly() {
        check(
            json!({"a": [1, 2], "b": [true]}),
            json!({"a": 2, "b": true, "c": 0}),
            &[],
        );
        check(json!({"a": [1]}), json!({"a": "1"}), &["ClaimRejected a"]);
        check(json!({"a": ["ab"]}), json!({"a": "AB"}), &["ClaimRejected a"]);
        check(
            json!({"a": [1], "b": [2]}),
            json!({"a": 3}),
            &["ClaimRejected a", "ClaimMissing b"],
        );
    }

    #[test]
    fn host_data_is_named_first() {
        let claims = json!({"a": 2, HOST_DATA: "aa"});
        check(
            json!({"a": [1], HOST_DATA: ["bb"]}),
            claims,
            &["ClaimRejected x-ms-sevsnpvm-hostdata", "ClaimRejected a"],
        );
    }

    #[test]
    fn a_container_group_matches_its_own_level_unless_another_is_named() {
        for level in [1, 2, 3] {
            check(
                json!({"a": [1]}),
                json!({"a": 1, VMPL: level}),
                &["ClaimRejected x-ms-sevsnpvm-vmpl"],
            );
            check(
                json!({"a": [1], VMPL: [level]}),
                json!({"a": 1, VMPL: level}),
                &[],
            );
        }
        check(
            json!({"a": [1], VMPL: [1]}),
            json!({"a": 1}),
            &["ClaimRejected x-ms-sevsnpvm-vmpl"],
        );
    }

    #[test]
    fn a_minimum_is_met_at_n_and_not_at_n_minus_one() {
        for (svn, found) in [(23, &["ClaimRejected a"][..]), (24, &[]), (25, &[])] {
            check(json!({"a": [{"min": 24}]}), json!({"a": svn}), found);
        }
    }

    #[test]
    fn a_policy_without_claims_admits_nobody() {
        check(json!({}), json!({"a": 1}), &["ClaimMissing "]);
    }

    #[test]
    fn public_allow_all_host_data_needs_the_flag_and_a_static_alternative() {
        let policy: Claims = serde_json::from_value(json!({HOST_DATA: [ALLOW_ALL_HOST_DATA[0]]})).unwrap();
        let evidence = evidence(json!({HOST_DATA: ALLOW_ALL_HOST_DATA[0]}));
        for (allow_static, insecure_virtual, admitted) in
            [(true, true, true), (true, false, false), (false, true, false)]
        {
            let rule = Rule {
                name: "a".into(),
                policy_type: PolicyType::Evidence(Platform::SnpCaci),
                claims: &policy,
                allow_static,
            };
            let presented = Presented {
                evidence: &evidence,
                is_static: allow_static,
                insecure_virtual,
            };
            assert_eq!(mismatches(&rule, &presented).is_empty(), admitted);
        }
    }

    #[test]
    fn a_caci_alternative_needs_a_measurement_or_endorsements() {
        let policy: Claims = serde_json::from_value(json!({"a": [1]})).unwrap();
        let mut evidence = evidence(json!({"a": 1}));
        evidence.uvm_endorsed = false;
        let presented = Presented {
            evidence: &evidence,
            is_static: false,
            insecure_virtual: false,
        };
        let rule = |policy_type| Rule {
            name: "a".into(),
            policy_type,
            claims: &policy,
            allow_static: false,
        };
        assert_eq!(
            mismatches(&rule(PolicyType::Evidence(Platform::SnpCaci)), &presented).len(),
            1
        );
        assert!(mismatches(&rule(PolicyType::Evidence(Platform::SnpCvm)), &presented).is_empty());
    }
}
