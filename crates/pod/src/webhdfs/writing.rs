//! The PUT and DELETE operations; all but no-ops act on the run's output only.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;

use super::reply::{Body, Refusal, empty, json_ok};
use super::request::{Place, Target};
use super::{Access, BODY_TIMEOUT, Shared};
use crate::output::OutputError;

/// Marks the second request of a CREATE, the one with the bytes.
const DATA_MARK: &str = "concordat.data";

pub(super) async fn put(
    shared: &Arc<Shared>,
    place: &Place<'_>,
    target: &Target,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let path = sink_path(place)?;
    match target.operation().as_str() {
        "CREATE" if target.flag(DATA_MARK) => create(shared, path, target, request.into_body()).await,
        "CREATE" => redirect(shared, &request),
        "MKDIRS" => Ok(boolean(shared.sink.make_directory(path)?)),
        "RENAME" => Ok(boolean(
            shared
                .sink
                .rename(path, &target.destination(&shared.sink_name)?)?,
        )),
        // Output has no owners, modes or times of its own; Hadoop's committer sets them regardless.
        "SETPERMISSION" | "SETOWNER" | "SETTIMES" => shared.status(place).map(|_| empty(StatusCode::OK)),
        "SETREPLICATION" => shared.status(place).map(|_| boolean(true)),
        _ => Err(Refusal::Unsupported),
    }
}

pub(super) async fn delete(
    shared: &Arc<Shared>,
    place: &Place<'_>,
    target: &Target,
) -> Result<Response<Body>, Refusal> {
    let path = sink_path(place)?;
    match target.operation().as_str() {
        "DELETE" => Ok(boolean(shared.sink.delete(path, target.flag("recursive")).await?)),
        _ => Err(Refusal::Unsupported),
    }
}

fn sink_path<'a>(place: &'a Place<'_>) -> Result<&'a str, Refusal> {
    match place {
        Place::Sink { path } => Ok(path),
        _ => Err(Refusal::Forbidden("only the run's output can be written")),
    }
}

fn boolean(value: bool) -> Response<Body> {
    json_ok(&json!({"boolean": value}))
}

/// The first step of a CREATE: WebHDFS clients send no bytes before they are told where to.
fn redirect(shared: &Shared, request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("", |target| target.as_str());
    let location = format!("http://{}{target}&{DATA_MARK}=true", shared.address);
    let location = HeaderValue::try_from(location).map_err(|_| Refusal::BadRequest("not an address"))?;
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

async fn create(
    shared: &Arc<Shared>,
    path: &str,
    target: &Target,
    mut body: Incoming,
) -> Result<Response<Body>, Refusal> {
    shared.check(Access::Write).await?;
    let mut upload = shared.sink.create(path, target.flag("overwrite")).await?;
    loop {
        let frame = tokio::time::timeout(BODY_TIMEOUT, body.frame())
            .await
            .map_err(|_| Refusal::BadRequest("the file stopped coming"))?;
        match frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    upload.push(bytes).await?;
                }
            }
            // Dropping the upload leaves nothing behind.
            Some(Err(_)) => return Err(Refusal::BadRequest("the file was cut off")),
            None => break,
        }
    }
    upload
        .finish()
        .await
        .map_err(|error: OutputError| error.into())
        .map(|()| empty(StatusCode::CREATED))
}
