//! Runtime consent: execution, logging and telemetry of contracts, execution and telemetry of
//! user documents (`governance-api.md` §12).
//!
//! One switch per principal, all must be on. A member's switch counts only while that member is
//! active and decides the contract, so nobody who left can block it.

use cleanroom_model::api::{ApproverKind, DocumentState};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::governance::{CONTRACT_OPTIONS, OptionStatus, SERVICE_OPTIONS};
use cleanroom_model::ids::{ContractId, DocumentId, Identifier};
use cleanroom_model::person::{Person, Standing};
use cleanroom_model::tables::{DOCUMENT_SWITCHES, DocumentKey, EXECUTION_SWITCHES, Switch};
use kv::{Json, Pair, Write};
use model::MemberId;
use model::member::MemberStatus;
use serde_json::{Value as JsonValue, json};

use crate::admission::{self, Binding, Wish};
use crate::caller;
use crate::contracts;
use crate::document_state::{self, Loaded};
use crate::proposals;
use crate::reply::{Answer, Failure, Fault, Refused, Reply};
use crate::request::{Call, Caller};
use crate::token_policy;

/// Whether something may go on, and if not, who says so.
#[derive(Clone, Debug)]
pub(crate) enum Consent {
    Enabled,
    Disabled(Refused),
}

impl Consent {
    fn view(&self) -> JsonValue {
        match self {
            Self::Enabled => json!({ "status": "enabled" }),
            Self::Disabled(refusal) => json!({
                "status": "disabled",
                "reason": { "code": refusal.code.as_str(), "message": refusal.message },
            }),
        }
    }

    /// The refusal, if it is off.
    pub(crate) fn require(self) -> Result<(), Refused> {
        match self {
            Self::Enabled => Ok(()),
            Self::Disabled(refusal) => Err(refusal),
        }
    }
}

/// Options of a contract.
#[derive(Clone, Copy, Eq, PartialEq)]
enum ContractOption {
    Execution,
    Logging,
    Telemetry,
}

fn contract_option(call: &Call<'_>) -> Result<ContractOption, Refused> {
    match call.text("option") {
        "execution" => Ok(ContractOption::Execution),
        "logging" => Ok(ContractOption::Logging),
        "telemetry" => Ok(ContractOption::Telemetry),
        other => Err(Refused::new(
            ErrorCode::InvalidOption,
            format!("option is execution, logging or telemetry, not {other:.64}"),
        )),
    }
}

/// `POST /contracts/{contractId}/runtimeoptions/{option}/status`
pub(crate) fn contract_status(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let option = contract_option(call)?;
    let (contract, _) = known_or_admitted(call, changes)?;
    let Some(accepted) = contracts::accepted(call, &contract)? else {
        return Reply::json(&not_accepted(&contract).view());
    };
    let name = match option {
        ContractOption::Execution => {
            let required = accepted.required_members.as_deref();
            return Reply::json(&execution(call, &contract, required)?.view());
        }
        ContractOption::Logging => "logging",
        ContractOption::Telemetry => "telemetry",
    };
    let actions = [
        format!("set_contract_runtime_options_enable_{name}"),
        format!("set_contract_runtime_options_disable_{name}"),
    ];
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    Reply::json(&json!({
        "status": voted_option(call, &contract, name)?,
        "proposalIds": proposals::open_for_contract(call, &contract, &actions)?,
    }))
}

/// Who asks for a status.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Asker {
    /// A member or user.
    Principal,
    /// A clean room, by evidence or by a token that the contract's policy admits.
    Workload,
}

/// Members and users ask as themselves; nobody else without evidence, or a token that satisfies
/// the contract's policy.
fn known_or_admitted(call: &Call<'_>, changes: &mut dyn Write) -> Result<(ContractId, Asker), Failure> {
    let contract: ContractId = call.id("contractId")?;
    if matches!(call.request.caller, Caller::Anonymous) {
        admission::admit(
            call,
            changes,
            &call.body()?,
            Wish::new("consent", call.text("option"), admission::EVERY_ROLE).bound_by(Binding::Optional),
        )?;
        return Ok((contract, Asker::Workload));
    }
    match (caller::known(call), &call.request.caller) {
        (Ok(_), _) => Ok((contract, Asker::Principal)),
        (Err(_), Caller::Token { claims_json, .. })
            if token_policy::check(call, &contract, claims_json).is_ok() =>
        {
            Ok((contract, Asker::Workload))
        }
        (Err(refusal), _) => Err(refusal),
    }
}

fn voted_option(call: &Call<'_>, contract: &ContractId, name: &str) -> Result<OptionStatus, Fault> {
    let key = Pair(
        contract.clone(),
        name.parse::<Identifier>().expect("option names are identifiers"),
    );
    let row = CONTRACT_OPTIONS.get(call.state, &key)?;
    Ok(row.map_or(OptionStatus::Disabled, |row| row.0.status))
}

/// `POST /contracts/{contractId}/runtimeoptions/{option}/{enable|disable}`
pub(crate) fn switch_contract(call: &Call<'_>, changes: &mut dyn Write, status: OptionStatus) -> Answer {
    let member = caller::active_member(call)?;
    let contract: ContractId = call.id("contractId")?;
    if contract_option(call)? != ContractOption::Execution {
        return Err(Refused::new(
            ErrorCode::InvalidOption,
            "logging and telemetry are changed by proposals; only execution has a switch per member",
        )
        .into());
    }
    if contracts::accepted(call, &contract)?.is_none() {
        return Err(Refused::new(
            ErrorCode::ContractNotAccepted,
            format!("contract {contract} has not been accepted"),
        )
        .into());
    }
    let key = Pair(contract, member.id().clone());
    let switch = Switch {
        status,
        registration: member.registration,
    };
    EXECUTION_SWITCHES.put(changes, &key, &Json(switch))?;
    Ok(Reply::empty())
}

fn not_accepted(contract: &ContractId) -> Consent {
    Consent::Disabled(Refused::new(
        ErrorCode::ContractNotAccepted,
        format!("contract {contract} has not been accepted"),
    ))
}

/// Whether the contract's members consent to execution.
pub(crate) fn contract_execution(call: &Call<'_>, contract: &ContractId) -> Result<Consent, Fault> {
    match contracts::accepted(call, contract)? {
        Some(accepted) => execution(call, contract, accepted.required_members.as_deref()),
        None => Ok(not_accepted(contract)),
    }
}

fn execution(
    call: &Call<'_>,
    contract: &ContractId,
    required: Option<&[MemberId]>,
) -> Result<Consent, Fault> {
    let mut off = Vec::new();
    for row in EXECUTION_SWITCHES.rows_with_prefix(call.state, &contract.key_prefix())? {
        if row.value.0.status == OptionStatus::Enabled {
            continue;
        }
        let Ok(member) = row.key.1.as_str().parse::<MemberId>() else {
            continue;
        };
        let info = caller::member_info(call, &member)?;
        // Of a member who left and came back it is somebody else's.
        let same = Person::member(call.state, &member)?
            .is_some_and(|person| person.registration == row.value.0.registration);
        let counts = info.is_some_and(|info| {
            let entitled = required.map_or_else(|| caller::is_regular(&info), |list| list.contains(&member));
            same && info.status == MemberStatus::Active && entitled
        });
        if counts {
            off.push(member.to_string());
        }
    }
    if off.is_empty() {
        return Ok(Consent::Enabled);
    }
    let details = off
        .iter()
        .map(|id| json!({ "code": "ConsentDisabled", "memberId": id }))
        .collect();
    Ok(Consent::Disabled(
        Refused::new(
            ErrorCode::ContractDisabled,
            format!(
                "execution of the contract is disabled by the following m[{}].",
                off.join(",")
            ),
        )
        .with_details(details),
    ))
}

/// Options of a user document.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum DocumentOption {
    Execution,
    Telemetry,
}

impl DocumentOption {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Execution => "execution",
            Self::Telemetry => "telemetry",
        }
    }
}

fn document_option(call: &Call<'_>) -> Result<DocumentOption, Refused> {
    match call.text("option") {
        "execution" => Ok(DocumentOption::Execution),
        "telemetry" => Ok(DocumentOption::Telemetry),
        other => Err(Refused::new(
            ErrorCode::InvalidUserDocumentRuntimeOption,
            format!("option is execution or telemetry, not {other:.64}"),
        )),
    }
}

/// `POST /contracts/{contractId}/userdocuments/{documentId}/runtimeoptions/{option}/status`
pub(crate) fn document_status(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let option = document_option(call)?;
    let document: DocumentId = call.id("documentId")?;
    let (contract, asker) = known_or_admitted(call, changes)?;
    if asker == Asker::Workload && option == DocumentOption::Execution {
        // What a clean room may execute is decided by both, and it may well ask only here.
        let by_contract = contract_execution(call, &contract)?;
        if matches!(by_contract, Consent::Disabled(_)) {
            return Reply::json(&by_contract.view());
        }
    }
    let loaded = document_state::load(call, &Pair(contract, document.clone()))?;
    Reply::json(&document_consent(call, &document, loaded.as_ref(), option)?.view())
}

/// Whether a document's approvers consent to `option`.
pub(crate) fn document_consent(
    call: &Call<'_>,
    document: &DocumentId,
    loaded: Option<&Loaded>,
    option: DocumentOption,
) -> Result<Consent, Fault> {
    let accepted = loaded.filter(|loaded| loaded.state == DocumentState::Accepted);
    let Some((loaded, decision)) = accepted.and_then(|loaded| Some((loaded, loaded.decision.as_ref()?)))
    else {
        return Ok(Consent::Disabled(Refused::new(
            ErrorCode::UserDocumentNotAccepted,
            format!("user document {document} has not been accepted"),
        )));
    };
    let approvers = &decision.approvers;
    if let Some(refusal) = departed(call, loaded, option)? {
        return Ok(Consent::Disabled(refusal));
    }
    let mut prefix = loaded.key.0.key_prefix();
    prefix.extend(document.key_prefix());
    prefix.extend(format!("{}/", option.as_str()).into_bytes());
    let mut off = Vec::new();
    for row in DOCUMENT_SWITCHES.rows_with_prefix(call.state, &prefix)? {
        let Switch { status, registration } = row.value.0;
        if status == OptionStatus::Enabled {
            continue;
        }
        let Pair(kind, id) = row.key.1.1.1;
        let set_by = approvers
            .iter()
            .find(|person| *person.id() == id && person.kind().as_str() == kind.as_str())
            .filter(|person| person.registration == registration);
        // Whoever left has no say any more; where that disables, it has been said above.
        if let Some(person) = set_by
            && person.is_registered(call.state)?
        {
            off.push(Pair(kind, id));
        }
    }
    if off.is_empty() {
        return Ok(Consent::Enabled);
    }
    let names: Vec<&str> = off.iter().map(|Pair(_, id)| id.as_str()).collect();
    let message = format!(
        "{} of user document {document} is disabled by the following approvers [{}].",
        option.as_str(),
        names.join(",")
    );
    let details = off
        .iter()
        .map(|Pair(kind, id)| {
            json!({
                "code": "ConsentDisabled", "documentId": document, "option": option.as_str(),
                "approverId": id, "approverIdType": kind,
            })
        })
        .collect();
    Ok(Consent::Disabled(
        Refused::new(ErrorCode::UserDocumentRuntimeOptionDisabled, message).with_details(details),
    ))
}

/// Who cannot speak has not agreed (decision 51): the owner and everybody who was named must be
/// registered as they were, and be able to come with a token. Where nobody was named, whoever left
/// is left out, as long as one remains.
fn departed(call: &Call<'_>, loaded: &Loaded, option: DocumentOption) -> Result<Option<Refused>, Fault> {
    let owner = &loaded.draft.creator;
    let approvers = loaded.decision.as_ref().map_or(&[][..], |d| &d.approvers);
    let mut gone = Vec::new();
    let mut missing_approvers = Vec::new();
    for person in std::iter::once(owner).chain(approvers.iter().filter(|person| *person != owner)) {
        let standing = person.standing(call.state)?;
        if standing == Standing::Present {
            continue;
        }
        if person == owner || !loaded.draft.approvers.is_empty() {
            gone.push((person, standing));
        }
        if approvers.contains(person) {
            missing_approvers.push((person, standing));
        }
    }
    if gone.is_empty() && missing_approvers.len() == approvers.len() {
        gone = missing_approvers;
    }
    if gone.is_empty() {
        return Ok(None);
    }
    let document = &loaded.key.1;
    let names: Vec<&str> = gone.iter().map(|(person, _)| person.id().as_str()).collect();
    let details = gone.iter().map(|(person, standing)| {
        json!({
            "code": match standing {
                Standing::IssuerGone => "IssuerNotRegistered",
                Standing::Gone | Standing::Present => "NotRegistered",
            },
            "documentId": document, "option": option.as_str(),
            "approverId": person.id(), "approverIdType": person.kind(),
        })
    });
    let message = format!(
        "{} of user document {document} is disabled, because its owner or approvers are gone [{}].",
        option.as_str(),
        names.join(",")
    );
    Ok(Some(
        Refused::new(ErrorCode::UserDocumentRuntimeOptionDisabled, message).with_details(details.collect()),
    ))
}

/// `POST /contracts/{contractId}/userdocuments/{documentId}/runtimeoptions/{option}/{enable|disable}`
pub(crate) fn switch_document(call: &Call<'_>, changes: &mut dyn Write, status: OptionStatus) -> Answer {
    let known = caller::known(call)?;
    let option = document_option(call)?;
    let key: DocumentKey = Pair(call.id("contractId")?, call.id("documentId")?);
    let loaded = document_state::load(call, &key)?.filter(|loaded| loaded.state == DocumentState::Accepted);
    let decision = loaded.and_then(|loaded| loaded.decision).ok_or_else(|| {
        Refused::new(
            ErrorCode::UserDocumentNotAccepted,
            format!("contract {} has no accepted user document {}", key.0, key.1),
        )
    })?;
    if !decision.approvers.contains(&known.person) {
        return Err(Refused::new(
            ErrorCode::NotUserDocumentApprover,
            "only approvers of the document may change its consent",
        )
        .into());
    }
    if known.person.kind() == ApproverKind::Member {
        known.require_active()?;
    }
    let Person { who, registration } = known.person;
    let kind: Identifier = who
        .approver_id_type
        .as_str()
        .parse()
        .expect("kinds are identifiers");
    let option: Identifier = option.as_str().parse().expect("options are identifiers");
    let key = Pair(key.0, Pair(key.1, Pair(option, Pair(kind, who.approver_id))));
    DOCUMENT_SWITCHES.put(changes, &key, &Json(Switch { status, registration }))?;
    Ok(Reply::empty())
}

/// `POST /runtimeoptions/{option}/status`
pub(crate) fn service_status(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let name = call.text("option");
    let option = cleanroom_model::actions::ServiceOption::ALL
        .into_iter()
        .find(|option| option.as_str() == name)
        .ok_or_else(|| Refused::new(ErrorCode::InvalidOption, format!("there is no option {name:.64}")))?;
    let row = SERVICE_OPTIONS.get(call.state, &option.key())?;
    Reply::json(&json!({ "status": row.map_or(OptionStatus::Disabled, |row| row.0.status) }))
}
