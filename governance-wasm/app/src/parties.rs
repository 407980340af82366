//! Whose business a run is: who may ask for it, and who owns or decided about what it touches.

use cleanroom_model::analytics::QueryDocument;
use cleanroom_model::api::Approver;
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::person::Person;
use cleanroom_model::runs::RUNNERS_MAX;
use cleanroom_model::tables::UserDocumentDraft;
use kv::Pair;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value as JsonValue;
use serde_json::value::RawValue;

use crate::document_state::{self, Loaded};
use crate::frozen::data_text;
use crate::reply::{Failure, Fault, Refused};
use crate::request::Call;

/// What a query's text says beside its `application`.
#[derive(Deserialize)]
struct Beside<'a> {
    #[serde(default)]
    application: Option<IgnoredAny>,
    #[serde(borrow, default)]
    runners: Option<&'a RawValue>,
}

/// The runners that a query's text names, as they are registered now; none if it names none or is
/// no query.
pub(crate) fn named_runners(call: &Call<'_>, data: &JsonValue) -> Result<Option<Vec<Person>>, Failure> {
    let invalid = |why: String| Refused::new(ErrorCode::InvalidQueryFormat, why);
    let text = data.as_str().unwrap_or_default();
    // Whatever says a thing twice has been refused before.
    let Ok(Beside {
        application: Some(_),
        runners: Some(runners),
    }) = serde_json::from_str(text)
    else {
        return Ok(None);
    };
    let runners: Vec<Approver> =
        serde_json::from_str(runners.get()).map_err(|e| invalid(format!("runners: {e}")))?;
    if runners.is_empty() || runners.len() > RUNNERS_MAX {
        return Err(invalid(format!("runners are 1 to {RUNNERS_MAX} people")).into());
    }
    let mut people = Vec::with_capacity(runners.len());
    for runner in &runners {
        let person = Person::find(call.state, runner)?.ok_or_else(|| {
            let kind = runner.approver_id_type.as_str();
            invalid(format!("runners: there is no {kind} {}", runner.approver_id))
        })?;
        people.push(person);
    }
    Ok(Some(people))
}

/// Whether a person may ask for runs of a query.
pub(crate) fn is_runner(query: &UserDocumentDraft, person: &Person) -> bool {
    match &query.runners {
        Some(runners) => runners.contains(person),
        None => query.creator == *person,
    }
}

/// Whether a person owns a document or decides about it.
pub(crate) fn is_concerned(loaded: &Loaded, person: &Person) -> bool {
    let deciders = match &loaded.decision {
        Some(decision) => &decision.approvers,
        None => &loaded.draft.approvers,
    };
    loaded.draft.creator == *person || deciders.contains(person)
}

/// Whether a person owns the query or anything that it names, or decides about one of them.
pub(crate) fn is_concerned_by_query(call: &Call<'_>, query: &Loaded, person: &Person) -> Result<bool, Fault> {
    if is_concerned(query, person) {
        return Ok(true);
    }
    let Ok(document) = QueryDocument::parse(data_text(query)) else {
        return Ok(false);
    };
    for named in document.inputs.iter().chain([&document.output]) {
        let Ok(id) = named.specification.parse() else {
            continue;
        };
        let loaded = document_state::load(call, &Pair(query.key.0.clone(), id))?;
        if loaded.is_some_and(|loaded| is_concerned(&loaded, person)) {
            return Ok(true);
        }
    }
    Ok(false)
}
