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
use hyper::body::{Body as _, Frame, Incoming};
use model::FrameworkError;
use tokio::time::{Instant, timeout_at};

use super::bodies::{Account, Body, Budget, Full, Held};
use super::{Answer, Door, HEADERS_MAX, PeerCertificate, Request, Standing, named_type};
use crate::asker::{Asker, Source};
use crate::config::LimitsConfig;

/// Bytes of a refused body that are read and dropped.
pub(super) const DISCARDED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Up to this size nobody asks which endpoint a body is for.
const UNASKED_BYTES: usize = 64 * 1024;

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
    TooLarge(usize),
    Unsigned(usize),
    Broken,
    Slow,
    Late,
    Full,
}

impl From<Full> for Unread {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl Unread {
    fn answer(self) -> Answer {
        match self {
            Self::TooLarge(limit) => refusal(
                FrameworkError::RequestBodyTooLarge,
                format!("the body exceeds the limit of {limit} bytes"),
            ),
            Self::Unsigned(limit) => refusal(
                FrameworkError::RequestBodyTooLarge,
                format!(
                    "a body of more than {limit} bytes begins with the head of a message signed by an active \
                     member, or comes over a connection with a member's certificate"
                ),
            ),
            Self::Broken => refusal(FrameworkError::InvalidInput, "the body ended early"),
            Self::Slow => refusal(FrameworkError::RequestTimeout, "the body arrives too slowly"),
            Self::Late => refusal(FrameworkError::RequestTimeout, "the body did not arrive in time"),
            Self::Full => refusal(
                FrameworkError::BodyMemoryExhausted,
                "the node's memory for bodies is in use; try again",
            ),
        }
    }
}

/// What reading a request needs to know of its connection.
pub(super) struct Desk<D: ?Sized> {
    pub(super) limits: LimitsConfig,
    pub(super) budget: Arc<Budget>,
    /// The account of the connection's address.
    pub(super) account: Arc<Account>,
    pub(super) source: Source,
    pub(super) certificate: Option<Arc<PeerCertificate>>,
    pub(super) door: Arc<D>,
}

impl<D: Door + ?Sized> Desk<D> {
    /// Reads the body, or says why not.
    pub(super) async fn read(&self, request: http::Request<Incoming>) -> Result<Request, Answer> {
        let (head, mut body) = request.into_parts();
        let mut pace = Pace::begin(&self.limits);
        if let Some(message) = header_fault(&head, &self.limits) {
            drop(head);
            discard(&mut body, pace.end).await;
            return Err(refusal(FrameworkError::RequestHeaderTooLarge, message));
        }
        if let Some(message) = host_fault(&head) {
            drop(head);
            discard(&mut body, pace.end).await;
            return Err(refusal(FrameworkError::InvalidInput, message));
        }
        if !body.is_end_stream() && is_encoded(&head) {
            drop(head);
            discard(&mut body, pace.end).await;
            let message = "bodies are read as they are, without content-encoding";
            let reply = Reply::error(FrameworkError::UnsupportedContentType, message);
            return Err(reply.with_header("accept-encoding", "identity").into());
        }
        let body = if body.is_end_stream() {
            Body::default()
        } else {
            match self.collect(&head, &mut body, &mut pace).await {
                Ok(body) => body,
                Err(unread) => {
                    drop(head);
                    if matches!(unread, Unread::TooLarge(_) | Unread::Unsigned(_) | Unread::Full) {
                        discard(&mut body, pace.end).await;
                    }
                    return Err(unread.answer());
                }
            }
        };
        Ok(Request {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body,
            certificate: self.certificate.clone(),
            source: self.source,
        })
    }

    async fn collect(
        &self,
        head: &http::request::Parts,
        body: &mut Incoming,
        pace: &mut Pace,
    ) -> Result<Body, Unread> {
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut bounds = Bounds::of(head, &self.limits);
        bounds.admit_declared(declared, || {
            self.door.body_bytes_max(&head.method, head.uri.path())
        })?;
        let mut held = Held::nothing();
        // A head waits with its body, and may be as large as one.
        held.grow_for_head(&self.account, header_bytes(head))?;
        let mut arrived = Arrived::default();
        while let Some(frame) = pace.next(body).await? {
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let total = arrived.len().saturating_add(data.len());
            bounds.admit(
                total,
                || self.door.body_bytes_max(&head.method, head.uri.path()),
                || self.may_send_more(arrived.begun(&data)),
            )?;
            pace.arrived(data.len())?;
            held.grow(&self.account, data.len(), total, || self.large_account())?;
            arrived.push(data, declared.min(bounds.most));
        }
        Ok(Body::new(arrived.into_bytes(), held))
    }

    fn standing(&self) -> Standing {
        let certificate = self.certificate.as_deref();
        certificate.map_or(Standing::Stranger, |certificate| self.door.standing(certificate))
    }

    /// Whether what has arrived, or who sends it, may be followed by more than others may send.
    fn may_send_more(&self, begun: &[u8]) -> bool {
        self.standing() == Standing::Member || self.door.begins_like_a_members_message(begun)
    }

    /// Whose part of the budget a body is on that is not small.
    fn large_account(&self) -> Arc<Account> {
        match (&self.certificate, self.standing()) {
            (Some(certificate), Standing::Member | Standing::User) => {
                self.budget.account(Asker::Certificate(certificate.id))
            }
            _ => Arc::clone(&self.account),
        }
    }
}

/// How large a body may become, found out as it grows.
struct Bounds {
    /// Without a reason for more.
    ordinary: usize,
    /// With one: signed governance messages carry components.
    most: usize,
    asked: bool,
}

impl Bounds {
    fn of(head: &http::request::Parts, limits: &LimitsConfig) -> Self {
        let cose =
            named_type(&head.headers).is_some_and(|named| named.eq_ignore_ascii_case("application/cose"));
        let most = if cose && head.uri.path().starts_with("/gov/") {
            limits.governance_body_bytes_max.max(limits.body_bytes_max)
        } else {
            limits.body_bytes_max
        };
        Self {
            ordinary: limits.body_bytes_max,
            most,
            asked: false,
        }
    }

    /// The endpoint's own limit, once a body is larger than any endpoint takes without being asked.
    fn ask(&mut self, total: usize, endpoint: impl FnOnce() -> Option<usize>) -> Result<(), Unread> {
        if total > UNASKED_BYTES && !self.asked {
            self.asked = true;
            if let Some(own) = endpoint() {
                self.ordinary = self.ordinary.min(own);
                self.most = self.most.min(own);
            }
        }
        if total > self.most {
            return Err(Unread::TooLarge(self.most));
        }
        Ok(())
    }

    fn admit_declared(
        &mut self,
        declared: usize,
        endpoint: impl FnOnce() -> Option<usize>,
    ) -> Result<(), Unread> {
        self.ask(declared, endpoint)
    }

    /// Whether a body may have so many bytes; `more` says whether there is a reason for more than usual.
    fn admit(
        &mut self,
        total: usize,
        endpoint: impl FnOnce() -> Option<usize>,
        more: impl FnOnce() -> bool,
    ) -> Result<(), Unread> {
        self.ask(total, endpoint)?;
        if total > self.ordinary {
            if !more() {
                return Err(Unread::Unsigned(self.ordinary));
            }
            self.ordinary = self.most;
        }
        Ok(())
    }
}

/// A body's bytes so far. One that comes in one piece is not copied.
#[derive(Default)]
struct Arrived {
    first: Bytes,
    rest: Vec<u8>,
}

impl Arrived {
    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// How the body begins; `next` follows what is here.
    fn begun<'a>(&'a self, next: &'a Bytes) -> &'a [u8] {
        match (self.rest.is_empty(), self.first.is_empty()) {
            (false, _) => &self.rest,
            (true, false) => &self.first,
            (true, true) => next,
        }
    }

    fn push(&mut self, data: Bytes, expected: usize) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.rest.is_empty() {
            self.rest.reserve(expected.max(self.first.len() + data.len()));
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&data);
    }

    fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() {
            self.first
        } else {
            self.rest.into()
        }
    }
}

/// How fast a body has to come: within its time, and in every window so many bytes.
struct Pace {
    end: Instant,
    window: Duration,
    window_end: Instant,
    window_bytes_min: usize,
    in_window: usize,
}

impl Pace {
    fn begin(limits: &LimitsConfig) -> Self {
        let now = Instant::now();
        let window = Duration::from_millis(limits.body_window_ms);
        let bytes = u128::from(limits.body_bytes_per_s_min) * window.as_millis() / 1000;
        Self {
            end: now + Duration::from_millis(limits.body_timeout_ms),
            window,
            window_end: now + window,
            window_bytes_min: usize::try_from(bytes).unwrap_or(usize::MAX),
            in_window: 0,
        }
    }

    /// The body's next frame; `None` at its end.
    async fn next(&mut self, body: &mut Incoming) -> Result<Option<Frame<Bytes>>, Unread> {
        loop {
            match timeout_at(self.window_end.min(self.end), body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => return frame.map(Some).map_err(|_| Unread::Broken),
                Err(_) if Instant::now() >= self.end => return Err(Unread::Late),
                Err(_) => self.next_window()?,
            }
        }
    }

    fn arrived(&mut self, bytes: usize) -> Result<(), Unread> {
        self.in_window = self.in_window.saturating_add(bytes);
        if Instant::now() >= self.window_end {
            self.next_window()?;
        }
        Ok(())
    }

    fn next_window(&mut self) -> Result<(), Unread> {
        if self.in_window < self.window_bytes_min {
            return Err(Unread::Slow);
        }
        self.in_window = 0;
        self.window_end = Instant::now() + self.window;
        Ok(())
    }
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

/// Reads and drops what is left of a body, until there is too much of it or no time left.
pub(super) async fn discard(body: &mut (impl hyper::body::Body<Data = Bytes> + Unpin), deadline: Instant) {
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
