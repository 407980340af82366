//! What the launcher is: its launch document, an attested key for the ledger, and a TLS key whose
//! certificate stands in the evidence that `GET /report` gives.
//!
//! Both keys are made at start and live as long as the process. Source: decision 40.

use std::path::Path;
use std::sync::Arc;

use client::attested::Workload;
use client::governance::unix_now_s;
use crypto::native::issue::{Validity, self_signed_member};
use crypto::native::{Curve, EcKeyPair};
use crypto::x509::Certificate;
use evidence::{Collector, LaunchDocument, LaunchError, Measured, SoftwareAttester};
use model::ServiceId;
use model::evidence::Role;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value as JsonValue, json};

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
    /// The launch document cannot be used.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The document is not a launcher's, or fixes files or other arguments.
    #[error("the launch document must be of role launcher, with arguments {started:?} and no files")]
    Document {
        /// As this process was started.
        started: Vec<&'static str>,
    },
    /// The development attester cannot be used.
    #[error("software attester")]
    Attester(#[from] evidence::AttesterError),
    /// No attested key pair.
    #[error(transparent)]
    Workload(#[from] client::ClientError),
    /// No TLS key or certificate.
    #[error("cannot make a TLS identity: {0}")]
    Tls(String),
}

/// A workload of `service` that shows evidence for the launch document. With `attester` its evidence is the
/// software attester's, else the SNP guest device's. Whether users' tokens are taken stands in the
/// document, so that members and users know it.
///
/// # Errors
///
/// [`IdentityError`].
pub fn workload(
    service: ServiceId,
    document: &Path,
    attester: Option<&Path>,
    accept_user_tokens: bool,
) -> Result<Workload, IdentityError> {
    let document = LaunchDocument::read(document)?;
    let mut started = vec![STARTED];
    started.extend(accept_user_tokens.then_some(ACCEPT_USER_TOKENS));
    if document.role != Role::Launcher || document.args != started || !document.files.is_empty() {
        return Err(IdentityError::Document { started });
    }
    let measured = Measured {
        document,
        files: std::collections::BTreeMap::new(),
        spark_lock: None,
    };
    let collector = match attester {
        Some(dir) => Collector::Software {
            attester: Box::new(SoftwareAttester::open(dir)?),
            measured: Box::new(measured),
        },
        None => Collector::SevGuest(evidence::SevGuest::default()),
    };
    let collect = move |report_data| match collector.collect(report_data) {
        Ok(collected) => Ok((collected.platform, collected.attestation)),
        Err(error) => Err(format!("{:#}", anyhow::Error::new(error))),
    };
    Ok(Workload::new(service, Box::new(collect))?)
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
