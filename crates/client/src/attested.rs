//! Workloads that prove by evidence what they are: pods and the launcher.
//!
//! A [`Workload`] has one RSA key pair. Each call takes a service nonce, binds nonce and key into
//! fresh evidence, and unwraps the answer with the key (decisions 5, 6, 16, 18). Nothing but the
//! process that holds the key can read what comes back.

use crypto::native::wrap::unwrap;
use crypto::native::{RsaBits, RsaKeyPair};
use http::Method;
use model::b64;
use model::evidence::{AttestedBody, EncryptTo, Platform, SignedBy};
use serde::Deserialize;
use serde_json::Value as JsonValue;
use zeroize::Zeroizing;

use crate::api_error::ClientError;
use crate::connection::{Connection, Reply};

/// Makes evidence that binds 64 bytes of report data: platform, and its `attestation` object.
pub type Collect = dyn Fn([u8; 64]) -> Result<(Platform, JsonValue), String> + Send + Sync;

/// A workload with its key pair and its source of evidence.
pub struct Workload {
    key: RsaKeyPair,
    public_pem: String,
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
    /// A workload with a fresh key pair of 2048 bits, the size that the reference's clients unwrap.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if the key cannot be made.
    pub fn new(collect: Box<Collect>) -> Result<Self, ClientError> {
        let key = RsaKeyPair::generate(RsaBits::B2048)
            .map_err(|e| ClientError::Usage(format!("cannot make a key: {e}")))?;
        // The bound text has no trailing newline; adding one would change its digest.
        let public_pem = key.public_pem().trim_end().to_owned();
        Ok(Self {
            key,
            public_pem,
            collect,
        })
    }

    /// The public key that the evidence binds, PEM without a trailing newline.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
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

    /// Evidence for `report_data`, for parties other than the ledger.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] with what the platform said.
    pub fn evidence(&self, report_data: [u8; 64]) -> Result<(Platform, JsonValue), ClientError> {
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
        let message = signed_text(method.as_str(), path, &nonce, &timestamp, data);
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
        let nonce: Nonce = connection.post_empty("/app/attestation/nonce").await?.json()?;
        let mut report_data = [0; 64];
        let (key_half, nonce_half) = report_data.split_at_mut(32);
        key_half.copy_from_slice(&crypto::sha256(self.public_pem.as_bytes()).0);
        nonce_half.copy_from_slice(&crypto::sha256(&nonce.nonce).0);
        let (platform, attestation) = self.evidence(report_data)?;
        let nonce = b64::encode(&nonce.nonce);
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

/// The text under the signature of an attested write (decision 18). `path` includes the query, as
/// sent; `data` is the decoded payload.
#[must_use]
pub fn signed_text(method: &str, path: &str, nonce_b64: &str, timestamp: &str, data: &[u8]) -> String {
    let digest = crypto::sha256(data);
    format!("concordat-request-v1\n{method}\n{path}\n{nonce_b64}\n{timestamp}\n{digest}")
}

fn unix_now_ms() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_text_has_six_lines_and_no_more() {
        let text = signed_text(
            "PUT",
            "/app/contracts/c1/events?id=a",
            "bm9uY2U=",
            "1790000000000",
            b"{}",
        );
        let lines: Vec<_> = text.split('\n').collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines.first(), Some(&"concordat-request-v1"));
        assert_eq!(
            lines.last().copied(),
            Some("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
        );
    }
}
