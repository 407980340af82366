//! The listener under load that means harm: bodies and connections of strangers, and what others get meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod common;

use common::echo::{Echo, NEVER, SHORT, post, until_closed};
use host::config::LimitsConfig;
use model::endpoint::EVIDENCE_BODY_BYTES_MAX;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const MIB: usize = 1024 * 1024;
/// Where strangers come from, and where others do.
const STRANGERS: [u8; 4] = [127, 0, 0, 2];
const OTHERS: [u8; 4] = [127, 0, 0, 3];

type Stream = TlsStream<TcpStream>;

impl Echo {
    async fn from(&self, address: [u8; 4]) -> Stream {
        self.peer.connect_from(address).await.unwrap()
    }
}

/// A request for whoever has a connection already.
async fn ask(stream: &mut Stream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let size = tokio::time::timeout(NEVER, stream.read(&mut answer))
        .await
        .expect("no answer")
        .unwrap_or(0);
    String::from_utf8_lossy(&answer[..size]).into_owned()
}

/// Whether the other side still keeps this connection.
async fn is_open(stream: &mut Stream) -> bool {
    ask(stream, "/app/x").await.starts_with("HTTP/1.1 200")
}

async fn answer(stream: &mut Stream) -> String {
    String::from_utf8_lossy(&until_closed(stream).await).into_owned()
}

fn small_memory() -> LimitsConfig {
    LimitsConfig {
        body_memory_bytes_max: 8 * MIB,
        governance_body_bytes_max: 2 * MIB,
        ..LimitsConfig::default()
    }
}

/// A body that stops one byte before its end.
async fn unfinished(echo: &Echo, from: [u8; 4], path: &str, headers: &str, body: &[u8]) -> Stream {
    let mut stream = echo.from(from).await;
    let mut request = post(path, headers, body);
    request.pop();
    stream.write_all(&request).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// Whether a body of this size from there is refused for want of memory; else it was served.
async fn is_full(echo: &Echo, from: [u8; 4], size: usize) -> bool {
    let mut stream = echo.from(from).await;
    stream
        .write_all(&post("/app/x", "", &vec![b'x'; size]))
        .await
        .unwrap();
    let answer = answer(&mut stream).await;
    if answer.starts_with("HTTP/1.1 503") {
        assert!(answer.contains("BodyMemoryExhausted"), "{answer}");
        assert!(answer.contains("retry-after: 1"), "{answer}");
        return true;
    }
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    false
}

/// Waits until a body of this size from there is refused for want of memory.
async fn until_full(echo: &Echo, from: [u8; 4], size: usize) {
    let refused = async { while !is_full(echo, from, size).await {} };
    tokio::time::timeout(NEVER, refused).await.expect("never full");
}

#[tokio::test]
async fn bodies_of_strangers_take_a_quarter_of_the_memory_and_others_are_served() {
    let echo = Echo::start(small_memory()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(unfinished(&echo, STRANGERS, "/app/x", "", &vec![b'x'; MIB - 4096]).await);
    }
    until_full(&echo, STRANGERS, 128 * 1024).await;
    let mut other = echo.from(OTHERS).await;
    other
        .write_all(&post("/app/x", "", &vec![b'x'; MIB]))
        .await
        .unwrap();
    let served = answer(&mut other).await;
    assert!(served.ends_with("1048576 nobody"), "{served}");
    drop(held);
}

#[tokio::test]
async fn forged_heads_of_members_take_no_more_than_their_address_has() {
    let echo = Echo::start(small_memory()).await;
    let cose = "content-type: application/cose\r\n";
    let path = "/gov/members/proposals:create";
    let large = vec![b'm'; 2 * MIB - 64 * 1024];
    let mut held = unfinished(&echo, STRANGERS, path, cose, &large).await;
    let refused = async {
        // Who came first has the memory: a probe that was served may have cost the held body its place.
        while !is_full(&echo, STRANGERS, 128 * 1024).await {
            held = unfinished(&echo, STRANGERS, path, cose, &large).await;
        }
    };
    tokio::time::timeout(NEVER, refused).await.expect("never full");
    let mut member = echo.from(OTHERS).await;
    member.write_all(&post(path, cose, &large)).await.unwrap();
    let served = answer(&mut member).await;
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
    drop(held);
}

#[tokio::test]
async fn a_slow_body_under_a_forged_head_is_ended() {
    let limits = LimitsConfig {
        body_window_ms: 50,
        ..LimitsConfig::default()
    };
    let echo = Echo::start(limits).await;
    let cose = "content-type: application/cose\r\n";
    let mut stream = echo.from(STRANGERS).await;
    let request = post("/gov/members/proposals:create", cose, &vec![b'm'; 2 * MIB]);
    // Fast at first, as far as a head and more; then nothing.
    stream.write_all(&request[..MIB + 4096]).await.unwrap();
    let answer = answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("RequestTimeout"), "{answer}");
}

#[tokio::test]
async fn a_body_at_the_least_speed_passes() {
    let limits = LimitsConfig {
        body_window_ms: 200,
        body_bytes_per_s_min: 10,
        ..LimitsConfig::default()
    };
    let echo = Echo::start(limits).await;
    let mut stream = echo.from(OTHERS).await;
    let request = post("/app/x", "", b"0123456789");
    let (head, body) = request.split_at(request.len() - 10);
    stream.write_all(head).await.unwrap();
    for byte in body.chunks(2) {
        stream.write_all(byte).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(SHORT).await;
    }
    let answer = answer(&mut stream).await;
    assert!(answer.ends_with("10 nobody"), "{answer}");
}

#[tokio::test]
async fn an_endpoint_that_takes_evidence_takes_little() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let most = usize::try_from(EVIDENCE_BODY_BYTES_MAX).unwrap();
    assert_eq!(most, 384 * 1024);
    for (size, status) in [(most, "200"), (most + 1, "413")] {
        let mut stream = echo.from(STRANGERS).await;
        let request = post("/app/evidence", "", &vec![b'x'; size]);
        stream.write_all(&request).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{size}: {answer}"
        );
    }
}

fn few(connections: usize) -> LimitsConfig {
    LimitsConfig {
        connections_max: connections,
        handshakes_max: 4,
        ..LimitsConfig::default()
    }
}

#[tokio::test]
async fn silent_connections_of_one_address_keep_nobody_else_out() {
    let echo = Echo::start(few(4)).await;
    let mut early = echo.from(OTHERS).await;
    assert!(is_open(&mut early).await);
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(echo.from(STRANGERS).await);
        let mut late = echo.from([127, 0, 0, 4]).await;
        assert!(is_open(&mut late).await, "kept out");
    }
    assert!(is_open(&mut early).await, "closed for strangers");
    // The first of the silent ones made room.
    assert!(answer(&mut silent[0]).await.is_empty());
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_not_ended_to_make_room() {
    let echo = Echo::start(few(1)).await;
    let mut first = echo.from(STRANGERS).await;
    first
        .write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    // Told as soon as the first is being answered, which it is at some time after it was sent.
    let told = async {
        loop {
            let mut second = echo.from(OTHERS).await;
            let answer = ask(&mut second, "/app/x").await;
            if answer.starts_with("HTTP/1.1 503") {
                assert!(
                    answer.contains("SessionCapExhausted") && answer.contains("retry-after"),
                    "{answer}"
                );
                return true;
            }
            // It came before the request was read, and took the place.
            if answer.starts_with("HTTP/1.1 200") {
                return false;
            }
        }
    };
    if tokio::time::timeout(NEVER, told).await.expect("never told") {
        let mut answer = vec![0; 15];
        first.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn handshakes_that_never_end_keep_nobody_out() {
    let echo = Echo::start(few(2)).await;
    let mut early = echo.from(OTHERS).await;
    assert!(is_open(&mut early).await);
    let mut begun = Vec::new();
    for _ in 0..20 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(std::net::SocketAddr::from((STRANGERS, 0))).unwrap();
        begun.push(socket.connect(echo.peer.address).await.unwrap());
    }
    let mut late = echo.from(STRANGERS).await;
    assert!(is_open(&mut late).await && is_open(&mut early).await);
}
