//! Who is calling, and whether that member or user may (`governance-api.md` §3, decision 24).

use std::str::FromStr as _;

use cleanroom_model::api::{Approver, ApproverKind};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::USER_IDENTITIES;
use cleanroom_model::ids::Identifier;
use cleanroom_model::person::{Person, issuers};
use model::MemberId;
use model::member::{MemberInfo, MemberRoles, MemberStatus};
use model::tables::MEMBER_INFO;
use serde_json::Value as JsonValue;

use crate::reply::{Failure, Fault, Refused};
use crate::request::{Call, Caller, Principal};

/// A registered member or user.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Id, kind and registration.
    pub(crate) person: Person,
    /// Tenant, if it has one.
    pub(crate) tenant: Option<String>,
    /// Of members: acknowledged.
    active: bool,
}

impl Known {
    /// Refuses members who have not acknowledged the state they joined.
    pub(crate) fn require_active(&self) -> Result<(), Refused> {
        if self.active {
            return Ok(());
        }
        Err(Refused::new(
            ErrorCode::MemberNotActive,
            "the member has not acknowledged the state it joined; send an ack first",
        ))
    }
}

/// Claims of a token, for callers that need more than an identity.
pub(crate) fn token_claims(claims_json: &str) -> Result<JsonValue, Refused> {
    serde_json::from_str(claims_json).map_err(|_| {
        Refused::new(
            ErrorCode::InvalidAuthenticationInfo,
            "the token's claims are not readable",
        )
    })
}

/// The registered principal behind the call.
///
/// Certificates were looked up by the host. Tokens must belong to a registered identity: its id
/// is `oid`, else `sub`; its tenant is `tid`, else the issuer; its issuer the key's.
pub(crate) fn known(call: &Call<'_>) -> Result<Known, Failure> {
    match &call.request.caller {
        Caller::Member(principal) => certificate(call, principal, ApproverKind::Member),
        Caller::User(principal) => certificate(call, principal, ApproverKind::User),
        Caller::Token { issuer, claims_json } => token(call, issuer, claims_json),
        Caller::Anonymous => Err(Refused::new(
            ErrorCode::UnknownAuthenticationPolicy,
            "members and registered users only",
        )
        .into()),
    }
}

/// A member; users are turned away by the endpoint's caller list already.
pub(crate) fn active_member(call: &Call<'_>) -> Result<Person, Failure> {
    let Caller::Member(principal) = &call.request.caller else {
        return Err(Refused::new(ErrorCode::UnknownAuthenticationPolicy, "members only").into());
    };
    let known = certificate(call, principal, ApproverKind::Member)?;
    known.require_active()?;
    Ok(known.person)
}

fn certificate(call: &Call<'_>, principal: &Principal, kind: ApproverKind) -> Result<Known, Failure> {
    let id = Identifier::from_str(&principal.id).map_err(|_| Fault::new("the host gave a malformed id"))?;
    let person = match kind {
        ApproverKind::Member => Person::find(
            call.state,
            &Approver {
                approver_id: id,
                approver_id_type: kind,
            },
        )?,
        // Not by the id alone: a token user of that id is somebody else.
        ApproverKind::User => Person::certificate_user(call.state, &id)?,
    };
    let person = person.ok_or_else(|| {
        Refused::new(
            ErrorCode::CallerNotAuthorized,
            "the certificate is not registered any more",
        )
    })?;
    // Only setIssuerUrl and issuerInfo need the tenant, but the text is short.
    let tenant = serde_json::from_str::<JsonValue>(&principal.data_json)
        .ok()
        .and_then(|data| {
            data.get("tenantId")
                .and_then(JsonValue::as_str)
                .map(ToOwned::to_owned)
        });
    Ok(Known {
        person,
        tenant,
        active: principal.active,
    })
}

fn token(call: &Call<'_>, issuer: &str, claims_json: &str) -> Result<Known, Failure> {
    let claims = token_claims(claims_json)?;
    let claim = |name: &str| claims.get(name).and_then(JsonValue::as_str);
    let id = claim("oid").or_else(|| claim("sub")).ok_or_else(|| {
        Refused::new(
            ErrorCode::InvalidAuthenticationInfo,
            "the token has neither oid nor sub",
        )
    })?;
    let unregistered = || {
        Refused::new(
            ErrorCode::CallerNotAuthorized,
            format!("no user identity {id:.128} is registered"),
        )
    };
    let approver_id = Identifier::from_str(id).map_err(|_| unregistered())?;
    let identity = USER_IDENTITIES
        .get(call.state, &approver_id)?
        .ok_or_else(unregistered)?
        .0;
    let person = Person::token_user(call.state, &approver_id)?.ok_or_else(unregistered)?;
    if !issuers(&identity).iter().any(|known| known == issuer) {
        return Err(Refused::new(
            ErrorCode::CallerNotAuthorized,
            format!("user identity {id} is registered for another issuer than {issuer:.256}"),
        )
        .into());
    }
    let tenant = claim("tid").unwrap_or(issuer);
    if identity.data.tenant_id != tenant {
        return Err(Refused::new(
            ErrorCode::CallerTenantNotAuthorized,
            format!(
                "the identity's tenant is {}, the token's is {tenant:.256}",
                identity.data.tenant_id
            ),
        )
        .into());
    }
    Ok(Known {
        person,
        tenant: Some(tenant.to_owned()),
        active: true,
    })
}

/// A member's record.
pub(crate) fn member_info(call: &Call<'_>, id: &MemberId) -> Result<Option<MemberInfo>, Fault> {
    Ok(MEMBER_INFO.get(call.state, id)?.map(|row| row.0))
}

/// Whether a record is of a member who votes.
pub(crate) fn is_regular(info: &MemberInfo) -> bool {
    MemberRoles::of(info.member_data.as_ref()).is_regular()
}

/// All active regular members, ascending: who decides when nobody is named.
pub(crate) fn active_regular_members(call: &Call<'_>) -> Result<Vec<Person>, Fault> {
    let mut members = Vec::new();
    for row in MEMBER_INFO.rows(call.state)? {
        if row.value.0.status == MemberStatus::Active && is_regular(&row.value.0) {
            members.extend(Person::member(call.state, &row.key)?);
        }
    }
    Ok(members)
}
