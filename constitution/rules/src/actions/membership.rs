//! Members (`governance-api.md` §3.1, §6.3; `ledger-host.md` §3.1).

use cleanroom_model::actions::{RemoveMember, SetMember, SetMemberData};
use cleanroom_model::governance::{CONTRACTS_OF_VOTERS, VOTES_LOST};
use kv::{Json, Raw, Read, Singleton, TableError, Unit, Write};
use model::member::{MemberAck, MemberInfo, MemberRoles, MemberStatus, RecoveryRole};
use model::proposal::ProposalEffects;
use model::service::ServiceStatus;
use model::{MemberId, ProposalId, tables};
use serde_json::Value as JsonValue;

use super::service::ShareHolders;
use crate::credentials::{Certificate, Credentials, KeyKind, RsaKey};
use crate::fault::{Fault, require};
use crate::roles::{normalised_member_data, require_no_operator_share};

/// Smallest RSA key that shares are encrypted to, in bits.
const ENCRYPTION_KEY_BITS_MIN: u32 = 2048;

/// `null` is as good as absent.
fn member_data(args: &SetMember) -> Result<Option<JsonValue>, Fault> {
    args.member_data
        .as_ref()
        .filter(|data| !data.is_null())
        .map(normalised_member_data)
        .transpose()
}

fn certificate(credentials: &impl Credentials, cert: &str) -> Result<Certificate, Fault> {
    let certificate = credentials
        .certificate(cert)
        .map_err(|e| Fault::refused(format!("cert is not a certificate: {e}")))?;
    require(certificate.key_kind == KeyKind::EllipticCurve, || {
        "members sign with elliptic-curve keys: P-256, P-384 or P-521".into()
    })?;
    Ok(certificate)
}

/// The key that the member's shares are encrypted to, if one is given.
fn encryption_key(credentials: &impl Credentials, args: &SetMember) -> Result<Option<RsaKey>, Fault> {
    let Some(pem) = &args.encryption_pub_key else {
        return Ok(None);
    };
    let key = credentials
        .rsa_key(pem)
        .map_err(|e| Fault::refused(format!("encryption_pub_key is not an RSA public key: {e}")))?;
    require(key.bits >= ENCRYPTION_KEY_BITS_MIN, || {
        let bits = key.bits;
        format!("encryption_pub_key has {bits} bits, at least {ENCRYPTION_KEY_BITS_MIN} are needed")
    })?;
    Ok(Some(key))
}

/// Certificate, encryption key, roles and share must fit together.
pub(crate) fn check_set(credentials: &impl Credentials, args: &SetMember) -> Result<(), Fault> {
    certificate(credentials, &args.cert)?;
    let data = member_data(args)?;
    let has_key = encryption_key(credentials, args)?.is_some();
    let role_fits = match args.recovery_role {
        None => true,
        Some(RecoveryRole::NonParticipant) => !has_key,
        Some(RecoveryRole::Participant | RecoveryRole::Owner) => has_key,
    };
    require(role_fits, || {
        "recovery_role Participant and Owner need an encryption key, NonParticipant must have none".into()
    })?;
    require_no_operator_share(data.as_ref(), has_key)
}

/// The root that the member acknowledges: of the latest signature, or nothing yet.
fn latest_root(state: &impl Read) -> Result<String, TableError> {
    let row = tables::SIGNATURES.get(state, &Singleton)?;
    Ok(row.map_or_else(String::new, |row| row.0.root.to_string()))
}

/// Registers the member. One that is registered already starts anew: it must acknowledge again,
/// and does not count until it has.
pub(crate) fn set<S: Read + Write>(
    state: &mut S,
    credentials: &impl Credentials,
    args: &SetMember,
) -> Result<(), Fault> {
    let certificate = certificate(credentials, &args.cert)?;
    let id = MemberId(certificate.id);
    let existed = tables::MEMBER_INFO.has(state, &id)?;
    let info = MemberInfo {
        status: MemberStatus::Accepted,
        member_data: member_data(args)?,
        recovery_role: args.recovery_role,
    };
    let ack = MemberAck {
        state_digest: latest_root(state)?,
        cose_sign1_req: None,
    };
    note_vote(state, &id, info.member_data.as_ref())?;
    tables::MEMBER_INFO.put(state, &id, &Json(info))?;
    // The row's version tells since when the member is registered: starting anew leaves it alone.
    if !tables::MEMBER_CERTS.has(state, &id)? {
        tables::MEMBER_CERTS.put(state, &id, &Raw(certificate.pem.into_bytes()))?;
    }
    tables::MEMBER_ACKS.put(state, &id, &Json(ack))?;
    match encryption_key(credentials, args)? {
        Some(key) => {
            tables::MEMBER_ENCRYPTION_KEYS.put(state, &id, &Raw(key.pem.into_bytes()))?;
        }
        None => tables::MEMBER_ENCRYPTION_KEYS.remove(state, &id)?,
    }
    if existed && is_open(state)? {
        require_threshold(state)?;
    }
    Ok(())
}

/// Writes down that a member is about to lose its vote by its new data.
fn note_vote<S: Read + Write>(state: &mut S, id: &MemberId, data: Option<&JsonValue>) -> Result<(), Fault> {
    let row = tables::MEMBER_INFO.get(state, id)?;
    let voted = row.is_some_and(|row| MemberRoles::of(row.0.member_data.as_ref()).is_regular());
    if voted && !MemberRoles::of(data).is_regular() {
        VOTES_LOST.put(state, id, &Unit)?;
    }
    Ok(())
}

fn is_open(state: &impl Read) -> Result<bool, TableError> {
    let info = tables::SERVICE_INFO.get(state, &Singleton)?;
    Ok(info.is_some_and(|info| info.0.status == ServiceStatus::Open))
}

/// Those who hold shares must be able to recover the service with the state as it is now.
fn require_threshold(state: &impl Read) -> Result<(), Fault> {
    let threshold = tables::SERVICE_CONFIG
        .get(state, &Singleton)?
        .map_or(0, |config| config.0.recovery_threshold);
    let holders = ShareHolders::count(state, None)?;
    require(holders.reach(threshold), || {
        format!("that would leave {holders}, fewer than the recovery threshold of {threshold}")
    })
}

/// Removing a share holder must not make recovery impossible.
pub(crate) fn check_remove(state: &impl Read, args: &RemoveMember) -> Result<(), Fault> {
    let before = ShareHolders::count(state, None)?;
    let after = ShareHolders::count(state, Some(&args.member_id))?;
    if after == before {
        return Ok(());
    }
    let threshold = tables::SERVICE_CONFIG
        .get(state, &Singleton)?
        .map_or(0, |config| config.0.recovery_threshold);
    require(after.reach(threshold), || {
        format!("that would leave {after}, fewer than the recovery threshold of {threshold}")
    })
}

/// Removes every row of the member; what it signed stays in the ledger. The reply tells which
/// contracts named it as a voter.
pub(crate) fn remove<S: Read + Write>(
    state: &mut S,
    proposal: &ProposalId,
    args: &RemoveMember,
) -> Result<(), Fault> {
    let id = &args.member_id;
    let named = CONTRACTS_OF_VOTERS.rows_with_prefix(state, format!("{id}/").as_bytes())?;
    if !named.is_empty() {
        let contracts = named.into_iter().map(|row| row.key.1.as_str().to_owned());
        let mut effects = tables::PROPOSALS_EFFECTS
            .get(state, proposal)?
            .map_or_else(ProposalEffects::default, |row| row.0);
        effects.contracts_concerned.insert(*id, contracts.collect());
        tables::PROPOSALS_EFFECTS.put(state, proposal, &Json(effects))?;
    }
    tables::MEMBER_INFO.remove(state, id)?;
    tables::MEMBER_CERTS.remove(state, id)?;
    tables::MEMBER_ENCRYPTION_KEYS.remove(state, id)?;
    Ok(tables::MEMBER_ACKS.remove(state, id)?)
}

fn existing(state: &impl Read, id: &MemberId) -> Result<MemberInfo, Fault> {
    let row = tables::MEMBER_INFO.get(state, id)?;
    row.map(|row| row.0)
        .ok_or_else(|| Fault::refused(format!("{id} is not a member")))
}

/// The member must exist, and its new roles must go with the share it has.
pub(crate) fn check_set_data(state: &impl Read, args: &SetMemberData) -> Result<(), Fault> {
    existing(state, &args.member_id)?;
    let data = normalised_member_data(&args.member_data)?;
    let has_key = tables::MEMBER_ENCRYPTION_KEYS.has(state, &args.member_id)?;
    require_no_operator_share(Some(&data), has_key)
}

/// Replaces the member's data; status and share stay.
pub(crate) fn set_data<S: Read + Write>(state: &mut S, args: &SetMemberData) -> Result<(), Fault> {
    let mut info = existing(state, &args.member_id)?;
    info.member_data = Some(normalised_member_data(&args.member_data)?);
    note_vote(state, &args.member_id, info.member_data.as_ref())?;
    Ok(tables::MEMBER_INFO.put(state, &args.member_id, &Json(info))?)
}
