//! Somebody on the wire who cannot read it: hands on every byte, and counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A listener before another one; it ends with the test.
pub struct Passage {
    /// `https://host:port`.
    pub address: String,
    counted: Arc<Counted>,
}

#[derive(Default)]
struct Counted {
    connections: AtomicU64,
    sent: AtomicU64,
}

impl Passage {
    /// Listens before `address`.
    ///
    /// # Errors
    ///
    /// If the port cannot be had.
    pub async fn to(address: &str) -> Result<Self> {
        let onward = address.strip_prefix("https://").context("an https address")?;
        let onward = onward.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("https://{}", listener.local_addr()?);
        let counted = Arc::<Counted>::default();
        let counting = Arc::clone(&counted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counting.connections.fetch_add(1, Ordering::Relaxed);
                let (onward, counting) = (onward.clone(), Arc::clone(&counting));
                tokio::spawn(async move { carry(stream, &onward, &counting).await.ok() });
            }
        });
        Ok(Self { address, counted })
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counted.connections.load(Ordering::Relaxed)
    }

    /// Bytes that callers sent so far, handshakes and all.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.counted.sent.load(Ordering::Relaxed)
    }
}

async fn carry(caller: TcpStream, onward: &str, counted: &Counted) -> Result<()> {
    let (mut from_caller, mut to_caller) = caller.into_split();
    let (mut from_there, mut to_there) = TcpStream::connect(onward).await?.into_split();
    let there = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = from_caller.read(&mut buffer).await?;
            if length == 0 {
                return Ok::<_, std::io::Error>(());
            }
            counted
                .sent
                .fetch_add(u64::try_from(length).unwrap_or(u64::MAX), Ordering::Relaxed);
            to_there
                .write_all(buffer.get(..length).unwrap_or_default())
                .await?;
        }
    };
    tokio::select! {
        ended = there => ended?,
        ended = tokio::io::copy(&mut from_there, &mut to_caller) => { ended?; }
    }
    Ok(())
}
