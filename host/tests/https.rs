//! The listener against callers that send too much, show false certificates or hang up.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod common;

use bytes::Bytes;
use common::echo::{Echo, NEVER, post, until_closed};
use common::{certified, validity};
use crypto::native::issue::self_signed_member;
use crypto::native::{Curve, EcKeyPair};
use crypto::x509::Certificate;
use host::config::LimitsConfig;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Limits with a short timeout for idle connections.
fn soon_idle() -> LimitsConfig {
    LimitsConfig {
        idle_timeout_ms: 50,
        ..LimitsConfig::default()
    }
}

/// Limits with a short timeout for bodies.
fn impatient() -> LimitsConfig {
    LimitsConfig {
        body_timeout_ms: 50,
        ..LimitsConfig::default()
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_the_answer_arrives() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let body = vec![b'x'; 10 * 1024 * 1024];
    let answer = echo.peer.exchange(&post("/app/x", "", &body)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("RequestBodyTooLarge"), "{answer}");
    let fits = echo
        .peer
        .exchange(&post("/app/x", "", &body[..1024 * 1024]))
        .await;
    assert!(fits.ends_with("1048576 nobody"), "{fits}");
}

#[tokio::test]
async fn a_body_that_grows_over_the_limit_is_413_too() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let mut request =
        b"POST /app/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..3 {
        request.extend(format!("{:x}\r\n", 512 * 1024).bytes());
        request.extend(vec![b'x'; 512 * 1024]);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    let answer = echo.peer.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn only_signed_governance_messages_may_be_larger() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let body = vec![b'm'; 2 * 1024 * 1024];
    let cose = "content-type: application/cose\r\n";
    let governance = echo
        .peer
        .exchange(&post("/gov/members/proposals:create", cose, &body))
        .await;
    assert!(governance.ends_with("2097152 nobody"), "{governance}");
    let elsewhere = echo.peer.exchange(&post("/app/x", cose, &body)).await;
    assert!(elsewhere.starts_with("HTTP/1.1 413"), "{elsewhere}");
    // A mebibyte for anybody, and not a byte more.
    let anybody = vec![b'x'; 1024 * 1024 + 1];
    for (size, status) in [(1024 * 1024, "200"), (1024 * 1024 + 1, "413")] {
        let request = post("/gov/members/proposals:create", cose, &anybody[..size]);
        let answer = echo.peer.exchange(&request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{size}: {answer}"
        );
    }
}

#[tokio::test]
async fn headers_over_the_limit_are_431() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let long = format!("x-long: {}\r\n", "y".repeat(20 * 1024));
    let answer = echo.peer.exchange(&post("/app/x", &long, b"")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(answer.contains("RequestHeaderTooLarge"), "{answer}");
}

/// So many small headers.
fn many(count: usize) -> String {
    (0..count).map(|number| format!("x{number}: y\r\n")).collect()
}

#[tokio::test]
async fn as_many_headers_as_allowed_pass_and_one_more_is_431() {
    let echo = Echo::start(LimitsConfig::default()).await;
    // Beside host, connection and content-length.
    let answer = echo.peer.exchange(&post("/app/x", &many(253), b"")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = echo.peer.exchange(&post("/app/x", &many(254), b"")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(answer.contains("RequestHeaderTooLarge"), "{answer}");
}

#[tokio::test]
async fn headers_beyond_all_measure_are_431_and_the_answer_arrives() {
    let echo = Echo::start(LimitsConfig::default()).await;
    for headers in [many(2000), format!("x: {}\r\n", "y".repeat(512 * 1024))] {
        let answer = echo.peer.exchange(&post("/app/x", &headers, b"")).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn a_refused_head_is_answered_although_its_body_never_comes() {
    let echo = Echo::start(impatient()).await;
    let mut stream = echo.peer.connect(None).await.unwrap();
    let head = format!(
        "POST /app/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\nx-long: {}\r\n\r\n",
        "y".repeat(20 * 1024)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with(b"HTTP/1.1 431"));
}

#[tokio::test]
async fn a_body_announced_too_large_is_413_however_slowly_it_comes() {
    let echo = Echo::start(impatient()).await;
    for (size, status) in [(10 * 1024 * 1024, "413"), (10, "408")] {
        let mut stream = echo.peer.connect(None).await.unwrap();
        let head = format!("POST /app/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\nabc");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = String::from_utf8(until_closed(&mut stream).await).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn a_caller_that_has_said_everything_may_close_its_side_and_is_answered() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let mut stream = echo.peer.connect(None).await.unwrap();
    stream
        .write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let answer = String::from_utf8(until_closed(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let echo = Echo::start(soon_idle()).await;
    until_closed(&mut echo.peer.connect(None).await.unwrap()).await;
    until_closed(&mut echo.peer.connect_h2().await).await;
}

#[tokio::test]
async fn an_idle_h2_connection_is_closed_even_if_it_takes_no_notice() {
    let echo = Echo::start(soon_idle()).await;
    let mut stream = echo.peer.connect_h2().await;
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&empty_settings).await.unwrap();
    let frames = until_closed(&mut stream).await;
    assert!(!frames.is_empty());
}

#[tokio::test]
async fn an_h2_connection_is_kept_for_its_requests_and_closed_after_them() {
    let echo = Echo::start(soon_idle()).await;
    let io = TokioIo::new(echo.peer.connect_h2().await);
    let (mut requests, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    // Answers pings and settings as any client does.
    let connection = tokio::spawn(connection);
    let request = |headers: usize| {
        let mut request = http::Request::get("https://localhost/slow");
        for number in 0..headers {
            request = request.header(format!("x{number}"), "y");
        }
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    let answer = requests.send_request(request(256)).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    let _ = tokio::time::timeout(NEVER, connection)
        .await
        .expect("the idle connection is not closed");
}

#[tokio::test]
async fn too_many_headers_are_431_over_h2_too() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let io = TokioIo::new(echo.peer.connect_h2().await);
    let (mut requests, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::get("https://localhost/app/x");
    for number in 0..257 {
        request = request.header(format!("x{number}"), "y");
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = requests.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 431);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("RequestHeaderTooLarge"));
}

/// Status line and headers, then the body, of an answer.
fn parts(answer: &str) -> (&str, &str) {
    answer.split_once("\r\n\r\n").unwrap()
}

#[tokio::test]
async fn head_is_get_without_a_body_over_http_1() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let ask = |method: &str| format!("{method} /x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let get = echo.peer.exchange(ask("GET").as_bytes()).await;
    let head = echo.peer.exchange(ask("HEAD").as_bytes()).await;
    let length = |answer: &str| {
        let line = answer.lines().find(|line| line.starts_with("content-length"));
        line.map(str::to_owned)
    };
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!((parts(&get).1, parts(&head).1), ("0 nobody", ""));
    assert_eq!(length(&head), length(&get));
    assert!(length(&head).is_some());
}

#[tokio::test]
async fn head_ends_at_its_headers_over_h2() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let io = TokioIo::new(echo.peer.connect_h2().await);
    let (mut requests, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    // The second is refused before anybody looks at its path.
    for (headers, status) in [(0, 200), (257, 431)] {
        let mut request = http::Request::head("https://localhost/app/x");
        for number in 0..headers {
            request = request.header(format!("x{number}"), "y");
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = requests.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.is_empty(), "{status}");
    }
}

#[tokio::test]
async fn http_1_1_names_one_host() {
    let echo = Echo::start(LimitsConfig::default()).await;
    for (request, status) in [
        ("GET /x HTTP/1.1\r\nconnection: close\r\n\r\n", "400"),
        (
            "GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
            "400",
        ),
        ("GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "200"),
        ("GET /x HTTP/1.0\r\n\r\n", "200"),
    ] {
        let answer = echo.peer.exchange(request.as_bytes()).await;
        assert_eq!(answer.get(9..12), Some(status), "{request}{answer}");
        assert_eq!(status == "400", answer.contains("InvalidInput"), "{answer}");
    }
}

#[tokio::test]
async fn an_encoded_body_is_415_and_says_what_is_taken() {
    let echo = Echo::start(LimitsConfig::default()).await;
    for (headers, status) in [
        ("content-encoding: gzip\r\n", "415"),
        ("Content-Encoding: Identity, br\r\n", "415"),
        ("content-encoding: IDENTITY\r\n", "200"),
    ] {
        let answer = echo.peer.exchange(&post("/app/x", headers, b"abc")).await;
        assert_eq!(answer.get(9..12), Some(status), "{headers}{answer}");
        assert_eq!(
            status == "415",
            answer.contains("accept-encoding: identity"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_media_type_means_the_same_in_every_case() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let body = vec![b'm'; 2 * 1024 * 1024];
    for (named, status) in [
        ("Application/COSE", "200"),
        ("application/cose; x=y", "200"),
        ("application/cose-x", "413"),
    ] {
        let headers = format!("content-type: {named}\r\n");
        let answer = echo
            .peer
            .exchange(&post("/gov/members/proposals:create", &headers, &body))
            .await;
        assert_eq!(answer.get(9..12), Some(status), "{named}");
    }
}

#[tokio::test]
async fn tls_1_2_and_the_oldest_protocol_name_are_served() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let key = EcKeyPair::generate(Curve::P384).unwrap();
    let certificate = self_signed_member(&key, "ann", validity()).unwrap();
    let id = Certificate::from_pem(&certificate).unwrap().id().to_string();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for identity in [None, Some(certified(&certificate, &key))] {
            let who = identity.as_ref().map_or("nobody", |_| id.as_str()).to_owned();
            let mut stream = echo
                .peer
                .connect_by(identity, &[b"http/1.0"], &[version])
                .await
                .unwrap();
            stream.write_all(&post("/app/x", "", b"")).await.unwrap();
            let answer = String::from_utf8(until_closed(&mut stream).await).unwrap();
            assert!(answer.ends_with(&format!("0 {who}")), "{version:?} {answer}");
        }
    }
}

#[tokio::test]
async fn a_caller_is_known_by_the_certificate_it_holds_the_key_of() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let key = EcKeyPair::generate(Curve::P384).unwrap();
    let certificate = self_signed_member(&key, "ann", validity()).unwrap();
    let id = Certificate::from_pem(&certificate).unwrap().id().to_string();
    let mut stream = echo
        .peer
        .connect(Some(certified(&certificate, &key)))
        .await
        .unwrap();
    stream.write_all(&post("/app/x", "", b"")).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(&format!("0 {id}")), "{answer}");
}

#[tokio::test]
async fn a_certificate_shown_without_its_key_ends_the_connection() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let (key, other) = (
        EcKeyPair::generate(Curve::P384).unwrap(),
        EcKeyPair::generate(Curve::P384).unwrap(),
    );
    let certificate = self_signed_member(&key, "ann", validity()).unwrap();
    // In TLS 1.3 the client may think it is through before the server has looked.
    let Ok(mut stream) = echo.peer.connect(Some(certified(&certificate, &other))).await else {
        return;
    };
    let _ = stream.write_all(&post("/app/x", "", b"")).await;
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer).await;
    assert!(ended.is_err() && answer.is_empty(), "answered a thief");
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_ends() {
    let echo = Echo::start(LimitsConfig::default()).await;
    let mut idle = echo.peer.connect(None).await.unwrap();
    idle.write_all(b"POST /app/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    echo.stop.send_replace(true);
    echo.task.await.unwrap();
    assert!(TcpStream::connect(echo.peer.address).await.is_err());
}

/// The listener's own limit, said here once more.
const STREAMS_MAX: u32 = 128;

fn h2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn an_h2_connection_has_the_most_requests_open_and_one_more_is_refused() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const REFUSED_STREAM: [u8; 4] = 7_u32.to_be_bytes();
    let echo = Echo::start(LimitsConfig::default()).await;
    let mut stream = echo.peer.connect_h2().await;
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(h2_frame(SETTINGS, 0, 0, &[]));
    // POST / whose body has not come yet, again and again: a client that counts nothing.
    let head = [&[0x83, 0x87, 0x84, 0x41, 9][..], b"localhost"].concat();
    for number in 0..=STREAMS_MAX {
        sent.extend(h2_frame(HEADERS, 4, 2 * number + 1, &head));
    }
    stream.write_all(&sent).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == RST_STREAM {
            let refused = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            assert_eq!(
                (refused, payload.as_slice()),
                (2 * STREAMS_MAX + 1, &REFUSED_STREAM[..])
            );
            return;
        }
    }
}
