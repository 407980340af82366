//! Clean-room policies: which workloads a contract admits (decisions 16, 17, 21, 25).

use std::collections::BTreeMap;

use model::evidence::{Platform, Role};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as JsonValue;

/// What kind of claims an alternative constrains.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PolicyType {
    /// Claims of evidence of this platform.
    Evidence(Platform),
    /// Claims of a token; event writers only.
    Jwt,
}

/// Evidence of the default platform.
impl Default for PolicyType {
    fn default() -> Self {
        Self::Evidence(Platform::default())
    }
}

impl PolicyType {
    /// Every type.
    pub const ALL: [Self; 4] = [
        Self::Evidence(Platform::SnpCaci),
        Self::Evidence(Platform::SnpCvm),
        Self::Evidence(Platform::Virtual),
        Self::Jwt,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evidence(platform) => platform.as_str(),
            Self::Jwt => "jwt",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Serialize for PolicyType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for PolicyType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[&str] = &["snp-caci", "snp-cvm", "virtual", "jwt"];
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| D::Error::unknown_variant(&name, NAMES))
    }
}

/// A token subject and the audiences it may be issued for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenGrant {
    /// Allowed `sub`.
    pub sub: String,
    /// Allowed `aud` values.
    pub aud: Vec<String>,
    /// The tenant in whose address the shared issuer signs; absent: its own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<String>,
}

/// A [`TokenGrant`] that passed a vote. Tenants set their addresses alone, so the one that counts
/// is the one that voters saw.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VotedGrant {
    /// Allowed `sub`.
    pub sub: String,
    /// Allowed `aud` values.
    pub aud: Vec<String>,
    /// The tenant, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<String>,
    /// The tenant's issuer address when the grant was applied; present with `tid` and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
}

impl VotedGrant {
    /// Whether it is about this subject and audience, whatever the tenant.
    #[must_use]
    pub fn covers(&self, sub: &str, aud: &str) -> bool {
        self.sub == sub && self.aud.iter().any(|known| known == aud)
    }
}

impl From<VotedGrant> for TokenGrant {
    fn from(voted: VotedGrant) -> Self {
        Self {
            sub: voted.sub,
            aud: voted.aud,
            tid: voted.tid,
        }
    }
}

/// Claim name to the values accepted for it. Never empty in an alternative that admits anybody.
pub type Claims = BTreeMap<String, Vec<JsonValue>>;

/// One way to satisfy a contract's policy; it must be satisfied completely.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyAlternative {
    /// Claims, all of which must be met.
    pub claims: Claims,
    /// What the workload may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Accept evidence without a service nonce.
    #[serde(default)]
    pub allow_static_evidence: bool,
    /// Launchers may let other host data in, for one run, on all its other claims. Role `pod` only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delegable: bool,
    /// Subjects that workloads of this alternative may get tokens for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<VotedGrant>,
}

/// Id of the alternative that is meant when none is named.
pub const DEFAULT_ALTERNATIVE: &str = "default";

/// Host data of the two public allow-all policies (attestation-secrets-oidc.md §1.10). Evidence
/// with them is published with its private keys; refused unless the node is `--insecure-virtual`
/// and the alternative allows static evidence.
pub const ALLOW_ALL_HOST_DATA: [&str; 2] = [
    "73973b78d70cc68353426de188db5dfc57e5b766e399935fb73a61127ea26d20",
    "7ec5120f0f497e22b18e59ed702ed82e2732562245c9a944f54cd41db4f491af",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_one_name_on_the_wire_and_no_other_is_read() {
        for kind in PolicyType::ALL {
            let text = format!("\"{}\"", kind.as_str());
            assert_eq!(serde_json::to_string(&kind).unwrap(), text);
            assert_eq!(serde_json::from_str::<PolicyType>(&text).unwrap(), kind);
        }
        let names = PolicyType::ALL.map(PolicyType::as_str);
        assert_eq!(names, ["snp-caci", "snp-cvm", "virtual", "jwt"]);
        let unknown = serde_json::from_str::<PolicyType>("\"SnpCaci\"")
            .unwrap_err()
            .to_string();
        assert!(
            unknown.contains("expected one of `snp-caci`, `snp-cvm`, `virtual`, `jwt`"),
            "{unknown}"
        );
        // Absent names the default platform, an empty text nothing.
        assert!(serde_json::from_str::<PolicyType>("\"\"").is_err());
    }
}
