//! Platform `virtual`: unsigned statements, for development. Refused unless the node was started
//! for it (decision 20).
//!
//! Its claims always say that the workload is debuggable, so a policy written for real hardware
//! never matches them.

use crypto::sha256;
use model::evidence::Platform;
use serde_json::Value;

use crate::{Rejected, Trust, Verified, claims, fields};

/// Longest unsigned statement, in bytes of JSON.
const STATEMENT_SIZE_MAX: usize = 4096;

/// Reads a `virtual` evidence object.
pub(crate) fn verify(attestation: &Value, trust: &Trust) -> Result<Verified, Rejected> {
    if !trust.allow_virtual {
        return Err(Rejected::UnsupportedPlatform(Platform::Virtual));
    }
    let map = fields::object(attestation, "attestation")?;
    let text = fields::bytes(fields::text(map, "evidence")?, "evidence", STATEMENT_SIZE_MAX)?;
    let statement = fields::parse_json(&text)?;
    let statement = fields::object(&statement, "evidence")?;
    let measurement: [u8; 48] = fields::hex_array(fields::text(statement, "measurement")?, "measurement")?;
    let host_data: [u8; 32] = fields::hex_array(fields::text(statement, "host_data")?, "host_data")?;
    let report_data: [u8; 64] = fields::hex_array(fields::text(statement, "report_data")?, "report_data")?;
    let claims = [
        (claims::LAUNCH_MEASUREMENT, claims::hex_value(&measurement)),
        (claims::HOST_DATA, claims::hex_value(&host_data)),
        (claims::REPORT_DATA, claims::hex_value(&report_data)),
        (claims::IS_DEBUGGABLE, Value::Bool(true)),
    ];
    Ok(Verified {
        platform: Platform::Virtual,
        report_data,
        claims: claims
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        evidence_digest: sha256(&text),
        uvm_endorsed: false,
        quote_nonce: Vec::new(),
    })
}
