//! The chain above a report: VCEK, ASK, ARK, and what the VCEK says about its chip.
//!
//! Source: AMD, "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface
//! Specification", chapter 3; §1.4 items 2–4 and 9.

use std::sync::Arc;

use crypto::x509::KeyKind;
use crypto::{VerifySignature, pem, sha256};
use model::Digest;
use x509_parser::asn1_rs::{Oid, oid};

use crate::certificate::Certificate;
use crate::rejected::{Link, Rejected};
use crate::report::{Product, Report, Tcb};
use crate::{Context, Trust};

/// Longest PEM text of a chain; the real ones have about 6,500 bytes.
pub(crate) const BUNDLE_SIZE_MAX: usize = 32 * 1024;

/// Most certificates that are read, so that a chain of four is called one of four.
const CHAIN_LENGTH_READ_MAX: usize = 8;

/// SHA-256 of the SPKI of AMD's root for each product.
const fn pinned_ark(product: Product) -> Digest {
    Digest(match product {
        Product::Milan => [
            0x9F, 0x05, 0x6B, 0xEE, 0x44, 0x37, 0x7E, 0x29, 0x30, 0x8C, 0xB5, 0xFF, 0xA8, 0x95, 0xBD, 0xFB,
            0x62, 0xD1, 0x88, 0x81, 0xFA, 0x6B, 0xED, 0x8D, 0x6F, 0x07, 0x5B, 0x02, 0x04, 0x08, 0x9C, 0xB9,
        ],
        Product::Genoa => [
            0x42, 0x9A, 0x69, 0xC9, 0x42, 0x2A, 0xA2, 0x58, 0xEE, 0x4D, 0x8D, 0xB5, 0xFC, 0xDA, 0x9C, 0x64,
            0x70, 0xEF, 0x15, 0xF8, 0xCD, 0x5A, 0x9C, 0xEB, 0xD6, 0xCB, 0xC7, 0xD9, 0x0B, 0x86, 0x38, 0x31,
        ],
        Product::Turin => [
            0x4F, 0x12, 0x54, 0x10, 0x56, 0x3A, 0x2A, 0xB9, 0xA5, 0x03, 0x56, 0xF9, 0x24, 0x3F, 0x6F, 0xE0,
            0xB6, 0xF7, 0x3D, 0xE9, 0x86, 0x03, 0xF5, 0x3F, 0x90, 0x33, 0x9C, 0x70, 0xE9, 0xD7, 0xAD, 0x08,
        ],
    })
}

/// Three certificates, each signed by the next, the last by itself. What is *not* settled here,
/// since it depends on the report and the hour: whether the root is pinned, whether the
/// certificates are valid now, and whether the VCEK is the report's.
#[derive(Debug)]
pub(crate) struct VerifiedChain {
    vcek_spki: Vec<u8>,
    chip: Chip,
    root: Digest,
    windows: [(Link, u64, u64); 3],
}

/// What a VCEK certificate says about its chip.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Chip {
    product_name: String,
    layout: TcbLayout,
    tcb: Tcb,
    hardware_id: Vec<u8>,
}

/// The order of a TCB's bytes, by the certificate's `structVersion`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TcbLayout {
    /// Milan and Genoa.
    BeforeTurin,
    /// Turin.
    SinceTurin,
}

/// Extensions of a VCEK.
mod extension {
    use super::{Oid, oid};

    pub(super) const STRUCT_VERSION: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.1);
    pub(super) const PRODUCT_NAME: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.2);
    pub(super) const BOOTLOADER: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.1);
    pub(super) const TEE: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.2);
    pub(super) const SNP: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.3);
    pub(super) const RESERVED_4: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.4);
    pub(super) const RESERVED_5: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.5);
    pub(super) const RESERVED_6: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.6);
    pub(super) const RESERVED_7: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.7);
    pub(super) const MICROCODE: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.8);
    pub(super) const FMC: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.9);
    pub(super) const HARDWARE_ID: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.4);
    pub(super) const CSP_ID: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.5);
}

impl TcbLayout {
    /// The extension behind each byte of a TCB.
    const fn extensions(self) -> [Oid<'static>; 8] {
        use extension::{
            BOOTLOADER, FMC, MICROCODE, RESERVED_4, RESERVED_5, RESERVED_6, RESERVED_7, SNP, TEE,
        };
        match self {
            Self::BeforeTurin => [
                BOOTLOADER, TEE, RESERVED_4, RESERVED_5, RESERVED_6, RESERVED_7, SNP, MICROCODE,
            ],
            Self::SinceTurin => [
                FMC, BOOTLOADER, TEE, SNP, RESERVED_5, RESERVED_6, RESERVED_7, MICROCODE,
            ],
        }
    }

    const fn of(product: Product) -> Self {
        match product {
            Product::Milan | Product::Genoa => Self::BeforeTurin,
            Product::Turin => Self::SinceTurin,
        }
    }
}

impl Chip {
    fn read(vcek: &Certificate<'_>) -> Result<Self, Rejected> {
        if vcek.extension(&extension::CSP_ID)?.is_some() {
            return Err(vcek.refuse("belongs to a cloud provider, not to a chip (VLEK)".to_owned()));
        }
        let layout = match small_integer(vcek, &extension::STRUCT_VERSION)? {
            0 => TcbLayout::BeforeTurin,
            1 => TcbLayout::SinceTurin,
            other => return Err(vcek.refuse(format!("structure version {other} is unknown"))),
        };
        let mut tcb = [0; 8];
        for (byte, oid) in tcb.iter_mut().zip(layout.extensions()) {
            *byte = small_integer(vcek, &oid)?;
        }
        let hardware_id = required(vcek, &extension::HARDWARE_ID)?.to_vec();
        Ok(Self {
            product_name: product_name(vcek)?,
            layout,
            tcb: Tcb(tcb),
            hardware_id,
        })
    }

    /// Whether this is the chip `chip_id`, 64 bytes as a report of `product` has them.
    fn is(&self, product: Product, chip_id: &[u8; 64]) -> bool {
        let significant = match product {
            Product::Milan | Product::Genoa => 64,
            Product::Turin => 8,
        };
        let (id, zeros) = chip_id.split_at(significant);
        self.hardware_id == id && zeros.iter().all(|byte| *byte == 0)
    }
}

fn required<'a>(vcek: &Certificate<'a>, oid: &Oid<'_>) -> Result<&'a [u8], Rejected> {
    vcek.extension(oid)?
        .ok_or_else(|| vcek.refuse(format!("extension {oid} is missing")))
}

/// An extension that holds a DER INTEGER from 0 to 255.
fn small_integer(vcek: &Certificate<'_>, oid: &Oid<'_>) -> Result<u8, Rejected> {
    match required(vcek, oid)? {
        [0x02, 0x01, value @ 0..=0x7F] | [0x02, 0x02, 0x00, value @ 0x80..=0xFF] => Ok(*value),
        _ => Err(vcek.refuse(format!("extension {oid} is not an integer from 0 to 255"))),
    }
}

/// An extension that holds a short IA5String.
fn product_name(vcek: &Certificate<'_>) -> Result<String, Rejected> {
    match required(vcek, &extension::PRODUCT_NAME)? {
        [0x16, size @ 0..=0x7F, name @ ..] if usize::from(*size) == name.len() && name.is_ascii() => {
            Ok(name.iter().copied().map(char::from).collect())
        }
        _ => Err(vcek.refuse("product name is not an IA5String".to_owned())),
    }
}

impl VerifiedChain {
    /// Reads a PEM bundle (VCEK, ASK, ARK) and verifies its signatures.
    fn verify(bundle: &str, verifier: &dyn VerifySignature) -> Result<Self, Rejected> {
        let ders = pem::read_many(pem::CERTIFICATE, bundle, CHAIN_LENGTH_READ_MAX).map_err(|error| {
            Rejected::Malformed {
                field: "certificate chain",
                problem: error.to_string(),
            }
        })?;
        let [vcek, ask, ark] = ders.as_slice() else {
            return Err(Rejected::ChainLength(ders.len()));
        };
        let vcek = Certificate::parse(vcek, Link::Vcek)?;
        let ask = Certificate::parse(ask, Link::Ask)?;
        let ark = Certificate::parse(ark, Link::Ark)?;
        for certificate in [&vcek, &ask, &ark] {
            if !certificate.is_signed_with_pss_sha384() {
                return Err(certificate.refuse("is not signed with RSASSA-PSS and SHA-384".to_owned()));
            }
        }
        for issuer in [&ask, &ark] {
            if !issuer.signed().is_ca() {
                return Err(issuer.refuse("may not issue certificates".to_owned()));
            }
        }
        if vcek.signed().key_kind() != KeyKind::EcP384 {
            return Err(vcek.refuse("key is not on P-384".to_owned()));
        }
        ark.check_issued_by(&ark, verifier)?;
        ask.check_issued_by(&ark, verifier)?;
        vcek.check_issued_by(&ask, verifier)?;
        let window = |certificate: &Certificate<'_>, link| {
            (
                link,
                certificate.signed().not_before(),
                certificate.signed().not_after(),
            )
        };
        Ok(Self {
            vcek_spki: vcek.spki().to_vec(),
            chip: Chip::read(&vcek)?,
            root: sha256(ark.spki()),
            windows: [
                window(&vcek, Link::Vcek),
                window(&ask, Link::Ask),
                window(&ark, Link::Ark),
            ],
        })
    }

    /// The VCEK's key, SPKI DER.
    pub(crate) fn vcek_spki(&self) -> &[u8] {
        &self.vcek_spki
    }

    /// Checks that the chain ends in a root pinned for `product`.
    fn check_root(&self, product: Product, trust: &Trust) -> Result<(), Rejected> {
        if self.root == pinned_ark(product) || trust.extra_arks.contains(&self.root) {
            Ok(())
        } else {
            Err(Rejected::RootNotPinned(self.root))
        }
    }

    /// Checks every certificate's validity period.
    fn check_time(&self, now_unix_s: u64) -> Result<(), Rejected> {
        match self
            .windows
            .iter()
            .find(|(_, from, until)| !(*from..=*until).contains(&now_unix_s))
        {
            Some((link, ..)) => Err(Rejected::OutsideValidity(*link)),
            None => Ok(()),
        }
    }

    /// Checks that the VCEK is of the report's product, TCB and chip. A VCEK is derived from
    /// exactly one TCB, so anything but equality is another key's certificate.
    pub(crate) fn check_chip(&self, report: &Report) -> Result<(), Rejected> {
        let product = report.product()?;
        let refuse = |problem: String| Rejected::Certificate {
            link: Link::Vcek,
            problem,
        };
        if !self.chip.product_name.starts_with(product.name()) || self.chip.layout != TcbLayout::of(product) {
            let name = &self.chip.product_name;
            return Err(refuse(format!(
                "is of product '{name}', the report of {}",
                product.name()
            )));
        }
        let reported = report.reported_tcb();
        if reported != self.chip.tcb {
            return Err(Rejected::TcbMismatch {
                reported: reported.to_string(),
                certified: self.chip.tcb.to_string(),
            });
        }
        if self.chip.is(product, &report.chip_id()) {
            Ok(())
        } else {
            Err(Rejected::ChipIdMismatch)
        }
    }
}

/// The hardware id in a chip's certificate (VCEK, DER), as a report's chip id has it: for whoever
/// makes reports. Nothing about the certificate is verified.
///
/// # Errors
///
/// [`Rejected::Certificate`] if it is none, or its hardware id is longer than 64 bytes.
pub fn hardware_id(vcek_der: &[u8]) -> Result<[u8; 64], Rejected> {
    let vcek = Certificate::parse(vcek_der, Link::Vcek)?;
    let id = required(&vcek, &extension::HARDWARE_ID)?;
    let mut padded = [0; 64];
    let target = padded
        .get_mut(..id.len())
        .ok_or_else(|| vcek.refuse("hardware id is too long".to_owned()))?;
    target.copy_from_slice(id);
    Ok(padded)
}

/// The chain in `bundle`: signed throughout, valid now, and ending in a root pinned for
/// `product`. Only chains with such a root are remembered, so strangers can't fill the memo.
pub(crate) fn verify(
    bundle: &str,
    product: Product,
    context: &Context<'_>,
) -> Result<Arc<VerifiedChain>, Rejected> {
    if bundle.len() > BUNDLE_SIZE_MAX {
        return Err(crate::fields::malformed("certificate chain", "too long"));
    }
    let key = sha256(bundle.as_bytes());
    let known = context.memo.chain(&key);
    let is_new = known.is_none();
    let chain = match known {
        Some(chain) => chain,
        None => Arc::new(VerifiedChain::verify(bundle, context.verifier)?),
    };
    chain.check_root(product, context.trust)?;
    chain.check_time(context.now_unix_s)?;
    if is_new {
        context.memo.keep_chain(key, Arc::clone(&chain));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(hardware_id: Vec<u8>) -> Chip {
        Chip {
            product_name: "Turin".to_owned(),
            layout: TcbLayout::SinceTurin,
            tcb: Tcb([0; 8]),
            hardware_id,
        }
    }

    #[test]
    fn a_turin_chip_has_eight_bytes_and_zeros() {
        let mut id = [0; 64];
        id[..8].copy_from_slice(&[7; 8]);
        assert!(chip(vec![7; 8]).is(Product::Turin, &id));
        assert!(
            !chip(id.to_vec()).is(Product::Turin, &id),
            "64 bytes are no Turin hardware id"
        );
        assert!(
            !chip(vec![7; 8]).is(Product::Milan, &id),
            "8 bytes are no Milan hardware id"
        );
        id[63] = 1;
        assert!(!chip(vec![7; 8]).is(Product::Turin, &id));
    }
}
