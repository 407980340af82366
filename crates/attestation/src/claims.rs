//! Names and types of the claims that policies are written against (§1.6).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::report::{Report, offset, policy};
use crate::uvm::Endorsement;

/// Claims by name.
pub(crate) type Claims = BTreeMap<String, Value>;

/// Most members of `vm-configuration` that become claims; real blobs have six.
const VM_CONFIGURATION_MAX: usize = 32;

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

/// Claims of a container group's report, and of the endorsements that cover it.
pub(crate) fn of_report(report: &Report, endorsement: Option<&Endorsement>) -> Claims {
    let mut claims: Claims = [
        // The version is a string and the others are numbers: policies in use rely on it.
        ("x-ms-ver", Value::String(report.version().to_string())),
        ("x-ms-sevsnpvm-guestsvn", report.guest_svn().into()),
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
        ("x-ms-sevsnpvm-vmpl", report.vmpl().into()),
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
    if let Some(endorsement) = endorsement {
        let texts = [
            ("did", endorsement.did().to_owned()),
            ("feed", endorsement.feed().to_owned()),
            ("svn", endorsement.svn().to_string()),
        ];
        claims.extend(
            texts
                .into_iter()
                .map(|(name, text)| (format!("uvm_endorsements-{name}"), Value::String(text))),
        );
    }
    claims
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
