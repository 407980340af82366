//! Primitives, chosen once: digests, keys, signatures, COSE, tokens, wrapping, shares, certificates.
//!
//! Without features everything here only *verifies*, in pure Rust, and runs anywhere. The feature
//! `native` adds what holds private keys or is on the host's hot path, all on aws-lc-rs.

pub mod digest;
pub mod verify;

pub use digest::{sha256, sha256_parts};
pub use verify::{BadSignature, Portable, SignatureAlg, VerifySignature};
