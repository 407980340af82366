//! HTTPS around [`crate::routes`]: connections, limits, and nothing else.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
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
    accept(listener, move |stream| {
        connection(stream, tls.clone(), Arc::clone(&launcher))
    })
    .await;
}

/// Accepts connections while there is a place for them; others wait until one ends.
async fn accept<F>(listener: TcpListener, handle: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
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
        let handled = handle(stream);
        tokio::spawn(async move {
            handled.await;
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

/// A whole body, if it is not too large and did not break off.
async fn whole<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    match Limited::new(body, BODY_SIZE_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::new(
            413,
            "RequestBodyTooLarge",
            format!("at most {BODY_SIZE_MAX} bytes"),
        )),
        Err(_) => Err(Refusal::new(400, "InvalidInput", "the body ended early")),
    }
}

async fn respond(launcher: &Launcher, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let answer = match tokio::time::timeout(BODY_TIMEOUT, whole(body)).await {
        Ok(Ok(body)) => {
            // HEAD is GET without a body, which the protocol leaves out (RFC 9110 §9.3.2).
            let method = if head.method == Method::HEAD {
                Method::GET
            } else {
                head.method.clone()
            };
            launcher
                .answer(&method, head.uri.path(), &head.headers, &body)
                .await
        }
        Ok(Err(refusal)) => Err(refusal),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_body_of_the_most_bytes_is_read_and_one_byte_more_is_not() {
        let of_size = async |size: usize| whole(Full::new(Bytes::from(vec![0; size]))).await;
        assert_eq!(of_size(BODY_SIZE_MAX).await.unwrap().len(), BODY_SIZE_MAX);
        let refusal = of_size(BODY_SIZE_MAX + 1).await.unwrap_err();
        assert_eq!(
            (refusal.status, refusal.code.as_str()),
            (413, "RequestBodyTooLarge")
        );
    }

    #[tokio::test]
    async fn the_most_connections_are_served_at_once_and_further_ones_in_their_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let accepting = tokio::spawn(accept(listener, move |mut stream| {
            let count = Arc::clone(&count);
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                stream.write_u8(1).await.unwrap();
                let _ = stream.read_u8().await;
            }
        }));
        let mut open = Vec::new();
        for _ in 0..CONNECTION_COUNT_MAX {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.read_u8().await.unwrap();
            open.push(stream);
        }
        let mut next = TcpStream::connect(address).await.unwrap();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(served.load(Ordering::SeqCst), CONNECTION_COUNT_MAX);
        open.pop();
        next.read_u8().await.unwrap();
        assert_eq!(served.load(Ordering::SeqCst), CONNECTION_COUNT_MAX + 1);
        accepting.abort();
    }
}
