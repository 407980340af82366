//! One keep-alive HTTPS connection, pinned to a service certificate.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use kv::TxId;
use model::ServiceId;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::api_error::ClientError;
use crate::continuity::{self, Patience, Shown};
use crate::memory::Memory;
use crate::service_certificate::ServiceCertificate;

/// Largest answer that is read, in bytes.
const ANSWER_SIZE_MAX: usize = 64 << 20;
/// Longest wait for an answer: a write under load, or a slow receipt.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for a TCP connection and the TLS handshake, with a busy machine at either end.
const CONNECT_WAIT: Duration = Duration::from_secs(30);

/// A client certificate with its key, both PEM.
pub struct Identity {
    /// The certificate.
    pub cert_pem: String,
    /// The private key, PKCS#8 or SEC1.
    pub key_pem: zeroize::Zeroizing<String>,
}

/// An answer with a status below 300.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `x-ms-ccf-transaction-id`, if the answer has one.
    pub tx_id: Option<TxId>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unexpected`] if it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|e| ClientError::Unexpected(format!("not the JSON promised: {e}")))
    }
}

/// A connection to one node. Calls are made one after another; clone the settings with
/// [`Connection::again`] for parallel ones.
pub struct Connection {
    settings: Arc<Settings>,
    sender: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

#[derive(Clone)]
struct Settings {
    authority: String,
    server_name: ServerName<'static>,
    tls: TlsConnector,
    known: Known,
    bearer: Option<Arc<Bearer>>,
    /// What was seen of the service: a node that cannot show it is not spoken to.
    memory: Option<Memory>,
}

/// Who may answer.
#[derive(Clone)]
pub(crate) enum Known {
    /// Nodes whose certificates this service issued.
    Service(ServiceCertificate),
    /// Whoever holds the key of this one certificate, PEM; empty while it is only being found out.
    Exactly(String),
}

/// A token, and the header it travels in.
struct Bearer {
    header: HeaderName,
    token: zeroize::Zeroizing<String>,
}

impl Connection {
    /// Prepares a connection to `address` (`https://host:port`) that accepts only nodes endorsed by
    /// the service certificate in `service_cert_pem`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if address, certificate or identity cannot be read.
    pub fn new(
        address: &str,
        service_cert_pem: &str,
        identity: Option<&Identity>,
    ) -> Result<Self, ClientError> {
        Self::with_bearer(address, service_cert_pem, identity, None)
    }

    /// As [`Connection::new`], sending `Authorization: Bearer` with every call.
    ///
    /// # Errors
    ///
    /// As [`Connection::new`].
    pub fn with_bearer(
        address: &str,
        service_cert_pem: &str,
        identity: Option<&Identity>,
        bearer: Option<String>,
    ) -> Result<Self, ClientError> {
        let bearer = bearer.map(|token| (header::AUTHORIZATION, token));
        let service = ServiceCertificate::from_pem(service_cert_pem)?;
        let tls = tls_settings(&service, identity)?;
        Self::with_tls(address, Known::Service(service), tls, bearer)
    }

    /// A connection to a party that is known by exactly one certificate: the launcher after its
    /// evidence was verified ([`crate::discovery`]), or an endpoint that a document pins. `bearer`
    /// is a header and the token it carries.
    ///
    /// # Errors
    ///
    /// As [`Connection::new`].
    pub fn pinned(
        address: &str,
        certificate_pem: &str,
        bearer: Option<(HeaderName, String)>,
    ) -> Result<Self, ClientError> {
        let tls = crate::discovery::exact_certificate(certificate_pem)?;
        Self::with_tls(address, Known::Exactly(certificate_pem.to_owned()), tls, bearer)
    }

    pub(crate) fn with_tls(
        address: &str,
        known: Known,
        tls: ClientConfig,
        bearer: Option<(HeaderName, String)>,
    ) -> Result<Self, ClientError> {
        let authority = address
            .strip_prefix("https://")
            .map(|rest| rest.trim_end_matches('/').to_owned())
            .ok_or_else(|| ClientError::Usage(format!("address {address} does not start with https://")))?;
        let host = authority
            .rsplit_once(':')
            .map_or(authority.as_str(), |(host, _)| host);
        let server_name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| ClientError::Usage(format!("{host} is not a host name or address")))?;
        let settings = Settings {
            authority,
            server_name,
            tls: TlsConnector::from(Arc::new(tls)),
            known,
            bearer: bearer.map(|(header, token)| {
                Arc::new(Bearer {
                    header,
                    token: zeroize::Zeroizing::new(token),
                })
            }),
            memory: None,
        };
        Ok(Self {
            settings: Arc::new(settings),
            sender: Mutex::new(None),
        })
    }

    /// Another connection with the same settings.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            sender: Mutex::new(None),
        }
    }

    /// The same, speaking only to nodes that have what `memory` knows of the service: each is asked
    /// before anything else is sent to it.
    #[must_use]
    pub fn remembering(self, memory: Memory) -> Self {
        let settings = Settings {
            memory: Some(memory),
            ..(*self.settings).clone()
        };
        Self {
            settings: Arc::new(settings),
            sender: Mutex::new(None),
        }
    }

    /// The latest transaction of the service that was seen before; `None` without a memory.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] if the memory cannot be read.
    pub fn seen(&self) -> Result<Option<TxId>, ClientError> {
        let Some(memory) = &self.settings.memory else {
            return Ok(None);
        };
        Ok(memory.seen(&self.service()?)?.map(|seen| seen.transaction_id))
    }

    /// Keeps the latest that the node has committed, to be asked for at the next connection. What
    /// was answered on this connection before is part of it. Without a memory nothing happens.
    ///
    /// # Errors
    ///
    /// [`ClientError::Forked`], [`ClientError::Verification`] if its receipt does not hold, or
    /// [`ClientError::Usage`] if the memory cannot be written.
    pub async fn remember(&self) -> Result<(), ClientError> {
        let Some(memory) = &self.settings.memory else {
            return Ok(());
        };
        match continuity::latest(self).await? {
            Some(seen) => memory.keep(&self.service()?, seen),
            None => Ok(()),
        }
    }

    /// Has the node show a transaction of its service, by a receipt that verifies. Nothing is kept of
    /// it: for those who were told by others what to ask for.
    ///
    /// # Errors
    ///
    /// [`ClientError::Forked`] if the node says that there is none, or shows nothing in time.
    pub async fn require(&self, id: TxId) -> Result<(), ClientError> {
        let patience = Patience::begin();
        loop {
            let answer = self.get(&continuity::receipt_path(id)).await;
            match continuity::judge(answer, id, None, self.service_cert_pem())? {
                Shown::Same => return Ok(()),
                Shown::Nothing(said) => patience.wait(id, &said).await?,
            }
        }
    }

    /// The certificate this connection is pinned to, PEM.
    #[must_use]
    pub fn service_cert_pem(&self) -> &str {
        match &self.settings.known {
            Known::Service(service) => &service.pem,
            Known::Exactly(pem) => pem,
        }
    }

    /// The service whose nodes alone may answer here, as TLS verifies them: SHA-256 of the key of
    /// the only trust anchor. Two connections are to one service if and only if these are equal,
    /// also across a renewal of the certificate.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`] on a connection that is pinned to one certificate and to no service.
    pub fn service(&self) -> Result<ServiceId, ClientError> {
        Ok(self.pinned_service()?.service)
    }

    fn pinned_service(&self) -> Result<&ServiceCertificate, ClientError> {
        match &self.settings.known {
            Known::Service(service) => Ok(service),
            Known::Exactly(_) => Err(ClientError::Usage(
                "this connection is to one certificate and not to a service".to_owned(),
            )),
        }
    }

    /// SHA-256 of that certificate's DER.
    ///
    /// # Errors
    ///
    /// As [`Connection::service`].
    pub fn service_cert_digest(&self) -> Result<model::Digest, ClientError> {
        Ok(self.pinned_service()?.digest)
    }

    /// `GET path`.
    ///
    /// # Errors
    ///
    /// [`ClientError`], see [`Connection::send`].
    pub async fn get(&self, path: &str) -> Result<Reply, ClientError> {
        self.send(Method::GET, path, None, Bytes::new()).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    ///
    /// [`ClientError`], see [`Connection::send`].
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Reply, ClientError> {
        self.send(Method::POST, path, Some("application/json"), json_bytes(body)?)
            .await
    }

    /// `POST path` without a body.
    ///
    /// # Errors
    ///
    /// [`ClientError`], see [`Connection::send`].
    pub async fn post_empty(&self, path: &str) -> Result<Reply, ClientError> {
        self.send(Method::POST, path, None, Bytes::new()).await
    }

    /// `PUT path` with a JSON body.
    ///
    /// # Errors
    ///
    /// [`ClientError`], see [`Connection::send`].
    pub async fn put(&self, path: &str, body: &impl Serialize) -> Result<Reply, ClientError> {
        self.send(Method::PUT, path, Some("application/json"), json_bytes(body)?)
            .await
    }

    /// Sends one request and reads the whole answer.
    ///
    /// A request that found its kept-alive connection closed before anything was answered is sent
    /// once more on a fresh one, if it changes nothing (GET).
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`] for statuses from 300 up, [`ClientError::Unreachable`] when there is no
    /// answer; the request may then have been executed.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Reply, ClientError> {
        let mut slot = self.sender.lock().await;
        let reused = slot.as_ref().is_some_and(|sender| !sender.is_closed());
        let first = self
            .attempt(&mut slot, &method, path, content_type, body.clone())
            .await;
        match first {
            Err(ClientError::Unreachable { .. }) if reused && method == Method::GET => {
                *slot = None;
                self.attempt(&mut slot, &method, path, content_type, body).await
            }
            other => other,
        }
    }

    async fn attempt(
        &self,
        slot: &mut Option<SendRequest<Full<Bytes>>>,
        method: &Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Reply, ClientError> {
        let mut sender = match slot.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.checked_connect().await?,
        };
        let reply = self.answer(&mut sender, method, path, content_type, body).await?;
        *slot = Some(sender);
        if reply.status < 300 {
            Ok(reply)
        } else {
            Err(ClientError::from_answer(reply.status, &reply.body))
        }
    }

    /// A fresh connection, to a node that has what was seen of its service.
    async fn checked_connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let mut sender = self.connect().await?;
        let Some(memory) = &self.settings.memory else {
            return Ok(sender);
        };
        let Some(seen) = memory.seen(&self.service()?)? else {
            return Ok(sender);
        };
        let path = continuity::receipt_path(seen.transaction_id);
        let patience = Patience::begin();
        loop {
            let answer = self
                .answer(&mut sender, &Method::GET, &path, None, Bytes::new())
                .await?;
            let answer = if answer.status < 300 {
                Ok(answer)
            } else {
                Err(ClientError::from_answer(answer.status, &answer.body))
            };
            let id = seen.transaction_id;
            match continuity::judge(answer, id, Some(seen.root), self.service_cert_pem())? {
                Shown::Same => return Ok(sender),
                Shown::Nothing(said) => patience.wait(id, &said).await?,
            }
        }
    }

    async fn answer(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        method: &Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Reply, ClientError> {
        let request = self.request(method, path, content_type, body)?;
        tokio::time::timeout(ANSWER_WAIT, self.exchange(sender, request))
            .await
            .map_err(|_| self.unreachable(&format!("no answer within {} s", ANSWER_WAIT.as_secs())))?
    }

    async fn exchange(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, ClientError> {
        sender.ready().await.map_err(|e| self.unreachable(&e))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| self.unreachable(&e))?;
        let status = response.status().as_u16();
        let tx_id = response
            .headers()
            .get("x-ms-ccf-transaction-id")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let body = whole(response.into_body())
            .await
            .map_err(|e| self.unreachable(&e))?;
        Ok(Reply { status, tx_id, body })
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.settings.authority);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(bearer) = &self.settings.bearer {
            request = request.header(&bearer.header, format!("Bearer {}", bearer.token.as_str()));
        }
        request
            .body(Full::new(body))
            .map_err(|e| ClientError::Usage(format!("cannot make a request for {path}: {e}")))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let handshake = async {
            let tcp = TcpStream::connect(&self.settings.authority)
                .await
                .map_err(|e| self.unreachable(&e))?;
            tcp.set_nodelay(true).map_err(|e| self.unreachable(&e))?;
            let tls = self
                .settings
                .tls
                .connect(self.settings.server_name.clone(), tcp)
                .await
                .map_err(|e| self.unreachable(&e))?;
            hyper::client::conn::http1::handshake(TokioIo::new(tls))
                .await
                .map_err(|e| self.unreachable(&e))
        };
        let (sender, connection) = tokio::time::timeout(CONNECT_WAIT, handshake)
            .await
            .map_err(|_| self.unreachable(&format!("no connection within {} s", CONNECT_WAIT.as_secs())))??;
        // The connection ends when its sender is dropped; its error, if any, reaches the caller
        // through the pending request.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreachable {
            address: self.settings.authority.clone(),
            reason: reason.to_string(),
        }
    }
}

/// A whole answer, if it is not too large.
async fn whole<B>(body: B) -> Result<Bytes, String>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    match Limited::new(body, ANSWER_SIZE_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(format!("its answer has more than {ANSWER_SIZE_MAX} bytes"))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn json_bytes(body: &impl Serialize) -> Result<Bytes, ClientError> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|e| ClientError::Usage(format!("cannot serialise: {e}")))
}

fn tls_settings(
    service: &ServiceCertificate,
    identity: Option<&Identity>,
) -> Result<ClientConfig, ClientError> {
    let usage = |what: &str, e: &dyn std::fmt::Display| ClientError::Usage(format!("cannot use {what}: {e}"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| usage("TLS 1.3", &e))?
        .with_root_certificates(service.anchors.clone());
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let cert = CertificateDer::from_pem_slice(identity.cert_pem.as_bytes())
        .map_err(|e| usage("the client certificate", &e))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|e| usage("the client key", &e))?;
    builder
        .with_client_auth_cert(vec![cert], key)
        .map_err(|e| usage("the client certificate and key", &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_of_the_most_bytes_is_read_and_one_byte_more_is_not() {
        let of_size = async |size: usize| whole(Full::new(Bytes::from(vec![0; size]))).await;
        assert_eq!(of_size(ANSWER_SIZE_MAX).await.unwrap().len(), ANSWER_SIZE_MAX);
        let refused = of_size(ANSWER_SIZE_MAX + 1).await.unwrap_err();
        assert_eq!(refused, "its answer has more than 67108864 bytes");
    }
}
