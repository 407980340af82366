//! The node's side of TLS: 1.3, and 1.2 with AEAD suites, on aws-lc-rs, with optional client
//! certificates.
//!
//! Who owns a client certificate is decided per request by looking up its digest; the one custom
//! verifier here (decision 28) therefore builds no chain. It still demands a readable certificate
//! and the handshake signature by its key, so that nobody can show a certificate it has no key for.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

/// The certificate and key that the node shows.
pub struct NodeTls {
    /// The node's certificate, then the service's; DER.
    pub chain: Vec<Vec<u8>>,
    /// The node's private key, PKCS#8 DER.
    pub key_pkcs8: zeroize::Zeroizing<Vec<u8>>,
}

/// TLS settings of the listener.
///
/// # Errors
///
/// If the key does not belong to the certificate or is of an unknown kind.
pub fn server_config(node: &NodeTls) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = node.chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(node.key_pkcs8.to_vec()));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        // Every suite that the provider has for 1.2 is ECDHE with an AEAD cipher; a test says so.
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Arc::new(AnyWellFormed { provider }))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    // Every connection is a full handshake: no ticket outlives a change of members.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Accepts any readable certificate whose key signed the handshake.
#[derive(Debug)]
struct AnyWellFormed {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyWellFormed {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // Which bounds its size.
        match crypto::x509::Certificate::from_der(end_entity) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(_) => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_of_every_version_is_aead_with_fresh_keys() {
        for suite in aws_lc_rs::default_provider().cipher_suites {
            let name = format!("{:?}", suite.suite());
            let aead = name.contains("_GCM_") || name.contains("CHACHA20_POLY1305");
            let fresh = suite.tls13().is_some() || name.starts_with("TLS_ECDHE_");
            assert!(aead && fresh, "{name}");
        }
    }
}
