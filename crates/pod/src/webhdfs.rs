//! The loopback door between Spark and the data: the part of WebHDFS that Spark 4 uses.
//!
//! Under `/webhdfs/v1/<capability>/` lie `in/<view>/…`, read-only and decrypted while it is read,
//! and `out/<job>.tmp/…`, writable and encrypted while it is written. Any other path is 403. The
//! capability is 128 random bits, lives as long as the door, and is never logged.
//!
//! Answers in JSON carry no `content-type`: Hadoop's client in Spark 4 fails on one, because the
//! library it would parse it with is not part of Spark. Files are streamed block by block through a
//! channel of one chunk, so a reader that goes away, as Spark's often do, costs one block.
//!
//! Source: decision 40; spark-runtime (b); the WebHDFS REST API of Apache Hadoop.

mod reading;
mod reply;
mod request;
mod writing;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::inputs::Input;
use crate::output::Sink;
use reply::{Body, Refusal};
use request::{Place, Target};

/// Most connections at once; Spark opens one per reading task and a few more.
const CONNECTION_COUNT_MAX: usize = 64;
/// Time a client has to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time a client may pause while it sends a file.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// What is about to be done with data, for the consent check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// A file of this view is opened.
    Read {
        /// The view.
        view: String,
    },
    /// An output file is created.
    Write,
}

/// Asked before every open; `Err` holds a reason without data, and the open is refused.
pub type Gate = Box<dyn Fn(Access) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What the door shares with its connections.
struct Shared {
    capability: String,
    address: SocketAddr,
    inputs: BTreeMap<String, Input>,
    bytes_read: BTreeMap<String, AtomicU64>,
    sink: Arc<Sink>,
    /// Name of the sink's directory under `out`.
    sink_name: String,
    gate: Gate,
}

/// An open door. Dropping it closes the listener and every connection.
pub struct Door {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Door {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If no port or no random bytes are to be had.
    pub async fn open(
        inputs: Vec<Input>,
        sink: Arc<Sink>,
        job_id: &str,
        gate: Gate,
    ) -> std::io::Result<Self> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| std::io::Error::other("no random bytes"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let inputs: BTreeMap<String, Input> = inputs
            .into_iter()
            .map(|input| (input.view().as_str().to_owned(), input))
            .collect();
        let shared = Arc::new(Shared {
            capability: hex::encode(random),
            address: listener.local_addr()?,
            bytes_read: inputs
                .keys()
                .map(|view| (view.clone(), AtomicU64::new(0)))
                .collect(),
            inputs,
            sink,
            sink_name: format!("{job_id}.tmp"),
            gate,
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared, server })
    }

    /// The address Spark reads a view from. Holds the capability: give it to the job and nobody else.
    #[must_use]
    pub fn input_url(&self, view: &str) -> String {
        format!("{}/in/{view}", self.base())
    }

    /// The address Spark writes to. Holds the capability.
    #[must_use]
    pub fn output_url(&self) -> String {
        format!("{}/out/{}", self.base(), self.shared.sink_name)
    }

    /// The capability, so that a supervisor can strike it from whatever Spark prints.
    #[must_use]
    pub fn capability(&self) -> &str {
        &self.shared.capability
    }

    /// Bytes of plaintext sent so far, by view.
    #[must_use]
    pub fn bytes_read(&self) -> BTreeMap<String, u64> {
        self.shared
            .bytes_read
            .iter()
            .map(|(view, bytes)| (view.clone(), bytes.load(Ordering::Relaxed)))
            .collect()
    }

    fn base(&self) -> String {
        format!("webhdfs://{}/{}", self.shared.address, self.shared.capability)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(CONNECTION_COUNT_MAX));
    // Owned here, so that aborting this task ends every connection too.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            serve(stream, shared).await;
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // Spark drops connections in the middle of files as a matter of course.
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    match handle(shared, request).await {
        Ok(response) => response,
        Err(refusal) => {
            tracing::debug!(kind = refusal.exception(), "refused");
            refusal.into_response()
        }
    }
}

async fn handle(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let target = Target::parse(request.uri())?;
    if verify_slices_are_equal(target.capability.as_bytes(), shared.capability.as_bytes()).is_err() {
        return Err(Refusal::Forbidden("unknown path"));
    }
    let place = target.place(&shared.sink_name)?;
    match *request.method() {
        Method::GET => reading::get(shared, &place, &target).await,
        Method::PUT => writing::put(shared, &place, &target, request).await,
        Method::DELETE => writing::delete(shared, &place, &target).await,
        _ => Err(Refusal::Unsupported),
    }
}

impl Shared {
    /// Asks the gate; its reason goes to the log, not to Spark.
    async fn check(&self, access: Access) -> Result<(), Refusal> {
        (self.gate)(access).await.map_err(|reason| {
            tracing::warn!(reason, "access to data refused");
            Refusal::Forbidden("access is no longer permitted")
        })
    }

    /// Length of what is at `place`: `None` for a directory.
    fn status(&self, place: &Place<'_>) -> Result<Option<u64>, Refusal> {
        match place {
            Place::Root | Place::In | Place::Out => Ok(None),
            Place::View { view, path } => {
                let input = self.inputs.get(*view).ok_or(Refusal::NotFound)?;
                let path = path.as_str();
                if let Some(file) = input.files().get(path) {
                    return Ok(Some(file.plain_len()));
                }
                let inside =
                    |full: &String| full.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
                if path.is_empty() || input.files().keys().any(inside) {
                    Ok(None)
                } else {
                    Err(Refusal::NotFound)
                }
            }
            Place::Sink { path } => self.sink.status(path).ok_or(Refusal::NotFound),
        }
    }

    /// Names and lengths directly below `place`.
    fn children(&self, place: &Place<'_>) -> Vec<(String, Option<u64>)> {
        match place {
            Place::Root => vec![("in".to_owned(), None), ("out".to_owned(), None)],
            Place::In => self.inputs.keys().map(|view| (view.clone(), None)).collect(),
            Place::Out => {
                let known = self.sink.status("").map(|len| (self.sink_name.clone(), len));
                known.into_iter().collect()
            }
            Place::View { view, path } => {
                let prefix = if path.is_empty() {
                    String::new()
                } else {
                    format!("{path}/")
                };
                let mut children = BTreeMap::new();
                for (full, file) in self.inputs.get(*view).into_iter().flat_map(Input::files) {
                    match full
                        .strip_prefix(&prefix)
                        .map(|rest| rest.split_once('/').ok_or(rest))
                    {
                        Some(Ok((folder, _))) => children.insert(folder.to_owned(), None),
                        Some(Err(name)) => children.insert(name.to_owned(), Some(file.plain_len())),
                        None => None,
                    };
                }
                children.into_iter().collect()
            }
            Place::Sink { path } => self.sink.list(path),
        }
    }
}
