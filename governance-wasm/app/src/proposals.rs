//! Open proposals of the members, as far as the application shows them.

use kv::codec::Key as _;
use model::ProposalId;
use model::tables::{PROPOSALS, PROPOSALS_INFO};
use serde::Deserialize;
use serde_json::Value as JsonValue;

use crate::reply::Refusal;
use crate::request::Call;

/// How an open proposal's row looks in canonical JSON. Closed proposals stay in the table for
/// good, so rows are looked at as bytes first and decoded only if they can be open.
const OPEN_MARK: &[u8] = br#""state":"Open""#;

/// Just enough of a proposal's row.
#[derive(Deserialize)]
struct Stand<'a> {
    #[serde(borrow)]
    state: &'a str,
}

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
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = call
            .state
            .scan(PROPOSALS_INFO.name(), &[], after.as_deref(), PAGE_ROWS)?;
        let last_page = u32::try_from(page.len()).is_ok_and(|rows| rows < PAGE_ROWS);
        after = page.last().map(|row| row.key.clone());
        for row in page {
            if !row.value.windows(OPEN_MARK.len()).any(|bytes| bytes == OPEN_MARK) {
                continue;
            }
            let is_open = serde_json::from_slice::<Stand<'_>>(&row.value).is_ok_and(|s| s.state == "Open");
            let id = if is_open {
                ProposalId::from_bytes(&row.key).ok()
            } else {
                None
            };
            let Some(id) = id else { continue };
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
        if last_page {
            return Ok(open);
        }
    }
}

const PAGE_ROWS: u32 = 1000;

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
