//! What holds private keys or is on the host's hot path: aws-lc-rs behind our own types.
//!
//! No type here that holds a secret implements `Debug`, and none gives its secret out except as
//! PKCS#8 in a buffer that wipes itself, for sealing.

pub mod aead;
mod ec;
mod governance;
pub mod issue;
mod random;
mod rsa;
mod verify;
pub mod wrap;

pub use aead::LedgerSecret;
pub use ec::{Curve, EcKeyPair};
pub use governance::{
    MSG_CREATED_AT, MSG_PROPOSAL_ID, MSG_SERVICE, MSG_TYPE, sign_governance_message,
    sign_governance_message_for,
};
pub use random::{random_bytes, random_vec};
pub use rsa::{RsaBits, RsaKeyPair};
pub use verify::Native;

/// A private key that cannot be read, made or used. The texts never contain key material.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The private key is damaged or of a kind the operation does not take.
    #[error("the private key cannot be used: {0}")]
    Rejected(String),
    /// The PEM around it.
    #[error(transparent)]
    Pem(#[from] crate::pem::PemError),
    /// The library failed for a reason it does not tell.
    #[error("the cryptographic library failed")]
    Failed,
    /// The operation exists for another curve only.
    #[error("this operation needs a {0} key")]
    Curve(&'static str),
}

impl From<aws_lc_rs::error::Unspecified> for KeyError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Failed
    }
}

impl From<aws_lc_rs::error::KeyRejected> for KeyError {
    fn from(error: aws_lc_rs::error::KeyRejected) -> Self {
        Self::Rejected(error.to_string())
    }
}
