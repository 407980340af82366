//! Open proposals of the members, as far as the application shows them.

use model::tables::PROPOSALS;
use model::{ProposalId, proposal_rows};
use serde::Deserialize;
use serde_json::Value as JsonValue;

use crate::reply::Refusal;
use crate::request::Call;

/// One action of a proposal.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OpenAction {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) args: JsonValue,
}

#[derive(Deserialize)]
struct Body {
    actions: Vec<OpenAction>,
}

/// An open proposal.
#[derive(Clone, Debug)]
pub(crate) struct OpenProposal {
    pub(crate) id: ProposalId,
    pub(crate) actions: Vec<OpenAction>,
}

/// Every open proposal, by id.
pub(crate) fn open(call: &Call<'_>) -> Result<Vec<OpenProposal>, Refusal> {
    let mut open = Vec::new();
    for (id, _) in proposal_rows::open(call.state)? {
        let Some(text) = PROPOSALS.get(call.state, &id)? else {
            continue;
        };
        if let Ok(body) = serde_json::from_slice::<Body>(&text.0) {
            open.push(OpenProposal {
                id,
                actions: body.actions,
            });
        }
    }
    Ok(open)
}

/// Ids of open proposals with an action of one of these names for this contract.
pub(crate) fn open_for_contract(
    call: &Call<'_>,
    contract: &str,
    actions: &[&str],
) -> Result<Vec<ProposalId>, Refusal> {
    Ok(open(call)?
        .into_iter()
        .filter(|proposal| {
            proposal.actions.iter().any(|action| {
                actions.contains(&action.name.as_str())
                    && action.args.get("contractId").and_then(JsonValue::as_str) == Some(contract)
            })
        })
        .map(|proposal| proposal.id)
        .collect())
}
