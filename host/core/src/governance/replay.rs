//! Signed requests that were taken before. No clock is involved: what counts is the time under a
//! signature, compared with times under other signatures.

use kv::{Json, Singleton};
use model::service::RECENT_PROPOSALS_DEFAULT;
use model::tables::{COSE_HISTORY, COSE_RECENT_PROPOSALS, SERVICE_CONFIG};
use model::{Digest, FrameworkError, ProposalId, b64};

use super::{Governing, Refusal};
use crate::member_request::{MemberRequest, signed_at};

/// Greatest `created_at`: the replay window's keys have ten digits for it.
const CREATED_AT_MAX: u64 = 9_999_999_999;

impl Governing<'_> {
    /// The window of recent proposals (`ledger-host.md` §3.2). Keys hold the signature as it came;
    /// its twin is looked up as well.
    pub(super) fn remember(&mut self, request: &MemberRequest, id: ProposalId) -> Result<(), Refusal> {
        if request.created_at() > CREATED_AT_MAX {
            return Err(Refusal::new(
                FrameworkError::InvalidCreatedAt,
                format!("created_at {} has more than ten digits", request.created_at()),
            ));
        }
        let time = format!("{:010}", request.created_at());
        let key_of = |signature: Digest| format!("{time}:{signature}");
        for digest in [request.signature_digest(), request.twin_digest()] {
            if let Some(Json(earlier)) = COSE_RECENT_PROPOSALS.get(&self.tx, &key_of(digest))? {
                return Err(Refusal::new(
                    FrameworkError::ProposalReplay,
                    format!("this signed proposal was submitted before, as {earlier}"),
                ));
            }
        }
        let key = key_of(request.signature_digest());
        let mut recent: Vec<String> = COSE_RECENT_PROPOSALS
            .rows(&self.tx)?
            .into_iter()
            .map(|row| row.key)
            .collect();
        let median = recent.get(recent.len() / 2).and_then(|key| key.split(':').next());
        if let Some(median) = median.filter(|median| time.as_str() < *median) {
            return Err(Refusal::new(
                FrameworkError::ProposalCreatedTooLongAgo,
                format!("created_at {time} is before {median}, the median of the recent proposals"),
            ));
        }
        COSE_RECENT_PROPOSALS.put(&mut self.tx, &key, &Json(id.to_string()))?;
        recent.push(key);
        recent.sort_unstable();
        let window = SERVICE_CONFIG
            .get(&self.tx, &Singleton)?
            .and_then(|row| row.0.recent_cose_proposals_window_size)
            .unwrap_or(RECENT_PROPOSALS_DEFAULT);
        let surplus = recent.len().saturating_sub(window as usize);
        for key in recent.iter().take(surplus) {
            COSE_RECENT_PROPOSALS.remove(&mut self.tx, key)?;
        }
        Ok(())
    }

    /// Whether the request is the member's latest one once more.
    ///
    /// # Errors
    ///
    /// A refusal if it is older than that.
    pub(super) fn is_latest_again(&self, request: &MemberRequest) -> Result<bool, Refusal> {
        let latest = COSE_HISTORY
            .get(&self.tx, &request.signer())?
            .and_then(|row| b64::decode(&row.0).ok())
            .and_then(|envelope| signed_at(&envelope));
        let Some((at, signature)) = latest else {
            return Ok(false);
        };
        if request.created_at() < at {
            return Err(Refusal::new(
                FrameworkError::InvalidCreatedAt,
                format!(
                    "created_at {} is before {at}, that of the member's latest signed request",
                    request.created_at()
                ),
            ));
        }
        Ok([request.signature_digest(), request.twin_digest()].contains(&signature))
    }
}
