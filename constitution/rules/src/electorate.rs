//! Who is a member now, in which standing.

use std::collections::BTreeMap;

use kv::{Read, TableError};
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

impl Standing {
    fn of(info: &MemberInfo) -> Self {
        Self {
            active: info.status == MemberStatus::Active,
            roles: Roles::of(info.member_data.as_ref()),
        }
    }
}
