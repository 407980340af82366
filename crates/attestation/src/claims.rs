//! Names and types of the claims that policies are written against (§1.6).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::Rejected;
use crate::report::{Report, offset, policy};
use crate::uvm::Endorsement;

/// Claims by name.
pub(crate) type Claims = BTreeMap<String, Value>;

/// Most members of `vm-configuration` that become claims; real blobs have six.
const VM_CONFIGURATION_MAX: usize = 32;

/// What the names of claims about SNP reports begin with.
const PREFIX: &str = "x-ms-sevsnpvm-";
/// Host data: on container groups the digest of their policy.
pub(crate) const HOST_DATA: &str = "x-ms-sevsnpvm-hostdata";
/// Launch digest.
pub(crate) const LAUNCH_MEASUREMENT: &str = "x-ms-sevsnpvm-launchmeasurement";
/// What the guest bound into its report.
pub(crate) const REPORT_DATA: &str = "x-ms-sevsnpvm-reportdata";
/// Whether the guest can be debugged.
pub(crate) const IS_DEBUGGABLE: &str = "x-ms-sevsnpvm-is-debuggable";

/// Bytes as claims carry them: lower-case hex.
pub(crate) fn hex_value(bytes: &[u8]) -> Value {
    Value::String(hex::encode(bytes))
}

/// What a report says about the platform: product, chip, firmware versions by part (`-svn`: the
/// TCB that the chip's key is derived from; `-committed-…-svn`: the one that firmware cannot go
/// below), and at which privilege level it was asked for.
///
/// # Errors
///
/// [`Rejected`] if the report is of no known product, or its TCBs are not of that product's form;
/// never after `Report::check_layout`.
pub(crate) fn of_platform(report: &Report) -> Result<Claims, Rejected> {
    let product = report.product()?;
    let mut claims: Claims = [
        ("product", product.name().into()),
        ("cpuid", hex_value(&report.cpuid().to_be_bytes())),
        ("chip-id", hex_value(&report.chip_id())),
        ("platform-info", report.platform_info().into()),
        ("guestsvn", report.guest_svn().into()),
        ("vmpl", report.vmpl().into()),
    ]
    .into_iter()
    .map(|(name, value): (_, Value)| (format!("{PREFIX}{name}"), value))
    .collect();
    for (state, tcb) in [
        ("", report.reported_tcb()),
        ("committed-", report.committed_tcb()),
    ] {
        let parts = tcb.parts(product).ok_or(Rejected::Reserved("TCB version"))?;
        let numbers = [
            ("bootloader", Some(parts.bootloader)),
            ("tee", Some(parts.tee)),
            ("snpfw", Some(parts.snp)),
            ("microcode", Some(parts.microcode)),
            ("fmc", parts.fmc),
        ];
        for (part, number) in numbers {
            if let Some(number) = number {
                claims.insert(format!("{PREFIX}{state}{part}-svn"), number.into());
            }
        }
    }
    Ok(claims)
}

/// Claims of a container group's report, and of the endorsements that cover it.
///
/// # Errors
///
/// As [`of_platform`].
pub(crate) fn of_report(report: &Report, endorsement: Option<&Endorsement>) -> Result<Claims, Rejected> {
    let mut claims: Claims = [
        // The version is a string and the others are numbers: policies in use rely on it.
        ("x-ms-ver", Value::String(report.version().to_string())),
        ("x-ms-sevsnpvm-smt-allowed", report.policy_has(policy::SMT).into()),
        (IS_DEBUGGABLE, report.policy_has(policy::DEBUG).into()),
        (
            "x-ms-sevsnpvm-familyId",
            hex_value(&report.field::<16>(offset::FAMILY_ID)),
        ),
        (
            "x-ms-sevsnpvm-imageId",
            hex_value(&report.field::<16>(offset::IMAGE_ID)),
        ),
        (REPORT_DATA, hex_value(&report.report_data())),
        (LAUNCH_MEASUREMENT, hex_value(&report.measurement())),
        (HOST_DATA, hex_value(&report.host_data())),
        ("x-ms-sevsnpvm-idkeydigest", hex_value(&report.id_key_digest())),
        (
            "x-ms-sevsnpvm-authorkeydigest",
            hex_value(&report.field::<48>(offset::AUTHOR_KEY_DIGEST)),
        ),
        (
            "x-ms-sevsnpvm-reportid",
            hex_value(&report.field::<32>(offset::REPORT_ID)),
        ),
        ("signature-r", hex_value(&report.signature_r())),
        ("signature-s", hex_value(&report.signature_s())),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    claims.extend(of_platform(report)?);
    if let Some(endorsement) = endorsement {
        let values: [(_, Value); 3] = [
            ("did", endorsement.did().into()),
            ("feed", endorsement.feed().into()),
            // A number, so that policies can ask for a minimum; the reference has a text here.
            ("svn", endorsement.svn().into()),
        ];
        claims.extend(
            values
                .into_iter()
                .map(|(name, value)| (format!("uvm_endorsements-{name}"), value)),
        );
    }
    Ok(claims)
}

/// Claims of a confidential VM: quoted registers as the base64 text that was sent, and the
/// simple members of the paravisor's description of the machine.
pub(crate) fn of_machine<'a>(
    pcrs: impl Iterator<Item = (u8, &'a str)>,
    vm_configuration: &Map<String, Value>,
) -> Claims {
    let registers = pcrs.map(|(index, text)| (format!("pcr{index}"), Value::String(text.to_owned())));
    let configuration = vm_configuration
        .iter()
        .filter(|(_, value)| value.is_boolean() || value.is_string() || value.is_number())
        .take(VM_CONFIGURATION_MAX)
        .map(|(name, value)| (format!("vm-configuration-{name}"), value.clone()));
    registers.chain(configuration).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paravisor_describes_its_machine_in_no_more_members_than_the_most() {
        let claims = |count: usize| {
            let members = (0..count).map(|number| (format!("{number:03}"), Value::Bool(true)));
            of_machine(std::iter::empty(), &members.collect()).len()
        };
        assert_eq!(claims(VM_CONFIGURATION_MAX), VM_CONFIGURATION_MAX);
        assert_eq!(claims(VM_CONFIGURATION_MAX + 1), VM_CONFIGURATION_MAX);
    }
}
