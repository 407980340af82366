//! What readers see: the last state that is signed and synced, with everything that proofs of
//! it need. Cloning is cheap; a state never changes after it was published.

use std::sync::{Arc, RwLock};

use kv::store::Store;
use kv::{Context, Denied, Entry, RawKey, Read, TxId, Versioned};
use ledger::merkle::Tree;
use model::service::{ServiceInfo, ServiceStatus};
use model::tables::SERVICE_INFO;
use model::{Digest, NodeId};
use zeroize::Zeroizing;

use crate::time::ServiceTime;
use crate::transaction::{SCAN_ROWS_MAX, Transaction};

/// Where a transaction stands (`ledger-host.md` §2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TxStatus {
    /// In the ledger, signed and synced; final.
    Committed,
    /// Another transaction has its place, or its view is over; final.
    Invalid,
    /// Not seen here yet.
    Unknown,
}

impl TxStatus {
    /// The text on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "Committed",
            Self::Invalid => "Invalid",
            Self::Unknown => "Unknown",
        }
    }
}

/// What building proofs needs and all states share; grows with the ledger.
pub struct Proofs {
    /// Leaves of every entry. Readers ask for paths in the tree of the size they know to be signed.
    pub(crate) tree: RwLock<Tree>,
    /// Commit secrets by the first seqno under them, ascending.
    pub(crate) commit_secrets: Vec<(u64, Zeroizing<[u8; 32]>)>,
}

/// The last signed and synced state.
#[derive(Clone)]
pub struct State {
    /// Every table.
    pub store: Store,
    /// The signature transaction that this state ends with.
    pub committed: TxId,
    /// Root over everything before that signature.
    pub root: Digest,
    /// Certificate of the service, PEM.
    pub service_cert_pem: Arc<str>,
    /// This node.
    pub node_id: NodeId,
    /// First transaction of every view that has one, ascending.
    pub views: Arc<[TxId]>,
    /// First seqno that this process wrote.
    pub startup_seqno: u64,
    /// Issue time of that signature, Unix seconds: the floor of service time.
    pub signed_at: u64,
    pub(crate) proofs: Arc<Proofs>,
}

impl State {
    /// A transaction on this state, to be read from or discarded.
    #[must_use]
    pub fn transaction(&self, context: Context) -> Transaction {
        Transaction::new(self.store.clone(), context, self.committed)
    }

    /// A transaction that writes as if it were the next one; for runs that are discarded.
    #[must_use]
    pub fn trial(&self, context: Context) -> Transaction {
        let next = TxId::new(self.committed.view, self.committed.seqno.saturating_add(1));
        Transaction::new(self.store.clone(), context, next)
    }

    /// Service time, if the clock says `clock_ms` (Unix milliseconds).
    #[must_use]
    pub const fn time(&self, clock_ms: u64) -> ServiceTime {
        ServiceTime::new(clock_ms, self.signed_at.saturating_mul(1000))
    }

    /// The row of `service.info`.
    #[must_use]
    pub fn service_info(&self) -> Option<ServiceInfo> {
        SERVICE_INFO
            .get(self, &kv::Singleton)
            .ok()
            .flatten()
            .map(|row| row.0)
    }

    /// Whether the application may be called.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.service_info()
            .is_some_and(|info| info.status == ServiceStatus::Open)
    }

    /// The view in which `seqno` was written, if it is committed.
    #[must_use]
    pub fn view_of(&self, seqno: u64) -> Option<u64> {
        if seqno == 0 || seqno > self.committed.seqno {
            return None;
        }
        self.views
            .iter()
            .rev()
            .find(|first| first.seqno <= seqno)
            .map(|first| first.view)
    }

    /// Where a transaction stands. It is never pending: replies leave after commit, so nobody
    /// knows the id of an unsigned transaction.
    #[must_use]
    pub fn status_of(&self, id: TxId) -> TxStatus {
        match self.view_of(id.seqno) {
            Some(view) if view == id.view => TxStatus::Committed,
            Some(_) => TxStatus::Invalid,
            None if self.committed.view > id.view => TxStatus::Invalid,
            None => TxStatus::Unknown,
        }
    }
}

impl Read for State {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Versioned<Vec<u8>>>, Denied> {
        Ok(self.store.get(table, key).map(|row| Versioned {
            value: row.value.to_vec(),
            version: row.version,
        }))
    }

    fn scan(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<Entry<Vec<u8>, Vec<u8>>>, Denied> {
        let limit = usize::try_from(limit.min(SCAN_ROWS_MAX)).unwrap_or(usize::MAX);
        Ok(self
            .store
            .scan(table, prefix, after)
            .take(limit)
            .map(|row| Entry {
                key: row.key.to_vec(),
                value: row.value.to_vec(),
                version: row.version,
            })
            .collect())
    }

    fn keys(
        &self,
        table: &str,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<RawKey>, Denied> {
        let limit = usize::try_from(limit.min(SCAN_ROWS_MAX)).unwrap_or(usize::MAX);
        let key = |row: Entry<&[u8], &[u8]>| Entry {
            key: row.key.to_vec(),
            value: (),
            version: row.version,
        };
        let rows = self.store.scan(table, prefix, after).take(limit);
        Ok(rows.map(key).collect())
    }
}
