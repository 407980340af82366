//! Audit events of workloads, and the trace of releases beside them (`governance-api.md` §15).
//!
//! Every event has a key of its own, so pages count events and a sparse series costs nothing.
//! The scope `releases` is the service's: it shows what was released or refused.

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, Identifier};
use cleanroom_model::policy::PolicyType;
use cleanroom_model::tables::{EVENTS, EventRow, LATEST_EVENTS, RELEASES, sequence};
use kv::codec::{Key as _, Value as _};
use kv::{Json, Pair, Write};
use serde_json::{Value as JsonValue, json};

use crate::admission::{self, Binding, Purpose};
use crate::caller;
use crate::matching::claim_mismatches;
use crate::proof::{Body, POLICY_MISSING, timestamp_digits};
use crate::reply::{Answer, Refusal, Reply};
use crate::request::{Call, Caller, parse_id};
use crate::runs;
use crate::time::iso_8601;

/// Scope under which releases and refusals are read.
const RELEASES_SCOPE: &str = "releases";
const PAGE_DEFAULT: u64 = 2000;
const PAGE_MAX: u64 = 10_000;

/// A series: scope, empty if there is none, and id.
struct Series {
    scope: String,
    id: Identifier,
}

fn series(call: &Call<'_>, contract: &ContractId) -> Result<Series, Refusal> {
    let query = call.query()?;
    let scope = match query.get("scope").filter(|scope| !scope.is_empty()) {
        Some(scope) => parse_id::<Identifier>("scope", scope)?.to_string(),
        None => String::new(),
    };
    let id = query
        .get("id")
        .filter(|id| !id.is_empty())
        .map_or(contract.as_str(), String::as_str);
    Ok(Series {
        scope,
        id: parse_id("id", id)?,
    })
}

/// `PUT /contracts/{contractId}/events`
pub(crate) fn put(call: &Call<'_>, changes: &mut dyn Write) -> Answer {
    let contract: ContractId = call.id("contractId")?;
    let series = series(call, &contract)?;
    if series.scope == RELEASES_SCOPE {
        return Err(Refusal::new(
            ErrorCode::InvalidParameter,
            "the scope releases is the service's own",
        ));
    }
    let body: Body = call.body()?;
    let (timestamp, data) = match &call.request.caller {
        Caller::Token { claims_json, .. } => {
            let timestamp = timestamp_digits(body.timestamp.as_ref())?;
            check_token(call, &contract, claims_json)?;
            let data = body
                .data
                .as_deref()
                .ok_or_else(|| Refusal::new(ErrorCode::DataMissing, "data is missing"))?;
            let data = model::b64::decode(data)
                .map_err(|_| Refusal::new(ErrorCode::InvalidInput, "data is not base64"))?;
            (timestamp, data)
        }
        _ => {
            if body.attestation.is_some() && body.sign.is_some() {
                timestamp_digits(body.timestamp.as_ref())?;
            }
            let kind: Identifier = "events".parse().expect("an identifier");
            let writer: Identifier = "writer".parse().expect("an identifier");
            let purpose = Purpose {
                kind: "event",
                name: series.id.as_str(),
            };
            let admitted = admission::admit(
                call,
                changes,
                &body,
                Binding::Sign,
                Some((&kind, &writer)),
                purpose,
            )?;
            runs::permission(call, changes, &admitted, purpose, runs::Check::Report)?;
            (timestamp_digits(body.timestamp.as_ref())?, admitted.data)
        }
    };
    let data: JsonValue = serde_json::from_slice(&data)
        .map_err(|_| Refusal::new(ErrorCode::InvalidInput, "data is not base64 of JSON"))?;
    append(
        call,
        changes,
        contract,
        series,
        EventRow {
            timestamp: format!("{timestamp:0>13}"),
            data,
        },
    )?;
    Ok(Reply::no_content())
}

fn append(
    call: &Call<'_>,
    changes: &mut dyn Write,
    contract: ContractId,
    series: Series,
    event: EventRow,
) -> Result<(), Refusal> {
    let at = sequence(call.request.transaction.seqno);
    let latest = Pair(contract.clone(), Pair(series.scope.clone(), series.id.clone()));
    LATEST_EVENTS.put(changes, &latest, &Json(at.clone()))?;
    let key = Pair(contract, Pair(series.scope, Pair(series.id, at)));
    EVENTS.put(changes, &key, &Json(event))?;
    Ok(())
}

/// A token may write events if its claims satisfy an alternative of type `jwt`.
fn check_token(call: &Call<'_>, contract: &ContractId, claims_json: &str) -> Result<(), Refusal> {
    let claims = caller::token_claims(claims_json)?;
    let mut details = Vec::new();
    let mut found_policy = false;
    for placed in admission::alternatives(call, contract)? {
        found_policy = true;
        if placed.policy_type != PolicyType::Jwt {
            continue;
        }
        let found = claim_mismatches(placed.id.as_str(), &placed.policy.claims, |name| claims.get(name));
        if found.is_empty() {
            return Ok(());
        }
        details.extend(found.iter().map(crate::matching::Mismatch::detail));
    }
    let message = if found_policy {
        "The token's claims do not match the contract policy."
    } else {
        POLICY_MISSING
    };
    Err(Refusal::new(ErrorCode::VerifyJwtAttestationFailed, message).with_details(details))
}

/// Which part of a series is asked for.
struct Range {
    from: u64,
    to: u64,
    page: u64,
}

fn range(call: &Call<'_>) -> Result<Option<Range>, Refusal> {
    let query = call.query()?;
    let number = |name: &str| -> Result<Option<u64>, Refusal> {
        query
            .get(name)
            .filter(|text| !text.is_empty())
            .map_or(Ok(None), |text| {
                text.parse().map(Some).map_err(|_| {
                    Refusal::new(ErrorCode::InvalidParameter, format!("{name} is a whole number"))
                })
            })
    };
    let (from, to, page) = (
        number("from_seqno")?,
        number("to_seqno")?,
        number("max_seqno_per_page")?,
    );
    let page = page.unwrap_or(PAGE_DEFAULT);
    if page == 0 {
        return Err(Refusal::new(
            ErrorCode::InvalidParameter,
            "max_seqno_per_page is at least 1",
        ));
    }
    if let (Some(from), Some(to)) = (from, to)
        && to < from
    {
        return Err(Refusal::new(
            ErrorCode::InvalidParameter,
            "to_seqno is less than from_seqno",
        ));
    }
    if from.is_none() && to.is_none() {
        return Ok(None);
    }
    let committed = call.request.committed.seqno;
    Ok(Some(Range {
        from: from.unwrap_or(1).max(1),
        to: to.unwrap_or(committed).min(committed),
        page: page.min(PAGE_MAX),
    }))
}

/// `GET /contracts/{contractId}/events`
pub(crate) fn list(call: &Call<'_>) -> Answer {
    caller::known(call)?;
    let contract: ContractId = call.id("contractId")?;
    let series = series(call, &contract)?;
    let releases = series.scope == RELEASES_SCOPE;
    let (table, prefix) = if releases {
        (RELEASES.name(), contract.key_prefix())
    } else {
        let latest = Pair(contract.clone(), Pair(series.scope.clone(), series.id.clone()));
        let mut prefix = latest.to_bytes();
        prefix.push(b'/');
        (EVENTS.name(), prefix)
    };
    let range = match range(call)? {
        Some(range) => range,
        None if releases => Range {
            from: 1,
            to: call.request.committed.seqno,
            page: PAGE_DEFAULT,
        },
        None => return latest(call, contract, &series),
    };
    let after = [
        prefix.as_slice(),
        sequence(range.from.saturating_sub(1)).as_bytes(),
    ]
    .concat();
    let mut value = Vec::new();
    let mut next = None;
    for row in rows(call, table, &prefix, after, range.page)? {
        if row.version.seqno > range.to {
            break;
        }
        if value.len() as u64 == range.page {
            next = Some(row.version.seqno);
            break;
        }
        value.push(if releases {
            let release: JsonValue = serde_json::from_slice(&row.value)
                .map_err(|e| Refusal::new(ErrorCode::InternalError, e.to_string()))?;
            json!({ "scope": RELEASES_SCOPE, "id": contract, "seqno": row.version.seqno, "data": release })
        } else {
            let event = Json::<EventRow>::from_bytes(&row.value)
                .map_err(|e| Refusal::new(ErrorCode::InternalError, e.to_string()))?;
            view(&series, row.version.seqno, &event.0)
        });
    }
    let mut answer = json!({ "value": value });
    if let (Some(next), Some(fields)) = (next, answer.as_object_mut()) {
        let link = format!(
            "/app/contracts/{contract}/events?from_seqno={next}&to_seqno={}&id={}&scope={}&max_seqno_per_page={}",
            range.to, series.id, series.scope, range.page
        );
        fields.insert("nextLink".into(), json!(link));
    }
    Reply::json(&answer)
}

/// One row more than a page, to know whether there is another.
fn rows(
    call: &Call<'_>,
    table: &str,
    prefix: &[u8],
    mut after: Vec<u8>,
    page: u64,
) -> Result<Vec<kv::RawEntry>, Refusal> {
    const ROWS: u32 = 1000;
    let mut found = Vec::new();
    loop {
        let batch = call.state.scan(table, prefix, Some(&after), ROWS)?;
        let complete = u32::try_from(batch.len()).is_ok_and(|rows| rows < ROWS);
        if let Some(last) = batch.last() {
            after.clone_from(&last.key);
        }
        found.extend(batch);
        if complete || found.len() as u64 > page {
            return Ok(found);
        }
    }
}

fn latest(call: &Call<'_>, contract: ContractId, series: &Series) -> Answer {
    let key = Pair(contract.clone(), Pair(series.scope.clone(), series.id.clone()));
    let mut value = Vec::new();
    if let Some(at) = LATEST_EVENTS.get(call.state, &key)? {
        let key = Pair(
            contract,
            Pair(series.scope.clone(), Pair(series.id.clone(), at.0)),
        );
        if let Some(row) = EVENTS.get_versioned(call.state, &key)? {
            value.push(view(series, row.version.seqno, &row.value.0));
        }
    }
    Reply::json(&json!({ "value": value }))
}

/// Both spellings of the ISO time: client generations differ.
fn view(series: &Series, seqno: u64, event: &EventRow) -> JsonValue {
    let iso = event.timestamp.parse().map(iso_8601).unwrap_or_default();
    json!({
        "scope": series.scope, "id": series.id, "seqno": seqno, "timestamp": event.timestamp,
        "timestamp_iso": iso, "timestampIso": iso, "data": event.data,
    })
}
