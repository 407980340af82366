//! Members: proposals, ballots, acknowledgements, each a COSE_Sign1 message (`ledger-host.md` §3.2).

use std::collections::BTreeMap;

use bytes::Bytes;
use crypto::native::{EcKeyPair, sign_governance_message_for};
use crypto::x509::Certificate;
use http::Method;
use model::proposal::{ProposalEffects, ProposalState, RawAction};
use model::{Digest, MemberId, ProposalId, TxId};
use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json};

use crate::api_error::ClientError;
use crate::connection::{Connection, Reply};

/// The version of the governance API that we speak.
const API: &str = "api-version=2024-07-01";

/// A member's certificate and signing key.
pub struct MemberKey {
    id: MemberId,
    key: EcKeyPair,
}

impl MemberKey {
    /// Reads certificate and private key (PKCS#8), both PEM.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if either cannot be read or they do not belong together.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, ClientError> {
        let cert = Certificate::from_pem(cert_pem)
            .map_err(|e| ClientError::Usage(format!("member certificate: {e}")))?;
        let key = EcKeyPair::from_pem(key_pem).map_err(|e| ClientError::Usage(format!("member key: {e}")))?;
        if key.spki_der() != cert.spki_der() {
            return Err(ClientError::Usage(
                "member key and certificate do not belong together".to_owned(),
            ));
        }
        Ok(Self {
            id: MemberId(cert.id()),
            key,
        })
    }

    /// The member's id: SHA-256 of the certificate's DER.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// A signed governance message that any service takes of which the signer is a member.
    /// `created_at` is Unix seconds.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if the key cannot sign.
    pub fn sign(
        &self,
        message_type: &str,
        created_at: u64,
        proposal: Option<&ProposalId>,
        payload: &[u8],
    ) -> Result<Vec<u8>, ClientError> {
        self.sign_for(None, message_type, created_at, proposal, payload)
    }

    /// A signed governance message for one service, named by the SHA-256 of its certificate's DER.
    /// `created_at` is Unix seconds.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if the key cannot sign.
    pub fn sign_for(
        &self,
        service: Option<&Digest>,
        message_type: &str,
        created_at: u64,
        proposal: Option<&ProposalId>,
        payload: &[u8],
    ) -> Result<Vec<u8>, ClientError> {
        let service = service.map(ToString::to_string);
        let proposal = proposal.map(ToString::to_string);
        sign_governance_message_for(
            service.as_deref(),
            &self.key,
            &self.id.to_string(),
            message_type,
            created_at,
            proposal.as_deref(),
            payload,
        )
        .map_err(|e| ClientError::Usage(format!("cannot sign: {e}")))
    }
}

/// What the service says of a proposal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalSummary {
    /// Its id.
    pub proposal_id: ProposalId,
    /// Who submitted it.
    pub proposer_id: MemberId,
    /// Where it stands.
    pub proposal_state: ProposalState,
    /// Ballots cast.
    pub ballot_count: u64,
    /// Votes when it closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_votes: Option<BTreeMap<MemberId, bool>>,
    /// Why applying failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<JsonValue>,
    /// What carrying it out brought with it, such as the contracts that named a removed member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<ProposalEffects>,
    /// The transaction that gave this answer; not part of the service's JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<TxId>,
}

/// Unix seconds now; governance messages carry them.
#[must_use]
pub fn unix_now_s() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// What a member does, over a connection.
pub struct Governance<'a> {
    connection: &'a Connection,
    member: &'a MemberKey,
}

impl<'a> Governance<'a> {
    /// Acts as `member` over `connection`.
    #[must_use]
    pub fn new(connection: &'a Connection, member: &'a MemberKey) -> Self {
        Self { connection, member }
    }

    async fn post(
        &self,
        path: &str,
        message_type: &str,
        proposal: Option<&ProposalId>,
        payload: &[u8],
    ) -> Result<Reply, ClientError> {
        let service = self.connection.service_cert_digest()?;
        let path = format!("/gov/members/{path}?{API}");
        let sent_at = async |created_at: u64| {
            let member = self.member;
            let body = member.sign_for(Some(&service), message_type, created_at, proposal, payload)?;
            self.connection
                .send(Method::POST, &path, Some("application/cose"), Bytes::from(body))
                .await
        };
        let now = unix_now_s();
        match sent_at(now).await {
            // This machine's clock, or another of the member's, was ahead once: go on behind the
            // latest time that the service has of this member.
            Err(refusal) => match latest_of(&refusal) {
                Some(latest) => sent_at(now.max(latest.saturating_add(1))).await,
                None => Err(refusal),
            },
            sent => sent,
        }
    }

    /// Submits a proposal. It casts no vote for its proposer.
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`], for instance `ProposalFailedToValidate`.
    pub async fn propose(&self, actions: &[RawAction]) -> Result<ProposalSummary, ClientError> {
        let payload = serde_json::to_vec(&json!({ "actions": actions }))
            .map_err(|e| ClientError::Usage(format!("cannot serialise the proposal: {e}")))?;
        summary(&self.post("proposals:create", "proposal", None, &payload).await?)
    }

    /// Votes on a proposal with the native ballot form.
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`], for instance `ProposalNotOpen`.
    pub async fn vote(&self, proposal: &ProposalId, accept: bool) -> Result<ProposalSummary, ClientError> {
        let vote = if accept { "accept" } else { "reject" };
        let payload = json!({ "ballot": { "vote": vote } }).to_string();
        let path = format!("proposals/{proposal}/ballots/{}:submit", self.member.id());
        summary(
            &self
                .post(&path, "ballot", Some(proposal), payload.as_bytes())
                .await?,
        )
    }

    /// Takes an open proposal back.
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`], for instance `AuthorizationFailed` for somebody else's.
    pub async fn withdraw(&self, proposal: &ProposalId) -> Result<ProposalSummary, ClientError> {
        let path = format!("proposals/{proposal}:withdraw");
        let reply = self.post(&path, "withdrawal", Some(proposal), &[]).await?;
        if reply.status == 204 {
            return Err(ClientError::Unexpected(format!(
                "the service knows no proposal {proposal}"
            )));
        }
        summary(&reply)
    }

    /// Acknowledges the current state, which makes an accepted member active: asks for a fresh
    /// digest of the latest signed root and signs it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`] if the member is unknown or the digest moved.
    pub async fn acknowledge(&self) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct StateDigest {
            state_digest: String,
        }
        let path = format!("state-digests/{}", self.member.id());
        let answer = self
            .post(&format!("{path}:update"), "state_digest", None, &[])
            .await?;
        let digest: StateDigest = answer.json()?;
        let payload = json!({ "stateDigest": digest.state_digest }).to_string();
        self.post(&format!("{path}:ack"), "ack", None, payload.as_bytes())
            .await?;
        Ok(digest.state_digest)
    }
}

/// The member's latest time, if a message was refused because its own lies before what the service
/// remembers.
fn latest_of(refusal: &ClientError) -> Option<u64> {
    match refusal {
        ClientError::Api { code, details, .. } if code == "ProposalCreatedTooLongAgo" => details
            .iter()
            .find_map(|detail| detail.get("latestCreatedAt")?.as_u64()),
        _ => None,
    }
}

/// Reads a proposal; needs no identity.
///
/// # Errors
///
/// [`ClientError::Api`] with `ProposalNotFound`.
pub async fn proposal(connection: &Connection, id: &ProposalId) -> Result<ProposalSummary, ClientError> {
    summary(
        &connection
            .get(&format!("/gov/members/proposals/{id}?{API}"))
            .await?,
    )
}

/// Any of the service's governance reads, as JSON: `path` below `/gov`, without query.
///
/// # Errors
///
/// [`ClientError`] of the call.
pub async fn read(connection: &Connection, path: &str) -> Result<JsonValue, ClientError> {
    connection.get(&format!("/gov/{path}?{API}")).await?.json()
}

fn summary(reply: &Reply) -> Result<ProposalSummary, ClientError> {
    let mut summary: ProposalSummary = reply.json()?;
    summary.transaction_id = reply.tx_id;
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_for_age_tells_the_latest_time() {
        let refusal = |code: &str, details: &str| {
            let body = format!(r#"{{"error":{{"code":"{code}","message":"m","details":{details}}}}}"#);
            latest_of(&ClientError::from_answer(400, body.as_bytes()))
        };
        let details = r#"[{"leastCreatedAt":5,"latestCreatedAt":9}]"#;
        assert_eq!(refusal("ProposalCreatedTooLongAgo", details), Some(9));
        assert_eq!(refusal("ProposalCreatedTooLongAgo", "[]"), None);
        assert_eq!(refusal("ProposalReplay", details), None);
    }
}
