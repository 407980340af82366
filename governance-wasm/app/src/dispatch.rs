//! From endpoint to handler: one exhaustive match.

use cleanroom_model::endpoints::Endpoint as E;
use cleanroom_model::governance::OptionStatus::{Disabled, Enabled};
use kv::{Read, Write};
use serde_json::json;

use crate::host_services::{HostServices, KeyWrapping};
use crate::permit::wrapper::Wrapper;
use crate::reply::{Answer, Reply};
use crate::request::{Call, Request};
use crate::{
    consent, contracts, delegates, documents, events, issuer, policies, row_counts, run_requests, runs,
    secrets, tokens, user_proposals, users,
};

/// Answers a request. Writes count only if the status is below 400 or the reply says so; a query
/// endpoint never writes.
pub fn answer<H: HostServices + KeyWrapping>(
    state: &dyn Read,
    changes: &mut dyn Write,
    host: &H,
    request: &Request,
) -> Reply {
    let call = Call {
        state,
        host,
        wrapper: Wrapper::new(host),
        request,
    };
    dispatch(&call, changes).unwrap_or_else(crate::reply::Failure::into_reply)
}

fn dispatch(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    match call.request.endpoint {
        E::ListContracts => contracts::list(call),
        E::PutContract => contracts::put(call, changes),
        E::ReadContract => contracts::read(call),
        E::ContractOptionStatus => consent::contract_status(call, changes),
        E::EnableContractOption => consent::switch_contract(call, changes, Enabled),
        E::DisableContractOption => consent::switch_contract(call, changes, Disabled),
        E::ListEvents => events::list(call),
        E::PutEvent => events::put(call, changes),
        E::ListSecrets => secrets::list(call),
        E::PutSecret => secrets::put(call, changes),
        E::ReleaseSecret => secrets::release(call, changes),
        E::ReadPolicy => policies::read(call),
        E::ListDelegates => delegates::list(call),
        E::ReadDelegate => delegates::read(call),
        E::PutDelegate => delegates::put(call, changes),
        E::IssueToken => tokens::issue(call, changes),
        E::ListUserDocuments => documents::list(call),
        E::PutUserDocument => documents::put(call, changes),
        E::ReadUserDocument => documents::read(call),
        E::ReleaseUserDocument => documents::release(call, changes),
        E::BallotUserDocument => documents::ballot(call, changes),
        E::UserDocumentOptionStatus => consent::document_status(call, changes),
        E::EnableUserDocumentOption => consent::switch_document(call, changes, Enabled),
        E::DisableUserDocumentOption => consent::switch_document(call, changes, Disabled),
        E::ListUserIdentities => users::list(call),
        E::OwnIdentityStatus => users::own_status(call),
        E::ReadUserIdentity => users::read(call),
        E::ReadUserProposal => user_proposals::read(call),
        E::PutUserProposal => user_proposals::put(call, changes),
        E::UserProposalStatus => user_proposals::read_status(call),
        E::WithdrawUserProposal => user_proposals::withdraw(call, changes),
        E::BallotUserProposal => user_proposals::ballot(call, changes),
        E::OidcConfiguration => issuer::configuration(call),
        E::OidcKeys => issuer::keys(call),
        E::GenerateOidcKey => issuer::generate(call, changes),
        E::SetIssuerUrl => issuer::set_url(call, changes),
        E::IssuerInfo => issuer::info(call),
        E::ContractOidcConfiguration => issuer::contract_configuration(call),
        E::ContractOidcKeys => issuer::contract_keys(call),
        E::GenerateContractOidcKey => issuer::generate_for_contract(call, changes),
        E::ServiceOptionStatus => consent::service_status(call),
        E::MintNonce => mint_nonce(call),
        E::PutRunRequest => run_requests::put(call, changes),
        E::ReadRunRequest => run_requests::read(call),
        E::CancelRun => run_requests::cancel(call, changes),
        E::ListRuns => run_requests::list(call, changes),
        E::PutRowCount => row_counts::put(call, changes),
        E::ReadRowCount => row_counts::read(call),
        E::AdmitRun => runs::admit(call, changes),
        E::Prerequisites => runs::prerequisites(call, changes),
        E::ReadRun => runs::read(call, changes),
        E::CheckRun => runs::check(call, changes),
    }
}

/// `POST /attestation/nonce`: a question; nothing is written until the nonce is used.
fn mint_nonce(call: &Call<'_>) -> Answer {
    let (nonce, expires_on) = call.host.mint_nonce();
    Reply::json(&json!({ "nonce": model::b64::encode(&nonce), "expiresOn": expires_on }))
}
