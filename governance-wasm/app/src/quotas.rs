//! How much one caller may keep in one contract ([ADR 24](../../../docs/adr/0024-what-a-caller-keeps.md)): rows and bytes of documents,
//! secrets and events, counted where they are written, so that nothing is ever scanned for it.
//!
//! Drafts of contracts need no counting: there is one for a contract, of one request's size at the
//! most. Releases, refusals and admissions are the service's own record and are never counted, so
//! nobody's use of its room can stop what others are owed.

use cleanroom_model::error_codes::ErrorCode;
use cleanroom_model::ids::ContractId;
use cleanroom_model::person::Person;
use cleanroom_model::tables::{USAGE, Usage};
use kv::{Json, Pair, Singleton, Write};
use model::evidence::Role;
use model::tables::SERVICE_CONFIG;

use crate::admission::Admitted;
use crate::reply::{Failure, Fault, Refused};
use crate::request::Call;

/// Rows of one caller in one contract where the service's settings say nothing.
pub const ROWS_DEFAULT: u64 = 1_000_000;
/// Their bytes, keys not counted.
pub const BYTES_DEFAULT: u64 = 256 * 1024 * 1024;
/// Audit events of one run. A bound of its own: neither the launcher's nor another run's events
/// use it up.
pub const RUN_EVENTS_MAX: u64 = 10_000;
/// Bytes of the audit events of one run.
pub const RUN_EVENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Whose room is used.
pub(crate) struct Holder {
    /// Last part of the key of its row.
    key: String,
    /// Bounds that settings do not change.
    fixed: Option<Usage>,
    name: &'static str,
}

impl Holder {
    /// A member or user under its registration: whoever is registered under the id later begins anew.
    pub(crate) fn person(person: &Person) -> Self {
        Self {
            key: format!(
                "{}/{}/{}",
                person.kind().as_str(),
                person.id(),
                person.registration
            ),
            fixed: None,
            name: "caller",
        }
    }

    /// A workload: a pod's run, which was checked to be its own; of others, which may name any run,
    /// everything that shows this host data.
    pub(crate) fn workload(admitted: &Admitted) -> Self {
        let run = admitted.run_id.as_ref();
        match run.filter(|_| admitted.role() == Some(Role::Pod)) {
            Some(run) => Self {
                key: format!("run/{run}"),
                fixed: Some(Usage {
                    rows: RUN_EVENTS_MAX,
                    bytes: RUN_EVENT_BYTES_MAX,
                }),
                name: "run",
            },
            None => Self {
                key: format!("workload/{}", admitted.subject.host_data),
                fixed: None,
                name: "workload",
            },
        }
    }

    /// Clean rooms that show a token instead of evidence: all of one subject.
    pub(crate) fn token(subject: &str) -> Self {
        Self {
            key: format!("token/{subject}"),
            fixed: None,
            name: "token's subject",
        }
    }
}

/// Counts a row of `after` bytes that takes the place of one of `before` bytes, if there was one,
/// or refuses it.
///
/// # Errors
///
/// `QuotaExceeded` if the caller's room in this contract is used up.
pub(crate) fn charge(
    call: &Call<'_>,
    changes: &mut dyn Write,
    contract: &ContractId,
    holder: &Holder,
    before: Option<usize>,
    after: usize,
) -> Result<(), Failure> {
    let key = Pair(contract.clone(), holder.key.clone());
    let used = USAGE.get(call.state, &key)?.map(|row| row.0).unwrap_or_default();
    let size = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    let next = Usage {
        rows: used.rows.saturating_add(u64::from(before.is_none())),
        bytes: used
            .bytes
            .saturating_sub(before.map_or(0, size))
            .saturating_add(size(after)),
    };
    let most = match holder.fixed {
        Some(fixed) => fixed,
        None => settings(call)?,
    };
    let full = |what: &str, most: u64| {
        let refused = Refused::new(
            ErrorCode::QuotaExceeded,
            format!(
                "this {} may keep {most} {what} in contract {contract}; replace what is there by something \
                 smaller, or have members raise the quota by set_service_configuration",
                holder.name
            ),
        );
        Err(refused.into())
    };
    // What becomes smaller is never refused: after a quota was lowered it is the way back under it.
    if next.rows > most.rows && before.is_none() {
        return full("rows", most.rows);
    }
    if next.bytes > most.bytes && next.bytes > used.bytes {
        return full("bytes", most.bytes);
    }
    Ok(USAGE.put(changes, &key, &Json(next))?)
}

fn settings(call: &Call<'_>) -> Result<Usage, Fault> {
    let row = SERVICE_CONFIG.get(call.state, &Singleton)?.map(|row| row.0);
    let of = |setting: Option<u64>, default: u64| setting.unwrap_or(default);
    Ok(Usage {
        rows: of(row.as_ref().and_then(|row| row.quota_rows), ROWS_DEFAULT),
        bytes: of(row.as_ref().and_then(|row| row.quota_bytes), BYTES_DEFAULT),
    })
}
