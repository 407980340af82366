//! Evidence as it travels (`attestation-secrets-oidc.md` §1.1): platform, what the workload is for,
//! and keys.

use serde::{Deserialize, Serialize};

/// Platforms on the wire.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Platform {
    /// AMD SEV-SNP report of a container group.
    #[default]
    #[serde(rename = "snp-caci")]
    SnpCaci,
    /// AMD SEV-SNP confidential VM behind a vTPM.
    #[serde(rename = "snp-cvm")]
    SnpCvm,
    /// Unsigned; only on a node started with `--insecure-virtual`.
    #[serde(rename = "virtual")]
    Virtual,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 3] = [Self::SnpCaci, Self::SnpCvm, Self::Virtual];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SnpCaci => "snp-caci",
            Self::SnpCvm => "snp-cvm",
            Self::Virtual => "virtual",
        }
    }

    /// The platform of this name; the empty name is the default.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name.is_empty() {
            return Some(Self::default());
        }
        Self::ALL.into_iter().find(|platform| platform.as_str() == name)
    }
}

/// What an attested workload may do. Where none is said: everything, as in the reference.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Admits runs, reads accepted documents, writes events, sets delegates. Never gets secrets
    /// or tokens.
    Launcher,
    /// Carries out one run; gets what its record lists, and nothing else.
    Pod,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 2] = [Self::Launcher, Self::Pod];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launcher => "launcher",
            Self::Pod => "pod",
        }
    }
}

/// The recipient of a wrapped answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EncryptTo {
    /// Base64 of the PEM text of an RSA public key.
    #[serde(rename = "publicKey")]
    pub public_key: String,
}

/// A payload signature.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SignedBy {
    /// Base64 of the PEM text of an RSA public key.
    #[serde(rename = "publicKey")]
    pub public_key: String,
    /// Base64 RSA-PSS (SHA-256, salt 32).
    pub signature: String,
}
