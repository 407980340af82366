//! Evidence in, verified facts out: one module per platform, no I/O, no clock.
//!
//! [`verify`] decides whether evidence is genuine: who signed it, by which chain, in which state
//! the platform was. It does not decide whether anybody is *welcome*: matching [`Verified::claims`]
//! against a policy, comparing [`Verified::report_data`] with a key, and spending nonces is the
//! application's business.
//!
//! Source of truth: `attestation-secrets-oidc.md` §1 (layout, checks, claims), decisions 12, 16,
//! 19 and 20. Signatures are verified through [`crypto::VerifySignature`], so the same code runs
//! on the host with aws-lc-rs and elsewhere with whatever the caller has.

mod certificate;
mod chain;
mod claims;
mod cvm;
mod fields;
mod hcl;
mod insecure_virtual;
mod memo;
mod reader;
mod rejected;
mod snp;
mod tpm;
mod uvm;

pub mod report;

use std::collections::BTreeMap;

use crypto::VerifySignature;
use model::Digest;
use model::evidence::Platform;
use serde_json::Value;

pub use certificate::PSS_SHA384;
pub use chain::hardware_id;
pub use fields::{EVIDENCE_SIZE_MAX, parse_json};
pub use memo::Memo;
pub use rejected::{Link, Rejected};

/// Evidence as a request carries it.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The platform that the request names.
    pub platform: Platform,
    /// The request's `attestation` object; parse it with [`parse_json`], which refuses members
    /// that occur twice.
    pub attestation: &'a Value,
}

/// What a verifier trusts besides the roots compiled in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trust {
    /// Further AMD-style roots, each by the SHA-256 of its key's SPKI DER. They may stand where
    /// AMD's own root stands and relax no other check (decision 19).
    pub extra_arks: Vec<Digest>,
    /// Whether unsigned `virtual` evidence is accepted (decision 20).
    pub allow_virtual: bool,
}

impl Trust {
    /// AMD's roots and nothing else.
    #[must_use]
    pub const fn production() -> Self {
        Self {
            extra_arks: Vec::new(),
            allow_virtual: false,
        }
    }
}

/// What genuine evidence says.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The platform whose rules were applied.
    pub platform: Platform,
    /// The 64 bytes that the workload had bound into its evidence.
    pub report_data: [u8; 64],
    /// Claims to match policies against (§1.6), in name order.
    pub claims: BTreeMap<String, Value>,
    /// SHA-256 of the signed evidence: the SNP report; for `snp-cvm` the vTPM blob and the quote;
    /// for `virtual` the unsigned text.
    pub evidence_digest: Digest,
    /// Whether verified UVM endorsements cover the launch measurement.
    pub uvm_endorsed: bool,
    /// The nonce inside the TPM quote; empty on platforms without one.
    pub quote_nonce: Vec<u8>,
}

/// Verifies evidence at `now_unix_s` (seconds since 1970).
///
/// # Errors
///
/// [`Rejected`], naming the first check that failed.
pub fn verify(
    request: &Evidence<'_>,
    trust: &Trust,
    now_unix_s: u64,
    verifier: &dyn VerifySignature,
) -> Result<Verified, Rejected> {
    verify_memoised(request, trust, now_unix_s, verifier, &Memo::new(0))
}

/// Like [`verify`], but certificate chains and UVM endorsements that were seen before are not
/// verified again. Roots, validity periods, the report itself and everything that ties them
/// together are checked on every call.
///
/// # Errors
///
/// [`Rejected`], naming the first check that failed.
pub fn verify_memoised(
    request: &Evidence<'_>,
    trust: &Trust,
    now_unix_s: u64,
    verifier: &dyn VerifySignature,
    memo: &Memo,
) -> Result<Verified, Rejected> {
    let context = Context {
        trust,
        now_unix_s,
        verifier,
        memo,
    };
    match request.platform {
        Platform::SnpCaci => snp::verify(request.attestation, &context),
        Platform::SnpCvm => cvm::verify(request.attestation, &context),
        Platform::Virtual => insecure_virtual::verify(request.attestation, trust),
    }
}

/// What every check needs to know besides the evidence.
#[derive(Clone, Copy)]
struct Context<'a> {
    trust: &'a Trust,
    now_unix_s: u64,
    verifier: &'a dyn VerifySignature,
    memo: &'a Memo,
}
