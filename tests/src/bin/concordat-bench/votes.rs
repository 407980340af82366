//! Governance, one message after another: `set_contract` from the proposal to its acceptance.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::load::{Measured, Meter, micros_since};
use crate::service::Service;

/// Drafts made before the clock runs.
const CYCLES_MAX: usize = 200;

/// Runs cycles over one connection. Members sign within the time measured.
pub(crate) async fn measure(service: &Service, duration: Duration, run: &str) -> Result<Measured> {
    let mut actions = Vec::new();
    for turn in 0..CYCLES_MAX {
        let contract = format!("{run}-{turn}");
        service.draft(&contract).await?;
        actions.push(service.set_contract(&contract).await?);
    }
    let connection = service.connection(None)?;
    let meter = Meter::start(service)?;
    let until = Instant::now() + duration;
    let mut times = Vec::new();
    for action in &actions {
        if Instant::now() > until {
            break;
        }
        let sent = Instant::now();
        service.carry(&connection, action).await?;
        times.push(micros_since(sent));
    }
    meter.finish(times)
}
