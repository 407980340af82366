//! Each action's check and its effect.
//!
//! A check runs twice: when the proposal is submitted, so that its author hears of a fault before
//! anybody votes, and again right before the effect, because the state has moved on since.

pub(crate) mod components;
pub(crate) mod contracts;
pub(crate) mod firmware;
pub(crate) mod issuers;
pub(crate) mod membership;
pub(crate) mod policies;
pub(crate) mod service;
pub(crate) mod trust;
pub(crate) mod users;

use cleanroom_model::actions::Action;
use cleanroom_model::governance::OptionStatus;
use kv::{Read, Write};

use crate::ProposalContext;
use crate::credentials::Credentials;
use crate::fault::Fault;

/// Checks an action when its proposal is submitted. `earlier` are the actions before it, whose
/// effects are not there yet.
///
/// # Errors
///
/// [`Fault`] if it could not be carried out.
pub fn check_submission<'a, E: Iterator<Item = &'a Action>>(
    action: &Action,
    earlier: impl Fn() -> E,
    state: &impl Read,
    credentials: &impl Credentials,
) -> Result<(), Fault> {
    match action {
        Action::SetCleanRoomPolicy(args) => {
            check(action, state, credentials)?;
            return policies::check_removal(state, args);
        }
        // May follow the action that enables the issuer, in the same proposal.
        Action::RotateOidcKey(args) if issuers::enabled_by(earlier(), args.contract_id.as_ref()) => {
            return Ok(());
        }
        Action::SetOidcIssuerUrl(args) if issuers::enabled_by(earlier(), args.contract_id.as_ref()) => {
            return issuers::check_url_form(args);
        }
        _ => {}
    }
    check(action, state, credentials)
}

fn check(action: &Action, state: &impl Read, credentials: &impl Credentials) -> Result<(), Fault> {
    match action {
        Action::SetContract(args) => contracts::check_set_contract(state, args),
        Action::SetCleanRoomPolicy(args) => policies::check(state, args),
        Action::EnableLogging(args)
        | Action::DisableLogging(args)
        | Action::EnableTelemetry(args)
        | Action::DisableTelemetry(args) => contracts::require_accepted(state, &args.contract_id),
        Action::SetServiceOption(_)
        | Action::RemoveUserIdentity(_)
        | Action::RemoveJwtIssuer(_)
        | Action::RemoveMinimumTcb(_)
        | Action::RemoveUser(_)
        | Action::EndChunk(_) => Ok(()),
        Action::SetMinimumTcb(args) => firmware::check_set(args),
        Action::SetMinimumTcbHex(args) => firmware::check_set_hex(args),
        Action::SetUserIdentity(args) => users::check_set_identity(state, args),
        Action::EnableOidcIssuer(args) => issuers::check_enable(state, args),
        Action::RotateOidcKey(args) => issuers::check_rotate(state, args),
        Action::SetOidcIssuerUrl(args) => issuers::check_set_url(state, args),
        Action::SetJwtIssuer(args) => trust::check_set_jwt_issuer(credentials, args),
        Action::SetMember(args) => membership::check_set(credentials, args),
        Action::RemoveMember(args) => membership::check_remove(state, args),
        Action::SetMemberData(args) => membership::check_set_data(state, args),
        Action::SetUser(args) => users::check_set(state, credentials, args),
        Action::SetUserData(args) => users::check_set_data(state, args),
        Action::SetRecoveryThreshold(args) => service::check_threshold(state, args.recovery_threshold),
        Action::SetConstitution(args) => components::check_constitution(credentials, args),
        Action::SetWasmApp(args) => components::check_application(credentials, args),
        Action::OpenService(args) => service::check_open(state, credentials, args),
        Action::AssertServiceIdentity(args) => {
            service::check_identity(state, credentials, &args.service_identity)
        }
        Action::ResetServiceTime(args) => service::check_time(args),
        Action::SetServiceConfiguration(args) => service::check_configuration(state, args),
    }
}

/// Checks an action and carries it out.
///
/// # Errors
///
/// [`Fault`] if the state does not admit it any more; what was written so far is to be discarded.
pub fn apply<S: Read + Write>(
    action: &Action,
    context: &ProposalContext,
    state: &mut S,
    credentials: &impl Credentials,
) -> Result<(), Fault> {
    use OptionStatus::{Disabled, Enabled};
    check(action, state, credentials)?;
    match action {
        Action::SetContract(args) => contracts::accept(state, &context.proposal_id, args),
        Action::SetCleanRoomPolicy(args) => policies::change(state, &context.proposal_id, args),
        Action::EnableLogging(args) => contracts::set_option(state, args, contracts::LOGGING, Enabled),
        Action::DisableLogging(args) => contracts::set_option(state, args, contracts::LOGGING, Disabled),
        Action::EnableTelemetry(args) => contracts::set_option(state, args, contracts::TELEMETRY, Enabled),
        Action::DisableTelemetry(args) => contracts::set_option(state, args, contracts::TELEMETRY, Disabled),
        Action::SetServiceOption(args) => contracts::set_service_option(state, args),
        Action::SetUserIdentity(args) => users::set_identity(state, args),
        Action::RemoveUserIdentity(args) => users::remove_identity(state, args),
        Action::EnableOidcIssuer(args) => issuers::enable(state, args),
        Action::RotateOidcKey(args) => issuers::rotate(state, args),
        Action::SetOidcIssuerUrl(args) => issuers::set_url(state, args),
        Action::SetJwtIssuer(args) => trust::set_jwt_issuer(state, credentials, args),
        Action::RemoveJwtIssuer(args) => trust::remove_jwt_issuer(state, args),
        Action::SetMember(args) => membership::set(state, credentials, args),
        Action::RemoveMember(args) => membership::remove(state, &context.proposal_id, args),
        Action::SetMemberData(args) => membership::set_data(state, args),
        Action::SetUser(args) => users::set(state, credentials, args),
        Action::RemoveUser(args) => users::remove(state, args),
        Action::SetUserData(args) => users::set_data(state, args),
        Action::SetRecoveryThreshold(args) => service::set_threshold(state, args),
        Action::SetConstitution(args) => components::set_constitution(state, args),
        Action::SetWasmApp(args) => components::set_application(state, credentials, args),
        Action::OpenService(_) => service::open(state),
        Action::AssertServiceIdentity(_) => Ok(()),
        Action::ResetServiceTime(args) => service::reset_time(state, args),
        Action::SetMinimumTcb(args) => firmware::set(state, args),
        Action::SetMinimumTcbHex(args) => firmware::set_hex(state, args),
        Action::RemoveMinimumTcb(args) => firmware::remove(state, args),
        Action::SetServiceConfiguration(args) => service::configure(state, args),
        Action::EndChunk(_) => service::end_chunk(state, context),
    }
}
