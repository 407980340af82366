//! The blob that the paravisor of an Azure confidential VM leaves in a vTPM index: an SNP report
//! and the runtime claims that it covers (§1.9).
//!
//! The blob's own header is signed by nobody. Everything in it is therefore fixed or computed
//! here, so that there is one form of each blob and nothing to choose.

use crypto::sha256;

use crate::Rejected;
use crate::reader::{Mislaid, Reader};
use crate::report::SIZE as REPORT_SIZE;

/// Longest blob; the index holds 2,600 bytes.
pub(crate) const BLOB_SIZE_MAX: usize = 8 * 1024;

const SIGNATURE: &[u8] = b"HCLA";
/// Azure writes 1 on Milan and 2 on Genoa; the layout is the same.
const VERSIONS: [u32; 2] = [1, 2];
const REQUEST_TYPE: u32 = 2;
const HEADER_RESERVED_SIZE: usize = 16;
const RUNTIME_HEADER_SIZE: u32 = 20;
const RUNTIME_VERSION: u32 = 1;
const REPORT_TYPE_SNP: u32 = 2;
const HASH_SHA256: u32 = 1;

/// A blob's two parts, found consistent with the header and not yet with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob<'a> {
    /// The SNP report.
    pub(crate) report: &'a [u8],
    /// Runtime claims: JSON text.
    pub(crate) claims: &'a [u8],
}

impl<'a> Blob<'a> {
    /// Finds the parts of `bytes`, which may be padded with zeros.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Rejected> {
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader).map_err(mislaid)?;
        if header.signature != SIGNATURE || !VERSIONS.contains(&header.version) {
            return Err(malformed("not an HCL report of version 1 or 2"));
        }
        if header.request_type != REQUEST_TYPE || header.reserved.iter().any(|byte| *byte != 0) {
            return Err(malformed("header is of an unknown kind"));
        }
        let report = reader.take(REPORT_SIZE).map_err(mislaid)?;
        let claims = runtime_claims(&mut reader)?;
        let content_size = bytes.len().checked_sub(reader.rest().len());
        if content_size != usize::try_from(header.content_size).ok() {
            return Err(malformed("size in the header is not the content's"));
        }
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(malformed("padding is not zero"));
        }
        Ok(Self { report, claims })
    }

    /// Whether `report_data` is the digest of the runtime claims, and zeros.
    pub(crate) fn claims_are_covered_by(&self, report_data: &[u8; 64]) -> bool {
        let (digest, zeros) = report_data.split_at(32);
        sha256(self.claims).0 == digest && zeros.iter().all(|byte| *byte == 0)
    }
}

struct Header<'a> {
    signature: &'a [u8],
    version: u32,
    content_size: u32,
    request_type: u32,
    reserved: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Mislaid> {
        Ok(Self {
            signature: reader.take(SIGNATURE.len())?,
            version: reader.u32_le()?,
            content_size: reader.u32_le()?,
            request_type: reader.u32_le()?,
            reserved: reader.take(HEADER_RESERVED_SIZE)?,
        })
    }
}

fn runtime_claims<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Rejected> {
    let data_size = reader.u32_le().map_err(mislaid)?;
    let version = reader.u32_le().map_err(mislaid)?;
    let report_type = reader.u32_le().map_err(mislaid)?;
    let hash = reader.u32_le().map_err(mislaid)?;
    let claims_size = reader.u32_le().map_err(mislaid)?;
    if report_type != REPORT_TYPE_SNP {
        return Err(Rejected::HclReportType(report_type));
    }
    if version != RUNTIME_VERSION || claims_size.checked_add(RUNTIME_HEADER_SIZE) != Some(data_size) {
        return Err(malformed("runtime data is of an unknown version or size"));
    }
    if hash != HASH_SHA256 {
        return Err(malformed(
            "runtime claims are hashed with something else than SHA-256",
        ));
    }
    let claims_size = usize::try_from(claims_size).map_err(|_| malformed("runtime claims are too long"))?;
    reader.take(claims_size).map_err(mislaid)
}

fn malformed(problem: &str) -> Rejected {
    Rejected::HclMalformed(problem.to_owned())
}

fn mislaid(error: Mislaid) -> Rejected {
    Rejected::HclMalformed(error.to_string())
}
