//! The software attester against the verifier: what a pinned development root makes acceptable,
//! and everything that it does not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use attestation::report::{SIGNED_SIZE, SIZE, offset, policy};
use attestation::{Evidence, Link, Memo, Rejected, Trust, Verified, verify_memoised};
use crypto::native::{EcKeyPair, Native, RsaBits, RsaKeyPair};
use crypto::{pem, sha384};
use evidence::software::{VCEK_KEY_FILE, ark_spki_sha256, init};
use evidence::{AttesterError, Collector, LaunchError, Measured, SoftwareAttester, VirtualStatement};
use model::evidence::{Platform, Role};
use model::{Digest, b64};
use serde_json::{Value, json};
use tempfile::TempDir;

/// One chip for all tests; making another takes seconds.
fn chip() -> &'static Path {
    static CHIP: OnceLock<TempDir> = OnceLock::new();
    CHIP.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path()).unwrap();
        dir
    })
    .path()
}

fn trust() -> Trust {
    Trust {
        extra_arks: vec![ark_spki_sha256(chip()).unwrap()],
        allow_virtual: false,
    }
}

/// What is bound; its layout is no business of a collector.
const DATA: [u8; 64] = [7; 64];

/// This very test program, launched as a pod.
fn measured() -> Measured {
    let program = std::env::current_exe().unwrap();
    Measured::measure(Role::Pod, &program, BTreeMap::new(), Vec::new(), None).unwrap()
}

fn genuine() -> Value {
    let attester = SoftwareAttester::open(chip()).unwrap();
    attester.attest(&measured(), DATA).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn check(platform: Platform, attestation: &Value, trust: &Trust) -> Result<Verified, Rejected> {
    static MEMO: Memo = Memo::new(1);
    let evidence = Evidence {
        platform,
        attestation,
    };
    verify_memoised(&evidence, trust, now(), &Native, &MEMO)
}

type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

/// The genuine evidence with a report that was changed and signed again by the chip: what the
/// chip's firmware might say, not what somebody on the way might change.
fn reissued(change: Change<'_>) -> Value {
    let mut attestation = genuine();
    let mut report = b64::decode(attestation["evidence"].as_str().unwrap()).unwrap();
    change(&mut report);
    sign(&mut report);
    attestation.as_object_mut().unwrap().remove("endorsed_tcb");
    attestation["evidence"] = json!(b64::encode(&report));
    attestation
}

fn sign(report: &mut [u8]) {
    let key = EcKeyPair::from_pem(&std::fs::read_to_string(chip().join(VCEK_KEY_FILE)).unwrap()).unwrap();
    let mut signature = key.sign_fixed(&report[..SIGNED_SIZE]).unwrap();
    signature[..48].reverse();
    signature[48..].reverse();
    report[SIGNED_SIZE..SIGNED_SIZE + 48].copy_from_slice(&signature[..48]);
    report[SIGNED_SIZE + 72..SIGNED_SIZE + 120].copy_from_slice(&signature[48..]);
}

#[test]
fn software_evidence_is_accepted_where_its_root_is_pinned_and_nowhere_else() {
    let collector = Collector::Software {
        attester: Box::new(SoftwareAttester::open(chip()).unwrap()),
        measured: Box::new(measured()),
    };
    let collected = collector.collect(DATA).unwrap();
    assert_eq!(collected.platform, Platform::SnpCaci);
    let verified = check(Platform::SnpCaci, &collected.attestation, &trust()).unwrap();
    assert_eq!(verified.report_data, DATA);
    assert_eq!(
        verified.claims["x-ms-sevsnpvm-hostdata"],
        json!(measured().document.digest())
    );
    assert_eq!(verified.claims["x-ms-sevsnpvm-is-debuggable"], json!(false));
    let measurement = json!(
        sha384(b"concordat software attester v1")
            .map(|b| format!("{b:02x}"))
            .concat()
    );
    assert_eq!(verified.claims["x-ms-sevsnpvm-launchmeasurement"], measurement);
    assert!(!verified.uvm_endorsed);
    let refused = check(Platform::SnpCaci, &collected.attestation, &Trust::production());
    assert_eq!(
        refused,
        Err(Rejected::RootNotPinned(ark_spki_sha256(chip()).unwrap()))
    );
}

#[test]
fn nothing_is_signed_for_a_program_or_file_that_has_drifted() {
    let attester = SoftwareAttester::open(chip()).unwrap();
    let mut other = measured();
    other.document.program.sha256 = Digest([1; 32]);
    let refused = attester.attest(&other, [0; 64]);
    assert!(
        matches!(refused, Err(AttesterError::Refused(LaunchError::Drifted { part, .. })) if part == "program")
    );

    let dir = tempfile::tempdir().unwrap();
    let job = dir.path().join("job.py");
    std::fs::write(&job, "print(1)").unwrap();
    let files = [("job.py".to_owned(), job.clone())].into();
    let program = std::env::current_exe().unwrap();
    let launched = Measured::measure(Role::Pod, &program, files, Vec::new(), None).unwrap();
    assert!(attester.attest(&launched, [0; 64]).is_ok());
    std::fs::write(&job, "print(2)").unwrap();
    let refused = attester.attest(&launched, [0; 64]);
    assert!(
        matches!(refused, Err(AttesterError::Refused(LaunchError::Drifted { part, .. })) if part == "file 'job.py'")
    );
}

#[test]
fn a_chip_is_made_once_and_its_key_is_its_owners_alone() {
    assert!(matches!(init(chip()), Err(AttesterError::AlreadyInitialised(_))));
    let mode = std::fs::metadata(chip().join(VCEK_KEY_FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let names: Vec<String> = std::fs::read_dir(chip())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        names.len(),
        4,
        "keys of the authorities must not be kept: {names:?}"
    );
}

#[test]
fn every_flipped_byte_of_report_and_chain_is_noticed() {
    let genuine = genuine();
    let trust = trust();
    assert!(check(Platform::SnpCaci, &genuine, &trust).is_ok());
    let report = b64::decode(genuine["evidence"].as_str().unwrap()).unwrap();
    for position in 0..report.len() {
        let mut altered = report.clone();
        altered[position] ^= 1 << (position % 8);
        let mut evidence = genuine.clone();
        evidence["evidence"] = json!(b64::encode(&altered));
        assert!(
            check(Platform::SnpCaci, &evidence, &trust).is_err(),
            "report, byte {position:#x}"
        );
    }
    let bundle = String::from_utf8(b64::decode(genuine["endorsements"].as_str().unwrap()).unwrap()).unwrap();
    let chain = pem::read_many(pem::CERTIFICATE, &bundle, 3).unwrap();
    for (index, certificate) in chain.iter().enumerate() {
        for position in 0..certificate.len() {
            let mut altered = chain.clone();
            altered[index][position] ^= 1 << (position % 8);
            let text: String = altered
                .iter()
                .map(|der| pem::encode(pem::CERTIFICATE, der))
                .collect();
            let mut evidence = genuine.clone();
            evidence["endorsements"] = json!(b64::encode(text.as_bytes()));
            let verdict = check(Platform::SnpCaci, &evidence, &trust);
            assert!(verdict.is_err(), "certificate {index}, byte {position}");
        }
    }
}

#[test]
fn a_pinned_root_relaxes_no_other_check() {
    let set = |at: usize, value: u64| {
        move |report: &mut Vec<u8>| report[at..at + 8].copy_from_slice(&value.to_le_bytes())
    };
    let byte = |at: usize, value: u8| move |report: &mut Vec<u8>| report[at] = value;
    let allowed = policy::SMT | policy::RESERVED_ONE;
    assert!(check(Platform::SnpCaci, &reissued(&|_| ()), &trust()).is_ok());
    let cases: [(Change<'_>, Rejected); 12] = [
        (&byte(offset::VERSION, 2), Rejected::ReportVersion(2)),
        (
            &byte(offset::SIGNATURE_ALGORITHM, 2),
            Rejected::ReportSignatureAlgorithm(2),
        ),
        (&byte(offset::FLAGS, 1 << 2), Rejected::SigningKey(1)),
        (&byte(offset::FLAGS, 7 << 2), Rejected::SigningKey(7)),
        (&byte(offset::FLAGS, 1 << 1), Rejected::ChipKeyMasked),
        (&byte(offset::VMPL, 4), Rejected::Vmpl(4)),
        (
            &set(offset::POLICY, allowed | policy::DEBUG),
            Rejected::DebugAllowed,
        ),
        (
            &set(offset::POLICY, allowed | policy::MIGRATE_MA),
            Rejected::MigrationAllowed,
        ),
        (
            &byte(offset::CPUID_MODEL, 0x30),
            Rejected::UnknownProcessor {
                family: 0x19,
                model: 0x30,
            },
        ),
        (
            &byte(offset::CPUID_MODEL, 0x11),
            Rejected::Certificate {
                link: Link::Vcek,
                problem: "is of product 'Milan-B0', the report of Genoa".to_owned(),
            },
        ),
        (
            &byte(offset::REPORTED_TCB, 0x05),
            Rejected::TcbMismatch {
                reported: "db18000000000005".to_owned(),
                certified: "db18000000000004".to_owned(),
            },
        ),
        (&|report| report[offset::CHIP_ID] ^= 1, Rejected::ChipIdMismatch),
    ];
    for (change, expected) in cases {
        assert_eq!(
            check(Platform::SnpCaci, &reissued(change), &trust()),
            Err(expected)
        );
    }
}

#[test]
fn runtime_claims_of_a_guest_that_is_no_paravisor_count_for_nothing() {
    // A guest that chooses its own report data can cover any runtime claims it likes, with a
    // genuine chip below it. Only the paravisor's identity tells them apart.
    let key = RsaKeyPair::generate(RsaBits::B2048).unwrap();
    let mut jwk = crypto::x509::spki_to_jwk(key.spki_der()).unwrap();
    jwk["kid"] = json!("HCLAkPub");
    let claims = json!({ "keys": [jwk], "user-data": "AB".repeat(64) }).to_string();
    let evidence = |vmpl: u8| {
        let reissued = reissued(&|report| {
            report[offset::VMPL] = vmpl;
            let digest = crypto::sha256(claims.as_bytes());
            report[offset::REPORT_DATA..offset::REPORT_DATA + 32].copy_from_slice(&digest.0);
            report[offset::REPORT_DATA + 32..offset::REPORT_DATA + 64].fill(0);
        });
        let report = b64::decode(reissued["evidence"].as_str().unwrap()).unwrap();
        let chain = b64::decode(reissued["endorsements"].as_str().unwrap()).unwrap();
        json!({
            "evidence": {
                "tpmQuote": "",
                "hclReport": b64::encode(&hcl_blob(&report, claims.as_bytes())),
                "snpReport": b64::encode(&report),
                "pcrs": {},
            },
            "nonce": "",
            "platformCertificates": String::from_utf8(chain).unwrap(),
        })
    };
    assert_eq!(
        check(Platform::SnpCvm, &evidence(1), &trust()),
        Err(Rejected::ParavisorVmpl(1))
    );
    let refused = check(Platform::SnpCvm, &evidence(0), &trust());
    assert_eq!(refused, Err(Rejected::ParavisorUnknown("00".repeat(48))));
}

/// §1.9: header, report, runtime header, claims.
fn hcl_blob(report: &[u8], claims: &[u8]) -> Vec<u8> {
    assert_eq!(report.len(), SIZE);
    let claims_size = u32::try_from(claims.len()).unwrap();
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    [
        b"HCLA".to_vec(),
        words(&[1, 32 + 1184 + 20 + claims_size, 2, 0, 0, 0, 0]),
        report.to_vec(),
        words(&[claims_size + 20, 1, 2, 1, claims_size]),
        claims.to_vec(),
    ]
    .concat()
}

#[test]
fn an_unsigned_statement_is_what_a_virtual_verifier_reads() {
    let collector = Collector::Virtual(VirtualStatement {
        measurement: [1; 48],
        host_data: Digest([2; 32]),
    });
    let collected = collector.collect([3; 64]).unwrap();
    assert_eq!(collected.platform, Platform::Virtual);
    let trust = Trust {
        allow_virtual: true,
        ..Trust::production()
    };
    let verified = check(Platform::Virtual, &collected.attestation, &trust).unwrap();
    assert_eq!(verified.report_data, [3; 64]);
    assert_eq!(verified.claims["x-ms-sevsnpvm-hostdata"], json!(Digest([2; 32])));
    let refused = check(Platform::Virtual, &collected.attestation, &Trust::production());
    assert_eq!(refused, Err(Rejected::UnsupportedPlatform(Platform::Virtual)));
}

/// The attester's limit, said here once more.
const FILE_SIZE_MAX: u64 = 64 * 1024;

#[test]
fn a_certificate_file_of_the_most_bytes_is_read_and_one_more_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for entry in chip().read_dir().unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let ark = dir.path().join("ark.pem");
    let of_size = |size: u64| {
        let mut text = std::fs::read(&ark).unwrap();
        text.resize(usize::try_from(size).unwrap(), b'\n');
        std::fs::write(&ark, text).unwrap();
        SoftwareAttester::open(dir.path()).map(drop)
    };
    assert!(of_size(FILE_SIZE_MAX).is_ok());
    let refused = of_size(FILE_SIZE_MAX + 1).unwrap_err().to_string();
    assert!(refused.contains("longer than 65536 bytes"), "{refused}");
}
