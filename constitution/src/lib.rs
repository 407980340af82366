//! The constitution as a component: binds [`constitution_rules`] to the `constitution` world of
//! `wit/`. Conversions only; a decision made here is a bug.
#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(
        dead_code,
        unused_macros,
        unused_imports,
        reason = "natively the crate is checked only: its exports exist for the engine"
    )
)]

mod bindings;
mod host;

use bindings::concordat::host::kv::{Reader, Writer};
use bindings::exports::concordat::host::governance::{
    Ballot, Context, Failed, Guest, Invalid, Moment, Resolution,
};
use constitution_rules::{self as rules, ProposalContext};
use host::{Imports, ReadOnly, ReadWrite};

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: guest_memory::Bump = guest_memory::Bump::new(guest_memory::wasm::MORE_MEMORY);

struct Component;

/// Ids come from the host, which made them; a malformed one is its bug and ends the call.
fn id<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("the host gave an id that is none: {text}"))
}

fn context(given: &Context) -> ProposalContext {
    ProposalContext {
        proposal_id: id(&given.proposal_id),
        proposer_id: id(&given.proposer_id),
        moment: match given.moment {
            Moment::Creation => model::proposal::Moment::Creation,
            Moment::Ballot => model::proposal::Moment::Ballot,
            Moment::Change => model::proposal::Moment::Change,
        },
    }
}

impl Guest for Component {
    fn validate(state: &Reader, proposal: Vec<u8>) -> Result<(), Vec<Invalid>> {
        rules::validate(&ReadOnly(state), &Imports, &proposal).map_err(|faults| {
            faults
                .into_iter()
                .map(|fault| Invalid {
                    position: fault.position,
                    action: fault.action,
                    reason: fault.reason,
                    unavailable: fault.unavailable,
                })
                .collect()
        })
    }

    fn resolve(state: &Reader, given: Context, proposal: Vec<u8>, ballots: Vec<Ballot>) -> Resolution {
        let ballots: Vec<rules::Ballot> = ballots
            .iter()
            .map(|ballot| (id(&ballot.member_id), ballot.accept))
            .collect();
        match rules::resolve(&ReadOnly(state), &Imports, &context(&given), &proposal, &ballots) {
            Ok(model::proposal::Resolution::Open) => Resolution::Open,
            Ok(model::proposal::Resolution::Accepted) => Resolution::Accepted,
            Ok(model::proposal::Resolution::Rejected) => Resolution::Rejected,
            // No decision follows from a state that cannot be read: the call must not end well.
            Err(e) => panic!("the state cannot be read: {e}"),
        }
    }

    fn apply(state: &Reader, changes: &Writer, given: Context, proposal: Vec<u8>) -> Result<(), Failed> {
        let mut state = ReadWrite(state, changes);
        rules::apply(&mut state, &Imports, &context(&given), &proposal).map_err(|failed| Failed {
            action: failed.action,
            reason: failed.reason,
        })
    }
}
