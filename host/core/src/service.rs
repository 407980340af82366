//! The service: calls in, outcomes out, and at the end of a batch the bytes to append.
//!
//! Everything runs on one thread, one call after another, on the state that the previous one
//! left. An outcome may be told to its caller only after the batch that contains it is on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use crypto::native::KeyError;
use kv::codec::Key as _;
use kv::store::Store;
use kv::{Context, Singleton, TxId, WriteSet};
use ledger::limits;
use model::endpoint::CallerKind;
use model::service::{EndpointRow, ServiceInfo, ServiceStatus};
use model::tables::{ENDPOINTS, SERVICE_INFO};
use model::{Digest, FrameworkError, ServiceId};
use zeroize::Zeroizing;

use crate::commit::{self, Batch, CoseClaims, Log, SealError};
use crate::effects::Reaction;
use crate::governance::{Governing, Refusal};
use crate::guests::{AppRequest, Caller, Component, Guests};
use crate::identity::{BootMark, Marks, NodeIdentity, ServiceIdentity, encode_identity};
use crate::member_request::MemberRequest;
use crate::reply::{Outcome, Reply};
use crate::shares::Entropy;
use crate::state::State;
use crate::transaction::Transaction;

/// What the service is asked to do.
pub enum Call {
    /// A member's signed request.
    Governance(MemberRequest),
    /// An application request on an endpoint that may write. The service sets `endpoint`,
    /// `transaction` and `committed` of the request itself.
    App {
        /// Key of the endpoint's row: `<VERB> <path>`.
        route: String,
        /// The request.
        request: AppRequest,
    },
}

/// Settings that do not change while the process runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Issuer and subject of the service's signatures.
    pub cose: CoseClaims,
    /// Bytes after which a ledger chunk ends.
    pub chunk_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cose: CoseClaims::default(),
            chunk_bytes_max: limits::CHUNK_SIZE_DEFAULT,
        }
    }
}

/// An endpoint as its row says, kept until the row changes.
struct Route {
    row: Arc<[u8]>,
    component: Component,
    export: u32,
    callers: Vec<CallerKind>,
}

/// The state machine.
pub struct Service {
    store: Store,
    log: Log,
    identity: ServiceIdentity,
    node: NodeIdentity,
    settings: Settings,
    entropy: Entropy,
    /// Above this size of the state the application writes nothing any more, bytes.
    state_bytes_max: usize,
    status: ServiceStatus,
    routes: BTreeMap<String, Route>,
    views: Arc<[TxId]>,
    /// The first entry of this process.
    boot: BootMark,
    earlier_boot: Option<BootMark>,
    /// Nothing is judged by an earlier time than this, Unix milliseconds: that of the last signature,
    /// and since then the greatest of the calls that wrote.
    floor_ms: u64,
    /// Issue time of the last signature, Unix seconds.
    signed_at: u64,
    /// Last signature and the root it is over.
    committed: TxId,
    root: Digest,
    cert_pem: Arc<str>,
}

/// What a service is put together from, before its first transaction.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) identity: ServiceIdentity,
    pub(crate) node: NodeIdentity,
    pub(crate) settings: Settings,
    pub(crate) entropy: Entropy,
    pub(crate) views: Vec<TxId>,
    /// The last boot entry before this one that is known to be on disk.
    pub(crate) earlier_boot: Option<BootMark>,
    /// Issue time of the last signature that is there, Unix seconds; 0 if there is none.
    pub(crate) signed_at: u64,
}

impl Service {
    /// Puts a service together and writes its first transaction, with a signature behind it.
    pub(crate) fn begin(
        parts: Parts,
        first: &WriteSet,
        flags: u8,
        now: u64,
    ) -> Result<(Self, Batch), SealError> {
        let mut views = parts.views;
        views.push(parts.log.next());
        let mut service = Self {
            boot: BootMark {
                id: parts.log.next(),
                root: Digest::ZERO,
            },
            earlier_boot: parts.earlier_boot,
            cert_pem: Arc::from(parts.identity.cert_pem.as_str()),
            store: parts.store,
            log: parts.log,
            identity: parts.identity,
            node: parts.node,
            settings: parts.settings,
            entropy: parts.entropy,
            state_bytes_max: usize::MAX,
            status: ServiceStatus::Opening,
            routes: BTreeMap::new(),
            views: views.into(),
            floor_ms: parts.signed_at.saturating_mul(1000),
            signed_at: parts.signed_at,
            committed: TxId::default(),
            root: Digest::ZERO,
        };
        service.append(first, flags);
        service.status = service.read_status();
        let batch = service.seal(now)?.expect("the first transaction is pending");
        service.boot.root = service.root;
        Ok((service, batch))
    }

    /// Bounds the state, in bytes as [`Store::size`] counts them: above, calls of the application are
    /// refused. Governance goes on, for only its members can then do something about it.
    pub const fn limit_state(&mut self, bytes: usize) {
        self.state_bytes_max = bytes;
    }

    /// Executes one call on the state that the previous one left.
    pub fn execute(&mut self, call: Call, guests: &dyn Guests) -> Outcome {
        match call {
            Call::Governance(request) => self.governance(&request, guests),
            Call::App { route, request } => self.application(&route, request, guests),
        }
    }

    fn governance(&mut self, request: &MemberRequest, guests: &dyn Guests) -> Outcome {
        let mut governing = Governing {
            tx: Transaction::new(self.store.clone(), Context::Host, self.log.next()),
            guests,
            secrets: self.log.secrets(),
            entropy: &mut self.entropy,
            root: self.root,
            reaction: Reaction::default(),
            members_changed: false,
            clock: request.judged_at().clock_seconds(),
            time_reset: false,
            rules_replaced: false,
            faults: Vec::new(),
        };
        let result = governing.execute(request);
        let Governing {
            tx,
            reaction,
            time_reset,
            faults,
            ..
        } = governing;
        let mut outcome = match result {
            Ok(reply) => self.commit(tx.into_write_set(), reply),
            Err(Refusal { reply, fault }) => self.refused(reply, fault),
        };
        if reaction.opened && outcome.wrote {
            self.status = self.read_status();
        }
        if reaction.ends_chunk && outcome.wrote {
            self.log.end_chunk();
        }
        let clock_ms = request.judged_at().clock_seconds().saturating_mul(1000);
        if time_reset && outcome.wrote {
            self.floor_ms = clock_ms;
        }
        self.note_time(&outcome, clock_ms);
        if outcome.fault.is_none() && !faults.is_empty() {
            outcome.fault = Some(faults.join("; "));
        }
        outcome
    }

    fn application(&mut self, route: &str, mut request: AppRequest, guests: &dyn Guests) -> Outcome {
        if self.status != ServiceStatus::Open {
            let reply = Reply::error(FrameworkError::FrontendNotOpen, "the service is not open");
            return self.refused(reply, None);
        }
        let size = self.store.size();
        if size > self.state_bytes_max {
            let text = format!(
                "the state takes {size} bytes, and this node takes no application writes above {}",
                self.state_bytes_max
            );
            return self.refused(Reply::error(FrameworkError::StateFull, text), None);
        }
        // Its time was read at the door. A later call that went before may have forgotten what this
        // one's time still needs, such as a nonce that was used.
        request.received_at_ms = request.received_at_ms.max(self.floor_ms);
        let received_at_ms = request.received_at_ms;
        // The row may have changed since the reader looked at it.
        let Some(endpoint) = self.route(route, &request.caller) else {
            let text = format!("the application no longer offers {route} to this caller");
            return self.refused(Reply::error(FrameworkError::ResourceNotFound, text), None);
        };
        request.endpoint = endpoint.export;
        let component = endpoint.component.clone();
        request.transaction = self.log.next();
        request.committed = self.committed;
        let tx = Transaction::new(self.store.clone(), Context::Update, request.transaction);
        match guests.update(&component, tx, &request) {
            Ok((tx, response)) => {
                let writes = if response.commits() {
                    tx.into_write_set()
                } else {
                    WriteSet::default()
                };
                let outcome = self.commit(writes, Reply::from(response));
                self.note_time(&outcome, received_at_ms);
                outcome
            }
            Err(failure) => self.refused(Reply::guest_failure(&failure), Some(failure.to_string())),
        }
    }

    /// A call that wrote was judged by this time, so the next signature carries it at least.
    fn note_time(&mut self, outcome: &Outcome, at_ms: u64) {
        if outcome.wrote {
            self.floor_ms = self.floor_ms.max(at_ms);
        }
    }

    /// The endpoint of this row, if the caller may use it.
    fn route(&mut self, route: &str, caller: &Caller) -> Option<&Route> {
        let row = self.store.get_shared(ENDPOINTS.name(), route.as_bytes())?;
        let known = self
            .routes
            .get(route)
            .is_some_and(|known| Arc::ptr_eq(&known.row, &row));
        if !known {
            let parsed: EndpointRow = serde_json::from_slice(&row).ok()?;
            let component = Component::stored(&self.store, parsed.component.parse().ok()?)?;
            let entry = Route {
                row,
                component,
                export: parsed.export,
                callers: parsed
                    .authn_policies
                    .iter()
                    .filter_map(|policy| CallerKind::from_policy(policy))
                    .collect(),
            };
            self.routes.insert(route.to_owned(), entry);
        }
        let kind = match caller {
            Caller::Member(_) => CallerKind::Member,
            Caller::User(_) => CallerKind::User,
            Caller::Token { .. } => CallerKind::Jwt,
            Caller::Anonymous => CallerKind::Anonymous,
        };
        self.routes
            .get(route)
            .filter(|route| route.callers.contains(&kind))
    }

    /// Turns a call's writes into an entry.
    fn commit(&mut self, writes: WriteSet, reply: Reply) -> Outcome {
        if writes.is_empty() {
            return self.refused(reply, None);
        }
        if let Err(error) = limits::check(&writes) {
            let reply = Reply::error(FrameworkError::ExecutionLimit, error.to_string());
            return self.refused(reply, Some(error.to_string()));
        }
        let id = self.append(&writes, 0);
        Outcome {
            reply,
            tx: id,
            wrote: true,
            fault: None,
        }
    }

    /// An answer without an entry.
    const fn refused(&self, reply: Reply, fault: Option<String>) -> Outcome {
        Outcome {
            reply,
            tx: self.log.last(),
            wrote: false,
            fault,
        }
    }

    fn append(&mut self, writes: &WriteSet, flags: u8) -> TxId {
        let id = self.log.append(writes, flags);
        self.store.apply(id, writes);
        id
    }

    fn read_status(&self) -> ServiceStatus {
        self.store
            .get(SERVICE_INFO.name(), &Singleton.to_bytes())
            .and_then(|row| serde_json::from_slice::<ServiceInfo>(row.value).ok())
            .map_or(ServiceStatus::Opening, |info| info.status)
    }

    /// Whether the batch must be sealed before another call is executed.
    #[must_use]
    pub const fn batch_is_full(&self) -> bool {
        let (entries, bytes) = self.log.pending();
        commit::is_full(entries, bytes)
    }

    /// Ends the batch with a signature; `None` if nothing was written. `now` is what the clock says,
    /// Unix seconds; the signature never carries less than what its calls were judged by.
    ///
    /// # Errors
    ///
    /// [`SealError`]; the service must not be used any further.
    pub fn seal(&mut self, now: u64) -> Result<Option<Batch>, SealError> {
        if !self.log.wants_seal() {
            return Ok(None);
        }
        let now = now.max(self.floor_ms / 1000);
        let (batch, rows, root) = self
            .log
            .seal(&self.identity, &self.node, &self.settings.cose, now)?;
        self.store.apply(batch.last, &rows);
        self.floor_ms = self.floor_ms.max(now.saturating_mul(1000));
        self.signed_at = now;
        self.committed = batch.last;
        self.root = root;
        Ok(Some(batch))
    }

    /// Ends the open chunk, so that auditors see everything; before a clean stop, and on request.
    ///
    /// # Errors
    ///
    /// As [`Service::seal`].
    pub fn end_chunk(&mut self, now: u64) -> Result<Option<Batch>, SealError> {
        self.log.end_chunk();
        self.seal(now)
    }

    /// What readers may see once the last batch is on disk.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            store: self.store.clone(),
            committed: self.committed,
            root: self.root,
            service_cert_pem: Arc::clone(&self.cert_pem),
            node_id: self.node.id(),
            views: Arc::clone(&self.views),
            startup_seqno: self.boot.id.seqno,
            signed_at: self.signed_at,
            proofs: Arc::clone(self.log.proofs()),
        }
    }

    /// This node's key and certificate, for its listener.
    #[must_use]
    pub const fn node(&self) -> &NodeIdentity {
        &self.node
    }

    /// Who this service is, to workloads whose evidence must name it: SHA-256 of its public key.
    #[must_use]
    pub fn id(&self) -> ServiceId {
        ServiceId(crypto::sha256(self.identity.key.spki_der()))
    }

    /// A secret that every process of this service derives alike, for uses outside the ledger.
    /// Different labels give unrelated secrets.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the service key cannot be exported.
    pub fn derive_secret(&self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let key = self.identity.key.to_pkcs8_der()?;
        Ok(Zeroizing::new(crypto::hmac_sha256(&key, label)))
    }

    /// The plain text of the identity as it must be sealed and on disk before the first batch is:
    /// with the view of this start, and the last boot entry that is known to be on disk already.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the service key cannot be exported.
    pub fn identity_before_boot(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.identity_plain(self.earlier_boot)
    }

    /// The plain text of the identity as it must be sealed and on disk once the first batch is,
    /// and before anything is answered. Sealed any earlier, it would refuse its own ledger after a
    /// crash in between.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the service key cannot be exported.
    pub fn identity_after_boot(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.identity_plain(Some(self.boot))
    }

    fn identity_plain(&self, boot: Option<BootMark>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let marks = Marks {
            view: self.boot.id.view,
            boot,
        };
        encode_identity(&self.identity.key, self.log.secrets(), marks)
    }
}
