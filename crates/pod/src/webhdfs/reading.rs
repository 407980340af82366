//! The GET operations.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Response, header};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use serde_json::json;

use super::reply::{Body, Refusal, file_status, json_ok};
use super::request::{Place, Target};
use super::{Access, Shared};

pub(super) async fn get(
    shared: &Arc<Shared>,
    place: &Place<'_>,
    target: &Target,
) -> Result<Response<Body>, Refusal> {
    match target.operation().as_str() {
        "GETFILESTATUS" => Ok(json_ok(
            &json!({"FileStatus": file_status("", shared.status(place)?)}),
        )),
        "LISTSTATUS" => {
            let statuses = json!({"FileStatuses": {"FileStatus": listing(shared, place)?}});
            Ok(json_ok(&statuses))
        }
        "LISTSTATUS_BATCH" => {
            // Everything fits in one batch: inputs and outputs are both bounded in number.
            let statuses = json!({"FileStatuses": {"FileStatus": listing(shared, place)?}});
            Ok(json_ok(
                &json!({"DirectoryListing": {"partialListing": statuses, "remainingEntries": 0}}),
            ))
        }
        "OPEN" => open(shared, place, target).await,
        "GETFILEBLOCKLOCATIONS" => Ok(json_ok(
            &json!({"BlockLocations": {"BlockLocation": locations(shared, place)?}}),
        )),
        "GETHOMEDIRECTORY" => Ok(json_ok(&json!({"Path": format!("/{}", target.capability)}))),
        "CHECKACCESS" => shared
            .status(place)
            .map(|_| super::reply::empty(http::StatusCode::OK)),
        _ => Err(Refusal::Unsupported),
    }
}

fn listing(shared: &Shared, place: &Place<'_>) -> Result<Vec<serde_json::Value>, Refusal> {
    // A file lists as itself, with an empty name.
    if let Some(len) = shared.status(place)? {
        return Ok(vec![file_status("", Some(len))]);
    }
    Ok(shared
        .children(place)
        .into_iter()
        .map(|(name, len)| file_status(&name, len))
        .collect())
}

fn locations(shared: &Shared, place: &Place<'_>) -> Result<Vec<serde_json::Value>, Refusal> {
    let Some(len) = shared.status(place)? else {
        return Ok(Vec::new());
    };
    Ok(vec![json!({
        "cachedHosts": [], "corrupt": false, "hosts": ["localhost"], "length": len,
        "names": [shared.address.to_string()], "offset": 0, "storageTypes": ["DISK"], "topologyPaths": ["/local"],
    })])
}

async fn open(shared: &Arc<Shared>, place: &Place<'_>, target: &Target) -> Result<Response<Body>, Refusal> {
    let Place::View { view, path } = place else {
        return Err(Refusal::Forbidden("only inputs can be read"));
    };
    let input = shared.inputs.get(*view).ok_or(Refusal::NotFound)?;
    let file_len = input.files().get(path).ok_or(Refusal::NotFound)?.plain_len();
    shared
        .check(Access::Read {
            view: (*view).to_owned(),
        })
        .await?;

    let offset = target.number("offset")?.unwrap_or(0);
    if offset > file_len {
        return Err(Refusal::BadRequest("offset is beyond the end"));
    }
    let rest = file_len.saturating_sub(offset);
    let len = target.number("length")?.unwrap_or(rest).min(rest);

    let (sender, body) = Channel::new(1);
    let range = offset..offset.saturating_add(len);
    tokio::spawn(send(
        Arc::clone(shared),
        (*view).to_owned(),
        path.clone(),
        range,
        sender,
    ));
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(header::CONTENT_LENGTH, len.into());
    Ok(response)
}

/// Sends a range until it is complete, the reader goes away or a block does not authenticate.
async fn send(
    shared: Arc<Shared>,
    view: String,
    path: String,
    range: std::ops::Range<u64>,
    mut sender: Sender<Bytes, std::io::Error>,
) {
    let (Some(input), Some(counter)) = (shared.inputs.get(&view), shared.bytes_read.get(&view)) else {
        return;
    };
    let Some(file) = input.files().get(&path) else {
        return;
    };
    let mut offset = range.start;
    while offset < range.end {
        let chunk = match input.read(file, offset).await {
            Ok(chunk) if !chunk.is_empty() => chunk,
            Ok(_) => return sender.abort(std::io::Error::other("the file became shorter")),
            Err(error) => {
                tracing::error!(
                    view,
                    error = &error as &dyn std::error::Error,
                    "an input cannot be read"
                );
                // Cutting the connection is the only way left to say so: the head is already out.
                return sender.abort(std::io::Error::other("the input cannot be read"));
            }
        };
        let left = usize::try_from(range.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let chunk = chunk.slice(..chunk.len().min(left));
        let len = chunk.len() as u64;
        if sender.send_data(chunk).await.is_err() {
            return;
        }
        counter.fetch_add(len, Ordering::Relaxed);
        offset = offset.saturating_add(len);
    }
}
