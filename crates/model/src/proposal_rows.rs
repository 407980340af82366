//! The rows a proposal has on the ledger, kept in step.
//!
//! Closed proposals stay in `proposals_info` for good. What asks for the open ones (accepting a
//! contract, reading a draft) must not get slower with every proposal there ever was, so their
//! ids are kept a second time in [`OPEN_PROPOSALS`].

use std::collections::BTreeSet;

use kv::{Json, Pair, Read, TableError, Unit, Write};

use crate::ProposalId;
use crate::proposal::{ProposalInfo, ProposalState};
use crate::tables::{COSE_RECENT_PROPOSALS, OPEN_PROPOSALS, PROPOSAL_WINDOWS, PROPOSALS_INFO};

/// Writes where a proposal stands, and whether it is among the open ones.
///
/// # Errors
///
/// [`TableError`] if the context may not write these tables.
pub fn put(
    changes: &mut (impl Write + ?Sized),
    id: &ProposalId,
    info: ProposalInfo,
) -> Result<(), TableError> {
    if info.state == ProposalState::Open {
        OPEN_PROPOSALS.put(changes, id, &Unit)?;
    } else {
        OPEN_PROPOSALS.remove(changes, id)?;
    }
    PROPOSALS_INFO.put(changes, id, &Json(info))
}

/// Every open proposal, by id.
///
/// # Errors
///
/// [`TableError`] if a table may not be read or a row is malformed.
pub fn open(state: &(impl Read + ?Sized)) -> Result<Vec<(ProposalId, ProposalInfo)>, TableError> {
    let mut open = Vec::new();
    for row in OPEN_PROPOSALS.rows(state)? {
        // The row itself decides: a voted constitution may write either table.
        match PROPOSALS_INFO.get(state, &row.key)? {
            Some(Json(info)) if info.state == ProposalState::Open => open.push((row.key, info)),
            _ => {}
        }
    }
    Ok(open)
}

/// Gives each signer its replay window: a ledger of an earlier build has one window for all.
///
/// # Errors
///
/// As [`put`].
pub fn reindex_windows(state: &mut (impl Read + Write + ?Sized)) -> Result<(), TableError> {
    if !PROPOSAL_WINDOWS.rows(state)?.is_empty() {
        return Ok(());
    }
    for row in COSE_RECENT_PROPOSALS.rows(state)? {
        let Ok(id) = row.value.0.parse::<ProposalId>() else {
            continue;
        };
        if let Some(Json(info)) = PROPOSALS_INFO.get(state, &id)? {
            PROPOSAL_WINDOWS.put(state, &Pair(info.proposer_id, row.key), &Unit)?;
        }
    }
    Ok(())
}

/// Makes the index agree with the rows: a ledger of an earlier build has none.
///
/// # Errors
///
/// As [`put`].
pub fn reindex(state: &mut (impl Read + Write + ?Sized)) -> Result<(), TableError> {
    let mut indexed: BTreeSet<ProposalId> = OPEN_PROPOSALS
        .rows(state)?
        .into_iter()
        .map(|row| row.key)
        .collect();
    for row in PROPOSALS_INFO.rows(state)? {
        if row.value.0.state == ProposalState::Open && !indexed.remove(&row.key) {
            OPEN_PROPOSALS.put(state, &row.key, &Unit)?;
        }
    }
    // What is left is closed, or was never there.
    for id in &indexed {
        OPEN_PROPOSALS.remove(state, id)?;
    }
    Ok(())
}
