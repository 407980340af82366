//! Workloads that prove by evidence what they are: pods and the launcher.
//!
//! A [`Workload`] has one RSA key pair. Each call takes a service nonce, binds nonce and key into
//! fresh evidence, and unwraps the answer with the key (decisions 5, 6, 16, 18). Nothing but the
//! process that holds the key can read what comes back.
//!
//! The evidence names one service besides, fixed when the key pair is made (decision 43): a node of
//! another service that hands on a nonce of the first gets evidence which the first refuses.

use crypto::native::wrap::unwrap;
use crypto::native::{RsaBits, RsaKeyPair};
use http::Method;
use model::ServiceId;
use model::attested::{AttestedBody, Bound, NONCE_BYTES, report_data, signed_text};
use model::b64;
use model::evidence::{EncryptTo, Platform, SignedBy};
use serde::Deserialize;
use serde_json::Value as JsonValue;
use zeroize::Zeroizing;

use crate::api_error::ClientError;
use crate::connection::{Connection, Reply};

/// Makes evidence that binds 64 bytes of report data: platform, and its `attestation` object.
pub type Collect = dyn Fn([u8; 64]) -> Result<(Platform, JsonValue), String> + Send + Sync;

/// A workload with its key pair, the service it works for, and its source of evidence.
pub struct Workload {
    key: RsaKeyPair,
    public_pem: String,
    service: ServiceId,
    collect: Box<Collect>,
}

#[derive(Deserialize)]
struct Nonce {
    #[serde(with = "model::b64")]
    nonce: Vec<u8>,
}

#[derive(Deserialize)]
struct Wrapped {
    value: String,
}

impl Workload {
    /// A workload of `service` with a fresh key pair of 2048 bits, the size that the reference's
    /// clients unwrap. [`Connection::service`] says which service TLS verifies; calls over
    /// connections to another one are refused.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if the key cannot be made.
    pub fn new(service: ServiceId, collect: Box<Collect>) -> Result<Self, ClientError> {
        let key = RsaKeyPair::generate(RsaBits::B2048)
            .map_err(|e| ClientError::Usage(format!("cannot make a key: {e}")))?;
        // The bound text has no trailing newline; adding one would change its digest.
        let public_pem = key.public_pem().trim_end().to_owned();
        Ok(Self {
            key,
            public_pem,
            service,
            collect,
        })
    }

    /// The public key that the evidence binds, PEM without a trailing newline.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The service that this workload's evidence names.
    #[must_use]
    pub const fn service(&self) -> ServiceId {
        self.service
    }

    /// RSA-PSS (SHA-256, salt 32) by the attested key.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if the key cannot sign.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.key
            .sign_pss_sha256(message)
            .map_err(|e| ClientError::Usage(format!("cannot sign: {e}")))
    }

    /// Evidence for a launcher's users: it binds the certificate and the service that is served
    /// (decision 44).
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] with what the platform said.
    pub fn serving(&self, certificate_pem: &str) -> Result<(Platform, JsonValue), ClientError> {
        self.evidence(report_data(
            certificate_pem,
            Bound::Serves(&self.service),
            crypto::sha256,
        ))
    }

    fn evidence(&self, report_data: [u8; 64]) -> Result<(Platform, JsonValue), ClientError> {
        (self.collect)(report_data).map_err(|reason| ClientError::Usage(format!("no evidence: {reason}")))
    }

    /// An attested read or release: posts fresh evidence with the fields of `extra`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`], for instance `VerifySnpAttestationFailed` with the claim that failed.
    pub async fn post(
        &self,
        connection: &Connection,
        path: &str,
        extra: &JsonValue,
    ) -> Result<Reply, ClientError> {
        let (body, _) = self.body(connection).await?;
        self.submit(connection, Method::POST, path, body, extra).await
    }

    /// As [`Workload::post`], and unwraps `value` of the answer with the attested key.
    ///
    /// # Errors
    ///
    /// As [`Workload::post`]; [`ClientError::Verification`] if the answer is not wrapped to our key.
    pub async fn release(
        &self,
        connection: &Connection,
        path: &str,
        extra: &JsonValue,
    ) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let wrapped: Wrapped = self.post(connection, path, extra).await?.json()?;
        let bytes = b64::decode(&wrapped.value)
            .map_err(|e| ClientError::Unexpected(format!("value is not base64: {e}")))?;
        unwrap(&self.key, &bytes)
            .map_err(|e| ClientError::Verification(format!("cannot unwrap the answer: {e}")))
    }

    /// An attested write: signs `data` together with method, path, nonce and time (decision 18).
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`], for instance `TimestampOutOfRange`.
    pub async fn write(
        &self,
        connection: &Connection,
        method: Method,
        path: &str,
        data: &[u8],
    ) -> Result<Reply, ClientError> {
        let (mut body, nonce) = self.body(connection).await?;
        let timestamp = unix_now_ms().to_string();
        let message = signed_text(method.as_str(), path, &nonce, &timestamp, &crypto::sha256(data));
        let signature = self.sign(message.as_bytes())?;
        body.data = Some(b64::encode(data));
        body.timestamp = Some(JsonValue::String(timestamp));
        body.sign = Some(SignedBy {
            public_key: b64::encode(self.public_pem.as_bytes()),
            signature: b64::encode(&signature),
        });
        self.submit(connection, method, path, body, &JsonValue::Null)
            .await
    }

    async fn body(&self, connection: &Connection) -> Result<(AttestedBody, String), ClientError> {
        if connection.service()? != self.service {
            return Err(ClientError::Usage(
                "this workload works for another service than this connection leads to".to_owned(),
            ));
        }
        let nonce: Nonce = connection.post_empty("/app/attestation/nonce").await?.json()?;
        let nonce: [u8; NONCE_BYTES] = nonce
            .nonce
            .try_into()
            .map_err(|_| ClientError::Unexpected("the nonce has not 32 bytes".to_owned()))?;
        let bound = Bound::Nonce {
            nonce: &nonce,
            service: &self.service,
        };
        let (platform, attestation) = self.evidence(report_data(&self.public_pem, bound, crypto::sha256))?;
        let nonce = b64::encode(&nonce);
        let body = AttestedBody {
            platform: Some(platform.as_str().to_owned()),
            attestation: Some(attestation),
            encrypt: Some(EncryptTo {
                public_key: b64::encode(self.public_pem.as_bytes()),
            }),
            nonce: Some(nonce.clone()),
            ..AttestedBody::default()
        };
        Ok((body, nonce))
    }

    async fn submit(
        &self,
        connection: &Connection,
        method: Method,
        path: &str,
        body: AttestedBody,
        extra: &JsonValue,
    ) -> Result<Reply, ClientError> {
        let mut tree = serde_json::to_value(&body).map_err(|e| ClientError::Usage(e.to_string()))?;
        if let (Some(fields), Some(more)) = (tree.as_object_mut(), extra.as_object()) {
            fields.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        let bytes = serde_json::to_vec(&tree).map_err(|e| ClientError::Usage(e.to_string()))?;
        connection
            .send(method, path, Some("application/json"), bytes.into())
            .await
    }
}

fn unix_now_ms() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}
