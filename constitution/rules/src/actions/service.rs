//! The service itself: opening, identity, recovery threshold, limits
//! (`ledger-host.md` §1.12, §3.1, §4.1).

use std::fmt;

use cleanroom_model::actions::{
    OpenService, ResetServiceTime, SetRecoveryThreshold, SetServiceConfiguration,
};
use kv::{Json, Read, Singleton, TableError, Write};
use model::MemberId;
use model::member::{MemberStatus, RecoveryRole};
use model::service::{ServiceConfig, ServiceInfo, ServiceStatus, ServiceTimeReset};
use model::tables;

use crate::ProposalContext;
use crate::credentials::Credentials;
use crate::electorate::Electorate;
use crate::fault::{Fault, require};

/// Most shares that recovery may need.
const THRESHOLD_MAX: u16 = 254;

/// Longest replay window, in proposals.
const REPLAY_WINDOW_MAX: u32 = 10_000;
/// Rows a service may let one caller keep in one contract.
const QUOTA_ROWS_MAX: u64 = 1_000_000_000;
/// Bytes a service may let one caller keep in one contract.
const QUOTA_BYTES_MAX: u64 = 1 << 40;

/// Greatest time that is taken for one.
const UNIX_SECONDS_MAX: u64 = 9_999_999_999;

/// Active members that hold something of the recovery key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ShareHolders {
    participants: u16,
    owners: u16,
}

impl fmt::Display for ShareHolders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} active participants and {} active owners",
            self.participants, self.owners
        )
    }
}

impl ShareHolders {
    /// Counts them, all or all but one.
    pub(crate) fn count(state: &impl Read, without: Option<&MemberId>) -> Result<Self, TableError> {
        let mut holders = Self {
            participants: 0,
            owners: 0,
        };
        for row in tables::MEMBER_INFO.rows(state)? {
            let counts = row.value.0.status == MemberStatus::Active
                && Some(&row.key) != without
                && tables::MEMBER_ENCRYPTION_KEYS.has(state, &row.key)?;
            if !counts {
                continue;
            }
            // With a key and without a role a member is a participant.
            match row.value.0.recovery_role {
                None | Some(RecoveryRole::Participant) => {
                    holders.participants = holders.participants.saturating_add(1);
                }
                Some(RecoveryRole::Owner) => holders.owners = holders.owners.saturating_add(1),
                Some(RecoveryRole::NonParticipant) => {}
            }
        }
        Ok(holders)
    }

    /// Whether they can recover the service. Owners alone need a threshold of 1: each has it all.
    pub(crate) const fn reach(self, threshold: u16) -> bool {
        if self.participants == 0 && self.owners > 0 {
            threshold == 1
        } else {
            self.participants >= threshold
        }
    }
}

fn info(state: &impl Read) -> Result<ServiceInfo, Fault> {
    let row = tables::SERVICE_INFO.get(state, &Singleton)?;
    row.map(|row| row.0)
        .ok_or_else(|| Fault::refused("the service has no identity on record"))
}

fn config(state: &impl Read) -> Result<ServiceConfig, Fault> {
    let row = tables::SERVICE_CONFIG.get(state, &Singleton)?;
    row.map(|row| row.0)
        .ok_or_else(|| Fault::refused("the service has no configuration on record"))
}

/// Whether two PEM texts hold the same certificate, however each is spelled.
fn same_certificate(credentials: &impl Credentials, one: &str, other: &str) -> bool {
    let id = |pem: &str| {
        credentials
            .certificate(pem)
            .ok()
            .map(|certificate| certificate.id)
    };
    id(one).is_some_and(|one| id(other) == Some(one))
}

/// The certificate must be the service's.
pub(crate) fn check_identity(
    state: &impl Read,
    credentials: &impl Credentials,
    identity: &str,
) -> Result<(), Fault> {
    require(
        same_certificate(credentials, &info(state)?.cert, identity),
        || "the certificate given is not this service's".into(),
    )
}

/// 1 to 254, and reachable once shares have been issued.
pub(crate) fn check_threshold(state: &impl Read, threshold: u16) -> Result<(), Fault> {
    require((1..=THRESHOLD_MAX).contains(&threshold), || {
        format!("recovery_threshold is 1 to {THRESHOLD_MAX}, not {threshold}")
    })?;
    match info(state)?.status {
        ServiceStatus::Opening => Ok(()),
        ServiceStatus::Open => {
            let holders = ShareHolders::count(state, None)?;
            require(holders.reach(threshold), || {
                format!("{holders} cannot reach a recovery threshold of {threshold}")
            })
        }
        ServiceStatus::Recovering | ServiceStatus::WaitingForRecoveryShares => Err(Fault::refused(
            "the recovery threshold cannot change while the service is being recovered",
        )),
    }
}

/// Sets the threshold; the host issues new shares.
pub(crate) fn set_threshold<S: Read + Write>(
    state: &mut S,
    args: &SetRecoveryThreshold,
) -> Result<(), Fault> {
    let mut row = config(state)?;
    row.recovery_threshold = args.recovery_threshold;
    Ok(tables::SERVICE_CONFIG.put(state, &Singleton, &Json(row))?)
}

/// The service must be the one its members mean, be recoverable, and have somebody who can vote.
pub(crate) fn check_open(
    state: &impl Read,
    credentials: &impl Credentials,
    args: &OpenService,
) -> Result<(), Fault> {
    check_identity(state, credentials, &args.next_service_identity)?;
    let recorded = tables::PREVIOUS_SERVICE_IDENTITY.get(state, &Singleton)?;
    let previous_fits = match (&args.previous_service_identity, &recorded) {
        (None, None) => true,
        (Some(given), Some(recorded)) => same_certificate(credentials, given, &recorded.0),
        _ => false,
    };
    require(previous_fits, || {
        "previous_service_identity must be the certificate before the last recovery, and absent without one"
            .into()
    })?;
    match info(state)?.status {
        ServiceStatus::Opening => {}
        ServiceStatus::Open | ServiceStatus::WaitingForRecoveryShares => return Ok(()),
        ServiceStatus::Recovering => {
            return Err(Fault::Unavailable(
                "opening a recovered service is not carried out by this build".into(),
            ));
        }
    }
    let threshold = config(state)?.recovery_threshold;
    let holders = ShareHolders::count(state, None)?;
    require(holders.reach(threshold), || {
        format!("{holders} cannot reach the recovery threshold of {threshold}; activate members first")
    })?;
    require(Electorate::read(state)?.active_regular().next().is_some(), || {
        "no active member could vote in the opened service; activate one first".into()
    })
}

/// Opens the service; no effect if it is open. The host issues shares and ends the chunk.
pub(crate) fn open<S: Read + Write>(state: &mut S) -> Result<(), Fault> {
    let mut row = info(state)?;
    if row.status == ServiceStatus::Opening {
        row.status = ServiceStatus::Open;
        tables::SERVICE_INFO.put(state, &Singleton, &Json(row))?;
    }
    Ok(())
}

/// Ten digits of seconds: milliseconds by mistake would be thousands of years ahead.
pub(crate) fn check_time(args: &ResetServiceTime) -> Result<(), Fault> {
    require((1..=UNIX_SECONDS_MAX).contains(&args.not_after), || {
        format!(
            "notAfter is Unix seconds, 1 to {UNIX_SECONDS_MAX}, not {}",
            args.not_after
        )
    })
}

/// Writes the decision down; the host compares it with its clock and goes on from there.
pub(crate) fn reset_time(state: &mut impl Write, args: &ResetServiceTime) -> Result<(), Fault> {
    let row = ServiceTimeReset {
        not_after: args.not_after,
    };
    Ok(tables::SERVICE_TIME_RESET.put(state, &Singleton, &Json(row))?)
}

/// Asks the host to end the open chunk; it sees that the row has changed.
pub(crate) fn end_chunk(state: &mut impl Write, context: &ProposalContext) -> Result<(), Fault> {
    Ok(tables::CHUNK_REQUESTS.put(state, &Singleton, &Json(context.proposal_id))?)
}

/// Ranges; and the action must change something.
pub(crate) fn check_configuration(state: &impl Read, args: &SetServiceConfiguration) -> Result<(), Fault> {
    config(state)?;
    require(
        args.recovery_threshold.is_some()
            || args.recent_cose_proposals_window_size.is_some()
            || args.quota_rows.is_some()
            || args.quota_bytes.is_some(),
        || "name recovery_threshold, recent_cose_proposals_window_size, quota_rows or quota_bytes".into(),
    )?;
    if let Some(threshold) = args.recovery_threshold {
        check_threshold(state, threshold)?;
    }
    let window = args.recent_cose_proposals_window_size;
    require(
        window.is_none_or(|size| (1..=REPLAY_WINDOW_MAX).contains(&size)),
        || format!("recent_cose_proposals_window_size is 1 to {REPLAY_WINDOW_MAX}"),
    )?;
    for (name, quota, most) in [
        ("quota_rows", args.quota_rows, QUOTA_ROWS_MAX),
        ("quota_bytes", args.quota_bytes, QUOTA_BYTES_MAX),
    ] {
        require(quota.is_none_or(|quota| (1..=most).contains(&quota)), || {
            format!("{name} is 1 to {most}")
        })?;
    }
    Ok(())
}

/// Changes what is named and leaves the rest.
pub(crate) fn configure<S: Read + Write>(state: &mut S, args: &SetServiceConfiguration) -> Result<(), Fault> {
    let mut row = config(state)?;
    row.recovery_threshold = args.recovery_threshold.unwrap_or(row.recovery_threshold);
    row.recent_cose_proposals_window_size = args
        .recent_cose_proposals_window_size
        .or(row.recent_cose_proposals_window_size);
    row.quota_rows = args.quota_rows.or(row.quota_rows);
    row.quota_bytes = args.quota_bytes.or(row.quota_bytes);
    Ok(tables::SERVICE_CONFIG.put(state, &Singleton, &Json(row))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_not_taken_for_a_time_in_seconds() {
        let check = |not_after| check_time(&ResetServiceTime { not_after }).is_ok();
        assert!(check(1) && check(UNIX_SECONDS_MAX));
        assert!(!check(0) && !check(UNIX_SECONDS_MAX + 1));
        assert!(!check(1_800_000_000_000));
    }
}
