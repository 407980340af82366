//! A store's identity: the ledger's token exchanged for one of the store's own provider.
//!
//! A document whose access point has a federated `identity` says: whoever touches this store first
//! shows its provider a token of this contract. The exchange is the OAuth 2.0 client-credentials
//! request with a JWT assertion (RFC 7523 §2.2). It comes before any data is read or written; if
//! it fails, there is no run. Source: `attestation-secrets-oidc.md` §3.2.

use client::Connection;
use http::Method;
use serde::Deserialize;
use zeroize::Zeroizing;

use cleanroom_model::analytics::FailureCode;

use crate::plan::RunError;

/// The assertion's kind, RFC 7523 §2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// What the access token is for.
const SCOPE: &str = "https://storage.azure.com/.default";

/// A federated identity of a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FederatedIdentity {
    /// The store owner's client at the provider.
    pub client_id: String,
    /// `aud` that the provider expects.
    pub audience: String,
    /// Where the assertion goes, https.
    pub token_endpoint: String,
    /// The one certificate that the endpoint may present, PEM.
    pub certificate: String,
}

/// The identity of a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not the form that is known.
    #[error("identity of the access point: {0}")]
    Form(#[from] serde_json::Error),
    /// A way to get tokens that is not built.
    #[error("identity of the access point: issuer type {0:.64} is not supported")]
    IssuerType(String),
    /// The endpoint is no https address.
    #[error("identity of the access point: tokenEndpoint must be https://host[:port]/path")]
    Endpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDocument {
    dataset_access_point: WirePoint,
}

#[derive(Deserialize)]
struct WirePoint {
    #[serde(default)]
    identity: Option<WireIdentity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIdentity {
    client_id: String,
    token_issuer: WireIssuer,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIssuer {
    issuer_type: String,
    federated_identity: WireFederated,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireFederated {
    audience: String,
    token_endpoint: String,
    certificate: String,
}

impl FederatedIdentity {
    /// The identity in a dataset document's text; `None` if its store asks for none.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] if there is one that cannot be used.
    pub fn of_document(text: &str) -> Result<Option<Self>, IdentityError> {
        let document: WireDocument = serde_json::from_str(text)?;
        let Some(identity) = document.dataset_access_point.identity else {
            return Ok(None);
        };
        let issuer = identity.token_issuer;
        if issuer.issuer_type != "FederatedIdentityBasedTokenIssuer" {
            return Err(IdentityError::IssuerType(issuer.issuer_type));
        }
        let federated = issuer.federated_identity;
        let identity = Self {
            client_id: identity.client_id,
            audience: federated.audience,
            token_endpoint: federated.token_endpoint,
            certificate: federated.certificate,
        };
        identity.endpoint().ok_or(IdentityError::Endpoint)?;
        Ok(Some(identity))
    }

    /// Address and path of the endpoint.
    fn endpoint(&self) -> Option<(String, String)> {
        let (host, path) = self.token_endpoint.strip_prefix("https://")?.split_once('/')?;
        (!host.is_empty()).then(|| (format!("https://{host}"), format!("/{path}")))
    }

    fn form(&self, assertion: &str) -> Zeroizing<String> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &self.client_id)
            .append_pair("scope", SCOPE)
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_assertion_type", ASSERTION_TYPE)
            .append_pair("client_assertion", assertion)
            .finish();
        Zeroizing::new(form)
    }

    /// Shows the assertion to the provider. The access token it gives is not used by stores of this
    /// machine, and dropped; what counts is that the store's owner let this run through.
    ///
    /// # Errors
    ///
    /// [`RunError`] if the provider refuses or cannot be reached.
    pub async fn exchange(&self, assertion: &str) -> Result<(), RunError> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
            expires_in: u64,
        }
        let failed = |why: String| RunError::new(FailureCode::KeyRefused, format!("token exchange: {why}"));
        let (address, path) = self
            .endpoint()
            .ok_or_else(|| failed(IdentityError::Endpoint.to_string()))?;
        let connection =
            Connection::pinned(&address, &self.certificate, None).map_err(|e| failed(e.to_string()))?;
        let body = self.form(assertion).as_bytes().to_vec();
        let reply = connection
            .send(
                Method::POST,
                &path,
                Some("application/x-www-form-urlencoded"),
                body.into(),
            )
            .await
            .map_err(|e| failed(e.to_string()))?;
        let granted: Granted = reply.json().map_err(|e| failed(e.to_string()))?;
        if Zeroizing::new(granted.access_token).is_empty() || granted.expires_in == 0 {
            return Err(failed("the provider granted nothing".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as JsonValue, json};

    use super::*;

    fn parse(identity: &JsonValue) -> Result<Option<FederatedIdentity>, IdentityError> {
        let document = json!({ "datasetAccessPoint": { "identity": identity } });
        FederatedIdentity::of_document(&document.to_string())
    }

    fn good() -> JsonValue {
        json!({ "name": "n", "clientId": "client", "tenantId": "t", "tokenIssuer": {
            "issuerType": "FederatedIdentityBasedTokenIssuer",
            "issuer": { "protocol": "Concordat", "url": "https://issuer" },
            "federatedIdentity": { "audience": "api://x", "tokenEndpoint": "https://127.0.0.1:1/oauth2/token",
                "certificate": "PEM" } } })
    }

    #[test]
    fn an_identity_is_read_whole_or_refused() {
        let identity = parse(&good()).unwrap().unwrap();
        assert_eq!(
            identity.endpoint(),
            Some(("https://127.0.0.1:1".to_owned(), "/oauth2/token".to_owned()))
        );
        assert_eq!(parse(&JsonValue::Null).unwrap(), None);
        for (pointer, value) in [
            ("/tokenIssuer/issuerType", json!("SecretBased")),
            (
                "/tokenIssuer/federatedIdentity/tokenEndpoint",
                json!("http://127.0.0.1:1/oauth2/token"),
            ),
            ("/tokenIssuer/federatedIdentity", json!({})),
        ] {
            let mut spoiled = good();
            *spoiled.pointer_mut(pointer).unwrap() = value;
            assert!(parse(&spoiled).is_err(), "{pointer}");
        }
    }

    #[test]
    fn the_request_has_the_fields_of_the_standard() {
        let form = parse(&good()).unwrap().unwrap().form("a.b.c");
        for field in [
            "client_id=client",
            "grant_type=client_credentials",
            "client_assertion=a.b.c",
            "scope=https%3A",
        ] {
            assert!(form.contains(field), "{field}: {}", form.as_str());
        }
    }
}
