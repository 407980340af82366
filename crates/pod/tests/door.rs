//! The WebHDFS door without Spark: what it serves, and what it refuses to whom.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use cleanroom_model::analytics::{DatasetDocument, ViewName};
use pod::inputs::{Input, InputError};
use pod::output::{ManifestSignature, OutputError, Provenance, Sink};
use pod::sealed_file::{self, DataKey};
use pod::webhdfs::{Access, Door, Gate};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const JOB: &str = "run-1";
const ROWS: &str = "1,a\n2,b\n3,c\n";

fn key(byte: u8) -> DataKey {
    DataKey::from_bytes(&[byte; 32]).unwrap()
}

fn dataset(dir: &Path, mode: &str) -> DatasetDocument {
    let document = json!({
        "name": "d",
        "datasetSchema": {"format": "csv", "fields": [
            {"fieldName": "n", "fieldType": "long"}, {"fieldName": "s", "fieldType": "string"}]},
        "datasetAccessPolicy": {"accessMode": mode, "allowedFields": ["n", "s"]},
        "datasetAccessPoint": {"name": "d", "type": "Volume",
            "store": {"type": "Local_FileSystem", "provider": {
                "protocol": "Local_FileSystem", "url": format!("file://{}", dir.display())}},
            "protection": {"configuration": model::b64::encode(br#"{"KeyType":"DEK","EncryptionMode":"CSE"}"#),
                "encryptionSecrets": {"dek": {"type": "Cgs", "name": "k", "provider": {"protocol": "Cgs_Secret"}}}}},
    });
    DatasetDocument::parse(&document.to_string()).unwrap()
}

/// A door over one sealed file of `input`, with a gate that refuses `refused`.
struct World {
    dir: tempfile::TempDir,
    door: Door,
    sink: Arc<Sink>,
}

impl World {
    async fn new(plain: &str, refused: Option<Access>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let mut sealed = Vec::new();
        sealed_file::seal(&key(1), 1024, &mut plain.as_bytes(), &mut sealed).unwrap();
        std::fs::write(data.join("a.csv"), sealed).unwrap();
        let view = ViewName::parse("v").unwrap();
        let input = Input::open(view, &dataset(&data, "read"), Some(&key(1)), None)
            .await
            .unwrap();
        let sink = Arc::new(Self::sink(dir.path()).await.unwrap());
        let gate: Gate = Box::new(move |access| {
            let refused = refused.as_ref() == Some(&access);
            let answer: Pin<Box<dyn Future<Output = Result<(), String>> + Send>> =
                Box::pin(async move { if refused { Err("no".to_owned()) } else { Ok(()) } });
            answer
        });
        let door = Door::open(vec![input], Arc::clone(&sink), JOB, gate)
            .await
            .unwrap();
        Self { dir, door, sink }
    }

    async fn sink(dir: &Path) -> Result<Sink, OutputError> {
        Sink::open(&dataset(&dir.join("sink"), "write"), Some(key(2)), "c/day", JOB).await
    }

    /// The path of an address, below which the run's tree lies.
    fn path(&self, rest: &str) -> String {
        format!("/webhdfs/v1/{}/{rest}", self.door.capability())
    }

    /// Status and body of one request on a connection of its own.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let url = self.door.output_url();
        let address = url
            .trim_start_matches("webhdfs://")
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            !head.to_lowercase().contains("content-type"),
            "Spark 4 fails on it: {head}"
        );
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    async fn write(&self, name: &str, body: &str) -> u16 {
        let path = self.path(&format!(
            "out/{JOB}.tmp/{name}?op=CREATE&overwrite=false&concordat.data=true"
        ));
        self.ask("PUT", &path, body).await.0
    }

    fn stored(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.dir.path().join("sink/c/day")) else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn provenance() -> Provenance {
    Provenance {
        job_id: JOB.into(),
        query_digest: model::Digest::ZERO,
        dataset_digests: BTreeMap::new(),
    }
}

fn sign(_: &[u8]) -> Result<ManifestSignature, String> {
    Ok(ManifestSignature {
        algorithm: "test".into(),
        public_key: String::new(),
        signature: vec![1],
    })
}

#[tokio::test]
async fn any_part_of_a_sealed_file_is_read_in_clear_and_counted() {
    let long = ROWS.repeat(500);
    let world = World::new(&long, None).await;
    let path = world.path("in/v/a.csv?op=OPEN");
    assert_eq!(world.ask("GET", &path, "").await, (200, long.clone()));
    for (offset, len) in [(0, 1), (1023, 2), (1024, 1024), (5999, 1), (6000, 5)] {
        let (status, body) = world
            .ask("GET", &format!("{path}&offset={offset}&length={len}"), "")
            .await;
        assert_eq!(
            (status, body.as_str()),
            (200, &long[offset..long.len().min(offset + len)])
        );
    }
    assert_eq!(world.ask("GET", &format!("{path}&offset=6001"), "").await.0, 400);
    let status: Value = serde_json::from_str(
        &world
            .ask("GET", &world.path("in/v/a.csv?op=GETFILESTATUS"), "")
            .await
            .1,
    )
    .unwrap();
    assert_eq!(status["FileStatus"]["length"], 6000);
    assert!(world.door.bytes_read()["v"] >= 6000);
}

#[tokio::test]
async fn without_the_capability_there_is_nothing_to_see() {
    let world = World::new(ROWS, None).await;
    let mut other: String = world.door.capability().to_owned();
    let last = if other.pop() == Some('0') { '1' } else { '0' };
    other.push(last);
    for path in [
        "/".to_owned(),
        "/webhdfs/v1/?op=LISTSTATUS".to_owned(),
        "/webhdfs/v1/in/v/a.csv?op=OPEN".to_owned(),
        format!("/webhdfs/v1/{other}/in/v/a.csv?op=OPEN"),
        format!(
            "/webhdfs/v1/{}/in/v/a.csv?op=OPEN",
            &world.door.capability()[..31]
        ),
        format!("/{}/in/v/a.csv?op=OPEN", world.door.capability()),
    ] {
        assert_eq!(world.ask("GET", &path, "").await.0, 403, "{path}");
    }
}

#[tokio::test]
async fn inputs_cannot_be_written_and_output_cannot_be_read_back() {
    let world = World::new(ROWS, None).await;
    for (method, path) in [
        ("PUT", "in/v/b.csv?op=CREATE&concordat.data=true"),
        ("PUT", "in/v/a.csv?op=RENAME&destination=/x"),
        ("DELETE", "in/v/a.csv?op=DELETE"),
        ("PUT", "out/other.tmp/x?op=CREATE&concordat.data=true"),
    ] {
        assert_eq!(
            world.ask(method, &world.path(path), "x").await.0,
            403,
            "{method} {path}"
        );
    }
    assert_eq!(world.write("part-0.csv", "n,s\n1,a\n").await, 201);
    assert_eq!(
        world
            .ask("GET", &world.path("out/run-1.tmp/part-0.csv?op=OPEN"), "")
            .await
            .0,
        403
    );
    assert_eq!(world.write("part-0.csv", "again").await, 403);
    assert_eq!(
        world
            .ask("POST", &world.path("out/run-1.tmp/part-0.csv?op=APPEND"), "x")
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn the_gate_decides_on_every_open() {
    let world = World::new(ROWS, Some(Access::Read { view: "v".into() })).await;
    assert_eq!(
        world.ask("GET", &world.path("in/v/a.csv?op=OPEN"), "").await.0,
        403
    );
    assert_eq!(world.write("part-0.csv", "n,s\n").await, 201);
    let world = World::new(ROWS, Some(Access::Write)).await;
    assert_eq!(
        world.ask("GET", &world.path("in/v/a.csv?op=OPEN"), "").await,
        (200, ROWS.into())
    );
    assert_eq!(world.write("part-0.csv", "n,s\n").await, 403);
    assert_eq!(world.sink.bytes_written(), 0);
}

#[tokio::test]
async fn output_appears_whole_and_encrypted_or_not_at_all() {
    let world = World::new(ROWS, None).await;
    assert_eq!(
        world.write("_temporary/0/part-0.csv", "n,s\n1,secret\n").await,
        201
    );
    let to = world.path(&format!(
        "out/{JOB}.tmp/_temporary/0/part-0.csv?op=RENAME&destination=/{}/out/{JOB}.tmp/part-0.csv",
        world.door.capability()
    ));
    assert_eq!(
        world.ask("PUT", &to, "").await,
        (200, r#"{"boolean":true}"#.into())
    );
    assert_eq!(world.stored(), ["run-1.tmp"]);
    let manifest = world.sink.publish(provenance(), 1, sign).await.unwrap();
    assert_eq!(world.stored(), ["run-1"]);
    let stored = std::fs::read(world.dir.path().join("sink/c/day/run-1/part-0.csv")).unwrap();
    assert!(!stored.windows(6).any(|bytes| bytes == b"secret"));
    assert_eq!(manifest.files[0].sha256, crypto::sha256(&stored));
    // A second run of the same id must not replace a published result.
    assert!(matches!(
        World::sink(world.dir.path()).await,
        Err(OutputError::AlreadyPublished)
    ));
    assert_eq!(world.write("late.csv", "x").await, 403);

    let fail = |_: &[u8]| Err("no key".to_owned());
    for (rows, signed) in [(2, true), (1, false)] {
        let world = World::new(ROWS, None).await;
        assert_eq!(world.write("part-0.csv", "n,s\n1,a\n").await, 201);
        let published = match signed {
            true => world.sink.publish(provenance(), rows, sign).await,
            false => world.sink.publish(provenance(), rows, fail).await,
        };
        assert!(published.is_err());
        assert!(world.stored().is_empty());
    }
}

#[tokio::test]
async fn a_changed_block_ends_the_stream_and_a_wrong_file_is_never_offered() {
    let world = World::new(&ROWS.repeat(500), None).await;
    let file = world.dir.path().join("data/a.csv");
    let mut stored = std::fs::read(&file).unwrap();
    stored[2000] ^= 1;
    std::fs::write(&file, &stored).unwrap();
    let (status, body) = world.ask("GET", &world.path("in/v/a.csv?op=OPEN"), "").await;
    // The length promised is 6000, so the reader knows that it was cut off.
    assert!(
        status == 200 && body.len() <= 1024,
        "nothing from the changed block on may go out: {}",
        body.len()
    );

    let view = || ViewName::parse("v").unwrap();
    let document = dataset(&world.dir.path().join("data"), "read");
    assert!(matches!(
        Input::open(view(), &document, None, None).await,
        Err(InputError::KeyMissing)
    ));
    stored.pop();
    std::fs::write(&file, &stored).unwrap();
    let cut = Input::open(view(), &document, Some(&key(1)), None).await.unwrap();
    let last = cut.files().values().next().unwrap();
    assert!(matches!(
        cut.read(last, last.plain_len() - 1).await,
        Err(InputError::Sealed(_))
    ));
    std::fs::write(&file, ROWS).unwrap();
    assert!(matches!(
        Input::open(view(), &document, Some(&key(1)), None).await,
        Err(InputError::Sealed(_))
    ));
}

/// The door's own limit, said here once more.
const CONNECTION_COUNT_MAX: usize = 64;

/// Reads the answer to a request on a connection that stays open.
async fn answered(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(answer).unwrap().to_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).await.unwrap();
}

#[tokio::test]
async fn the_most_connections_are_served_and_the_next_waits_until_one_ends() {
    let world = World::new(ROWS, None).await;
    let address = world.door.output_url();
    let address = address
        .trim_start_matches("webhdfs://")
        .split('/')
        .next()
        .unwrap();
    let ask = async |stream: &mut TcpStream| {
        let request = b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
    };
    let mut open = Vec::new();
    for _ in 0..CONNECTION_COUNT_MAX {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream).await;
        answered(&mut stream).await;
        open.push(stream);
    }
    let mut next = TcpStream::connect(address).await.unwrap();
    ask(&mut next).await;
    // It asked first, and yet those that are served are answered before it.
    for served in &mut open {
        ask(served).await;
        answered(served).await;
    }
    let early = next.try_read(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    open.pop();
    answered(&mut next).await;
}
