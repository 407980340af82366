//! What the rules ask their host about certificates, keys and components.
//!
//! Parsers of outside bytes stay on the host's side (`wit/credentials.wit`). The answers are pure
//! functions of the arguments, so an auditor gets the same ones. Implemented by the component's
//! imports and, in native tests, over real certificate parsing.

use model::Digest;

/// What a certificate's public key is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// P-256, P-384 or P-521.
    EllipticCurve,
    /// RSA of any size.
    Rsa,
    /// Something else.
    Other,
}

impl KeyKind {
    /// The kind that the host's name stands for.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "ec-p256" | "ec-p384" | "ec-p521" => Self::EllipticCurve,
            "rsa" => Self::Rsa,
            _ => Self::Other,
        }
    }
}

/// A certificate that could be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// SHA-256 of the DER: the member or user id.
    pub id: Digest,
    /// The public key's kind.
    pub key_kind: KeyKind,
    /// Its one spelling that is stored: canonical PEM.
    pub pem: String,
}

/// An RSA public key that could be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RsaKey {
    /// Length of its modulus in bits.
    pub bits: u32,
    /// Its one spelling that is stored: canonical PEM.
    pub pem: String,
}

/// What one key of a published set is to this service (RFC 7517 §5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenKey {
    /// It verifies tokens: SubjectPublicKeyInfo, DER.
    Usable(Vec<u8>),
    /// It is meant for something else, or of a kind not known here: why.
    Skipped(String),
}

/// One route that an application component offers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// `GET`, `PUT`, `POST` or `DELETE`.
    pub method: String,
    /// Path below `/app`.
    pub path: String,
    /// The route's row in `public:ccf.gov.endpoints`, JSON, without `component`.
    pub row_json: String,
}

/// Readers of certificates, keys and components. Errors say what is wrong, for members to read.
pub trait Credentials {
    /// Reads the one certificate in a PEM text, however the file spells it.
    ///
    /// # Errors
    ///
    /// If it is not one.
    fn certificate(&self, pem: &str) -> Result<Certificate, String>;

    /// Reads the one RSA public key in a PEM text, however the file spells it.
    ///
    /// # Errors
    ///
    /// If it is not one.
    fn rsa_key(&self, public_key_pem: &str) -> Result<RsaKey, String>;

    /// Judges one key of a published set by all its parameters.
    ///
    /// # Errors
    ///
    /// If it is meant for verifying, of a known type, and malformed.
    fn token_key(&self, jwk_json: &str) -> Result<TokenKey, String>;

    /// SHA-256 and routes of an application component.
    ///
    /// # Errors
    ///
    /// If it does not compile, asks for more than its world offers, or lists no routes.
    fn inspect_application(&self, component: &[u8]) -> Result<(Digest, Vec<Route>), String>;

    /// SHA-256 of a constitution component.
    ///
    /// # Errors
    ///
    /// As [`Credentials::inspect_application`].
    fn inspect_constitution(&self, component: &[u8]) -> Result<Digest, String>;
}
