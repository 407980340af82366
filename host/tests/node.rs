//! A whole node in this process: its manners over HTTPS, its members' first steps, its restarts.
//!
//! Needs the components that `cargo xtask guests` builds.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod common;

use std::path::{Path, PathBuf};

use common::{Peer, Reply, unix_now, validity};
use crypto::native::issue::self_signed_member;
use crypto::native::{Curve, EcKeyPair, RsaBits, RsaKeyPair, sign_governance_message};
use crypto::x509::Certificate;
use host::Node;
use host::config::{Config, Overrides};
use serde_json::{Value as JsonValue, json};
use tempfile::TempDir;

const API: &str = "api-version=2024-07-01";

fn guest(name: &str) -> PathBuf {
    // Cargo's folder for test files lies in the target folder, and so do the guests.
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("../guests/{name}.wasm"));
    assert!(
        path.exists(),
        "{} is missing; run cargo xtask guests",
        path.display()
    );
    path.canonicalize().unwrap()
}

struct Member {
    id: String,
    certificate: String,
    key: EcKeyPair,
}

/// Folders and members of a service, which outlive its nodes.
struct Service {
    folder: TempDir,
    members: Vec<Member>,
}

impl Service {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = format!(
            "[node]\nledger_dir = \"ledger\"\nstate_dir = \"state\"\n\n[service]\nconstitution = {:?}\n",
            guest("constitution")
        );
        let members = (0..2)
            .map(|number| {
                let key = EcKeyPair::generate(Curve::P384).unwrap();
                let certificate = self_signed_member(&key, "member", validity()).unwrap();
                let encryption_key = RsaKeyPair::generate(RsaBits::B2048).unwrap().public_pem();
                let file = |name: &str| folder.path().join(format!("{number}_{name}.pem"));
                std::fs::write(file("cert"), &certificate).unwrap();
                std::fs::write(file("enc"), encryption_key).unwrap();
                text += &format!(
                    "[[service.members]]\ncertificate = \"{number}_cert.pem\"\n\
                     encryption_key = \"{number}_enc.pem\"\n"
                );
                Member {
                    id: Certificate::from_pem(&certificate).unwrap().id().to_string(),
                    certificate,
                    key,
                }
            })
            .collect();
        std::fs::write(folder.path().join("node.toml"), text).unwrap();
        Self { folder, members }
    }

    /// What only a new service needs: the members' files, and the constitution's name.
    fn forget_first_files(&self) {
        for item in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = item.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                std::fs::remove_file(path).unwrap();
            }
        }
        let config = self.folder.path().join("node.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let constitution = guest("constitution");
        let text = text.replace(constitution.to_str().unwrap(), "constitution.gone");
        assert!(text.contains("constitution.gone"));
        std::fs::write(config, text).unwrap();
    }

    async fn start(&self) -> (Node, Peer) {
        let overrides = Overrides {
            insecure_virtual: true,
            bind: None,
            accept_clock: None,
        };
        let config = Config::load(&self.folder.path().join("node.toml"), &overrides).unwrap();
        let node = Node::start(config).await.unwrap();
        let certificate = Certificate::from_pem(node.service_cert_pem()).unwrap();
        let peer = Peer {
            address: node.address(),
            service_der: certificate.der().to_vec(),
        };
        (node, peer)
    }

    fn sign(&self, member: usize, kind: &str, proposal: Option<&str>, payload: &JsonValue) -> Vec<u8> {
        let Member { id, key, .. } = &self.members[member];
        let payload = if payload.is_null() {
            Vec::new()
        } else {
            payload.to_string().into_bytes()
        };
        sign_governance_message(key, id, kind, unix_now(), proposal, &payload).unwrap()
    }

    async fn acknowledge(&self, peer: &Peer, member: usize) {
        let path = format!("/gov/members/state-digests/{}", self.members[member].id);
        let update = self.sign(member, "state_digest", None, &JsonValue::Null);
        let digest = cose(peer, &format!("{path}:update?{API}"), &update).await;
        assert_eq!(digest.status, 200, "{digest:?}");
        let ack = json!({"stateDigest": digest.json()["stateDigest"]});
        let ack = self.sign(member, "ack", None, &ack);
        let acknowledged = cose(peer, &format!("{path}:ack?{API}"), &ack).await;
        assert_eq!(acknowledged.status, 204, "{acknowledged:?}");
    }

    async fn propose(&self, peer: &Peer, member: usize, actions: JsonValue) -> Reply {
        let message = self.sign(member, "proposal", None, &json!({"actions": actions}));
        cose(peer, &format!("/gov/members/proposals:create?{API}"), &message).await
    }

    async fn vote(&self, peer: &Peer, member: usize, proposal: &str) -> Reply {
        let ballot = json!({"ballot": {"vote": "accept"}});
        let message = self.sign(member, "ballot", Some(proposal), &ballot);
        let id = &self.members[member].id;
        let path = format!("/gov/members/proposals/{proposal}/ballots/{id}:submit?{API}");
        cose(peer, &path, &message).await
    }

    /// Proposes these actions and has both members accept them.
    async fn carry(&self, peer: &Peer, actions: JsonValue) {
        let proposal = self.propose(peer, 0, actions).await;
        assert_eq!(proposal.status, 200, "{proposal:?}");
        let id = proposal.json()["proposalId"].as_str().unwrap().to_owned();
        let mut state = proposal.json()["proposalState"].clone();
        for member in 0..2 {
            if state == "Open" {
                let voted = self.vote(peer, member, &id).await;
                assert_eq!(voted.status, 200, "{voted:?}");
                state = voted.json()["proposalState"].clone();
            }
        }
        assert_eq!(state, "Accepted");
    }

    /// Both members acknowledge the state and open the service.
    async fn open(&self, node: &Node, peer: &Peer) {
        for member in 0..2 {
            self.acknowledge(peer, member).await;
        }
        let open = json!([{
            "name": "transition_service_to_open",
            "args": {"next_service_identity": node.service_cert_pem()},
        }]);
        self.carry(peer, open).await;
    }

    /// Votes the application in.
    async fn install(&self, peer: &Peer) {
        let component = std::fs::read(guest("governance")).unwrap();
        let install = json!([{
            "name": "set_wasm_app",
            "args": {
                "digest": crypto::sha256(&component),
                "component": model::b64::encode(&component),
            },
        }]);
        self.carry(peer, install).await;
    }
}

async fn cose(peer: &Peer, path: &str, message: &[u8]) -> Reply {
    peer.send("POST", path, "application/cose", message).await
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_mistakes_get_their_codes() {
    let service = Service::new();
    let (node, peer) = service.start().await;
    let cases = [
        ("GET", "/nowhere".to_owned(), "404 ResourceNotFound"),
        ("GET", "/app/contracts".to_owned(), "404 FrontendNotOpen"),
        ("DELETE", "/node/state".to_owned(), "405 UnsupportedHttpVerb"),
        (
            "GET",
            "/gov/service/members".to_owned(),
            "400 MissingApiVersionParameter",
        ),
        (
            "GET",
            "/gov/service/members?api-version=1".to_owned(),
            "400 UnsupportedApiVersionValue",
        ),
        (
            "GET",
            format!("/gov/service/members/ab?{API}"),
            "400 InvalidResourceName",
        ),
        (
            "GET",
            format!("/gov/service/members/{}?{API}", "0".repeat(64)),
            "404 ResourceNotFound",
        ),
        (
            "GET",
            format!("/gov/members/proposals/{}?{API}", "0".repeat(64)),
            "404 ProposalNotFound",
        ),
        (
            "GET",
            "/node/tx?transaction_id=2.0".to_owned(),
            "400 InvalidQueryParameterValue",
        ),
        ("GET", "/node/tx".to_owned(), "400 InvalidQueryParameterValue"),
        (
            "GET",
            "/node/receipt?transaction_id=9.9".to_owned(),
            "404 TransactionPendingOrUnknown",
        ),
        (
            "POST",
            format!("/gov/members/proposals:create?{API}"),
            "415 UnsupportedContentType",
        ),
    ];
    for (method, path, expected) in cases {
        let reply = peer.send(method, &path, "application/json", b"").await;
        assert_eq!(reply.code(), expected, "{method} {path}");
    }
    let options = peer.send("OPTIONS", "/node/state", "application/json", b"").await;
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_that_is_not_one_is_401_and_writes_nothing() {
    let service = Service::new();
    let (node, peer) = service.start().await;
    let create = format!("/gov/members/proposals:create?{API}");
    let before = peer.get("/node/commit").await.json();
    let good = service.sign(0, "proposal", None, &json!({"actions": []}));
    let mut bent = good.clone();
    *bent.last_mut().unwrap() ^= 1;
    let ballot = service.sign(0, "ballot", Some(&"0".repeat(64)), &json!({}));
    for message in [&b"garbage"[..], &[], &good[..good.len() / 2], &bent, &ballot] {
        let reply = cose(&peer, &create, message).await;
        assert_eq!(reply.code(), "401 InvalidAuthenticationInfo");
        assert!(
            reply
                .header("www-authenticate")
                .unwrap()
                .starts_with("COSE-SIGN1")
        );
    }
    // Correct, but its signer has not acknowledged the state yet.
    assert_eq!(
        cose(&peer, &create, &good).await.code(),
        "401 InvalidAuthenticationInfo"
    );
    assert_eq!(peer.get("/node/commit").await.json(), before);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_open_a_service_and_a_restart_resumes_it() {
    let service = Service::new();
    let (node, peer) = service.start().await;
    assert!(!node.resumed());
    assert_eq!(peer.get("/node/ready/app").await.status, 503);
    service.open(&node, &peer).await;
    assert_eq!(peer.get("/node/ready/app").await.status, 204);
    assert_eq!(peer.get("/app/contracts").await.code(), "404 ResourceNotFound");
    let network = peer.get("/node/network").await;
    assert_eq!(network.json()["service_status"], "Open");
    let id = network.header("x-ms-ccf-transaction-id").unwrap().to_owned();
    let status = peer.get(&format!("/node/tx?transaction_id={id}")).await.json();
    assert_eq!(status["status"], "Committed");
    let pem = node.service_cert_pem().to_owned();
    node.stop().await.unwrap();

    service.forget_first_files();
    let (node, peer) = service.start().await;
    assert!(node.resumed());
    assert_eq!(node.service_cert_pem(), pem);
    let status = peer.get(&format!("/app/tx?transaction_id={id}")).await.json();
    assert_eq!(status["status"], "Committed");
    let members = peer.get(&format!("/gov/service/members?{API}")).await.json();
    let active = members["value"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|member| member["status"] == "Active");
    assert_eq!(active.count(), 2);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_committed_transaction_has_a_receipt_that_verifies() {
    let service = Service::new();
    let (node, peer) = service.start().await;
    service.acknowledge(&peer, 0).await;
    let last = peer.get("/node/commit").await.json()["transaction_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let seqno: u64 = last.split_once('.').unwrap().1.parse().unwrap();
    for seqno in 1..=seqno {
        let reply = peer.get(&format!("/node/receipt?transaction_id=2.{seqno}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let receipt: ledger::receipt::Receipt = serde_json::from_slice(&reply.body).unwrap();
        receipt
            .verify(node.service_cert_pem(), &crypto::native::Native)
            .unwrap_or_else(|e| panic!("receipt of 2.{seqno}: {e}"));
    }
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voted_application_answers_from_the_next_request_on() {
    let service = Service::new();
    let (node, peer) = service.start().await;
    service.open(&node, &peer).await;
    let nonce = "/app/attestation/nonce";
    assert_eq!(
        peer.send("POST", nonce, "application/json", b"").await.code(),
        "404 ResourceNotFound"
    );
    service.install(&peer).await;
    let minted = peer.send("POST", nonce, "application/json", b"").await;
    assert_eq!(minted.status, 200, "{minted:?}");
    let bytes = model::b64::decode(minted.json()["nonce"].as_str().unwrap()).unwrap();
    assert_eq!(bytes.len(), 32);
    let wrong = peer.get(nonce).await;
    assert_eq!(
        (wrong.code().as_str(), wrong.header("allow")),
        ("405 UnsupportedHttpVerb", Some("POST, OPTIONS"))
    );
    let routes = peer.get("/app/api").await.json();
    assert!(routes["paths"][nonce]["post"].is_object());
    let running = peer.get(&format!("/gov/service/measurements?{API}")).await.json();
    let digest = crypto::sha256(&std::fs::read(guest("governance")).unwrap());
    assert_eq!(running["appDigest"], format!("sha256:{digest}"));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_knows_its_callers_by_their_certificates() {
    let service = Service::new();
    let (node, peer) = service.start().await;
    service.open(&node, &peer).await;
    service.install(&peer).await;
    let list = "/app/contracts";
    assert_eq!(peer.get(list).await.code(), "401 InvalidAuthenticationInfo");
    let Member { certificate, key, .. } = &service.members[0];
    let known = peer.get_as(list, common::certified(certificate, key)).await;
    assert_eq!(known.status, 200, "{known:?}");
    assert!(known.header("x-ms-ccf-transaction-id").is_some());
    let key = EcKeyPair::generate(Curve::P384).unwrap();
    let stranger = self_signed_member(&key, "stranger", validity()).unwrap();
    let unknown = peer.get_as(list, common::certified(&stranger, &key)).await;
    assert_eq!(unknown.code(), "401 InvalidAuthenticationInfo");
    node.stop().await.unwrap();
}
