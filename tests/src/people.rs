//! Members and users: keys and certificates made for one test, kept as files like real ones.

use std::path::{Path, PathBuf};

use anyhow::Result;
use client::Identity;
use client::governance::{MemberKey, unix_now_s};
use crypto::native::issue::{Validity, self_signed_member};
use crypto::native::{Curve, EcKeyPair, RsaBits, RsaKeyPair};
use crypto::x509::Certificate;
use model::MemberId;

/// Somebody with a certificate.
pub struct Person {
    /// File name prefix and common name.
    pub name: String,
    dir: PathBuf,
    cert_pem: String,
}

impl Person {
    /// Makes key and certificate in `dir`: `NAME_cert.pem`, `NAME_privk.pem`.
    ///
    /// # Errors
    ///
    /// If keys cannot be made or files cannot be written.
    pub fn new(dir: &Path, name: &str) -> Result<Self> {
        let key = EcKeyPair::generate(Curve::P384)?;
        let validity = Validity {
            not_before: unix_now_s().saturating_sub(3600),
            days: 30,
        };
        let cert_pem = self_signed_member(&key, name, validity)?;
        std::fs::write(dir.join(format!("{name}_cert.pem")), &cert_pem)?;
        std::fs::write(
            dir.join(format!("{name}_privk.pem")),
            key.to_pkcs8_pem()?.as_bytes(),
        )?;
        Ok(Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            cert_pem,
        })
    }

    /// As [`Person::new`], with an encryption key for a recovery share: `NAME_enc_pubk.pem`.
    ///
    /// # Errors
    ///
    /// As [`Person::new`].
    pub fn with_encryption_key(dir: &Path, name: &str) -> Result<Self> {
        let key = RsaKeyPair::generate(RsaBits::B2048)?;
        std::fs::write(dir.join(format!("{name}_enc_pubk.pem")), key.public_pem())?;
        Self::new(dir, name)
    }

    /// The certificate, PEM.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// Path of the certificate.
    #[must_use]
    pub fn cert_file(&self) -> PathBuf {
        self.dir.join(format!("{}_cert.pem", self.name))
    }

    /// Path of the private key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.dir.join(format!("{}_privk.pem", self.name))
    }

    /// SHA-256 of the certificate.
    ///
    /// # Errors
    ///
    /// If the certificate does not parse.
    pub fn id(&self) -> Result<MemberId> {
        Ok(MemberId(Certificate::from_pem(&self.cert_pem)?.id()))
    }

    /// For signing governance messages.
    ///
    /// # Errors
    ///
    /// If the key file cannot be read.
    pub fn signer(&self) -> Result<MemberKey> {
        let key = zeroize::Zeroizing::new(std::fs::read_to_string(self.key_file())?);
        Ok(MemberKey::from_pem(&self.cert_pem, &key)?)
    }

    /// For TLS.
    ///
    /// # Errors
    ///
    /// If the key file cannot be read.
    pub fn identity(&self) -> Result<Identity> {
        Ok(Identity {
            cert_pem: self.cert_pem.clone(),
            key_pem: zeroize::Zeroizing::new(std::fs::read_to_string(self.key_file())?),
        })
    }
}
