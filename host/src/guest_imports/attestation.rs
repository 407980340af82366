//! `attestation`: evidence in, claims out; nonces minted and checked.

use std::sync::Arc;

use ::attestation::{EVIDENCE_SIZE_MAX, Evidence, Rejected as NotGenuine, Verified as Genuine};
use crypto::native::{Native, random_bytes};
use model::evidence::Platform;

use super::nonce::NonceError as BadNonce;
use super::{Services, costs};
use crate::guests::CallState;
use crate::guests::app_bindings::concordat::host::attestation::{Host, NonceError, Rejected, Verified};

/// How long a verdict stands. Signatures do not age, but certificates and revocations do, so a
/// verdict is made anew in every period of this length.
const VERDICT_PERIOD_S: u64 = 10;

impl Host for CallState {
    fn verify(
        &mut self,
        platform: String,
        evidence_json: Vec<u8>,
    ) -> wasmtime::Result<Result<Verified, Rejected>> {
        self.pay(costs::EVIDENCE.of(evidence_json.len()))?;
        let Some(known) = Platform::from_name(&platform) else {
            return Ok(Err(Rejected::UnsupportedPlatform(platform)));
        };
        if known == Platform::Virtual && !self.services.settings.trust.allow_virtual {
            return Ok(Err(Rejected::UnsupportedPlatform(platform)));
        }
        Ok(
            verdict(&self.services, known, &evidence_json, self.time_ms / 1000)
                .map_err(Rejected::Failed)
                .map(|genuine| verified(&genuine)),
        )
    }

    fn mint_nonce(&mut self) -> wasmtime::Result<(Vec<u8>, u64)> {
        self.pay(costs::NONCE.of(0))?;
        let epoch = self.epoch()?;
        let (nonce, expiry) = self.services.nonces()?.mint(random_bytes(), self.time_ms, epoch);
        Ok((nonce.to_vec(), expiry))
    }

    fn check_nonce(&mut self, nonce: Vec<u8>) -> wasmtime::Result<Result<u64, NonceError>> {
        self.pay(costs::NONCE.of(nonce.len()))?;
        let epoch = self.epoch()?;
        let checked = self.services.nonces()?.check(&nonce, self.time_ms, epoch);
        Ok(checked.map_err(|error| match error {
            BadNonce::Malformed => NonceError::Malformed,
            BadNonce::Foreign => NonceError::Foreign,
            BadNonce::Expired => NonceError::Expired,
        }))
    }

    fn service_id(&mut self) -> wasmtime::Result<Vec<u8>> {
        self.pay(costs::SETTING.of(0))?;
        Ok(self.services.service()?.0.0.to_vec())
    }

    fn insecure_virtual(&mut self) -> wasmtime::Result<bool> {
        self.pay(costs::SETTING.of(0))?;
        Ok(self.services.settings.insecure_virtual)
    }
}

/// Verifies, or remembers having verified, this very evidence in the current period.
fn verdict(
    services: &Services,
    platform: Platform,
    evidence_json: &[u8],
    now_s: u64,
) -> Result<Arc<Genuine>, String> {
    if evidence_json.len() > EVIDENCE_SIZE_MAX {
        return Err(format!("evidence has more than {EVIDENCE_SIZE_MAX} bytes"));
    }
    let period = now_s / VERDICT_PERIOD_S;
    let key = crypto::sha256_parts(&[
        platform.as_str().as_bytes(),
        b"\n",
        &period.to_be_bytes(),
        evidence_json,
    ]);
    if let Some(verdict) = services.verdicts.get(&key) {
        return verdict;
    }
    let verdict = check(services, platform, evidence_json, now_s)
        .map(Arc::new)
        .map_err(|e| e.to_string());
    services.verdicts.put(key, verdict.clone());
    verdict
}

fn check(
    services: &Services,
    platform: Platform,
    evidence_json: &[u8],
    now_s: u64,
) -> Result<Genuine, NotGenuine> {
    let attestation = ::attestation::parse_json(evidence_json)?;
    let evidence = Evidence {
        platform,
        attestation: &attestation,
    };
    ::attestation::verify_memoised(
        &evidence,
        &services.settings.trust,
        now_s,
        &Native,
        &services.chains,
    )
}

fn verified(genuine: &Genuine) -> Verified {
    Verified {
        platform: genuine.platform.as_str().to_owned(),
        report_data: genuine.report_data.to_vec(),
        claims: genuine
            .claims
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
        evidence_digest: genuine.evidence_digest.0.to_vec(),
        uvm_endorsed: genuine.uvm_endorsed,
        quote_nonce: genuine.quote_nonce.clone(),
    }
}
