//! HTTPS around [`crate::routes`]: connections, limits, and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::refusal::Refusal;
use crate::routes::Launcher;

/// Most connections at once.
const CONNECTION_COUNT_MAX: usize = 128;
/// Time for a TLS handshake, and for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest body, in bytes.
const BODY_SIZE_MAX: usize = 64 * 1024;

/// Serves until dropped.
pub async fn serve(listener: TcpListener, tls: TlsAcceptor, launcher: Arc<Launcher>) {
    let places = Arc::new(Semaphore::new(CONNECTION_COUNT_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // For example no file descriptors; some come back when connections end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, launcher) = (tls.clone(), Arc::clone(&launcher));
        tokio::spawn(async move {
            connection(stream, tls, launcher).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, launcher: Arc<Launcher>) {
    let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await else {
        return;
    };
    let service = service_fn(move |request| {
        let launcher = Arc::clone(&launcher);
        async move { Ok::<_, Infallible>(respond(&launcher, request).await) }
    });
    let ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

async fn respond(launcher: &Launcher, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_SIZE_MAX).collect()).await;
    let answer = match body {
        Ok(Ok(body)) => {
            // HEAD is GET without a body, which the protocol leaves out (RFC 9110 §9.3.2).
            let method = if head.method == Method::HEAD {
                Method::GET
            } else {
                head.method.clone()
            };
            launcher
                .answer(&method, head.uri.path(), &head.headers, &body.to_bytes())
                .await
        }
        Ok(Err(_)) => Err(Refusal::new(
            413,
            "RequestBodyTooLarge",
            format!("at most {BODY_SIZE_MAX} bytes"),
        )),
        Err(_) => Err(Refusal::new(
            408,
            "RequestTimeout",
            "the body did not arrive in time",
        )),
    };
    let (status, body) = match answer {
        Ok(body) => (200, body),
        Err(refusal) => (refusal.status, refusal.body()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}
