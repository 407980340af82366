//! Bytes that mean nothing, from seeds, and a raw TLS connection to send them over.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for a node to answer or hang up.
const WAIT: Duration = Duration::from_secs(60);
/// Most bytes of an answer that are kept.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Numbers from a seed (SplitMix64): the same seed, the same garbage.
#[derive(Clone, Debug)]
pub struct Seeded(pub u64);

impl Seeded {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.number() % end).unwrap_or_default()
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number().to_le_bytes()[0]).collect()
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// Sends `bytes` over TLS to `address` (`https://host:port`) and gives what comes back until the
/// node hangs up; an answer that is cut off is as good as any.
///
/// # Errors
///
/// If no TLS connection can be made, or the node neither answers nor hangs up.
pub async fn send(address: &str, service_cert_pem: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let authority = address.strip_prefix("https://").context("an https address")?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(service_cert_pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(authority).await?;
    let name = ServerName::try_from(host.to_owned())?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let mut answer = Vec::new();
    let exchange = async {
        // The node may hang up at any byte; what it said before counts.
        if stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() {
            let _ = stream.shutdown().await;
        }
        let _ = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
    };
    tokio::time::timeout(WAIT, exchange)
        .await
        .context("the node neither answers nor hangs up")?;
    Ok(answer)
}
