//! Evidence that was tried on us: a chain shaped like AMD's, whose keys an attacker holds, so that
//! every field of report and certificates can be what it likes and is signed all the same. The root
//! is trusted here, and only here; with AMD's this is what whoever held a chip's key could do.
//!
//! Each row is one attempt with its verdict. None of these may be loosened.

use attestation::report::{Report, SIGNATURE_HALF_SIZE, SIGNED_SIZE, SIZE, offset, policy};
use attestation::{Evidence, Link, Rejected, Trust, Verified, verify};
use crypto::native::{EcKeyPair, Native};
use crypto::sha256;
use model::evidence::Platform;
use serde_json::json;

use crate::common::{NOW, caci, text};

const TCB: [u8; 8] = [4, 0, 0, 0, 0, 0, 0x18, 0xDB];

fn pem(name: &str) -> String {
    text(&format!("forged/{name}.pem"))
}

fn chain(names: &[&str]) -> String {
    names.iter().map(|name| pem(name)).collect()
}

const GOOD: [&str; 3] = ["vcek", "ask", "ark"];

/// A report that passes, with `changes` written over it, signed by the chip's key.
fn report(changes: &[(usize, &[u8])]) -> [u8; SIZE] {
    let mut report = [0; SIZE];
    let policy = (policy::SMT | policy::RESERVED_ONE).to_le_bytes();
    let good: [(usize, &[u8]); 12] = [
        (offset::VERSION, &[3]),
        (offset::POLICY, &policy),
        (offset::SIGNATURE_ALGORITHM, &[1]),
        (offset::CURRENT_TCB, &TCB),
        (offset::REPORT_ID_MA, &[0xFF; 32]),
        (offset::REPORTED_TCB, &TCB),
        (offset::CPUID_FAMILY, &[0x19]),
        (offset::CPUID_MODEL, &[0x01]),
        (offset::CPUID_STEPPING, &[0x01]),
        (offset::CHIP_ID, &[0x11; 64]),
        (offset::COMMITTED_TCB, &TCB),
        (offset::LAUNCH_TCB, &TCB),
    ];
    for (at, value) in good.iter().chain(changes) {
        report[*at..][..value.len()].copy_from_slice(value);
    }
    let key = EcKeyPair::from_pem(&text("forged/vcek.key")).unwrap();
    let signature = key.sign_fixed(&report[..SIGNED_SIZE]).unwrap();
    for (half, at) in signature.chunks_exact(48).zip([0, SIGNATURE_HALF_SIZE]) {
        let mut half = half.to_vec();
        half.reverse();
        report[offset::SIGNATURE + at..][..48].copy_from_slice(&half);
    }
    report
}

fn verdict(report: &[u8], chain: &str) -> Result<Verified, Rejected> {
    let attestation = caci(report, chain);
    let evidence = Evidence {
        platform: Platform::SnpCaci,
        attestation: &attestation,
    };
    let root = crypto::x509::Certificate::from_pem(&pem("ark")).unwrap();
    let trust = Trust {
        extra_arks: vec![sha256(root.spki_der())],
        ..Trust::production()
    };
    verify(&evidence, &trust, NOW, &Native)
}

fn certificate(link: Link) -> impl Fn(&Rejected) -> bool {
    move |rejected| matches!(rejected, Rejected::Certificate { link: found, .. } if *found == link)
}

type Attempt<'a> = (&'a str, &'a [(usize, &'a [u8])], Rejected);

#[test]
fn reports_that_say_what_they_must_not_are_refused_though_the_chip_signed_them() {
    let bit = |bit: u32| (policy::SMT | policy::RESERVED_ONE ^ (1 << bit)).to_le_bytes();
    let (debug, migrate, bare) = (bit(19), bit(18), policy::SMT.to_le_bytes());
    let (beyond, last) = (bit(25), bit(63));
    let unknown = |family, model| Rejected::UnknownProcessor { family, model };
    let mismatch = |reported: &str| Rejected::TcbMismatch {
        reported: reported.into(),
        certified: "db18000000000004".into(),
    };
    let genoa_root = verdict(&report(&[(offset::CPUID_MODEL, &[0x11])]), &chain(&GOOD));
    assert!(
        matches!(genoa_root, Err(Rejected::Certificate { link: Link::Vcek, .. })),
        "{genoa_root:?}"
    );
    let attempts: &[Attempt<'_>] = &[
        ("debugging", &[(offset::POLICY, &debug)], Rejected::DebugAllowed),
        (
            "migration",
            &[(offset::POLICY, &migrate)],
            Rejected::MigrationAllowed,
        ),
        ("VLEK", &[(offset::FLAGS, &[1 << 2])], Rejected::SigningKey(1)),
        ("no key", &[(offset::FLAGS, &[7 << 2])], Rejected::SigningKey(7)),
        (
            "masked chip",
            &[(offset::FLAGS, &[0b10])],
            Rejected::ChipKeyMasked,
        ),
        (
            "no algorithm",
            &[(offset::SIGNATURE_ALGORITHM, &[0])],
            Rejected::ReportSignatureAlgorithm(0),
        ),
        (
            "other algorithm",
            &[(offset::SIGNATURE_ALGORITHM, &[2])],
            Rejected::ReportSignatureAlgorithm(2),
        ),
        ("VMPL 4", &[(offset::VMPL, &[4])], Rejected::Vmpl(4)),
        (
            "the host's VMPL",
            &[(offset::VMPL, &[0xFF; 4])],
            Rejected::Vmpl(u32::MAX),
        ),
        (
            "version 0",
            &[(offset::VERSION, &[0])],
            Rejected::ReportVersion(0),
        ),
        (
            "version 2",
            &[(offset::VERSION, &[2])],
            Rejected::ReportVersion(2),
        ),
        (
            "version 6",
            &[(offset::VERSION, &[6])],
            Rejected::ReportVersion(6),
        ),
        (
            "version 99",
            &[(offset::VERSION, &[99])],
            Rejected::ReportVersion(99),
        ),
        (
            "policy bit 17 clear",
            &[(offset::POLICY, &bare)],
            Rejected::Reserved("guest policy"),
        ),
        (
            "policy bit 25 in version 3",
            &[(offset::POLICY, &beyond)],
            Rejected::Reserved("guest policy"),
        ),
        (
            "policy bit 63",
            &[(offset::POLICY, &last)],
            Rejected::Reserved("guest policy"),
        ),
        (
            "an unknown flag",
            &[(offset::FLAGS, &[1 << 5])],
            Rejected::Reserved("flags"),
        ),
        (
            "mitigations in version 3",
            &[(0x1F8, &[1])],
            Rejected::Reserved("bytes between the fields"),
        ),
        (
            "reported bootloader up",
            &[(offset::REPORTED_TCB, &[5])],
            mismatch("db18000000000005"),
        ),
        (
            "reported bootloader down",
            &[(offset::REPORTED_TCB, &[3])],
            mismatch("db18000000000003"),
        ),
        (
            "reported microcode",
            &[(offset::REPORTED_TCB + 7, &[0xDC])],
            mismatch("dc18000000000004"),
        ),
        (
            "all reported zero",
            &[(offset::REPORTED_TCB, &[0; 8])],
            mismatch("0000000000000000"),
        ),
        (
            "reserved TCB byte",
            &[(offset::REPORTED_TCB + 3, &[1])],
            Rejected::Reserved("TCB version"),
        ),
        ("chip", &[(offset::CHIP_ID, &[0x12])], Rejected::ChipIdMismatch),
        (
            "last byte of the chip",
            &[(offset::CHIP_ID + 63, &[0])],
            Rejected::ChipIdMismatch,
        ),
        (
            "no chip",
            &[(offset::CHIP_ID, &[0; 64])],
            Rejected::ChipIdMismatch,
        ),
        (
            "a processor before Milan",
            &[(offset::CPUID_FAMILY, &[0x17])],
            unknown(0x17, 1),
        ),
        ("no processor", &[(offset::CPUID_FAMILY, &[0, 0])], unknown(0, 0)),
    ];
    for (what, changes, expected) in attempts {
        let verdict = verdict(&report(changes), &chain(&GOOD));
        assert_eq!(verdict.as_ref().err(), Some(expected), "{what}");
    }
    assert!(verdict(&report(&[]), &chain(&GOOD)).is_ok());
}

#[test]
fn signatures_with_something_else_in_them_are_refused() {
    for (what, at, value) in [
        ("padding behind r", 48, 1_u8),
        ("padding behind s", SIGNATURE_HALF_SIZE + 48, 1),
        ("padding at the end", 511, 1),
        ("r", 0, 0),
        ("s", SIGNATURE_HALF_SIZE, 0),
    ] {
        let mut report = report(&[]);
        let byte = &mut report[offset::SIGNATURE + at];
        *byte = if value == 0 { *byte ^ 1 } else { value };
        assert_eq!(
            verdict(&report, &chain(&GOOD)),
            Err(Rejected::ReportSignature),
            "{what}"
        );
    }
    let mut unsigned = report(&[]);
    unsigned[offset::SIGNATURE..].fill(0);
    assert_eq!(verdict(&unsigned, &chain(&GOOD)), Err(Rejected::ReportSignature));
}

#[test]
fn forged_and_foreign_chains_are_refused() {
    type Expected = Box<dyn Fn(&Rejected) -> bool>;
    let is = |wanted: Rejected| -> Expected { Box::new(move |found| *found == wanted) };
    let not_issued = |child, issuer| is(Rejected::NotIssuedBy { child, issuer });
    let leaf = || -> Expected { Box::new(certificate(Link::Vcek)) };
    let any = || -> Expected { Box::new(|_| true) };
    let attempts: Vec<(&str, Vec<&str>, Expected)> = vec![
        (
            "a root of one's own",
            vec!["vcek_of_stranger", "stranger_ask", "stranger_ark"],
            Box::new(|found| matches!(found, Rejected::RootNotPinned(_))),
        ),
        (
            "an ASK of one's own below the root",
            vec!["vcek_of_stranger", "stranger_ask", "ark"],
            not_issued(Link::Ask, Link::Ark),
        ),
        (
            "a VCEK of one's own below the ASK",
            vec!["vcek_of_stranger", "ask", "ark"],
            not_issued(Link::Vcek, Link::Ask),
        ),
        (
            "an ASK that may not issue",
            vec!["vcek", "ask_no_ca", "ark"],
            Box::new(certificate(Link::Ask)),
        ),
        ("a chip of Genoa", vec!["vcek_genoa", "ask", "ark"], leaf()),
        ("the layout of Turin", vec!["vcek_layout", "ask", "ark"], leaf()),
        (
            "an unknown layout",
            vec!["vcek_unknown_layout", "ask", "ark"],
            leaf(),
        ),
        (
            "the key of an older TCB",
            vec!["vcek_older", "ask", "ark"],
            Box::new(|found| matches!(found, Rejected::TcbMismatch { .. })),
        ),
        (
            "the key of a newer TCB",
            vec!["vcek_newer", "ask", "ark"],
            Box::new(|found| matches!(found, Rejected::TcbMismatch { .. })),
        ),
        (
            "another chip's key",
            vec!["vcek_chip", "ask", "ark"],
            is(Rejected::ChipIdMismatch),
        ),
        (
            "a short chip id",
            vec!["vcek_short_chip", "ask", "ark"],
            is(Rejected::ChipIdMismatch),
        ),
        ("no chip id", vec!["vcek_no_chip", "ask", "ark"], leaf()),
        (
            "a missing security version",
            vec!["vcek_no_tcb", "ask", "ark"],
            leaf(),
        ),
        ("no product", vec!["vcek_no_product", "ask", "ark"], leaf()),
        ("a provider's key", vec!["vcek_vlek", "ask", "ark"], leaf()),
        ("a key on P-256", vec!["vcek_p256", "ask", "ark"], leaf()),
        (
            "an expired key",
            vec!["vcek_expired", "ask", "ark"],
            is(Rejected::OutsideValidity(Link::Vcek)),
        ),
        ("no certificates", vec![], any()),
        ("the leaf alone", vec!["vcek"], is(Rejected::ChainLength(1))),
        ("two", vec!["vcek", "ask"], is(Rejected::ChainLength(2))),
        (
            "four",
            vec!["vcek", "ask", "ark", "ark"],
            is(Rejected::ChainLength(4)),
        ),
        ("root before ASK", vec!["vcek", "ark", "ask"], any()),
        ("leaf last", vec!["ark", "ask", "vcek"], any()),
        ("the ASK for the root", vec!["vcek", "ask", "ask"], any()),
    ];
    let report = report(&[]);
    for (what, names, expected) in attempts {
        let rejected = verdict(&report, &chain(&names)).unwrap_err();
        assert!(expected(&rejected), "{what}: {rejected}");
    }
}

/// What used to pass unseen: it is genuine, so it is told, and policies decide.
#[test]
fn what_is_genuine_and_unwanted_is_told_to_policies() {
    let claim = |changes: &[(usize, &[u8])], name: &str| {
        let verified = verdict(&report(changes), &chain(&GOOD)).unwrap();
        verified.claims[&format!("x-ms-sevsnpvm-{name}")].clone()
    };
    for level in [0_u8, 1, 2, 3] {
        assert_eq!(claim(&[(offset::VMPL, &[level])], "vmpl"), json!(level));
    }
    let committed: &[(usize, &[u8])] = &[(offset::COMMITTED_TCB, &[0; 8])];
    for part in ["bootloader", "tee", "snpfw", "microcode"] {
        assert_eq!(claim(committed, &format!("committed-{part}-svn")), json!(0));
    }
    assert_eq!(
        claim(committed, "snpfw-svn"),
        json!(0x18),
        "the reported one is the certificate's"
    );
    let info: &[(usize, &[u8])] = &[(offset::PLATFORM_INFO, &[0xFF; 8])];
    assert_eq!(
        claim(info, "platform-info"),
        json!(u64::MAX),
        "unknown bits are carried"
    );
    let whole = Report::new(&report(&[])).unwrap();
    assert_eq!(whole.check_layout(), Ok(()));
}
