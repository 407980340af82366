//! How much of an owner's data a run read: told by its pod, private, and read by those who own the
//! data or decided about it (decision 45).

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, DocumentId, RunId};
use cleanroom_model::runs::RowCount;
use cleanroom_model::tables::{DocumentUse, ROW_COUNTS};
use kv::{Json, Pair, Write};
use model::evidence::Role;

use crate::admission::{self, Binding, Wish};
use crate::caller;
use crate::document_state;
use crate::documents;
use crate::parties;
use crate::permit;
use crate::reply::{Answer, Refused, Reply};
use crate::request::Call;

type RowKey = Pair<ContractId, Pair<DocumentId, RunId>>;

fn key_of(call: &Call<'_>) -> Result<RowKey, Refused> {
    let document: DocumentId = call.id("documentId")?;
    Ok(Pair(call.id("contractId")?, Pair(document, call.id("runId")?)))
}

/// `PUT /contracts/{contractId}/userdocuments/{documentId}/runs/{runId}`: by the run's pod.
pub(crate) fn put(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let key = key_of(call)?;
    let Pair(document, run) = &key.1;
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Wish::new("rows", run.as_str(), &[Role::Pod]).bound_by(Binding::Sign),
    )?;
    let record = permit::require_reporter(call, changes, &admitted)?;
    let is_input = record.is_some_and(|record| {
        let mut inputs = record.documents.iter();
        inputs.any(|used| used.id == *document && used.used_as == DocumentUse::Input)
    });
    if !is_input {
        let refusal = Refused::new(
            ErrorCode::NotInRun,
            format!("the run does not read document {document}"),
        );
        return Err(admitted.refuse(call, changes, refusal));
    }
    let count: RowCount = serde_json::from_slice(&admitted.data)
        .map_err(|e| Refused::new(ErrorCode::InvalidInput, format!("data is not a row count: {e}")))?;
    ROW_COUNTS.put(changes, &key, &Json(count))?;
    Ok(Reply::no_content())
}

/// `GET /contracts/{contractId}/userdocuments/{documentId}/runs/{runId}`
pub(crate) fn read(call: &Call<'_>) -> Answer {
    let known = caller::known(call)?;
    let key = key_of(call)?;
    let document = Pair(key.0.clone(), key.1.0.clone());
    let loaded = document_state::load(call, &document)?.ok_or_else(|| documents::not_found(&document))?;
    if !parties::is_concerned(&loaded, &known.person) {
        return Err(Refused::new(
            ErrorCode::NotUserDocumentApprover,
            "row counts are for a document's owner and approvers",
        )
        .into());
    }
    let count = ROW_COUNTS.get(call.state, &key)?.ok_or_else(|| {
        Refused::new(
            ErrorCode::RunNotFound,
            format!("no run {} has told how much of it was read", key.1.1),
        )
    })?;
    Reply::json(&count.0)
}
