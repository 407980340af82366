//! The listener: connections, their limits and timeouts, HTTP/1.1 and h2 over TLS.
//!
//! What a request means is not decided here; see `routes`. Every size is bounded before memory is
//! taken for it.

mod activity;
mod bodies;
mod places;
mod reading;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use host_core::reply::Reply;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use model::{Digest, FrameworkError, TxId};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::activity::Activity;
use self::bodies::Budget;
pub use self::bodies::{Body, Held};
use self::places::{Place, Places};
use self::reading::{Desk, refusal};
use crate::asker::{Asker, Source};
use crate::config::LimitsConfig;

/// Requests that one h2 connection may have open.
const STREAMS_MAX: u32 = 128;
/// Connections without a place that are told why at a time.
const CONNECTIONS_TOLD: usize = 10;
/// Bytes that an h2 connection, and each request of it, may send ahead of what is read.
const H2_WINDOW_BYTES: u32 = 256 * 1024;
/// Headers of one request (`ledger-host.md` §4.5).
const HEADERS_MAX: usize = 256;
/// Headers of up to this many times their limits are read, so that their sender gets an error body.
/// What is larger still gets a bare 431 from the protocol.
const HEADER_SLACK: usize = 4;
/// The same for h2, whose connections have many requests at once.
const H2_HEADER_SLACK: u32 = 2;
/// Bytes that are read and dropped behind what could not be parsed, so that the caller reads the
/// answer instead of a reset connection.
const LINGER_BYTES_MAX: usize = 1024 * 1024;
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
    /// The body, within its limit, and the memory it takes.
    pub body: Body,
    /// The connection's client certificate.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// Where the connection comes from.
    pub source: Source,
}

/// What the listener asks of the service about callers, before their requests are read.
pub trait Door: Send + Sync + 'static {
    /// Largest body that this endpoint takes, if it says so itself, in bytes.
    fn body_bytes_max(&self, method: &Method, path: &str) -> Option<usize>;

    /// Who holds this certificate now.
    fn standing(&self, certificate: &PeerCertificate) -> Standing;

    /// Whether these bytes begin with the head of a COSE_Sign1 whose signer is an active member. That
    /// proves nothing yet: key ids are public.
    fn begins_like_a_members_message(&self, begun: &[u8]) -> bool;
}

/// What a certificate's holder is to the service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Nobody it knows, or not at this time.
    Stranger,
    /// A user.
    User,
    /// A member.
    Member,
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
        named_type(&self.headers)
    }

    /// Whether the body says that it is of this type; types do not depend on case (RFC 9110
    /// §8.3.1).
    #[must_use]
    pub fn is_of_type(&self, wanted: &str) -> bool {
        self.media_type()
            .is_some_and(|named| named.eq_ignore_ascii_case(wanted))
    }
}

fn named_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or(value).trim())
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
pub async fn serve<D, H, F>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    limits: LimitsConfig,
    mut stop: watch::Receiver<bool>,
    door: Arc<D>,
    handle: H,
) where
    D: Door,
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let shared = Arc::new(Shared {
        acceptor: TlsAcceptor::from(tls),
        limits,
        budget: Budget::new(limits.body_memory_bytes_max),
        told: AtomicUsize::new(0),
        door,
        stop: stop.clone(),
        handle,
    });
    let places = Places::new(limits.handshakes_max, limits.connections_max);
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
        let place = places.handshake(Source::of(peer.ip()));
        let shared = Arc::clone(&shared);
        connections.spawn(async move { shared.run(stream, peer, place).await });
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, finished).await.is_err() {
        tracing::warn!("connections still open at the end of the grace period are closed");
    }
}

/// What the connections of one listener share.
struct Shared<D, H> {
    acceptor: TlsAcceptor,
    limits: LimitsConfig,
    budget: Arc<Budget>,
    /// Connections without a place that are being told so.
    told: AtomicUsize,
    door: Arc<D>,
    stop: watch::Receiver<bool>,
    handle: H,
}

impl<D, H, F> Shared<D, H>
where
    D: Door,
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    async fn run(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let time = Duration::from_millis(self.limits.handshake_timeout_ms);
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(time, self.acceptor.accept(stream)) => shaken,
            () = place.activity().displaced() => return,
        };
        match shaken {
            Ok(Ok(stream)) if place.establish() => self.speak(stream, peer, &place, false).await,
            Ok(Ok(stream)) => {
                let told = self.told.fetch_add(1, Ordering::Relaxed);
                if told < CONNECTIONS_TOLD {
                    self.speak(stream, peer, &place, true).await;
                }
                self.told.fetch_sub(1, Ordering::Relaxed);
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
    }

    /// Answers the requests of a connection; with 503 if it is `refused`.
    async fn speak(&self, stream: TlsStream<TcpStream>, peer: SocketAddr, place: &Place, refused: bool) {
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let desk = Arc::new(Desk {
            limits: self.limits,
            budget: Arc::clone(&self.budget),
            account: self.budget.account(Asker::Address(place.source())),
            source: place.source(),
            certificate: peer_certificate(&stream).map(Arc::new),
            door: Arc::clone(&self.door),
        });
        let activity = place.activity();
        let (seen, handle) = (activity.clone(), self.handle.clone());
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            let (handle, desk) = (handle.clone(), Arc::clone(&desk));
            let mut open = seen.request();
            // HEAD is GET without the body (RFC 9110 §9.3.2): nobody behind this line knows of it.
            let head = request.method() == Method::HEAD;
            if head {
                *request.method_mut() = Method::GET;
            }
            async move {
                let answer = match desk.read(request).await {
                    _ if refused => refusal(FrameworkError::SessionCapExhausted, "too many connections"),
                    Ok(request) => match open.answering() {
                        Ok(()) => handle(request).await,
                        Err(_) => refusal(FrameworkError::SessionCapExhausted, "too many connections"),
                    },
                    Err(answer) => answer,
                };
                drop(open);
                let response = response(answer);
                Ok::<_, Infallible>(if head { without_body(response) } else { response })
            }
        });
        let idle = Duration::from_millis(self.limits.idle_timeout_ms);
        let mut stop = self.stop.clone();
        let ended = if h2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let header_bytes = u32::try_from(self.limits.header_bytes_max).unwrap_or(u32::MAX);
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS_MAX)
                .initial_stream_window_size(H2_WINDOW_BYTES)
                .initial_connection_window_size(H2_WINDOW_BYTES)
                .max_header_list_size(header_bytes.saturating_mul(H2_HEADER_SLACK));
            let connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            let shut_down = |connection: Pin<&mut _>| {
                hyper::server::conn::http2::Connection::graceful_shutdown(connection);
            };
            drive(connection, shut_down, activity, idle, &mut stop).await
        } else {
            let mut stream = stream;
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(idle)
                // Who has said everything may close its side and still wants the answer.
                .half_close(true)
                .max_buf_size(self.limits.header_bytes_max.saturating_mul(HEADER_SLACK))
                .max_headers(HEADERS_MAX * HEADER_SLACK)
                .writev(false);
            let ended = {
                let connection = std::pin::pin!(builder.serve_connection(TokioIo::new(&mut stream), service));
                let shut_down = |connection: Pin<&mut _>| {
                    hyper::server::conn::http1::Connection::graceful_shutdown(connection);
                };
                drive(connection, shut_down, activity, idle, &mut stop).await
            };
            if matches!(&ended, Some(Err(error)) if error.is_parse()) {
                linger(&mut stream, Duration::from_millis(self.limits.body_timeout_ms)).await;
            }
            ended
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%peer, %error, "connection ended"),
            None => tracing::debug!(%peer, "idle connection dropped"),
        }
    }
}

/// Runs a connection to its end. Once the node stops, or the client was idle for `idle`, the
/// connection takes no more requests; if it is idle for as long again, or has lost its place, it is
/// given up (`None`).
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    shut_down: impl FnOnce(Pin<&mut C>),
    activity: &Activity,
    idle: Duration,
    stop: &mut watch::Receiver<bool>,
) -> Option<hyper::Result<()>> {
    tokio::select! {
        ended = connection.as_mut() => return Some(ended),
        _ = stop.changed() => {}
        () = activity.quiet(idle) => {}
        () = activity.displaced() => return None,
    }
    shut_down(connection.as_mut());
    tokio::select! {
        ended = connection => Some(ended),
        () = activity.quiet(idle) => None,
        () = activity.displaced() => None,
    }
}

/// Reads and drops what a caller still sends although it was answered already: to close at once
/// would reset the connection, and the answer could be lost with it.
async fn linger(stream: &mut (impl AsyncRead + Unpin), time: Duration) {
    let dropping = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES_MAX;
        while let Ok(size @ 1..) = stream.read(&mut buffer).await {
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Either way the connection is closed now.
    let _ = tokio::time::timeout(time, dropping).await;
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

/// The same head without the body: whoever asked by HEAD gets no octet of it (in h2 a frame of data
/// would end the stream with an error).
fn without_body(mut response: http::Response<Full<Bytes>>) -> http::Response<Full<Bytes>> {
    let size = response.body().size_hint().exact().unwrap_or_default();
    *response.body_mut() = Full::default();
    if response.status() != http::StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
    }
    response
}

fn media_type(text: &str) -> Option<HeaderValue> {
    if text == host_core::reply::JSON {
        return Some(HeaderValue::from_static(host_core::reply::JSON));
    }
    HeaderValue::from_str(text).ok()
}
