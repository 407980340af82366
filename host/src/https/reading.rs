//! A request from its head and body, or the answer that says why not.
//!
//! A refused body is read and dropped within its limits of size and time, so that the caller reads
//! the answer instead of a reset connection. Time runs out for refused bodies too.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host_core::reply::Reply;
use http::header;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use model::FrameworkError;
use tokio::time::{Instant, timeout_at};

use super::{Answer, HEADERS_MAX, PeerCertificate, Request, named_type};
use crate::config::LimitsConfig;

/// Bytes of a refused body that are read and dropped.
pub(super) const DISCARDED_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub(super) fn refusal(error: FrameworkError, message: impl Into<String>) -> Answer {
    let reply = Reply::error(error, message).with_header("connection", "close");
    if error.status() == 503 {
        reply.with_header("retry-after", "1").into()
    } else {
        reply.into()
    }
}

/// Why a body could not be had.
enum Unread {
    TooLarge,
    Broken,
}

/// Reads the body, or says why not.
pub(super) async fn read(
    request: http::Request<Incoming>,
    limits: &LimitsConfig,
    certificate: Option<Arc<PeerCertificate>>,
) -> Result<Request, Answer> {
    let (head, mut body) = request.into_parts();
    let deadline = Instant::now() + Duration::from_millis(limits.body_timeout_ms);
    if let Some(message) = header_fault(&head, limits) {
        discard(&mut body, deadline).await;
        return Err(refusal(FrameworkError::RequestHeaderTooLarge, message));
    }
    if let Some(message) = host_fault(&head) {
        discard(&mut body, deadline).await;
        return Err(refusal(FrameworkError::InvalidInput, message));
    }
    if !body.is_end_stream() && is_encoded(&head) {
        discard(&mut body, deadline).await;
        let message = "bodies are read as they are, without content-encoding";
        let reply = Reply::error(FrameworkError::UnsupportedContentType, message);
        return Err(reply.with_header("accept-encoding", "identity").into());
    }
    let limit = body_limit(&head, limits);
    let body = if body.is_end_stream() {
        Bytes::new()
    } else {
        match timeout_at(deadline, collect(&mut body, limit)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(Unread::TooLarge)) => {
                discard(&mut body, deadline).await;
                let message = format!("the body exceeds the limit of {limit} bytes");
                return Err(refusal(FrameworkError::RequestBodyTooLarge, message));
            }
            Ok(Err(Unread::Broken)) => {
                return Err(refusal(FrameworkError::InvalidInput, "the body ended early"));
            }
            Err(_) => {
                let message = "the body did not arrive in time";
                return Err(refusal(FrameworkError::InvalidInput, message));
            }
        }
    };
    Ok(Request {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body,
        certificate,
    })
}

/// What is too much about a head, if anything is.
pub(super) fn header_fault(head: &http::request::Parts, limits: &LimitsConfig) -> Option<String> {
    if header_bytes(head) > limits.header_bytes_max {
        let max = limits.header_bytes_max;
        return Some(format!("request line and headers exceed {max} bytes"));
    }
    (head.headers.len() > HEADERS_MAX).then(|| format!("the request has more than {HEADERS_MAX} headers"))
}

/// HTTP/1.1 names one host, or nobody knows whom a proxy before us asked for (RFC 9112 §3.2).
fn host_fault(head: &http::request::Parts) -> Option<&'static str> {
    let hosts = head.headers.get_all(header::HOST).iter().count();
    match (head.version, hosts) {
        (http::Version::HTTP_11, 0) => Some("an HTTP/1.1 request has a host header"),
        (_, 0 | 1) => None,
        _ => Some("the request has more than one host header"),
    }
}

/// Whether the body is encoded. None of the encodings is undone here: what is signed, hashed and
/// bounded is what arrived.
fn is_encoded(head: &http::request::Parts) -> bool {
    head.headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Size of request line and headers as HTTP/1.1 writes them.
fn header_bytes(head: &http::request::Parts) -> usize {
    let line = head.method.as_str().len()
        + head
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
    let fields = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    fields.fold(line, usize::saturating_add)
}

/// Signed governance messages carry components and may be larger than anything else.
fn body_limit(head: &http::request::Parts, limits: &LimitsConfig) -> usize {
    let cose = named_type(&head.headers).is_some_and(|named| named.eq_ignore_ascii_case("application/cose"));
    if cose && head.uri.path().starts_with("/gov/") {
        limits.governance_body_bytes_max
    } else {
        limits.body_bytes_max
    }
}

async fn collect(body: &mut Incoming, limit: usize) -> Result<Bytes, Unread> {
    let declared = body.size_hint().lower();
    if declared > limit as u64 {
        return Err(Unread::TooLarge);
    }
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
            continue;
        };
        let so_far = first.len() + rest.len();
        if so_far + data.len() > limit {
            return Err(Unread::TooLarge);
        }
        if so_far == 0 {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(
                    usize::try_from(declared)
                        .unwrap_or(0)
                        .clamp(so_far + data.len(), limit),
                );
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

/// Reads and drops what is left of a body, until there is too much of it or no time left.
pub(super) async fn discard(body: &mut (impl Body<Data = Bytes> + Unpin), deadline: Instant) {
    let dropping = async {
        let mut left = DISCARDED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Either way the answer follows.
    let _ = timeout_at(deadline, dropping).await;
}
