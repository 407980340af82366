//! The least firmware that any SNP evidence must come from: rows that members vote, by processor.
//!
//! The table is the reference's, which asks it when nodes join; here it lies beneath every
//! admission. Rows are keyed by CPUID (function 1, EAX) in eight hex digits.

use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

/// The least security version of each part (`ledger-host.md` §1.9).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TcbFloor {
    /// As it was voted, if it was voted as one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hexstring: Option<String>,
    /// The security processor's boot loader.
    pub boot_loader: u8,
    /// The security processor's operating system.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
    /// First mutable code: of Turin, and of it only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
}

/// Why a floor is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidFloor {
    /// Not eight lower-case hex digits.
    #[error("cpuid is 8 lower-case hex digits, as 00a00f11")]
    Cpuid,
    /// No processor whose evidence is accepted.
    #[error("cpuid {0} is of no processor whose evidence is accepted (Milan, Genoa, Turin)")]
    UnknownProcessor(String),
    /// Not sixteen lower-case hex digits.
    #[error("tcb_version is 16 lower-case hex digits, most significant first, as db18000000000004")]
    Hex,
    /// Bytes that the processor's TCB reserves.
    #[error("tcb_version sets bytes that the TCB of processor {0} reserves")]
    Reserved(String),
    /// Only Turin has one, and it always does.
    #[error("fmc is given for Turin, and for no processor before it")]
    Fmc,
}

/// How the TCB of a processor is laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Layout {
    BeforeTurin,
    SinceTurin,
}

fn hex_number(text: &str, digits: usize) -> Option<u64> {
    let fits = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// The layout of the processor that `cpuid` names: base family F and an extension that makes
/// family 19h (models 0xh Milan, 1xh and Axh Genoa) or 1Ah (models 0xh and 1xh Turin).
fn layout(cpuid: &str) -> Result<Layout, InvalidFloor> {
    let eax = hex_number(cpuid, 8).ok_or(InvalidFloor::Cpuid)?;
    let extended_model = eax >> 16 & 0xF;
    match (eax >> 28, eax >> 20 & 0xFF, eax >> 8 & 0xF, extended_model) {
        (0, 0x0A, 0xF, 0x0 | 0x1 | 0xA) if eax & 0xF000 == 0 => Ok(Layout::BeforeTurin),
        (0, 0x0B, 0xF, 0x0 | 0x1) if eax & 0xF000 == 0 => Ok(Layout::SinceTurin),
        _ => Err(InvalidFloor::UnknownProcessor(cpuid.to_owned())),
    }
}

impl TcbFloor {
    /// Checks that this can be a floor of the processor `cpuid`.
    ///
    /// # Errors
    ///
    /// [`InvalidFloor`].
    pub fn check(&self, cpuid: &str) -> Result<(), InvalidFloor> {
        if self.fmc.is_some() != (layout(cpuid)? == Layout::SinceTurin) {
            return Err(InvalidFloor::Fmc);
        }
        Ok(())
    }

    /// The floor that `text` prints as governance prints a TCB: the bytes in reverse (AMD 56860,
    /// "TCB_VERSION").
    ///
    /// # Errors
    ///
    /// [`InvalidFloor`].
    pub fn from_hex(cpuid: &str, text: &str) -> Result<Self, InvalidFloor> {
        let layout = layout(cpuid)?;
        let number = hex_number(text, 16).ok_or(InvalidFloor::Hex)?;
        let hexstring = Some(text.to_owned());
        match (layout, number.to_le_bytes()) {
            (Layout::BeforeTurin, [boot_loader, tee, 0, 0, 0, 0, snp, microcode]) => Ok(Self {
                hexstring,
                boot_loader,
                tee,
                snp,
                microcode,
                fmc: None,
            }),
            (Layout::SinceTurin, [fmc, boot_loader, tee, snp, 0, 0, 0, microcode]) => Ok(Self {
                hexstring,
                boot_loader,
                tee,
                snp,
                microcode,
                fmc: Some(fmc),
            }),
            _ => Err(InvalidFloor::Reserved(cpuid.to_owned())),
        }
    }

    /// The first claim that lies below this floor, and the least it would have to be. A claim that
    /// is not there lies below every floor.
    pub fn unmet<'a>(&self, claim: impl Fn(&str) -> Option<&'a JsonValue>) -> Option<(&'static str, u8)> {
        let parts = [
            ("x-ms-sevsnpvm-bootloader-svn", Some(self.boot_loader)),
            ("x-ms-sevsnpvm-tee-svn", Some(self.tee)),
            ("x-ms-sevsnpvm-snpfw-svn", Some(self.snp)),
            ("x-ms-sevsnpvm-microcode-svn", Some(self.microcode)),
            ("x-ms-sevsnpvm-fmc-svn", self.fmc),
        ];
        parts.into_iter().find_map(|(name, least)| {
            let least = least?;
            let got = claim(name).and_then(JsonValue::as_u64);
            got.is_none_or(|number| number < u64::from(least))
                .then_some((name, least))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MILAN: &str = "00a00f11";
    const TURIN: &str = "00b00f21";

    #[test]
    fn the_printed_form_is_read_as_each_product_lays_it_out() {
        let milan = TcbFloor::from_hex(MILAN, "db18000000000004").unwrap();
        assert_eq!(
            (
                milan.boot_loader,
                milan.tee,
                milan.snp,
                milan.microcode,
                milan.fmc
            ),
            (4, 0, 0x18, 0xDB, None)
        );
        let turin = TcbFloor::from_hex(TURIN, "5100000004010101").unwrap();
        assert_eq!(
            (
                turin.boot_loader,
                turin.tee,
                turin.snp,
                turin.microcode,
                turin.fmc
            ),
            (1, 1, 4, 0x51, Some(1))
        );
        for (cpuid, text) in [
            (MILAN, "db18000000010004"),
            (MILAN, "5100000004010101"),
            (TURIN, "db18000000000004"),
            (MILAN, "DB18000000000004"),
            (MILAN, "db1800000000000"),
            (MILAN, "+b18000000000004"),
            ("00A00F11", "db18000000000004"),
            ("a00f11", "db18000000000004"),
            ("00800f11", "db18000000000004"),
            ("10a00f11", "db18000000000004"),
        ] {
            assert!(TcbFloor::from_hex(cpuid, text).is_err(), "{cpuid} {text}");
        }
    }

    #[test]
    fn fmc_belongs_to_turin() {
        let mut floor = TcbFloor::from_hex(MILAN, "db18000000000004").unwrap();
        assert_eq!(floor.check(MILAN), Ok(()));
        assert_eq!(floor.check(TURIN), Err(InvalidFloor::Fmc));
        floor.fmc = Some(0);
        assert_eq!(floor.check(MILAN), Err(InvalidFloor::Fmc));
        assert_eq!(floor.check(TURIN), Ok(()));
    }

    #[test]
    fn a_floor_is_met_at_n_and_not_at_n_minus_one() {
        let floor = TcbFloor::from_hex(TURIN, "5100000004030201").unwrap();
        let claims = json!({
            "x-ms-sevsnpvm-fmc-svn": 1, "x-ms-sevsnpvm-bootloader-svn": 2, "x-ms-sevsnpvm-tee-svn": 3,
            "x-ms-sevsnpvm-snpfw-svn": 4, "x-ms-sevsnpvm-microcode-svn": 0x51,
        });
        assert_eq!(floor.unmet(|name| claims.get(name)), None);
        for (name, number) in claims.as_object().unwrap() {
            let number = number.as_u64().unwrap();
            for (got, met) in [
                (json!(number - 1), false),
                (json!(number + 1), true),
                (json!(null), false),
            ] {
                let mut other = claims.clone();
                other[name] = got;
                let unmet = floor.unmet(|name| other.get(name));
                assert_eq!(unmet.map(|(name, _)| name), (!met).then_some(name.as_str()));
            }
        }
    }
}
