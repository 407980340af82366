//! Lists in pages (decision 59). A page looks at so many rows and no more, whatever is selected of them, so it
//! may show fewer than it could; only one without `nextLink` is the last.

use kv::RawEntry;
use kv::RawKey;
use serde::Serialize;

use crate::reply::{Answer, Failure, Fault, Reply};
use crate::request::Call;

/// Most rows of one page.
pub const LIST_ROWS_MAX: usize = 1000;
/// Bytes of stored rows after which a page ends early: an answer stays within a call's memory.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// The query's name for where a page goes on.
const AFTER: &str = "after";

/// Where a list goes on: behind this key, as `nextLink` said.
pub(crate) fn after(call: &Call<'_>, prefix: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let query = call.query()?;
    Ok(query.get(AFTER).map(|text| [prefix, text.as_bytes()].concat()))
}

/// Rows of a page, and the key behind which the next one goes on.
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) next: Option<Vec<u8>>,
}

/// Keys of a page.
pub(crate) fn keys(
    call: &Call<'_>,
    table: &str,
    prefix: &[u8],
    after: Option<Vec<u8>>,
) -> Result<Page<RawKey>, Failure> {
    gather(
        after,
        |after, limit| Ok(call.state.keys(table, prefix, after, limit)?),
        |_| 0,
    )
}

/// Rows of a page, for lists of what is short.
pub(crate) fn rows(
    call: &Call<'_>,
    table: &str,
    prefix: &[u8],
    after: Option<Vec<u8>>,
) -> Result<Page<RawEntry>, Failure> {
    gather(
        after,
        |after, limit| Ok(call.state.scan(table, prefix, after, limit)?),
        |value: &Vec<u8>| value.len(),
    )
}

fn gather<V>(
    mut after: Option<Vec<u8>>,
    scan: impl Fn(Option<&[u8]>, u32) -> Result<Vec<kv::Entry<Vec<u8>, V>>, Failure>,
    size: impl Fn(&V) -> usize,
) -> Result<Page<kv::Entry<Vec<u8>, V>>, Failure> {
    let mut rows: Vec<kv::Entry<Vec<u8>, V>> = Vec::new();
    let mut bytes = 0_usize;
    loop {
        // One more than is shown, to know whether there is another page.
        let missing = LIST_ROWS_MAX.saturating_sub(rows.len()).saturating_add(1);
        let some = scan(after.as_deref(), u32::try_from(missing).unwrap_or(1))?;
        if some.is_empty() {
            return Ok(Page { rows, next: None });
        }
        for row in some {
            if rows.len() == LIST_ROWS_MAX || bytes >= PAGE_BYTES {
                let next = rows.last().map(|row| row.key.clone());
                return Ok(Page { rows, next });
            }
            bytes = bytes
                .saturating_add(row.key.len())
                .saturating_add(size(&row.value));
            after = Some(row.key.clone());
            rows.push(row);
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<T> {
    value: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_link: Option<String>,
}

/// A page as it is answered. `next` is a key under `prefix`; all else of the request's query stands in the link
/// as it was sent.
pub(crate) fn reply<T: Serialize>(
    call: &Call<'_>,
    prefix: &[u8],
    value: Vec<T>,
    next: Option<&[u8]>,
) -> Answer {
    let next_link = next
        .map(|key| {
            key.strip_prefix(prefix)
                .ok_or_else(|| Fault::new("a key is not of its list"))
        })
        .transpose()?
        .map(|cursor| link(&call.request.target, cursor));
    Reply::json(&List { value, next_link })
}

/// The request's target with another place to go on from.
fn link(target: &str, cursor: &[u8]) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let others = query
        .split('&')
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(AFTER));
    let mut link = format!("{path}?");
    for pair in others {
        link.push_str(pair);
        link.push('&');
    }
    link.push_str(AFTER);
    link.push('=');
    for byte in cursor {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            link.push(char::from(*byte));
        } else {
            link.push_str(&format!("%{byte:02X}"));
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_keeps_what_was_selected_and_goes_on_once() {
        assert_eq!(link("/app/contracts", b"c1"), "/app/contracts?after=c1");
        assert_eq!(
            link("/app/contracts?state=Draft&after=a%2Fb&x", b"user/una/2.7/k"),
            "/app/contracts?state=Draft&x&after=user%2Funa%2F2.7%2Fk"
        );
    }
}
