//! Reports of real hardware, through the guest device of the Linux kernel (`/dev/sev-guest`).
//!
//! The hypervisor may hand out the chip's certificates with the report. Where it does not, they
//! come from a file that the operator fetched from AMD for this chip and TCB. Neither needs to be
//! trusted: a verifier pins the root and checks everything below it.

use std::io;
use std::path::{Path, PathBuf};

use attestation::report::{Report, SIZE};
use crypto::pem;
use model::b64;
use serde_json::{Value, json};
use sev::error::UserApiError;
use sev::firmware::guest::Firmware;
use sev::firmware::host::{CertTableEntry, CertType};

use crate::files;

/// Longest file read: chain or endorsements.
const FILE_SIZE_MAX: u64 = 64 * 1024;

/// Where evidence beyond the report comes from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SevGuest {
    /// PEM file with VCEK, ASK and ARK, for hypervisors that hand out no certificates.
    pub certificates: Option<PathBuf>,
    /// The utility VM's endorsements (COSE_Sign1), where the platform has such.
    pub uvm_endorsements: Option<PathBuf>,
}

/// The guest device gave no evidence.
#[derive(Debug, thiserror::Error)]
pub enum SevGuestError {
    /// This machine is no SNP guest, or the process may not use the device.
    #[error("cannot open /dev/sev-guest; is this an SNP guest, and may this process use the device?")]
    Device(#[source] io::Error),
    /// The firmware refused.
    #[error("SNP firmware gave no report")]
    Firmware(#[source] UserApiError),
    /// The firmware's report is none.
    #[error("SNP firmware gave a malformed report")]
    Report(#[source] attestation::Rejected),
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file is longer than what it should hold.
    #[error("{0} is longer than {FILE_SIZE_MAX} bytes")]
    TooLong(PathBuf),
    /// The hypervisor's certificates and the configuration's are both missing.
    #[error(
        "hypervisor handed out no {0} certificate; configure a file with VCEK, ASK and ARK for this chip"
    )]
    NoCertificate(&'static str),
    /// The hypervisor's certificate is neither DER nor PEM.
    #[error("hypervisor handed out a malformed {name} certificate")]
    Certificate {
        /// Which one.
        name: &'static str,
        /// The cause.
        #[source]
        source: pem::PemError,
    },
}

impl SevGuest {
    /// Has the firmware sign a report that binds `report_data`: an `snp-caci` evidence object.
    ///
    /// # Errors
    ///
    /// [`SevGuestError`].
    pub fn attest(&self, report_data: [u8; 64]) -> Result<Value, SevGuestError> {
        let mut firmware = Firmware::open().map_err(SevGuestError::Device)?;
        let (report, handed_out) = firmware
            .get_ext_report(None, Some(report_data), None)
            .map_err(SevGuestError::Firmware)?;
        let report = Report::new(report.get(..SIZE).unwrap_or(&report)).map_err(SevGuestError::Report)?;
        let chain = match &self.certificates {
            Some(path) => String::from_utf8_lossy(&read(path)?).into_owned(),
            None => chain(&handed_out.unwrap_or_default())?,
        };
        let mut attestation = json!({
            "evidence": b64::encode(report.bytes()),
            "endorsements": b64::encode(chain.as_bytes()),
            "endorsed_tcb": report.reported_tcb().to_string(),
        });
        if let (Some(path), Some(members)) = (&self.uvm_endorsements, attestation.as_object_mut()) {
            members.insert("uvm_endorsements".to_owned(), b64::encode(&read(path)?).into());
        }
        Ok(attestation)
    }
}

/// VCEK, ASK, ARK as PEM, from the hypervisor's table.
fn chain(table: &[CertTableEntry]) -> Result<String, SevGuestError> {
    [
        ("VCEK", CertType::VCEK),
        ("ASK", CertType::ASK),
        ("ARK", CertType::ARK),
    ]
    .into_iter()
    .map(|(name, kind)| {
        let entry = table.iter().find(|entry| entry.cert_type == kind);
        certificate(name, &entry.ok_or(SevGuestError::NoCertificate(name))?.data)
    })
    .collect()
}

/// A certificate as PEM; tables in the field hold DER or PEM, padded with zeros to a page.
fn certificate(name: &'static str, data: &[u8]) -> Result<String, SevGuestError> {
    let Ok(text) = std::str::from_utf8(data) else {
        return Ok(pem::encode(pem::CERTIFICATE, data));
    };
    let der = pem::read_one(pem::CERTIFICATE, text.trim_end_matches('\0'))
        .map_err(|source| SevGuestError::Certificate { name, source })?;
    Ok(pem::encode(pem::CERTIFICATE, &der))
}

fn read(path: &Path) -> Result<Vec<u8>, SevGuestError> {
    let io_error = |source| SevGuestError::Io {
        path: path.to_owned(),
        source,
    };
    files::read(path, FILE_SIZE_MAX)
        .map_err(io_error)?
        .ok_or_else(|| SevGuestError::TooLong(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    // No DER certificate is UTF-8: its second byte, 0x82, begins no character.
    const DER: &[u8] = &[0x30, 0x82, 0x00, 0x01, 0x05];

    fn entry(cert_type: CertType, data: &[u8]) -> CertTableEntry {
        CertTableEntry {
            cert_type,
            data: data.to_vec(),
        }
    }

    #[test]
    fn the_hypervisors_table_becomes_a_chain_in_order_whatever_its_form() {
        let text = pem::encode(pem::CERTIFICATE, DER);
        let table = [
            entry(CertType::ARK, text.as_bytes()),
            entry(CertType::ASK, DER),
            entry(CertType::VCEK, DER),
        ];
        assert_eq!(chain(&table).unwrap(), text.repeat(3));
        assert!(matches!(
            chain(&table[..2]),
            Err(SevGuestError::NoCertificate("VCEK"))
        ));
        let broken = [entry(CertType::VCEK, b"-----BEGIN")];
        assert!(matches!(
            chain(&broken),
            Err(SevGuestError::Certificate { name: "VCEK", .. })
        ));
    }

    #[test]
    fn a_file_of_the_most_bytes_is_read_and_a_longer_one_or_one_without_an_end_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chain.pem");
        let of_size = |size: u64| {
            File::create(&path).unwrap().set_len(size).unwrap();
            read(&path)
        };
        assert_eq!(of_size(FILE_SIZE_MAX).unwrap().len() as u64, FILE_SIZE_MAX);
        for refused in [of_size(FILE_SIZE_MAX + 1), read(Path::new("/dev/zero"))] {
            assert!(matches!(refused, Err(SevGuestError::TooLong(_))));
        }
    }
}
