//! The floods themselves: what a stranger sends, and from how many places.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use client::governance::MemberKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::service::Service;
use crate::wire::{Dial, request};

/// The contract whose documents are listed.
pub(crate) const CONTRACT: &str = "flooded";
/// Bytes sent of a body that never ends, of the size that it announces.
const BODY_SENT: usize = 7_000_000;
const BODY_ANNOUNCED: usize = 8_388_608;
/// How long a held connection is looked at before it is renewed if it has ended.
const HOLD: Duration = Duration::from_millis(200);

/// A flood.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flood {
    /// Bodies of proposals that are no messages (M2).
    JunkBodies,
    /// Bodies that begin as a member's message does (M2).
    ForgedHeads,
    /// The same from 64 addresses.
    ForgedHeadsOfMany,
    /// Connections that say nothing after the handshake (M3).
    Silence,
    /// Connections that never shake hands (M3).
    HalfOpen,
    /// Requests with evidence that is none (M4).
    JunkEvidence,
    /// The same from 64 addresses.
    JunkEvidenceOfMany,
    /// Listings of long documents by one user (M5).
    Listings,
    /// Readings of long documents by one user (M5).
    Readings,
}

impl Flood {
    /// Every flood, in the order of the table.
    pub(crate) const ALL: [Self; 9] = [
        Self::JunkBodies,
        Self::ForgedHeads,
        Self::ForgedHeadsOfMany,
        Self::Silence,
        Self::HalfOpen,
        Self::JunkEvidence,
        Self::JunkEvidenceOfMany,
        Self::Listings,
        Self::Readings,
    ];

    /// Its name, which `--rows` matches.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::JunkBodies => "M2 junk bodies, 100 connections",
            Self::ForgedHeads => "M2 bodies under a member's head, 100 connections",
            Self::ForgedHeadsOfMany => "M2 bodies under a member's head, 64 addresses",
            Self::Silence => "M3 silent connections, 1010",
            Self::HalfOpen => "M3 unfinished handshakes, 1010",
            Self::JunkEvidence => "M4 junk evidence, 150 connections",
            Self::JunkEvidenceOfMany => "M4 junk evidence, 64 addresses",
            Self::Listings => "M5 listings, 32 connections",
            Self::Readings => "M5 readings, 32 connections",
        }
    }

    /// Whether it needs long documents that are there already.
    pub(crate) const fn asks_for_documents(self) -> bool {
        matches!(self, Self::Listings | Self::Readings)
    }

    const fn connections(self) -> usize {
        match self {
            Self::JunkBodies | Self::ForgedHeads | Self::ForgedHeadsOfMany => 100,
            Self::Silence | Self::HalfOpen => 1010,
            Self::JunkEvidence | Self::JunkEvidenceOfMany => 150,
            Self::Listings | Self::Readings => 32,
        }
    }

    /// Addresses that it comes from.
    const fn places(self) -> u8 {
        match self {
            Self::ForgedHeadsOfMany | Self::JunkEvidenceOfMany => 64,
            _ => 1,
        }
    }
}

/// Those who make a flood.
pub(crate) struct Strangers {
    flood: Flood,
    address: SocketAddr,
    dial: Dial,
    /// What each connection sends; where it ends early, the rest never comes.
    sent: Vec<u8>,
}

impl Strangers {
    /// A flood against this service.
    pub(crate) fn of(service: &Service, flood: Flood) -> Result<Self> {
        let authority = service.address.trim_start_matches("https://");
        let dial = match flood {
            Flood::Listings | Flood::Readings => service.dial("user0")?,
            _ => service.dial_as_nobody()?,
        };
        Ok(Self {
            flood,
            address: authority.parse().context("the node's address")?,
            dial,
            sent: sent(flood, service.first_member()?)?,
        })
    }

    /// Goes on until `stop`; gives how many requests or connections it began.
    pub(crate) fn flood(self, stop: &Arc<AtomicBool>) -> Result<u64> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let attempts = Arc::new(AtomicU64::new(0));
        let all = Arc::new(self);
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for number in 0..all.flood.connections() {
                let (all, stop, attempts) = (Arc::clone(&all), Arc::clone(stop), Arc::clone(&attempts));
                tasks.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        attempts.fetch_add(1, Ordering::Relaxed);
                        // A refusal is what it came for.
                        let _ = all.once(number, &stop).await;
                    }
                });
            }
            while tasks.join_next().await.is_some() {}
        });
        Ok(attempts.load(Ordering::Relaxed))
    }

    async fn once(&self, number: usize, stop: &AtomicBool) -> Result<()> {
        let place = u8::try_from(number % usize::from(self.flood.places()))?;
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 1, 1 + place], 0)))?;
        let tcp = socket.connect(self.address).await?;
        if matches!(self.flood, Flood::HalfOpen) {
            return hold(tcp, stop).await;
        }
        let stream = self.dial.shake_hands(tcp).await?;
        match self.flood {
            Flood::Silence | Flood::HalfOpen => hold(stream, stop).await,
            Flood::JunkBodies | Flood::ForgedHeads | Flood::ForgedHeadsOfMany => {
                let mut stream = stream;
                stream.write_all(&self.sent).await?;
                stream.flush().await?;
                hold(stream, stop).await
            }
            _ => self.again_and_again(stream, number, stop).await,
        }
    }

    /// One request after another on a connection.
    async fn again_and_again(
        &self,
        mut stream: TlsStream<TcpStream>,
        number: usize,
        stop: &AtomicBool,
    ) -> Result<()> {
        let mut answer = vec![0; 64 * 1024];
        let reading = format!("/app/contracts/{CONTRACT}/userdocuments/d{number}");
        let reading = request("POST", &reading, "");
        let sent = if matches!(self.flood, Flood::Readings) {
            &reading
        } else {
            &self.sent
        };
        while !stop.load(Ordering::Relaxed) {
            stream.write_all(sent).await?;
            stream.flush().await?;
            let mut missing = None;
            loop {
                let size = stream.read(&mut answer).await?;
                anyhow::ensure!(size > 0, "the node hung up");
                let left = missing.map_or_else(|| length(answer.get(..size).unwrap_or_default()), Ok)?;
                match left.checked_sub(size) {
                    None | Some(0) => break,
                    Some(left) => missing = Some(left),
                }
            }
        }
        Ok(())
    }
}

/// Size of a whole answer whose head is here.
fn length(begun: &[u8]) -> Result<usize> {
    let text = String::from_utf8_lossy(begun);
    let head = text.split_once("\r\n\r\n").context("an answer's head")?.0;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let body: usize = length.map_or(Ok(0), |(_, value)| value.parse())?;
    Ok(head.len() + 4 + body)
}

/// Keeps a connection open until the other side ends it.
async fn hold(mut stream: impl tokio::io::AsyncRead + Unpin, stop: &AtomicBool) -> Result<()> {
    let mut answer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        if let Ok(read) = tokio::time::timeout(HOLD, stream.read(&mut answer)).await
            && read? == 0
        {
            return Ok(());
        }
    }
    Ok(())
}

fn sent(flood: Flood, member: &MemberKey) -> Result<Vec<u8>> {
    let body = match flood {
        Flood::JunkBodies => vec![b'x'; BODY_SENT],
        Flood::ForgedHeads | Flood::ForgedHeadsOfMany => {
            // The head of a true message: whoever has seen one, or knows the certificate, can write it.
            let mut body = member.sign("proposal", 1, None, &vec![b'x'; BODY_SENT])?;
            body.truncate(BODY_SENT);
            body
        }
        Flood::JunkEvidence | Flood::JunkEvidenceOfMany => {
            let junk = vec!["0"; 180_000].join(",");
            let body = format!(r#"{{"attestation":{{}},"junk":[{junk}]}}"#);
            let path = format!("/app/contracts/{CONTRACT}/secrets/x");
            return Ok(request("POST", &path, &body));
        }
        Flood::Listings => {
            let path = format!("/app/contracts/{CONTRACT}/userdocuments");
            return Ok(request("GET", &path, ""));
        }
        Flood::Silence | Flood::HalfOpen | Flood::Readings => return Ok(Vec::new()),
    };
    let head = format!(
        "POST /gov/members/proposals:create?api-version=2024-07-01 HTTP/1.1\r\nhost: bench\r\n\
         content-type: application/cose\r\ncontent-length: {BODY_ANNOUNCED}\r\n\r\n"
    );
    Ok([head.into_bytes(), body].concat())
}
