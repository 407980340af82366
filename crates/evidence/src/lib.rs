//! Evidence, collected: what a pod or launcher shows the ledger to say which program it is.
//!
//! [`Collector`] is one of three sources: the SNP guest device, the software attester (real
//! layout, real signatures, a development root), or an unsigned statement. Which of them a
//! verifier accepts is `attestation`'s and the node's business. Source: decisions 12, 16, 19, 20
//! and "Who is who".

pub mod launch;
#[cfg(feature = "sev-guest")]
pub mod sev_guest;
pub mod software;

mod development_chain;
mod files;

use model::evidence::Platform;
use model::{Digest, b64};
use serde_json::{Value, json};

pub use launch::{LaunchDocument, LaunchError, Measured};
#[cfg(feature = "sev-guest")]
pub use sev_guest::{SevGuest, SevGuestError};
pub use software::{AttesterError, SoftwareAttester};

/// A source of evidence.
pub enum Collector {
    /// Reports signed under a development root, for the launch document at hand.
    Software {
        /// The development chip.
        attester: Box<SoftwareAttester>,
        /// What was launched, and where its parts lie.
        measured: Box<Measured>,
    },
    /// Reports of the SNP guest device.
    #[cfg(feature = "sev-guest")]
    SevGuest(SevGuest),
    /// An unsigned statement.
    Virtual(VirtualStatement),
}

/// What an unsigned statement claims.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VirtualStatement {
    /// Launch measurement.
    pub measurement: [u8; 48],
    /// Host data.
    pub host_data: Digest,
}

/// Evidence as a request carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected {
    /// The request's `platform`.
    pub platform: Platform,
    /// The request's `attestation`.
    pub attestation: Value,
}

/// No evidence could be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The software attester refuses or cannot.
    #[error(transparent)]
    Software(#[from] AttesterError),
    /// The guest device refuses or cannot.
    #[cfg(feature = "sev-guest")]
    #[error(transparent)]
    SevGuest(#[from] SevGuestError),
}

impl Collector {
    /// The platform that the evidence is of.
    #[must_use]
    pub const fn platform(&self) -> Platform {
        match self {
            Self::Software { .. } => Platform::SnpCaci,
            #[cfg(feature = "sev-guest")]
            Self::SevGuest(_) => Platform::SnpCaci,
            Self::Virtual(_) => Platform::Virtual,
        }
    }

    /// Collects evidence that binds `report_data`; see [`model::attested::report_data`].
    ///
    /// # Errors
    ///
    /// [`CollectError`] if the source refuses or fails.
    pub fn collect(&self, report_data: [u8; 64]) -> Result<Collected, CollectError> {
        let attestation = match self {
            Self::Software { attester, measured } => attester.attest(measured, report_data)?,
            #[cfg(feature = "sev-guest")]
            Self::SevGuest(guest) => guest.attest(report_data)?,
            Self::Virtual(statement) => statement.attest(&report_data),
        };
        Ok(Collected {
            platform: self.platform(),
            attestation,
        })
    }
}

impl VirtualStatement {
    fn attest(&self, report_data: &[u8; 64]) -> Value {
        let statement = json!({
            "measurement": hex(&self.measurement),
            "host_data": self.host_data,
            "report_data": hex(report_data),
        });
        json!({ "evidence": b64::encode(statement.to_string().as_bytes()) })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
