//! Why evidence was not accepted: one variant per check.

use std::fmt;

use model::Digest;
use model::evidence::Platform;

/// A certificate's place in a chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    /// The chip's key, which signs reports.
    Vcek,
    /// AMD's key for one product, which signs chip keys.
    Ask,
    /// AMD's root for one product.
    Ark,
    /// The vTPM's attestation key.
    Aik,
    /// A certificate inside UVM endorsements, counted from the leaf.
    Uvm(usize),
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcek => f.write_str("VCEK"),
            Self::Ask => f.write_str("ASK"),
            Self::Ark => f.write_str("ARK"),
            Self::Aik => f.write_str("AIK"),
            Self::Uvm(index) => write!(f, "UVM certificate {index}"),
        }
    }
}

/// The check that evidence failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The platform is not accepted here.
    #[error("platform '{}' is not accepted by this verifier", .0.as_str())]
    UnsupportedPlatform(Platform),
    /// A field is absent.
    #[error("field '{0}' is missing")]
    Missing(&'static str),
    /// A field is present and not what it should be.
    #[error("field '{field}' is malformed: {problem}")]
    Malformed {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },

    /// A report is 1184 bytes.
    #[error("SNP report has {0} bytes, expected 1184")]
    ReportLength(usize),
    /// Reports before version 3 come from firmware with known weaknesses, and what later ones than
    /// the last known say cannot be read.
    #[error("SNP report version {0} is not accepted, expected 3 to 5")]
    ReportVersion(u32),
    /// Something reserved is not as the report's version has it.
    #[error("SNP report: reserved bits are not what they must be ({0})")]
    Reserved(&'static str),
    /// No root is known for this processor.
    #[error("no root is known for processor family {family:#04x}, model {model:#04x}")]
    UnknownProcessor {
        /// CPUID family.
        family: u8,
        /// CPUID model.
        model: u8,
    },
    /// The report's signature is of another kind than ECDSA P-384 with SHA-384.
    #[error("SNP report names signature algorithm {0}, expected 1 (ECDSA P-384 with SHA-384)")]
    ReportSignatureAlgorithm(u32),
    /// The report is not signed by this VCEK.
    #[error("signature of the SNP report does not verify with the VCEK")]
    ReportSignature,
    /// The report is signed by another key than a VCEK.
    #[error("SNP report names signing key {0}, expected 0 (VCEK)")]
    SigningKey(u8),
    /// The report hides which chip it is of.
    #[error("SNP report has a masked chip key")]
    ChipKeyMasked,
    /// The report was not requested by the guest.
    #[error("SNP report was requested at VMPL {0}, expected 0 to 3")]
    Vmpl(u32),
    /// The guest's memory can be read with a debugger.
    #[error("guest policy allows debugging")]
    DebugAllowed,
    /// The guest's memory can be handed to a migration agent.
    #[error("guest policy allows a migration agent")]
    MigrationAllowed,
    /// The report's TCB is not the one that its VCEK was derived from.
    #[error("reported TCB {reported} differs from the VCEK's {certified}")]
    TcbMismatch {
        /// TCB of the report, printed as governance prints it.
        reported: String,
        /// TCB of the certificate.
        certified: String,
    },
    /// The report's TCB is not the one that the evidence claims to be endorsed.
    #[error("reported TCB {reported} differs from the endorsed TCB {endorsed}")]
    EndorsedTcbMismatch {
        /// TCB of the report, printed as governance prints it.
        reported: String,
        /// The evidence's `endorsed_tcb`.
        endorsed: String,
    },
    /// The report is of another chip than its VCEK.
    #[error("chip id of the SNP report differs from the VCEK's hardware id")]
    ChipIdMismatch,

    /// A chain is exactly VCEK, ASK, ARK.
    #[error("chain has {0} certificates, expected 3 (VCEK, ASK, ARK)")]
    ChainLength(usize),
    /// A certificate cannot be read or lacks something.
    #[error("{link}: {problem}")]
    Certificate {
        /// Which certificate.
        link: Link,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate is not signed by the next one.
    #[error("{child} is not signed by {issuer}")]
    NotIssuedBy {
        /// The certificate whose signature failed.
        child: Link,
        /// Whose key it was verified with.
        issuer: Link,
    },
    /// A certificate is not valid yet, or not any more.
    #[error("{0} is outside its validity period")]
    OutsideValidity(Link),
    /// The chain ends in a root that is not pinned for this processor.
    #[error("root with key digest {0} is not pinned for this processor")]
    RootNotPinned(Digest),

    /// The UVM endorsements are not a document that this verifier can read.
    #[error("UVM endorsements are malformed: {0}")]
    UvmMalformed(String),
    /// The issuer's `did:x509` does not describe the certificates that came with it.
    #[error("UVM endorsements: certificates do not match their issuer: {0}")]
    UvmIssuer(String),
    /// The signature is not of the leaf's key.
    #[error("UVM endorsements: signature does not verify")]
    UvmSignature,
    /// Issuer and feed are not trusted, or the document is older than the oldest trusted one.
    #[error("UVM endorsements of issuer '{did}', feed '{feed}', SVN {svn} are not trusted")]
    UvmNotTrusted {
        /// The issuer.
        did: String,
        /// The feed.
        feed: String,
        /// The document's security version.
        svn: u64,
    },
    /// The endorsements are of another utility VM.
    #[error("launch measurement of the SNP report is not the endorsed one")]
    UvmMeasurementMismatch,

    /// The vTPM blob cannot be read.
    #[error("HCL report is malformed: {0}")]
    HclMalformed(String),
    /// The blob is of another kind of machine.
    #[error("HCL report is of type {0}, expected 2 (SNP)")]
    HclReportType(u32),
    /// The blob holds another report than the evidence.
    #[error("SNP report inside the HCL report differs from 'snpReport'")]
    HclReportMismatch,
    /// The SNP report does not cover the runtime claims.
    #[error("report data of the SNP report is not the digest of the runtime claims")]
    RuntimeClaimsMismatch,
    /// The runtime claims lack something.
    #[error("runtime claims: {0}")]
    RuntimeClaims(String),
    /// The paravisor runs at VMPL 0.
    #[error("paravisor's report was requested at VMPL {0}, expected 0")]
    ParavisorVmpl(u32),
    /// The paravisor was launched under another identity than Azure's.
    #[error("paravisor's id key digest {0} is not allowed")]
    ParavisorUnknown(String),
    /// The attestation key's certificate is of another key.
    #[error("AIK certificate is of another key than the runtime claims' HCLAkPub")]
    AikMismatch,
    /// The quote cannot be read.
    #[error("TPM quote is malformed: {0}")]
    QuoteMalformed(String),
    /// The quote is not signed by the attestation key.
    #[error("signature of the TPM quote does not verify with HCLAkPub")]
    QuoteSignature,
    /// The quote carries another nonce than the evidence.
    #[error("nonce of the TPM quote differs from the evidence's")]
    QuoteNonce,
    /// The registers that came along are not the quoted ones.
    #[error("quoted registers differ from the members of 'pcrs'")]
    PcrSelection,
    /// The registers' values are not the quoted ones.
    #[error("digest of the quoted registers does not match their values")]
    PcrDigest,
}
