//! What the kernel says of our processes while they run: no core files, no new privileges, nothing of them for
//! other processes to read, nothing that they write for other users.

use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use model::evidence::Role;
use tempfile::TempDir;
use tests::built::program;
use tests::launcher::{Launch, Launcher, Start, job_dir};
use tests::pods::Chip;
use tests::relay::Relay;
use tests::service::Service;
use tokio::process::Command;

fn is_closed(name: &str, pid: Option<u32>) -> Result<()> {
    let pid = pid.context("it has ended")?;
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("{name}: {path}"))
    };
    let status = read("status")?;
    for wanted in ["NoNewPrivs:\t1", "Umask:\t0077"] {
        ensure!(
            status.lines().any(|line| line == wanted),
            "{name}: no {wanted} in {status}"
        );
    }
    let limits = read("limits")?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core
        .context("no limit")?
        .split_whitespace()
        .skip(4)
        .take(2)
        .collect();
    ensure!(core == ["0", "0"], "{name}: core files of {core:?}");
    // What is not dumpable belongs to root in this place, whoever runs it.
    for file in ["environ", "mem", "maps"] {
        let owner = std::fs::metadata(format!("/proc/{pid}/{file}"))?.uid();
        ensure!(owner == 0, "{name}: {file} belongs to {owner}");
    }
    Ok(())
}

#[tokio::test]
async fn host_launcher_and_pod_leave_no_core_and_are_closed_to_other_processes() -> Result<()> {
    let chip = Chip::new()?;
    let service = Service::open(&["ann"], std::slice::from_ref(&chip.root)).await?;
    is_closed("host", service.pid())?;
    let dir = TempDir::new()?;
    // A ledger that answers nobody keeps them where they are.
    let silent = Relay::start(dir.path(), None).await?;
    let launch = Launch::measure(dir.path(), Role::Launcher, "concordat-launcher", &["serve"])?;
    let measured = Launch::measure(dir.path(), Role::Pod, "concordat-pod", &["probe"])?;
    let launcher = Launcher::start(&Start {
        dir: &dir.path().join("launcher"),
        chip: &chip,
        ledger: &silent.address,
        service_cert: &silent.service_cert,
        launch: &launch,
        pod: &measured,
        spark_venv: dir.path(),
        more: &[],
    })
    .await?;
    is_closed("launcher", launcher.pid())?;
    let pod = Command::new(program("concordat-pod")?)
        .args([
            "probe",
            "--contract",
            "c1",
            "--secret",
            "s",
            "--address",
            &silent.address,
        ])
        .arg("--service-cert")
        .arg(&silent.service_cert)
        .arg("--launch-document")
        .arg(&measured.path)
        .arg("--attester")
        .arg(&chip.folder)
        .arg("--job-dir")
        .arg(job_dir())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let before = silent.heard().connections;
    while silent.heard().connections == before {
        tokio::task::yield_now().await;
    }
    is_closed("pod", pod.id())
}
