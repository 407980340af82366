//! From write sets to entries, and from a batch of entries to a signed one.
//!
//! Every batch ends with a signature over the root of all entries before it, by the node's key
//! and by the service's. What this module gives out is bytes: the caller appends and syncs them
//! before it lets any reply of the batch go.

use std::sync::{Arc, PoisonError};

use crypto::native::{KeyError, LedgerSecret};
use kv::{TxId, WriteSet};
use ledger::signature::{self, COSE_ES384, Signing};
use ledger::{entry, limits};
use model::Digest;
use zeroize::Zeroizing;

use crate::identity::{LedgerSecrets, NodeIdentity, ServiceIdentity};
use crate::state::Proofs;

/// How the service's signatures name their issuer and subject.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CoseClaims {
    /// CWT claim 1.
    pub issuer: String,
    /// CWT claim 2.
    pub subject: String,
}

impl Default for CoseClaims {
    fn default() -> Self {
        Self {
            issuer: "concordat".to_owned(),
            subject: "ledger.signature".to_owned(),
        }
    }
}

/// Entries to append and sync in one go; the last one is the signature over the others.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The frames, back to back.
    pub bytes: Vec<u8>,
    /// Size of each frame, in bytes.
    pub entry_sizes: Vec<usize>,
    /// The first entry.
    pub first: TxId,
    /// The signature.
    pub last: TxId,
    /// The open chunk ends after this batch.
    pub ends_chunk: bool,
}

/// A batch could not be signed. The service must not go on: its state is ahead of its ledger.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A signing key failed.
    #[error("signing the batch failed: {0}")]
    Key(#[from] KeyError),
    /// The tree lost leaves that the segment needs; a bug.
    #[error("the tree segment is incomplete: {0}")]
    Tree(#[from] ledger::merkle::Unavailable),
}

/// The writer's end of the ledger.
pub(crate) struct Log {
    /// View that this process writes in.
    view: u64,
    /// Seqno of the last entry, signed or not.
    seqno: u64,
    /// Seqno of the last signature.
    last_signature: u64,
    secrets: LedgerSecrets,
    commit_secret: Zeroizing<[u8; 32]>,
    proofs: Arc<Proofs>,
    /// Leaves of the batch, not in the tree yet.
    leaves: Vec<Digest>,
    batch: Batch,
    /// Bytes of the open chunk, the batch included.
    chunk_bytes: u64,
    chunk_bytes_max: u64,
    end_chunk: bool,
}

/// Where a log takes up.
pub(crate) struct LogStart {
    /// View to write in.
    pub(crate) view: u64,
    /// Seqno of the last entry that is there, a signature; 0 if there is none.
    pub(crate) seqno: u64,
    /// Secrets; the latest is valid from the next entry on or before it.
    pub(crate) secrets: LedgerSecrets,
    /// Tree and commit secrets of all entries that are there.
    pub(crate) proofs: Arc<Proofs>,
    /// Bytes after which a chunk ends.
    pub(crate) chunk_bytes_max: u64,
}

impl Log {
    /// A log that continues behind `start.seqno`. `None` without a ledger secret.
    pub(crate) fn new(start: LogStart) -> Option<Self> {
        let commit_secret = start.secrets.latest()?.1.commit_secret();
        Some(Self {
            view: start.view,
            seqno: start.seqno,
            last_signature: start.seqno,
            secrets: start.secrets,
            commit_secret,
            proofs: start.proofs,
            leaves: Vec::new(),
            batch: Batch::default(),
            chunk_bytes: 0,
            chunk_bytes_max: start.chunk_bytes_max,
            end_chunk: false,
        })
    }

    /// Id of the last entry.
    pub(crate) const fn last(&self) -> TxId {
        TxId::new(self.view, self.seqno)
    }

    /// Id that the next entry will have.
    pub(crate) const fn next(&self) -> TxId {
        TxId::new(self.view, self.seqno + 1)
    }

    /// The secrets that entries are under.
    pub(crate) const fn secrets(&self) -> &LedgerSecrets {
        &self.secrets
    }

    pub(crate) const fn proofs(&self) -> &Arc<Proofs> {
        &self.proofs
    }

    /// Makes the next signature end its chunk; nothing to do if the chunk is empty.
    pub(crate) const fn end_chunk(&mut self) {
        self.end_chunk = self.chunk_bytes > 0 || !self.batch.entry_sizes.is_empty();
    }

    /// Whether there is anything to sign: entries, or a chunk to end.
    pub(crate) const fn wants_seal(&self) -> bool {
        !self.batch.entry_sizes.is_empty() || self.end_chunk
    }

    /// Entries and bytes of the batch so far.
    pub(crate) const fn pending(&self) -> (usize, usize) {
        (self.batch.entry_sizes.len(), self.batch.bytes.len())
    }

    /// Appends one transaction to the batch.
    pub(crate) fn append(&mut self, writes: &WriteSet, flags: u8) -> TxId {
        let id = self.next();
        let secret = self
            .secrets
            .latest()
            .map(|(_, secret)| secret)
            .expect("a log is made with a secret");
        let evidence = crypto::sha256(entry::commit_evidence(&self.commit_secret, id).as_bytes());
        let frame = seal_entry(secret, id, evidence, writes, flags);
        self.leaves.push(entry::leaf(
            entry::write_set_digest(&frame),
            evidence,
            Digest::ZERO,
        ));
        if self.batch.entry_sizes.is_empty() {
            self.batch.first = id;
        }
        self.batch.entry_sizes.push(frame.len());
        if self.batch.bytes.is_empty() {
            self.batch.bytes = frame;
        } else {
            self.batch.bytes.extend_from_slice(&frame);
        }
        self.seqno = id.seqno;
        id
    }

    /// Ends the batch with a signature and gives it out, with the signature's rows and root.
    /// `now` is Unix seconds.
    pub(crate) fn seal(
        &mut self,
        service: &ServiceIdentity,
        node: &NodeIdentity,
        claims: &CoseClaims,
        now: u64,
    ) -> Result<(Batch, WriteSet, Digest), SealError> {
        let id = self.next();
        let (root, segment) = {
            let mut tree = self.proofs.tree.write().unwrap_or_else(PoisonError::into_inner);
            for leaf in self.leaves.drain(..) {
                tree.append(leaf);
            }
            (tree.root(), tree.segment(self.last_signature)?)
        };
        let protected = signature::cose_protected(
            COSE_ES384,
            &service.key.key_id(),
            now,
            &claims.issuer,
            &claims.subject,
            id,
        );
        let cose_signature = service.key.sign_fixed(&signature::cose_tbs(&protected, root))?;
        let rows = signature::rows(Signing {
            id,
            root,
            node: node.id(),
            node_certificate: &node.cert_pem,
            node_signature: &node.key.sign_prehashed_sha256_der(&root.0)?,
            cose: &signature::cose_assemble(&protected, &cose_signature),
            segment,
        });
        let size_before = self.chunk_bytes + self.batch.bytes.len() as u64;
        let ends_chunk = self.end_chunk || size_before >= self.chunk_bytes_max;
        self.append(&rows, if ends_chunk { entry::FORCE_CHUNK_AFTER } else { 0 });
        {
            let mut tree = self.proofs.tree.write().unwrap_or_else(PoisonError::into_inner);
            for leaf in self.leaves.drain(..) {
                tree.append(leaf);
            }
        }
        self.last_signature = id.seqno;
        let mut batch = std::mem::take(&mut self.batch);
        batch.last = id;
        batch.ends_chunk = ends_chunk;
        self.chunk_bytes = if ends_chunk {
            0
        } else {
            self.chunk_bytes + batch.bytes.len() as u64
        };
        self.end_chunk = false;
        Ok((batch, rows, root))
    }
}

/// The frame of one transaction under `secret`.
fn seal_entry(secret: &LedgerSecret, id: TxId, evidence: Digest, writes: &WriteSet, flags: u8) -> Vec<u8> {
    let domains = entry::encode_domains(id.seqno, Digest::ZERO, evidence, writes);
    let iv = entry::iv(id);
    let (ciphertext, tag) = secret.seal(iv, &domains.public, &domains.private_plain);
    let sealed = entry::Sealed { tag, iv, ciphertext };
    entry::frame(flags, &domains.public, &sealed)
}

/// Whether a batch of this many entries and bytes takes no further transaction.
#[must_use]
pub const fn is_full(entries: usize, bytes: usize) -> bool {
    entries >= limits::BATCH_ENTRIES_MAX || bytes >= limits::BATCH_SIZE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_at_the_most_entries_and_at_the_most_bytes_and_not_before() {
        assert!(!is_full(
            limits::BATCH_ENTRIES_MAX - 1,
            limits::BATCH_SIZE_MAX - 1
        ));
        assert!(is_full(limits::BATCH_ENTRIES_MAX, 0));
        assert!(is_full(1, limits::BATCH_SIZE_MAX));
    }
}
