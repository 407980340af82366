//! What the host does by itself when governance changed something: hand out recovery shares,
//! and refuse changes that would leave the service broken.
//!
//! There is no interface for effects: the host compares the rows before and after.

use kv::{Singleton, TableError};
use model::ProposalId;
use model::service::{ServiceInfo, ServiceStatus};
use model::tables::{CHUNK_REQUESTS, SERVICE_CONFIG, SERVICE_INFO};

use crate::guests::Component;
use crate::identity::LedgerSecrets;
use crate::shares::{self, Entropy, Holders};
use crate::transaction::Transaction;

/// What is compared.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Watched {
    cert: String,
    status: ServiceStatus,
    threshold: u16,
    holders: Holders,
    chunk_request: Option<ProposalId>,
}

/// What the service has to do besides, once the change is committed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reaction {
    /// The service was opened.
    pub(crate) opened: bool,
    /// The open chunk is to end: the service was opened, or members asked for it.
    pub(crate) ends_chunk: bool,
}

impl Watched {
    /// Reads the rows as they are now. The transaction must have the host's rights.
    pub(crate) fn read(tx: &Transaction) -> Result<Self, TableError> {
        let info = SERVICE_INFO.get(tx, &Singleton)?.map(|row| row.0);
        let threshold = SERVICE_CONFIG
            .get(tx, &Singleton)?
            .map_or(0, |row| row.0.recovery_threshold);
        let (cert, status) = info.map_or_else(
            || (String::new(), ServiceStatus::Opening),
            |ServiceInfo { cert, status, .. }| (cert, status),
        );
        Ok(Self {
            cert,
            status,
            threshold,
            holders: shares::holders(tx)?,
            chunk_request: CHUNK_REQUESTS.get(tx, &Singleton)?.map(|row| row.0),
        })
    }

    /// Reacts to what changed since `self` was read; says what is left to do.
    /// An error means that the change must not be made.
    pub(crate) fn react(
        &self,
        tx: &mut Transaction,
        secrets: &LedgerSecrets,
        entropy: &mut Entropy,
    ) -> Result<Reaction, String> {
        let now = Self::read(tx).map_err(|e| e.to_string())?;
        if now.cert != self.cert {
            return Err("the service certificate cannot be changed by a proposal".to_owned());
        }
        let opened = match (self.status, now.status) {
            (before, after) if before == after => false,
            (ServiceStatus::Opening, ServiceStatus::Open) => true,
            (before, after) => return Err(format!("the service cannot go from {before:?} to {after:?}")),
        };
        if Component::constitution(tx.child(kv::Context::Host).snapshot()).is_none() {
            return Err("the constitution's component is not stored".to_owned());
        }
        let other_shares = now.threshold != self.threshold || now.holders != self.holders;
        if opened || (now.status == ServiceStatus::Open && other_shares) {
            shares::issue(tx, &now.holders, now.threshold, secrets, entropy).map_err(|e| e.to_string())?;
        }
        Ok(Reaction {
            opened,
            ends_chunk: opened || now.chunk_request != self.chunk_request,
        })
    }
}
