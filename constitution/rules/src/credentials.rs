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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// SHA-256 of the DER: the member or user id.
    pub id: Digest,
    /// The public key's kind.
    pub key_kind: KeyKind,
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
    /// Reads one certificate in canonical PEM.
    ///
    /// # Errors
    ///
    /// If it is not one.
    fn certificate(&self, pem: &str) -> Result<Certificate, String>;

    /// Modulus length in bits of an RSA public key in PEM.
    ///
    /// # Errors
    ///
    /// If it is not one.
    fn rsa_bits(&self, public_key_pem: &str) -> Result<u32, String>;

    /// SubjectPublicKeyInfo DER of a public key given as JWK (RFC 7517).
    ///
    /// # Errors
    ///
    /// If it holds no usable key.
    fn jwk_to_spki(&self, jwk_json: &str) -> Result<Vec<u8>, String>;

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
