//! Workloads with evidence: a development chip, pods that run this very test program, and the
//! published evidence of a real container group.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use client::Connection;
use client::attested::Workload;
use evidence::launch::Measured;
use evidence::{SoftwareAttester, software};
use model::attested::{Bound, report_data};
use model::evidence::{Platform, Role};
use model::{ServiceId, b64};
use serde_json::{Value as JsonValue, json};
use tempfile::TempDir;

use crate::built;

/// The claim that says what was launched.
pub const HOST_DATA: &str = "x-ms-sevsnpvm-hostdata";
/// The claim that says on what.
pub const MEASUREMENT: &str = "x-ms-sevsnpvm-launchmeasurement";

/// A development chip, and its root.
pub struct Chip {
    _dir: TempDir,
    /// Where it lies, for programs that are started with it.
    pub folder: PathBuf,
    attester: Arc<SoftwareAttester>,
    /// What a node that trusts it lists in its configuration.
    pub root: String,
}

impl Chip {
    /// Makes one; takes a second or two.
    ///
    /// # Errors
    ///
    /// If its files cannot be written.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let folder = dir.path().join("attester");
        software::init(&folder)?;
        Ok(Self {
            attester: Arc::new(SoftwareAttester::open(&folder)?),
            root: software::ark_spki_sha256(&folder)?.to_string(),
            folder,
            _dir: dir,
        })
    }

    /// A pod of `service` whose launch document names this program and `argument`: pods with other arguments
    /// have other host data.
    ///
    /// # Errors
    ///
    /// If the program cannot be measured or no key can be made.
    pub fn pod(&self, service: ServiceId, argument: &str) -> Result<Pod> {
        let program = std::env::current_exe()?;
        let measured = measure(&program, argument)?;
        let host_data = measured.document.digest().to_string();
        let collect = {
            let (attester, measured) = (Arc::clone(&self.attester), measured.clone());
            move |data: [u8; 64]| {
                let attestation = attester.attest(&measured, data).map_err(|e| e.to_string())?;
                Ok((Platform::SnpCaci, attestation))
            }
        };
        Ok(Pod {
            workload: Workload::new(service, Box::new(collect))?,
            attester: Arc::clone(&self.attester),
            measured,
            host_data,
        })
    }
}

fn measure(program: &Path, argument: &str) -> Result<Measured> {
    let arguments = vec![argument.to_owned()];
    Ok(Measured::measure(
        Role::Pod,
        program,
        BTreeMap::new(),
        arguments,
        None,
    )?)
}

/// A workload and what it was launched as.
pub struct Pod {
    /// Its key, and its way to the service.
    pub workload: Workload,
    /// Hex.
    pub host_data: String,
    attester: Arc<SoftwareAttester>,
    measured: Measured,
}

impl Pod {
    /// Claims that this pod satisfies and pods launched otherwise do not.
    #[must_use]
    pub fn claims(&self) -> JsonValue {
        json!({
            HOST_DATA: self.host_data,
            MEASUREMENT: hex::encode(crypto::sha384(b"concordat software attester v1")),
            "x-ms-sevsnpvm-is-debuggable": false,
        })
    }

    /// A complete attested request for the key text and nonce given, for tests that spoil a part.
    ///
    /// # Errors
    ///
    /// If the attester refuses.
    pub fn request(&self, key_pem: &str, nonce: &[u8; 32]) -> Result<JsonValue> {
        let service = self.workload.service();
        let bound = Bound::Nonce {
            nonce,
            service: &service,
        };
        let data = report_data(key_pem, bound, crypto::sha256);
        let attestation = self.attester.attest(&self.measured, data)?;
        Ok(json!({
            "platform": Platform::SnpCaci.as_str(),
            "attestation": attestation,
            "encrypt": { "publicKey": b64::encode(key_pem.as_bytes()) },
            "nonce": b64::encode(nonce),
        }))
    }
}

/// A nonce of the service.
///
/// # Errors
///
/// If the service gives none.
pub async fn nonce(connection: &Connection) -> Result<[u8; 32]> {
    let tree: JsonValue = connection.post_empty("/app/attestation/nonce").await?.json()?;
    let bytes = b64::decode(
        tree.get("nonce")
            .and_then(JsonValue::as_str)
            .context("no nonce")?,
    )?;
    bytes.as_slice().try_into().context("a nonce has 32 bytes")
}

/// Evidence that a real container group showed once, with the key pair that it binds; both are
/// published (`tests/vectors/attestation/README.md`).
pub struct Recorded {
    /// The `attestation` object.
    pub attestation: JsonValue,
    /// The bound key, PEM without a trailing newline.
    pub public_pem: String,
    /// Its private half, PEM.
    pub private_pem: String,
}

impl Recorded {
    /// Reads `kind`: `encryption` (RSA-2048) or `signing` (P-384).
    ///
    /// # Errors
    ///
    /// If a file is missing.
    pub fn read(kind: &str) -> Result<Self> {
        let folder = built::source("tests/vectors/attestation/azure-cleanroom/caci").join(kind);
        let recorded: JsonValue = serde_json::from_slice(&std::fs::read(folder.join("attestation.json"))?)?;
        let report = |member: &str| recorded.pointer(&format!("/report/snpCACI/{member}"));
        Ok(Self {
            attestation: json!({
                "evidence": report("attestation"),
                "endorsements": report("platformCertificates"),
                "uvm_endorsements": report("uvmEndorsements"),
            }),
            public_pem: std::fs::read_to_string(folder.join("pub_key.pem"))?
                .trim_end()
                .to_owned(),
            private_pem: std::fs::read_to_string(folder.join("priv_key.pem"))?,
        })
    }

    /// A request in the reference's form: no nonce, second half of report data zero.
    #[must_use]
    pub fn request(&self) -> JsonValue {
        json!({
            "attestation": self.attestation,
            "encrypt": { "publicKey": b64::encode(self.public_pem.as_bytes()) },
        })
    }
}
