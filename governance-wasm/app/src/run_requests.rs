//! Runs are asked for on the ledger, by people (decision 45): a launcher gets an id and adds nothing.

use cleanroom_model::api::{ApproverKind, RunRequest};
use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, DocumentId, RunId};
use cleanroom_model::person::Person;
use cleanroom_model::runs::{
    AskedRun, OPEN_REQUESTS_MAX, OpenRun, RUNS_PAGE_MAX, RunState, RunView, WaitingRun, WaitingRuns,
};
use cleanroom_model::tables::{OPEN_RUNS, RUN_REQUESTS, RUNS, RunVerdict};
use kv::codec::{Key as _, Value as _};
use kv::{Json, Pair, Write};
use model::evidence::Role;

use crate::admission::{self, Wish};
use crate::caller::{self, Known};
use crate::document_state::{self, Loaded};
use crate::documents;
use crate::parties;
use crate::reply::{Answer, Failure, Fault, Refused, Reply};
use crate::request::Call;
use crate::run_rules;
use crate::run_state;

type RunKey = Pair<ContractId, RunId>;

fn path_of(call: &Call<'_>) -> Result<(RunKey, DocumentId), Refused> {
    Ok((
        Pair(call.id("contractId")?, call.id("runId")?),
        call.id("queryId")?,
    ))
}

fn load_query(call: &Call<'_>, key: &RunKey, query: &DocumentId) -> Result<Loaded, Failure> {
    let key = Pair(key.0.clone(), query.clone());
    document_state::load(call, &key)?.ok_or_else(|| documents::not_found(&key).into())
}

/// `PUT /contracts/{contractId}/queries/{queryId}/runs/{runId}`
pub(crate) fn put(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let known = caller::known(call)?;
    known.require_active()?;
    let (key, query) = path_of(call)?;
    call.require_one_meaning()?;
    let request = run_rules::checked(call.body()?)?;
    // First of all that the state decides: on an older copy the query itself may be missing.
    require_holds(call, &request)?;
    let loaded = load_query(call, &key, &query)?;
    if !parties::is_runner(&loaded.draft, &known.person) {
        return Err(Refused::new(
            ErrorCode::NotARunner,
            format!("{} is not among the runners of query {query}", known.person.id()),
        )
        .into());
    }
    if let Some(asked) = RUN_REQUESTS.get(call.state, &key)?.map(|row| row.0) {
        let same = asked.query_id == query
            && asked.asked_by == known.person
            && asked.request.apart_from_seen() == request.apart_from_seen();
        if !same {
            return Err(in_use(&key.1).into());
        }
        return Reply::json(&view(call, &key, asked)?);
    }
    if RUNS.has(call.state, &key)? {
        return Err(in_use(&key.1).into());
    }
    require_room(call, changes, &key.0, &known.person)?;
    let open = OpenRun {
        query_id: query.clone(),
        asked_on: call.now_ms(),
    };
    let asked = AskedRun {
        query_id: query,
        query_version: loaded.version,
        request,
        asked_by: known.person,
        asked_on: open.asked_on,
        cancelled_by: None,
    };
    OPEN_RUNS.put(changes, &open_key(&key, &asked), &Json(open))?;
    RUN_REQUESTS.put(changes, &key, &Json(asked.clone()))?;
    Ok(Reply {
        status: 201,
        ..Reply::json(&view(call, &key, asked)?)?
    })
}

fn in_use(run: &RunId) -> Refused {
    Refused::new(
        ErrorCode::RunIdInUse,
        format!("run id {run} was used for something else; draw another"),
    )
}

/// Refuses an asker that has seen what this ledger does not hold: then it was set back, or there are
/// two of it, and whoever asked here would be served by the wrong one. A made-up id harms its sender
/// alone.
fn require_holds(call: &Call<'_>, request: &RunRequest) -> Result<(), Refused> {
    match request.seen {
        Some(seen) if !call.host.is_committed(seen) => Err(Refused::new(
            ErrorCode::ServiceForked,
            format!(
                "seen: transaction {seen} is not in this ledger; this node runs on an older copy or on \
                 another branch of it: ask another node, and tell the members"
            ),
        )),
        _ => Ok(()),
    }
}

/// Counts the caller's open requests, and takes those that have lapsed off the list.
fn require_room(
    call: &Call<'_>,
    changes: &mut dyn Write,
    contract: &ContractId,
    person: &Person,
) -> Result<(), Failure> {
    let mut prefix = contract.key_prefix();
    prefix.extend(person.to_bytes());
    prefix.push(b'/');
    let mut open = 0_usize;
    for row in OPEN_RUNS.rows_with_prefix(call.state, &prefix)? {
        if row.value.0.has_lapsed(call.now_ms()) {
            OPEN_RUNS.remove(changes, &row.key)?;
        } else {
            open = open.saturating_add(1);
        }
    }
    if open >= OPEN_REQUESTS_MAX {
        return Err(Refused::new(
            ErrorCode::QuotaExceeded,
            format!("at most {OPEN_REQUESTS_MAX} open run requests for each caller and contract"),
        )
        .into());
    }
    Ok(())
}

fn open_key(key: &RunKey, asked: &AskedRun) -> Pair<ContractId, Pair<Person, RunId>> {
    Pair(key.0.clone(), Pair(asked.asked_by.clone(), key.1.clone()))
}

/// A run that has its verdict, or was ended, waits for no launcher any more.
pub(crate) fn close(changes: &mut dyn Write, key: &RunKey, asked: &AskedRun) -> Result<(), Fault> {
    OPEN_RUNS.remove(changes, &open_key(key, asked))?;
    Ok(())
}

fn view(call: &Call<'_>, key: &RunKey, asked: AskedRun) -> Result<RunView, Fault> {
    let verdict = RUNS.get(call.state, key)?.map(|row| row.0);
    let (mut code, mut not_after) = (None, None);
    let has_lapsed = asked.has_lapsed(call.now_ms()) || run_state::asked_before_reset(call, key)?;
    let mut state = match verdict {
        Some(RunVerdict::Admitted(record)) => {
            not_after = Some(record.not_after);
            RunState::Admitted
        }
        Some(RunVerdict::Refused(refused)) => {
            code = Some(refused.code);
            RunState::Refused
        }
        None if has_lapsed => RunState::Lapsed,
        None => RunState::Requested,
    };
    if asked.cancelled_by.is_some() {
        state = RunState::Cancelled;
    }
    Ok(RunView {
        run_id: key.1.clone(),
        query_id: asked.query_id,
        query_version: asked.query_version,
        state,
        request: asked.request,
        asked_by: asked.asked_by.who,
        asked_on: asked.asked_on,
        cancelled_by: asked.cancelled_by.map(|person| person.who),
        code,
        not_after,
    })
}

/// The run under its query's path; `code` says so if there is none.
fn require(call: &Call<'_>, key: &RunKey, query: &DocumentId, code: ErrorCode) -> Result<AskedRun, Failure> {
    let asked = RUN_REQUESTS.get(call.state, key)?.map(|row| row.0);
    let asked = asked.filter(|asked| asked.query_id == *query);
    asked.ok_or_else(|| Refused::new(code, format!("nobody asked for run {} of query {query}", key.1)).into())
}

/// Whether the run is the caller's business: asker, owner or approver.
fn is_party(
    call: &Call<'_>,
    key: &RunKey,
    query: &DocumentId,
    asked: &AskedRun,
    known: &Known,
) -> Result<bool, Failure> {
    if asked.asked_by == known.person {
        return Ok(true);
    }
    let loaded = load_query(call, key, query)?;
    Ok(parties::is_concerned_by_query(call, &loaded, &known.person)?)
}

/// `GET /contracts/{contractId}/queries/{queryId}/runs/{runId}`
pub(crate) fn read(call: &Call<'_>) -> Answer {
    let known = caller::known(call)?;
    let (key, query) = path_of(call)?;
    let asked = require(call, &key, &query, ErrorCode::RunNotFound)?;
    if known.person.kind() != ApproverKind::Member && !is_party(call, &key, &query, &asked, &known)? {
        return Err(Refused::new(
            ErrorCode::NotARunner,
            "its asker, owners and members see a run, and nobody else",
        )
        .into());
    }
    Reply::json(&view(call, &key, asked)?)
}

/// `POST /contracts/{contractId}/queries/{queryId}/runs/{runId}/cancel`
pub(crate) fn cancel(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let known = caller::known(call)?;
    known.require_active()?;
    let (key, query) = path_of(call)?;
    let asked = require(call, &key, &query, ErrorCode::RunNotFound)?;
    if !is_party(call, &key, &query, &asked, &known)? {
        return Err(Refused::new(
            ErrorCode::NotUserDocumentApprover,
            "whoever asked for a run ends it, or who owns or approves what it uses",
        )
        .into());
    }
    if asked.cancelled_by.is_none() {
        close(changes, &key, &asked)?;
        let cancelled = AskedRun {
            cancelled_by: Some(known.person),
            ..asked
        };
        RUN_REQUESTS.put(changes, &key, &Json(cancelled))?;
    }
    Ok(Reply::no_content())
}

fn not_requested(why: String) -> Refused {
    Refused::new(ErrorCode::RunNotRequested, why)
}

/// The request that a launcher wants admitted, if it was not ended.
pub(crate) fn asked_for(call: &Call<'_>, key: &RunKey, query: &DocumentId) -> Result<AskedRun, Failure> {
    let asked = require(call, key, query, ErrorCode::RunNotRequested)?;
    run_state::require_not_cancelled(call, key)?;
    Ok(asked)
}

/// Refuses a request that is not open any more, or that was for another query than there is now.
pub(crate) fn require_open(call: &Call<'_>, key: &RunKey, asked: &AskedRun) -> Result<(), Failure> {
    let run = &key.1;
    if asked.has_lapsed(call.now_ms()) || run_state::asked_before_reset(call, key)? {
        return Err(not_requested(format!(
            "run {run} was not admitted within an hour; ask again under a new id"
        ))
        .into());
    }
    if load_query(call, key, &asked.query_id)?.version != asked.query_version {
        return Err(not_requested(format!(
            "run {run} was asked for in version {} of its query, which has changed",
            asked.query_version
        ))
        .into());
    }
    if !asked.asked_by.is_registered(call.state)? {
        return Err(not_requested(format!(
            "{}, who asked for run {run}, is not registered any more",
            asked.asked_by.id()
        ))
        .into());
    }
    Ok(())
}

/// `POST /contracts/{contractId}/runs?state=Requested`: what waits, for launchers.
pub(crate) fn list(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let query = call.query()?;
    if query.get("state").map(String::as_str) != Some("Requested") {
        return Err(Refused::new(
            ErrorCode::InvalidParameter,
            "state is Requested: that is what launchers look for",
        )
        .into());
    }
    let admitted = admission::admit(
        call,
        changes,
        &call.body()?,
        Wish::new("runs", "Requested", &[Role::Launcher]),
    )?;
    let after = query.get("after").map(String::as_str);
    Reply::json(&waiting(call, changes, &admitted.contract, after)?)
}

/// A page of what waits, behind the row `after`. What has lapsed goes off the list.
fn waiting(
    call: &Call<'_>,
    changes: &mut dyn Write,
    contract: &ContractId,
    after: Option<&str>,
) -> Result<WaitingRuns, Fault> {
    let corrupt = |e: kv::codec::Malformed| Fault::new(e.to_string());
    let prefix = contract.key_prefix();
    let mut last = after.map(|text| [prefix.as_slice(), text.as_bytes()].concat());
    let mut value = Vec::new();
    let mut left = RUNS_PAGE_MAX;
    while left > 0 {
        // A scan may end early; only an empty one is the end.
        let rows = call
            .state
            .scan(OPEN_RUNS.name(), &prefix, last.as_deref(), left)?;
        let Some(end) = rows.last() else {
            return Ok(WaitingRuns {
                value,
                next_link: None,
            });
        };
        last = Some(end.key.clone());
        for row in rows {
            left = left.saturating_sub(1);
            let open = Json::<OpenRun>::from_bytes(&row.value).map_err(corrupt)?.0;
            if open.has_lapsed(call.now_ms()) {
                changes.remove(OPEN_RUNS.name(), &row.key)?;
                continue;
            }
            let key = Pair::<ContractId, Pair<Person, RunId>>::from_bytes(&row.key).map_err(corrupt)?;
            value.push(WaitingRun {
                run_id: key.1.1,
                query_id: open.query_id,
                asked_on: open.asked_on,
            });
        }
    }
    let next_link = last.and_then(|key| {
        let cursor = String::from_utf8(key.get(prefix.len()..)?.to_vec()).ok()?;
        let cursor = cursor.replace('/', "%2F");
        Some(format!(
            "/app/contracts/{contract}/runs?state=Requested&after={cursor}"
        ))
    });
    Ok(WaitingRuns { value, next_link })
}
