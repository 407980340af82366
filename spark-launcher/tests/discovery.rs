//! A launcher over real TLS: who believes its certificate, and what it answers without a ledger.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use client::discovery::{Expected, Trust, discover};
use client::{ClientError, Connection};
use evidence::Measured;
use http::HeaderName;
use model::evidence::Role;
use model::{Digest, ServiceId};
use serde_json::Value as JsonValue;
use spark_launcher::identity::{TlsIdentity, workload};
use spark_launcher::jobs::Jobs;
use spark_launcher::ledger::Ledger;
use spark_launcher::requested::Requested;
use spark_launcher::routes::{Launcher, ROUTES, TOKEN_HEADER};
use spark_launcher::server::serve;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What every software attester reports.
const SOFTWARE_MEASUREMENT: &str =
    "e1ee5f1e445067d586887422c89d7401253e9685a280a649c117c394c4e263740498b2f99efe92978a1dba4225f151a2";

struct Running {
    _dir: tempfile::TempDir,
    address: String,
    service: ServiceId,
    host_data: Digest,
    root: Digest,
}

/// A launcher whose program is this test, and whose ledger does not answer.
async fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let attester = dir.path().join("attester");
    evidence::software::init(&attester).unwrap();
    let program = std::env::current_exe().unwrap();
    let arguments = vec!["serve".to_owned()];
    let measured = Measured::measure(Role::Launcher, &program, [].into(), arguments, None).unwrap();
    let document = dir.path().join("launch.json");
    measured.document.write(&document).unwrap();
    let tls = TlsIdentity::generate().unwrap();
    let (jobs, _) = Jobs::open(&dir.path().join("jobs"), 1).unwrap();
    let nobody = "https://127.0.0.1:1".to_owned();
    let connection = Connection::new(&nobody, &tls.certificate_pem, None).unwrap();
    let service = connection.service().unwrap();
    let workload = workload(&connection, &document, Some(&attester), false).unwrap();
    let contract: cleanroom_model::ContractId = "c".parse().unwrap();
    let launcher = Launcher {
        ledger: Ledger::new(connection, workload, contract.clone()).into(),
        address: nobody,
        contract,
        jobs,
        certificate_pem: tls.certificate_pem,
        run_seconds_max: 60,
        requested: Requested::default(),
        accept_user_tokens: false,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(
        listener,
        TlsAcceptor::from(tls.settings),
        Arc::new(launcher),
    ));
    let root = evidence::software::ark_spki_sha256(&attester).unwrap();
    Running {
        host_data: measured.document.digest(),
        service,
        address,
        root,
        _dir: dir,
    }
}

fn expected(launcher: &Running, host_data: Digest, roots: &[Digest]) -> Expected {
    let trust = Trust {
        extra_arks: roots.to_vec(),
        allow_virtual: false,
    };
    Expected {
        service: launcher.service,
        host_data: vec![host_data],
        measurements: vec![SOFTWARE_MEASUREMENT.to_owned()],
        trust,
    }
}

#[tokio::test]
async fn a_certificate_is_believed_only_of_the_agreed_launcher_of_the_pinned_service() {
    let launcher = start().await;
    let good = expected(&launcher, launcher.host_data, &[launcher.root]);
    let certificate = discover(&launcher.address, &good).await.unwrap();
    let pinned = Connection::pinned(&launcher.address, &certificate, None).unwrap();
    let ready: JsonValue = pinned.get("/ready").await.unwrap().json().unwrap();
    assert_eq!(ready.get("status").unwrap(), "up");

    for wrong in [
        expected(&launcher, Digest([9; 32]), &[launcher.root]),
        expected(&launcher, launcher.host_data, &[]),
        // Whoever owns an SNP machine sets its host data.
        Expected {
            measurements: Vec::new(),
            ..expected(&launcher, launcher.host_data, &[launcher.root])
        },
    ] {
        let refused = discover(&launcher.address, &wrong).await;
        assert!(matches!(refused, Err(ClientError::Verification(_))));
    }
    // A genuine launcher, in everything as agreed, that works for somebody else's ledger.
    let other_ledger = Expected {
        service: ServiceId(Digest([9; 32])),
        ..good
    };
    let refused = discover(&launcher.address, &other_ledger).await;
    assert!(
        matches!(&refused, Err(ClientError::Verification(why)) if why.contains("does not serve")),
        "{refused:?}"
    );
    // The pin is to one certificate, not to whoever answers.
    let other = TlsIdentity::generate().unwrap().certificate_pem;
    let mistaken = Connection::pinned(&launcher.address, &other, None).unwrap();
    assert!(matches!(
        mistaken.get("/ready").await,
        Err(ClientError::Unreachable { .. })
    ));
}

#[tokio::test]
async fn requests_are_refused_with_their_codes() {
    let launcher = start().await;
    let good = expected(&launcher, launcher.host_data, &[launcher.root]);
    let certificate = discover(&launcher.address, &good).await.unwrap();
    let nobody = Connection::pinned(&launcher.address, &certificate, None).unwrap();
    let header = HeaderName::from_static(TOKEN_HEADER);
    let user = Connection::pinned(
        &launcher.address,
        &certificate,
        Some((header, "a.b.c".to_owned())),
    )
    .unwrap();
    for (outcome, code) in [
        // Where no tokens are taken, one that is shown is not passed on.
        (user.post_empty("/queries/q/run").await, "UserTokensNotAccepted"),
        (nobody.post_empty("/queries/q/run").await, "UserTokensNotAccepted"),
        (
            user.get("/queries/q/prerequisites").await,
            "UserTokensNotAccepted",
        ),
        (nobody.get("/status/r").await, "ResourceNotFound"),
        (nobody.get("/queries/q/runs").await, "ResourceNotFound"),
        (nobody.get("/nothing").await, "ResourceNotFound"),
        (nobody.get("/runs/r").await, "UnsupportedHttpVerb"),
        (
            nobody
                .post("/runs/r", &serde_json::json!({"parameters": {}}))
                .await,
            "InvalidInput",
        ),
        (nobody.post_empty("/runs/r").await, "LedgerUnreachable"),
    ] {
        assert_eq!(outcome.unwrap_err().code(), Some(code));
    }
}

#[tokio::test]
async fn every_route_that_is_described_is_answered_and_no_other_method() {
    let launcher = start().await;
    let good = expected(&launcher, launcher.host_data, &[launcher.root]);
    let certificate = discover(&launcher.address, &good).await.unwrap();
    let nobody = Connection::pinned(&launcher.address, &certificate, None).unwrap();
    for (method, path) in ROUTES {
        let path = path.replace("{runId}", "r").replace("{queryId}", "q");
        let (there, not_there) = match method {
            "GET" => (nobody.get(&path).await, nobody.post_empty(&path).await),
            _ => (nobody.post_empty(&path).await, nobody.get(&path).await),
        };
        assert_eq!(
            not_there.unwrap_err().code(),
            Some("UnsupportedHttpVerb"),
            "{path}"
        );
        if let Err(error) = there {
            let code = error.code().unwrap_or_default();
            assert!(code != "UnsupportedHttpVerb", "{method} {path}");
            assert!(!error.to_string().contains("nothing at this path"), "{path}");
        }
    }
}
