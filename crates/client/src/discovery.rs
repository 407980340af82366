//! A launcher's certificate, believed because of its evidence and of nothing else.
//!
//! A launcher makes its TLS key at start, so nobody can pin it beforehand. [`discover`] takes the
//! certificate that the launcher presents, asks `GET /report` over that very connection, verifies
//! the evidence, and compares host data and report data: the certificate's text, and the service
//! that the launcher works for. No nonce is needed: the handshake shows that the certificate's key
//! is alive, and that key never leaves the process, so a copied report opens nothing. What it
//! returns is pinned from then on. Source: decisions 40 and 44, "Who is who".
//!
//! The only certificate verifiers of this workspace's clients are in this file. Both check the
//! handshake's signature, so whoever answers holds the certificate's key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use attestation::Evidence;
use cleanroom_model::ContractId;
use cleanroom_model::api::AlternativeView;
use crypto::native::Native;
use crypto::x509::Certificate;
use model::attested::{Bound, report_data};
use model::evidence::{Platform, Role};
use model::{Digest, ServiceId};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde::Deserialize;
use serde_json::Value as JsonValue;

use crate::api_error::ClientError;
use crate::connection::{Connection, Known};
use crate::governance::unix_now_s;

pub use attestation::Trust;

/// Claim that holds the digest of a launch document.
const HOST_DATA: &str = "x-ms-sevsnpvm-hostdata";
/// Claim that says whether the guest can be debugged.
const IS_DEBUGGABLE: &str = "x-ms-sevsnpvm-is-debuggable";
/// Claim that holds the measurement of what was launched, in hexadecimal.
const LAUNCH_MEASUREMENT: &str = "x-ms-sevsnpvm-launchmeasurement";

/// What a launcher must be to be believed.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The service that the caller pinned: whom the launcher must work for.
    pub service: ServiceId,
    /// Digests of the launch documents that the caller agrees to.
    pub host_data: Vec<Digest>,
    /// Launch measurements, 48 bytes in lower-case hexadecimal, that count without UVM
    /// endorsements. Host data alone says nothing: any SNP machine's owner can set it.
    pub measurements: Vec<String>,
    /// Whose evidence counts.
    pub trust: Trust,
}

/// Host data of the launchers that members of `contract` have in force now, as the service of this
/// connection says: alternatives of role `launcher`. For callers who name none themselves.
///
/// # Errors
///
/// [`ClientError::Verification`] if there is no such alternative; otherwise as any call.
pub async fn launchers_in_force(
    connection: &Connection,
    contract: &ContractId,
) -> Result<Vec<Digest>, ClientError> {
    let path = format!("/app/contracts/{contract}/cleanroompolicy");
    let policy: Policy = connection.post_empty(&path).await?.json()?;
    let named = host_data_of_launchers(&policy.alternatives);
    if named.is_empty() {
        return Err(ClientError::Verification(format!(
            "contract {contract} has no launcher in force that is known by its host data"
        )));
    }
    Ok(named)
}

/// The part of a clean-room policy that is read here.
#[derive(Deserialize)]
struct Policy {
    alternatives: Vec<AlternativeView>,
}

fn host_data_of_launchers(alternatives: &[AlternativeView]) -> Vec<Digest> {
    alternatives
        .iter()
        .filter(|view| view.role == Some(Role::Launcher))
        .filter_map(|view| view.claims.get(HOST_DATA))
        .flatten()
        .filter_map(|value| value.as_str()?.parse().ok())
        .collect()
}

/// The answer of `GET /report`.
#[derive(Deserialize)]
struct Report {
    platform: String,
    attestation: JsonValue,
}

/// The certificate of the launcher at `address`, PEM, once its evidence has been verified.
///
/// # Errors
///
/// [`ClientError::Verification`] if evidence, host data or report data are not as expected;
/// otherwise as any call.
pub async fn discover(address: &str, expected: &Expected) -> Result<String, ClientError> {
    let presented = Arc::new(Presented::default());
    let connection = Connection::with_tls(
        address,
        Known::Exactly(String::new()),
        settings(Arc::clone(&presented))?,
        None,
    )?;
    let report: Report = connection.get("/report").await?.json()?;
    let der = presented
        .certificate()
        .ok_or_else(|| ClientError::Unexpected("the launcher presented no certificate".to_owned()))?;
    let certificate = Certificate::from_der(&der)
        .map_err(|e| ClientError::Verification(format!("the launcher's certificate: {e}")))?
        .to_pem();
    check(&report, &certificate, expected, unix_now_s())?;
    Ok(certificate)
}

fn check(report: &Report, certificate_pem: &str, expected: &Expected, now_s: u64) -> Result<(), ClientError> {
    let failed = |why: String| ClientError::Verification(format!("the launcher's evidence: {why}"));
    let platform = Platform::from_name(&report.platform)
        .ok_or_else(|| failed(format!("platform {:.64} is unknown", report.platform)))?;
    let evidence = Evidence {
        platform,
        attestation: &report.attestation,
    };
    let verified =
        attestation::verify(&evidence, &expected.trust, now_s, &Native).map_err(|e| failed(e.to_string()))?;
    let serves = Bound::Serves(&expected.service);
    let wanted = report_data(certificate_pem, serves, crypto::sha256);
    if verified.report_data.split_at(32).0 != wanted.split_at(32).0 {
        return Err(failed(
            "it was made for another certificate than the one presented".to_owned(),
        ));
    }
    if verified.report_data != wanted {
        return Err(failed(format!(
            "the launcher does not serve {}, the service that this command is pinned to",
            expected.service
        )));
    }
    check_claims(&verified.claims, verified.uvm_endorsed, expected).map_err(failed)
}

/// Source of the rule on measurements: attestation §1.5, "must beat".
fn check_claims(
    claims: &BTreeMap<String, JsonValue>,
    uvm_endorsed: bool,
    expected: &Expected,
) -> Result<(), String> {
    if claims.get(IS_DEBUGGABLE) != Some(&JsonValue::Bool(false)) {
        return Err("the launcher can be debugged".to_owned());
    }
    let text = |name: &str| claims.get(name).and_then(JsonValue::as_str).unwrap_or_default();
    let measurement = text(LAUNCH_MEASUREMENT);
    if !uvm_endorsed && !expected.measurements.iter().any(|known| known == measurement) {
        return Err(format!(
            "it has no UVM endorsements, and its launch measurement {measurement:.96} is none of those expected"
        ));
    }
    let got = text(HOST_DATA);
    if expected.host_data.iter().any(|digest| digest.to_string() == got) {
        return Ok(());
    }
    Err(format!("host data is {got:.64}, which is none of those expected"))
}

/// TLS settings that accept exactly one certificate.
pub(crate) fn exact_certificate(pem: &str) -> Result<ClientConfig, ClientError> {
    let certificate = Certificate::from_pem(pem)
        .map_err(|e| ClientError::Usage(format!("cannot use the pinned certificate: {e}")))?;
    settings(Arc::new(Presented {
        only: Some(certificate.der().to_owned()),
        ..Presented::default()
    }))
}

fn settings(verifier: Arc<Presented>) -> Result<ClientConfig, ClientError> {
    let provider = Arc::clone(&verifier.provider);
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| ClientError::Usage(format!("cannot use TLS: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Accepts one certificate; with none named, whichever comes first, and only that one afterwards.
#[derive(Debug)]
struct Presented {
    provider: Arc<CryptoProvider>,
    only: Option<Vec<u8>>,
    first: Mutex<Option<Vec<u8>>>,
}

impl Default for Presented {
    fn default() -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self {
            provider,
            only: None,
            first: Mutex::new(None),
        }
    }
}

impl Presented {
    fn certificate(&self) -> Option<Vec<u8>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Presented {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.only.as_deref().or(first.as_deref());
        if wanted.is_some_and(|wanted| wanted != end_entity.as_ref()) {
            return Err(rustls::Error::General(
                "the certificate is not the pinned one".to_owned(),
            ));
        }
        *first = Some(end_entity.as_ref().to_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(host_data: &str, debug: bool) -> BTreeMap<String, JsonValue> {
        [
            (HOST_DATA.to_owned(), json!(host_data)),
            (IS_DEBUGGABLE.to_owned(), json!(debug)),
            (LAUNCH_MEASUREMENT.to_owned(), json!("ab".repeat(48))),
        ]
        .into()
    }

    fn expected() -> Expected {
        Expected {
            service: ServiceId(Digest([5; 32])),
            host_data: vec![Digest([7; 32])],
            measurements: vec!["ab".repeat(48)],
            trust: Trust::production(),
        }
    }

    #[test]
    fn only_agreed_host_data_without_debugging_is_believed() {
        let good = Digest([7; 32]).to_string();
        let check = |claims: &BTreeMap<String, JsonValue>| check_claims(claims, false, &expected());
        assert_eq!(check(&claims(&good, false)), Ok(()));
        assert!(check(&claims(&good, true)).is_err());
        assert!(check(&claims(&Digest([8; 32]).to_string(), false)).is_err());
        assert!(check(&BTreeMap::new()).is_err());
    }

    #[test]
    fn host_data_counts_only_under_endorsements_or_an_expected_measurement() {
        let claims = claims(&Digest([7; 32]).to_string(), false);
        let unpinned = Expected {
            measurements: Vec::new(),
            ..expected()
        };
        assert!(check_claims(&claims, false, &unpinned).is_err());
        assert_eq!(check_claims(&claims, true, &unpinned), Ok(()));
        let other = Expected {
            measurements: vec!["cd".repeat(48)],
            ..expected()
        };
        assert!(check_claims(&claims, false, &other).is_err());
        assert_eq!(check_claims(&claims, false, &expected()), Ok(()));
    }

    #[test]
    fn evidence_that_is_none_is_a_failed_verification() {
        let report = Report {
            platform: "snp-caci".to_owned(),
            attestation: json!({}),
        };
        let failed = check(&report, "pem", &expected(), 0);
        assert!(matches!(failed, Err(ClientError::Verification(_))));
    }

    #[test]
    fn only_alternatives_of_role_launcher_name_launchers() {
        let alternatives: Vec<AlternativeView> = serde_json::from_value(json!([
            {"alternative": "l", "policyType": "snp-caci", "role": "launcher", "allowStaticEvidence": false,
             "claims": {HOST_DATA: ["11".repeat(32), "22".repeat(32)]}},
            {"alternative": "p", "policyType": "snp-caci", "role": "pod", "allowStaticEvidence": false,
             "claims": {HOST_DATA: ["33".repeat(32)]}},
            {"alternative": "any", "policyType": "snp-caci", "allowStaticEvidence": false,
             "claims": {HOST_DATA: ["44".repeat(32)]}},
            {"alternative": "vm", "policyType": "snp-cvm", "role": "launcher", "allowStaticEvidence": false,
             "claims": {"pcr4": ["AAAA"]}},
        ]))
        .unwrap();
        assert_eq!(
            host_data_of_launchers(&alternatives),
            [Digest([0x11; 32]), Digest([0x22; 32])]
        );
    }

    #[test]
    fn a_pinned_certificate_excludes_every_other() {
        let verifier = Presented {
            only: Some(vec![1]),
            ..Presented::default()
        };
        let name = ServerName::try_from("localhost").unwrap();
        let accepts = |der: &[u8]| {
            verifier
                .verify_server_cert(
                    &CertificateDer::from(der.to_vec()),
                    &[],
                    &name,
                    &[],
                    UnixTime::now(),
                )
                .is_ok()
        };
        assert!(accepts(&[1]));
        assert!(!accepts(&[2]));
    }
}
