//! Primitives, chosen once: digests, keys, signatures, COSE, tokens, wrapping, shares, certificates.
//!
//! Without features everything here only *verifies*, in pure Rust, and runs anywhere. The feature
//! `native` adds what holds private keys or is on the host's hot path, all on aws-lc-rs.

pub mod cose;
mod der;
pub mod digest;
pub mod ecdsa;
pub mod jwk;
pub mod jws;
#[cfg(feature = "native")]
pub mod native;
pub mod pem;
pub mod shares;
pub mod spki;
pub mod verify;
pub mod x509;

pub use digest::{hkdf_sha256, hmac_sha256, sha256, sha256_parts, sha256_read, sha384};
pub use verify::{BadSignature, Portable, SignatureAlg, VerifySignature};
