//! User documents: drafts by their creators, decided by their approvers (`governance-api.md` §9).

use std::collections::{BTreeMap, BTreeSet};

use cleanroom_model::api::{Approver, DocumentState, PutUserDocument, SubmitBallot};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, DocumentId};
use cleanroom_model::person::Person;
use cleanroom_model::tables::{DOCUMENT_LABELS, DocumentKey, USER_DOCUMENTS, UserDocumentDraft};
use kv::codec::{Key as _, Value as _};
use kv::{Json, Pair, Write};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Value as JsonValue, json};

use crate::admission::{self, Wish};
use crate::caller;
use crate::contracts::{check_version, require_exists};
use crate::document_ballots;
use crate::document_state::{self, Loaded};
use crate::lists;
use crate::nesting::require_shallow;
use crate::parties;
use crate::permit::permit;
use crate::quotas::{self, Holder};
use crate::reply::{Answer, Failure, Fault, Refused, Reply};
use crate::request::{Call, require_one_meaning};

/// Most approvers of one document.
const APPROVERS_MAX: usize = 256;
/// Most labels of one document.
const LABELS_MAX: usize = 64;
/// Most bytes of all labels of one document, names and values: lists show them.
const LABEL_BYTES_MAX: usize = 4096;

pub(crate) fn not_found(key: &DocumentKey) -> Refused {
    Refused::new(
        ErrorCode::UserDocumentNotFound,
        format!("contract {} has no such user document {}", key.0, key.1),
    )
}

fn key_of(call: &Call<'_>) -> Result<DocumentKey, Refused> {
    Ok(Pair(call.id("contractId")?, call.id("documentId")?))
}

fn require(call: &Call<'_>, key: &DocumentKey) -> Result<Loaded, Failure> {
    document_state::load(call, key)?.ok_or_else(|| not_found(key).into())
}

/// `PUT /contracts/{contractId}/userdocuments/{documentId}`
pub(crate) fn put(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let known = caller::known(call)?;
    known.require_active()?;
    let key = key_of(call)?;
    if key.1.as_str() == "accepted" {
        return Err(Refused::new(
            ErrorCode::InvalidResourceName,
            "documentId: accepted is a word of the paths",
        )
        .into());
    }
    let existing = document_state::load(call, &key)?;
    if let Some(loaded) = &existing {
        loaded.require_undecided()?;
    }
    call.require_one_meaning()?;
    let body: PutUserDocument = call.body()?;
    if body
        .contract_id
        .as_deref()
        .is_some_and(|id| !id.is_empty() && id != key.0.as_str())
    {
        return Err(Refused::new(
            ErrorCode::ContractIdMismatch,
            "contractId in the body is not the path's",
        )
        .into());
    }
    let data = content(body.data)?;
    require_exists(call, &key.0)?;
    let current = existing.as_ref().map(|loaded| loaded.version);
    check_version(
        current,
        body.version.as_deref(),
        ErrorCode::UserDocumentAlreadyExists,
    )?;
    if let Some(loaded) = &existing {
        require_editable(loaded, &known.person)?;
    }
    if body
        .labels
        .as_ref()
        .is_some_and(|labels| labels.len() > LABELS_MAX)
    {
        return Err(Refused::new(ErrorCode::InvalidInput, format!("at most {LABELS_MAX} labels")).into());
    }
    let labels_len = |labels: &BTreeMap<String, String>| {
        let sizes = labels
            .iter()
            .map(|(name, value)| name.len().saturating_add(value.len()));
        sizes.fold(0, usize::saturating_add)
    };
    if body
        .labels
        .as_ref()
        .is_some_and(|labels| labels_len(labels) > LABEL_BYTES_MAX)
    {
        return Err(Refused::new(
            ErrorCode::InvalidInput,
            format!("labels have at most {LABEL_BYTES_MAX} bytes together, names and values"),
        )
        .into());
    }
    let approvers = approvers(call, body.approvers.unwrap_or_default())?;
    let runners = parties::named_runners(call, &data)?;
    let holder = Holder::person(&known.person);
    let draft = Json(UserDocumentDraft {
        data,
        labels: body.labels,
        approvers,
        creator: known.person,
        runners,
    });
    let before = existing.map(|loaded| Json(loaded.draft).to_bytes().len());
    quotas::charge(call, changes, &key.0, &holder, before, draft.to_bytes().len())?;
    match draft.0.labels.clone().filter(|labels| !labels.is_empty()) {
        Some(labels) => DOCUMENT_LABELS.put(changes, &key, &Json(labels))?,
        None => DOCUMENT_LABELS.remove(changes, &key)?,
    }
    USER_DOCUMENTS.put(changes, &key, &draft)?;
    Ok(Reply::empty())
}

/// What is put, which must mean the same to everybody.
fn content(data: Option<JsonValue>) -> Result<JsonValue, Refused> {
    let data = data.ok_or_else(|| Refused::new(ErrorCode::DataMissing, "data is mandatory"))?;
    require_shallow("data", &data)?;
    if let JsonValue::String(text) = &data
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
    {
        // Documents are commonly JSON inside a text.
        require_one_meaning("data", text.as_bytes())?;
    }
    Ok(data)
}

fn require_editable(loaded: &Loaded, person: &Person) -> Result<(), Refused> {
    if loaded.state != DocumentState::Draft {
        return Err(Refused::new(
            ErrorCode::UserDocumentAlreadyProposed,
            "approvers are deciding about it; it cannot change any more",
        ));
    }
    if loaded.draft.creator != *person {
        return Err(Refused::new(
            ErrorCode::NotUserDocumentOwner,
            "only its creator may change a user document",
        ));
    }
    Ok(())
}

/// Approvers must exist and be distinct: a document with an unknown one could never be accepted.
/// Whoever is registered under these ids now is meant.
fn approvers(call: &Call<'_>, approvers: Vec<Approver>) -> Result<Vec<Person>, Failure> {
    let invalid = |why: String| Refused::new(ErrorCode::InvalidApprovers, why);
    if approvers.len() > APPROVERS_MAX {
        return Err(invalid(format!("at most {APPROVERS_MAX} approvers")).into());
    }
    let mut seen = BTreeSet::new();
    let mut people = Vec::with_capacity(approvers.len());
    for approver in &approvers {
        let name = format!("{} {}", approver.approver_id_type.as_str(), approver.approver_id);
        if !seen.insert(approver) {
            return Err(invalid(format!("{name} is named twice")).into());
        }
        let person = Person::find(call.state, approver)?;
        people.push(person.ok_or_else(|| invalid(format!("there is no {name}")))?);
    }
    Ok(people)
}

/// `POST /contracts/{contractId}/userdocuments/{documentId}`
pub(crate) fn read(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    Reply::json(&require(call, &key_of(call)?)?.view())
}

#[derive(Serialize)]
struct Item {
    id: DocumentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
}

/// `GET /contracts/{contractId}/userdocuments?labelSelector=name:value,…`: labels, never what the documents
/// say, however long that is.
pub(crate) fn list(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let contract: ContractId = call.id("contractId")?;
    let query = call.query()?;
    let selector = selector(query.get("labelSelector").map_or("", String::as_str))?;
    let prefix = contract.key_prefix();
    let after = lists::after(call, &prefix)?;
    let corrupt = |e: kv::codec::Malformed| Fault::new(e.to_string());
    let mut value = Vec::new();
    if selector.is_empty() {
        let page = lists::keys(call, USER_DOCUMENTS.name(), &prefix, after)?;
        for row in page.rows {
            let key = DocumentKey::from_bytes(&row.key).map_err(corrupt)?;
            let labels = DOCUMENT_LABELS.get(call.state, &key)?.map(|row| row.0);
            value.push(Item { id: key.1, labels });
        }
        return lists::reply(call, &prefix, value, page.next.as_deref());
    }
    let page = lists::rows(call, DOCUMENT_LABELS.name(), &prefix, after)?;
    for row in page.rows {
        let labels = Json::<BTreeMap<String, String>>::from_bytes(&row.value)
            .map_err(corrupt)?
            .0;
        if selector
            .iter()
            .all(|(name, wanted)| labels.get(name) == Some(wanted))
        {
            let key = DocumentKey::from_bytes(&row.key).map_err(corrupt)?;
            value.push(Item {
                id: key.1,
                labels: Some(labels),
            });
        }
    }
    lists::reply(call, &prefix, value, page.next.as_deref())
}

fn selector(text: &str) -> Result<Vec<(String, String)>, Refused> {
    text.split(',')
        .filter(|_| !text.is_empty())
        .map(|pair| {
            let (name, value) = pair
                .split_once(':')
                .map_or(("", ""), |(n, v)| (n.trim(), v.trim()));
            if name.is_empty() || value.is_empty() {
                return Err(Refused::new(
                    ErrorCode::InvalidParameter,
                    "labelSelector is a list of name:value, separated by commas",
                ));
            }
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// `POST /contracts/{contractId}/userdocuments/{documentId}/ballot` (decision 2)
pub(crate) fn ballot(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let known = caller::known(call)?;
    let key = key_of(call)?;
    let loaded = require(call, &key)?;
    let sent: SubmitBallot = call.body()?;
    if sent.version.is_none() {
        return Err(Refused::new(
            ErrorCode::InvalidInput,
            "version is mandatory: the version that was read",
        )
        .into());
    }
    document_ballots::cast(
        call,
        changes,
        &loaded,
        &known,
        &sent,
        ErrorCode::NotUserDocumentApprover,
    )?;
    Ok(Reply::no_content())
}

/// `POST /contracts/{contractId}/userdocuments/accepted/{documentId}`: wrapped to an admitted
/// workload.
pub(crate) fn release(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let document: DocumentId = call.id("documentId")?;
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Wish::new("document", document.as_str(), admission::EVERY_ROLE),
    )?;
    let permit = permit(call, changes, admitted)?;
    if permit
        .run()
        .is_some_and(|record| !record.documents.iter().any(|used| used.id == document))
    {
        let refusal = Refused::new(
            ErrorCode::NotInRun,
            format!("the run does not use document {document}"),
        );
        return Err(permit.refuse(call, changes, refusal));
    }
    let key = Pair(permit.admitted().contract.clone(), document.clone());
    let loaded = require(call, &key)?;
    if loaded.state != DocumentState::Accepted {
        return Err(not_found(&key).into());
    }
    let plain = serde_json::to_vec(&loaded.view()).map_err(|e| Fault::new(e.to_string()))?;
    let value = permit.release(call, changes, &plain, None)?;
    Reply::json(&json!({ "value": value }))
}
