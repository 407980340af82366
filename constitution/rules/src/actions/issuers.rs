//! OpenID issuers: one per contract, and one for contracts that have none of their own
//! (`attestation-secrets-oidc.md` §3, decision 25). The keys themselves are the application's.

use cleanroom_model::ContractId;
use cleanroom_model::actions::{Action, EnableOidcIssuer, RotateOidcKey, SetOidcIssuerUrl};
use cleanroom_model::governance::{OIDC_ISSUERS, OidcIssuer, issuer_key};
use cleanroom_model::ids::IDENTIFIER_LEN_MAX;
use kv::{Json, Read, Write};
use model::address;

use super::contracts::require_accepted;
use crate::fault::{Fault, require};

/// Longest key id that members may give: the application appends `-` and a number of up to 20
/// digits, and the whole must be an identifier again.
const KID_LEN_MAX: usize = IDENTIFIER_LEN_MAX - 21;

fn require_contract(state: &impl Read, contract: Option<&ContractId>) -> Result<(), Fault> {
    contract.map_or(Ok(()), |id| require_accepted(state, id))
}

fn issuer(state: &impl Read, contract: Option<&ContractId>) -> Result<OidcIssuer, Fault> {
    require_contract(state, contract)?;
    let row = OIDC_ISSUERS.get(state, &issuer_key(contract))?;
    row.map(|row| row.0)
        .ok_or_else(|| Fault::refused("the issuer is not enabled; propose enable_oidc_issuer first"))
}

/// Whether one of these actions enables the issuer of `contract`.
pub(crate) fn enabled_by<'a>(
    mut actions: impl Iterator<Item = &'a Action>,
    contract: Option<&ContractId>,
) -> bool {
    actions.any(
        |action| matches!(action, Action::EnableOidcIssuer(args) if args.contract_id.as_ref() == contract),
    )
}

/// The contract, if one is named, must be accepted, and numbered key ids must be identifiers.
pub(crate) fn check_enable(state: &impl Read, args: &EnableOidcIssuer) -> Result<(), Fault> {
    require(args.kid.as_str().len() <= KID_LEN_MAX, || {
        format!("kid has more than {KID_LEN_MAX} characters")
    })?;
    require_contract(state, args.contract_id.as_ref())
}

/// The first call enables; later ones change nothing.
pub(crate) fn enable<S: Read + Write>(state: &mut S, args: &EnableOidcIssuer) -> Result<(), Fault> {
    let key = issuer_key(args.contract_id.as_ref());
    if OIDC_ISSUERS.has(state, &key)? {
        return Ok(());
    }
    let row = OidcIssuer {
        kid: args.kid.to_string(),
        request_id: 1,
        issuer_url: None,
        first_request_id: 1,
    };
    Ok(OIDC_ISSUERS.put(state, &key, &Json(row))?)
}

/// There must be an issuer.
pub(crate) fn check_rotate(state: &impl Read, args: &RotateOidcKey) -> Result<(), Fault> {
    issuer(state, args.contract_id.as_ref()).map(|_| ())
}

/// Asks for a new key: the application makes it when a member calls for it. Immediately means that
/// the keys before it are believed no more from this vote on; there are no tokens until it is made.
pub(crate) fn rotate<S: Read + Write>(state: &mut S, args: &RotateOidcKey) -> Result<(), Fault> {
    let contract = args.contract_id.as_ref();
    let mut row = issuer(state, contract)?;
    row.request_id = row.request_id.saturating_add(1);
    if args.immediately {
        row.first_request_id = row.request_id;
    }
    Ok(OIDC_ISSUERS.put(state, &issuer_key(contract), &Json(row))?)
}

/// Relying parties append `/.well-known/openid-configuration`, so the address is a plain https URL
/// (OpenID Connect Discovery 1.0 §3: no query, no fragment).
pub(crate) fn check_url_form(args: &SetOidcIssuerUrl) -> Result<(), Fault> {
    address::check(&args.issuer_url, &["https://"])
        .map_err(|e| Fault::refused(format!("issuer_url is not an https address of an issuer: {e}")))
}

/// Form, and there must be an issuer.
pub(crate) fn check_set_url(state: &impl Read, args: &SetOidcIssuerUrl) -> Result<(), Fault> {
    check_url_form(args)?;
    issuer(state, args.contract_id.as_ref()).map(|_| ())
}

/// Sets `iss` of the tokens to come.
pub(crate) fn set_url<S: Read + Write>(state: &mut S, args: &SetOidcIssuerUrl) -> Result<(), Fault> {
    let contract = args.contract_id.as_ref();
    let mut row = issuer(state, contract)?;
    row.issuer_url = Some(args.issuer_url.clone());
    Ok(OIDC_ISSUERS.put(state, &issuer_key(contract), &Json(row))?)
}
