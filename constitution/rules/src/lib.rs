//! The rules: is a proposal well formed, do its ballots carry it, and what does it change.
//!
//! **Invariant: the rules are a function of public tables.** They read no private table, no clock,
//! no random number and no configuration, so an auditor who holds only the ledger re-runs every
//! decision and must reach the same result.
//!
//! Not here: authentication, replay, counting who is online. A ballot that reaches this crate is
//! a member's own.

pub mod actions;
pub mod credentials;
pub mod electorate;
pub mod fault;
pub mod proposal;
pub mod resolve;
pub mod roles;

use kv::{Read, Write};
use model::proposal::{Moment, Resolution};
use model::{MemberId, ProposalId};

pub use credentials::Credentials;
pub use fault::Fault;
pub use resolve::resolve;

/// A fault of one action.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invalid {
    /// The action's position in the proposal, from zero.
    pub position: u32,
    /// Its name; empty if the proposal as a whole is malformed.
    pub action: String,
    /// What is wrong with it.
    pub reason: String,
    /// The action is known, but not carried out by this build.
    pub unavailable: bool,
}

/// The action at which carrying out a proposal stopped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failed {
    /// Its name.
    pub action: String,
    /// Why.
    pub reason: String,
}

/// What is known about a proposal besides its text.
#[derive(Clone, Copy, Debug)]
pub struct ProposalContext {
    /// Its id.
    pub proposal_id: ProposalId,
    /// Who submitted it.
    pub proposer_id: MemberId,
    /// Why it is looked at now.
    pub moment: Moment,
}

/// A ballot as recorded.
pub type Ballot = (MemberId, bool);

/// Checks a proposal's form and, as far as the present state tells, that it can be carried out.
///
/// # Errors
///
/// Every fault, in the order of the actions.
pub fn validate(
    state: &impl Read,
    credentials: &impl Credentials,
    proposal: &[u8],
) -> Result<(), Vec<Invalid>> {
    proposal::check_text(proposal)?;
    let parsed = proposal::parse_all(proposal)?;
    let mut faults = parsed.faults;
    for (index, (position, action)) in parsed.actions.iter().enumerate() {
        let earlier = parsed.actions.get(..index).unwrap_or_default();
        let earlier = || earlier.iter().map(|(_, action)| action);
        if let Err(fault) = actions::check_submission(action, earlier, state, credentials) {
            faults.push(Invalid {
                position: *position,
                action: action.name().to_owned(),
                unavailable: fault.is_unavailable(),
                reason: fault.to_string(),
            });
        }
    }
    faults.sort_by_key(|fault| fault.position);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Carries the actions out, in order. The caller discards every change if this fails.
///
/// # Errors
///
/// [`Failed`] at the first action that the state no longer admits.
pub fn apply<S: Read + Write>(
    state: &mut S,
    credentials: &impl Credentials,
    context: &ProposalContext,
    proposal: &[u8],
) -> Result<(), Failed> {
    let parsed = proposal::parse(proposal).map_err(|fault| Failed {
        action: fault.action,
        reason: fault.reason,
    })?;
    for action in &parsed {
        actions::apply(action, context, state, credentials).map_err(|fault| Failed {
            action: action.name().to_owned(),
            reason: fault.to_string(),
        })?;
    }
    Ok(())
}

/// What [`resolve()`] gives.
pub type Resolved = Result<Resolution, kv::TableError>;
