//! Requests that two readers could understand differently, byte by byte: each is refused clearly or means one
//! thing, and whoever comes next is served.
//!
//! Behind every doubtful request stands another, `GET /app/smuggled`: it may be answered as the next request of the
//! connection where the first one's end is beyond doubt, and never otherwise. Where a length stands beside chunks the chunks
//! count, and the connection ends with the answer.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod common;

use common::echo::{Echo, until_closed};
use host::config::LimitsConfig;
use tokio::io::AsyncWriteExt as _;

const OTHERS: [u8; 4] = [127, 0, 0, 3];
const NEXT: &str = "GET /app/smuggled HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// What a case must come to: the statuses of all answers, in order.
struct Case {
    tries: &'static str,
    sent: Vec<u8>,
    answers: &'static [&'static str],
}

fn case(tries: &'static str, sent: impl Into<Vec<u8>>, answers: &'static [&'static str]) -> Case {
    Case {
        tries,
        sent: sent.into(),
        answers,
    }
}

/// A POST with these header lines, this body, and a request behind it.
fn post(headers: &str, body: &str) -> String {
    format!("POST /app/x HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}{NEXT}")
}

fn get(line: &str, headers: &str) -> String {
    format!("{line}\r\nhost: localhost\r\n{headers}\r\n{NEXT}")
}

fn lengths() -> Vec<Case> {
    let chunked = "transfer-encoding: chunked\r\n";
    vec![
        case(
            "two lengths that differ",
            post("content-length: 3\r\ncontent-length: 70\r\n", "abc"),
            &["400"],
        ),
        case(
            "a list of lengths",
            post("content-length: 3, 70\r\n", "abc"),
            &["400"],
        ),
        case(
            "a length with a sign",
            post("content-length: +3\r\n", "abc"),
            &["400"],
        ),
        case("a negative length", post("content-length: -1\r\n", ""), &["400"]),
        case(
            "a length beyond 64 bits",
            post("content-length: 18446744073709551617\r\n", "a"),
            &["400"],
        ),
        case(
            "a length beside chunks",
            post(&format!("content-length: 3\r\n{chunked}"), "0\r\n\r\n"),
            &["200"],
        ),
        case(
            "chunks beside a length",
            post(&format!("{chunked}content-length: 3\r\n"), "0\r\n\r\n"),
            &["200"],
        ),
        case(
            "chunks that are not the last encoding",
            post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
            &["400"],
        ),
        case(
            "an encoding that is not ours",
            post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
            &["400"],
        ),
        case(
            "chunks by the older protocol",
            format!("POST /app/x HTTP/1.0\r\nhost: localhost\r\n{chunked}\r\n0\r\n\r\n{NEXT}"),
            &["400"],
        ),
        case(
            "a chunk's size beyond 64 bits",
            post(chunked, "10000000000000000\r\na\r\n0\r\n\r\n"),
            &["400"],
        ),
        case(
            "a chunk's size with a sign",
            post(chunked, "+1\r\na\r\n0\r\n\r\n"),
            &["400"],
        ),
        case(
            "a chunk without its line's end",
            post(chunked, "1\r\nab\r\n0\r\n\r\n"),
            &["400"],
        ),
    ]
}

fn heads() -> Vec<Case> {
    vec![
        case(
            "a header that is continued on the next line",
            get("GET /app/x HTTP/1.1", "x: a\r\n b\r\n"),
            &["400"],
        ),
        case(
            "a blank before a header's colon",
            get("GET /app/x HTTP/1.1", "content-length : 3\r\n"),
            &["400"],
        ),
        case(
            "a NUL in a header",
            get("GET /app/x HTTP/1.1", "x: a\0b\r\n"),
            &["400"],
        ),
        case(
            "a bare carriage return in a header",
            get("GET /app/x HTTP/1.1", "x: a\rcontent-length: 70\r\n"),
            &["400"],
        ),
        case(
            "a protocol that does not exist",
            get("GET /app/x HTTP/1.7", ""),
            &["400"],
        ),
        case(
            "h2 without its handshake",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[],
        ),
        case(
            "an upgrade to h2",
            get(
                "GET /app/x HTTP/1.1",
                "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
            ),
            &["200", "200"],
        ),
        case(
            "another host in the target",
            get("GET http://other.example/app/x HTTP/1.1", ""),
            &["200", "200"],
        ),
        case(
            "5,000 headers",
            get("GET /app/x HTTP/1.1", &"x: y\r\n".repeat(5000)),
            &["431"],
        ),
        case(
            "200 requests at once",
            "GET /app/x HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(199) + NEXT,
            &["200"; 200],
        ),
        case(
            "an expectation that is not ours, and a body that waits for it",
            "POST /app/x HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\nconnection: close\r\n\
             content-length: 3\r\n\r\nabc",
            &["100", "200"],
        ),
    ]
}

/// The statuses of all answers on a connection, in order.
fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect()
}

async fn tried(echo: &Echo, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for Case { tries, sent, answers } in cases {
        let mut stream = echo.peer.connect_from([127, 0, 0, 2]).await.unwrap();
        // It may hang up before it has read everything.
        let _ = stream.write_all(&sent).await;
        let answer = String::from_utf8_lossy(&until_closed(&mut stream).await).into_owned();
        let got = statuses(&answer);
        if got != answers {
            wrong.push(format!("{tries}: {got:?} instead of {answers:?}"));
        }
        let mut other = echo.peer.connect_from(OTHERS).await.unwrap();
        other.write_all(NEXT.as_bytes()).await.unwrap();
        let served = until_closed(&mut other).await;
        assert!(
            served.starts_with(b"HTTP/1.1 200"),
            "{tries}: nobody else is served"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_length_that_readers_could_take_for_another_smuggles_no_request() {
    let echo = Echo::start(LimitsConfig::default()).await;
    tried(&echo, lengths()).await;
}

#[tokio::test]
async fn a_head_that_readers_could_split_elsewhere_smuggles_no_request() {
    // A caller that was refused and does not hang up is waited for so long.
    let limits = LimitsConfig {
        body_timeout_ms: 1000,
        ..LimitsConfig::default()
    };
    let echo = Echo::start(limits).await;
    tried(&echo, heads()).await;
}

#[tokio::test]
async fn lines_that_end_in_a_bare_line_feed_mean_one_request_to_everybody() {
    let echo = Echo::start(LimitsConfig::default()).await;
    // RFC 9112 §2.2 lets a reader take them; what counts is that no header vanishes in between.
    let cases = vec![
        case(
            "a head whose lines end in a bare line feed",
            format!("POST /app/x HTTP/1.1\nhost: localhost\ncontent-length: 3\n\nabc{NEXT}"),
            &["200", "200"],
        ),
        case(
            "a chunk whose line ends in a bare line feed",
            post("transfer-encoding: chunked\r\n", "1\na\r\n0\r\n\r\n"),
            &["400"],
        ),
        case(
            "what an extension of a chunk hides",
            post("transfer-encoding: chunked\r\n", "1;x=\"\r\na\r\n0\r\n\r\n"),
            &["200", "200"],
        ),
        case(
            "extensions of chunks without end",
            post(
                "transfer-encoding: chunked\r\n",
                &format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(64 * 1024)),
            ),
            &["400"],
        ),
    ];
    tried(&echo, cases).await;
}
