//! What somebody waits who has nothing to do with a flood: for a new connection with its first answer, and for a write.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::load::micros_since;
use crate::service::{Service, contract_body};
use crate::wire::{Dial, Wire, request};

/// How long one request may take before it counts as not served.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waiting times.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waited {
    /// Connecting, shaking hands and `GET /node/version`, 99th percentile.
    pub(crate) connect_p99_ms: f64,
    /// A contract written over a connection that stays, 99th percentile.
    pub(crate) write_p99_ms: f64,
    /// Requests that were refused, cut off or not answered in time.
    pub(crate) not_served: u64,
}

/// Asks as a member, in two closed loops, for so long.
pub(crate) async fn probe(service: &Service, duration: Duration, run: &str) -> Result<Waited> {
    let dial = service.dial("member0")?;
    let until = Instant::now() + duration;
    let (connects, writes) = tokio::join!(connecting(&dial, until), writing(&dial, until, run));
    Ok(Waited {
        connect_p99_ms: p99_ms(connects.0)?,
        write_p99_ms: p99_ms(writes.0)?,
        not_served: connects.1 + writes.1,
    })
}

async fn connecting(dial: &Dial, until: Instant) -> (Vec<u64>, u64) {
    let (mut times, mut lost) = (Vec::new(), 0);
    let ask = request("GET", "/node/version", "");
    while Instant::now() < until {
        let began = Instant::now();
        let asked = async { dial.open().await?.expect(&ask).await };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(_)) => {}
            _ => lost += 1,
        }
        times.push(micros_since(began));
    }
    (times, lost)
}

async fn writing(dial: &Dial, until: Instant, run: &str) -> (Vec<u64>, u64) {
    let (mut times, mut lost) = (Vec::new(), 0);
    let mut wire: Option<Wire> = None;
    let tag = client::governance::unix_now_s();
    while Instant::now() < until {
        let path = format!("/app/contracts/{run}-{tag}-{}", times.len());
        let put = request("PUT", &path, &contract_body());
        let began = Instant::now();
        let asked = async {
            let mut open = match wire.take() {
                Some(open) => open,
                None => dial.open().await?,
            };
            open.expect(&put).await?;
            anyhow::Ok(open)
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(open)) => wire = Some(open),
            _ => lost += 1,
        }
        times.push(micros_since(began));
    }
    (times, lost)
}

#[allow(clippy::cast_precision_loss, reason = "times far below 2^52")]
fn p99_ms(mut times: Vec<u64>) -> Result<f64> {
    ensure!(!times.is_empty(), "nothing was asked");
    times.sort_unstable();
    let index = (times.len() * 99 / 100).min(times.len() - 1);
    Ok(times.get(index).copied().unwrap_or_default() as f64 / 1e3)
}
