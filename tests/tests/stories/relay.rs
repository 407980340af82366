//! Genuine programs, started by somebody who gives them a ledger of his own.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result};
use model::evidence::Role;
use serde_json::{Value as JsonValue, json};
use tempfile::TempDir;
use tests::built::program;
use tests::launcher::{Launch, Launcher, Start, job_dir, measurement};
use tests::passage::Passage;
use tests::pods::Chip;
use tests::relay::Relay;
use tests::service::Service;
use tokio::process::Command;

const SECRET: &str = "for attested eyes only";

/// The unchanged pod asks for a secret; `address` and certificate are whatever its operator says.
async fn probe(
    chip: &Chip,
    document: &Path,
    secret: &str,
    address: &str,
    service_cert: &Path,
) -> Result<(Option<i32>, JsonValue)> {
    let output = Command::new(program("concordat-pod")?)
        .args([
            "probe",
            "--contract",
            "c1",
            "--secret",
            secret,
            "--address",
            address,
        ])
        .arg("--service-cert")
        .arg(service_cert)
        .arg("--launch-document")
        .arg(document)
        .arg("--attester")
        .arg(&chip.folder)
        .arg("--job-dir")
        .arg(job_dir())
        .output()
        .await?;
    let told = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output.status.code(), told))
}

#[tokio::test]
async fn a_genuine_pod_behind_a_relay_gets_a_report_data_mismatch_and_nothing_is_written() -> Result<()> {
    let chip = Chip::new()?;
    let service = Service::open(&["ann"], std::slice::from_ref(&chip.root)).await?;
    let dir = TempDir::new()?;
    let launch = Launch::measure(dir.path(), Role::Pod, "concordat-pod", &["probe"])?;
    service.accept_contract("c1").await?;
    service
        .accept_policy("c1", &json!({ "claims": launch.claims() }))
        .await?;
    let secret = service.put_secret("c1", "dek", SECRET).await?;

    let real = service.address()?;
    let relay = Relay::start(dir.path(), Some((real, &service.service_cert()?))).await?;
    let before = service.committed().await?;
    let (code, told) = probe(&chip, &launch.path, &secret, &relay.address, &relay.service_cert).await?;
    assert_eq!(
        (code, &told["code"]),
        (Some(4), &json!("ReportDataMismatch")),
        "{told}"
    );
    assert_eq!(service.committed().await?, before, "something was written");
    // The ledger itself said so, to a pod that had carried everything to it.
    let sent = relay.heard().sent;
    assert!(
        String::from_utf8_lossy(&sent).contains(&format!("POST /app/contracts/c1/secrets/{secret}")),
        "the pod asked for the secret through the relay"
    );

    // The same pod at the real ledger: only the man in the middle made the difference.
    let (code, told) = probe(&chip, &launch.path, &secret, real, &service.layout.service_cert()).await?;
    assert_eq!((code, &told["outcome"]), (Some(0), &json!("released")), "{told}");

    // Both certificates in one file: whom would such a pod name?
    let both = dir.path().join("both.pem");
    let relays = std::fs::read_to_string(&relay.service_cert)?;
    for text in [
        format!("{}{relays}", service.service_cert()?),
        format!("{relays}{}", service.service_cert()?),
    ] {
        std::fs::write(&both, text)?;
        let heard = relay.heard().connections;
        let refused = probe(&chip, &launch.path, &secret, &relay.address, &both).await;
        assert!(format!("{:#}", refused.unwrap_err()).contains("more than one"));
        assert_eq!(relay.heard().connections, heard);
    }
    Ok(())
}

/// Longer than all that a client says to a launcher whose report it reads, handshake included.
const LONG: usize = 32 * 1024;

/// `concordat query run` by somebody pinned to `cert`, whose ledger is at `ledger`.
async fn query_run(
    dir: &Path,
    chip: &Chip,
    launcher: &str,
    ledger: &Relay,
    cert: &Path,
    more: &[&str],
) -> Result<Output> {
    let token = dir.join("token");
    std::fs::write(&token, "the.users.token".repeat(LONG / 10))?;
    let parameter = format!("name=\"{}\"", "the user's wish".repeat(LONG / 10));
    Ok(Command::new(program("concordat")?)
        .args(["query", "run", "c1", "q1", "--launcher", launcher])
        .args(["--attester-root", &chip.root, "--measurement", &measurement()])
        .args(["--parameter", &parameter])
        .args(more)
        .env("CONCORDAT_ADDRESS", &ledger.address)
        .env("CONCORDAT_SERVICE_CERT", cert)
        .env("CONCORDAT_TOKEN_FILE", &token)
        .env("CONCORDAT_CONFIG_DIR", dir)
        .stdin(Stdio::null())
        .output()
        .await?)
}

#[tokio::test]
async fn a_genuine_launcher_of_another_ledger_gets_nothing_of_the_users() -> Result<()> {
    let chip = Chip::new()?;
    let (theirs, ours) = (TempDir::new()?, TempDir::new()?);
    // Listeners that answer nobody and write down whatever is said to them.
    let false_ledger = Relay::start(theirs.path(), None).await?;
    let ledger = Relay::start(ours.path(), None).await?;
    let launch = Launch::measure(theirs.path(), Role::Launcher, "concordat-launcher", &["serve"])?;
    let launcher = Launcher::start(&Start {
        dir: &theirs.path().join("launcher"),
        chip: &chip,
        ledger: &false_ledger.address,
        service_cert: &false_ledger.service_cert,
        launch: &launch,
        pod: &launch,
        spark_venv: theirs.path(),
        more: &[],
    })
    .await?;
    let heard = Passage::to(&launcher.address).await?;
    let named = ["--launcher-host-data", launch.host_data.as_str()];
    // Host data, root and measurement are all as documented, and right.
    let output = query_run(
        ours.path(),
        &chip,
        &heard.address,
        &ledger,
        &ledger.service_cert,
        &named,
    )
    .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("does not serve"), "{said}");
    // Other host data than this: refused for that, and nobody hears anything either.
    let other = ["--launcher-host-data", &"9".repeat(64)];
    let output = query_run(
        ours.path(),
        &chip,
        &heard.address,
        &ledger,
        &false_ledger.service_cert,
        &other,
    )
    .await?;
    assert_eq!(output.status.code(), Some(5));
    for (who, heard) in [("our ledger", ledger.heard()), ("theirs", false_ledger.heard())] {
        assert_eq!(
            (heard.connections, heard.sent.len()),
            (0, 0),
            "{who} was told something"
        );
    }
    // To the launcher one question each went, too short for the token or the parameter.
    let sent = usize::try_from(heard.sent())?;
    assert_eq!(heard.connections(), 2);
    assert!((1..LONG / 4).contains(&sent), "{sent} bytes were sent");
    Ok(())
}
