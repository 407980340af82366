//! Receipts of committed transactions, from the tree in memory and the entry's bytes.
//!
//! Every receipt is built on the latest signature: its root covers all earlier entries, and its
//! node certificate is the current one. Source: `ledger-host.md` §2.3, §2.4.

use std::sync::PoisonError;

use kv::{Singleton, TxId};
use ledger::entry;
use ledger::receipt::{self, LeafComponents, Receipt};
use ledger::signature::SignatureRows;
use ledger::{cose_receipt, merkle};
use model::b64;
use model::tables::{COSE_SIGNATURES, SIGNATURES};

use crate::state::State;

/// There is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The transaction is not committed in this state.
    #[error("transaction {0} is not committed")]
    NotCommitted(TxId),
    /// The bytes are not this transaction's entry.
    #[error("the stored entry of {0} is damaged: {1}")]
    Entry(TxId, String),
    /// The tree has no path; a bug.
    #[error(transparent)]
    Path(#[from] merkle::Unavailable),
    /// The state's own rows do not decode; a bug or corruption.
    #[error("the latest signature does not decode: {0}")]
    Signature(String),
    /// A signature transaction has no COSE receipt.
    #[error("transaction {0} is a signature and has no COSE receipt")]
    IsSignature(TxId),
}

impl State {
    /// The JSON receipt of a committed transaction, given its frame from the ledger.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`].
    pub fn receipt(&self, id: TxId, frame: &[u8]) -> Result<Receipt, ReceiptError> {
        match self.leaf(id, frame)? {
            Leaf::Signature(rows) => Ok(receipt::build_for_signature(&rows.node, Vec::new())),
            Leaf::Transaction(leaf) => {
                let row = SIGNATURES
                    .get(self, &Singleton)
                    .map_err(|e| ReceiptError::Signature(e.to_string()))?
                    .ok_or(ReceiptError::NotCommitted(id))?
                    .0;
                Ok(receipt::build(&row, leaf, self.path(id, row.seqno)?, Vec::new()))
            }
        }
    }

    /// The COSE receipt of a committed transaction, given its frame from the ledger.
    ///
    /// # Errors
    ///
    /// [`ReceiptError`]; signature transactions have none.
    pub fn cose_receipt(&self, id: TxId, frame: &[u8]) -> Result<Vec<u8>, ReceiptError> {
        let Leaf::Transaction(leaf) = self.leaf(id, frame)? else {
            return Err(ReceiptError::IsSignature(id));
        };
        let unreadable = |e: &dyn std::fmt::Display| ReceiptError::Signature(e.to_string());
        let text = COSE_SIGNATURES
            .get(self, &Singleton)
            .map_err(|e| unreadable(&e))?
            .ok_or(ReceiptError::NotCommitted(id))?
            .0;
        let envelope = b64::decode(&text).map_err(|e| unreadable(&e))?;
        let path = self.path(id, self.committed.seqno)?;
        cose_receipt::build(&envelope, &leaf, &path).map_err(|e| unreadable(&e))
    }

    fn path(&self, id: TxId, size: u64) -> Result<Vec<merkle::Sibling>, merkle::Unavailable> {
        let tree = self.proofs.tree.read().unwrap_or_else(PoisonError::into_inner);
        tree.path(id.seqno, size)
    }

    /// What the leaf of `id` is made of.
    fn leaf(&self, id: TxId, frame: &[u8]) -> Result<Leaf, ReceiptError> {
        if self.view_of(id.seqno) != Some(id.view) {
            return Err(ReceiptError::NotCommitted(id));
        }
        let damaged = |reason: String| ReceiptError::Entry(id, reason);
        let (entry, _) = entry::parse(frame).map_err(|e| damaged(e.to_string()))?;
        let public = entry.decode_public().map_err(|e| damaged(e.to_string()))?;
        if entry.tx_id() != id {
            return Err(damaged(format!("it holds {}", entry.tx_id())));
        }
        let rows = SignatureRows::read(&public.maps).map_err(|e| damaged(e.to_string()))?;
        if let Some(rows) = rows {
            return Ok(Leaf::Signature(Box::new(rows)));
        }
        let secret = self
            .proofs
            .commit_secrets
            .iter()
            .rev()
            .find(|(first, _)| *first <= id.seqno)
            .map(|(_, secret)| secret)
            .ok_or_else(|| damaged("its commit secret is unknown".into()))?;
        let commit_evidence = entry::commit_evidence(secret, id);
        if crypto::sha256(commit_evidence.as_bytes()) != public.commit_evidence_digest {
            return Err(damaged("its commit evidence is another one".into()));
        }
        Ok(Leaf::Transaction(LeafComponents {
            claims_digest: public.claims_digest,
            commit_evidence,
            write_set_digest: entry.write_set_digest(),
        }))
    }
}

enum Leaf {
    Transaction(LeafComponents),
    Signature(Box<SignatureRows>),
}
