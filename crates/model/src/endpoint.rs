//! How endpoints describe themselves. The application's list is the component's own.

use serde::{Deserialize, Serialize};

/// HTTP method of an endpoint.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET
    Get,
    /// PUT
    Put,
    /// POST
    Post,
    /// DELETE
    Delete,
}

impl Method {
    /// The method's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    /// The method of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Get, Self::Put, Self::Post, Self::Delete]
            .into_iter()
            .find(|m| m.as_str() == name)
    }
}

/// Whether an endpoint may change the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Answers from a snapshot of the last signed state.
    Query,
    /// Runs on the writer.
    Update,
}

/// How a caller may show who it is. An endpoint lists the kinds it takes, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallerKind {
    /// Certificate in `members.certs`.
    Member,
    /// Certificate in `users.certs`.
    User,
    /// Bearer token of a registered issuer.
    Jwt,
    /// Nobody in particular: public, or evidence in the body.
    Anonymous,
}

impl CallerKind {
    /// The policy's name in endpoint metadata.
    #[must_use]
    pub const fn policy(self) -> &'static str {
        match self {
            Self::Member => "member_cert",
            Self::User => "user_cert",
            Self::Jwt => "jwt",
            Self::Anonymous => "no_auth",
        }
    }

    /// The kind whose policy has this name.
    #[must_use]
    pub fn from_policy(name: &str) -> Option<Self> {
        [Self::Member, Self::User, Self::Jwt, Self::Anonymous]
            .into_iter()
            .find(|kind| kind.policy() == name)
    }
}

/// Largest body of an endpoint that takes evidence, in bytes: strangers may send one, and evidence with its
/// certificates has some tens of kilobytes.
pub const EVIDENCE_BODY_BYTES_MAX: u32 = 384 * 1024;

/// One row of an endpoint table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spec {
    /// HTTP method.
    pub method: Method,
    /// Path below the application root; `{name}` stands for one segment.
    pub path: &'static str,
    /// Query or update.
    pub mode: Mode,
    /// Who may call; tried in this order.
    pub callers: &'static [CallerKind],
    /// Runs first as a discarded pass on a snapshot, so that verdicts on evidence, signature
    /// checks and fresh RSA keys are ready when the writer runs it.
    pub prepare: bool,
}

impl Spec {
    /// Whether callers may prove themselves by evidence: prepared, and open to nobody in particular.
    #[must_use]
    pub fn takes_evidence(&self) -> bool {
        self.prepare && self.callers.contains(&CallerKind::Anonymous)
    }
}
