//! Genuine programs, started by somebody who gives them a ledger of his own.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result};
use evidence::Measured;
use model::evidence::Role;
use serde_json::{Value as JsonValue, json};
use tempfile::TempDir;
use tests::built::program;
use tests::pods::{Chip, HOST_DATA, MEASUREMENT};
use tests::relay::Relay;
use tests::service::Service;
use tokio::process::{Child, Command};

const SECRET: &str = "for attested eyes only";

/// A program's launch document, and the digest that members vote for.
fn launch(dir: &Path, role: Role, name: &str, argument: &str) -> Result<(PathBuf, String)> {
    let arguments = vec![argument.to_owned()];
    let measured = Measured::measure(role, &program(name)?, [].into(), arguments, None)?;
    let path = dir.join(format!("{name}.launch.json"));
    measured.document.write(&path)?;
    Ok((path, measured.document.digest().to_string()))
}

fn measurement() -> String {
    hex::encode(crypto::sha384(b"concordat software attester v1"))
}

/// The unchanged pod asks for a secret; `address` and certificate are whatever its operator says.
async fn probe(
    chip: &Chip,
    document: &Path,
    secret: &str,
    address: &str,
    service_cert: &Path,
) -> Result<(Option<i32>, JsonValue)> {
    let empty = tempfile::tempdir()?;
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
        .arg(empty.path())
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
    let (document, host_data) = launch(dir.path(), Role::Pod, "concordat-pod", "probe")?;
    service.accept_contract("c1").await?;
    let claims = json!({
        HOST_DATA: host_data, MEASUREMENT: measurement(), "x-ms-sevsnpvm-is-debuggable": false,
    });
    service.accept_policy("c1", &json!({ "claims": claims })).await?;
    let secret = service.put_secret("c1", "dek", SECRET).await?;

    let real = service.address()?;
    let relay = Relay::start(dir.path(), Some((real, &service.service_cert()?))).await?;
    let before = service.committed().await?;
    let (code, told) = probe(&chip, &document, &secret, &relay.address, &relay.service_cert).await?;
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
    let (code, told) = probe(&chip, &document, &secret, real, &service.layout.service_cert()).await?;
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
        let refused = probe(&chip, &document, &secret, &relay.address, &both).await;
        assert!(format!("{:#}", refused.unwrap_err()).contains("more than one"));
        assert_eq!(relay.heard().connections, heard);
    }
    Ok(())
}

/// A launcher, started by somebody who gives it a ledger of his own; killed when dropped.
struct Launcher {
    _process: Child,
    address: String,
    host_data: String,
}

async fn launcher(dir: &Path, chip: &Chip, ledger: &Relay) -> Result<Launcher> {
    let (document, host_data) = launch(dir, Role::Launcher, "concordat-launcher", "serve")?;
    let address_file = dir.join("address");
    let mut command = Command::new(program("concordat-launcher")?);
    command
        .args(["serve", "--contract", "c1", "--address", &ledger.address])
        .arg("--service-cert")
        .arg(&ledger.service_cert)
        .arg("--launch-document")
        .arg(&document)
        .arg("--attester")
        .arg(&chip.folder)
        .arg("--address-file")
        .arg(&address_file)
        .arg("--certificate-file")
        .arg(dir.join("launcher.pem"))
        .arg("--work-dir")
        .arg(dir.join("work"))
        .arg("--pod-program")
        .arg(program("concordat-pod")?)
        .arg("--pod-launch-document")
        .arg(&document)
        .arg("--job-dir")
        .arg(dir)
        .arg("--spark-venv")
        .arg(dir)
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut process = command.spawn()?;
    // It says so when it serves, and ends otherwise.
    let mut said = tokio::io::BufReader::new(process.stderr.take().context("a pipe")?);
    let mut line = String::new();
    while !address_file.exists() {
        line.clear();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut said, &mut line).await?;
        anyhow::ensure!(read > 0, "the launcher ended: {line}");
    }
    tokio::spawn(async move { tokio::io::copy(&mut said, &mut tokio::io::sink()).await });
    Ok(Launcher {
        _process: process,
        address: format!("https://{}", std::fs::read_to_string(&address_file)?.trim()),
        host_data,
    })
}

/// `concordat query run` by somebody pinned to `cert`, whose ledger is at `ledger`.
async fn query_run(
    dir: &Path,
    chip: &Chip,
    launcher: &Launcher,
    ledger: &Relay,
    cert: &Path,
    more: &[&str],
) -> Result<Output> {
    let token = dir.join("token");
    std::fs::write(&token, "the.users.token")?;
    Ok(Command::new(program("concordat")?)
        .args(["query", "run", "c1", "q1", "--launcher", &launcher.address])
        .args(["--attester-root", &chip.root, "--measurement", &measurement()])
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
    let launcher = launcher(theirs.path(), &chip, &false_ledger).await?;
    let named = ["--launcher-host-data", launcher.host_data.as_str()];
    // Host data, root and measurement are all as documented, and right.
    let output = query_run(
        ours.path(),
        &chip,
        &launcher,
        &ledger,
        &ledger.service_cert,
        &named,
    )
    .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("does not serve"), "{said}");
    for (who, heard) in [("our ledger", ledger.heard()), ("theirs", false_ledger.heard())] {
        assert_eq!(
            (heard.connections, heard.sent.len()),
            (0, 0),
            "{who} was told something"
        );
    }
    // Other host data than this: refused for that, and nobody hears anything either.
    let other = ["--launcher-host-data", &"9".repeat(64)];
    let output = query_run(
        ours.path(),
        &chip,
        &launcher,
        &ledger,
        &false_ledger.service_cert,
        &other,
    )
    .await?;
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(
        (ledger.heard().connections, false_ledger.heard().connections),
        (0, 0)
    );
    Ok(())
}
