//! The host's side of `wit/`: what components may ask for.
//!
//! Nothing here waits: every import is answered from memory. Private keys and parsers of hostile
//! input stay on this side of the boundary.

mod attestation;
mod costs;
mod credentials;
mod crypto;
mod history;
mod kv;
pub(crate) mod memo;
pub mod nonce;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use self::crypto::NamedKey;
use crate::guests::Loader;
use history::History;
use memo::{KeyMemo, Memo, NamedMemo};
use model::ServiceId;
use nonce::NonceKey;

/// What guests' imports need to know of this node.
pub struct ServiceSettings {
    /// Roots and platforms whose evidence is accepted.
    pub trust: ::attestation::Trust,
    /// Whether the node was started with `--insecure-virtual`.
    pub insecure_virtual: bool,
}

/// Certificate chains and UVM endorsements remembered.
const CHAINS_MAX: usize = 256;
/// Verdicts on evidence remembered, about 4 KiB each.
const VERDICTS_MAX: usize = 1024;
/// Signature checks remembered, 33 bytes each.
const SIGNATURES_MAX: usize = 8192;

/// Named keys kept ready for use.
const NAMED_KEYS_MAX: usize = 256;

/// Shared by all calls.
pub(crate) struct Services {
    pub(crate) settings: ServiceSettings,
    pub(crate) loader: Arc<Loader>,
    /// Set once the service's identity is known, which is before the first request.
    pub(crate) nonce_key: OnceLock<NonceKey>,
    /// Set with it: what is committed here.
    pub(crate) history: OnceLock<History>,
    /// Set with it.
    pub(crate) service: OnceLock<ServiceId>,
    pub(crate) chains: ::attestation::Memo,
    pub(crate) verdicts: Memo<Result<Arc<::attestation::Verified>, String>>,
    pub(crate) signatures: Memo<bool>,
    pub(crate) keys: KeyMemo,
    pub(crate) named_keys: NamedMemo<Arc<NamedKey>>,
}

impl Services {
    pub(crate) fn new(settings: ServiceSettings, loader: Arc<Loader>) -> Self {
        Self {
            settings,
            loader,
            nonce_key: OnceLock::new(),
            history: OnceLock::new(),
            service: OnceLock::new(),
            chains: ::attestation::Memo::new(CHAINS_MAX),
            verdicts: Memo::new(VERDICTS_MAX),
            signatures: Memo::new(SIGNATURES_MAX),
            keys: KeyMemo::new(),
            named_keys: NamedMemo::new(NAMED_KEYS_MAX),
        }
    }

    /// Makes and checks nonces.
    pub(crate) fn nonces(&self) -> wasmtime::Result<&NonceKey> {
        self.nonce_key
            .get()
            .ok_or_else(|| wasmtime::format_err!("the service's identity is not known yet"))
    }

    /// What is committed here.
    pub(crate) fn history(&self) -> wasmtime::Result<&History> {
        self.history
            .get()
            .ok_or_else(|| wasmtime::format_err!("the service's ledger is not known yet"))
    }

    /// Who this service is.
    pub(crate) fn service(&self) -> wasmtime::Result<&ServiceId> {
        self.service
            .get()
            .ok_or_else(|| wasmtime::format_err!("the service's identity is not known yet"))
    }
}
