//! One keep-alive HTTP/1.1 connection over TLS 1.3, with as little work of its own as possible:
//! the generator shares its cores with the node that it measures.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longest head of an answer, in bytes.
const HEAD_SIZE_MAX: usize = 16 << 10;

/// Where to connect, and as whom.
#[derive(Clone)]
pub(crate) struct Dial {
    authority: String,
    tls: TlsConnector,
}

/// A connection.
pub(crate) struct Wire {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// `x-ms-ccf-transaction-id`.
    pub(crate) tx_id: Option<String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Dial {
    /// The same without a certificate.
    pub(crate) fn nobody(authority: &str, service_cert_pem: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(service_cert_pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            authority: authority.to_owned(),
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Prepares connections to `authority` (`host:port`) that trust the service certificate alone
    /// and show the client certificate given.
    pub(crate) fn new(authority: &str, service_cert_pem: &str, identity: &client::Identity) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(service_cert_pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(identity.cert_pem.as_bytes())?],
                PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?,
            )?;
        Ok(Self {
            authority: authority.to_owned(),
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Opens a connection.
    pub(crate) async fn open(&self) -> Result<Wire> {
        let tcp = TcpStream::connect(&self.authority).await?;
        tcp.set_nodelay(true)?;
        Ok(Wire {
            stream: self.shake_hands(tcp).await?,
            buffer: Vec::with_capacity(HEAD_SIZE_MAX),
        })
    }

    /// Shakes hands on a connection that somebody made.
    pub(crate) async fn shake_hands(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>> {
        let host = self.authority.rsplit_once(':').map_or("", |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())?;
        Ok(self.tls.connect(name, tcp).await?)
    }
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let media = if length == 0 {
        ""
    } else {
        "content-type: application/json\r\n"
    };
    format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n{media}content-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

impl Wire {
    /// Sends a request and reads its whole answer, whatever its status.
    pub(crate) async fn call(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        let head_size = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at.saturating_add(4);
            }
            if self.buffer.len() > HEAD_SIZE_MAX {
                bail!("the head of an answer is longer than {HEAD_SIZE_MAX} bytes");
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(self.buffer.get(..head_size).unwrap_or_default()).into_owned();
        let (status, tx_id, length) = read_head(&head)?;
        let whole = head_size.saturating_add(length);
        while self.buffer.len() < whole {
            self.more().await?;
        }
        let body = self.buffer.get(head_size..whole).unwrap_or_default().to_vec();
        Ok(Answer { status, tx_id, body })
    }

    /// As [`Wire::call`]; statuses from 300 up are errors that quote the answer.
    pub(crate) async fn expect(&mut self, request: &[u8]) -> Result<Answer> {
        let answer = self.call(request).await?;
        if answer.status >= 300 {
            bail!(
                "HTTP {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
        Ok(answer)
    }

    async fn more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the node closed the connection");
        }
        Ok(())
    }
}

fn read_head(head: &str) -> Result<(u16, Option<String>, usize)> {
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no status in {head:?}"))?;
    let mut tx_id = None;
    let mut length = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse()?;
        } else if name.eq_ignore_ascii_case("x-ms-ccf-transaction-id") {
            tx_id = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("chunked answers are not read here");
        }
    }
    Ok((status, tx_id, length))
}
