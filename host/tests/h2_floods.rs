//! h2 connections that are nothing but harm, frame by frame: each ends or is held within its bounds, and whoever
//! comes meanwhile and afterwards is served.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod common;

use common::Peer;
use common::echo::{Echo, NEVER};
use host::config::LimitsConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The sender takes the other side for an attacker (RFC 9113 §7).
const ENHANCE_YOUR_CALM: u32 = 11;

/// `GET https://localhost/app/x`: static entries, and literals that are not indexed.
const GET: &[u8] = b"\x82\x87\x01\x09localhost\x04\x06/app/x";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Sends floods until the other side ends the connection; gives the error codes of its GOAWAY frames, the
/// kinds of all its frames, and whether it ended the connection before the flood was over.
async fn flood(peer: &Peer, begin: &[u8], parts: impl Iterator<Item = Vec<u8>>) -> Seen {
    let stream = peer.connect_h2().await;
    let (reader, mut writer) = tokio::io::split(stream);
    let reading = tokio::spawn(read(reader));
    let sending = async {
        writer.write_all(&[PREFACE, begin].concat()).await?;
        for part in parts {
            writer.write_all(&part).await?;
        }
        writer.flush().await
    };
    let cut_off = tokio::time::timeout(NEVER, sending)
        .await
        .expect("stuck")
        .is_err();
    if !cut_off {
        close(&mut writer).await;
    }
    let mut seen = tokio::time::timeout(NEVER, reading)
        .await
        .expect("it goes on")
        .unwrap();
    seen.cut_off = cut_off;
    seen
}

/// Says goodbye; the other side may be gone already.
async fn close(writer: &mut (impl AsyncWrite + Unpin)) {
    let _ = writer.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await;
    let _ = writer.shutdown().await;
}

#[derive(Debug, Default)]
struct Seen {
    goaways: Vec<u32>,
    kinds: Vec<u8>,
    bytes: usize,
    cut_off: bool,
}

impl Seen {
    fn count(&self, kind: u8) -> usize {
        self.kinds.iter().filter(|seen| **seen == kind).count()
    }

    fn was_called_an_attack(&self) -> bool {
        self.goaways.contains(&ENHANCE_YOUR_CALM)
    }
}

async fn read(mut reader: impl AsyncRead + Unpin) -> Seen {
    let mut seen = Seen::default();
    let mut head = [0; 9];
    while reader.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if reader.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == GOAWAY {
            seen.goaways
                .push(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        seen.kinds.push(head[3]);
        seen.bytes += length;
    }
    seen
}

/// Others are served while a flood goes on, and after it.
async fn under(flooding: impl Future<Output = Seen>, echo: &Echo) -> Seen {
    let stop = std::sync::atomic::AtomicBool::new(false);
    let served = async {
        let mut count = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) || count == 0 {
            let mut other = echo.peer.connect_from([127, 0, 0, 3]).await.unwrap();
            let request = b"GET /app/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            other.write_all(request).await.unwrap();
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(NEVER, other.read_to_end(&mut answer)).await;
            assert!(answer.starts_with(b"HTTP/1.1 200"), "nobody else is served");
            count += 1;
        }
    };
    let flooding = async {
        let seen = flooding.await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        seen
    };
    let (seen, ()) = tokio::join!(flooding, served);
    let mut late = echo.peer.connect_from([127, 0, 0, 3]).await.unwrap();
    let request = b"GET /app/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    late.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(NEVER, late.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "nobody is served afterwards");
    seen
}

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_at_once_end_the_connection() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let parts = (0..50_000_u32).map(|number| {
        let stream = 2 * number + 1;
        let mut part = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
        part.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        part
    });
    let seen = under(flood(&echo.peer, &settings(), parts), &echo).await;
    assert!(seen.was_called_an_attack(), "{:?} {}", seen.goaways, seen.cut_off);
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    for size in [0, 16 * 1024] {
        let echo = Echo::start(LimitsConfig::default()).await;
        let begin = [settings(), frame(HEADERS, END_STREAM, 1, GET)].concat();
        // A literal that is not indexed, as long as the frame; or nothing at all.
        let literal = [b"\x00\x01x\x7f\x81\x7f".as_slice(), &vec![b'y'; 16 * 1024]].concat();
        let parts = (0..20_000).map(move |_| frame(CONTINUATION, 0, 1, &literal[..size]));
        let seen = under(flood(&echo.peer, &begin, parts), &echo).await;
        assert!(
            !seen.goaways.is_empty() && seen.cut_off,
            "{size}: {:?}",
            seen.goaways
        );
    }
}

#[tokio::test]
async fn pings_and_settings_without_end_are_answered_one_by_one_and_keep_nobody_waiting() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let parts = (0..20_000).map(|_| [frame(PING, 0, 0, &[0; 8]), settings()].concat());
    let seen = under(flood(&echo.peer, &settings(), parts), &echo).await;
    assert!(
        seen.count(PING) <= 20_000 && seen.count(SETTINGS) <= 20_002,
        "{:?}",
        seen.goaways
    );
}

#[tokio::test]
async fn answers_that_nobody_takes_hold_their_streams_and_no_more() {
    let limits = LimitsConfig {
        idle_timeout_ms: 200,
        ..LimitsConfig::default()
    };
    let echo = Echo::start(limits).await;
    // No window for any answer: SETTINGS_INITIAL_WINDOW_SIZE 0.
    let begin = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let parts = (0..2000_u32).map(|number| frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, GET));
    let seen = under(flood_and_wait(&echo.peer, &begin, parts), &echo).await;
    assert_eq!(seen.count(DATA), 0, "sent without a window");
    // As many as may be open are answered as far as their heads; the others are turned away.
    assert!(seen.count(HEADERS) <= 128, "{}", seen.count(HEADERS));
}

/// As [`flood`], but it is the other side that ends the connection, being idle.
async fn flood_and_wait(peer: &Peer, begin: &[u8], parts: impl Iterator<Item = Vec<u8>>) -> Seen {
    let stream = peer.connect_h2().await;
    let (reader, mut writer) = tokio::io::split(stream);
    let reading = tokio::spawn(read(reader));
    writer.write_all(&[PREFACE, begin].concat()).await.unwrap();
    for part in parts {
        if writer.write_all(&part).await.is_err() {
            break;
        }
    }
    let _ = writer.flush().await;
    tokio::time::timeout(NEVER, reading)
        .await
        .expect("it goes on")
        .unwrap()
}

#[tokio::test]
async fn a_small_head_that_unpacks_to_a_large_one_is_refused() {
    let echo = Echo::start(LimitsConfig::default()).await;
    // One long field goes into the dynamic table; then it is named again and again, a byte each time.
    let field = [b"\x40\x01x\x7f\xa1\x1e".as_slice(), &[b'y'; 4000]].concat();
    let bomb = [GET, &field, &[0xbe; 12_000]].concat();
    let parts = (0..200_u32).map(move |number| {
        let block = if number == 0 {
            bomb.clone()
        } else {
            [GET, &[0xbe; 12_000]].concat()
        };
        frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            2 * number + 1,
            &block[..block.len().min(16_384)],
        )
    });
    let seen = under(flood(&echo.peer, &settings(), parts), &echo).await;
    // Refusals are short: nothing of what was unpacked comes back.
    assert!(seen.bytes < 200 * 1024, "{} bytes", seen.bytes);
    assert_eq!(seen.count(DATA), 0, "answered as if it were a request");
}
