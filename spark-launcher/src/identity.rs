//! What the launcher is: its launch document, an attested key for the ledger, and a TLS key whose
//! certificate stands in the evidence that `GET /report` gives.
//!
//! Both keys are made at start and live as long as the process. Source: decision 40.

use std::path::Path;
use std::sync::Arc;

use client::Connection;
use client::attested::Workload;
use client::governance::unix_now_s;
use crypto::native::issue::{Validity, self_signed_member};
use crypto::native::{Curve, EcKeyPair};
use crypto::x509::Certificate;
use evidence::Measured;
use model::evidence::Role;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value as JsonValue, json};
use workload::WorkloadError;

/// Life of the TLS certificate, in days; a launcher that runs longer is restarted.
const CERTIFICATE_DAYS: u32 = 90;
/// The certificate starts this long ago, in seconds, for clocks that are behind ours.
const CLOCK_SLACK_S: u64 = 3600;
/// The argument that every launch document fixes.
const STARTED: &str = "serve";
/// The argument that it fixes besides where users' tokens are taken.
const ACCEPT_USER_TOKENS: &str = "--accept-user-tokens";

/// Why the launcher cannot show what it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The process is not what the launch document says, or cannot show it.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The document fixes files, of which a launcher has none.
    #[error("the launch document names files, and a launcher has none")]
    Files,
    /// No TLS key or certificate.
    #[error("cannot make a TLS identity: {0}")]
    Tls(String),
}

/// The launcher as a workload of the connection's service. Whether users' tokens are taken stands in
/// the launch document, so that members and users know it.
///
/// # Errors
///
/// [`IdentityError`].
pub fn workload(
    connection: &Connection,
    document: &Path,
    attester: Option<&Path>,
    accept_user_tokens: bool,
) -> Result<Workload, IdentityError> {
    let mut started = vec![STARTED];
    started.extend(accept_user_tokens.then_some(ACCEPT_USER_TOKENS));
    let document = workload::document(document, Role::Launcher, started)?;
    if !document.files.is_empty() {
        return Err(IdentityError::Files);
    }
    let measured = Measured {
        document,
        files: std::collections::BTreeMap::new(),
        spark_lock: None,
    };
    Ok(workload::attested(connection, attester, measured)?)
}

/// The TLS side of the launcher.
pub struct TlsIdentity {
    /// The certificate, PEM, as it is bound into evidence.
    pub certificate_pem: String,
    /// Settings for the listener.
    pub settings: Arc<ServerConfig>,
}

impl TlsIdentity {
    /// A fresh key and certificate.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Tls`].
    pub fn generate() -> Result<Self, IdentityError> {
        let tls = |e: &dyn std::fmt::Display| IdentityError::Tls(e.to_string());
        let key = EcKeyPair::generate(Curve::P256).map_err(|e| tls(&e))?;
        let validity = Validity {
            not_before: unix_now_s().saturating_sub(CLOCK_SLACK_S),
            days: CERTIFICATE_DAYS,
        };
        let pem = self_signed_member(&key, "concordat-launcher", validity).map_err(|e| tls(&e))?;
        // The canonical text, which clients make again from what is presented to them.
        let certificate = Certificate::from_pem(&pem).map_err(|e| tls(&e))?;
        let key_der = key.to_pkcs8_der().map_err(|e| tls(&e))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut settings = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| tls(&e))?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_owned())],
                PrivatePkcs8KeyDer::from(key_der.to_vec()).into(),
            )
            .map_err(|e| tls(&e))?;
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            certificate_pem: certificate.to_pem(),
            settings: Arc::new(settings),
        })
    }
}

/// The answer of `GET /report`: evidence that binds the certificate and the service that is served.
///
/// # Errors
///
/// [`client::ClientError::Usage`] with what the platform said.
pub fn report(workload: &Workload, certificate_pem: &str) -> Result<JsonValue, client::ClientError> {
    let (platform, attestation) = workload.serving(certificate_pem)?;
    Ok(json!({
        "platform": platform.as_str(),
        "attestation": attestation,
        "reportDataPayload": model::b64::encode(certificate_pem.as_bytes()),
    }))
}
