//! Users: with a certificate, and with tokens (`governance-api.md` §3.2–3.4, §11.1).

use cleanroom_model::Identifier;
use cleanroom_model::actions::{
    AccountType, RemoveUser, RemoveUserIdentity, SetUser, SetUserData, SetUserIdentity,
};
use cleanroom_model::governance::{USER_IDENTITIES, USER_REGISTRATIONS, UserIdentity, UserIdentityData};
use kv::{Json, Raw, Read, Unit, Write};
use model::member::UserInfo;
use model::{UserId, tables};
use serde_json::Value as JsonValue;

use crate::credentials::{Certificate, Credentials, KeyKind};
use crate::fault::{Fault, require};

fn user(credentials: &impl Credentials, cert: &str) -> Result<Certificate, Fault> {
    let certificate = credentials
        .certificate(cert)
        .map_err(|e| Fault::refused(format!("cert is not a certificate: {e}")))?;
    require(certificate.key_kind != KeyKind::Other, || {
        "the certificate's key must be RSA or elliptic-curve".into()
    })?;
    Ok(certificate)
}

fn require_object(data: Option<&JsonValue>) -> Result<(), Fault> {
    require(data.is_none_or(|data| data.is_object() || data.is_null()), || {
        "user_data is not an object".into()
    })
}

/// A readable certificate, and data that are an object. The certificate's id is not a token user's:
/// ids name one person, and two of one transaction could not be told apart by their registrations.
pub(crate) fn check_set(
    state: &impl Read,
    credentials: &impl Credentials,
    args: &SetUser,
) -> Result<(), Fault> {
    let id = UserId(user(credentials, &args.cert)?.id);
    require_object(args.user_data.as_ref())?;
    let name: Identifier = id
        .to_string()
        .parse()
        .map_err(|_| Fault::refused("cert has no id"))?;
    require(!USER_IDENTITIES.has(state, &name)?, || {
        format!("{id} is registered as the identity of a token user")
    })
}

/// Adds the user, or replaces its data.
pub(crate) fn set<S: Read + Write>(
    state: &mut S,
    credentials: &impl Credentials,
    args: &SetUser,
) -> Result<(), Fault> {
    let certificate = user(credentials, &args.cert)?;
    let id = UserId(certificate.id);
    // The row's version tells since when the user is registered: an update leaves it alone.
    if !tables::USER_CERTS.has(state, &id)? {
        tables::USER_CERTS.put(state, &id, &Raw(certificate.pem.into_bytes()))?;
    }
    let user_data = args.user_data.clone().unwrap_or_default();
    Ok(tables::USER_INFO.put(state, &id, &Json(UserInfo { user_data }))?)
}

/// Removes the user; one that is not there is no fault.
pub(crate) fn remove(state: &mut impl Write, args: &RemoveUser) -> Result<(), Fault> {
    tables::USER_CERTS.remove(state, &args.user_id)?;
    Ok(tables::USER_INFO.remove(state, &args.user_id)?)
}

/// The user must exist.
pub(crate) fn check_set_data(state: &impl Read, args: &SetUserData) -> Result<(), Fault> {
    require(tables::USER_CERTS.has(state, &args.user_id)?, || {
        format!("{} is not a user", args.user_id)
    })?;
    require_object(args.user_data.as_ref())
}

/// Replaces the user's data.
pub(crate) fn set_data(state: &mut impl Write, args: &SetUserData) -> Result<(), Fault> {
    let user_data = args.user_data.clone().unwrap_or_default();
    Ok(tables::USER_INFO.put(state, &args.user_id, &Json(UserInfo { user_data }))?)
}

/// The row that the action would write.
fn identity(args: &SetUserIdentity) -> Result<UserIdentity, Fault> {
    let given = &args.data;
    let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let (tenant_id, issuer) = (text(&given.tenant_id), text(&given.issuer));
    let tenant_id = match args.account_type {
        AccountType::Microsoft => {
            tenant_id.ok_or_else(|| Fault::refused("a microsoft account needs data.tenantId"))?
        }
        AccountType::Oidc => {
            let issuer = issuer
                .clone()
                .ok_or_else(|| Fault::refused("an oidc account needs data.issuer"))?;
            tenant_id.unwrap_or(issuer)
        }
    };
    Ok(UserIdentity {
        account_type: args.account_type.as_str().to_owned(),
        invitation_id: None,
        data: UserIdentityData {
            tenant_id,
            issuer,
            identifier: text(&given.identifier),
        },
    })
}

/// Tenant and issuer as the account type needs them; and an id stays with the account type, issuer
/// and tenant it came from, so that its registration always means the same person (decision 51).
pub(crate) fn check_set_identity(state: &impl Read, args: &SetUserIdentity) -> Result<(), Fault> {
    if args.invitation_id.is_some() {
        return Err(Fault::Unavailable(
            "this service has no invitations yet; register the identity directly".into(),
        ));
    }
    let new = identity(args)?;
    if let Ok(certificate) = args.id.as_str().parse::<UserId>() {
        require(!tables::USER_CERTS.has(state, &certificate)?, || {
            format!("{} is registered as a user with a certificate", args.id)
        })?;
    }
    let Some(old) = USER_IDENTITIES.get(state, &args.id)? else {
        return Ok(());
    };
    let same_person = old.0.account_type == new.account_type
        && old.0.data.tenant_id == new.data.tenant_id
        && old.0.data.issuer == new.data.issuer;
    require(same_person, || {
        format!(
            "{} is registered under another issuer or tenant; remove that identity first",
            args.id
        )
    })
}

/// Registers the identity.
pub(crate) fn set_identity<S: Read + Write>(state: &mut S, args: &SetUserIdentity) -> Result<(), Fault> {
    if !USER_IDENTITIES.has(state, &args.id)? {
        USER_REGISTRATIONS.put(state, &args.id, &Unit)?;
    }
    Ok(USER_IDENTITIES.put(state, &args.id, &Json(identity(args)?))?)
}

/// Forgets it.
pub(crate) fn remove_identity(state: &mut impl Write, args: &RemoveUserIdentity) -> Result<(), Fault> {
    USER_REGISTRATIONS.remove(state, &args.id)?;
    Ok(USER_IDENTITIES.remove(state, &args.id)?)
}
