//! Approval covers what is named: whoever accepts a query accepts the documents that it names as
//! they are (decision 52).
//!
//! Names alone would let somebody rewrite a sink after the ballots. So the first accepting ballot,
//! or the proposal, freezes version and digest of every document named, each of them Accepted and
//! thereby final; later ballots and admission compare.

use cleanroom_model::analytics::QueryDocument;
use cleanroom_model::api::DocumentState;
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::DocumentId;
use cleanroom_model::tables::FrozenDocument;
use kv::Pair;
use serde_json::json;

use crate::document_state::{self, Loaded};
use crate::reply::{Failure, Refused};
use crate::request::Call;

const LABEL: (&str, &str) = ("type", "spark-application");

/// The document's data as stored, where it is text; documents of datasets and queries are.
pub(crate) fn data_text(loaded: &Loaded) -> &str {
    loaded.draft.data.as_str().unwrap_or_default()
}

/// A document as it is now.
pub(crate) fn seen(call: &Call<'_>, loaded: &Loaded) -> FrozenDocument {
    FrozenDocument {
        id: loaded.key.1.clone(),
        version: loaded.version,
        digest: call.host.sha256(data_text(loaded).as_bytes()),
    }
}

/// The query, if the document is one: by its label, or by its form, since a run needs no label.
fn query_of(loaded: &Loaded) -> Result<Option<QueryDocument>, Refused> {
    let labels = loaded.draft.labels.as_ref();
    let labelled = labels.and_then(|labels| labels.get(LABEL.0)).map(String::as_str) == Some(LABEL.1);
    match QueryDocument::parse(data_text(loaded)) {
        Ok(query) => Ok(Some(query)),
        Err(_) if !labelled => Ok(None),
        Err(error) => Err(Refused::new(
            ErrorCode::InvalidQueryFormat,
            format!("query document {}: {error}", loaded.key.1),
        )),
    }
}

/// What an acceptance of `loaded` covers beside itself; none if it is no query.
fn covered(call: &Call<'_>, loaded: &Loaded) -> Result<Option<Vec<FrozenDocument>>, Failure> {
    let Some(query) = query_of(loaded)? else {
        return Ok(None);
    };
    let mut documents: Vec<FrozenDocument> = Vec::new();
    for named in query.inputs.iter().chain([&query.output]) {
        let not_accepted = |state: &str| {
            Refused::new(
                ErrorCode::UserDocumentNotAccepted,
                format!(
                    "the query uses document {:.128}, which is {state}; it must be Accepted before the query is",
                    named.specification
                ),
            )
            .with_details(vec![
                json!({ "code": "NotAccepted", "documentId": named.specification }),
            ])
        };
        let id: DocumentId = named
            .specification
            .parse()
            .map_err(|_| not_accepted("not there"))?;
        if documents.iter().any(|document| document.id == id) {
            continue;
        }
        let key = Pair(loaded.key.0.clone(), id);
        let used = document_state::load(call, &key)?.ok_or_else(|| not_accepted("not there"))?;
        if used.state != DocumentState::Accepted {
            return Err(not_accepted(used.state.as_str()).into());
        }
        documents.push(seen(call, &used));
    }
    Ok(Some(documents))
}

/// What the decision about `loaded` covers from now on; what it covered before must be the same.
pub(crate) fn freeze(
    call: &Call<'_>,
    loaded: &Loaded,
    before: Option<&[FrozenDocument]>,
) -> Result<Option<Vec<FrozenDocument>>, Failure> {
    let now = covered(call, loaded)?;
    for document in before.unwrap_or_default() {
        require_same(loaded, document, now.as_deref())?;
    }
    Ok(now)
}

/// Refuses a document that is not the one that approvers of the query accepted with it.
pub(crate) fn require_covered(query: &Loaded, document: &FrozenDocument) -> Result<(), Refused> {
    let frozen = query
        .decision
        .as_ref()
        .and_then(|decision| decision.frozen.as_deref());
    require_same(query, document, frozen)
}

fn require_same(
    query: &Loaded,
    document: &FrozenDocument,
    among: Option<&[FrozenDocument]>,
) -> Result<(), Refused> {
    if among.is_some_and(|documents| documents.contains(document)) {
        return Ok(());
    }
    let FrozenDocument { id, version, .. } = document;
    Err(Refused::new(
        ErrorCode::UserDocumentModified,
        format!(
            "the acceptance of query {} does not cover document {id} in version {version}",
            query.key.1
        ),
    )
    .with_details(vec![json!({ "code": "NotCovered", "documentId": id })]))
}
