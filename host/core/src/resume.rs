//! From the entries on disk back to a running service (decisions 33 and 34).
//!
//! A restart is not a recovery: key, certificate, status and members stay. Entries go in one by
//! one and are believed once a signature covers them; what follows the last signature was never
//! answered for and is dropped. The service then goes on in a higher view, as a new node, under a
//! new ledger secret.

use std::sync::{Arc, RwLock};

use crypto::VerifySignature;
use crypto::native::aead::seal_random_iv;
use crypto::native::{EcKeyPair, LedgerSecret};
use crypto::x509::Certificate;
use kv::codec::{Key as _, Value as _};
use kv::store::Store;
use kv::{Context, Json, Singleton, TableError, TxId};
use ledger::entry::{self, Entry, FORCE_CHUNK_BEFORE};
use ledger::merkle::Tree;
use ledger::replay::{CannotOpen, Replay, ReplayError};
use model::service::{HistoricalLedgerSecret, PreviousLedgerSecret, ServiceInfo, ServiceStatus};
use model::tables::{COSE_SIGNATURES, HISTORICAL_LEDGER_SECRET, SERVICE_CONFIG, SERVICE_INFO};
use model::{b64, proposal_rows};
use zeroize::Zeroizing;

use crate::commit::{Batch, Log, LogStart, SealError};
use crate::genesis::{NodeError, NodeSetup, put_node};
use crate::identity::{BootMark, LedgerSecrets, Marks, SealedIdentity, ServiceIdentity};
use crate::service::{Parts, Service, Settings};
use crate::shares::{self, Entropy, ShareError};
use crate::state::Proofs;
use crate::transaction::Transaction;

/// A service cannot be resumed from what is on disk.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// An entry is not acceptable.
    #[error("the ledger cannot be replayed: {0}")]
    Replay(#[from] ReplayError),
    /// The ledger holds no signature.
    #[error("the ledger holds no signed entry to resume from")]
    NothingSigned,
    /// The ledger is an older copy than the one that this identity wrote, or a fork of it.
    #[error("the ledger does not hold entry {0}, which this identity wrote and synced")]
    LedgerBehind(TxId),
    /// The sealed identity belongs to another service.
    #[error("the sealed identity is not the one that the ledger names")]
    OtherIdentity,
    /// The sealed identity lacks the ledger secret.
    #[error("the sealed identity holds no secret for the ledger's last entry")]
    NoSecret,
    /// The service is in the middle of a recovery.
    #[error("the service is {0:?} and cannot be resumed")]
    Status(ServiceStatus),
    /// Shares of the new secret cannot be handed out.
    #[error(transparent)]
    Shares(#[from] ShareError),
    /// The node's rows cannot be written.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A row does not decode.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The boot transaction is too large.
    #[error(transparent)]
    TooLarge(#[from] ledger::limits::TooLarge),
    /// The boot batch cannot be signed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// A replay that ends in a running service.
pub struct Resume<'v> {
    replay: Replay<'v>,
    key: EcKeyPair,
    secrets: LedgerSecrets,
    marks: Marks,
    /// Whether the entry of `marks.boot` was replayed, with its root.
    holds_boot: bool,
    store: Store,
    tree: Tree,
    views: Vec<TxId>,
}

impl<'v> Resume<'v> {
    /// At the beginning of the ledger that `identity` is said to have written.
    #[must_use]
    pub fn new(verifier: &'v dyn VerifySignature, identity: SealedIdentity) -> Self {
        Self {
            replay: Replay::new(verifier),
            key: identity.key,
            secrets: identity.secrets,
            marks: identity.marks,
            holds_boot: false,
            store: Store::default(),
            tree: Tree::default(),
            views: Vec::new(),
        }
    }

    /// Takes the next entry.
    ///
    /// # Errors
    ///
    /// [`ResumeError::Replay`] naming the entry and what is wrong with it.
    pub fn feed(&mut self, entry: &Entry<'_>) -> Result<(), ResumeError> {
        let secrets = &self.secrets;
        let mut open = |entry: &Entry<'_>| open_private(secrets, entry);
        for transaction in self.replay.feed(entry, Some(&mut open))? {
            self.tree.append(entry::leaf(
                transaction.write_set_digest,
                transaction.commit_evidence_digest,
                transaction.claims_digest,
            ));
            if self
                .views
                .last()
                .is_none_or(|first| first.view < transaction.id.view)
            {
                self.views.push(transaction.id);
            }
            if let Some(boot) = self.marks.boot
                && boot.id == transaction.id
            {
                self.holds_boot = self.tree.root() == boot.root;
            }
            self.store.apply(transaction.id, &transaction.writes);
        }
        Ok(())
    }

    /// The boot entry that this identity synced and that the ledger, as fed so far, does not hold
    /// under a signature. Such a ledger must not be written: what it lacks was answered for.
    #[must_use]
    pub fn missing(&self) -> Option<BootMark> {
        self.marks.boot.filter(|_| !self.holds_boot)
    }

    /// The last signed entry: everything behind it is to be cut off the files.
    #[must_use]
    pub fn last_signed(&self) -> Option<TxId> {
        self.replay.report().last_signed
    }

    /// Issue time of the last signature, Unix seconds: the floor of service time. 0 if it does not
    /// say, which no service of ours writes.
    #[must_use]
    pub fn signed_at(&self) -> u64 {
        let row = self.store.get(COSE_SIGNATURES.name(), &Singleton.to_bytes());
        row.and_then(|row| Json::<String>::from_bytes(row.value).ok())
            .and_then(|text| ledger::signature::issued_at(&b64::decode(&text.0).ok()?))
            .unwrap_or_default()
    }

    /// The state as replayed: what the service was when its last signature was made.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Goes on behind the last signature: boot entry and a signature, in a view above any that is
    /// in the files or that this identity was ever started in.
    ///
    /// `secret` is a fresh ledger secret, `now` what the clock says, Unix seconds.
    ///
    /// # Errors
    ///
    /// [`ResumeError`] if ledger and identity do not belong together, or the boot entry cannot be
    /// made.
    pub fn finish(
        self,
        setup: NodeSetup,
        secret: LedgerSecret,
        settings: Settings,
        mut entropy: Entropy,
        now: u64,
    ) -> Result<(Service, Batch), ResumeError> {
        let signed_at = self.signed_at();
        let now = now.max(signed_at);
        let report = self.replay.report();
        let last = report.last_signed.ok_or(ResumeError::NothingSigned)?;
        if let Some(boot) = self.missing() {
            return Err(ResumeError::LedgerBehind(boot.id));
        }
        let view = report.view_max.max(last.view).max(self.marks.view);
        let boot = TxId::new(view + 1, last.seqno + 1);
        let mut tx = Transaction::new(self.store.clone(), Context::Host, boot);
        let info = service_info(&tx, &self.key)?;
        let identity = ServiceIdentity {
            key: self.key,
            cert_pem: info.cert,
        };
        let mut secrets = self.secrets;
        retire_secret(&mut tx, &mut secrets, secret, boot.seqno)?;
        let node = put_node(&mut tx, setup, &identity, boot.seqno, now)?;
        proposal_rows::reindex(&mut tx)?;
        proposal_rows::reindex_windows(&mut tx)?;
        if info.status == ServiceStatus::Open {
            let threshold = SERVICE_CONFIG
                .get(&tx, &Singleton)?
                .map_or(0, |row| row.0.recovery_threshold);
            let holders = shares::holders(&tx)?;
            shares::issue(&mut tx, &holders, threshold, &secrets, &mut entropy)?;
        }
        let proofs = Proofs {
            tree: RwLock::new(self.tree),
            commit_secrets: secrets
                .iter()
                .map(|(first, secret)| (first, secret.commit_secret()))
                .collect(),
        };
        let log = Log::new(LogStart {
            view: boot.view,
            seqno: last.seqno,
            secrets,
            proofs: Arc::new(proofs),
            chunk_bytes_max: settings.chunk_bytes_max,
        });
        let parts = Parts {
            store: self.store,
            log: log.ok_or(ResumeError::NoSecret)?,
            identity,
            node,
            settings,
            entropy,
            views: self.views,
            earlier_boot: self.marks.boot,
            signed_at,
        };
        let writes = tx.into_write_set();
        ledger::limits::check(&writes)?;
        Ok(Service::begin(parts, &writes, FORCE_CHUNK_BEFORE, now)?)
    }
}

fn open_private(secrets: &LedgerSecrets, entry: &Entry<'_>) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
    let seqno = entry.tx_id().seqno;
    let secret = secrets
        .at(seqno)
        .ok_or_else(|| CannotOpen(format!("there is no ledger secret for seqno {seqno}")))?;
    secret
        .open(entry.iv, entry.public, entry.private, &entry.tag)
        .map(Zeroizing::new)
        .map_err(|e| CannotOpen(e.to_string()))
}

/// The service's row, if it is this key's and the service can go on.
fn service_info(tx: &Transaction, key: &EcKeyPair) -> Result<ServiceInfo, ResumeError> {
    let info = SERVICE_INFO
        .get(tx, &Singleton)?
        .ok_or(ResumeError::NothingSigned)?
        .0;
    let certificate = Certificate::from_pem(&info.cert).map_err(|_| ResumeError::OtherIdentity)?;
    if certificate.spki_der() != key.spki_der() {
        return Err(ResumeError::OtherIdentity);
    }
    match info.status {
        ServiceStatus::Opening | ServiceStatus::Open => Ok(info),
        status => Err(ResumeError::Status(status)),
    }
}

/// Begins a new ledger secret at `boot` and stores the one before it, encrypted under the new.
fn retire_secret(
    tx: &mut Transaction,
    secrets: &mut LedgerSecrets,
    secret: LedgerSecret,
    boot: u64,
) -> Result<(), ResumeError> {
    secrets.truncate(boot);
    let (first, previous) = secrets.latest().ok_or(ResumeError::NoSecret)?;
    let retired = PreviousLedgerSecret {
        encrypted_data: b64::encode(&seal_random_iv(secret.expose(), &[], previous.expose())),
        version: first,
        // Every secret but the first was stored by the entry it begins with.
        previous_secret_stored_version: (secrets.iter().count() > 1).then_some(first),
    };
    let row = HistoricalLedgerSecret {
        previous_ledger_secret: Some(retired),
        next_version: Some(boot),
    };
    HISTORICAL_LEDGER_SECRET.put(tx, &Singleton, &Json(row))?;
    secrets.begin(boot, secret);
    Ok(())
}
