//! Who is a member now, in which standing.

use std::collections::{BTreeMap, BTreeSet};

use cleanroom_model::ContractId;
use cleanroom_model::governance::{ACCEPTED_CONTRACTS, VOTES_LOST};
use kv::{Read, TableError, TxId};
use model::MemberId;
use model::member::{MemberInfo, MemberStatus};
use model::tables;

use crate::roles::Roles;

/// A member as far as votes are concerned.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Has acknowledged the state it joined.
    pub active: bool,
    /// What its data says it is.
    pub roles: Roles,
}

/// Every member at the time of evaluation. Never kept: a vote counts for what its caster is now.
#[derive(Clone, Debug)]
pub struct Electorate(BTreeMap<MemberId, Standing>);

impl Electorate {
    /// Reads all members.
    ///
    /// # Errors
    ///
    /// [`TableError`] if the table cannot be read.
    pub fn read(state: &impl Read) -> Result<Self, TableError> {
        let rows = tables::MEMBER_INFO.rows(state)?;
        Ok(Self(
            rows.into_iter()
                .map(|row| (row.key, Standing::of(&row.value.0)))
                .collect(),
        ))
    }

    /// The member's standing, if it is one.
    #[must_use]
    pub fn get(&self, id: &MemberId) -> Option<&Standing> {
        self.0.get(id)
    }

    /// Whether `id` is a member who votes: without operator flag and without role.
    #[must_use]
    pub fn is_regular(&self, id: &MemberId) -> bool {
        self.get(id).is_some_and(|m| m.roles.is_regular())
    }

    /// Whether `id` is a member that has acknowledged.
    #[must_use]
    pub fn is_active(&self, id: &MemberId) -> bool {
        self.get(id).is_some_and(|m| m.active)
    }

    /// Regular members that are Active, in id order.
    pub fn active_regular(&self) -> impl Iterator<Item = MemberId> {
        self.0
            .iter()
            .filter(|(_, m)| m.active && m.roles.is_regular())
            .map(|(id, _)| *id)
    }

    /// All regular members, pending ones included.
    pub fn regular(&self) -> impl Iterator<Item = MemberId> {
        self.0
            .iter()
            .filter(|(_, m)| m.roles.is_regular())
            .map(|(id, _)| *id)
    }
}

/// Who decides about an accepted contract.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ContractVoters {
    /// It names nobody: all active members.
    All,
    /// Those that it names and that are still what they were when it was accepted.
    Named(BTreeSet<MemberId>),
    /// Everybody that it named has left. Nobody speaks for it any more, so nothing is added.
    Gone,
}

/// The voters of an accepted contract (§6.7). A member that was removed, registered anew or lost its
/// vote after the contract was accepted is off the list for good, also when it comes back.
///
/// # Errors
///
/// [`TableError`] if a table cannot be read.
pub fn contract_voters(
    state: &impl Read,
    members: &Electorate,
    contract: &ContractId,
) -> Result<ContractVoters, TableError> {
    let Some(row) = ACCEPTED_CONTRACTS.get_versioned(state, contract)? else {
        return Ok(ContractVoters::All);
    };
    let Some(listed) = row.value.0.required_members else {
        return Ok(ContractVoters::All);
    };
    let mut named = BTreeSet::new();
    for id in listed {
        if members.is_regular(&id) && !changed_after(state, &id, row.version)? {
            named.insert(id);
        }
    }
    Ok(if named.is_empty() {
        ContractVoters::Gone
    } else {
        ContractVoters::Named(named)
    })
}

/// Whether the member was registered, or lost its vote, after this transaction.
fn changed_after(state: &impl Read, id: &MemberId, since: TxId) -> Result<bool, TableError> {
    let registered = tables::MEMBER_CERTS
        .get_versioned(state, id)?
        .map(|row| row.version);
    let lost = VOTES_LOST.get_versioned(state, id)?.map(|row| row.version);
    Ok([registered, lost]
        .into_iter()
        .flatten()
        .any(|at| at.seqno > since.seqno))
}

impl Standing {
    fn of(info: &MemberInfo) -> Self {
        Self {
            active: info.status == MemberStatus::Active,
            roles: Roles::of(info.member_data.as_ref()),
        }
    }
}
