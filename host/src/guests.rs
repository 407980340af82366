//! Runs the two components: loads them by digest, gives every call a fresh, limited instance, and
//! moves the transaction in and out.
//!
//! What the guests' imports do is in `guest_imports`; which tables a call may open follows from
//! the transaction's context and is decided in `kv::access`.

mod bindings;
mod call;
mod engine;
mod loading;

use std::sync::Arc;

use host_core::guests::Validation;
use host_core::{
    AppRequest, AppResponse, Caller, Component, Failed, GuestFailure, Guests, Invalid, ResolveContext,
    Transaction,
};
use model::proposal::{Moment, Resolution};
use model::service::EndpointRow;
use model::{Digest, MemberId, ServiceId};

use self::bindings::app::concordat::host::kv;
use self::bindings::app::exports::concordat::host::application as app;
use self::bindings::constitution::exports::concordat::host::governance as gov;
use self::call::{FUEL, reader, run, run_with, writer};
use self::engine::{FUEL_OF_A_LIST, FUEL_OF_A_MOMENT, FUEL_PER_CALL};
use self::loading::{Loaded, World};
use crate::guest_imports::nonce::NonceKey;
use crate::guest_imports::{ServiceSettings, Services};

pub(crate) use self::bindings::{Reader, Writer, app as app_bindings, constitution as constitution_bindings};
pub(crate) use self::call::{CallState, Pass};
pub(crate) use self::loading::Loader;
pub use self::loading::{COMPONENT_BYTES_MAX, LoadError};

/// Opens what the engine reads of this process, before the process is closed to others.
pub fn open_page_map() {
    engine::open_page_map();
}

/// One route that an application component offers.
#[derive(Clone, Debug)]
pub struct Route {
    /// HTTP method.
    pub method: String,
    /// Path below `/app`.
    pub path: String,
    /// The row of `public:ccf.gov.endpoints`.
    pub row: EndpointRow,
}

/// The components' engine, shared by the writer and all readers.
pub struct WasmGuests {
    loader: Arc<Loader>,
    pub(crate) services: Arc<Services>,
}

impl WasmGuests {
    /// An engine whose guests see these settings.
    ///
    /// # Errors
    ///
    /// If the machine cannot reserve the instance pool.
    pub fn new(settings: ServiceSettings) -> anyhow::Result<Self> {
        let loader = engine::engine()
            .and_then(Loader::new)
            .map_err(|e| anyhow::anyhow!("cannot set up the component engine: {e:#}"))?;
        let loader = Arc::new(loader);
        let services = Arc::new(Services::new(settings, Arc::clone(&loader)));
        Ok(Self { loader, services })
    }

    /// Tells guests which service they run in, once its identity is known. The first one stays.
    pub fn set_service(&self, service: ServiceId) {
        if self.services.service.set(service).is_err() {
            tracing::warn!("the service's identity was set twice");
        }
    }

    /// Tells guests what the ledger holds, once it is there. The first one stays.
    pub fn set_history(&self, is_committed: impl Fn(::kv::TxId) -> bool + Send + Sync + 'static) {
        if self.services.history.set(Box::new(is_committed)).is_err() {
            tracing::warn!("the ledger was set twice");
        }
    }

    /// Gives guests the key for nonces, once the service's identity is known. The first key stays.
    pub fn set_nonce_key(&self, key: NonceKey) {
        if self.services.nonce_key.set(key).is_err() {
            tracing::warn!("the key for nonces was set twice");
        }
    }

    /// Compiles a constitution and checks its imports, so that its first call does not wait.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if it cannot run here.
    pub fn inspect_constitution(&self, component: &[u8]) -> Result<Digest, LoadError> {
        inspect_constitution(&self.loader, component)
    }

    /// Compiles an application, checks its imports and asks it for its routes.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if it cannot run here or its list of endpoints is unsound.
    pub fn inspect_application(&self, component: &[u8]) -> Result<(Digest, Vec<Route>), LoadError> {
        inspect_application(&self.loader, &self.services, component)
    }

    /// Runs an update whose writes are dropped, so that verdicts on evidence, signature checks
    /// and RSA keys are ready when the writer runs it (decision 26).
    ///
    /// Gives the answer if the writer could only repeat it: a refusal for which no state was looked at, and
    /// which leaves no trace (decision 58).
    ///
    /// # Errors
    ///
    /// [`GuestFailure`], as the real call would give.
    pub fn prepare(
        &self,
        application: &Component,
        tx: Transaction,
        request: &AppRequest,
    ) -> Result<Option<AppResponse>, GuestFailure> {
        let (state, response) = self.update_in(Pass::Prepare, application, tx, request)?;
        Ok((!state.saw_state && !response.commits()).then_some(response))
    }

    /// Answers a query with a moment's fuel only, on a thread that has others to serve.
    ///
    /// # Errors
    ///
    /// [`GuestFailure`], as the whole call would give; `None` if it needs longer.
    pub fn query_in_a_moment(
        &self,
        application: &Component,
        tx: Transaction,
        request: &AppRequest,
    ) -> Result<Option<AppResponse>, GuestFailure> {
        match self.query_in(FUEL_OF_A_MOMENT, application, tx, request) {
            Ok(response) => Ok(Some(response)),
            Err(GuestFailure::Limit(what)) if what == FUEL => Ok(None),
            Err(other) => Err(other),
        }
    }

    fn query_in(
        &self,
        fuel: u64,
        application: &Component,
        tx: Transaction,
        request: &AppRequest,
    ) -> Result<AppResponse, GuestFailure> {
        let loaded = self.load(World::App, application)?;
        let Loaded::App(pre) = &*loaded else {
            return Err(wrong_world());
        };
        let (_, response) = run_with(
            fuel,
            &self.loader.engine,
            self.state(tx).at(request.received_at_ms),
            |store| {
                let instance = pre.instantiate(&mut *store)?;
                let guest = instance.concordat_host_application();
                let parameters = parameters(request);
                guest.call_query(store, reader(), wit_request(request, &parameters))
            },
        )?;
        app_response(response).unless_fault()
    }

    fn load(&self, world: World, component: &Component) -> Result<Arc<Loaded>, GuestFailure> {
        self.loader
            .load(world, component.digest, &component.bytes)
            .map_err(|e| GuestFailure::Unloadable(e.to_string()))
    }

    fn state(&self, tx: Transaction) -> CallState {
        CallState::new(Some(tx), Arc::clone(&self.services))
    }

    fn with_constitution<R>(
        &self,
        component: &Component,
        tx: Transaction,
        call: impl FnOnce(&gov::Guest, &mut wasmtime::Store<CallState>) -> wasmtime::Result<R>,
    ) -> Result<(Transaction, R), GuestFailure> {
        let loaded = self.load(World::Constitution, component)?;
        let Loaded::Constitution(pre) = &*loaded else {
            return Err(wrong_world());
        };
        let (state, result) = run(&self.loader.engine, self.state(tx), |store| {
            let instance = pre.instantiate(&mut *store)?;
            call(instance.concordat_host_governance(), store)
        })?;
        Ok((state.transaction.ok_or_else(no_transaction)?, result))
    }

    fn update_in(
        &self,
        pass: Pass,
        application: &Component,
        tx: Transaction,
        request: &AppRequest,
    ) -> Result<(CallState, AppResponse), GuestFailure> {
        let loaded = self.load(World::App, application)?;
        let Loaded::App(pre) = &*loaded else {
            return Err(wrong_world());
        };
        let state = self
            .state(tx)
            .at(request.received_at_ms)
            .of_request(pass, request_digest(request));
        let (state, response) = run(&self.loader.engine, state, |store| {
            let instance = pre.instantiate(&mut *store)?;
            let guest = instance.concordat_host_application();
            let parameters = parameters(request);
            guest.call_update(store, reader(), writer(), wit_request(request, &parameters))
        })?;
        Ok((state, app_response(response).unless_fault()?))
    }
}

impl Guests for WasmGuests {
    fn validate(
        &self,
        constitution: &Component,
        tx: Transaction,
        proposal: &[u8],
    ) -> Result<(Transaction, Validation), GuestFailure> {
        let (tx, verdict) = self.with_constitution(constitution, tx, |guest, store| {
            guest.call_validate(store, reader(), proposal)
        })?;
        let faults = |faults: Vec<gov::Invalid>| -> Vec<Invalid> {
            let fault = |fault: gov::Invalid| Invalid {
                position: fault.position,
                action: fault.action,
                reason: fault.reason,
                unavailable: fault.unavailable,
            };
            faults.into_iter().map(fault).collect()
        };
        Ok((tx, verdict.map_err(faults)))
    }

    fn resolve(
        &self,
        constitution: &Component,
        tx: Transaction,
        context: &ResolveContext,
        proposal: &[u8],
        ballots: &[(MemberId, bool)],
    ) -> Result<(Transaction, Resolution), GuestFailure> {
        let ids: Vec<String> = ballots.iter().map(|(id, _)| id.to_string()).collect();
        let ballots: Vec<gov::Ballot<'_>> = ids
            .iter()
            .zip(ballots)
            .map(|(member_id, (_, accept))| gov::Ballot {
                member_id,
                accept: *accept,
            })
            .collect();
        let names = ContextNames::of(context);
        let (tx, resolution) = self.with_constitution(constitution, tx, |guest, store| {
            guest.call_resolve(store, reader(), names.wit(context), proposal, &ballots)
        })?;
        Ok((
            tx,
            match resolution {
                gov::Resolution::Open => Resolution::Open,
                gov::Resolution::Accepted => Resolution::Accepted,
                gov::Resolution::Rejected => Resolution::Rejected,
            },
        ))
    }

    fn apply(
        &self,
        constitution: &Component,
        tx: Transaction,
        context: &ResolveContext,
        proposal: &[u8],
    ) -> Result<(Transaction, Result<(), Failed>), GuestFailure> {
        let names = ContextNames::of(context);
        let (tx, result) = self.with_constitution(constitution, tx, |guest, store| {
            guest.call_apply(store, reader(), writer(), names.wit(context), proposal)
        })?;
        Ok((
            tx,
            result.map_err(|failed| Failed {
                action: failed.action,
                reason: failed.reason,
            }),
        ))
    }

    fn query(
        &self,
        application: &Component,
        tx: Transaction,
        request: &AppRequest,
    ) -> Result<AppResponse, GuestFailure> {
        self.query_in(FUEL_PER_CALL, application, tx, request)
    }

    fn update(
        &self,
        application: &Component,
        tx: Transaction,
        request: &AppRequest,
    ) -> Result<(Transaction, AppResponse), GuestFailure> {
        let (state, response) = self.update_in(Pass::Real, application, tx, request)?;
        Ok((state.transaction.ok_or_else(no_transaction)?, response))
    }
}

fn wrong_world() -> GuestFailure {
    GuestFailure::Unloadable("the component was compiled for another world".to_owned())
}

fn no_transaction() -> GuestFailure {
    GuestFailure::Trap("the transaction was not handed back".to_owned())
}

pub(crate) fn inspect_constitution(loader: &Loader, component: &[u8]) -> Result<Digest, LoadError> {
    let digest = crypto::sha256(component);
    loader.load(World::Constitution, digest, component)?;
    Ok(digest)
}

/// Endpoints that one application may have.
const ENDPOINTS_MAX: usize = 1000;

pub(crate) fn inspect_application(
    loader: &Loader,
    services: &Arc<Services>,
    component: &[u8],
) -> Result<(Digest, Vec<Route>), LoadError> {
    let digest = crypto::sha256(component);
    let loaded = loader.load(World::App, digest, component)?;
    let Loaded::App(pre) = &*loaded else {
        return Err(LoadError::Mismatch(
            "it was compiled for another world".to_owned(),
        ));
    };
    let state = CallState::new(None, Arc::clone(services));
    // On the fuel of its own that a list needs: it runs inside of another call.
    let (_, endpoints) = run_with(FUEL_OF_A_LIST, &loader.engine, state, |store| {
        let instance = pre.instantiate(&mut *store)?;
        instance.concordat_host_application().call_endpoints(store)
    })
    .map_err(|failure| match failure {
        GuestFailure::Busy(what) => LoadError::Busy(what),
        other => LoadError::Mismatch(format!("it does not list its endpoints: {other}")),
    })?;
    Ok((digest, routes(digest, endpoints)?))
}

fn routes(component: Digest, endpoints: Vec<app::Endpoint>) -> Result<Vec<Route>, LoadError> {
    if endpoints.len() > ENDPOINTS_MAX {
        return Err(LoadError::Mismatch(format!(
            "it lists more than {ENDPOINTS_MAX} endpoints"
        )));
    }
    endpoints
        .into_iter()
        .zip(0..)
        .map(|(endpoint, export)| route(component, export, endpoint))
        .collect()
}

fn route(component: Digest, export: u32, endpoint: app::Endpoint) -> Result<Route, LoadError> {
    let unsound = |what: &str| {
        LoadError::Mismatch(format!(
            "endpoint {export} ({} {}): {what}",
            endpoint.method, endpoint.path
        ))
    };
    if model::endpoint::Method::from_name(&endpoint.method).is_none() {
        return Err(unsound("unknown method"));
    }
    if !endpoint.path.starts_with('/') || endpoint.path.len() > 256 {
        return Err(unsound("a path starts with / and has at most 256 bytes"));
    }
    let known = |name: &String| model::endpoint::CallerKind::from_policy(name).is_some();
    if endpoint.callers.is_empty() || !endpoint.callers.iter().all(known) {
        return Err(unsound("callers must be member_cert, user_cert, jwt or no_auth"));
    }
    let update = endpoint.mode == app::Mode::Update;
    let text = |update_text: &str, query_text: &str| if update { update_text } else { query_text }.to_owned();
    Ok(Route {
        row: EndpointRow {
            mode: text("readwrite", "readonly"),
            forwarding_required: text("always", "sometimes"),
            redirection_strategy: text("to_primary", "none"),
            authn_policies: endpoint.callers,
            component: component.to_string(),
            export,
            prepare: update && endpoint.prepare,
            body_bytes_max: endpoint.body_bytes_max,
        },
        method: endpoint.method,
        path: endpoint.path,
    })
}

/// Ids as text, for as long as a call borrows them.
struct ContextNames {
    proposal: String,
    proposer: String,
}

impl ContextNames {
    fn of(context: &ResolveContext) -> Self {
        Self {
            proposal: context.proposal_id.to_string(),
            proposer: context.proposer_id.to_string(),
        }
    }

    fn wit(&self, context: &ResolveContext) -> gov::Context<'_> {
        gov::Context {
            proposal_id: &self.proposal,
            proposer_id: &self.proposer,
            moment: match context.moment {
                Moment::Creation => gov::Moment::Creation,
                Moment::Ballot => gov::Moment::Ballot,
                Moment::Change => gov::Moment::Change,
            },
        }
    }
}

/// What identifies a request in the prepare pass and again in the real call. The times and
/// transaction ids differ between the two and are left out.
fn request_digest(request: &AppRequest) -> Digest {
    let caller: [&[u8]; 2] = match &request.caller {
        Caller::Member(principal) => [b"member", principal.id.as_bytes()],
        Caller::User(principal) => [b"user", principal.id.as_bytes()],
        Caller::Token { claims_json, .. } => [b"token", claims_json.as_bytes()],
        Caller::Anonymous => [b"anonymous", b""],
    };
    let parts = [
        request.method.as_bytes(),
        request.target.as_bytes(),
        caller[0],
        caller[1],
        &request.body,
    ];
    // Each part is preceded by its length, so that no two requests share a digest.
    let lengths = parts.map(|part| (part.len() as u64).to_be_bytes());
    let mut framed: Vec<&[u8]> = Vec::with_capacity(2 * parts.len());
    for (length, part) in lengths.iter().zip(parts) {
        framed.push(length);
        framed.push(part);
    }
    crypto::sha256_parts(&framed)
}

fn parameters(request: &AppRequest) -> Vec<(&str, &str)> {
    request
        .parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn wit_request<'a>(request: &'a AppRequest, parameters: &'a [(&'a str, &'a str)]) -> app::Request<'a> {
    let principal = |principal: &'a host_core::Principal| app::Principal {
        id: &principal.id,
        data_json: &principal.data_json,
        active: principal.active,
    };
    let tx_id = |id: model::TxId| kv::TxId {
        view: id.view,
        seqno: id.seqno,
    };
    app::Request {
        endpoint: request.endpoint,
        parameters,
        method: &request.method,
        target: &request.target,
        query: &request.query,
        content_type: request.content_type.as_deref(),
        caller: match &request.caller {
            Caller::Member(member) => app::Caller::Member(principal(member)),
            Caller::User(user) => app::Caller::User(principal(user)),
            Caller::Token { issuer, claims_json } => app::Caller::Token(app::Token { issuer, claims_json }),
            Caller::Anonymous => app::Caller::Anonymous,
        },
        body: &request.body,
        received_at_ms: request.received_at_ms,
        transaction: tx_id(request.transaction),
        committed: tx_id(request.committed),
    }
}

fn app_response(response: app::Response) -> AppResponse {
    AppResponse {
        status: response.status,
        content_type: response.content_type,
        body: response.body,
        retry_after: response.retry_after,
        commit_on_error: response.commit_on_error,
        cache_seconds: response.cache_seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_lists_the_most_endpoints_and_not_one_more() {
        let listed = |count: usize| {
            let endpoint = |number: usize| app::Endpoint {
                method: "GET".to_owned(),
                path: format!("/x{number}"),
                mode: app::Mode::Query,
                callers: vec!["no_auth".to_owned()],
                prepare: false,
                body_bytes_max: None,
            };
            routes(Digest::ZERO, (0..count).map(endpoint).collect()).map(|routes| routes.len())
        };
        assert_eq!(listed(ENDPOINTS_MAX), Ok(ENDPOINTS_MAX));
        assert!(matches!(
            listed(ENDPOINTS_MAX + 1),
            Err(LoadError::Mismatch(what)) if what.contains("more than 1000 endpoints")
        ));
    }
}
