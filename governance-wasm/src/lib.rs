//! The clean-room application as a component: binds [`governance_app`] to the `app` world of
//! `wit/`. Conversions only; a decision made here is a bug.
#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(
        dead_code,
        unused_macros,
        unused_imports,
        reason = "natively the crate is checked only: its exports exist for the engine"
    )
)]

mod bindings;
mod host;

use bindings::concordat::host::kv::{Reader, TxId as WitTxId, Writer};
use bindings::exports::concordat::host::application::{
    Caller as WitCaller, Endpoint as WitEndpoint, Guest, Mode as WitMode, Principal as WitPrincipal,
    Request as WitRequest, Response,
};
use governance_app::{Caller, Endpoint, Principal, Reply, Request};
use host::Handles;
use kv::TxId;
use model::endpoint::{CallerKind, EVIDENCE_BODY_BYTES_MAX, Mode};

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: guest_memory::Bump = guest_memory::Bump::new(guest_memory::wasm::MORE_MEMORY);

struct Component;

const fn tx_id(id: WitTxId) -> TxId {
    TxId::new(id.view, id.seqno)
}

fn principal(given: WitPrincipal) -> Principal {
    Principal {
        id: given.id,
        data_json: given.data_json,
        active: given.active,
    }
}

fn caller(given: WitCaller) -> Caller {
    match given {
        WitCaller::Member(member) => Caller::Member(principal(member)),
        WitCaller::User(user) => Caller::User(principal(user)),
        WitCaller::Token(token) => Caller::Token {
            issuer: token.issuer,
            claims_json: token.claims_json,
        },
        WitCaller::Anonymous => Caller::Anonymous,
    }
}

/// A position outside the list that this component gave is the host's bug and ends the call.
fn request(given: WitRequest) -> Request {
    let position = usize::try_from(given.endpoint).unwrap_or(usize::MAX);
    let endpoint = Endpoint::ALL
        .get(position)
        .copied()
        .expect("the host asks for endpoints we listed");
    Request {
        endpoint,
        parameters: given.parameters,
        method: given.method,
        target: given.target,
        query: given.query,
        caller: caller(given.caller),
        body: given.body,
        received_at_ms: given.received_at_ms,
        transaction: tx_id(given.transaction),
        committed: tx_id(given.committed),
    }
}

fn response(reply: Reply) -> Response {
    Response {
        status: reply.status,
        content_type: reply.content_type,
        body: reply.body,
        retry_after: None,
        commit_on_error: reply.commit_on_error,
        cache_seconds: reply.cache_seconds,
    }
}

fn answer(handles: Handles<'_>, given: WitRequest) -> Response {
    let mut changes = handles;
    response(governance_app::answer(
        &handles,
        &mut changes,
        &handles,
        &request(given),
    ))
}

impl Guest for Component {
    fn endpoints() -> Vec<WitEndpoint> {
        Endpoint::ALL
            .iter()
            .map(|endpoint| {
                let spec = endpoint.spec();
                WitEndpoint {
                    method: spec.method.as_str().to_owned(),
                    path: spec.path.to_owned(),
                    mode: match spec.mode {
                        Mode::Query => WitMode::Query,
                        Mode::Update => WitMode::Update,
                    },
                    callers: spec
                        .callers
                        .iter()
                        .copied()
                        .map(CallerKind::policy)
                        .map(ToOwned::to_owned)
                        .collect(),
                    prepare: spec.prepare,
                    body_bytes_max: spec.takes_evidence().then_some(EVIDENCE_BODY_BYTES_MAX),
                }
            })
            .collect()
    }

    fn query(state: &Reader, given: WitRequest) -> Response {
        answer(
            Handles {
                reader: state,
                writer: None,
            },
            given,
        )
    }

    fn update(state: &Reader, changes: &Writer, given: WitRequest) -> Response {
        answer(
            Handles {
                reader: state,
                writer: Some(changes),
            },
            given,
        )
    }
}
