//! Who is calling, and whether that member or user may (`governance-api.md` §3, decision 24).

use std::str::FromStr as _;

use cleanroom_model::actions::AccountType;
use cleanroom_model::api::{Approver, ApproverKind};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::{USER_IDENTITIES, USER_REGISTRATIONS, UserIdentity};
use cleanroom_model::ids::Identifier;
use kv::TxId;
use model::member::{MemberInfo, MemberRoles, MemberStatus};
use model::tables::{MEMBER_CERTS, MEMBER_INFO, USER_CERTS, USER_INFO};
use model::{MemberId, UserId};
use serde_json::Value as JsonValue;

use crate::reply::Refusal;
use crate::request::{Call, Caller, Principal};

/// A registered member or user.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Id and kind.
    pub(crate) who: Approver,
    /// Tenant, if it has one.
    pub(crate) tenant: Option<String>,
    /// Of members: acknowledged.
    active: bool,
}

impl Known {
    /// Refuses members who have not acknowledged the state they joined.
    pub(crate) fn require_active(&self) -> Result<(), Refusal> {
        if self.active {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::MemberNotActive,
            "the member has not acknowledged the state it joined; send an ack first",
        ))
    }
}

/// Claims of a token, for callers that need more than an identity.
pub(crate) fn token_claims(claims_json: &str) -> Result<JsonValue, Refusal> {
    serde_json::from_str(claims_json).map_err(|_| {
        Refusal::new(
            ErrorCode::InvalidAuthenticationInfo,
            "the token's claims are not readable",
        )
    })
}

/// The registered principal behind the call.
///
/// Certificates were looked up by the host. Tokens must belong to a registered identity: its id
/// is `oid`, else `sub`; its tenant is `tid`, else the issuer; its issuer the key's.
pub(crate) fn known(call: &Call<'_>) -> Result<Known, Refusal> {
    match &call.request.caller {
        Caller::Member(principal) => certificate(principal, ApproverKind::Member),
        Caller::User(principal) => certificate(principal, ApproverKind::User),
        Caller::Token { issuer, claims_json } => token(call, issuer, claims_json),
        Caller::Anonymous => Err(Refusal::new(
            ErrorCode::UnknownAuthenticationPolicy,
            "members and registered users only",
        )),
    }
}

/// A member; users are turned away by the endpoint's caller list already.
pub(crate) fn active_member(call: &Call<'_>) -> Result<MemberId, Refusal> {
    let Caller::Member(principal) = &call.request.caller else {
        return Err(Refusal::new(
            ErrorCode::UnknownAuthenticationPolicy,
            "members only",
        ));
    };
    certificate(principal, ApproverKind::Member)?.require_active()?;
    principal
        .id
        .parse()
        .map_err(|_| Refusal::new(ErrorCode::InternalError, "the host gave a malformed member id"))
}

fn certificate(principal: &Principal, kind: ApproverKind) -> Result<Known, Refusal> {
    let approver_id = Identifier::from_str(&principal.id)
        .map_err(|_| Refusal::new(ErrorCode::InternalError, "the host gave a malformed id"))?;
    // Only setIssuerUrl and issuerInfo need the tenant, but the text is short.
    let tenant = serde_json::from_str::<JsonValue>(&principal.data_json)
        .ok()
        .and_then(|data| {
            data.get("tenantId")
                .and_then(JsonValue::as_str)
                .map(ToOwned::to_owned)
        });
    Ok(Known {
        who: Approver {
            approver_id,
            approver_id_type: kind,
        },
        tenant,
        active: principal.active,
    })
}

fn token(call: &Call<'_>, issuer: &str, claims_json: &str) -> Result<Known, Refusal> {
    let claims = token_claims(claims_json)?;
    let claim = |name: &str| claims.get(name).and_then(JsonValue::as_str);
    let id = claim("oid").or_else(|| claim("sub")).ok_or_else(|| {
        Refusal::new(
            ErrorCode::InvalidAuthenticationInfo,
            "the token has neither oid nor sub",
        )
    })?;
    let unregistered = || {
        Refusal::new(
            ErrorCode::CallerNotAuthorized,
            format!("no user identity {id:.128} is registered"),
        )
    };
    let approver_id = Identifier::from_str(id).map_err(|_| unregistered())?;
    let identity = USER_IDENTITIES
        .get(call.state, &approver_id)?
        .ok_or_else(unregistered)?
        .0;
    if !may_speak(&identity, issuer) {
        return Err(Refusal::new(
            ErrorCode::CallerNotAuthorized,
            format!("user identity {id} is registered for another issuer than {issuer:.256}"),
        ));
    }
    let tenant = claim("tid").unwrap_or(issuer);
    if identity.data.tenant_id != tenant {
        return Err(Refusal::new(
            ErrorCode::CallerTenantNotAuthorized,
            format!(
                "the identity's tenant is {}, the token's is {tenant:.256}",
                identity.data.tenant_id
            ),
        ));
    }
    Ok(Known {
        who: Approver {
            approver_id,
            approver_id_type: ApproverKind::User,
        },
        tenant: Some(tenant.to_owned()),
        active: true,
    })
}

/// Whether tokens of `issuer` may speak for the identity: the issuer that was voted with it, or,
/// of a `microsoft` account without one, its Entra tenant's. Anybody else who has a registered
/// key could otherwise assert any `oid` and `tid`.
fn may_speak(identity: &UserIdentity, issuer: &str) -> bool {
    if let Some(registered) = &identity.data.issuer {
        return registered == issuer;
    }
    let tenant = &identity.data.tenant_id;
    identity.account_type == AccountType::Microsoft.as_str()
        && (issuer == format!("https://login.microsoftonline.com/{tenant}/v2.0")
            || issuer == format!("https://sts.windows.net/{tenant}/"))
}

/// A member's record.
pub(crate) fn member_info(call: &Call<'_>, id: &MemberId) -> Result<Option<MemberInfo>, Refusal> {
    Ok(MEMBER_INFO.get(call.state, id)?.map(|row| row.0))
}

/// Whether a record is of a member who votes.
pub(crate) fn is_regular(info: &MemberInfo) -> bool {
    MemberRoles::of(info.member_data.as_ref()).is_regular()
}

/// Ids of all active regular members, ascending: who decides when nobody is named.
pub(crate) fn active_regular_members(call: &Call<'_>) -> Result<Vec<MemberId>, Refusal> {
    Ok(MEMBER_INFO
        .rows(call.state)?
        .into_iter()
        .filter(|row| row.value.0.status == MemberStatus::Active && is_regular(&row.value.0))
        .map(|row| row.key)
        .collect())
}

/// A member as an approver.
pub(crate) fn member_approver(id: &MemberId) -> Approver {
    Approver {
        approver_id: id.to_string().parse().expect("hex digits are an identifier"),
        approver_id_type: ApproverKind::Member,
    }
}

/// Whether the approver is registered now.
pub(crate) fn exists(call: &Call<'_>, approver: &Approver) -> Result<bool, Refusal> {
    let id = approver.approver_id.as_str();
    match approver.approver_id_type {
        ApproverKind::Member => match id.parse::<MemberId>() {
            Ok(member) => Ok(MEMBER_INFO.has(call.state, &member)?),
            Err(_) => Ok(false),
        },
        ApproverKind::User => {
            if USER_IDENTITIES.has(call.state, &approver.approver_id)? {
                return Ok(true);
            }
            match id.parse::<UserId>() {
                Ok(user) => Ok(USER_INFO.has(call.state, &user)?),
                Err(_) => Ok(false),
            }
        }
    }
}

/// The transaction since which the approver has been registered without a break, if it is now.
/// Updates of its data do not count.
pub(crate) fn registered_since(call: &Call<'_>, approver: &Approver) -> Result<Option<TxId>, Refusal> {
    let id = &approver.approver_id;
    if approver.approver_id_type == ApproverKind::Member {
        let Ok(member) = id.as_str().parse::<MemberId>() else {
            return Ok(None);
        };
        let row = MEMBER_CERTS.get_versioned(call.state, &member)?;
        return Ok(row.map(|row| row.version));
    }
    if USER_IDENTITIES.has(call.state, id)? {
        let row = USER_REGISTRATIONS.get_versioned(call.state, id)?;
        // Identities from before registrations were kept are older than any decision.
        return Ok(Some(row.map_or_else(TxId::default, |row| row.version)));
    }
    let Ok(user) = id.as_str().parse::<UserId>() else {
        return Ok(None);
    };
    let row = USER_CERTS.get_versioned(call.state, &user)?;
    Ok(row.map(|row| row.version))
}
