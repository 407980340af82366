//! Killed with SIGKILL during a stream of concurrent writes, started again: every write that was
//! answered is there, at the transaction it was answered with, and the ledger still validates.
//!
//! `CONCORDAT_KILLS` sets how often; a dozen by default.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use client::{ClientError, Connection};
use model::TxId;
use serde_json::{Value as JsonValue, json};
use tests::garbage::Seeded;
use tests::ledgers;
use tests::service::Service;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Connections that write at the same time.
const WRITERS: usize = 8;
/// Most answers that are waited for before a kill.
const ANSWERS_MAX: usize = 60;

/// A write that was answered.
struct Answered {
    contract: String,
    number: u64,
    version: TxId,
}

/// Writes drafts, one after another, until the node is gone. Before it is being killed, a node that
/// does not answer is a failure.
async fn write(
    connection: Connection,
    prefix: String,
    answered: mpsc::UnboundedSender<Answered>,
    killed: Arc<AtomicBool>,
) -> Result<()> {
    for number in 0.. {
        let contract = format!("{prefix}-{number}");
        let body = json!({ "data": { "number": number } });
        match connection.put(&format!("/app/contracts/{contract}"), &body).await {
            Ok(reply) => {
                let version = reply.tx_id.context("a write answers with its transaction")?;
                let _ = answered.send(Answered {
                    contract,
                    number,
                    version,
                });
            }
            Err(ClientError::Unreachable { .. }) if killed.load(Ordering::SeqCst) => return Ok(()),
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}

/// Starts the writers, kills the node once `wanted` writes were answered, and gives all of those.
async fn write_and_kill(service: &mut Service, round: usize, wanted: usize) -> Result<Vec<Answered>> {
    let (sender, mut answers) = mpsc::unbounded_channel();
    let mut writers = JoinSet::new();
    let killed = Arc::new(AtomicBool::new(false));
    for writer in 0..WRITERS {
        let connection = service.connection_of(service.member(0)?)?;
        let prefix = format!("k{round}-{writer}");
        writers.spawn(write(connection, prefix, sender.clone(), Arc::clone(&killed)));
    }
    drop(sender);
    let mut answered = Vec::new();
    while answered.len() < wanted {
        if let Some(answer) = answers.recv().await {
            answered.push(answer);
        } else {
            while let Some(writer) = writers.join_next().await {
                writer??;
            }
            bail!("the writers ended before the node did");
        }
    }
    killed.store(true, Ordering::SeqCst);
    service.kill().await?;
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    while let Some(late) = answers.recv().await {
        answered.push(late);
    }
    Ok(answered)
}

async fn check(service: &Service, answered: &[Answered]) -> Result<()> {
    let connection = service.connection_of(service.member(0)?)?;
    for write in answered {
        let path = format!("/app/contracts/{}", write.contract);
        let read: JsonValue = connection
            .post_empty(&path)
            .await
            .with_context(|| format!("{} was answered and is not there", write.contract))?
            .json()?;
        ensure!(
            read["version"] == json!(write.version) && read["data"]["number"] == json!(write.number),
            "{} was answered as {} and is {read}",
            write.contract,
            write.version
        );
    }
    Ok(())
}

fn kills() -> usize {
    #[allow(
        clippy::disallowed_methods,
        reason = "how long a test runs is the runner's to say"
    )]
    let set = std::env::var("CONCORDAT_KILLS").ok();
    set.map_or(12, |text| text.parse().expect("CONCORDAT_KILLS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_that_was_answered_survives_a_kill() -> Result<()> {
    let mut service = Service::open(&["ann"], &[]).await?;
    let (ledger, identity) = (service.layout.ledger(), service.service_cert()?);
    let mut random = Seeded(0x6b69_6c6c);
    let mut all = Vec::new();
    let mut view = service.committed().await?.view;
    let rounds = kills();
    for round in 0..rounds {
        // Now and then at once, before anything is answered.
        let wanted = if round % 10 == 9 {
            0
        } else {
            random.below(ANSWERS_MAX)
        };
        let answered = write_and_kill(&mut service, round, wanted).await?;
        ensure!(service.start().await?.resumed, "a new service was begun");
        let before = std::mem::replace(&mut view, service.committed().await?.view);
        ensure!(view > before, "view {view} after {before}");
        check(&service, &answered)
            .await
            .with_context(|| format!("after kill {round}"))?;
        all.extend(answered);
        if round % 10 == 0 {
            ledgers::replay(&ledger, &identity).with_context(|| format!("after kill {round}"))?;
        }
    }
    check(&service, &all).await?;
    let last = service.committed().await?;
    service.stop().await?;
    let report = ledgers::replay(&ledger, &identity)?;
    assert_eq!(report.unsigned_entries, 0);
    assert!(report.last_signed.unwrap() >= last);
    let total = usize::try_from(report.last_signed.unwrap().seqno)?;
    assert!(total > all.len(), "{} answers in {total} entries", all.len());
    ledgers::validate_publicly(&ledger, report.last_signed.unwrap().seqno)
}
