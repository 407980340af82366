//! The SNP attestation report: where its fields lie and what they mean.
//!
//! Reading only; which values are acceptable is `snp`'s business. Integers are little-endian.
//! Source: AMD SEV-SNP firmware ABI specification, "ATTESTATION_REPORT"; §1.3.

use std::fmt;

use crate::Rejected;

/// Bytes of a report.
pub const SIZE: usize = 0x4A0;
/// Bytes of a report that its signature covers; the signature follows.
pub const SIGNED_SIZE: usize = 0x2A0;
/// Bytes in which each half of the signature is stored, of which 48 are significant.
pub const SIGNATURE_HALF_SIZE: usize = 72;
/// Bytes of a P-384 scalar.
const SCALAR_SIZE: usize = 48;

/// Offsets of the fields.
pub mod offset {
    /// `u32`: version of the layout.
    pub const VERSION: usize = 0x000;
    /// `u32`: security version of the guest, set by its ID block.
    pub const GUEST_SVN: usize = 0x004;
    /// `u64`: what the guest's owner allows.
    pub const POLICY: usize = 0x008;
    /// 16 bytes, set by the ID block.
    pub const FAMILY_ID: usize = 0x010;
    /// 16 bytes, set by the ID block.
    pub const IMAGE_ID: usize = 0x020;
    /// `u32`: privilege level that asked for the report.
    pub const VMPL: usize = 0x030;
    /// `u32`: how the report is signed.
    pub const SIGNATURE_ALGORITHM: usize = 0x034;
    /// 8 bytes: TCB in force.
    pub const CURRENT_TCB: usize = 0x038;
    /// `u64`: what the platform has switched on.
    pub const PLATFORM_INFO: usize = 0x040;
    /// `u32`: which key signs, and whether the chip id is masked.
    pub const FLAGS: usize = 0x048;
    /// 64 bytes chosen by the guest.
    pub const REPORT_DATA: usize = 0x050;
    /// 48 bytes: launch digest.
    pub const MEASUREMENT: usize = 0x090;
    /// 32 bytes chosen at launch.
    pub const HOST_DATA: usize = 0x0C0;
    /// 48 bytes: SHA-384 of the key that signed the ID block.
    pub const ID_KEY_DIGEST: usize = 0x0E0;
    /// 48 bytes: SHA-384 of the key that certified the ID key.
    pub const AUTHOR_KEY_DIGEST: usize = 0x110;
    /// 32 bytes, drawn at launch.
    pub const REPORT_ID: usize = 0x140;
    /// 32 bytes: the migration agent's report id; all ones without one.
    pub const REPORT_ID_MA: usize = 0x160;
    /// 8 bytes: TCB that the VCEK is derived from.
    pub const REPORTED_TCB: usize = 0x180;
    /// `u8`: CPUID family, extended family included.
    pub const CPUID_FAMILY: usize = 0x188;
    /// `u8`: CPUID model, extended model included.
    pub const CPUID_MODEL: usize = 0x189;
    /// `u8`: CPUID stepping.
    pub const CPUID_STEPPING: usize = 0x18A;
    /// 64 bytes: the chip.
    pub const CHIP_ID: usize = 0x1A0;
    /// 8 bytes: TCB below which the firmware cannot go back.
    pub const COMMITTED_TCB: usize = 0x1E0;
    /// 8 bytes: TCB at launch.
    pub const LAUNCH_TCB: usize = 0x1F0;
    /// The signature: r, s (72 bytes each, little-endian), zeros.
    pub const SIGNATURE: usize = super::SIGNED_SIZE;
}

/// Bits of [`offset::POLICY`].
pub mod policy {
    /// Simultaneous multithreading is allowed.
    pub const SMT: u64 = 1 << 16;
    /// Reserved, always one.
    pub const RESERVED_ONE: u64 = 1 << 17;
    /// A migration agent is allowed.
    pub const MIGRATE_MA: u64 = 1 << 18;
    /// Debugging is allowed.
    pub const DEBUG: u64 = 1 << 19;
}

/// A version of the layout, as far as versions differ for a verifier.
///
/// Version 3 added the processor's CPUID, version 5 the mitigation vectors and the policy's bit
/// against page swaps; version 4 differs from 3 in what bits of the platform information mean.
/// Source: SEV-SNP firmware ABI specification (AMD 56860), "ATTESTATION_REPORT" and "Guest
/// Policy"; that version 4 is laid out as 3 is also how the `sev` crate reads it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Layout {
    version: u32,
    /// Bits of the guest policy that must be zero.
    policy_zero: u64,
    /// Where the reserved bytes before the signature begin.
    tail: usize,
}

const LAYOUTS: [Layout; 3] = [
    Layout {
        version: 3,
        policy_zero: u64::MAX << 25,
        tail: 0x1F8,
    },
    Layout {
        version: 4,
        policy_zero: u64::MAX << 25,
        tail: 0x1F8,
    },
    Layout {
        version: 5,
        policy_zero: u64::MAX << 26,
        tail: 0x208,
    },
];

/// Bytes that must be zero in every version, as ranges.
const RESERVED: [std::ops::Range<usize>; 4] = [0x04C..0x050, 0x18B..0x1A0, 0x1EB..0x1EC, 0x1EF..0x1F0];
/// Bits of [`offset::FLAGS`] that mean something.
const FLAGS_KNOWN: u32 = 0b1_1111;

/// A processor generation, each with a root key of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Product {
    /// Third generation EPYC.
    Milan,
    /// Fourth generation EPYC.
    Genoa,
    /// Fifth generation EPYC.
    Turin,
}

impl Product {
    /// The product of a CPUID family and model (§1.3).
    #[must_use]
    pub const fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0F) => Some(Self::Milan),
            (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(Self::Genoa),
            (0x1A, 0x00..=0x1F) => Some(Self::Turin),
            _ => None,
        }
    }

    /// What the certificate's product name starts with.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }
}

/// Security versions of a platform's parts, as they lie in the report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tcb(pub [u8; 8]);

/// Security versions of a platform's parts, by part. Numbers of two products do not compare.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcbParts {
    /// First mutable code, since Turin.
    pub fmc: Option<u8>,
    /// The security processor's boot loader.
    pub bootloader: u8,
    /// The security processor's operating system.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The lowest microcode of all cores.
    pub microcode: u8,
}

impl Tcb {
    /// The parts, or nothing if a byte that `product` reserves is not zero (ABI specification,
    /// "TCB_VERSION").
    #[must_use]
    pub const fn parts(self, product: Product) -> Option<TcbParts> {
        match (product, self.0) {
            (Product::Milan | Product::Genoa, [bootloader, tee, 0, 0, 0, 0, snp, microcode]) => {
                Some(TcbParts {
                    fmc: None,
                    bootloader,
                    tee,
                    snp,
                    microcode,
                })
            }
            (Product::Turin, [fmc, bootloader, tee, snp, 0, 0, 0, microcode]) => Some(TcbParts {
                fmc: Some(fmc),
                bootloader,
                tee,
                snp,
                microcode,
            }),
            _ => None,
        }
    }
}

/// Governance prints the bytes in reverse, as one hexadecimal number.
impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_le_bytes(self.0))
    }
}

/// A report of the right length. Nothing else about it has been checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    bytes: Box<[u8; SIZE]>,
}

impl Report {
    /// Takes the bytes of a report.
    ///
    /// # Errors
    ///
    /// [`Rejected::ReportLength`].
    pub fn new(bytes: &[u8]) -> Result<Self, Rejected> {
        <[u8; SIZE]>::try_from(bytes)
            .map(|bytes| Self {
                bytes: Box::new(bytes),
            })
            .map_err(|_| Rejected::ReportLength(bytes.len()))
    }

    /// The report's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; SIZE] {
        &self.bytes
    }

    /// The bytes that the signature covers.
    #[must_use]
    pub fn signed(&self) -> &[u8; SIGNED_SIZE] {
        self.bytes
            .first_chunk()
            .expect("the signed part is shorter than the report")
    }

    /// The `N` bytes at `offset`, which must be one of [`offset`]'s with its width.
    #[must_use]
    pub fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        let tail = self.bytes.get(offset..).and_then(<[u8]>::first_chunk);
        *tail.expect("offsets and widths lie inside the report")
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.field(offset))
    }

    fn u8(&self, offset: usize) -> u8 {
        let [byte] = self.field(offset);
        byte
    }

    /// Version of the layout.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.u32(offset::VERSION)
    }

    /// Security version of the guest.
    #[must_use]
    pub fn guest_svn(&self) -> u32 {
        self.u32(offset::GUEST_SVN)
    }

    /// Whether the guest policy has a bit of [`policy`].
    #[must_use]
    pub fn policy_has(&self, bit: u64) -> bool {
        u64::from_le_bytes(self.field(offset::POLICY)) & bit != 0
    }

    /// Checks that the version is one of the table and that whatever it reserves is what it must be:
    /// a bit that nobody can read here may stand for a state that nobody wants.
    ///
    /// # Errors
    ///
    /// [`Rejected::ReportVersion`] or [`Rejected::Reserved`].
    pub fn check_layout(&self) -> Result<(), Rejected> {
        let version = self.version();
        let layout = LAYOUTS
            .iter()
            .find(|layout| layout.version == version)
            .ok_or(Rejected::ReportVersion(version))?;
        let policy = u64::from_le_bytes(self.field(offset::POLICY));
        if policy & policy::RESERVED_ONE == 0 || policy & layout.policy_zero != 0 {
            return Err(Rejected::Reserved("guest policy"));
        }
        if self.u32(offset::FLAGS) & !FLAGS_KNOWN != 0 {
            return Err(Rejected::Reserved("flags"));
        }
        let ranges = RESERVED
            .into_iter()
            .chain(std::iter::once(layout.tail..SIGNED_SIZE));
        for range in ranges {
            let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
            if !self.bytes.get(range).is_some_and(is_zero) {
                return Err(Rejected::Reserved("bytes between the fields"));
            }
        }
        let product = self.product()?;
        for tcb in [
            offset::CURRENT_TCB,
            offset::REPORTED_TCB,
            offset::COMMITTED_TCB,
            offset::LAUNCH_TCB,
        ] {
            if Tcb(self.field(tcb)).parts(product).is_none() {
                return Err(Rejected::Reserved("TCB version"));
            }
        }
        Ok(())
    }

    /// TCB below which the firmware cannot go back.
    #[must_use]
    pub fn committed_tcb(&self) -> Tcb {
        Tcb(self.field(offset::COMMITTED_TCB))
    }

    /// What the platform has switched on; bits of later specifications included.
    #[must_use]
    pub fn platform_info(&self) -> u64 {
        u64::from_le_bytes(self.field(offset::PLATFORM_INFO))
    }

    /// The processor as CPUID function 1 says it in EAX: stepping, model and family with their
    /// extensions, from the least significant bit (AMD64 manual, volume 3, appendix E).
    #[must_use]
    pub fn cpuid(&self) -> u32 {
        let family = u32::from(self.u8(offset::CPUID_FAMILY));
        let model = u32::from(self.u8(offset::CPUID_MODEL));
        let stepping = u32::from(self.u8(offset::CPUID_STEPPING)) & 0xF;
        let base = family.min(0xF);
        let extension = family.saturating_sub(base);
        stepping | (model & 0xF) << 4 | base << 8 | (model >> 4) << 16 | extension << 20
    }

    /// Privilege level that asked for the report; 0 to 3 are the guest's.
    #[must_use]
    pub fn vmpl(&self) -> u32 {
        self.u32(offset::VMPL)
    }

    /// How the report is signed.
    #[must_use]
    pub fn signature_algorithm(&self) -> u32 {
        self.u32(offset::SIGNATURE_ALGORITHM)
    }

    /// Which key signs: 0 the VCEK, 1 the VLEK, 7 none.
    #[must_use]
    pub fn signing_key(&self) -> u8 {
        self.u8(offset::FLAGS) >> 2 & 0b111
    }

    /// Whether the platform's owner asked for the chip id to be masked.
    #[must_use]
    pub fn chip_key_is_masked(&self) -> bool {
        self.u8(offset::FLAGS) & 0b10 != 0
    }

    /// The bytes chosen by the guest.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        self.field(offset::REPORT_DATA)
    }

    /// Launch digest.
    #[must_use]
    pub fn measurement(&self) -> [u8; 48] {
        self.field(offset::MEASUREMENT)
    }

    /// The bytes chosen at launch.
    #[must_use]
    pub fn host_data(&self) -> [u8; 32] {
        self.field(offset::HOST_DATA)
    }

    /// Digest of the key that signed the guest's ID block.
    #[must_use]
    pub fn id_key_digest(&self) -> [u8; 48] {
        self.field(offset::ID_KEY_DIGEST)
    }

    /// TCB that the VCEK is derived from.
    #[must_use]
    pub fn reported_tcb(&self) -> Tcb {
        Tcb(self.field(offset::REPORTED_TCB))
    }

    /// The chip: 64 bytes, or 8 and zeros since Turin.
    #[must_use]
    pub fn chip_id(&self) -> [u8; 64] {
        self.field(offset::CHIP_ID)
    }

    /// The processor generation.
    ///
    /// # Errors
    ///
    /// [`Rejected::UnknownProcessor`].
    pub fn product(&self) -> Result<Product, Rejected> {
        let family = self.u8(offset::CPUID_FAMILY);
        let model = self.u8(offset::CPUID_MODEL);
        Product::from_cpuid(family, model).ok_or(Rejected::UnknownProcessor { family, model })
    }

    /// The signature's first half as stored, least significant byte first.
    #[must_use]
    pub fn signature_r(&self) -> [u8; SIGNATURE_HALF_SIZE] {
        self.field(offset::SIGNATURE)
    }

    /// The signature's second half as stored, least significant byte first.
    #[must_use]
    pub fn signature_s(&self) -> [u8; SIGNATURE_HALF_SIZE] {
        self.field(const { offset::SIGNATURE + SIGNATURE_HALF_SIZE })
    }

    /// The signature as r ‖ s, big-endian, 48 bytes each; nothing if a byte that must be zero
    /// is not.
    #[must_use]
    pub fn signature_fixed(&self) -> Option<[u8; 2 * SCALAR_SIZE]> {
        let padding: [u8; SIZE - SIGNED_SIZE - 2 * SIGNATURE_HALF_SIZE] =
            self.field(const { offset::SIGNATURE + 2 * SIGNATURE_HALF_SIZE });
        if padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let mut fixed = [0; 2 * SCALAR_SIZE];
        for (target, half) in fixed
            .chunks_exact_mut(SCALAR_SIZE)
            .zip([self.signature_r(), self.signature_s()])
        {
            let (scalar, zeros) = half.split_at(SCALAR_SIZE);
            if zeros.iter().any(|byte| *byte != 0) {
                return None;
            }
            target.copy_from_slice(scalar);
            target.reverse();
        }
        Some(fixed)
    }
}

#[cfg(test)]
mod tests;
