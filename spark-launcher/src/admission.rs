//! Admission of a run whose turn has come: the SQL gate, the ledger's one transaction, the audit event.
//!
//! The ledger decides; what comes before only spares it work, what comes after cannot fail for want
//! of consent. It comes this late because the life of a run's permissions begins here.

use std::time::Duration;

use cleanroom_model::{DocumentId, RunId};

use crate::jobs::Verdict;
use crate::ledger::Ledger;
use crate::query::check_sql_apart;
use crate::refusal::Refusal;

/// How often a ledger that does not answer is asked.
const ATTEMPTS: u32 = 3;
/// Time between two attempts.
const PAUSE: Duration = Duration::from_secs(5);

/// Has the run admitted; asking again for one that is changes nothing.
///
/// # Errors
///
/// [`Refusal`] with the ledger's code and who has not agreed, or with the gate's.
pub async fn admit(ledger: &Ledger, query: &DocumentId, run: &RunId) -> Verdict {
    let mut verdict = attempt(ledger, query, run).await;
    for _ in 1..ATTEMPTS {
        // A refusal is final; a fault may pass.
        if !matches!(&verdict, Err(refusal) if refusal.status >= 500) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        verdict = attempt(ledger, query, run).await;
    }
    verdict
}

async fn attempt(ledger: &Ledger, query: &DocumentId, run: &RunId) -> Verdict {
    // Not accepted yet: then the ledger refuses below, and records that it did.
    let checked = check_accepted(ledger, query, run).await?;
    ledger.admit(query, run).await?;
    if !checked && !check_accepted(ledger, query, run).await? {
        return Err(Refusal::new(
            502,
            "LedgerError",
            "the query was admitted but cannot be read",
        ));
    }
    ledger.audit_start(query, run).await
}

/// Puts the query before the SQL gate if it can be read; `false` if it is not accepted.
async fn check_accepted(ledger: &Ledger, query: &DocumentId, run: &RunId) -> Result<bool, Refusal> {
    let Some(text) = ledger.accepted_query(query).await? else {
        return Ok(false);
    };
    if let Err(refusal) = check_sql_apart(text).await {
        ledger.audit_denied(query, run, &refusal.code).await?;
        return Err(refusal);
    }
    Ok(true)
}
