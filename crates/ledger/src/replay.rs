//! Reading a ledger and believing only what is proven: what a restart, a recovery and an audit run.
//!
//! Entries go in one by one, in order. Their changes come out once a signature covers them, so a
//! caller cannot apply anything unproven. Checked on the way, beyond what the public validators
//! check (`ledger-host.md` §1.13): frames and nonces, the running root, node and service
//! signature, that the service issued the node's certificate and the node was trusted, the
//! service's life cycle, and that only a recovery changes its key.
//!
//! Whether the *last* service identity is the right one, and whether nodes ran the right code, is
//! for the caller to decide: see [`Report::identities`].

use crypto::VerifySignature;
use kv::{TxId, WriteSet};
use model::Digest;
use zeroize::Zeroizing;

use crate::entry::{self, Entry, EntryError, FORCE_CHUNK_AFTER};
use crate::limits::UNSIGNED_ENTRIES_MAX;
use crate::merkle::Tree;
use crate::service_state::{Identity, ServiceState, StateError};
use crate::signature::{SignatureError, SignatureRows};

/// A transaction whose entry is covered by a verified signature, or is one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transaction {
    /// Its id.
    pub id: TxId,
    /// The frame's flags.
    pub flags: u8,
    /// What the application claimed; [`Digest::ZERO`] if nothing.
    pub claims_digest: Digest,
    /// SHA-256 of the commit evidence.
    pub commit_evidence_digest: Digest,
    /// Digest of the frame.
    pub write_set_digest: Digest,
    /// Changes of public tables; of private ones too if the replay opens them.
    pub writes: WriteSet,
    /// Bytes of the sealed part.
    pub private_size: usize,
    /// Whether this is a signature transaction.
    pub is_signature: bool,
}

/// The private part of an entry cannot be opened.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct CannotOpen(pub String);

/// Opens the private part of an entry with the ledger secret in force at its seqno. The public
/// domain is the associated data. Called for every entry, since the tag covers empty parts too.
pub type Open<'a> = dyn FnMut(&Entry<'_>) -> Result<Zeroizing<Vec<u8>>, CannotOpen> + 'a;

/// Why an entry is not accepted. The replay cannot go on after any of these.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("entry {at}: {fault}")]
pub struct ReplayError {
    /// The transaction that the entry claims to be.
    pub at: TxId,
    /// What is wrong.
    #[source]
    pub fault: Fault,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Its bytes are not an entry's.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Its seqno is not the next one.
    #[error("seqno does not follow {0}")]
    Seqno(TxId),
    /// Its view is lower than that of the entry before.
    #[error("view is lower than in {0}")]
    View(TxId),
    /// Its private part does not open: changed, or sealed under another secret.
    #[error("private part does not open: {0}")]
    Private(#[from] CannotOpen),
    /// It asks to end the chunk and is not a signature.
    #[error("only a signature may end a chunk")]
    Flag,
    /// A signature transaction that claims something or has a private part.
    #[error("signature transaction carries claims or private data")]
    SignatureContent,
    /// Its signatures are not acceptable.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It changes the service's state in a way that no service does.
    #[error(transparent)]
    State(#[from] StateError),
    /// Too many entries without a signature.
    #[error("more than {UNSIGNED_ENTRIES_MAX} entries without a signature")]
    Unsigned,
}

/// What a signature proves about everything up to itself.
#[derive(Clone, Debug, Default)]
struct Proven {
    tree: Tree,
    state: ServiceState,
    /// The last entry, a signature once one was verified; 0.0 before the first entry.
    last: TxId,
}

/// The verifying reader.
#[derive(Clone)]
pub struct Replay<'v> {
    verifier: &'v dyn VerifySignature,
    /// Up to the last entry that went in.
    current: Proven,
    /// Up to the last verified signature.
    proven: Proven,
    unsigned: Vec<Transaction>,
    signatures: u64,
    view_max: u64,
}

/// How far a replay has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// The last transaction that is proven: always a signature. `None` if there is none.
    pub last_signed: Option<TxId>,
    /// The last entry that went in, signed or not.
    pub last: Option<TxId>,
    /// Entries after the last signature: nobody has authenticated them.
    pub unsigned_entries: usize,
    /// The highest view seen, unsigned entries included. A writer that goes on must use a higher one.
    pub view_max: u64,
    /// Signatures verified.
    pub signatures: u64,
    /// The service's identities as proven, oldest first. The caller compares the last one with
    /// the certificate that it trusts, or else has verified a ledger of who knows whom.
    pub identities: Vec<Identity>,
}

/// What a writer needs in order to go on after the last signature.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// The tree over everything up to and including the last signature.
    pub tree: Tree,
    /// The last signature.
    pub last: TxId,
    /// The service's state there.
    pub state: ServiceState,
}

impl<'v> Replay<'v> {
    /// A reader at the beginning of a ledger.
    #[must_use]
    pub fn new(verifier: &'v dyn VerifySignature) -> Self {
        Self {
            verifier,
            current: Proven::default(),
            proven: Proven::default(),
            unsigned: Vec::new(),
            signatures: 0,
            view_max: 0,
        }
    }

    /// Takes the next entry. If it is a signature, gives every transaction that it proves, itself
    /// last; else nothing. `open` is for readers that hold the ledger secrets; without it private
    /// parts are passed over.
    ///
    /// A signature's own tag and commit evidence digest are authenticated by `open`, or by the
    /// next signature.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] saying which entry is not acceptable and why. The replay must not be fed
    /// after that; what it gave before stays proven.
    pub fn feed(
        &mut self,
        entry: &Entry<'_>,
        open: Option<&mut Open<'_>>,
    ) -> Result<Vec<Transaction>, ReplayError> {
        let at = entry.tx_id();
        self.take(entry, open).map_err(|fault| ReplayError { at, fault })
    }

    fn take(&mut self, entry: &Entry<'_>, open: Option<&mut Open<'_>>) -> Result<Vec<Transaction>, Fault> {
        let id = entry.tx_id();
        self.view_max = self.view_max.max(id.view);
        let mut transaction = read(entry)?;
        let last = self.current.last;
        if id.seqno != self.current.tree.len() {
            return Err(Fault::Seqno(last));
        }
        if id.view < last.view {
            return Err(Fault::View(last));
        }
        if let Some(open) = open {
            let private = entry::decode_private_plain(&open(entry)?)?;
            transaction.writes.extend(private);
        }
        // The service's row applies to the signature in the same transaction.
        self.current.state.apply(id, &transaction.writes)?;
        if transaction.is_signature {
            self.verify_signature(&transaction)?;
        } else if transaction.flags & FORCE_CHUNK_AFTER != 0 {
            return Err(Fault::Flag);
        }
        let (write_set, evidence) = (transaction.write_set_digest, transaction.commit_evidence_digest);
        let leaf = entry::leaf(write_set, evidence, transaction.claims_digest);
        self.current.tree.append(leaf);
        self.current.last = id;
        if self.unsigned.len() >= UNSIGNED_ENTRIES_MAX {
            return Err(Fault::Unsigned);
        }
        let is_signature = transaction.is_signature;
        self.unsigned.push(transaction);
        if !is_signature {
            return Ok(Vec::new());
        }
        // Later signatures need the leaves from this one on.
        self.current.tree.flush_to(id.seqno);
        self.proven = self.current.clone();
        self.signatures = self.signatures.saturating_add(1);
        Ok(std::mem::take(&mut self.unsigned))
    }

    fn verify_signature(&self, transaction: &Transaction) -> Result<(), Fault> {
        if transaction.claims_digest != Digest::ZERO || transaction.private_size != 0 {
            return Err(Fault::SignatureContent);
        }
        let rows = SignatureRows::read(&transaction.writes)?.ok_or(SignatureError::Rows)?;
        let state = &self.current.state;
        state.check_signer(&rows.node)?;
        let root = self.current.tree.root();
        rows.verify(transaction.id, root, state.service()?, self.verifier)?;
        Ok(())
    }

    /// How far the replay has come.
    #[must_use]
    pub fn report(&self) -> Report {
        let some = |id: TxId| (id.seqno != 0).then_some(id);
        Report {
            last_signed: some(self.proven.last),
            last: some(self.current.last),
            unsigned_entries: self.unsigned.len(),
            view_max: self.view_max,
            signatures: self.signatures,
            identities: self.proven.state.identities().to_vec(),
        }
    }

    /// Whether the last entry was a signature, as the last entry of a closed chunk must be.
    #[must_use]
    pub fn ends_in_signature(&self) -> bool {
        self.unsigned.is_empty()
    }

    /// Drops what no signature covers and gives what a writer goes on from.
    #[must_use]
    pub fn resume(self) -> Resumed {
        Resumed {
            tree: self.proven.tree,
            last: self.proven.last,
            state: self.proven.state,
        }
    }
}

/// An entry's public part as a transaction.
fn read(entry: &Entry<'_>) -> Result<Transaction, Fault> {
    let public = entry.decode_public()?;
    let is_signature = SignatureRows::read(&public.maps)?.is_some();
    Ok(Transaction {
        id: entry.tx_id(),
        flags: entry.header.flags,
        claims_digest: public.claims_digest,
        commit_evidence_digest: public.commit_evidence_digest,
        write_set_digest: entry.write_set_digest(),
        writes: public.maps,
        private_size: entry.private.len(),
        is_signature,
    })
}
