//! The listener: connections, their limits and timeouts, HTTP/1.1 and h2 over TLS.
//!
//! What a request means is not decided here; see `routes`. Every size is bounded before memory is
//! taken for it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use host_core::reply::Reply;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use model::{Digest, FrameworkError, TxId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::LimitsConfig;

/// Requests that one h2 connection may have open.
const STREAMS_MAX: u32 = 128;
/// Connections beyond the limit that are still told why they are refused.
const CONNECTIONS_TOLD: usize = 10;
/// Headers of up to this many times their limit are read, so that their sender can be told: one
/// that is cut off in the middle sees a reset connection and no answer.
const HEADER_SLACK: usize = 4;
/// Bytes of a refused body that are read and dropped, so that the caller reads the answer instead
/// of a reset connection.
const DISCARDED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Time that open connections get to finish when the node stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The certificate that the other side of a connection proved to hold the key of.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    /// SHA-256 of the DER.
    pub id: Digest,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds.
    pub not_after: u64,
}

/// A request, read completely.
#[derive(Debug)]
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Path and query as sent.
    pub uri: Uri,
    /// Headers as sent.
    pub headers: HeaderMap,
    /// The body, within its limit.
    pub body: Bytes,
    /// The connection's client certificate.
    pub certificate: Option<Arc<PeerCertificate>>,
}

impl Request {
    /// A header as text; `None` if it is absent or not text.
    #[must_use]
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type without parameters.
    #[must_use]
    pub fn media_type(&self) -> Option<&str> {
        let value = self.header(header::CONTENT_TYPE)?;
        Some(value.split(';').next().unwrap_or(value).trim())
    }
}

/// What a handler gives back.
#[derive(Debug)]
pub struct Answer {
    /// Status, body, headers.
    pub reply: Reply,
    /// Shown as `x-ms-ccf-transaction-id`.
    pub transaction: Option<TxId>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self {
            reply,
            transaction: None,
        }
    }
}

/// Serves until `stop` changes, then lets open connections finish for a while.
///
/// `handle` must not panic; if it does, its connection is closed and no other suffers.
pub async fn serve<H, F>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    limits: LimitsConfig,
    mut stop: watch::Receiver<bool>,
    handle: H,
) where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls);
    let open = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            _ = stop.changed() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: wait for connections to end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let slot = Slot::take(&open);
        if slot.number > limits.connections_max + CONNECTIONS_TOLD {
            continue;
        }
        let connection = Connection {
            acceptor: acceptor.clone(),
            limits,
            refused: slot.number > limits.connections_max,
            stop: stop.clone(),
            handle: handle.clone(),
        };
        connections.spawn(async move {
            connection.run(stream, peer).await;
            drop(slot);
        });
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, finished).await.is_err() {
        tracing::warn!("connections still open at the end of the grace period are closed");
    }
}

/// One of the connections that may be open; counts itself.
struct Slot {
    open: Arc<AtomicUsize>,
    number: usize,
}

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        Self {
            number: open.fetch_add(1, Ordering::Relaxed) + 1,
            open: Arc::clone(open),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Connection<H> {
    acceptor: TlsAcceptor,
    limits: LimitsConfig,
    /// Above the limit: every request is answered 503.
    refused: bool,
    stop: watch::Receiver<bool>,
    handle: H,
}

impl<H, F> Connection<H>
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    async fn run(self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let handshake = Duration::from_millis(self.limits.handshake_timeout_ms);
        match tokio::time::timeout(handshake, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
    }

    async fn speak(self, stream: TlsStream<TcpStream>, peer: SocketAddr) {
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let certificate = peer_certificate(&stream).map(Arc::new);
        let Self {
            limits,
            refused,
            mut stop,
            handle,
            ..
        } = self;
        let service = service_fn(move |request: http::Request<Incoming>| {
            let handle = handle.clone();
            let certificate = certificate.clone();
            async move {
                let answer = match read(request, &limits, certificate).await {
                    _ if refused => refusal(FrameworkError::SessionCapExhausted, "too many connections"),
                    Ok(request) => handle(request).await,
                    Err(answer) => answer,
                };
                Ok::<_, Infallible>(response(answer))
            }
        });
        let io = TokioIo::new(stream);
        let idle = Duration::from_millis(limits.idle_timeout_ms);
        let ended = if h2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let header_bytes = u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX);
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS_MAX)
                .max_header_list_size(header_bytes)
                .keep_alive_interval(idle)
                .keep_alive_timeout(idle);
            let connection = builder.serve_connection(io, service);
            tokio::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                _ = stop.changed() => { connection.as_mut().graceful_shutdown(); connection.await }
            }
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(idle)
                .max_buf_size(limits.header_bytes_max.saturating_mul(HEADER_SLACK))
                .pipeline_flush(true)
                .writev(false);
            let connection = builder.serve_connection(io, service);
            tokio::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                _ = stop.changed() => { connection.as_mut().graceful_shutdown(); connection.await }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

/// The client certificate of a connection; the handshake proved possession of its key.
fn peer_certificate(stream: &TlsStream<TcpStream>) -> Option<PeerCertificate> {
    let der = stream.get_ref().1.peer_certificates()?.first()?;
    let certificate = crypto::x509::Certificate::from_der(der).ok()?;
    Some(PeerCertificate {
        id: certificate.id(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
    })
}

fn refusal(error: FrameworkError, message: impl Into<String>) -> Answer {
    let reply = Reply::error(error, message).with_header("connection", "close");
    if error.status() == 503 {
        reply.with_header("retry-after", "1").into()
    } else {
        reply.into()
    }
}

/// Reads the body, or says why not.
async fn read(
    request: http::Request<Incoming>,
    limits: &LimitsConfig,
    certificate: Option<Arc<PeerCertificate>>,
) -> Result<Request, Answer> {
    let (head, mut body) = request.into_parts();
    if header_bytes(&head) > limits.header_bytes_max {
        discard(&mut body).await;
        return Err(refusal(
            FrameworkError::RequestHeaderTooLarge,
            format!(
                "request line and headers exceed {} bytes",
                limits.header_bytes_max
            ),
        ));
    }
    let limit = body_limit(&head, limits);
    let declared = body.size_hint().lower();
    let body = if body.is_end_stream() {
        Bytes::new()
    } else {
        let reading = async {
            if declared > limit as u64 {
                discard(&mut body).await;
                return Err(too_large(limit));
            }
            collect(&mut body, limit, declared).await
        };
        let time = Duration::from_millis(limits.body_timeout_ms);
        match tokio::time::timeout(time, reading).await {
            Ok(read) => read?,
            Err(_) => {
                return Err(refusal(
                    FrameworkError::InvalidInput,
                    "the body did not arrive in time",
                ));
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
    let cose = head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/cose"));
    if cose && head.uri.path().starts_with("/gov/") {
        limits.governance_body_bytes_max
    } else {
        limits.body_bytes_max
    }
}

fn too_large(limit: usize) -> Answer {
    refusal(
        FrameworkError::RequestBodyTooLarge,
        format!("the body exceeds the limit of {limit} bytes"),
    )
}

async fn collect(body: &mut Incoming, limit: usize, declared: u64) -> Result<Bytes, Answer> {
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| refusal(FrameworkError::InvalidInput, "the body ended early");
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        let so_far = first.len() + rest.len();
        if so_far + data.len() > limit {
            discard(body).await;
            return Err(too_large(limit));
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

async fn discard(body: &mut Incoming) {
    let mut left = DISCARDED_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn response(answer: Answer) -> http::Response<Full<Bytes>> {
    let Reply {
        status,
        content_type,
        body,
        headers,
    } = answer.reply;
    let mut response = http::Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let fields = response.headers_mut();
    if let Some(value) = content_type.as_deref().and_then(media_type) {
        fields.insert(header::CONTENT_TYPE, value);
    }
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            fields.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(id) = answer.transaction
        && let Ok(value) = HeaderValue::from_str(&id.to_string())
    {
        fields.insert(HeaderName::from_static("x-ms-ccf-transaction-id"), value);
    }
    response
}

fn media_type(text: &str) -> Option<HeaderValue> {
    if text == host_core::reply::JSON {
        return Some(HeaderValue::from_static(host_core::reply::JSON));
    }
    HeaderValue::from_str(text).ok()
}
