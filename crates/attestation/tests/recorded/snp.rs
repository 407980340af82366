//! Recorded SNP reports, good and bad, each with its verdict.

use crate::common::{NOW, caci, container_group, milan_chain, text, vector, verify_caci, verify_cvm};
use attestation::{Evidence, Link, Memo, Rejected, Trust, verify, verify_memoised};
use crypto::native::Native;
use crypto::sha256;
use model::evidence::Platform;
use serde_json::{Value, json};
use sev::parser::ByteParser as _;

const ALLOW_ALL_HOST_DATA: &str = "73973b78d70cc68353426de188db5dfc57e5b766e399935fb73a61127ea26d20";

#[test]
fn a_container_group_with_endorsements_is_genuine_and_says_what_it_is() {
    let verified = verify_caci(&container_group("encryption")).unwrap();
    let key_text = text("azure-cleanroom/caci/encryption/pub_key.pem");
    let bound = sha256(key_text.trim_end().as_bytes());
    assert_eq!(verified.report_data[..32], bound.0);
    assert_eq!(verified.report_data[32..], [0; 32]);
    assert!(verified.uvm_endorsed);
    assert_eq!(verified.quote_nonce, Vec::<u8>::new());
    let claim = |name: &str| verified.claims.get(name).cloned().unwrap_or_default();
    assert_eq!(claim("x-ms-ver"), json!("3"));
    assert_eq!(claim("x-ms-sevsnpvm-guestsvn"), json!(2));
    assert_eq!(claim("x-ms-sevsnpvm-vmpl"), json!(0));
    assert_eq!(claim("x-ms-sevsnpvm-is-debuggable"), json!(false));
    assert_eq!(claim("x-ms-sevsnpvm-smt-allowed"), json!(true));
    assert_eq!(claim("x-ms-sevsnpvm-hostdata"), json!(ALLOW_ALL_HOST_DATA));
    assert_eq!(
        claim("x-ms-sevsnpvm-reportdata"),
        json!(hex::encode(verified.report_data))
    );
    assert_eq!(claim("uvm_endorsements-feed"), json!("ContainerPlat-AMD-UVM"));
    assert_eq!(claim("uvm_endorsements-svn"), json!(103));
    let measurement = claim("x-ms-sevsnpvm-launchmeasurement");
    assert!(
        measurement.as_str().unwrap().starts_with("d0c9e2be"),
        "{measurement}"
    );
    let names: Vec<&str> = verified.claims.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "signature-r",
            "signature-s",
            "uvm_endorsements-did",
            "uvm_endorsements-feed",
            "uvm_endorsements-svn",
            "x-ms-sevsnpvm-authorkeydigest",
            "x-ms-sevsnpvm-bootloader-svn",
            "x-ms-sevsnpvm-chip-id",
            "x-ms-sevsnpvm-committed-bootloader-svn",
            "x-ms-sevsnpvm-committed-microcode-svn",
            "x-ms-sevsnpvm-committed-snpfw-svn",
            "x-ms-sevsnpvm-committed-tee-svn",
            "x-ms-sevsnpvm-cpuid",
            "x-ms-sevsnpvm-familyId",
            "x-ms-sevsnpvm-guestsvn",
            "x-ms-sevsnpvm-hostdata",
            "x-ms-sevsnpvm-idkeydigest",
            "x-ms-sevsnpvm-imageId",
            "x-ms-sevsnpvm-is-debuggable",
            "x-ms-sevsnpvm-launchmeasurement",
            "x-ms-sevsnpvm-microcode-svn",
            "x-ms-sevsnpvm-platform-info",
            "x-ms-sevsnpvm-product",
            "x-ms-sevsnpvm-reportdata",
            "x-ms-sevsnpvm-reportid",
            "x-ms-sevsnpvm-smt-allowed",
            "x-ms-sevsnpvm-snpfw-svn",
            "x-ms-sevsnpvm-tee-svn",
            "x-ms-sevsnpvm-vmpl",
            "x-ms-ver",
        ]
    );
}

#[test]
fn without_endorsements_evidence_is_genuine_but_not_endorsed() {
    let mut attestation = container_group("signing");
    attestation.as_object_mut().unwrap().remove("uvm_endorsements");
    let verified = verify_caci(&attestation).unwrap();
    assert!(!verified.uvm_endorsed);
    assert!(!verified.claims.contains_key("uvm_endorsements-svn"));
}

#[test]
fn genuine_reports_of_every_product_are_accepted() {
    for (report, chain) in [
        ("ccf/milan_v3_report.bin", text("ccf/milan_v3_chain.pem")),
        ("ccf/genoa_v3_report.bin", text("ccf/genoa_v3_chain.pem")),
        (
            "tee-attestation-verification/turin_attestation_report.bin",
            turin_chain(),
        ),
    ] {
        let verified =
            verify_caci(&caci(&vector(report), &chain)).unwrap_or_else(|e| panic!("{report}: {e}"));
        assert_eq!(verified.report_data, [0; 64], "{report}");
        assert_eq!(verified.evidence_digest, sha256(&vector(report)), "{report}");
    }
}

#[test]
fn firmware_is_named_part_by_part_as_an_independent_reader_reads_it() {
    let genuine = [
        (
            "ccf/milan_v3_report.bin",
            text("ccf/milan_v3_chain.pem"),
            "Milan",
            "00a00f11",
        ),
        (
            "ccf/genoa_v3_report.bin",
            text("ccf/genoa_v3_chain.pem"),
            "Genoa",
            "00a10f11",
        ),
        (
            "tee-attestation-verification/turin_attestation_report.bin",
            turin_chain(),
            "Turin",
            "00b00f21",
        ),
    ];
    for (path, chain, product, cpuid) in genuine {
        let raw = vector(path);
        let claims = verify_caci(&caci(&raw, &chain)).unwrap().claims;
        let claim = |name: &str| claims.get(&format!("x-ms-sevsnpvm-{name}")).cloned();
        let theirs = sev::firmware::guest::AttestationReport::from_bytes(&raw).unwrap();
        for (state, tcb) in [("", theirs.reported_tcb), ("committed-", theirs.committed_tcb)] {
            for (part, number) in [
                ("bootloader", Some(tcb.bootloader)),
                ("tee", Some(tcb.tee)),
                ("snpfw", Some(tcb.snp)),
                ("microcode", Some(tcb.microcode)),
                ("fmc", tcb.fmc),
            ] {
                let ours = claim(&format!("{state}{part}-svn"));
                assert_eq!(ours, number.map(|number| json!(number)), "{path} {state}{part}");
            }
        }
        assert_eq!(claim("product"), Some(json!(product)));
        assert_eq!(claim("cpuid"), Some(json!(cpuid)));
        assert_eq!(claim("chip-id"), Some(json!(hex::encode(&theirs.chip_id[..]))));
        let info = u64::from_le_bytes(raw[0x40..0x48].try_into().unwrap());
        assert_eq!(claim("platform-info"), Some(json!(info)));
    }
}

#[test]
fn old_reports_are_refused_by_version_whatever_else_is_right() {
    let chain = text("trustee/az-snp-vtpm/vcek.pem");
    let hcl = vector("trustee/az-snp-vtpm/hcl-report.bin");
    let virtee = hex::decode(text("virtee-sev/report_milan.hex").trim()).unwrap();
    let older = Err(Rejected::ReportVersion(2));
    for (report, chain) in [
        (vector("ccf/milan_v2_report.bin"), text("ccf/milan_v3_chain.pem")),
        (
            vector("trustee/snp/test-report.bin"),
            milan_chain(&vector("trustee/snp/test-vcek.der")),
        ),
        (virtee, milan_chain(&vector("virtee-sev/vcek_milan.der"))),
        (
            vector("go-sev-guest/debug_report.bin"),
            milan_chain(&vector("go-sev-guest/debug_vcek.der")),
        ),
        (hcl[32..1216].to_vec(), chain),
    ] {
        assert_eq!(verify_caci(&caci(&report, &chain)), older);
    }
}

#[test]
fn a_report_signed_by_a_cloud_providers_key_is_refused() {
    let bundle = text("trustee/chains/milan_ask_ark_asvk.pem");
    let certificates = pem_blocks(&bundle);
    let chain = crypto::pem::encode(crypto::pem::CERTIFICATE, &vector("trustee/snp/test-vlek.der"))
        + &certificates[2]
        + &certificates[1];
    let report = vector("trustee/snp/test-vlek-report.bin");
    assert_eq!(verify_caci(&caci(&report, &chain)), Err(Rejected::SigningKey(1)));
    // Nor may such a key stand where a chip's key is expected.
    let refused = verify_caci(&caci(&vector("ccf/milan_v3_report.bin"), &chain));
    let problem = "belongs to a cloud provider, not to a chip (VLEK)".to_owned();
    assert_eq!(
        refused,
        Err(Rejected::Certificate {
            link: Link::Vcek,
            problem
        })
    );
}

#[test]
fn a_chain_of_another_product_or_chip_is_refused() {
    let (milan, genoa) = (
        vector("ccf/milan_v3_report.bin"),
        vector("ccf/genoa_v3_report.bin"),
    );
    let (milan_pem, genoa_pem) = (text("ccf/milan_v3_chain.pem"), text("ccf/genoa_v3_chain.pem"));
    assert!(matches!(
        verify_caci(&caci(&milan, &genoa_pem)),
        Err(Rejected::RootNotPinned(_))
    ));
    assert!(matches!(
        verify_caci(&caci(&genoa, &milan_pem)),
        Err(Rejected::RootNotPinned(_))
    ));
    // Of the same product, but of another chip.
    let other = milan_chain(&vector("virtee-sev/vcek_milan.der"));
    assert_eq!(verify_caci(&caci(&milan, &other)), Err(Rejected::ReportSignature));
}

#[test]
fn altered_chip_certificates_are_refused() {
    for vcek in [
        "trustee/snp/test-vcek-invalid-legacy.der",
        "trustee/snp/test-vcek-invalid-new.der",
    ] {
        let refused = verify_caci(&caci(
            &vector("ccf/milan_v3_report.bin"),
            &milan_chain(&vector(vcek)),
        ));
        assert_eq!(
            refused,
            Err(Rejected::NotIssuedBy {
                child: Link::Vcek,
                issuer: Link::Ask
            }),
            "{vcek}"
        );
    }
}

#[test]
fn a_chain_is_exactly_three_certificates_in_order() {
    let report = vector("ccf/milan_v3_report.bin");
    let blocks = pem_blocks(&text("ccf/milan_v3_chain.pem"));
    let chain = |order: &[usize]| {
        order
            .iter()
            .map(|index| blocks[*index].as_str())
            .collect::<String>()
    };
    assert!(verify_caci(&caci(&report, &chain(&[0, 1, 2]))).is_ok());
    for (order, length) in [(vec![0], 1), (vec![0, 1], 2), (vec![0, 1, 2, 2], 4)] {
        assert_eq!(
            verify_caci(&caci(&report, &chain(&order))),
            Err(Rejected::ChainLength(length))
        );
    }
    for order in [[0, 2, 1], [1, 0, 2], [2, 1, 0], [0, 1, 1], [0, 0, 2]] {
        assert!(verify_caci(&caci(&report, &chain(&order))).is_err(), "{order:?}");
    }
    assert!(verify_caci(&caci(&report, "")).is_err());
}

#[test]
fn validity_is_checked_at_the_given_time_even_for_remembered_chains() {
    let attestation = caci(
        &vector("ccf/milan_v3_report.bin"),
        &text("ccf/milan_v3_chain.pem"),
    );
    let evidence = Evidence {
        platform: Platform::SnpCaci,
        attestation: &attestation,
    };
    let memo = Memo::new(4);
    let at = |now| verify_memoised(&evidence, &Trust::production(), now, &Native, &memo).map(|_| ());
    // VCEK: 2025-01-28 16:22:58 to 2032-01-28 16:22:58 UTC.
    let (first, last) = (1_738_081_378, 1_958_919_778);
    for _ in 0..2 {
        assert_eq!(at(first - 1), Err(Rejected::OutsideValidity(Link::Vcek)));
        assert_eq!(at(first), Ok(()));
        assert_eq!(at(last), Ok(()));
        assert_eq!(at(last + 1), Err(Rejected::OutsideValidity(Link::Vcek)));
    }
}

#[test]
fn a_remembered_chain_vouches_for_no_other_report() {
    let memo = Memo::new(4);
    let check = |report: &[u8]| {
        let attestation = caci(report, &text("ccf/milan_v3_chain.pem"));
        let evidence = Evidence {
            platform: Platform::SnpCaci,
            attestation: &attestation,
        };
        verify_memoised(&evidence, &Trust::production(), NOW, &Native, &memo).map(|_| ())
    };
    let milan = vector("ccf/milan_v3_report.bin");
    assert_eq!(check(&milan), Ok(()));
    let mut other = milan.clone();
    other[0x50] ^= 1;
    assert_eq!(check(&other), Err(Rejected::ReportSignature));
    assert!(matches!(
        check(&vector("ccf/genoa_v3_report.bin")),
        Err(Rejected::RootNotPinned(_))
    ));
    assert_eq!(check(&milan), Ok(()));
}

#[test]
fn the_endorsed_tcb_is_compared_in_the_printed_order() {
    let mut attestation = caci(
        &vector("ccf/milan_v3_report.bin"),
        &text("ccf/milan_v3_chain.pem"),
    );
    attestation["endorsed_tcb"] = json!("db18000000000004");
    assert!(verify_caci(&attestation).is_ok());
    for wrong in [
        "04000000000018db",
        "DB18000000000004",
        "db18000000000003",
        "",
        "db180000000000040",
    ] {
        attestation["endorsed_tcb"] = json!(wrong);
        assert!(
            matches!(
                verify_caci(&attestation),
                Err(Rejected::EndorsedTcbMismatch { .. })
            ),
            "{wrong}"
        );
    }
}

#[test]
fn malformed_evidence_is_refused_field_by_field() {
    let good = caci(
        &vector("ccf/milan_v3_report.bin"),
        &text("ccf/milan_v3_chain.pem"),
    );
    for field in ["evidence", "endorsements"] {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(field);
        assert_eq!(verify_caci(&without), Err(Rejected::Missing(field)));
    }
    for field in ["evidence", "endorsements", "uvm_endorsements", "endorsed_tcb"] {
        for wrong in [
            json!(null),
            json!(1),
            json!({}),
            json!("*"),
            json!("A".repeat(100_000)),
        ] {
            let mut bad = good.clone();
            bad[field] = wrong.clone();
            assert!(verify_caci(&bad).is_err(), "{field}: {wrong:.40}");
        }
    }
    for wrong in [json!(null), json!("x"), json!([])] {
        assert!(verify_caci(&wrong).is_err());
        assert!(verify_cvm(&wrong).is_err());
    }
    let short = caci(
        &vector("ccf/milan_v3_report.bin")[..1183],
        &text("ccf/milan_v3_chain.pem"),
    );
    assert_eq!(verify_caci(&short), Err(Rejected::ReportLength(1183)));
    // A chain's text is bound by nothing, so line ends are as people have them.
    let crlf = text("ccf/milan_v3_chain.pem").replace('\n', "\r\n");
    assert!(verify_caci(&caci(&vector("ccf/milan_v3_report.bin"), &crlf)).is_ok());
}

#[test]
fn unsigned_statements_are_refused_unless_asked_for() {
    let statement = json!({
        "measurement": "ab".repeat(48),
        "host_data": "cd".repeat(32),
        "report_data": "ef".repeat(64),
    });
    let attestation = json!({ "evidence": model::b64::encode(statement.to_string().as_bytes()) });
    let evidence = Evidence {
        platform: Platform::Virtual,
        attestation: &attestation,
    };
    assert_eq!(
        verify(&evidence, &Trust::production(), NOW, &Native),
        Err(Rejected::UnsupportedPlatform(Platform::Virtual))
    );
    let trust = Trust {
        allow_virtual: true,
        ..Trust::production()
    };
    let verified = verify(&evidence, &trust, NOW, &Native).unwrap();
    assert_eq!(verified.report_data, [0xEF; 64]);
    assert_eq!(verified.claims["x-ms-sevsnpvm-is-debuggable"], json!(true));
    assert_eq!(verified.claims["x-ms-sevsnpvm-hostdata"], json!("cd".repeat(32)));
    assert!(!verified.uvm_endorsed);
    for (field, wrong) in [
        ("host_data", "CD".repeat(32)),
        ("report_data", "ef".repeat(32)),
        ("measurement", String::new()),
    ] {
        let mut bad = statement.clone();
        bad[field] = json!(wrong);
        let attestation = json!({ "evidence": model::b64::encode(bad.to_string().as_bytes()) });
        let evidence = Evidence {
            platform: Platform::Virtual,
            attestation: &attestation,
        };
        assert!(verify(&evidence, &trust, NOW, &Native).is_err(), "{field}");
    }
}

#[test]
fn fields_are_read_where_an_independent_reader_reads_them() {
    for path in [
        "ccf/milan_v3_report.bin",
        "ccf/genoa_v3_report.bin",
        "tee-attestation-verification/turin_attestation_report.bin",
        "trustee/snp/test-vlek-report.bin",
    ] {
        let raw = vector(path);
        let ours = attestation::report::Report::new(&raw).unwrap();
        let theirs = sev::firmware::guest::AttestationReport::from_bytes(&raw).unwrap();
        assert_eq!(ours.version(), theirs.version, "{path}");
        assert_eq!(ours.guest_svn(), theirs.guest_svn, "{path}");
        assert_eq!(ours.vmpl(), theirs.vmpl, "{path}");
        assert_eq!(ours.measurement()[..], theirs.measurement[..], "{path}");
        assert_eq!(ours.host_data()[..], theirs.host_data[..], "{path}");
        assert_eq!(ours.id_key_digest()[..], theirs.id_key_digest[..], "{path}");
        assert_eq!(ours.report_data()[..], theirs.report_data[..], "{path}");
        assert_eq!(ours.chip_id()[..], theirs.chip_id[..], "{path}");
        assert_eq!(
            u32::from(ours.signing_key()),
            theirs.key_info.signing_key(),
            "{path}"
        );
    }
}

#[test]
fn every_flipped_byte_of_a_report_is_noticed() {
    let chain = text("ccf/milan_v3_chain.pem");
    let report = vector("ccf/milan_v3_report.bin");
    let memo = Memo::new(1);
    let genuine = caci(&report, &chain);
    let verdict = |attestation: &Value| {
        let evidence = Evidence {
            platform: Platform::SnpCaci,
            attestation,
        };
        verify_memoised(&evidence, &Trust::production(), NOW, &Native, &memo).map(|_| ())
    };
    assert_eq!(verdict(&genuine), Ok(()));
    for position in 0..report.len() {
        let mut altered = report.clone();
        altered[position] ^= 1 << (position % 8);
        assert!(verdict(&caci(&altered, &chain)).is_err(), "byte {position:#x}");
    }
}

#[test]
fn endorsements_are_read_in_any_spelling_that_files_have() {
    let report = vector("ccf/milan_v3_report.bin");
    let chain = text("ccf/milan_v3_chain.pem");
    for spelled in [
        chain.replace('\n', "\r\n"),
        format!("subject=CN = SEV-VCEK\n{chain}\n\n"),
        chain.replace(
            "-----END CERTIFICATE-----\n",
            "-----END CERTIFICATE-----\nBag Attributes\n",
        ),
    ] {
        verify_caci(&caci(&report, &spelled)).unwrap();
    }
}

#[test]
fn every_flipped_byte_of_a_certificate_is_noticed() {
    let report = vector("ccf/milan_v3_report.bin");
    let chain = crypto::pem::read_many(crypto::pem::CERTIFICATE, &text("ccf/milan_v3_chain.pem"), 3).unwrap();
    let verdict = |chain: &[Vec<u8>]| {
        let bundle: String = chain
            .iter()
            .map(|der| crypto::pem::encode(crypto::pem::CERTIFICATE, der))
            .collect();
        verify_caci(&caci(&report, &bundle))
    };
    for (index, certificate) in chain.iter().enumerate() {
        for (position, bit) in flips(certificate.len()) {
            let mut altered = chain.clone();
            altered[index][position] ^= 1 << bit;
            assert!(
                verdict(&altered).is_err(),
                "certificate {index}, byte {position}, bit {bit}"
            );
        }
    }
}

/// One bit of each byte; every bit of those that no signature covers: the head, and what stands
/// around the signed part's end, before the 512 bytes of the signature.
fn flips(size: usize) -> impl Iterator<Item = (usize, usize)> {
    let unsigned = move |position| position < 4 || (size - 600..size - 512).contains(&position);
    (0..size).flat_map(move |position| {
        (0..8)
            .filter(move |bit| unsigned(position) || *bit == position % 8)
            .map(move |bit| (position, bit))
    })
}

fn turin_chain() -> String {
    ["vcek", "ask", "ark"]
        .map(|name| text(&format!("tee-attestation-verification/turin_{name}.pem")))
        .concat()
}

/// The blocks of a bundle, each as PEM text.
fn pem_blocks(bundle: &str) -> Vec<String> {
    crypto::pem::read_many(crypto::pem::CERTIFICATE, bundle, 8)
        .unwrap()
        .iter()
        .map(|der| crypto::pem::encode(crypto::pem::CERTIFICATE, der))
        .collect()
}
