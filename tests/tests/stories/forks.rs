//! Copies of a node's disk: what a lone node refuses, and what only its clients can notice.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use kv::TxId;
use serde_json::{Value as JsonValue, json};
use tests::built;
use tests::node::Node;
use tests::outcome::refused;
use tests::service::{INSECURE, Service};

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir(to)?;
    for item in std::fs::read_dir(from)? {
        let item = item?;
        std::fs::copy(item.path(), to.join(item.file_name()))?;
    }
    Ok(())
}

/// `concordat service commit` of somebody whose configuration folder is `home`: exit code and answer.
async fn ask(service: &Service, home: &Path) -> Result<(i32, JsonValue)> {
    let mut command = Command::new(built::program("concordat")?);
    command
        .env_clear()
        .env("XDG_CONFIG_HOME", home)
        .args(["--json", "--address", service.address()?, "--service-cert"])
        .arg(service.layout.service_cert())
        .args(["service", "commit"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let code = output.status.code().context("it was killed")?;
    Ok((code, serde_json::from_slice(&output.stdout)?))
}

#[tokio::test]
async fn an_older_copy_of_everything_is_noticed_by_a_client_that_saw_what_came_later() -> Result<()> {
    let mut service = Service::begin(&["ann", "bob"], &[]).await?;
    let (saw_later, saw_nothing) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (state, ledger) = (service.layout.state(), service.layout.ledger());
    let dir = tempfile::tempdir()?;
    service.stop().await?;
    copy(&state, &dir.path().join("state"))?;
    copy(&ledger, &dir.path().join("ledger"))?;

    service.start().await?;
    service.activate().await?;
    for _ in 0..2 {
        assert_eq!(ask(&service, saw_later.path()).await?.0, 0);
    }
    service.stop().await?;
    // A clean restart is no fork.
    service.start().await?;
    assert_eq!(ask(&service, saw_later.path()).await?.0, 0);
    service.stop().await?;

    // State folder and ledger together: the node cannot know, and starts.
    copy(&dir.path().join("state"), &state)?;
    copy(&dir.path().join("ledger"), &ledger)?;
    service.start().await?;
    let (code, said) = ask(&service, saw_later.path()).await?;
    assert_eq!(
        (code, &said["error"]["code"]),
        (5, &JsonValue::from("ServiceForked"))
    );
    let (code, _) = ask(&service, saw_nothing.path()).await?;
    assert_eq!(code, 0, "who saw nothing later cannot tell");
    Ok(())
}

#[tokio::test]
async fn a_ledger_alone_set_back_below_two_later_starts_is_not_started_from() -> Result<()> {
    let mut service = Service::begin(&["ann", "bob"], &[]).await?;
    let ledger = service.layout.ledger();
    let dir = tempfile::tempdir()?;
    let old = dir.path().join("ledger");
    service.stop().await?;
    copy(&ledger, &old)?;
    for _ in 0..2 {
        service.start().await?;
        service.stop().await?;
    }
    copy(&old, &ledger)?;
    let layout = &service.layout;
    let ended = Node::try_start(&layout.config(), &layout.log(), &[INSECURE])
        .await?
        .err()
        .context("the node started on an older ledger")?;
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.said.contains("LedgerBehind"), "{}", ended.said);
    Ok(())
}

#[tokio::test]
async fn an_older_copy_takes_no_run_request_of_somebody_who_saw_what_came_later() -> Result<()> {
    const RUN: &str = "/app/contracts/c1/queries/q1/runs/r1";
    let mut service = Service::open(&["ann", "bob"], &[]).await?;
    let (state, ledger) = (service.layout.state(), service.layout.ledger());
    let dir = tempfile::tempdir()?;
    service.stop().await?;
    copy(&state, &dir.path().join("state"))?;
    copy(&ledger, &dir.path().join("ledger"))?;
    service.start().await?;
    let before = service.committed().await?;
    service.accept_contract("c1").await?;
    let later = service.committed().await?;

    // What is there is no hindrance; that nobody published this query is another matter.
    let asked = |seen: TxId| json!({ "seen": seen.to_string() });
    let ann = service.connection_of(service.member(0)?)?;
    for seen in [before, later] {
        refused(ann.put(RUN, &asked(seen)).await, 404, "UserDocumentNotFound")?;
    }
    let made_up = TxId::new(later.view, later.seqno.saturating_add(1_000));
    refused(ann.put(RUN, &asked(made_up)).await, 409, "ServiceForked")?;

    service.stop().await?;
    copy(&dir.path().join("state"), &state)?;
    copy(&dir.path().join("ledger"), &ledger)?;
    service.start().await?;
    let ann = service.connection_of(service.member(0)?)?;
    refused(ann.put(RUN, &asked(later)).await, 409, "ServiceForked")?;
    Ok(())
}

#[tokio::test]
async fn a_node_shows_who_was_told_of_a_transaction_that_it_has_it_or_is_a_fork() -> Result<()> {
    let service = Service::begin(&["ann"], &[]).await?;
    let (connection, there) = (service.connection()?, service.committed().await?);
    connection.require(there).await?;
    // Another view's, and one that is still to come: the first is said at once, the second after a while.
    let other = TxId::new(there.view.saturating_add(1), there.seqno);
    let later = TxId::new(there.view, there.seqno.saturating_add(1_000));
    for missing in [other, later] {
        let refused = connection.require(missing).await;
        assert!(matches!(&refused, Err(error) if error.is_fork()), "{refused:?}");
    }
    Ok(())
}
