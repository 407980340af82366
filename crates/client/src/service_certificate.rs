//! The certificate that stands for a service, as this process's TLS understands it.
//!
//! Whoever operates a pod or launcher chooses the file it is read from. Evidence names the service
//! that the process speaks to (decision 43), so file, trust anchor and name must be one thing:
//! exactly one certificate, and the name is made of the very key that handshakes are checked with.

use crypto::x509::Certificate;
use model::{Digest, ServiceId};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::api_error::ClientError;

/// One trust anchor, with what it is called.
#[derive(Clone, Debug)]
pub(crate) struct ServiceCertificate {
    pub(crate) anchors: RootCertStore,
    /// The canonical text.
    pub(crate) pem: String,
    /// SHA-256 of the certificate.
    pub(crate) digest: Digest,
    /// SHA-256 of its key.
    pub(crate) service: ServiceId,
}

impl ServiceCertificate {
    pub(crate) fn from_pem(text: &str) -> Result<Self, ClientError> {
        let unusable = |why: &dyn std::fmt::Display| {
            ClientError::Usage(format!("cannot use the service certificate: {why}"))
        };
        let mut found = CertificateDer::pem_slice_iter(text.as_bytes());
        let der = found
            .next()
            .ok_or_else(|| unusable(&"there is none"))?
            .map_err(|e| unusable(&e))?;
        if found.next().is_some() {
            return Err(unusable(
                &"the file holds more than one, and evidence names one service alone",
            ));
        }
        let certificate = Certificate::from_der(&der).map_err(|e| unusable(&e))?;
        let mut anchors = RootCertStore::empty();
        anchors.add(der).map_err(|e| unusable(&e))?;
        let [anchor] = anchors.roots.as_slice() else {
            return Err(unusable(&"it gives no single trust anchor"));
        };
        // Two readers of one file, the second of which checks handshakes: they must see one key.
        let key = crypto::spki::from_fields(&anchor.subject_public_key_info);
        if key != certificate.spki_der() {
            return Err(unusable(&"its key is not encoded as DER demands"));
        }
        Ok(Self {
            service: ServiceId(crypto::sha256(&key)),
            pem: certificate.to_pem(),
            digest: certificate.id(),
            anchors,
        })
    }
}

#[cfg(test)]
mod tests {
    use crypto::native::issue::{Validity, self_signed_service};
    use crypto::native::{Curve, EcKeyPair};

    use super::*;

    const LONG: Validity = Validity {
        not_before: 1_700_000_000,
        days: 3650,
    };

    fn certificate(key: &EcKeyPair, name: &str) -> String {
        self_signed_service(key, name, LONG).unwrap()
    }

    #[test]
    fn a_renewed_certificate_is_the_same_service() {
        let key = EcKeyPair::generate(Curve::P384).unwrap();
        let [first, renewed] = ["CN=a", "CN=b"].map(|name| {
            let pem = certificate(&key, name);
            ServiceCertificate::from_pem(&pem).unwrap()
        });
        assert_ne!(first.digest, renewed.digest);
        assert_eq!(first.service, renewed.service);
        assert_eq!(first.service, ServiceId(crypto::sha256(key.spki_der())));
    }

    #[test]
    fn a_file_with_two_anchors_is_refused() {
        let [one, other] = [(); 2].map(|()| {
            let key = EcKeyPair::generate(Curve::P384).unwrap();
            certificate(&key, "CN=s")
        });
        assert!(ServiceCertificate::from_pem(&one).is_ok());
        for text in [
            format!("{one}{other}"),
            format!("{one}\n\n# and\n{other}"),
            format!("{one}{one}"),
            // The second is cut short: still more than one.
            format!("{one}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            String::new(),
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
        ] {
            assert!(
                matches!(ServiceCertificate::from_pem(&text), Err(ClientError::Usage(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn text_around_a_certificate_changes_nothing() {
        let key = EcKeyPair::generate(Curve::P384).unwrap();
        let pem = certificate(&key, "CN=s");
        let around = format!("subject=/CN=s\r\n{}", pem.replace('\n', "\r\n"));
        let plain = ServiceCertificate::from_pem(&pem).unwrap();
        let read = ServiceCertificate::from_pem(&around).unwrap();
        assert_eq!((read.pem, read.service), (plain.pem, plain.service));
    }
}
