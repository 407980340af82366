//! Bad input of every kind: each gets its code, the node stays up, and nothing is written but the
//! refusals that are to be remembered.

use anyhow::{Result, ensure};
use bytes::Bytes;
use client::governance::unix_now_s;
use client::{ClientError, Connection, Reply};
use http::Method;
use model::b64;
use serde_json::{Value as JsonValue, json};
use tests::guests;
use tests::outcome::{any_refusal, refused};
use tests::people::Person;
use tests::pods::{self, Chip};
use tests::service::{Service, set_wasm_app};

const PROPOSE: &str = "/gov/members/proposals:create?api-version=2024-07-01";
const COSE: Option<&str> = Some("application/cose");
const JSON: Option<&str> = Some("application/json");

async fn post(
    connection: &Connection,
    path: &str,
    kind: Option<&str>,
    body: impl Into<Bytes>,
) -> Result<Reply, ClientError> {
    connection.send(Method::POST, path, kind, body.into()).await
}

/// Checks that the service is the same process in the same state.
async fn untouched(service: &mut Service, before: model::TxId) -> Result<()> {
    ensure!(service.is_running()?, "the node ended");
    let now = service.committed().await?;
    ensure!(now == before, "something was written: {before} became {now}");
    Ok(())
}

#[tokio::test]
async fn governance_messages_that_are_wrong_change_nothing() -> Result<()> {
    let mut service = Service::open(&["ann", "bob"], &[]).await?;
    let stranger = Person::new(&service.layout.dir, "stranger")?.signer()?;
    let (ann, bob) = (service.member(0)?.signer()?, service.member(1)?.signer()?);
    let connection = service.connection()?;
    let act = json!([{ "name": "set_recovery_threshold", "args": { "recovery_threshold": 1 } }]);
    let payload = json!({ "actions": act }).to_string();
    let now = unix_now_s();
    let good = ann.sign("proposal", now, None, payload.as_bytes())?;
    let created: JsonValue = post(&connection, PROPOSE, COSE, good.clone()).await?.json()?;
    let closed = serde_json::from_value(created["proposalId"].clone())?;
    service.vote(0, &closed, true).await?;
    service.vote(1, &closed, true).await?;
    let open = service.propose(0, &act).await?.proposal_id;
    let before = service.committed().await?;

    // Not COSE, COSE cut short, and COSE with one byte changed anywhere that is signed.
    let malformed: [&[u8]; 5] = [b"", b"{}", &[0xd2], &[0xff; 300], &good[..good.len() - 1]];
    for body in malformed {
        refused(
            post(&connection, PROPOSE, COSE, body.to_vec()).await,
            401,
            "InvalidAuthenticationInfo",
        )?;
    }
    for at in (4..good.len()).step_by(good.len() / 24) {
        let mut altered = good.clone();
        altered[at] ^= 1;
        let refusal = any_refusal(post(&connection, PROPOSE, COSE, altered).await)?;
        ensure!(refusal.status == 401, "byte {at}: {refusal:?}");
    }
    // Somebody else's signature under Ann's id; nobody's id; the wrong kind of message.
    let id = ann.id().to_string();
    let forged = {
        let key = zeroize::Zeroizing::new(std::fs::read_to_string(service.member(1)?.key_file())?);
        let key = crypto::native::EcKeyPair::from_pem(&key)?;
        crypto::native::sign_governance_message(&key, &id, "proposal", now, None, payload.as_bytes())?
    };
    refused(
        post(&connection, PROPOSE, COSE, forged).await,
        401,
        "InvalidAuthenticationInfo",
    )?;
    let unknown = stranger.sign("proposal", now, None, payload.as_bytes())?;
    refused(
        post(&connection, PROPOSE, COSE, unknown).await,
        401,
        "InvalidAuthenticationInfo",
    )?;
    let ack = ann.sign("ack", now, None, payload.as_bytes())?;
    refused(
        post(&connection, PROPOSE, COSE, ack).await,
        401,
        "InvalidAuthenticationInfo",
    )?;
    // The same message again; one from long before the others; a time that is none.
    refused(
        post(&connection, PROPOSE, COSE, good).await,
        400,
        "ProposalReplay",
    )?;
    let old = ann.sign("proposal", 1_000_000_000, None, payload.as_bytes())?;
    refused(
        post(&connection, PROPOSE, COSE, old).await,
        400,
        "ProposalCreatedTooLongAgo",
    )?;
    let never = ann.sign("proposal", 10_000_000_000, None, payload.as_bytes())?;
    refused(
        post(&connection, PROPOSE, COSE, never).await,
        400,
        "InvalidCreatedAt",
    )?;

    // Ballots: on a closed proposal, for another than the path's, of a form that is a program.
    refused(service.vote(1, &closed, true).await, 400, "ProposalNotOpen")?;
    let ballot = |payload: &JsonValue| bob.sign("ballot", now, Some(&open), payload.to_string().as_bytes());
    let path = |proposal| {
        let member = bob.id();
        format!("/gov/members/proposals/{proposal}/ballots/{member}:submit?api-version=2024-07-01")
    };
    let accept = json!({ "ballot": { "vote": "accept" } });
    refused(
        post(&connection, &path(closed), COSE, ballot(&accept)?).await,
        400,
        "InvalidResourceName",
    )?;
    let program = json!({ "ballot": "export function vote (p, id) { return Math.random() < 0.5 }" });
    let refusal = post(&connection, &path(open), COSE, ballot(&program)?).await;
    let refusal = refused(refusal, 400, "UnsupportedBallot")?;
    assert!(
        refusal.message.contains("\"vote\""),
        "names the form to use: {}",
        refusal.message
    );
    let cut = bob.sign("ballot", now, Some(&open), b"{\"ballot\":{\"vote\":")?;
    refused(
        post(&connection, &path(open), COSE, cut).await,
        400,
        "InvalidInput",
    )?;

    // Actions: unknown, known but not built yet, of the reference's application.
    for (action, code, named) in [
        (
            "set_the_house_on_fire",
            "ProposalFailedToValidate",
            "set_the_house_on_fire",
        ),
        ("set_ca_cert_bundle", "ActionNotAvailable", "set_ca_cert_bundle"),
        ("set_js_app", "ActionNotAvailable", "set_wasm_app"),
    ] {
        let refusal = service.propose(0, &json!([{ "name": action, "args": {} }])).await;
        let refusal = refused(refusal, 400, code)?;
        assert!(refusal.message.contains(named), "{}", refusal.message);
    }
    let refusal = post(
        &connection,
        PROPOSE,
        COSE,
        ann.sign("proposal", now + 9, None, b"{\"actions\":[")?,
    )
    .await;
    assert_eq!(any_refusal(refusal)?.status, 400);

    // Sizes, media types, paths and methods.
    let large = vec![0_u8; 10 << 20];
    refused(
        post(&connection, PROPOSE, COSE, large.clone()).await,
        413,
        "RequestBodyTooLarge",
    )?;
    refused(
        post(&connection, PROPOSE, JSON, payload).await,
        415,
        "UnsupportedContentType",
    )?;
    let unversioned = PROPOSE.split('?').next().unwrap();
    refused(
        post(&connection, unversioned, COSE, "x").await,
        400,
        "MissingApiVersionParameter",
    )?;
    refused(
        connection.get("/gov/service/info?api-version=1999-01-01").await,
        400,
        "UnsupportedApiVersionValue",
    )?;
    refused(
        connection.get("/gov/nowhere?api-version=2024-07-01").await,
        404,
        "ResourceNotFound",
    )?;
    refused(connection.get(PROPOSE).await, 405, "UnsupportedHttpVerb")?;
    untouched(&mut service, before).await
}

#[tokio::test]
async fn application_requests_that_are_wrong_change_nothing() -> Result<()> {
    let mut service = Service::open(&["ann"], &[]).await?;
    service.draft("c1", &json!({})).await?;
    let before = service.committed().await?;
    let (ann, nobody) = (service.connection_of(service.member(0)?)?, service.connection()?);
    let put = |connection: &Connection, path: &str, body: Bytes| {
        let connection = connection.again();
        let path = path.to_owned();
        async move { connection.send(Method::PUT, &path, JSON, body).await }
    };
    refused(
        put(&ann, "/app/contracts/c2", "{\"data\":{\"a\":".into()).await,
        400,
        "InvalidInput",
    )?;
    refused(
        put(&ann, "/app/contracts/c2", "\u{0}".into()).await,
        400,
        "InvalidInput",
    )?;
    refused(
        put(&ann, "/app/contracts/c2", "{}".into()).await,
        400,
        "DataMissing",
    )?;
    refused(
        put(&ann, "/app/contracts/c1", "{\"data\":1}".into()).await,
        409,
        "ContractAlreadyExists",
    )?;
    let stale = "{\"data\":1,\"version\":\"2.1\"}".into();
    refused(
        put(&ann, "/app/contracts/c1", stale).await,
        412,
        "PreconditionFailed",
    )?;
    refused(
        put(&ann, "/app/contracts/%2e%2e", "{\"data\":1}".into()).await,
        400,
        "InvalidResourceName",
    )?;
    refused(
        put(&ann, "/app/contracts/a%20b", "{\"data\":1}".into()).await,
        400,
        "InvalidResourceName",
    )?;
    let large: Bytes = vec![b' '; 10 << 20].into();
    refused(
        put(&ann, "/app/contracts/c2", large).await,
        413,
        "RequestBodyTooLarge",
    )?;
    refused(
        put(&nobody, "/app/contracts/c2", "{\"data\":1}".into()).await,
        401,
        "InvalidAuthenticationInfo",
    )?;
    let stranger = Person::new(&service.layout.dir, "stranger")?;
    let stranger = service.connection_of(&stranger)?;
    refused(
        stranger.get("/app/contracts").await,
        401,
        "InvalidAuthenticationInfo",
    )?;
    let bearer = Connection::with_bearer(
        service.address()?,
        &service.service_cert()?,
        None,
        Some("e30.e30.x".into()),
    )?;
    refused(
        bearer.get("/app/contracts").await,
        401,
        "InvalidAuthenticationInfo",
    )?;
    refused(
        ann.post_empty("/app/contracts/none").await,
        404,
        "ContractNotFound",
    )?;
    refused(ann.get("/app/nowhere").await, 404, "ResourceNotFound")?;
    refused(
        put(&ann, "/app/contracts", "{}".into()).await,
        405,
        "UnsupportedHttpVerb",
    )?;
    for id in ["nonsense", "2", "2.x", ""] {
        let path = format!("/app/receipt?transaction_id={id}");
        refused(ann.get(&path).await, 400, "InvalidQueryParameterValue")?;
    }
    assert_eq!(
        any_refusal(ann.get("/app/receipt?transaction_id=2.999999").await)?.status,
        404
    );
    untouched(&mut service, before).await
}

#[tokio::test]
async fn evidence_that_is_wrong_changes_nothing() -> Result<()> {
    let chip = Chip::new()?;
    let mut service = Service::open(&["ann"], std::slice::from_ref(&chip.root)).await?;
    let id = service.connection()?.service()?;
    let (pod, other) = (chip.pod(id, "pod")?, chip.pod(id, "other")?);
    service.accept_contract("c1").await?;
    service
        .accept_policy("c1", &json!({ "claims": pod.claims() }))
        .await?;
    let id = service.put_secret("c1", "dek", "value").await?;
    let path = format!("/app/contracts/c1/secrets/{id}");
    let connection = service.connection()?;
    let key = pod.workload.public_pem();
    let before = service.committed().await?;
    let ask = async |change: &dyn Fn(&mut JsonValue)| -> Result<Result<Reply, ClientError>> {
        let nonce = pods::nonce(&connection).await?;
        let mut request = pod.request(key, &nonce)?;
        change(&mut request);
        Ok(connection.post(&path, &request).await)
    };

    // One bit of what the chip signed, or of its chain.
    for at in [0, 0x34, 0x50, 0x80, 0x90, 0xc0, 0x188, 0x29f] {
        let spoiled = ask(&|request| flip(&mut request["attestation"]["evidence"], at)).await?;
        refused(spoiled, 400, "VerifySnpAttestationFailed")?;
    }
    for at in [700, 2000, 4000] {
        let spoiled = ask(&|request| flip(&mut request["attestation"]["endorsements"], at)).await?;
        refused(spoiled, 400, "VerifySnpAttestationFailed")?;
    }
    // A key text that is not to the byte what was bound; another workload's key.
    let with_newline = b64::encode(format!("{key}\n").as_bytes());
    let spoiled = ask(&|request| request["encrypt"]["publicKey"] = json!(with_newline)).await?;
    refused(spoiled, 400, "ReportDataMismatch")?;
    let others = b64::encode(other.workload.public_pem().as_bytes());
    let spoiled = ask(&|request| request["encrypt"]["publicKey"] = json!(others)).await?;
    refused(spoiled, 400, "ReportDataMismatch")?;
    // Nonces: another than was bound, made up, of the wrong size, none.
    let fresh = b64::encode(&pods::nonce(&connection).await?);
    let spoiled = ask(&|request| request["nonce"] = json!(fresh)).await?;
    refused(spoiled, 400, "ReportDataMismatch")?;
    for made_up in [b64::encode(&[7; 32]), b64::encode(&[7; 31]), "?".to_owned()] {
        refused(
            ask(&|request| request["nonce"] = json!(made_up)).await?,
            400,
            "NonceInvalid",
        )?;
    }
    // One that gives itself a longer life.
    let mut prolonged = pods::nonce(&connection).await?;
    prolonged[16..24].copy_from_slice(&4_000_000_000_000_u64.to_be_bytes());
    let request = pod.request(key, &prolonged)?;
    refused(connection.post(&path, &request).await, 400, "NonceInvalid")?;
    refused(
        ask(&|request| request["nonce"] = JsonValue::Null).await?,
        400,
        "NonceMissing",
    )?;
    // Parts that are missing, and platforms that nobody knows.
    for (part, code) in [
        ("attestation", "AttestationMissing"),
        ("encrypt", "EncryptionMissing"),
    ] {
        refused(
            ask(&|request| drop(request.as_object_mut().unwrap().remove(part))).await?,
            400,
            code,
        )?;
    }
    refused(
        ask(&|request| request["platform"] = json!("sgx")).await?,
        400,
        "UnsupportedPlatform",
    )?;
    refused(
        post(&connection, &path, JSON, "{\"attestation\":{").await,
        400,
        "InvalidInput",
    )?;
    untouched(&mut service, before).await?;

    // A nonce is good once, and used up by a refusal on policy grounds too.
    for (asking, spent) in [(&pod, 200), (&other, 400)] {
        let nonce = pods::nonce(&connection).await?;
        let request = asking.request(asking.workload.public_pem(), &nonce)?;
        match connection.post(&path, &request).await {
            Ok(reply) => assert_eq!(reply.status, spent),
            refusal => assert_eq!(any_refusal(refusal)?.status, spent),
        }
        let before = service.committed().await?;
        refused(connection.post(&path, &request).await, 400, "NonceInvalid")?;
        untouched(&mut service, before).await?;
    }
    Ok(())
}

/// Flips a bit of base64 in place.
fn flip(text: &mut JsonValue, at: usize) {
    let mut bytes = b64::decode(text.as_str().unwrap()).unwrap();
    bytes[at] ^= 0x10;
    *text = json!(b64::encode(&bytes));
}

#[tokio::test]
async fn a_voted_application_that_loops_or_allocates_harms_nobody() -> Result<()> {
    let mut service = Service::open(&["ann"], &[]).await?;
    service
        .carry(&json!([set_wasm_app(&guests::hostile_application()?)]))
        .await?;
    let connection = service.connection()?;
    let before = service.committed().await?;
    for path in ["/app/loop", "/app/grow"] {
        refused(connection.get(path).await, 503, "ExecutionLimit")?;
        refused(connection.post(path, &json!({})).await, 503, "ExecutionLimit")?;
        assert_eq!(connection.get("/app/hello").await?.status, 200);
    }
    // Several at a time, beside somebody who behaves.
    let mut hostile = tokio::task::JoinSet::new();
    for path in ["/app/loop", "/app/grow", "/app/loop"] {
        let connection = connection.again();
        hostile.spawn(async move { connection.post(path, &json!({})).await });
    }
    assert_eq!(connection.get("/app/hello").await?.status, 200);
    while let Some(answer) = hostile.join_next().await {
        refused(answer?, 503, "ExecutionLimit")?;
    }
    untouched(&mut service, before).await?;
    // Governance goes on, and puts things right.
    let component = std::fs::read(tests::built::guest("governance")?)?;
    service.carry(&json!([set_wasm_app(&component)])).await?;
    refused(connection.get("/app/loop").await, 404, "ResourceNotFound")?;
    service.draft("c1", &json!({})).await?;
    Ok(())
}
