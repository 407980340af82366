//! The software attester: genuine layout, genuine signatures, no protection.
//!
//! It stands where a processor stands in a real deployment, so that everything above it can be
//! run and tested anywhere. It signs nothing for a program that is not the one its launch
//! document describes ("drift fails at home"), and nobody but a node started with
//! `--insecure-virtual` trusts its root. Source: decision 19.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use attestation::report::{SIGNATURE_HALF_SIZE, SIGNED_SIZE, SIZE, Tcb, offset, policy};
use crypto::native::{EcKeyPair, KeyError, random_bytes};
use crypto::{sha256, sha384};
use model::{Digest, b64};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::development_chain::DevelopmentChain;
use crate::files;
use crate::launch::{LaunchError, Measured, file_digest};

/// Root certificate, PEM.
pub const ARK_FILE: &str = "ark.pem";
/// Intermediate certificate, PEM.
pub const ASK_FILE: &str = "ask.pem";
/// The development chip's certificate, PEM.
pub const VCEK_FILE: &str = "vcek.pem";
/// The development chip's private key, PKCS#8 PEM, readable by its owner alone.
pub const VCEK_KEY_FILE: &str = "vcek.key";

/// What the launch measurement is the SHA-384 of.
const MEASURED_TEXT: &[u8] = b"concordat software attester v1";
/// Bootloader 4, SNP 0x18, microcode 0xDB: a TCB in use on Milan.
const TCB: Tcb = Tcb([0x04, 0, 0, 0, 0, 0, 0x18, 0xDB]);
/// Longest file read from the attester's directory, in bytes.
const FILE_SIZE_MAX: u64 = 64 * 1024;
/// Bytes of one half of a P-384 signature.
const SCALAR_SIZE: usize = 48;

/// The attester's directory cannot be used, or it refuses to sign.
#[derive(Debug, thiserror::Error)]
pub enum AttesterError {
    /// A file cannot be read or written.
    #[error("software attester: {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// There is an attester already; its root may be trusted somewhere, so it is not replaced.
    #[error("{0} already holds a software attester; remove the directory to make a new one")]
    AlreadyInitialised(PathBuf),
    /// A file of the directory is not what it should be.
    #[error("software attester: {path} is malformed: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate cannot be made.
    #[error("software attester: certificate cannot be encoded")]
    Encoding(#[from] der::Error),
    /// A key cannot be made or used.
    #[error("software attester: key")]
    Key(#[from] KeyError),
    /// What runs is not what the launch document says.
    #[error("software attester refuses to sign")]
    Refused(#[from] LaunchError),
}

/// Makes a development chip in `dir`, which is created if absent: its chain, and its key with
/// access for the owner alone. Takes seconds.
///
/// # Errors
///
/// [`AttesterError`] if there is one already, or files cannot be written.
pub fn init(dir: &Path) -> Result<(), AttesterError> {
    let io_error = |source| AttesterError::Io {
        path: dir.to_owned(),
        source,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_error)?;
    if dir.join(ARK_FILE).exists() || dir.join(VCEK_KEY_FILE).exists() {
        return Err(AttesterError::AlreadyInitialised(dir.to_owned()));
    }
    let chip_id = random_bytes::<64>();
    let chain = DevelopmentChain::issue(&chip_id, TCB)?;
    write_new(
        &dir.join(VCEK_KEY_FILE),
        0o600,
        chain.vcek_key.to_pkcs8_pem()?.as_bytes(),
    )?;
    write_new(&dir.join(VCEK_FILE), 0o644, chain.vcek.as_bytes())?;
    write_new(&dir.join(ASK_FILE), 0o644, chain.ask.as_bytes())?;
    // Last, so that a directory with a root is complete.
    write_new(&dir.join(ARK_FILE), 0o644, chain.ark.as_bytes())
}

/// SHA-256 of the SPKI of the root in `dir`: what a node lists in
/// `attestation.insecure_virtual_roots`.
///
/// # Errors
///
/// [`AttesterError`] if the root cannot be read.
pub fn ark_spki_sha256(dir: &Path) -> Result<Digest, AttesterError> {
    let path = dir.join(ARK_FILE);
    Ok(sha256(certificate(&path)?.spki_der()))
}

/// A development chip.
pub struct SoftwareAttester {
    key: EcKeyPair,
    chip_id: [u8; 64],
    /// VCEK, ASK, ARK as PEM.
    chain: String,
    /// A running executable cannot change under its process, so it is read once.
    program: OnceLock<Digest>,
}

impl SoftwareAttester {
    /// Opens the chip in `dir`.
    ///
    /// # Errors
    ///
    /// [`AttesterError`] if a file is missing or malformed.
    pub fn open(dir: &Path) -> Result<Self, AttesterError> {
        let key_path = dir.join(VCEK_KEY_FILE);
        let key = EcKeyPair::from_pem(&Zeroizing::new(read(&key_path)?))?;
        let vcek_path = dir.join(VCEK_FILE);
        let vcek = certificate(&vcek_path)?;
        if vcek.spki_der() != key.spki_der() {
            let problem = format!("is not the certificate of {VCEK_KEY_FILE}");
            return Err(AttesterError::Malformed {
                path: vcek_path,
                problem,
            });
        }
        let chip_id = attestation::hardware_id(vcek.der()).map_err(|error| AttesterError::Malformed {
            path: vcek_path,
            problem: error.to_string(),
        })?;
        let chain = [VCEK_FILE, ASK_FILE, ARK_FILE]
            .into_iter()
            .map(|name| read(&dir.join(name)))
            .collect::<Result<String, _>>()?;
        Ok(Self {
            key,
            chip_id,
            chain,
            program: OnceLock::new(),
        })
    }

    /// Signs a report that binds `report_data` to the running program: an `snp-caci` evidence
    /// object whose host data is the launch document's digest.
    ///
    /// # Errors
    ///
    /// [`AttesterError::Refused`] if the running executable or a file is not what the document
    /// says; other variants if something cannot be read or signed.
    pub fn attest(&self, measured: &Measured, report_data: [u8; 64]) -> Result<Value, AttesterError> {
        measured.check(self.program()?)?;
        let report = self.report(measured.document.digest(), &report_data)?;
        Ok(json!({
            "evidence": b64::encode(&report),
            "endorsements": b64::encode(self.chain.as_bytes()),
            "endorsed_tcb": TCB.to_string(),
        }))
    }

    /// SHA-256 of the running executable.
    fn program(&self) -> Result<Digest, AttesterError> {
        if let Some(digest) = self.program.get() {
            return Ok(*digest);
        }
        let digest = file_digest(Path::new("/proc/self/exe"))?;
        Ok(*self.program.get_or_init(|| digest))
    }

    /// A signed report (§1.3).
    fn report(&self, host_data: Digest, report_data: &[u8; 64]) -> Result<[u8; SIZE], AttesterError> {
        let mut report = [0; SIZE];
        let fields: [(usize, &[u8]); 16] = [
            (offset::VERSION, &3_u32.to_le_bytes()),
            (
                offset::POLICY,
                &(policy::SMT | policy::RESERVED_ONE).to_le_bytes(),
            ),
            (offset::SIGNATURE_ALGORITHM, &1_u32.to_le_bytes()),
            (offset::CURRENT_TCB, &TCB.0),
            (offset::REPORT_DATA, report_data),
            (offset::MEASUREMENT, &sha384(MEASURED_TEXT)),
            (offset::HOST_DATA, &host_data.0),
            (offset::REPORT_ID, &random_bytes::<32>()),
            (offset::REPORT_ID_MA, &[0xFF; 32]),
            (offset::REPORTED_TCB, &TCB.0),
            (offset::CPUID_FAMILY, &[0x19]),
            (offset::CPUID_MODEL, &[0x01]),
            (offset::CPUID_STEPPING, &[0x01]),
            (offset::CHIP_ID, &self.chip_id),
            (offset::COMMITTED_TCB, &TCB.0),
            (offset::LAUNCH_TCB, &TCB.0),
        ];
        for (at, value) in fields {
            put(&mut report, at, value);
        }
        let signed: &[u8; SIGNED_SIZE] = report.first_chunk().expect("the signed part is shorter");
        let mut signature = self.key.sign_fixed(signed)?;
        // The report stores both halves with the least significant byte first.
        for (half, at) in signature
            .chunks_exact_mut(SCALAR_SIZE)
            .zip([0, SIGNATURE_HALF_SIZE])
        {
            half.reverse();
            put(&mut report, offset::SIGNATURE.saturating_add(at), half);
        }
        Ok(report)
    }
}

fn put(report: &mut [u8; SIZE], at: usize, value: &[u8]) {
    let field = report.get_mut(at..).and_then(|tail| tail.get_mut(..value.len()));
    field
        .expect("every field lies inside the report")
        .copy_from_slice(value);
}

fn certificate(path: &Path) -> Result<crypto::x509::Certificate, AttesterError> {
    crypto::x509::Certificate::from_pem(&read(path)?).map_err(|error| AttesterError::Malformed {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

fn read(path: &Path) -> Result<String, AttesterError> {
    let io_error = |source| AttesterError::Io {
        path: path.to_owned(),
        source,
    };
    let malformed = |problem: String| AttesterError::Malformed {
        path: path.to_owned(),
        problem,
    };
    let content = files::read(path, FILE_SIZE_MAX)
        .map_err(io_error)?
        .ok_or_else(|| malformed(format!("longer than {FILE_SIZE_MAX} bytes")))?;
    String::from_utf8(content).map_err(|error| {
        // It may have been a key.
        drop(Zeroizing::new(error.into_bytes()));
        malformed("not text".to_owned())
    })
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> Result<(), AttesterError> {
    let write = || -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|source| AttesterError::Io {
        path: path.to_owned(),
        source,
    })
}
