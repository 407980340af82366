//! Tests of reading attestation reports.

use super::*;

#[test]
fn only_a_report_of_exact_length_is_one() {
    assert!(Report::new(&[0; SIZE]).is_ok());
    for size in [0, SIZE - 1, SIZE + 1] {
        assert_eq!(Report::new(&vec![0; size]), Err(Rejected::ReportLength(size)));
    }
}

#[test]
fn governance_prints_the_most_significant_component_first() {
    assert_eq!(
        Tcb([4, 0, 0, 0, 0, 0, 0x18, 0xDB]).to_string(),
        "db18000000000004"
    );
}

/// A Milan report of zeros but for what must not be.
fn blank(version: u8) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[offset::VERSION] = version;
    bytes[offset::POLICY..][..8].copy_from_slice(&policy::RESERVED_ONE.to_le_bytes());
    bytes[offset::CPUID_FAMILY] = 0x19;
    bytes[offset::CPUID_MODEL] = 0x01;
    bytes
}

fn layout(bytes: &[u8; SIZE]) -> Result<(), Rejected> {
    Report::new(bytes).unwrap().check_layout()
}

#[test]
fn versions_outside_the_table_are_refused() {
    for version in 0..=u8::MAX {
        let expected = match version {
            3..=5 => Ok(()),
            _ => Err(Rejected::ReportVersion(version.into())),
        };
        assert_eq!(layout(&blank(version)), expected);
    }
    let mut wide = blank(3);
    wide[3] = 1;
    assert_eq!(layout(&wide), Err(Rejected::ReportVersion(0x0100_0003)));
}

#[test]
fn reserved_bits_are_those_of_the_reports_version() {
    for version in 3..=5_u8 {
        for bit in 0..64_u32 {
            let mut bytes = blank(version);
            bytes[offset::POLICY + bit as usize / 8] ^= 1 << (bit % 8);
            let known = if version == 5 { 26 } else { 25 };
            let fine = bit != 17 && bit < known;
            assert_eq!(
                layout(&bytes).is_ok(),
                fine,
                "version {version}, policy bit {bit}"
            );
            let mut bytes = blank(version);
            bytes[offset::PLATFORM_INFO + bit as usize / 8] ^= 1 << (bit % 8);
            assert_eq!(layout(&bytes), Ok(()), "platform information is carried");
        }
        for bit in 0..32_u32 {
            let mut bytes = blank(version);
            bytes[offset::FLAGS + bit as usize / 8] ^= 1 << (bit % 8);
            assert_eq!(layout(&bytes).is_ok(), bit < 5, "version {version}, flag {bit}");
        }
        for (at, fine) in [
            (0x04C, false),
            (0x04F, false),
            (0x18A, true),
            (0x18B, false),
            (0x19F, false),
            (0x1A0, true),
            (0x1EB, false),
            (0x1EF, false),
            (0x1F8, version == 5),
            (0x207, version == 5),
            (0x208, false),
            (0x29F, false),
            (offset::CURRENT_TCB + 2, false),
            (offset::COMMITTED_TCB + 5, false),
            (offset::LAUNCH_TCB + 7, true),
        ] {
            let mut bytes = blank(version);
            bytes[at] = 1;
            assert_eq!(layout(&bytes).is_ok(), fine, "version {version}, byte {at:#x}");
        }
    }
}

#[test]
fn the_parts_of_a_tcb_lie_where_their_product_has_them() {
    let parts = |bytes, product| Tcb(bytes).parts(product);
    let milan = [4, 1, 0, 0, 0, 0, 0x18, 0xDB];
    let expected = TcbParts {
        fmc: None,
        bootloader: 4,
        tee: 1,
        snp: 0x18,
        microcode: 0xDB,
    };
    assert_eq!(parts(milan, Product::Milan), Some(expected));
    assert_eq!(parts(milan, Product::Genoa), Some(expected));
    assert_eq!(parts([4, 1, 1, 0, 0, 0, 0x18, 0xDB], Product::Milan), None);
    let turin = [1, 2, 3, 4, 0, 0, 0, 0x51];
    let expected = TcbParts {
        fmc: Some(1),
        bootloader: 2,
        tee: 3,
        snp: 4,
        microcode: 0x51,
    };
    assert_eq!(parts(turin, Product::Turin), Some(expected));
    assert_eq!(parts([1, 2, 3, 4, 1, 0, 0, 0x51], Product::Turin), None);
    assert_eq!(parts(turin, Product::Milan), None);
}

#[test]
fn cpuid_is_written_as_governance_names_processors() {
    for (family, model, stepping, cpuid) in [
        (0x19, 0x01, 1, "00a00f11"),
        (0x19, 0x11, 1, "00a10f11"),
        (0x1A, 0x02, 1, "00b00f21"),
    ] {
        let mut bytes = blank(3);
        bytes[offset::CPUID_FAMILY] = family;
        bytes[offset::CPUID_MODEL] = model;
        bytes[offset::CPUID_STEPPING] = stepping;
        assert_eq!(format!("{:08x}", Report::new(&bytes).unwrap().cpuid()), cpuid);
    }
}

#[test]
fn every_model_belongs_to_one_product_at_most() {
    assert_eq!(Product::from_cpuid(0x19, 0x01), Some(Product::Milan));
    assert_eq!(Product::from_cpuid(0x19, 0x11), Some(Product::Genoa));
    assert_eq!(Product::from_cpuid(0x19, 0xA0), Some(Product::Genoa));
    assert_eq!(Product::from_cpuid(0x1A, 0x02), Some(Product::Turin));
    for (family, model) in [(0x19, 0x20), (0x19, 0xB0), (0x1A, 0x20), (0x17, 0x31), (0, 0)] {
        assert_eq!(Product::from_cpuid(family, model), None, "{family:#x} {model:#x}");
    }
}

#[test]
fn a_signature_with_a_byte_beyond_its_scalars_is_none() {
    let mut bytes = [0; SIZE];
    bytes[offset::SIGNATURE] = 1;
    let fixed = Report::new(&bytes).unwrap().signature_fixed().unwrap();
    assert_eq!(fixed[47], 1, "least significant byte goes last");
    for beyond in [48, 71, 120, 143, 144, 511] {
        let mut bytes = bytes;
        bytes[offset::SIGNATURE + beyond] = 1;
        assert_eq!(Report::new(&bytes).unwrap().signature_fixed(), None, "{beyond}");
    }
}
