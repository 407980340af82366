//! People as decisions mean them: an id, and the registration that it had (decision 51).
//!
//! Ids come back: whoever is registered under the id of somebody who left is somebody else, and
//! inherits nothing. So owners, approvers and switches are kept as [`Person`], and two of them are
//! the same only if both parts are.

use kv::codec::{Key, Malformed};
use kv::{Read, TableError, TxId};
use model::tables::{JWT_ISSUERS, MEMBER_CERTS, USER_CERTS};
use model::{MemberId, UserId};
use serde::{Deserialize, Serialize};

use crate::actions::AccountType;
use crate::api::{Approver, ApproverKind};
use crate::governance::{USER_IDENTITIES, USER_REGISTRATIONS, UserIdentity};
use crate::ids::Identifier;

/// A member or user with its registration.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// Id and kind.
    #[serde(flatten)]
    pub who: Approver,
    /// The transaction that registered the id. It stays the same when the data of an identity, or
    /// the keys of its issuer, change; account type, issuer and tenant cannot change without it.
    pub registration: TxId,
}

/// Whether a person can still speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Registered as before.
    Present,
    /// The id is not registered any more, or anew.
    Gone,
    /// The id is, but the issuer of its tokens is not.
    IssuerGone,
}

impl Person {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &Identifier {
        &self.who.approver_id
    }

    /// Member or user.
    #[must_use]
    pub const fn kind(&self) -> ApproverKind {
        self.who.approver_id_type
    }

    /// Whoever is registered under this id now; none if nobody is.
    ///
    /// # Errors
    ///
    /// [`TableError`] if a table is closed to this context or holds something else.
    pub fn find(state: &(impl Read + ?Sized), who: &Approver) -> Result<Option<Self>, TableError> {
        let id = &who.approver_id;
        if who.approver_id_type == ApproverKind::Member {
            return match id.as_str().parse() {
                Ok(member) => Self::member(state, &member),
                Err(_) => Ok(None),
            };
        }
        if let Some(user) = Self::token_user(state, id)? {
            return Ok(Some(user));
        }
        Self::certificate_user(state, id)
    }

    /// A member.
    ///
    /// # Errors
    ///
    /// As [`Person::find`].
    pub fn member(state: &(impl Read + ?Sized), id: &MemberId) -> Result<Option<Self>, TableError> {
        let row = MEMBER_CERTS.get_versioned(state, id)?;
        Ok(row.and_then(|row| {
            let id = id.to_string().parse().ok()?;
            Some(Self::new(id, ApproverKind::Member, row.version))
        }))
    }

    /// A user that comes with a token.
    ///
    /// # Errors
    ///
    /// As [`Person::find`].
    pub fn token_user(state: &(impl Read + ?Sized), id: &Identifier) -> Result<Option<Self>, TableError> {
        let row = USER_REGISTRATIONS.get_versioned(state, id)?;
        Ok(row.map(|row| Self::new(id.clone(), ApproverKind::User, row.version)))
    }

    /// A user that comes with a certificate.
    ///
    /// # Errors
    ///
    /// As [`Person::find`].
    pub fn certificate_user(
        state: &(impl Read + ?Sized),
        id: &Identifier,
    ) -> Result<Option<Self>, TableError> {
        let Ok(user) = id.as_str().parse::<UserId>() else {
            return Ok(None);
        };
        let row = USER_CERTS.get_versioned(state, &user)?;
        Ok(row.map(|row| Self::new(id.clone(), ApproverKind::User, row.version)))
    }

    fn new(approver_id: Identifier, approver_id_type: ApproverKind, registration: TxId) -> Self {
        Self {
            who: Approver {
                approver_id,
                approver_id_type,
            },
            registration,
        }
    }

    /// Whether the id is still registered as it was.
    ///
    /// # Errors
    ///
    /// As [`Person::find`].
    pub fn is_registered(&self, state: &(impl Read + ?Sized)) -> Result<bool, TableError> {
        if Self::find(state, &self.who)?.as_ref() == Some(self) {
            return Ok(true);
        }
        let is_user = self.kind() == ApproverKind::User;
        Ok(is_user && Self::certificate_user(state, self.id())?.as_ref() == Some(self))
    }

    /// Whether the person can still speak.
    ///
    /// # Errors
    ///
    /// As [`Person::find`].
    pub fn standing(&self, state: &(impl Read + ?Sized)) -> Result<Standing, TableError> {
        if !self.is_registered(state)? {
            return Ok(Standing::Gone);
        }
        let with_token =
            self.kind() == ApproverKind::User && Self::token_user(state, self.id())?.as_ref() == Some(self);
        if !with_token {
            // Certificates need no issuer.
            return Ok(Standing::Present);
        }
        let identity = USER_IDENTITIES.get(state, self.id())?;
        for issuer in identity.iter().flat_map(|identity| issuers(&identity.0)) {
            if JWT_ISSUERS.has(state, &issuer)? {
                return Ok(Standing::Present);
            }
        }
        Ok(Standing::IssuerGone)
    }
}

/// The issuers whose tokens may speak for the identity: the one that was voted with it, or, of a
/// `microsoft` account without one, its Entra tenant's. Anybody else who has a registered key could
/// otherwise assert any `oid` and `tid`.
#[must_use]
pub fn issuers(identity: &UserIdentity) -> Vec<String> {
    if let Some(registered) = &identity.data.issuer {
        return vec![registered.clone()];
    }
    if identity.account_type != AccountType::Microsoft.as_str() {
        return Vec::new();
    }
    let tenant = &identity.data.tenant_id;
    vec![
        format!("https://login.microsoftonline.com/{tenant}/v2.0"),
        format!("https://sts.windows.net/{tenant}/"),
    ]
}

/// `<kind>:<id>@<registration>`; identifiers contain neither `:` nor `@`, nothing of it a `/`.
impl Key for Person {
    fn to_bytes(&self) -> Vec<u8> {
        format!("{}:{}@{}", self.kind().as_str(), self.id(), self.registration).into_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let parse = || {
            let (kind, rest) = std::str::from_utf8(bytes).ok()?.split_once(':')?;
            let (id, registration) = rest.split_once('@')?;
            let kind = [ApproverKind::Member, ApproverKind::User]
                .into_iter()
                .find(|known| known.as_str() == kind)?;
            Some(Self::new(id.parse().ok()?, kind, registration.parse().ok()?))
        };
        parse().ok_or_else(|| Malformed("not a person".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn una(registration: TxId) -> Person {
        Person::new("una".parse().unwrap(), ApproverKind::User, registration)
    }

    #[test]
    fn the_same_id_registered_again_is_somebody_else() {
        assert_ne!(una(TxId::new(2, 7)), una(TxId::new(2, 9)));
        assert_eq!(una(TxId::new(2, 7)), una(TxId::new(2, 7)));
    }

    #[test]
    fn a_person_survives_its_key_and_its_json() {
        let person = una(TxId::new(2, 7));
        assert_eq!(person.to_bytes(), b"user:una@2.7");
        assert_eq!(Person::from_bytes(b"user:una@2.7"), Ok(person.clone()));
        let text = r#"{"approverId":"una","approverIdType":"user","registration":"2.7"}"#;
        assert_eq!(serde_json::to_string(&person).unwrap(), text);
        assert_eq!(serde_json::from_str::<Person>(text).unwrap(), person);
        for bad in [
            "una@2.7",
            "user:una",
            "user:una@0.0",
            "nobody:una@2.7",
            "user:@2.7",
        ] {
            assert!(Person::from_bytes(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
