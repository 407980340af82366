//! A listener that says what it was sent, and callers that can be rude.

use std::sync::Arc;
use std::time::Duration;

use crypto::native::issue::{node_certificate, self_signed_service};
use crypto::native::{Curve, EcKeyPair};
use crypto::x509::Certificate;
use host::config::LimitsConfig;
use host::https::{Answer, Door, PeerCertificate, Request, Standing, serve};
use host::tls::{NodeTls, server_config};
use host_core::Reply;
use model::endpoint::EVIDENCE_BODY_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Peer, validity};

/// A timeout that a test waits for.
pub(crate) const SHORT: Duration = Duration::from_millis(50);
/// When something that should end is taken to go on for ever.
pub(crate) const NEVER: Duration = Duration::from_secs(60);

/// What arrives until the listener hangs up.
pub(crate) async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut answer = Vec::new();
    // It may close without a TLS goodbye.
    let _ = tokio::time::timeout(NEVER, stream.read_to_end(&mut answer))
        .await
        .expect("the listener does not hang up");
    answer
}

/// A listener that answers with the body's size and the digest of the caller's certificate. At
/// `/slow` it takes its time.
pub(crate) struct Echo {
    pub(crate) peer: Peer,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

/// Knows nobody; a message whose first byte is `m` begins like a member's, and `/app/evidence` takes little.
struct Doorkeeper;

impl Door for Doorkeeper {
    fn body_bytes_max(&self, _: &http::Method, path: &str) -> Option<usize> {
        (path == "/app/evidence").then_some(EVIDENCE_BODY_BYTES_MAX as usize)
    }

    fn standing(&self, _: &PeerCertificate) -> Standing {
        Standing::Stranger
    }

    fn begins_like_a_members_message(&self, begun: &[u8]) -> bool {
        begun.first() == Some(&b'm')
    }
}

async fn echo(request: Request) -> Answer {
    let who = request
        .certificate
        .as_ref()
        .map_or_else(|| "nobody".to_owned(), |certificate| certificate.id.to_string());
    if request.uri.path() == "/slow" {
        tokio::time::sleep(20 * SHORT).await;
    }
    let mut reply = Reply::empty(200);
    reply.body = format!("{} {who}", request.body.len()).into_bytes();
    reply.into()
}

impl Echo {
    pub(crate) async fn start(limits: LimitsConfig) -> Self {
        let service_key = EcKeyPair::generate(Curve::P384).unwrap();
        let service = self_signed_service(&service_key, "service", validity()).unwrap();
        let service = Certificate::from_pem(&service).unwrap();
        let key = EcKeyPair::generate(Curve::P256).unwrap();
        let names = ["localhost".to_owned()];
        let node =
            node_certificate(key.spki_der(), "node", &names, validity(), &service_key, &service).unwrap();
        let tls = server_config(&NodeTls {
            chain: vec![
                Certificate::from_pem(&node).unwrap().der().to_vec(),
                service.der().to_vec(),
            ],
            key_pkcs8: key.to_pkcs8_der().unwrap(),
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let door = Arc::new(Doorkeeper);
        let task = tokio::spawn(serve(listener, Arc::new(tls), limits, stopped, door, echo));
        Self {
            peer: Peer {
                address,
                service_der: service.der().to_vec(),
            },
            stop,
            task,
        }
    }
}

pub(crate) fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
