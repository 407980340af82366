//! `crypto`: named keys, signatures, wrapping, digests.
//!
//! Private halves lie in the private table `ccf.internal.app_keys`, which no guest can open; this
//! file reaches it in the host's own context, on the guest's transaction, so that a key appears
//! and disappears with the transaction that made it.

use std::sync::Arc;

use crypto::native::{Curve, EcKeyPair, Native, RsaBits, RsaKeyPair, random_vec, wrap};
use crypto::spki::{KeyKind as PublicKind, rsa_components, spki_from_public_key_pem, spki_key_kind};
use crypto::{SignatureAlg as Alg, VerifySignature as _, pem};
use kv::Context;
use model::tables::APP_KEYS;
use wasmtime::component::Resource;
use zeroize::Zeroizing;

use super::costs;
use crate::guests::app_bindings::concordat::host::crypto::{CryptoError, Host, KeyKind, SignatureAlg};
use crate::guests::{CallState, Pass, Reader, Writer};

/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// Longest secret that is wrapped, in bytes.
const WRAP_BYTES_MAX: usize = 1024 * 1024;
/// Most random bytes of one call.
const RANDOM_BYTES_MAX: u32 = 64;

/// A named key, read from its row.
pub(crate) enum NamedKey {
    Rsa(RsaKeyPair),
    Ec(EcKeyPair),
}

impl NamedKey {
    /// PKCS#8 says in its header which kind of key it holds; whichever reads it is right.
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        match RsaKeyPair::from_pkcs8_der(der) {
            Ok(key) => Some(Self::Rsa(key)),
            Err(_) => EcKeyPair::from_pkcs8_der(der).ok().map(Self::Ec),
        }
    }

    fn to_pkcs8(&self) -> wasmtime::Result<Zeroizing<Vec<u8>>> {
        let der = match self {
            Self::Rsa(key) => key.to_pkcs8_der(),
            Self::Ec(key) => key.to_pkcs8_der(),
        };
        der.map_err(|e| wasmtime::format_err!("cannot store a key: {e}"))
    }

    fn public_pem(&self) -> String {
        let spki = match self {
            Self::Rsa(key) => key.spki_der(),
            Self::Ec(key) => key.spki_der(),
        };
        pem::encode_bare("PUBLIC KEY", spki)
    }

    fn sign(&self, alg: SignatureAlg, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signature = match (self, alg) {
            (Self::Rsa(key), SignatureAlg::RsaPkcs1Sha256) => key.sign_pkcs1_sha256(message),
            (Self::Rsa(key), SignatureAlg::RsaPssSha256) => key.sign_pss_sha256(message),
            (Self::Ec(key), SignatureAlg::EcdsaSha256) if key.curve() == Curve::P256 => {
                key.sign_fixed(message)
            }
            (Self::Ec(key), SignatureAlg::EcdsaSha384) if key.curve() == Curve::P384 => {
                key.sign_fixed(message)
            }
            _ => return Err(CryptoError::UnsuitableKey),
        };
        signature.map_err(|_| CryptoError::UnsuitableKey)
    }
}

fn malformed(error: impl std::fmt::Display) -> CryptoError {
    CryptoError::Malformed(error.to_string())
}

fn check_name(name: &str) -> Result<(), CryptoError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(malformed(format_args!(
            "a key's name has 1 to {NAME_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

fn fresh_ec(curve: Curve) -> wasmtime::Result<NamedKey> {
    EcKeyPair::generate(curve)
        .map(NamedKey::Ec)
        .map_err(|e| wasmtime::format_err!("cannot make a key: {e}"))
}

impl CallState {
    /// An RSA key for this request and name: the one that the prepare pass made, or a new one.
    fn rsa_key(&self, name: &str) -> wasmtime::Result<NamedKey> {
        let input = crypto::sha256_parts(&[&self.request.0, name.as_bytes()]);
        let prepared = match self.pass {
            Pass::Real => self.services.keys.take(&input),
            Pass::Prepare => None,
        };
        let generate = || {
            RsaKeyPair::generate(RsaBits::B3072).map_err(|e| wasmtime::format_err!("cannot make a key: {e}"))
        };
        let key = prepared.map_or_else(generate, Ok)?;
        Ok(NamedKey::Rsa(key))
    }

    /// A key that this transaction can see. Reading an RSA key checks it, which takes longer than
    /// signing with it; so a key that was read is kept, by its name and the digest of its row.
    fn named_key(&mut self, name: &str) -> wasmtime::Result<Option<Arc<NamedKey>>> {
        let row = self
            .transaction()?
            .with_context(Context::Host, |tx| APP_KEYS.get(tx, &name.to_owned()))?;
        let Some(row) = row else { return Ok(None) };
        let der = Zeroizing::new(row.0);
        let digest = crypto::sha256(&der);
        if let Some(key) = self.services.named_keys.get(name, &digest) {
            return Ok(Some(key));
        }
        let key = NamedKey::from_pkcs8(&der)
            .map(Arc::new)
            .ok_or_else(|| wasmtime::format_err!("the stored key {name} cannot be read"))?;
        self.services.named_keys.put(name, digest, Arc::clone(&key));
        Ok(Some(key))
    }
}

impl Host for CallState {
    fn generate(
        &mut self,
        _: Resource<Writer>,
        name: String,
        kind: KeyKind,
    ) -> wasmtime::Result<Result<String, CryptoError>> {
        self.pay(match kind {
            KeyKind::Rsa3072 => costs::MAKE_RSA.of(name.len()),
            KeyKind::EcP256 | KeyKind::EcP384 => costs::MAKE_EC.of(name.len()),
        })?;
        if let Err(error) = check_name(&name) {
            return Ok(Err(error));
        }
        let key = match kind {
            KeyKind::Rsa3072 => self.rsa_key(&name)?,
            KeyKind::EcP256 => fresh_ec(Curve::P256)?,
            KeyKind::EcP384 => fresh_ec(Curve::P384)?,
        };
        let der = key.to_pkcs8()?;
        self.transaction()?.with_context(Context::Host, |tx| {
            kv::Write::put(tx, APP_KEYS.name(), name.as_bytes(), &der)
        })?;
        // Whatever becomes of this transaction: the key that was here is read again if it stays.
        self.services.named_keys.forget(&name);
        let public_pem = key.public_pem();
        if let (Pass::Prepare, NamedKey::Rsa(key)) = (self.pass, key) {
            let input = crypto::sha256_parts(&[&self.request.0, name.as_bytes()]);
            self.services.keys.keep(input, key);
        }
        Ok(Ok(public_pem))
    }

    fn forget(&mut self, _: Resource<Writer>, name: String) -> wasmtime::Result<Result<(), CryptoError>> {
        self.pay(costs::REMOVE.of(name.len()))?;
        let known = self.transaction()?.with_context(Context::Host, |tx| {
            let known = APP_KEYS.has(tx, &name)?;
            APP_KEYS.remove(tx, &name)?;
            Ok::<_, kv::TableError>(known)
        })?;
        self.services.named_keys.forget(&name);
        Ok(if known {
            Ok(())
        } else {
            Err(CryptoError::NoSuchKey)
        })
    }

    fn sign(
        &mut self,
        _: Resource<Reader>,
        name: String,
        alg: SignatureAlg,
        message: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, CryptoError>> {
        self.pay(costs::SIGN.of(message.len()))?;
        let key = self.named_key(&name)?;
        Ok(key
            .ok_or(CryptoError::NoSuchKey)
            .and_then(|key| key.sign(alg, &message)))
    }

    fn public_key(
        &mut self,
        _: Resource<Reader>,
        name: String,
    ) -> wasmtime::Result<Result<String, CryptoError>> {
        self.pay(costs::NAMED_KEY.of(name.len()))?;
        let key = self.named_key(&name)?;
        Ok(key.map(|key| key.public_pem()).ok_or(CryptoError::NoSuchKey))
    }

    fn wrap(
        &mut self,
        recipient_pem: String,
        plain: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, CryptoError>> {
        self.pay(costs::WRAP.of(plain.len().saturating_add(recipient_pem.len())))?;
        let plain = Zeroizing::new(plain);
        if plain.len() > WRAP_BYTES_MAX {
            return Ok(Err(malformed(format_args!(
                "at most {WRAP_BYTES_MAX} bytes can be wrapped"
            ))));
        }
        Ok(wrap::wrap(&recipient_pem, &plain).map_err(malformed))
    }

    fn verify(
        &mut self,
        alg: SignatureAlg,
        public_key_pem: String,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> wasmtime::Result<Result<bool, CryptoError>> {
        self.pay(costs::VERIFY.of(message.len().saturating_add(public_key_pem.len())))?;
        let spki = match spki_from_public_key_pem(&public_key_pem) {
            Ok(spki) => spki,
            Err(error) => return Ok(Err(malformed(error))),
        };
        let (name, scheme) = match alg {
            SignatureAlg::RsaPkcs1Sha256 => (b"pkcs1-256", Alg::RsaPkcs1Sha256),
            SignatureAlg::RsaPssSha256 => (b"psssh-256", Alg::RsaPssSha256),
            SignatureAlg::EcdsaSha256 => (b"ecdsa-256", Alg::EcdsaSha256Fixed),
            SignatureAlg::EcdsaSha384 => (b"ecdsa-384", Alg::EcdsaSha384Fixed),
        };
        let digest_of = |bytes: &[u8]| crypto::sha256(bytes).0;
        let input = crypto::sha256_parts(&[
            name,
            &digest_of(&spki),
            &digest_of(&message),
            &digest_of(&signature),
        ]);
        if let Some(valid) = self.services.signatures.get(&input) {
            return Ok(Ok(valid));
        }
        let valid = match Native.verify(scheme, &spki, &message, &signature) {
            Ok(()) => true,
            Err(crypto::BadSignature::Mismatch) => false,
            Err(crypto::BadSignature::Key(_) | crypto::BadSignature::Unsupported) => {
                return Ok(Err(CryptoError::UnsuitableKey));
            }
        };
        self.services.signatures.put(input, valid);
        Ok(Ok(valid))
    }

    fn rsa_bits(&mut self, public_key_pem: String) -> wasmtime::Result<Result<u32, CryptoError>> {
        self.pay(costs::READ_KEY.of(public_key_pem.len()))?;
        let spki = spki_from_public_key_pem(&public_key_pem);
        Ok(spki
            .and_then(|spki| spki_key_kind(&spki))
            .map_err(malformed)
            .and_then(|kind| match kind {
                PublicKind::Rsa(bits) => Ok(bits),
                _ => Err(CryptoError::UnsuitableKey),
            }))
    }

    fn rsa_components(
        &mut self,
        public_key_pem: String,
    ) -> wasmtime::Result<Result<(Vec<u8>, Vec<u8>), CryptoError>> {
        self.pay(costs::READ_KEY.of(public_key_pem.len()))?;
        let spki = spki_from_public_key_pem(&public_key_pem);
        Ok(spki.and_then(|spki| rsa_components(&spki)).map_err(malformed))
    }

    fn sha256(&mut self, message: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
        self.pay(costs::DIGEST.of(message.len()))?;
        Ok(crypto::sha256(&message).0.to_vec())
    }

    fn random(&mut self, length: u32) -> wasmtime::Result<Vec<u8>> {
        self.pay(costs::RANDOM.of(length as usize))?;
        if length > RANDOM_BYTES_MAX {
            return Err(wasmtime::format_err!(
                "at most {RANDOM_BYTES_MAX} random bytes a call"
            ));
        }
        Ok(random_vec(length as usize))
    }
}
