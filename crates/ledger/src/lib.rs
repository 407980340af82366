//! The ledger's format and its proofs: entries, chunks, Merkle tree, signatures, receipts, replay.
//!
//! Bytes in, facts out: nothing here opens a file, reads a clock or holds a private key, so the
//! host, the audit command and a member's laptop run the same checks. The format is the
//! reference host's, byte for byte (`ledger-host.md` §1, §2.3, §2.4), and public validators read
//! what these modules write. Signatures are verified through [`crypto::VerifySignature`].

pub mod chunk;
pub mod cose_receipt;
mod cursor;
pub mod domain;
pub mod endorsement;
pub mod entry;
pub mod envelope;
pub mod limits;
pub mod merkle;
pub mod names;
pub mod receipt;
pub mod replay;
pub mod service_state;
pub mod signature;
