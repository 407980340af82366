//! RSA key pairs: token signing keys, members' and pods' encryption keys.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaEncoding};
use zeroize::Zeroizing;

use super::KeyError;
use crate::{pem, spki};

/// Sizes of RSA keys we make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RsaBits {
    /// 2048: pods and members' encryption keys, as the reference's clients expect.
    B2048,
    /// 3072: token signing keys.
    B3072,
    /// 4096: the software attester's roots.
    B4096,
}

/// An RSA key pair. Wiped when dropped.
///
/// It cannot be printed:
///
/// ```compile_fail,E0277
/// let key = crypto::native::RsaKeyPair::generate(crypto::native::RsaBits::B2048).unwrap();
/// println!("{key:?}");
/// ```
pub struct RsaKeyPair {
    signing: KeyPair,
    decrypting: OaepPrivateDecryptingKey,
    spki: Vec<u8>,
}

impl RsaKeyPair {
    /// Makes a fresh key pair; takes 0.1 to 1 s.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn generate(bits: RsaBits) -> Result<Self, KeyError> {
        let size = match bits {
            RsaBits::B2048 => KeySize::Rsa2048,
            RsaBits::B3072 => KeySize::Rsa3072,
            RsaBits::B4096 => KeySize::Rsa4096,
        };
        let pkcs8 = KeyPair::generate(size)?.as_der()?;
        Self::from_pkcs8_der(pkcs8.as_ref())
    }

    /// Reads PKCS#8 DER; 2048 to 8192 bits.
    ///
    /// # Errors
    ///
    /// [`KeyError::Rejected`] if it is no such key.
    pub fn from_pkcs8_der(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let signing = KeyPair::from_pkcs8(pkcs8)?;
        let decrypting = OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(pkcs8)?)?;
        let spki = signing.public_key().as_der()?.as_ref().to_vec();
        Ok(Self {
            signing,
            decrypting,
            spki,
        })
    }

    /// Reads a PEM file: PKCS#8 (`PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if there is no such block or it is no RSA key of 2048 to 8192 bits.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.contains("-----BEGIN RSA PRIVATE KEY-----") {
            let pkcs1 = Zeroizing::new(pem::read_one("RSA PRIVATE KEY", text)?);
            let pkcs8 = KeyPair::from_der(&pkcs1)?.as_der()?;
            return Self::from_pkcs8_der(pkcs8.as_ref());
        }
        Self::from_pkcs8_der(&Zeroizing::new(pem::read_one(pem::PRIVATE_KEY, text)?))
    }

    /// The private key as PKCS#8 DER, for sealing.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        Ok(Zeroizing::new(self.signing.as_der()?.as_ref().to_vec()))
    }

    /// The private key as PEM (`PRIVATE KEY`), for a member's own key file.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        Ok(Zeroizing::new(pem::encode(
            pem::PRIVATE_KEY,
            &self.to_pkcs8_der()?,
        )))
    }

    /// The public key, SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The public key as canonical PEM, no newline at the end: the very text whose digest
    /// evidence binds.
    #[must_use]
    pub fn public_pem(&self) -> String {
        pem::encode_bare(pem::PUBLIC_KEY, &self.spki)
    }

    /// Lower-case hex of the SHA-256 of the public key.
    #[must_use]
    pub fn key_id(&self) -> String {
        spki::key_id(&self.spki)
    }

    /// Length of the modulus in bytes; also of signatures and of OAEP ciphertexts.
    #[must_use]
    pub fn modulus_size(&self) -> usize {
        self.signing.public_modulus_len()
    }

    /// RSASSA-PSS over SHA-256 of `message`, salt 32.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn sign_pss_sha256(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign(&RSA_PSS_SHA256, message)
    }

    /// RSASSA-PSS over SHA-384 of `message`, salt 48: how AMD signs chip certificates, and so
    /// the software attester.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn sign_pss_sha384(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign(&RSA_PSS_SHA384, message)
    }

    /// RSASSA-PKCS1-v1_5 over SHA-256 of `message`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the library fails.
    pub fn sign_pkcs1_sha256(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign(&RSA_PKCS1_SHA256, message)
    }

    /// Decrypts RSA-OAEP (SHA-256 for hash and mask, no label).
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the ciphertext was not made for this key.
    pub fn oaep_sha256_decrypt(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let mut plain = Zeroizing::new(vec![0; self.decrypting.min_output_size()]);
        let length = self
            .decrypting
            .decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut plain, None)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }

    fn sign(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.modulus_size()];
        self.signing
            .sign(encoding, &SystemRandom::new(), message, &mut signature)?;
        Ok(signature)
    }
}
