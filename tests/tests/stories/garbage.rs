//! Garbage from seeds, below HTTP, as HTTP and as JSON and COSE: the node answers or hangs up,
//! and lives on unchanged.

use anyhow::{Result, ensure};
use bytes::Bytes;
use client::ClientError;
use http::Method;
use serde_json::json;
use tests::garbage::{Seeded, send};
use tests::outcome::refused;
use tests::service::Service;

/// Pieces that get close to something that means something.
const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "PUT /app/contracts/c1 HTTP/1.1\r\n",
    "POST /gov/members/proposals:create?api-version=2024-07-01 HTTP/1.1\r\n",
    "host: x\r\n",
    "content-length: 5\r\n",
    "content-length: -1\r\n",
    "content-length: 18446744073709551616\r\n",
    "transfer-encoding: chunked\r\n",
    "content-type: application/cose\r\n",
    "authorization: Bearer a.b.c\r\n",
    "\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff\r\n",
    "0\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\0",
    "{\"data\":",
    "%",
];

const PATHS: &[&str] = &[
    "/app/contracts/c1",
    "/app/contracts/c1/secrets/s",
    "/app/contracts/%ff",
    "/app/contracts/%",
    "/app/attestation/nonce",
    "/app/contracts/c1/events?id=%zz",
    "/app/tx?transaction_id=9.9.9",
    "/app/receipt?transaction_id=2.2",
    "/gov/members/proposals:create?api-version=2024-07-01",
    "/gov/members/proposals/x/ballots/y:submit?api-version=2024-07-01",
    "/gov/service/members/00?api-version=2024-07-01",
    "/node/network",
    "/app/../gov",
    "//",
    "/app/contracts/c1/queries/q/runs/r",
];

#[tokio::test]
async fn garbage_never_harms_a_node() -> Result<()> {
    let mut service = Service::open(&["ann"], &[]).await?;
    service.draft("c1", &json!({ "n": 1 })).await?;
    let before = service.committed().await?;
    let (address, cert) = (service.address()?.to_owned(), service.service_cert()?);
    let mut random = Seeded(42);
    for _ in 0..120 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(8) {
            bytes.extend(random.pick(PIECES).unwrap().bytes());
        }
        let count = random.below(200);
        bytes.extend(random.bytes(count));
        send(&address, &cert, &bytes).await?;
    }
    let headers = format!(
        "GET /node/version HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "y".repeat(64 << 10)
    );
    let answer = send(&address, &cert, headers.as_bytes()).await?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );

    let ann = service.connection_of(service.member(0)?)?;
    let methods = [
        Method::GET,
        Method::PUT,
        Method::POST,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
    ];
    let kinds = [
        None,
        Some("application/json"),
        Some("application/cose"),
        Some("text/plain;"),
    ];
    for _ in 0..300 {
        let body = match random.below(3) {
            0 => random.bytes(64),
            1 => nested(&mut random, 0).into_bytes(),
            _ => [&[0xd2, 0x84][..], &random.bytes(40)].concat(),
        };
        let method = random.pick(&methods).unwrap().clone();
        let (path, kind) = (*random.pick(PATHS).unwrap(), *random.pick(&kinds).unwrap());
        match ann.send(method.clone(), path, kind, Bytes::from(body)).await {
            Ok(reply) => ensure!(reply.status < 300, "{method} {path}: {}", reply.status),
            // A path that our own client cannot send is no test of the node.
            Err(ClientError::Usage(_)) => {}
            Err(ClientError::Api { status, code, .. }) => {
                ensure!((400..500).contains(&status), "{method} {path}: {status} {code}");
            }
            Err(other) => return Err(other.into()),
        }
    }
    // Depth without end is a complaint, not a stack that overflows.
    let deep = format!("{{\"data\":{}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let refusal = ann
        .send(Method::PUT, "/app/contracts/deep", kinds[1], deep.into())
        .await;
    refused(refusal, 400, "InvalidInput")?;
    ensure!(service.is_running()?, "the node ended");
    assert_eq!(service.committed().await?, before, "garbage wrote something");
    Ok(())
}

/// JSON of some shape, never one that a handler wants.
fn nested(random: &mut Seeded, depth: usize) -> String {
    let inner = |random: &mut Seeded| {
        if depth > 5 {
            "null".to_owned()
        } else {
            nested(random, depth + 1)
        }
    };
    match random.below(5) {
        0 => format!("[{},{}]", inner(random), inner(random)),
        1 => format!(
            "{{\"attestation\":{},\"encrypt\":{}}}",
            inner(random),
            inner(random)
        ),
        2 => format!("\"{}\"", random.number()),
        3 => format!("{{\"version\":{}}}", inner(random)),
        _ => format!("-{}e{}", random.number(), random.below(400)),
    }
}
