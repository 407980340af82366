//! Recovery shares: the latest ledger secret under a key that members can put together again.
//!
//! A fresh wrapping key every time, so that each wraps exactly once; shares only for active
//! members that hold an encryption key. Source: `ledger-host.md` §1.12, §3.1.

use std::collections::BTreeMap;

use crypto::native::aead::wrap_ledger_secret;
use crypto::native::wrap::oaep_encrypt;
use crypto::shares::{Share, split};
use crypto::spki::public_key_from_pem;
use kv::{Json, Read, Singleton, TableError};
use model::member::{MemberStatus, RecoveryRole};
use model::service::RecoveryShares;
use model::tables::{MEMBER_ENCRYPTION_KEYS, MEMBER_INFO, RECOVERY_SHARES};
use model::{MemberId, b64};

use crate::identity::LedgerSecrets;
use crate::transaction::Transaction;

/// Fills a buffer with random bytes. Given by the host, so that this crate draws none itself.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

/// Who holds what: role and encryption key (PEM) of every member that gets something.
pub type Holders = BTreeMap<MemberId, (RecoveryRole, String)>;

/// Shares cannot be handed out.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// Fewer holders than are needed to recover.
    #[error("{participants} active members hold shares, the recovery threshold is {threshold}")]
    TooFew {
        /// Members that would hold a share.
        participants: usize,
        /// Shares needed.
        threshold: u16,
    },
    /// A member's encryption key cannot be used.
    #[error("encryption key of member {member}: {reason}")]
    Key {
        /// The member.
        member: MemberId,
        /// What is wrong.
        reason: String,
    },
    /// The shares could not be made.
    #[error("making shares: {0}")]
    Shares(#[from] crypto::shares::SharesError),
    /// There is no ledger secret; a bug.
    #[error("there is no ledger secret")]
    NoSecret,
    /// The rows cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Active members that take part in recovery.
///
/// # Errors
///
/// [`TableError`] if a row does not decode.
pub fn holders(state: &(impl Read + ?Sized)) -> Result<Holders, TableError> {
    let mut holders = Holders::new();
    for row in MEMBER_INFO.rows(state)? {
        let info = row.value.0;
        if info.status != MemberStatus::Active {
            continue;
        }
        let Some(key) = MEMBER_ENCRYPTION_KEYS.get(state, &row.key)? else {
            continue;
        };
        let role = info.recovery_role.unwrap_or(RecoveryRole::Participant);
        if role != RecoveryRole::NonParticipant {
            let pem = String::from_utf8_lossy(&key.0).into_owned();
            holders.insert(row.key, (role, pem));
        }
    }
    Ok(holders)
}

/// Wraps the latest ledger secret under a fresh key, and gives every holder its part of it.
///
/// # Errors
///
/// [`ShareError`]; the transaction must then be dropped.
pub fn issue(
    tx: &mut Transaction,
    holders: &Holders,
    threshold: u16,
    secrets: &LedgerSecrets,
    entropy: &mut Entropy,
) -> Result<(), ShareError> {
    let (first, secret) = secrets.latest().ok_or(ShareError::NoSecret)?;
    let participants = holders
        .values()
        .filter(|(role, _)| *role == RecoveryRole::Participant)
        .count();
    let owners_only = participants == 0 && !holders.is_empty() && threshold == 1;
    if !owners_only && (threshold == 0 || participants < usize::from(threshold)) {
        return Err(ShareError::TooFew {
            participants,
            threshold,
        });
    }
    let full = Share::random(&mut *entropy);
    let mut shares = if owners_only {
        Vec::new()
    } else {
        split(&full, usize::from(threshold), participants, &mut *entropy)?
    }
    .into_iter();
    let mut encrypted_shares = BTreeMap::new();
    for (member, (role, pem)) in holders {
        let unusable = |reason: String| ShareError::Key {
            member: *member,
            reason,
        };
        let spki = public_key_from_pem(pem).map_err(|e| unusable(e.to_string()))?;
        let own;
        let share = match role {
            RecoveryRole::Owner => &full,
            _ => {
                own = shares.next().ok_or(ShareError::NoSecret)?;
                &own
            }
        };
        let sealed = oaep_encrypt(&spki, share.to_bytes().as_slice()).map_err(|e| unusable(e.to_string()))?;
        encrypted_shares.insert(*member, b64::encode(&sealed));
    }
    let has_previous = secrets.iter().count() > 1;
    let row = RecoveryShares {
        wrapped_latest_ledger_secret: b64::encode(&wrap_ledger_secret(full.wrapping_key()?, secret)),
        encrypted_shares,
        previous_secret_stored_version: has_previous.then_some(first),
    };
    Ok(RECOVERY_SHARES.put(tx, &Singleton, &Json(row))?)
}
