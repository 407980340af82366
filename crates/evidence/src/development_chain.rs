//! Issues a chain shaped like AMD's for Milan: ARK and ASK (RSA-4096, RSASSA-PSS with SHA-384),
//! VCEK (P-384) with every extension that a verifier compares.
//!
//! Nobody trusts the root unless told to, and the names say what it is. The private keys of ARK
//! and ASK live as long as this call: nothing is ever issued under them again.

use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attestation::PSS_SHA384;
use attestation::report::Tcb;
use crypto::native::{Curve, EcKeyPair, RsaBits, RsaKeyPair};
use crypto::pem;
use der::asn1::{BitString, Ia5StringRef, ObjectIdentifier, OctetString, UtcTime};
use der::{Decode as _, Encode, Sequence};
use x509_cert::Version;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use crate::software::AttesterError;

/// What every certificate's name ends in.
const ORGANISATION: &str = "OU=Insecure software attester,O=Concordat";
/// How long the chain is valid. A UTCTime ends with 2049, so this is safe until 2039.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Clocks of pods and ledger may differ by this much.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const KEY_USAGE: &str = "2.5.29.15";

/// A fresh chip and the certificates above it, each as PEM.
pub(crate) struct DevelopmentChain {
    pub(crate) ark: String,
    pub(crate) ask: String,
    pub(crate) vcek: String,
    pub(crate) vcek_key: EcKeyPair,
}

/// RFC 5280 §4.1, the signed part. The crate's own type cannot be filled in from outside.
#[derive(Sequence)]
struct ToBeSigned {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Extensions,
}

/// RFC 5280 §4.1.
#[derive(Sequence)]
struct Signed {
    to_be_signed: ToBeSigned,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

impl DevelopmentChain {
    /// Makes keys and certificates for a chip of this id and TCB. Takes seconds: RSA-4096, twice.
    pub(crate) fn issue(chip_id: &[u8; 64], tcb: Tcb) -> Result<Self, AttesterError> {
        let ark_key = RsaKeyPair::generate(RsaBits::B4096)?;
        let ask_key = RsaKeyPair::generate(RsaBits::B4096)?;
        let vcek_key = EcKeyPair::generate(Curve::P384)?;
        let validity = validity(SystemTime::now())?;
        let issuer = |name, key| Issuer { name, key, validity };
        let (ark, ask) = (issuer("ARK-Milan", &ark_key), issuer("SEV-Milan", &ask_key));
        Ok(Self {
            ark: ark.issue(1, ark.name, ark_key.spki_der(), authority(None)?)?,
            ask: ark.issue(2, ask.name, ask_key.spki_der(), authority(Some(0))?)?,
            vcek: ask.issue(3, "SEV-VCEK", vcek_key.spki_der(), chip(chip_id, tcb)?)?,
            vcek_key,
        })
    }
}

struct Issuer<'a> {
    name: &'static str,
    key: &'a RsaKeyPair,
    validity: Validity,
}

impl Issuer<'_> {
    /// A certificate as PEM.
    fn issue(
        &self,
        serial: u8,
        subject: &str,
        spki: &[u8],
        extensions: Extensions,
    ) -> Result<String, AttesterError> {
        let signature_algorithm = AlgorithmIdentifierOwned::from_der(PSS_SHA384)?;
        let to_be_signed = ToBeSigned {
            version: Version::V3,
            serial_number: SerialNumber::new(&[serial])?,
            signature: signature_algorithm.clone(),
            issuer: name(self.name)?,
            validity: self.validity,
            subject: name(subject)?,
            subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(spki)?,
            extensions,
        };
        let signature = self.key.sign_pss_sha384(&to_be_signed.to_der()?)?;
        let signature = BitString::from_bytes(&signature)?;
        let signed = Signed {
            to_be_signed,
            signature_algorithm,
            signature,
        };
        Ok(pem::encode(pem::CERTIFICATE, &signed.to_der()?))
    }
}

fn name(common_name: &str) -> Result<Name, der::Error> {
    Name::from_str(&format!("CN={common_name},{ORGANISATION}"))
}

fn validity(now: SystemTime) -> Result<Validity, AttesterError> {
    let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = |at: Duration| UtcTime::from_unix_duration(at).map(Time::UtcTime);
    let not_before = time(since_1970.saturating_sub(CLOCK_SKEW))?;
    let not_after = time(since_1970.saturating_add(LIFETIME))?;
    Ok(Validity::new(not_before, not_after))
}

/// Extensions of a certificate that issues others.
fn authority(path_len_constraint: Option<u8>) -> Result<Extensions, AttesterError> {
    let constraints = BasicConstraints {
        ca: true,
        path_len_constraint,
    };
    Ok(vec![
        critical(BASIC_CONSTRAINTS, &constraints)?,
        critical(KEY_USAGE, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?,
    ])
}

/// Extensions of a VCEK (AMD, KDS interface specification, chapter 3), in the form for Milan.
fn chip(chip_id: &[u8; 64], tcb: Tcb) -> Result<Extensions, AttesterError> {
    const STRUCT_VERSION: &str = "1.3.6.1.4.1.3704.1.1";
    const PRODUCT_NAME: &str = "1.3.6.1.4.1.3704.1.2";
    const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";
    // Bootloader, TEE, four reserved, SNP, microcode: the order of the report's bytes.
    const TCB_PARTS: [u8; 8] = [1, 2, 4, 5, 6, 7, 3, 8];
    let mut extensions = vec![
        plain(STRUCT_VERSION, 0_u8.to_der()?)?,
        plain(PRODUCT_NAME, Ia5StringRef::new("Milan-B0")?.to_der()?)?,
    ];
    for (part, version) in TCB_PARTS.into_iter().zip(tcb.0) {
        extensions.push(plain(&format!("1.3.6.1.4.1.3704.1.3.{part}"), version.to_der()?)?);
    }
    extensions.push(plain(HARDWARE_ID, chip_id.to_vec())?);
    Ok(extensions)
}

fn critical(oid: &str, content: &impl Encode) -> Result<Extension, AttesterError> {
    Ok(Extension {
        critical: true,
        ..plain(oid, content.to_der()?)?
    })
}

fn plain(oid: &str, content: Vec<u8>) -> Result<Extension, AttesterError> {
    Ok(Extension {
        extn_id: ObjectIdentifier::new(oid).map_err(der::Error::from)?,
        critical: false,
        extn_value: OctetString::new(content)?,
    })
}
