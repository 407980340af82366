//! Clean-room policies: which workloads a contract admits (decisions 16, 17, 21, 25).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

/// What kind of claims an alternative constrains.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum PolicyType {
    /// Claims of an SNP report of a container group.
    #[default]
    #[serde(rename = "snp-caci")]
    SnpCaci,
    /// Claims of a confidential VM behind a vTPM.
    #[serde(rename = "snp-cvm")]
    SnpCvm,
    /// Claims of unsigned development evidence.
    #[serde(rename = "virtual")]
    Virtual,
    /// Claims of a token; event writers only.
    #[serde(rename = "jwt")]
    Jwt,
}

impl PolicyType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::SnpCaci, Self::SnpCvm, Self::Virtual, Self::Jwt];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SnpCaci => "snp-caci",
            Self::SnpCvm => "snp-cvm",
            Self::Virtual => "virtual",
            Self::Jwt => "jwt",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What a workload admitted by an alternative may do. Absent: everything, as in the reference.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadRole {
    /// Admits runs, reads accepted documents, writes events, sets delegates. Never gets secrets
    /// or tokens.
    Launcher,
    /// Gets what its run record lists, and nothing else.
    Pod,
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
    pub role: Option<WorkloadRole>,
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
