//! Open proposals of the members, as far as the application shows them: which actions they hold
//! and for which contract.
//!
//! A proposal may carry a component of several megabytes, and drafts are read while it is open. So
//! only an outline is decoded, one proposal at a time; the rest is skipped.

use std::collections::BTreeSet;
use std::fmt;

use cleanroom_model::ids::ContractId;
use model::tables::PROPOSALS;
use model::{ProposalId, proposal_rows};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::reply::Fault;
use crate::request::Call;

/// Names that outlines look for.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    Actions,
    Name,
    Args,
    ContractId,
    #[serde(other)]
    Other,
}

/// Members of an object that outlines look for, as text. Of repeated ones the last counts, as
/// everywhere where proposals are read.
#[derive(Default)]
struct Members<'a> {
    actions: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    args: Option<&'a RawValue>,
    contract_id: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Members::default();
                while let Some(field) = map.next_key::<Field>()? {
                    let slot = match field {
                        Field::Actions => &mut members.actions,
                        Field::Name => &mut members.name,
                        Field::Args => &mut members.args,
                        Field::ContractId => &mut members.contract_id,
                        Field::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = Some(map.next_value()?);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

fn parsed<'a, T: Deserialize<'a>>(text: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(text?.get()).ok()
}

/// An action's name and the contract it is about. Actions without either are left out; they do
/// not hide the others.
fn outline(action: &RawValue) -> Option<(String, ContractId)> {
    let action: Members<'_> = parsed(Some(action))?;
    let args: Members<'_> = parsed(action.args)?;
    let contract: String = parsed(args.contract_id)?;
    Some((parsed(action.name)?, contract.parse().ok()?))
}

/// Calls `visit` for every action of an open proposal that is about a contract.
fn visit_open(call: &Call<'_>, mut visit: impl FnMut(&ProposalId, &str, ContractId)) -> Result<(), Fault> {
    for (id, _) in proposal_rows::open(call.state)? {
        let Some(text) = PROPOSALS.get(call.state, &id)? else {
            continue;
        };
        let Ok(body) = serde_json::from_slice::<Members<'_>>(&text.0) else {
            continue;
        };
        for action in parsed::<Vec<&RawValue>>(body.actions).unwrap_or_default() {
            if let Some((name, contract)) = outline(action) {
                visit(&id, &name, contract);
            }
        }
    }
    Ok(())
}

/// Ids of open proposals with an action of one of these names for this contract, ascending.
pub(crate) fn open_for_contract(
    call: &Call<'_>,
    contract: &ContractId,
    actions: &[&str],
) -> Result<BTreeSet<ProposalId>, Fault> {
    let mut found = BTreeSet::new();
    visit_open(call, |id, name, about| {
        if actions.contains(&name) && about == *contract {
            found.insert(*id);
        }
    })?;
    Ok(found)
}

/// Contracts that an open proposal would accept.
pub(crate) fn proposed_contracts(call: &Call<'_>) -> Result<BTreeSet<ContractId>, Fault> {
    let mut found = BTreeSet::new();
    visit_open(call, |_, name, contract| {
        if name == "set_contract" {
            found.insert(contract);
        }
    })?;
    Ok(found)
}
