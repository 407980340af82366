//! A governance message whose signature has been verified.
//!
//! The only way to a [`MemberRequest`] is [`MemberRequest::verify`], so nothing unverified can
//! reach the proposals. It runs on reader threads; since members may change before the writer
//! takes the request up, [`MemberRequest::recheck`] repeats what depends on the state.
//!
//! Source: `ledger-host.md` §3.2.

use crypto::cose::{Label, Sign1, Sign1Head};
use crypto::ecdsa::twin;
use crypto::native::MSG_SERVICE;
use crypto::x509::Certificate;
use crypto::{VerifySignature, sha256};
use kv::{Raw, Read, Singleton};
use model::member::MemberStatus;
use model::proposal::only_resets_service_time;
use model::tables::{MEMBER_CERTS, MEMBER_INFO, PROPOSALS, SERVICE_INFO};
use model::{Digest, FrameworkError, MemberId, ProposalId};
use serde_json::json;

use crate::reply::Reply;
use crate::time::{SKEW_SECONDS_MAX, ServiceTime};

/// Largest body of a signed request, in bytes (decision 31).
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a signed request asks for; the message type under the signature must say the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageType {
    /// Submit a proposal.
    Proposal,
    /// Vote on one.
    Ballot,
    /// Take one back.
    Withdrawal,
    /// Ask for a fresh state digest.
    StateDigest,
    /// Acknowledge a state digest.
    Ack,
}

impl MessageType {
    /// The text in the protected header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposal => "proposal",
            Self::Ballot => "ballot",
            Self::Withdrawal => "withdrawal",
            Self::StateDigest => "state_digest",
            Self::Ack => "ack",
        }
    }

    /// Whether only active members may send it.
    #[must_use]
    pub const fn needs_active(self) -> bool {
        match self {
            Self::Proposal | Self::Ballot | Self::Withdrawal => true,
            Self::StateDigest | Self::Ack => false,
        }
    }

    /// Whether it names a proposal.
    const fn names_proposal(self) -> bool {
        matches!(self, Self::Ballot | Self::Withdrawal)
    }
}

/// Why a governance message is not a member's request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuthError {
    /// The body is not a tagged COSE_Sign1 with an embedded payload, or a header is missing.
    #[error("the signed message cannot be used: {0}")]
    Malformed(String),
    /// `kid` is no member's id.
    #[error("signer is not a known member")]
    UnknownSigner,
    /// The member's certificate has expired or is not valid yet.
    #[error("the signer's certificate is not valid at this time")]
    CertificateExpired,
    /// The signature is not the member's.
    #[error("signature does not verify under the signer's certificate: {0}")]
    Signature(String),
    /// The message type belongs to another endpoint.
    #[error("message type is {got:?}, this endpoint takes {expected:?}")]
    Type {
        /// What the endpoint takes.
        expected: &'static str,
        /// What the message says.
        got: String,
    },
    /// The signer has not acknowledged a state digest yet, or was removed.
    #[error("signer is not an active member")]
    NotActive,
    /// It was signed for another service.
    #[error("the message names another service than this one")]
    OtherService,
    /// It says that it was signed in the future. Taken in, it would be the latest of its signer's
    /// for as long as that lasts.
    #[error(
        "created_at {created_at} is more than {SKEW_SECONDS_MAX} seconds ahead of the service's time, {now}"
    )]
    CreatedAhead {
        /// What the message says, Unix seconds.
        created_at: u64,
        /// Service time, Unix seconds.
        now: u64,
    },
    /// The signed proposal id is not the one in the path.
    #[error("the signed proposal id differs from the one in the path")]
    OtherProposal,
    /// The state does not decode; a bug or corruption.
    #[error("the service's state cannot be read: {0}")]
    State(String),
}

impl AuthError {
    /// The answer to the caller.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let text = self.to_string();
        match self {
            Self::OtherProposal => Reply::error(FrameworkError::InvalidResourceName, text),
            Self::CreatedAhead { .. } => Reply::error(FrameworkError::InvalidCreatedAt, text),
            Self::State(_) => Reply::error(FrameworkError::InternalError, "the request failed"),
            Self::OtherService => unauthenticated("OtherService", &text),
            _ => unauthenticated(FrameworkError::InvalidAuthenticationInfo.code(), &text),
        }
    }
}

/// 401 for a signed message, as `ledger-host.md` §3.2 shapes it; `code` says more in the details.
fn unauthenticated(code: &str, reason: &str) -> Reply {
    let error = FrameworkError::InvalidAuthenticationInfo;
    let detail = json!({"auth_policy": "member_cose_sign1", "code": code, "message": reason});
    Reply::error_with(error, "Invalid authentication credentials.", vec![detail])
        .with_header("www-authenticate", "COSE-SIGN1 realm=\"Signed request access\"")
}

/// Headers that are read of a member's message, which it may therefore call critical.
const UNDERSTOOD: &[Label<'static>] = &[
    Label::Text(MSG_SERVICE),
    Label::Text("ccf.gov.msg.type"),
    Label::Text("ccf.gov.msg.created_at"),
    Label::Text("ccf.gov.msg.proposal_id"),
];

/// A member's verified request.
#[derive(Clone, Debug)]
pub struct MemberRequest {
    kind: MessageType,
    signer: MemberId,
    created_at: u64,
    judged_at: ServiceTime,
    proposal: Option<ProposalId>,
    payload: Vec<u8>,
    envelope: Vec<u8>,
    signature_digest: Digest,
    twin_digest: Digest,
}

impl MemberRequest {
    /// Verifies a signed message against the members in `state`.
    ///
    /// `path_proposal` is the proposal in the request's path, for ballots and withdrawals.
    ///
    /// # Errors
    ///
    /// [`AuthError`]; its [`AuthError::reply`] is the answer.
    pub fn verify(
        state: &(impl Read + ?Sized),
        body: &[u8],
        expected: MessageType,
        path_proposal: Option<&ProposalId>,
        verifier: &dyn VerifySignature,
        time: ServiceTime,
    ) -> Result<Self, AuthError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(AuthError::Malformed("it is larger than 8 MiB".into()));
        }
        let message = Sign1::parse(body).map_err(|e| AuthError::Malformed(e.to_string()))?;
        let signer = signer_of(&message)?;
        let certificate = certificate_of(state, &signer)?;
        if !certificate.valid_at(time.seconds()) {
            return Err(AuthError::CertificateExpired);
        }
        message
            .verify(certificate.spki_der(), None, UNDERSTOOD, verifier)
            .map_err(|e| AuthError::Signature(e.to_string()))?;
        check_service(state, &message)?;
        let got = text_header(&message, "ccf.gov.msg.type")?;
        if got != expected.as_str() {
            return Err(AuthError::Type {
                expected: expected.as_str(),
                got: got.chars().take(64).collect(),
            });
        }
        let proposal = if expected.names_proposal() {
            let signed = text_header(&message, "ccf.gov.msg.proposal_id")?;
            let signed = signed.parse().map_err(|_| AuthError::OtherProposal)?;
            if path_proposal != Some(&signed) {
                return Err(AuthError::OtherProposal);
            }
            Some(signed)
        } else {
            None
        };
        let request = Self {
            kind: expected,
            signer,
            created_at: created_at_within(&message, time)?,
            judged_at: time,
            proposal,
            payload: message
                .payload()
                .ok_or_else(|| AuthError::Malformed("the payload is detached".into()))?
                .to_vec(),
            signature_digest: sha256(message.signature()),
            twin_digest: twin(certificate.key_kind(), message.signature())
                .map_or_else(|| sha256(message.signature()), |twin| sha256(&twin)),
            envelope: body.to_vec(),
        };
        request.recheck(state)?;
        Ok(request)
    }

    /// Repeats the checks that depend on the state: the signer is still a member and, where
    /// needed, active.
    ///
    /// # Errors
    ///
    /// [`AuthError::UnknownSigner`] or [`AuthError::NotActive`].
    pub fn recheck(&self, state: &(impl Read + ?Sized)) -> Result<(), AuthError> {
        if !MEMBER_CERTS.has(state, &self.signer).map_err(state_error)? {
            return Err(AuthError::UnknownSigner);
        }
        if !self.kind.needs_active() {
            return Ok(());
        }
        match MEMBER_INFO.get(state, &self.signer).map_err(state_error)? {
            Some(info) if info.0.status == MemberStatus::Active => Ok(()),
            _ => Err(AuthError::NotActive),
        }
    }

    /// What it asks for.
    #[must_use]
    pub const fn kind(&self) -> MessageType {
        self.kind
    }

    /// Who signed it. Paths that name a member must name this one.
    #[must_use]
    pub const fn signer(&self) -> MemberId {
        self.signer
    }

    /// When it says it was signed, Unix seconds.
    #[must_use]
    pub const fn created_at(&self) -> u64 {
        self.created_at
    }

    /// The service's time when it was verified.
    #[must_use]
    pub const fn judged_at(&self) -> ServiceTime {
        self.judged_at
    }

    /// Whether it does nothing but let service time go back, or votes on that: what is taken also
    /// while the node's clock and what was signed do not agree.
    #[must_use]
    pub fn resets_service_time(&self, state: &(impl Read + ?Sized)) -> bool {
        match (self.kind, &self.proposal) {
            (MessageType::Proposal, _) => only_resets_service_time(&self.payload),
            (MessageType::Ballot, Some(id)) => {
                let proposal = PROPOSALS.get(state, id);
                matches!(proposal, Ok(Some(Raw(text))) if only_resets_service_time(&text))
            }
            _ => false,
        }
    }

    /// The proposal it names, if its type names one.
    #[must_use]
    pub const fn proposal(&self) -> Option<ProposalId> {
        self.proposal
    }

    /// The signed payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The message as received.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    /// SHA-256 of the signature's bytes.
    #[must_use]
    pub const fn signature_digest(&self) -> Digest {
        self.signature_digest
    }

    /// SHA-256 of the other signature that anybody can make of this one ([`crypto::ecdsa`]): a
    /// message under it is the same message.
    #[must_use]
    pub const fn twin_digest(&self) -> Digest {
        self.twin_digest
    }
}

fn state_error(error: impl std::fmt::Display) -> AuthError {
    AuthError::State(error.to_string())
}

/// The member that `kid` names: its hex id as text.
/// Whether a message begins with the head of a COSE_Sign1 that names an active member as its signer.
/// Proves nothing: ids are public. It only tells messages apart that cannot become a member's.
#[must_use]
pub fn head_names_active_member(state: &(impl Read + ?Sized), begun: &[u8]) -> bool {
    let Ok(head) = Sign1Head::parse(begun) else {
        return false;
    };
    let Some(signer) = head.kid().and_then(|kid| id_in(kid).ok()) else {
        return false;
    };
    let active = MEMBER_INFO
        .get(state, &signer)
        .is_ok_and(|row| row.is_some_and(|row| row.0.status == MemberStatus::Active));
    active && head.alg().is_some() && MEMBER_CERTS.has(state, &signer).unwrap_or(false)
}

fn signer_of(message: &Sign1) -> Result<MemberId, AuthError> {
    let kid = message
        .kid()
        .ok_or_else(|| AuthError::Malformed("the header kid is missing".into()))?;
    id_in(kid)
}

fn id_in(kid: &[u8]) -> Result<MemberId, AuthError> {
    std::str::from_utf8(kid)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(AuthError::UnknownSigner)
}

fn certificate_of(state: &(impl Read + ?Sized), signer: &MemberId) -> Result<Certificate, AuthError> {
    let Raw(pem) = MEMBER_CERTS
        .get(state, signer)
        .map_err(state_error)?
        .ok_or(AuthError::UnknownSigner)?;
    let pem = std::str::from_utf8(&pem).map_err(state_error)?;
    Certificate::from_pem(pem).map_err(state_error)
}

/// A message may name the service that it is for (`governance-api.md` §5.4).
fn check_service(state: &(impl Read + ?Sized), message: &Sign1) -> Result<(), AuthError> {
    if message.text_header(MSG_SERVICE).is_none() {
        return Ok(());
    }
    let named = text_header(message, MSG_SERVICE)?;
    let info = SERVICE_INFO
        .get(state, &Singleton)
        .map_err(state_error)?
        .ok_or_else(|| state_error("the service has no certificate"))?;
    let certificate = Certificate::from_pem(&info.0.cert).map_err(state_error)?;
    if named != certificate.id().to_string() {
        return Err(AuthError::OtherService);
    }
    Ok(())
}

/// When a kept message says it was signed, and the digest of its signature. `None` if it cannot
/// be read: a voted constitution may write anything.
pub(crate) fn signed_at(envelope: &[u8]) -> Option<(u64, Digest)> {
    let message = Sign1::parse(envelope).ok()?;
    Some((created_at(&message).ok()?, sha256(message.signature())))
}

fn text_header<'a>(message: &'a Sign1, name: &str) -> Result<&'a str, AuthError> {
    message
        .text_header(name)
        .and_then(ciborium::Value::as_text)
        .ok_or_else(|| AuthError::Malformed(format!("the text header {name} is missing")))
}

/// When the message says it was signed, if that is not ahead of the service's time.
fn created_at_within(message: &Sign1, time: ServiceTime) -> Result<u64, AuthError> {
    let (created_at, now) = (created_at(message)?, time.seconds());
    if created_at > now.saturating_add(SKEW_SECONDS_MAX) {
        return Err(AuthError::CreatedAhead { created_at, now });
    }
    Ok(created_at)
}

fn created_at(message: &Sign1) -> Result<u64, AuthError> {
    message
        .text_header("ccf.gov.msg.created_at")
        .and_then(ciborium::Value::as_integer)
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| {
            AuthError::Malformed("the header ccf.gov.msg.created_at is missing or not a time".into())
        })
}
