//! Signed requests that were taken before. What counts is the time under a signature, compared
//! with times under other signatures of the same member; the door has refused times ahead of the
//! service's own.

use kv::{Json, Pair, Singleton, Unit};
use model::service::RECENT_PROPOSALS_DEFAULT;
use model::tables::{COSE_HISTORY, COSE_RECENT_PROPOSALS, PROPOSAL_WINDOWS, SERVICE_CONFIG};
use model::{Digest, FrameworkError, MemberId, ProposalId, b64};
use serde_json::json;

use super::{Governing, Refusal};
use crate::member_request::{MemberRequest, signed_at};
use crate::time::SKEW_SECONDS_MAX;

/// Greatest `created_at`: the replay window's keys have ten digits for it.
const CREATED_AT_MAX: u64 = 9_999_999_999;
/// Proposals of one member that may name one second: all of a second are remembered or none, so
/// the second must have an end.
pub const SAME_SECOND_MAX: usize = 1_000;

/// The ten digits at the beginning of a window's key.
fn second_of(key: &str) -> &str {
    key.split(':').next().unwrap_or_default()
}

/// A time before everything that is remembered cannot be told from a replay.
fn check_time(window: &[String], time: &str) -> Result<(), Refusal> {
    let seconds = |key: Option<&String>| key.and_then(|key| second_of(key).parse::<u64>().ok());
    if let (Some(least), Some(latest)) = (seconds(window.first()), seconds(window.last()))
        && time < second_of(window.first().map_or("", String::as_str))
    {
        return Err(Refusal::with_details(
            FrameworkError::ProposalCreatedTooLongAgo,
            format!(
                "created_at {time} is before {least}, the least time taken of this member: its oldest \
                 proposal that is remembered"
            ),
            vec![json!({"leastCreatedAt": least, "latestCreatedAt": latest})],
        ));
    }
    if window.iter().filter(|key| second_of(key) == time).count() >= SAME_SECOND_MAX {
        return Err(Refusal::new(
            FrameworkError::InvalidCreatedAt,
            format!(
                "{SAME_SECOND_MAX} proposals of this member name the second {time}; sign with a later one"
            ),
        ));
    }
    Ok(())
}

impl Governing<'_> {
    /// The window of recent proposals (`ledger-host.md` §3.2, decision 50), one for each signer, so
    /// that no member can push out another's. It stays when its signer leaves. Keys hold the
    /// signature as it came; its twin is looked up as well.
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
        let signer = request.signer();
        let mut window = self.window(signer, request)?;
        check_time(&window, &time)?;
        let key = key_of(request.signature_digest());
        COSE_RECENT_PROPOSALS.put(&mut self.tx, &key, &Json(id.to_string()))?;
        PROPOSAL_WINDOWS.put(&mut self.tx, &Pair(signer, key.clone()), &Unit)?;
        window.push(key);
        window.sort_unstable();
        self.trim(signer, &window)
    }

    /// Keys of the signer's proposals that are remembered, oldest first. Times ahead of the
    /// service's are left out: they are of a ledger that did not refuse them yet, or of a floor that
    /// was reset, and must not be the least time taken.
    fn window(&self, signer: MemberId, request: &MemberRequest) -> Result<Vec<String>, Refusal> {
        let latest = request.judged_at().seconds().saturating_add(SKEW_SECONDS_MAX);
        let latest = format!("{latest:010};");
        let rows = PROPOSAL_WINDOWS.rows_with_prefix(&self.tx, format!("{signer}/").as_bytes())?;
        Ok(rows
            .into_iter()
            .map(|row| row.key.1)
            .filter(|key| *key < latest)
            .collect())
    }

    /// Forgets what is older than the latest ones, but nothing that shares a second with them.
    fn trim(&mut self, signer: MemberId, window: &[String]) -> Result<(), Refusal> {
        let kept = SERVICE_CONFIG
            .get(&self.tx, &Singleton)?
            .and_then(|row| row.0.recent_cose_proposals_window_size)
            .unwrap_or(RECENT_PROPOSALS_DEFAULT);
        let surplus = window.len().saturating_sub(kept as usize);
        let Some(oldest_kept) = window.get(surplus).map(|key| second_of(key)) else {
            return Ok(());
        };
        for key in window.iter().take_while(|key| second_of(key) < oldest_kept) {
            COSE_RECENT_PROPOSALS.remove(&mut self.tx, key)?;
            PROPOSAL_WINDOWS.remove(&mut self.tx, &Pair(signer, key.clone()))?;
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
