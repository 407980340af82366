//! Audit events of workloads, and the trace of releases beside them (`governance-api.md` §15).
//!
//! Every event has a key of its own, so pages count events and a sparse series costs nothing.
//! The scope `releases` is the service's: it shows what was released or refused.

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::{ContractId, Identifier};
use cleanroom_model::tables::{EVENTS, EventRow, LATEST_EVENTS, RELEASES, sequence};
use kv::codec::{Key as _, Value as _};
use kv::{Json, Pair, Write};
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;
use serde_json::value::RawValue;

use crate::admission::{self, Binding, Wish};
use crate::caller;
use crate::nesting::require_shallow;
use crate::permit;
use crate::proof::{Body, timestamp_digits};
use crate::quotas::{self, Holder};
use crate::reply::{Answer, Fault, Refused, Reply};
use crate::request::{Call, Caller, parse_id};
use crate::time::iso_8601;
use crate::token_policy;

/// Scope under which releases and refusals are read.
const RELEASES_SCOPE: &str = "releases";
const PAGE_DEFAULT: u64 = 2000;
const PAGE_MAX: u64 = 10_000;

/// A series: scope, empty if there is none, and id.
struct Series {
    scope: String,
    id: Identifier,
}

fn series(call: &Call<'_>, contract: &ContractId) -> Result<Series, Refused> {
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
        return Err(Refused::new(
            ErrorCode::InvalidParameter,
            "the scope releases is the service's own",
        )
        .into());
    }
    let body: Body = call.body()?;
    let (timestamp, data, holder) = match &call.request.caller {
        Caller::Token { claims_json, .. } => {
            let timestamp = timestamp_digits(body.timestamp.as_ref())?;
            token_policy::check(call, &contract, claims_json)?;
            let data = body
                .data
                .as_deref()
                .ok_or_else(|| Refused::new(ErrorCode::DataMissing, "data is missing"))?;
            let data = model::b64::decode(data)
                .map_err(|_| Refused::new(ErrorCode::InvalidInput, "data is not base64"))?;
            (
                timestamp,
                data,
                Holder::token(&token_policy::subject(claims_json)?),
            )
        }
        _ => {
            if body.attestation.is_some() && body.sign.is_some() {
                timestamp_digits(body.timestamp.as_ref())?;
            }
            let kind: Identifier = "events".parse().expect("an identifier");
            let writer: Identifier = "writer".parse().expect("an identifier");
            let admitted = admission::admit(
                call,
                changes,
                &body,
                Wish::new("event", series.id.as_str(), admission::EVERY_ROLE)
                    .bound_by(Binding::Sign)
                    .open_to(Some((&kind, &writer))),
            )?;
            permit::require_reporter(call, changes, &admitted)?;
            let holder = Holder::workload(&admitted);
            (timestamp_digits(body.timestamp.as_ref())?, admitted.data, holder)
        }
    };
    let data: JsonValue = serde_json::from_slice(&data)
        .map_err(|_| Refused::new(ErrorCode::InvalidInput, "data is not base64 of JSON"))?;
    require_shallow("data", &data)?;
    let event = Json(EventRow {
        timestamp: format!("{timestamp:0>13}"),
        data,
    });
    quotas::charge(call, changes, &contract, &holder, None, event.to_bytes().len())?;
    append(call, changes, contract, series, &event)?;
    Ok(Reply::no_content())
}

fn append(
    call: &Call<'_>,
    changes: &mut dyn Write,
    contract: ContractId,
    series: Series,
    event: &Json<EventRow>,
) -> Result<(), Fault> {
    let at = sequence(call.request.transaction.seqno);
    let latest = Pair(contract.clone(), Pair(series.scope.clone(), series.id.clone()));
    LATEST_EVENTS.put(changes, &latest, &Json(at.clone()))?;
    let key = Pair(contract, Pair(series.scope, Pair(series.id, at)));
    EVENTS.put(changes, &key, event)?;
    Ok(())
}

/// Which part of a series is asked for.
struct Range {
    from: u64,
    to: u64,
    page: u64,
}

fn range(call: &Call<'_>) -> Result<Option<Range>, Refused> {
    let query = call.query()?;
    let number = |name: &str| -> Result<Option<u64>, Refused> {
        query
            .get(name)
            .filter(|text| !text.is_empty())
            .map_or(Ok(None), |text| {
                text.parse().map(Some).map_err(|_| {
                    Refused::new(ErrorCode::InvalidParameter, format!("{name} is a whole number"))
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
        return Err(Refused::new(
            ErrorCode::InvalidParameter,
            "max_seqno_per_page is at least 1",
        ));
    }
    if let (Some(from), Some(to)) = (from, to)
        && to < from
    {
        return Err(Refused::new(
            ErrorCode::InvalidParameter,
            "to_seqno is less than from_seqno",
        ));
    }
    if from.is_none() && to.is_none() {
        return Ok(None);
    }
    // Beyond the last position there is nothing to promise a history of; only the position right
    // behind it may be asked for, by those who wait for more.
    let committed = call.request.committed.seqno;
    if to.is_some_and(|to| to > committed) || from.is_some_and(|from| from > committed.saturating_add(1)) {
        return Err(Refused::new(
            ErrorCode::InvalidParameter,
            format!("the last committed position is {committed}"),
        ));
    }
    Ok(Some(Range {
        from: from.unwrap_or(1).max(1),
        to: to.unwrap_or(committed),
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
    let page = page(call, table, &prefix, &range, |seqno, stored| {
        if releases {
            let data = serde_json::from_slice(stored)?;
            return Ok(View::release(&contract, seqno, data));
        }
        let event: StoredEvent = serde_json::from_slice(stored)?;
        Ok(View::event(&series, seqno, event))
    })?;
    let next_link = page.next.map(|next| {
        format!(
            "/app/contracts/{contract}/events?from_seqno={next}&to_seqno={}&id={}&scope={}&max_seqno_per_page={}",
            range.to, series.id, series.scope, range.page
        )
    });
    Reply::json(&List {
        value: page.value,
        next_link,
    })
}

/// Bytes of stored rows after which a page ends early: an answer stays within a call's memory
/// however long the events are.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

struct Page {
    value: Vec<View>,
    /// Position of the first row that did not fit.
    next: Option<u64>,
}

/// The rows of a range, up to a page.
fn page(
    call: &Call<'_>,
    table: &str,
    prefix: &[u8],
    range: &Range,
    view: impl Fn(u64, &[u8]) -> serde_json::Result<View>,
) -> Result<Page, Fault> {
    const ROWS: u64 = 1000;
    let before_first = sequence(range.from.saturating_sub(1));
    let mut after = [prefix, before_first.as_bytes()].concat();
    let mut value: Vec<View> = Vec::new();
    let mut bytes = 0_usize;
    loop {
        // One more than is missing, to know whether there is another page.
        let missing = range.page.saturating_sub(value.len() as u64).saturating_add(1);
        let limit = u32::try_from(missing.min(ROWS)).unwrap_or(1);
        let rows = call.state.scan(table, prefix, Some(&after), limit)?;
        let Some(last) = rows.last() else {
            return Ok(Page { value, next: None });
        };
        after.clone_from(&last.key);
        for row in rows {
            let seqno = row.version.seqno;
            if seqno > range.to {
                return Ok(Page { value, next: None });
            }
            if value.len() as u64 == range.page || bytes >= PAGE_BYTES {
                return Ok(Page {
                    value,
                    next: Some(seqno),
                });
            }
            bytes = bytes.saturating_add(row.value.len());
            let shown = view(seqno, &row.value).map_err(|e| Fault::new(e.to_string()))?;
            value.push(shown);
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
        if let Some(row) = call.state.get(EVENTS.name(), &key.to_bytes())? {
            let event = serde_json::from_slice(&row.value).map_err(|e| Fault::new(e.to_string()))?;
            value.push(View::event(series, row.version.seqno, event));
        }
    }
    Reply::json(&List {
        value,
        next_link: None,
    })
}

/// An event as stored; its data stay text.
#[derive(Deserialize)]
struct StoredEvent {
    timestamp: String,
    data: Box<RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    value: Vec<View>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_link: Option<String>,
}

/// An event or a release as it is read.
#[derive(Serialize)]
struct View {
    scope: String,
    id: String,
    seqno: u64,
    #[serde(flatten)]
    time: Option<ViewTime>,
    data: Box<RawValue>,
}

/// The writer's time. Both spellings of the ISO form: client generations differ.
#[derive(Serialize)]
struct ViewTime {
    timestamp: String,
    timestamp_iso: String,
    #[serde(rename = "timestampIso")]
    timestamp_iso_camel: String,
}

impl View {
    fn event(series: &Series, seqno: u64, event: StoredEvent) -> Self {
        let iso = event.timestamp.parse().map(iso_8601).unwrap_or_default();
        Self {
            scope: series.scope.clone(),
            id: series.id.to_string(),
            seqno,
            time: Some(ViewTime {
                timestamp: event.timestamp,
                timestamp_iso: iso.clone(),
                timestamp_iso_camel: iso,
            }),
            data: event.data,
        }
    }

    fn release(contract: &ContractId, seqno: u64, data: Box<RawValue>) -> Self {
        Self {
            scope: RELEASES_SCOPE.to_owned(),
            id: contract.to_string(),
            seqno,
            time: None,
            data,
        }
    }
}
