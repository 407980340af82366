//! The main job with real Spark: one run to its end, one that is ended while it waits, one that is
//! ended while it runs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use client::Connection;
use serde_json::{Value as JsonValue, json};
use tests::built::{self, program};
use tests::cleanroom::{CleanRoom, ROWS};
use tests::launcher::{Launcher, job_dir};
use tests::outcome::{json, refused};
use tokio::process::Command;

/// Longest wait for a job, in looks of a fifth of a second.
const LOOKS: u32 = 1_500;

/// Where a job stands: state and code.
async fn state(launcher: &Connection, run: &str) -> Result<(String, JsonValue)> {
    let status = json(launcher.get(&format!("/status/{run}")).await)?;
    let state = &status["status"]["applicationState"];
    let text = state["state"].as_str().context("no state")?.to_owned();
    Ok((text, state["errorCode"].clone()))
}

/// Waits until a job is over.
async fn end(launcher: &Connection, run: &str) -> Result<(String, JsonValue)> {
    for _ in 0..LOOKS {
        let (state, code) = state(launcher, run).await?;
        if ["COMPLETED", "FAILED"].contains(&state.as_str()) {
            return Ok((state, code));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("run {run} does not end")
}

/// Everything of a series of events.
async fn events(reader: &Connection, more: &str) -> Result<String> {
    let mut path = format!("/app/contracts/c1/events?from_seqno=1{more}");
    let mut text = String::new();
    loop {
        let page = json(reader.get(&path).await)?;
        text.push_str(&page["value"].to_string());
        match page["nextLink"].as_str() {
            Some(next) => path = next.to_owned(),
            None => return Ok(text),
        }
    }
}

/// Waits until the run's pod has its record: from then on it is at work.
async fn record_released(reader: &Connection, run: &str) -> Result<()> {
    for _ in 0..LOOKS {
        let releases = json(
            reader
                .get("/app/contracts/c1/events?scope=releases&from_seqno=1&max_seqno_per_page=1000")
                .await,
        )?;
        let rows = releases["value"].as_array().context("no rows")?;
        let is_it = |data: &JsonValue| data["kind"] == "run" && data["name"] == run;
        if rows.iter().any(|row| is_it(&row["data"])) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("no pod has read the record of {run}")
}

/// Files below a folder, by name.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// Whether a process of this machine was started with this word.
fn is_running_with(word: &str) -> Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        if line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn row_counts(room: &CleanRoom, launcher: &Connection) -> Result<()> {
    let ann = room.service.connection_of(room.service.member(0)?)?;
    let path = "/app/contracts/c1/userdocuments/d1/runs/done";
    for reader in [&room.user("una")?, &ann] {
        assert_eq!(json(reader.get(path).await)?, json!({ "rows": ROWS }));
    }
    let said = room
        .concordat("una", None, &["document", "rows", "c1", "d1", "done"])
        .await?;
    assert_eq!((said.code, &said.tree["rows"]), (0, &json!(ROWS)), "{said:?}");
    for stranger in ["ada", "eve"] {
        let read = room.user(stranger)?.get(path).await;
        refused(read, 403, "NotUserDocumentApprover")?;
    }
    let number = ROWS.to_string();
    let record = std::fs::read_to_string(room.job_records().join("done.json"))?;
    let run = room
        .user("ada")?
        .get("/app/contracts/c1/queries/q1/runs/done")
        .await;
    for (place, text) in [
        ("events", events(&ann, "").await?),
        ("releases", events(&ann, "&scope=releases").await?),
        ("status", json(launcher.get("/status/done").await)?.to_string()),
        (
            "history",
            json(launcher.get("/queries/q1/runs").await)?.to_string(),
        ),
        ("the launcher's record", record),
        ("the run", json(run)?.to_string()),
    ] {
        assert!(text.contains("done"), "{place} knows nothing of the run: {text}");
        assert!(!text.contains(&number), "{place} shows how many rows were read");
    }
    Ok(())
}

/// The voted pod once more, by hand, for a run that another has carried out.
async fn second_pod(room: &CleanRoom, run: &str) -> Result<String> {
    let work = tempfile::tempdir()?;
    let output = Command::new(program("concordat-pod")?)
        .args(["run", "--contract", "c1", "--run", run, "--address"])
        .arg(room.service.address()?)
        .arg("--service-cert")
        .arg(room.service.layout.service_cert())
        .arg("--launch-document")
        .arg(&room.pod.path)
        .arg("--attester")
        .arg(&room.chip.folder)
        .arg("--job-dir")
        .arg(job_dir())
        .arg("--spark-venv")
        .arg(built::environment("venv-spark")?)
        .arg("--work-dir")
        .arg(work.path())
        .output()
        .await?;
    assert!(!output.status.success());
    Ok(String::from_utf8(output.stdout)?)
}

async fn run(room: &CleanRoom, launcher: &Launcher, id: &str) -> Result<()> {
    let words = ["query", "run", "c1", "q1", "--run-id", id];
    let said = room.concordat("ada", Some(&launcher.address), &words).await?;
    assert_eq!((said.code, &said.tree["id"]), (0, &json!(id)), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_run_is_carried_out_and_one_that_is_ended_ends_in_the_queue_and_at_work() -> Result<()> {
    let room = CleanRoom::open().await?;
    let spark = built::environment("venv-spark")?;
    let launcher = room.start_launcher(room.service.address()?, &spark).await?;
    let anybody = launcher.connection(room.service.connection()?.service()?).await?;
    for id in ["done", "queued", "at-work"] {
        run(&room, &launcher, id).await?;
    }
    // By the owner of the data, who was never asked to start anything.
    assert_eq!(state(&anybody, "queued").await?.0, "SUBMITTED");
    let words = ["query", "cancel", "c1", "q1", "queued"];
    let said = room.concordat("una", None, &words).await?;
    assert_eq!(said.code, 0, "{said:?}");
    let asked = room
        .user("ada")?
        .get("/app/contracts/c1/queries/q1/runs/done")
        .await;
    let asked = json(asked)?;
    assert!(asked["request"]["seen"].is_string(), "{asked}");

    assert_eq!(end(&anybody, "done").await?.0, "COMPLETED");
    let code = |text: &str| ("FAILED".to_owned(), json!(text));
    assert_eq!(end(&anybody, "queued").await?, code("RunCancelled"));
    let queued = json(anybody.get("/status/queued").await)?;
    assert_eq!(queued["status"]["executionAttempts"], 0, "a pod was started");

    let ann = room.service.connection_of(room.service.member(0)?)?;
    record_released(&ann, "at-work").await?;
    assert!(is_running_with("at-work")?);
    // By a member, who approved the dataset.
    ann.post_empty("/app/contracts/c1/queries/q1/runs/at-work/cancel")
        .await?;
    assert_eq!(end(&anybody, "at-work").await?, code("CANCELLED"));
    assert!(!is_running_with("at-work")?, "its pod lives");
    let sink = files(&room.folder("o1")?)?;
    assert!(sink.iter().any(|file| file.contains("done")), "{sink:?}");
    let others = |file: &&String| file.contains("at-work") || file.contains("queued");
    assert_eq!(sink.iter().find(others), None, "something was left");

    row_counts(&room, &anybody).await?;
    let said = second_pod(&room, "done").await?;
    assert!(said.contains("RunTaken") && !said.contains("KEYS"), "{said}");
    Ok(())
}
