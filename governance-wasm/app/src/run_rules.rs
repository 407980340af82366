//! Whether a query may run now: every agreement the ledger holds, in one look
//! (`spark-analytics.md` §11 steps 5–8, §10; decisions 22, 38, 39).
//!
//! Reads only. The answer is a record of all the run may do, or the first reason against it with
//! the ids of those who have not agreed.

use model::evidence::Role;
use std::collections::BTreeMap;

use cleanroom_model::analytics::{
    AccessMode, DatasetDocument, DocumentError, Encryption, PrivacyPolicy, Query, QueryDocument, ViewName,
};
use cleanroom_model::api::{DocumentState, RUN_SECONDS_DEFAULT, RUN_SECONDS_MAX, RunRequest, SentRunRequest};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, DocumentId, RunId};
use cleanroom_model::person::Person;
use cleanroom_model::runs::PARAMETERS_LEN_MAX;
use cleanroom_model::tables::{DocumentUse, FrozenDocument, RunDocument, RunRecord};
use kv::Pair;
use serde_json::{Value as JsonValue, json};

use crate::alternatives::{self, Placed};
use crate::consent::{self, Consent, DocumentOption};
use crate::document_state::{self, Loaded};
use crate::documents;
use crate::frozen::{self, data_text};
use crate::launcher::Launcher;
use crate::reply::{Failure, Fault, Refused};
use crate::request::Call;
use crate::secrets::{self, PutBy};

/// A document of the run, loaded and parsed.
struct Used {
    loaded: Loaded,
    document: DatasetDocument,
    view: ViewName,
    used_as: DocumentUse,
}

/// What is asked for, read and checked for form; what is wrong with it leaves no trace.
pub(crate) fn checked(sent: SentRunRequest) -> Result<RunRequest, Refused> {
    let request = RunRequest::try_from(sent).map_err(|e| Refused::new(e.code(), e.to_string()))?;
    if request
        .max_duration_s
        .is_some_and(|seconds| seconds == 0 || seconds > RUN_SECONDS_MAX)
    {
        return Err(Refused::new(
            ErrorCode::InvalidInput,
            format!("maxDurationS is 1 to {RUN_SECONDS_MAX} seconds"),
        ));
    }
    let parameters = serde_json::to_vec(&request.parameters).map_or(usize::MAX, |json| json.len());
    if parameters > PARAMETERS_LEN_MAX {
        return Err(Refused::new(
            ErrorCode::InvalidRunParameters,
            format!("parameters are longer than {PARAMETERS_LEN_MAX} bytes"),
        ));
    }
    Ok(request)
}

/// What is asked of a run's parameters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Values {
    /// Each has a value: a run is about to begin.
    Complete,
    /// Nobody has chosen any yet: the question is whether the query could be run at all.
    NotChosen,
}

/// A run that somebody wants.
pub(crate) struct Wanted<'a> {
    pub(crate) contract: &'a ContractId,
    pub(crate) query: &'a DocumentId,
    pub(crate) run: &'a RunId,
    pub(crate) request: &'a RunRequest,
    pub(crate) values: Values,
    /// Absent if somebody only asks whether it would be admitted.
    pub(crate) asked_by: Option<&'a Person>,
    pub(crate) launcher: &'a Launcher,
}

/// The record of the run, or the first reason against it.
pub(crate) fn evaluate(call: &Call<'_>, wanted: &Wanted<'_>) -> Result<RunRecord, Failure> {
    let Wanted {
        contract,
        query: query_id,
        run: run_id,
        request,
        launcher,
        ..
    } = *wanted;
    let key = Pair(contract.clone(), query_id.clone());
    let query_doc = document_state::load(call, &key)?.ok_or_else(|| documents::not_found(&key))?;
    let query = QueryDocument::parse(data_text(&query_doc)).map_err(|error| {
        Refused::new(
            ErrorCode::InvalidQueryFormat,
            format!("query document {query_id}: {error}"),
        )
    })?;
    let loaded = load_datasets(call, contract, &query)?;
    check_approvals(call, &query_doc, &loaded)?;
    let used = parse_datasets(loaded)?;
    check_consents(call, contract, &query_doc, &used)?;
    check_floors(&query.query, &used)?;
    let parameters = match wanted.values {
        Values::Complete => parameters(&query.query, request)?,
        Values::NotChosen => BTreeMap::new(),
    };
    let secret_ids = secret_ids(call, contract, &used)?;
    let pod = pod_alternative(call, contract, request)?;
    let telemetry = telemetry(call, &query_doc, &used)?;
    let life_ms = request
        .max_duration_s
        .unwrap_or(RUN_SECONDS_DEFAULT)
        .saturating_mul(1000);
    Ok(RunRecord {
        run_id: run_id.clone(),
        query_id: query_id.clone(),
        documents: run_documents(call, &query_doc, &used),
        days: request.days.clone(),
        parameters,
        secret_ids,
        tokens: pod.policy.tokens.into_iter().map(Into::into).collect(),
        pod_policy_type: pod.policy_type,
        pod_alternative: pod.id,
        telemetry,
        admitted_on: call.now_ms(),
        not_after: call.now_ms().saturating_add(life_ms),
        requested_by: wanted.asked_by.cloned(),
        seen: request.seen,
        launcher_policy_type: launcher.policy_type,
        launcher_alternative: launcher.alternative.clone(),
        launcher_host_data: launcher.host_data.clone(),
    })
}

/// Inputs in the query's order, then the sink.
fn load_datasets(
    call: &Call<'_>,
    contract: &ContractId,
    query: &QueryDocument,
) -> Result<Vec<(Loaded, ViewName, DocumentUse)>, Failure> {
    let inputs = query
        .inputs
        .iter()
        .map(|input| (input, DocumentUse::Input, ErrorCode::DatasetMissing));
    let output = std::iter::once((&query.output, DocumentUse::Output, ErrorCode::DatasinkMissing));
    inputs
        .chain(output)
        .map(|(named, used_as, code)| {
            let missing = || {
                Refused::new(
                    code,
                    format!(
                        "the query uses document {:.128}, which is not there",
                        named.specification
                    ),
                )
            };
            let id: DocumentId = named.specification.parse().map_err(|_| missing())?;
            let loaded = document_state::load(call, &Pair(contract.clone(), id))?.ok_or_else(missing)?;
            Ok((loaded, named.view.clone(), used_as))
        })
        .collect()
}

fn lacking(document: &DocumentId, who: &Person, dataset: Option<&DocumentId>) -> JsonValue {
    let mut detail = json!({
        "code": "ApprovalMissing", "documentId": document,
        "approverId": who.id(), "approverIdType": who.kind(),
    });
    if let (Some(dataset), Some(fields)) = (dataset, detail.as_object_mut()) {
        fields.insert("datasetId".into(), json!(dataset));
    }
    detail
}

/// The query must be accepted, by the owner of everything it reads or writes among others; and
/// every dataset document must be accepted itself.
fn check_approvals(
    call: &Call<'_>,
    query: &Loaded,
    datasets: &[(Loaded, ViewName, DocumentUse)],
) -> Result<(), Failure> {
    let id = &query.key.1;
    if query.state == DocumentState::Rejected {
        return Err(Refused::new(
            ErrorCode::UserDocumentRejected,
            format!("query {id} was rejected"),
        )
        .into());
    }
    let mut details = Vec::new();
    let mut named: Vec<Person> = Vec::new();
    for (dataset, _, _) in datasets {
        let owner = &dataset.draft.creator;
        if !query.accepted_by(owner) {
            details.push(lacking(id, owner, Some(&dataset.key.1)));
            named.push(owner.clone());
        }
    }
    if query.state != DocumentState::Accepted {
        for approver in query.missing(call)? {
            if !named.contains(&approver) {
                details.push(lacking(id, &approver, None));
                named.push(approver);
            }
        }
    }
    if !details.is_empty() || query.state != DocumentState::Accepted {
        let names: Vec<&str> = named.iter().map(|who| who.id().as_str()).collect();
        return Err(Refused::new(
            ErrorCode::QueryMissingApprovalsFromDatasetOwners,
            format!("query {id} has not been accepted by [{}]", names.join(",")),
        )
        .with_details(details)
        .into());
    }
    for (dataset, _, _) in datasets {
        if dataset.state != DocumentState::Accepted {
            let missing = dataset.missing(call)?;
            return Err(Refused::new(
                ErrorCode::UserDocumentNotAccepted,
                format!("dataset {} is {}", dataset.key.1, dataset.state.as_str()),
            )
            .with_details(
                missing
                    .iter()
                    .map(|who| lacking(&dataset.key.1, who, None))
                    .collect(),
            )
            .into());
        }
        // Names are not enough: approvers accepted these very documents with the query.
        frozen::require_covered(query, &frozen::seen(call, dataset))?;
    }
    Ok(())
}

fn parse_datasets(loaded: Vec<(Loaded, ViewName, DocumentUse)>) -> Result<Vec<Used>, Refused> {
    loaded
        .into_iter()
        .map(|(loaded, view, used_as)| {
            let id = &loaded.key.1;
            let document = DatasetDocument::parse(data_text(&loaded)).map_err(|error| {
                let code = match &error {
                    DocumentError::AllowedFieldsNotSpecified => ErrorCode::AllowedFieldsNotSpecified,
                    _ => ErrorCode::InvalidDatasetFormat,
                };
                Refused::new(code, format!("dataset document {id}: {error}"))
            })?;
            let wanted = match used_as {
                DocumentUse::Output => AccessMode::Write,
                DocumentUse::Query | DocumentUse::Input => AccessMode::Read,
            };
            if document.mode != wanted {
                let code = match wanted {
                    AccessMode::Write => ErrorCode::DatasinkMissing,
                    AccessMode::Read => ErrorCode::DatasetMissing,
                };
                return Err(Refused::new(
                    code,
                    format!(
                        "document {id} does not allow to {}",
                        match wanted {
                            AccessMode::Write => "write",
                            AccessMode::Read => "read",
                        }
                    ),
                ));
            }
            Ok(Used {
                loaded,
                document,
                view,
                used_as,
            })
        })
        .collect()
}

/// Contract, query, inputs, sink, in this order.
fn check_consents(
    call: &Call<'_>,
    contract: &ContractId,
    query: &Loaded,
    used: &[Used],
) -> Result<(), Failure> {
    consent::contract_execution(call, contract)?.require()?;
    for loaded in std::iter::once(query).chain(used.iter().map(|used| &used.loaded)) {
        consent::document_consent(call, &loaded.key.1, Some(loaded), DocumentOption::Execution)?.require()?;
    }
    Ok(())
}

/// A refusal of telemetry only switches it off.
fn telemetry(call: &Call<'_>, query: &Loaded, used: &[Used]) -> Result<bool, Fault> {
    for loaded in std::iter::once(query).chain(used.iter().map(|used| &used.loaded)) {
        let consent =
            consent::document_consent(call, &loaded.key.1, Some(loaded), DocumentOption::Telemetry)?;
        if matches!(consent, Consent::Disabled(_)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A query may not be weaker than an owner's floors under its dataset.
fn check_floors(query: &Query, used: &[Used]) -> Result<(), Refused> {
    let filters = query.groups().pop().unwrap_or_default();
    let largest = filters
        .iter()
        .flat_map(|(_, segment)| &segment.post_filters)
        .map(|filter| filter.value)
        .max();
    for dataset in used.iter().filter(|used| used.used_as == DocumentUse::Input) {
        let PrivacyPolicy {
            min_input_rows,
            min_group_size,
            require_aggregation,
        } = dataset.document.access_point.privacy;
        let rows_checked = query
            .segments
            .iter()
            .flat_map(|segment| &segment.pre_conditions)
            .filter(|condition| condition.view_name == dataset.view)
            .map(|condition| condition.min_row_count)
            .max();
        let id = &dataset.loaded.key.1;
        let unmet = |what: String| {
            Refused::new(
                ErrorCode::PrivacyFloorNotMet,
                format!("dataset {id} asks for {what}"),
            )
            .with_details(vec![json!({
                "code": "PrivacyFloor", "documentId": id,
                "approverId": dataset.loaded.draft.creator.id(),
                "approverIdType": dataset.loaded.draft.creator.kind(),
            })])
        };
        if min_input_rows.is_some_and(|floor| rows_checked.is_none_or(|rows| rows < floor)) {
            return Err(unmet(format!(
                "a precondition of at least {} rows on view {}",
                min_input_rows.unwrap_or_default(),
                dataset.view
            )));
        }
        if min_group_size.is_some_and(|floor| largest.is_none_or(|size| size < floor)) {
            return Err(unmet(format!(
                "a filter of groups below {} on the result",
                min_group_size.unwrap_or_default()
            )));
        }
        if require_aggregation && largest.is_none() {
            return Err(unmet("a filter on a count in the result".to_owned()));
        }
    }
    Ok(())
}

/// Values for every declared parameter, and for none else.
fn parameters(query: &Query, request: &RunRequest) -> Result<BTreeMap<String, JsonValue>, Refused> {
    let invalid = |why: String| Refused::new(ErrorCode::InvalidRunParameters, why);
    if let Some(unknown) = request
        .parameters
        .keys()
        .find(|name| !query.parameters.contains_key(*name))
    {
        return Err(invalid(format!("the query declares no parameter {unknown:.64}")));
    }
    let mut values = BTreeMap::new();
    for (name, declared) in &query.parameters {
        let value = request
            .parameters
            .get(name)
            .or(declared.default.as_ref())
            .ok_or_else(|| invalid(format!("parameter {name} needs a value")))?;
        if !declared.accepts(value) {
            return Err(invalid(format!("parameter {name} does not accept this value")));
        }
        values.insert(name.clone(), value.clone());
    }
    Ok(values)
}

/// Keys of encrypted datasets. Each must have been put by the owner of the dataset that names it:
/// otherwise a document could draw somebody else's key into a run.
fn secret_ids(call: &Call<'_>, contract: &ContractId, used: &[Used]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for dataset in used {
        let Encryption::ClientSide { dek_secret } = &dataset.document.access_point.encryption else {
            continue;
        };
        let document = &dataset.loaded.key.1;
        let creator = &dataset.loaded.draft.creator;
        let owner = creator.id();
        let not_own = || {
            Refused::new(
                ErrorCode::UnexpectedSecretIdFormat,
                format!("dataset {document} names a secret that its owner {owner} did not put"),
            )
        };
        let own_form = dek_secret
            .strip_prefix(owner.as_str())
            .is_some_and(|rest| rest.starts_with('_'));
        if !own_form {
            return Err(not_own().into());
        }
        // The form of the id proves nothing: both of its parts may contain the separator.
        let Some(put_by) = secrets::put_by(call, contract, dek_secret)? else {
            return Err(Refused::new(
                ErrorCode::SecretNotFound,
                format!("the key of dataset {document} has not been put ({dek_secret:.257})"),
            )
            .with_details(vec![json!({
                "code": "SecretMissing", "documentId": document, "secretId": dek_secret,
                "approverId": owner, "approverIdType": creator.kind(),
            })])
            .into());
        };
        if put_by != PutBy::Principal(creator.clone()) {
            return Err(not_own().into());
        }
        if !ids.contains(dek_secret) {
            ids.push(dek_secret.clone());
        }
    }
    Ok(ids)
}

/// The alternative that the pod must satisfy. Its id alone may stand for one of each platform.
fn pod_alternative(call: &Call<'_>, contract: &ContractId, request: &RunRequest) -> Result<Placed, Failure> {
    let mut pods: Vec<_> = alternatives::of_contract(call, contract)?
        .into_iter()
        .filter(|placed| placed.policy.role == Some(Role::Pod))
        .filter(|placed| request.pod_alternative.as_ref().is_none_or(|id| placed.id == *id))
        .filter(|placed| {
            request
                .pod_policy_type
                .is_none_or(|policy_type| placed.policy_type == policy_type)
        })
        .collect();
    match (pods.pop(), pods.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Refused::new(
            ErrorCode::InvalidPolicy,
            "the contract's policy has no such alternative of role pod; members must vote one",
        ).into()),
        (Some(_), false) => Err(Refused::new(
            ErrorCode::InvalidPolicy,
            "the contract's policy has several alternatives of role pod; name one as podAlternative and podPolicyType",
        ).into()),
    }
}

fn run_documents(call: &Call<'_>, query: &Loaded, used: &[Used]) -> Vec<RunDocument> {
    let entry = |loaded: &Loaded, used_as, view: Option<&ViewName>| {
        let FrozenDocument { id, version, digest } = frozen::seen(call, loaded);
        RunDocument {
            id,
            version,
            used_as,
            view: view.cloned(),
            digest,
        }
    };
    std::iter::once(entry(query, DocumentUse::Query, None))
        .chain(
            used.iter()
                .map(|used| entry(&used.loaded, used.used_as, Some(&used.view))),
        )
        .collect()
}
