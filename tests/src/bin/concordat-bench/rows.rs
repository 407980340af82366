//! The rows that are plain requests: contracts, documents, commit and receipts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::figures::Row;
use crate::load::{Measured, closed_loop, micros_since, together};
use crate::service::{Service, contract_body};
use crate::wire::{Dial, request};

/// Contracts and documents that reads go round.
const READ_KEYS: u64 = 100;
/// Receipts asked for the first time, at most.
const COLD_RECEIPTS: usize = 4000;

/// Runs a row. `run` makes ids distinct from those of earlier rows.
pub(crate) async fn measure(
    service: &Service,
    row: Row,
    connections: usize,
    duration: Duration,
    run: &str,
) -> Result<Measured> {
    let member = service.dial("member0")?;
    let run = run.to_owned();
    match row {
        Row::ContractPut => {
            let body = contract_body();
            closed_loop(service, &member, connections, duration, move |number, turn| {
                request("PUT", &format!("/app/contracts/{run}-{number}-{turn}"), &body)
            })
            .await
        }
        Row::DraftRead => {
            put_many(&member, |turn| format!("/app/contracts/{run}-{turn}")).await?;
            closed_loop(service, &member, connections, duration, move |_, turn| {
                request("POST", &format!("/app/contracts/{run}-{}", turn % READ_KEYS), "")
            })
            .await
        }
        Row::AcceptedRead => {
            service.accept_contract(&run).await?;
            closed_loop(service, &member, connections, duration, move |_, _| {
                request("POST", &format!("/app/contracts/{run}"), "")
            })
            .await
        }
        Row::DocumentPut => {
            service.draft(&run).await?;
            let (user, body) = (service.dial("user0")?, contract_body());
            closed_loop(service, &user, connections, duration, move |number, turn| {
                request(
                    "PUT",
                    &format!("/app/contracts/{run}/userdocuments/d-{number}-{turn}"),
                    &body,
                )
            })
            .await
        }
        Row::DocumentRead => {
            service.draft(&run).await?;
            let user = service.dial("user0")?;
            put_many(&user, |turn| {
                format!("/app/contracts/{run}/userdocuments/d-{turn}")
            })
            .await?;
            closed_loop(service, &user, connections, duration, move |_, turn| {
                let path = format!("/app/contracts/{run}/userdocuments/d-{}", turn % READ_KEYS);
                request("POST", &path, "")
            })
            .await
        }
        Row::WriteCommitted => write_to_committed(service, &member, connections, duration, &run).await,
        Row::ReceiptWarm => {
            let ids = put_many(&member, |turn| format!("/app/contracts/{run}-{turn}")).await?;
            let id = ids.into_iter().next().context("no transaction")?;
            let ask = request("GET", &format!("/app/receipt?transaction_id={id}"), "");
            wait_for_receipt(&member, &ask).await?;
            closed_loop(service, &member, connections, duration, move |_, _| ask.clone()).await
        }
        Row::ReceiptCold => cold_receipts(service, &member, duration, &run).await,
        _ => bail!("{} is no row of plain requests", row.name()),
    }
}

/// Writes [`READ_KEYS`] resources; gives their transactions.
async fn put_many(dial: &Dial, path: impl Fn(u64) -> String) -> Result<Vec<String>> {
    let mut wire = dial.open().await?;
    let body = contract_body();
    let mut ids = Vec::new();
    for turn in 0..READ_KEYS {
        let answer = wire.expect(&request("PUT", &path(turn), &body)).await?;
        ids.push(answer.tx_id.context("a write answers with its transaction")?);
    }
    Ok(ids)
}

/// A write, and then `/app/tx` until it says committed: one operation.
async fn write_to_committed(
    service: &Service,
    dial: &Dial,
    connections: usize,
    duration: Duration,
    run: &str,
) -> Result<Measured> {
    let mut loops = Vec::new();
    for number in 0..connections {
        let mut wire = dial.open().await?;
        let run = run.to_owned();
        loops.push(async move {
            let until = Instant::now() + duration;
            let (mut times, body) = (Vec::new(), contract_body());
            while Instant::now() < until {
                let path = format!("/app/contracts/{run}-{number}-{}", times.len());
                let put = request("PUT", &path, &body);
                let sent = Instant::now();
                let id = wire.expect(&put).await?.tx_id.context("no transaction")?;
                let ask = request("GET", &format!("/app/tx?transaction_id={id}"), "");
                while !contains(&wire.expect(&ask).await?.body, b"Committed") {}
                times.push(micros_since(sent));
            }
            Ok(times)
        });
    }
    together(service, loops.into_iter()).await
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

async fn wait_for_receipt(dial: &Dial, ask: &[u8]) -> Result<()> {
    let mut wire = dial.open().await?;
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if wire.expect(ask).await?.status == 200 {
            return Ok(());
        }
    }
    bail!("no receipt within 10 s")
}

/// Receipts of transactions that nobody asked for before, one after another, each until it is
/// there.
async fn cold_receipts(service: &Service, dial: &Dial, duration: Duration, run: &str) -> Result<Measured> {
    let mut ids = Vec::new();
    while ids.len() < COLD_RECEIPTS {
        let part = ids.len();
        ids.extend(put_many(dial, |turn| format!("/app/contracts/{run}-{part}-{turn}")).await?);
    }
    let mut wire = dial.open().await?;
    let until = Instant::now() + duration;
    let ids = Arc::new(ids);
    let one = async move {
        let mut times = Vec::new();
        for id in ids.iter() {
            if Instant::now() > until {
                break;
            }
            let ask = request("GET", &format!("/app/receipt?transaction_id={id}"), "");
            let sent = Instant::now();
            while wire.expect(&ask).await?.status != 200 {}
            times.push(micros_since(sent));
        }
        Ok(times)
    };
    together(service, std::iter::once(one)).await
}
