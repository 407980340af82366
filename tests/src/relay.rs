//! Somebody in the middle: a service identity of its own, and a TLS listener that hands on every
//! byte to the real ledger, or to nobody, and writes down what it was sent.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use crypto::native::issue::{Validity, node_certificate, self_signed_service};
use crypto::native::{Curve, EcKeyPair};
use crypto::x509::Certificate;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A relay that listens; it ends with the test.
pub struct Relay {
    /// `https://host:port`.
    pub address: String,
    /// File with the certificate of the service that it pretends to be.
    pub service_cert: PathBuf,
    heard: Arc<Mutex<Heard>>,
}

/// What reached a relay.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// TCP connections.
    pub connections: u64,
    /// Everything that callers sent inside TLS.
    pub sent: Vec<u8>,
}

/// Where the bytes go.
struct Onward {
    authority: String,
    tls: TlsConnector,
}

impl Relay {
    /// Makes an identity in `dir` and listens. With `ledger` (address and certificate of the real
    /// service) every byte is handed on, without it callers get no answer.
    ///
    /// # Errors
    ///
    /// If keys cannot be made or the port cannot be had.
    pub async fn start(dir: &Path, ledger: Option<(&str, &str)>) -> Result<Self> {
        let validity = Validity {
            not_before: client::governance::unix_now_s().saturating_sub(3600),
            days: 2,
        };
        let key = EcKeyPair::generate(Curve::P384)?;
        let authority = self_signed_service(&key, "CN=relay", validity)?;
        let node = EcKeyPair::generate(Curve::P256)?;
        let leaf = node_certificate(
            node.spki_der(),
            "relay",
            &["127.0.0.1".to_owned()],
            validity,
            &key,
            &Certificate::from_pem(&authority)?,
        )?;
        let service_cert = dir.join("relay_cert.pem");
        std::fs::write(&service_cert, &authority)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let settings = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(leaf.as_bytes())?],
                PrivatePkcs8KeyDer::from(node.to_pkcs8_der()?.to_vec()).into(),
            )?;
        let onward = ledger.map(|(address, pem)| onward(address, pem)).transpose()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("https://{}", listener.local_addr()?);
        let heard = Arc::<Mutex<Heard>>::default();
        tokio::spawn(listen(
            listener,
            TlsAcceptor::from(Arc::new(settings)),
            onward.map(Arc::new),
            Arc::clone(&heard),
        ));
        Ok(Self {
            address,
            service_cert,
            heard,
        })
    }

    /// What reached it so far.
    #[must_use]
    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn onward(address: &str, pem: &str) -> Result<Onward> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let settings = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Onward {
        authority: address
            .strip_prefix("https://")
            .context("an https address")?
            .to_owned(),
        tls: TlsConnector::from(Arc::new(settings)),
    })
}

async fn listen(
    listener: TcpListener,
    tls: TlsAcceptor,
    onward: Option<Arc<Onward>>,
    heard: Arc<Mutex<Heard>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        note(&heard, |heard| heard.connections += 1);
        let (tls, onward, heard) = (tls.clone(), onward.clone(), Arc::clone(&heard));
        tokio::spawn(async move { carry(stream, &tls, onward.as_deref(), &heard).await.ok() });
    }
}

fn note(heard: &Mutex<Heard>, change: impl FnOnce(&mut Heard)) {
    change(&mut heard.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn carry(
    stream: TcpStream,
    tls: &TlsAcceptor,
    onward: Option<&Onward>,
    heard: &Mutex<Heard>,
) -> Result<()> {
    let stream = tls.accept(stream).await?;
    let (mut from_caller, mut to_caller) = tokio::io::split(stream);
    let mut buffer = vec![0; 16 * 1024];
    let Some(onward) = onward else {
        loop {
            let length = from_caller.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            note(heard, |heard| heard.sent.extend(buffer.iter().take(length)));
        }
    };
    let tcp = TcpStream::connect(&onward.authority).await?;
    let host = onward
        .authority
        .rsplit_once(':')
        .map_or("", |(host, _)| host)
        .to_owned();
    let ledger = onward.tls.connect(ServerName::try_from(host)?, tcp).await?;
    let (mut from_ledger, mut to_ledger) = tokio::io::split(ledger);
    let there = async {
        loop {
            let length = from_caller.read(&mut buffer).await?;
            if length == 0 {
                return Ok::<_, std::io::Error>(());
            }
            let bytes = buffer.get(..length).unwrap_or_default();
            note(heard, |heard| heard.sent.extend(bytes));
            to_ledger.write_all(bytes).await?;
            to_ledger.flush().await?;
        }
    };
    let back = tokio::io::copy(&mut from_ledger, &mut to_caller);
    tokio::select! {
        ended = there => ended?,
        ended = back => { ended?; }
    }
    Ok(())
}
