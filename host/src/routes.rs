//! From a request to its answer: framework endpoint or application endpoint, read or write.
//!
//! Reads run on the last signed state. Those of the framework, and queries of the application that take no
//! longer than a moment, run on the thread that read the request; other queries get a thread of their own, with
//! a share for each asker. Whatever may write goes to the writer, and its answer leaves after its batch is on
//! disk.

use std::sync::{Arc, PoisonError, RwLock};

use host_core::reply::{JSON, Reply};
use host_core::service::Call;
use host_core::{
    AppRequest, AppResponse, Caller, Component, GuestFailure, Guests as _, MemberRequest, State,
};
use kv::Context;
use kv::store::Store;
use model::FrameworkError;
use model::endpoint::CallerKind;
use model::tables::{ENDPOINTS, SERVICE_INFO};

use crate::asker::Asker;
use crate::authenticate;
use crate::clock::Clock;
use crate::executor::{Handle, Unavailable};
use crate::framework::{self, Endpoint, Facts, Query, ReceiptForm, Signed};
use crate::guests::WasmGuests;
use crate::https::{Answer, Door, Held, PeerCertificate, Request, Standing};
use crate::jwt::Tokens;
use crate::router::{Found, Parameters, Router};
use crate::turns::Turns;

/// Signed requests above this size are verified on a thread of their own, and probably carry a component.
const LARGE_PROPOSAL_BYTES: usize = 32 * 1024;

/// Everything that answering a request needs.
pub(crate) struct Routes {
    handle: Handle,
    guests: Arc<WasmGuests>,
    facts: Facts,
    framework: Router<Endpoint>,
    application: RwLock<Arc<Application>>,
    tokens: Tokens,
    /// For work ahead of the writer.
    ahead: Turns,
    /// For queries that take longer than a moment.
    queries: Turns,
    clock: Clock,
}

/// The application as one state describes it, kept until the tables it was read from change.
struct Application {
    store: Store,
    open: bool,
    routes: Router<AppRoute>,
}

/// An endpoint of the application.
struct AppRoute {
    /// Key of its row: `<VERB> <path>`.
    key: String,
    component: Component,
    export: u32,
    update: bool,
    prepare: bool,
    body_bytes_max: Option<usize>,
    callers: Vec<CallerKind>,
}

impl Application {
    fn of(state: &State) -> Self {
        let mut routes = Router::new();
        for row in ENDPOINTS.rows(state).unwrap_or_else(|error| {
            tracing::error!(%error, "the endpoint table cannot be read");
            Vec::new()
        }) {
            let (key, row) = (row.key, row.value.0);
            let component = row
                .component
                .parse()
                .ok()
                .and_then(|digest| Component::stored(&state.store, digest));
            let Some((method, path)) = key.split_once(' ') else {
                continue;
            };
            let Some(component) = component else {
                tracing::error!(endpoint = key, "the endpoint's component is not stored");
                continue;
            };
            let route = AppRoute {
                component,
                export: row.export,
                update: row.mode == "readwrite",
                prepare: row.prepare,
                body_bytes_max: row.body_bytes_max.and_then(|max| usize::try_from(max).ok()),
                callers: row
                    .authn_policies
                    .iter()
                    .filter_map(|policy| CallerKind::from_policy(policy))
                    .collect(),
                key: key.clone(),
            };
            routes.add(method, &format!("/app{path}"), route);
        }
        Self {
            store: state.store.clone(),
            open: state.is_open(),
            routes,
        }
    }

    fn describes(&self, state: &State) -> bool {
        [ENDPOINTS.name(), SERVICE_INFO.name()]
            .iter()
            .all(|table| self.store.same_table(&state.store, table))
    }
}

impl Routes {
    pub(crate) fn new(handle: Handle, guests: Arc<WasmGuests>, insecure_virtual: bool, clock: Clock) -> Self {
        let application = Application::of(&handle.state());
        Self {
            guests,
            facts: Facts { insecure_virtual },
            framework: framework::router(),
            application: RwLock::new(Arc::new(application)),
            tokens: Tokens::new(),
            ahead: Turns::new(),
            queries: Turns::shared(),
            clock,
            handle,
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request) -> Answer {
        if let Err(reply) = framework::check_escapes(&request) {
            return reply.into();
        }
        let path = request.uri.path();
        let method = request.method.as_str();
        let found = self.framework.find(method, path);
        if !matches!(found, Found::Nothing) {
            if path.starts_with("/app/") && !self.application(&self.handle.state()).open {
                return not_open().into();
            }
            return match settle(&request, found) {
                Ok((endpoint, parameters)) => self.framework(*endpoint, request, parameters).await,
                Err(reply) => reply.into(),
            };
        }
        if path.starts_with("/app/") {
            return self.application_call(request).await;
        }
        not_found().into()
    }

    fn application(&self, state: &State) -> Arc<Application> {
        let known = Arc::clone(&self.application.read().unwrap_or_else(PoisonError::into_inner));
        if known.describes(state) {
            return known;
        }
        let fresh = Arc::new(Application::of(state));
        *self.application.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        fresh
    }

    async fn framework(&self, endpoint: Endpoint, request: Request, parameters: Parameters) -> Answer {
        if let Err(reply) = framework::check_api_version(&request) {
            return reply.into();
        }
        let state = self.handle.state();
        match endpoint {
            Endpoint::Read(read) => {
                let query = Query {
                    now: self.clock.now(&state),
                    state: &state,
                    facts: &self.facts,
                    request: &request,
                    parameters: &parameters,
                };
                Answer {
                    reply: framework::read(read, &query),
                    transaction: Some(state.committed),
                }
            }
            Endpoint::Receipt(form) => self.receipt(form, &state, &request),
            Endpoint::Signed(signed) => self.signed(signed, state, request, parameters).await,
        }
    }

    fn receipt(&self, form: ReceiptForm, state: &State, request: &Request) -> Answer {
        let id = match framework::asked_for(request) {
            Ok(id) => id,
            Err(reply) => return reply.into(),
        };
        if let Some(reply) = framework::no_receipt(id, state.status_of(id)) {
            return reply.into();
        }
        framework::receipt(form, state, id, self.handle.ledger()).into()
    }

    async fn signed(
        &self,
        signed: Signed,
        state: Arc<State>,
        request: Request,
        parameters: Parameters,
    ) -> Answer {
        let now = self.clock.now(&state);
        let verified = if request.body.len() > LARGE_PROPOSAL_BYTES {
            self.verify_large(signed, Arc::clone(&state), request, parameters)
                .await
        } else {
            let verified = framework::verify(signed, &state, &request, &parameters, now.time);
            verified.map(|verified| (verified, request.body.into_parts().1))
        };
        let (verified, held) = match verified {
            Ok(verified) => verified,
            Err(reply) => return reply.into(),
        };
        if let Some(fault) = now.fault
            && !verified.resets_service_time(&*state)
        {
            return fault.reply().into();
        }
        let signer = Asker::Certificate(verified.signer().0);
        self.submit(signer, Call::Governance(verified), held).await
    }

    /// Verifies a large request, and compiles what a proposal carries before the writer sees it, by
    /// validating it on a snapshot. That verdict is dropped; the writer's own counts.
    ///
    /// Whoever sends it has proved nothing yet, so it is on the account of his address, and no
    /// digest of megabytes is made where others are served.
    async fn verify_large(
        &self,
        signed: Signed,
        state: Arc<State>,
        request: Request,
        parameters: Parameters,
    ) -> Result<(MemberRequest, Held), Reply> {
        let asker = Asker::Address(request.source);
        let turn = self.ahead.turn(asker).await.map_err(Unavailable::reply)?;
        let guests = Arc::clone(&self.guests);
        let time = self.clock.now(&state).time;
        let ahead = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let verified = framework::verify(signed, &state, &request, &parameters, time)?;
            if signed == Signed::Propose
                && let Some(constitution) = Component::constitution(&state.store)
            {
                let tx = state.trial(Context::Decide);
                if let Err(error) = guests.validate(&constitution, tx, verified.payload()) {
                    tracing::warn!(%error, "validating ahead");
                }
            }
            Ok((verified, request.body.into_parts().1))
        });
        ahead.await.unwrap_or_else(|error| {
            tracing::error!(%error, "verifying panicked");
            Err(failed_inside())
        })
    }

    async fn submit(&self, asker: Asker, call: Call, held: Held) -> Answer {
        match self.handle.submit_for(asker, call, held).await {
            Ok(outcome) => {
                if let Some(fault) = &outcome.fault {
                    tracing::warn!(fault, transaction = %outcome.tx, "a call failed inside the service");
                }
                Answer {
                    reply: outcome.reply,
                    transaction: Some(outcome.tx),
                }
            }
            Err(refused) => refused.reply().into(),
        }
    }

    async fn application_call(&self, request: Request) -> Answer {
        let state = self.handle.state();
        let application = self.application(&state);
        if !application.open {
            return not_open().into();
        }
        let found = application
            .routes
            .find(request.method.as_str(), request.uri.path());
        let (route, parameters) = match settle(&request, found) {
            Ok(found) => found,
            Err(reply) => return reply.into(),
        };
        if let Err(reply) = check_media_type(&request) {
            return reply.into();
        }
        let now = self.clock.now(&state);
        if let Some(fault) = now.fault.filter(|_| route.update) {
            return fault.reply().into();
        }
        let seconds = now.time.seconds();
        let caller = match authenticate::caller(&*state, &self.tokens, &request, &route.callers, seconds) {
            Ok(caller) => caller,
            Err(reply) => return reply.into(),
        };
        let asker = asker(&caller, &request);
        let (body, held) = request.body.into_parts();
        let call = AppRequest {
            endpoint: route.export,
            parameters,
            target: request
                .uri
                .path_and_query()
                .map_or_else(|| request.uri.path().to_owned(), ToString::to_string),
            query: request.uri.query().unwrap_or_default().to_owned(),
            content_type: text(&request.headers, &http::header::CONTENT_TYPE),
            caller,
            method: request.method.as_str().to_owned(),
            body,
            received_at_ms: now.time.ms(),
            transaction: state.committed,
            committed: state.committed,
        };
        if route.update {
            self.update(asker, route, call, held, state).await
        } else {
            self.query(asker, route, call, held, state).await
        }
    }

    /// Most queries are a moment's work, less than handing them to another thread twice. One that is not
    /// begins again on a thread of its own; and who has one there gets no moments here meanwhile.
    async fn query(
        &self,
        asker: Asker,
        route: &AppRoute,
        call: AppRequest,
        held: Held,
        state: Arc<State>,
    ) -> Answer {
        let committed = state.committed;
        let answered = if self.queries.are_idle() || !self.queries.has(&asker) {
            let tx = state.transaction(Context::Query);
            let moment = self.guests.query_in_a_moment(&route.component, tx, &call);
            moment.transpose()
        } else {
            None
        };
        let answered = match answered {
            Some(answered) => answered,
            None => match self.long_query(asker, route, call, held, state).await {
                Ok(answered) => answered,
                Err(refused) => return refused.into(),
            },
        };
        let reply = match answered {
            Ok(response) => Reply::from(response),
            Err(failure) => {
                tracing::warn!(%failure, endpoint = route.key, "a query failed inside the service");
                Reply::guest_failure(&failure)
            }
        };
        Answer {
            reply,
            transaction: Some(committed),
        }
    }

    async fn long_query(
        &self,
        asker: Asker,
        route: &AppRoute,
        call: AppRequest,
        held: Held,
        state: Arc<State>,
    ) -> Result<Result<AppResponse, GuestFailure>, Reply> {
        let turn = self.queries.turn(asker).await.map_err(Unavailable::reply)?;
        let (guests, component) = (Arc::clone(&self.guests), route.component.clone());
        let answered = tokio::task::spawn_blocking(move || {
            let (_turn, _held) = (turn, held);
            guests.query(&component, state.transaction(Context::Query), &call)
        });
        answered.await.map_err(|error| {
            tracing::error!(%error, "a query panicked");
            failed_inside()
        })
    }

    async fn update(
        &self,
        asker: Asker,
        route: &AppRoute,
        call: AppRequest,
        held: Held,
        state: Arc<State>,
    ) -> Answer {
        let (request, held) = if route.prepare {
            match self
                .prepare(asker, route.component.clone(), call, held, state)
                .await
            {
                Ok(prepared) => prepared,
                Err(reply) => return reply.into(),
            }
        } else {
            (call, held)
        };
        let route = route.key.clone();
        self.submit(asker, Call::App { route, request }, held).await
    }

    /// Runs a dear update on a snapshot first, so that the writer finds verdicts, checked
    /// signatures and keys ready (decision 26). A guest that fails to answer ends here, and a refusal for
    /// which no state was looked at (decision 58); any other may have to be written down, or a newer
    /// state may decide otherwise.
    async fn prepare(
        &self,
        asker: Asker,
        component: Component,
        mut call: AppRequest,
        held: Held,
        state: Arc<State>,
    ) -> Result<(AppRequest, Held), Reply> {
        let turn = self.ahead.turn(asker).await.map_err(Unavailable::reply)?;
        let guests = Arc::clone(&self.guests);
        let prepared = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let tx = state.trial(Context::Update);
            call.transaction = tx.id();
            let result = guests.prepare(&component, tx, &call);
            (call, held, result)
        })
        .await;
        match prepared {
            Ok((call, held, Ok(None))) => Ok((call, held)),
            Ok((_, _, Ok(Some(refusal)))) => Err(refusal.into()),
            Ok((_, _, Err(failure))) => {
                tracing::warn!(%failure, "a prepare pass failed inside the service");
                Err(Reply::guest_failure(&failure))
            }
            Err(error) => {
                tracing::error!(%error, "a prepare pass panicked");
                Err(failed_inside())
            }
        }
    }
}

impl Door for Routes {
    fn body_bytes_max(&self, method: &http::Method, path: &str) -> Option<usize> {
        let application = self.application(&self.handle.state());
        match application.routes.find(method.as_str(), path) {
            Found::Entry(route, _) => route.body_bytes_max,
            _ => None,
        }
    }

    fn standing(&self, certificate: &PeerCertificate) -> Standing {
        let state = self.handle.state();
        let now = self.clock.now(&state).time.seconds();
        authenticate::standing(&*state, certificate, now)
    }

    fn begins_like_a_members_message(&self, begun: &[u8]) -> bool {
        host_core::member_request::head_names_active_member(&*self.handle.state(), begun)
    }
}

/// Who asks, as far as queues go.
fn asker(caller: &Caller, request: &Request) -> Asker {
    match (caller, &request.certificate) {
        (Caller::Member(_) | Caller::User(_), Some(certificate)) => Asker::Certificate(certificate.id),
        (Caller::Token { issuer, claims_json }, _) => Asker::token(issuer, &subject(claims_json)),
        _ => Asker::Address(request.source),
    }
}

/// The subject that a checked token names; empty if it names none.
fn subject(claims_json: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Claims {
        #[serde(default)]
        sub: String,
    }
    serde_json::from_str(claims_json).map_or_else(|_| String::new(), |claims: Claims| claims.sub)
}

fn text(headers: &http::HeaderMap, name: &http::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn failed_inside() -> Reply {
    Reply::error(
        FrameworkError::InternalError,
        "the request failed inside the service",
    )
}

/// The entry that was found, or the answer to a request that meets none.
fn settle<'a, T>(request: &Request, found: Found<'a, T>) -> Result<(&'a T, Parameters), Reply> {
    match found {
        Found::Entry(entry, parameters) => Ok((entry, parameters)),
        Found::Nothing => Err(not_found()),
        Found::Undecodable => Err(Reply::error(
            FrameworkError::InvalidResourceName,
            "a part of the path has a malformed escape or is not UTF-8",
        )),
        Found::OtherMethods(mut methods) => {
            if methods.contains(&"GET") {
                methods.push("HEAD");
            }
            methods.push("OPTIONS");
            let allow = methods.join(", ");
            if request.method == http::Method::OPTIONS {
                return Err(Reply::empty(204).with_header("allow", allow));
            }
            let text = format!("this path takes {allow}");
            Err(Reply::error(FrameworkError::UnsupportedHttpVerb, text).with_header("allow", allow))
        }
    }
}

/// The application reads JSON. A body that does not say what it is passes; one that says that it
/// is something else is refused before anybody looks at it (decision 42).
fn check_media_type(request: &Request) -> Result<(), Reply> {
    match request.media_type() {
        Some(other) if !request.body.is_empty() && !other.eq_ignore_ascii_case(JSON) => Err(Reply::error(
            FrameworkError::UnsupportedContentType,
            "bodies have content-type application/json",
        )),
        _ => Ok(()),
    }
}

fn not_found() -> Reply {
    Reply::error(FrameworkError::ResourceNotFound, "no such path")
}

fn not_open() -> Reply {
    Reply::error(
        FrameworkError::FrontendNotOpen,
        "the service is not open yet; members open it with transition_service_to_open",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asker::Source;
    use crate::https::Body;

    fn status(content_type: Option<&str>, body: &'static [u8]) -> u16 {
        let mut headers = http::HeaderMap::new();
        if let Some(value) = content_type {
            headers.insert(http::header::CONTENT_TYPE, value.parse().unwrap());
        }
        let request = Request {
            method: http::Method::PUT,
            uri: "/app/contracts/c".parse().unwrap(),
            headers,
            body: Body::of(body),
            certificate: None,
            source: Source::of(std::net::Ipv4Addr::LOCALHOST.into()),
        };
        check_media_type(&request).map_or_else(|reply| reply.status, |()| 200)
    }

    #[test]
    fn bodies_that_say_they_are_not_json_are_refused() {
        for content_type in [
            "text/plain",
            "application/cose",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(status(Some(content_type), b"{}"), 415, "{content_type}");
            assert_eq!(status(Some(content_type), b""), 200, "{content_type}");
        }
        for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(status(Some(content_type), b"{}"), 200, "{content_type}");
        }
        assert_eq!(status(None, b"{}"), 200);
    }
}
