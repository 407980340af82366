//! A TLS client of a few lines, pinned to the service certificate, that can also misbehave.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests; each file uses its part"
)]

pub(crate) mod echo;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crypto::native::EcKeyPair;
use crypto::native::issue::Validity;
use crypto::x509::Certificate;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn validity() -> Validity {
    Validity {
        not_before: unix_now() - 60,
        days: 2,
    }
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Status and error code, as `404 ResourceNotFound`.
    pub(crate) fn code(&self) -> String {
        let body = serde_json::from_slice::<serde_json::Value>(&self.body).unwrap_or_default();
        let code = body.pointer("/error/code").and_then(serde_json::Value::as_str);
        format!("{} {}", self.status, code.unwrap_or("-"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A node as its callers know it.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) service_der: Vec<u8>,
}

impl Peer {
    pub(crate) async fn connect(
        &self,
        identity: Option<CertifiedKey>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_for(identity, &[]).await
    }

    /// A connection that was agreed to speak h2.
    pub(crate) async fn connect_h2(&self) -> TlsStream<TcpStream> {
        let stream = self.connect_for(None, &[b"h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        stream
    }

    async fn connect_for(
        &self,
        identity: Option<CertifiedKey>,
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tls13 = &[&rustls::version::TLS13];
        self.connect_as([127, 0, 0, 1], identity, protocols, tls13).await
    }

    /// A connection under these versions of TLS.
    pub(crate) async fn connect_by(
        &self,
        identity: Option<CertifiedKey>,
        protocols: &[&[u8]],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_as([127, 0, 0, 1], identity, protocols, versions)
            .await
    }

    /// From another address of this machine: 127.0.0.0/8 is all its own.
    pub(crate) async fn connect_from(&self, from: [u8; 4]) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_as(from, None, &[], &[&rustls::version::TLS13]).await
    }

    async fn connect_as(
        &self,
        from: [u8; 4],
        identity: Option<CertifiedKey>,
        protocols: &[&[u8]],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.service_der.clone())).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Always(Arc::new(identity)))),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = socket.connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Sends these bytes on a fresh connection and gives everything that comes back.
    pub(crate) async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect(None).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // The listener may close without a TLS goodbye after refusing.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Reply {
        self.send_as(None, method, path, content_type, body).await
    }

    async fn send_as(
        &self,
        identity: Option<CertifiedKey>,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Reply {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = self.connect(identity).await.unwrap();
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        Reply {
            status: head[9..12].parse().unwrap(),
            body: answer[end + 4..].to_vec(),
            head,
        }
    }

    pub(crate) async fn get_as(&self, path: &str, identity: CertifiedKey) -> Reply {
        self.send_as(Some(identity), "GET", path, "application/json", b"")
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "application/json", b"").await
    }
}

/// Shows its certificate whoever asks, whether or not the key belongs to it.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

pub(crate) fn certified(certificate: &str, key: &EcKeyPair) -> CertifiedKey {
    let der = Certificate::from_pem(certificate).unwrap().der().to_vec();
    let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_pkcs8_der().unwrap().to_vec()));
    let signer = aws_lc_rs::sign::any_supported_type(&pkcs8).unwrap();
    CertifiedKey::new(vec![CertificateDer::from(der)], signer)
}
