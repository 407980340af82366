//! Restart is resume: what was there is there, under the same identity, in a higher view.

use anyhow::Result;
use crypto::jws::Jws;
use crypto::native::Native;
use ledger::names::Stage;
use serde_json::{Value as JsonValue, json};
use tests::ledgers;
use tests::node::Node;
use tests::pods::{self, Chip};
use tests::service::{INSECURE, Service};

const SECRET: &str = "released before and after";

async fn keys(service: &Service) -> Result<JsonValue> {
    tests::outcome::json(service.connection()?.get("/app/oidc/keys").await)
}

#[tokio::test]
async fn a_service_that_is_stopped_and_started_twice_goes_on_where_it_was() -> Result<()> {
    let chip = Chip::new()?;
    let mut service = Service::open(&["ann", "bob"], std::slice::from_ref(&chip.root)).await?;
    let pod = chip.pod(service.connection()?.service()?, "pod")?;
    let identity = service.service_cert()?;
    let accepted = service.accept_contract("c1").await?;
    let policy = json!({ "claims": pod.claims(), "tokens": [{ "sub": "c1-ann", "aud": ["cloud"] }] });
    service.accept_policy("c1", &policy).await?;
    let secret = service.put_secret("c1", "dek", SECRET).await?;
    service
        .carry(&json!([
            { "name": "enable_oidc_issuer", "args": { "kid": "key" } },
            { "name": "set_oidc_issuer_url", "args": { "issuer_url": "https://issuer.example/oidc" } },
        ]))
        .await?;
    let ann = service.connection_of(service.member(0)?)?;
    ann.post_empty("/app/oidc/generateSigningKey").await?;
    let first_keys = keys(&service).await?;
    let nonce_before = pods::nonce(&service.connection()?).await?;
    let (release, token) = (
        format!("/app/contracts/c1/secrets/{secret}"),
        "/app/contracts/c1/oauth/token?sub=c1-ann&aud=cloud",
    );
    let mut views = vec![service.committed().await?.view];
    let mut receipts = vec![accepted.transaction_id.unwrap()];
    for round in 0..2 {
        service.stop().await?;
        let chunks = ledgers::chunks(&service.layout.ledger())?;
        assert!(
            chunks
                .iter()
                .all(|chunk| matches!(chunk.stage, Stage::Committed { .. })),
            "a clean stop leaves no open chunk: {chunks:?}"
        );
        assert!(service.start().await?.resumed);
        assert_eq!(service.service_cert()?, identity);
        views.push(service.committed().await?.view);

        // Nonces outlive the process that minted them, and are still good only once.
        if round == 0 {
            let request = pod.request(pod.workload.public_pem(), &nonce_before)?;
            let connection = service.connection()?;
            connection.post(&release, &request).await?;
            tests::outcome::refused(connection.post(&release, &request).await, 400, "NonceInvalid")?;
        }
        let connection = service.connection()?;
        let value = pod.workload.release(&connection, &release, &json!({})).await?;
        assert_eq!(value.as_slice(), SECRET.as_bytes());
        assert_eq!(keys(&service).await?, first_keys);
        let text = pod.workload.release(&connection, token, &json!({})).await?;
        verify_token(std::str::from_utf8(&text)?, &first_keys);
        assert_eq!(service.contract("c1").await?["state"], "Accepted");
        receipts.push(service.draft(&format!("later{round}"), &json!({})).await?);
    }
    assert!(
        views.is_sorted_by(|a, b| a < b),
        "views rise with every start: {views:?}"
    );
    for id in receipts {
        client::receipts::fetch(&service.connection()?, id).await?;
    }
    let last = service.committed().await?;
    service.stop().await?;
    let report = ledgers::replay(&service.layout.ledger(), &identity)?;
    assert!(report.last_signed.unwrap() >= last);
    assert_eq!(report.unsigned_entries, 0);
    ledgers::validate_publicly(&service.layout.ledger(), report.last_signed.unwrap().seqno)
}

fn verify_token(text: &str, keys: &JsonValue) {
    let token = Jws::parse(text).unwrap();
    let jwk = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["kid"].as_str() == token.kid())
        .unwrap();
    let spki = crypto::spki::jwk_to_spki(jwk).unwrap();
    token.verify(&spki, &Native).unwrap();
    assert_eq!(token.claims()["iss"], "https://issuer.example/oidc");
}

#[tokio::test]
async fn without_its_sealed_identity_a_ledger_is_not_touched() -> Result<()> {
    let mut service = Service::begin(&["ann"], &[]).await?;
    service.activate().await?;
    service.stop().await?;
    let before = contents(&service)?;
    let (state, aside) = (service.layout.state(), service.layout.dir.join("aside"));
    std::fs::rename(&state, &aside)?;
    let (config, log) = (service.layout.config(), service.layout.log());
    let ended = Node::try_start(&config, &log, &[INSECURE]).await?.err().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.said.contains("sealed identity"), "{}", ended.said);
    assert_eq!(contents(&service)?, before);

    // One altered byte in it is as bad as none.
    std::fs::remove_dir_all(&state).or_else(|e| {
        if e.kind() == std::io::ErrorKind::NotFound {
            Ok(())
        } else {
            Err(e)
        }
    })?;
    std::fs::rename(&aside, &state)?;
    let sealed = state.join("sealed_identity");
    let good = std::fs::read(&sealed)?;
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&sealed, &bad)?;
    let ended = Node::try_start(&config, &log, &[INSECURE]).await?.err().unwrap();
    assert!(ended.said.contains("altered"), "{}", ended.said);
    assert_eq!(contents(&service)?, before);

    std::fs::write(&sealed, &good)?;
    assert!(service.start().await?.resumed);
    Ok(())
}

/// Names and bytes of the ledger's files.
fn contents(service: &Service) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = service.layout.ledger();
    ledgers::chunks(&folder)?
        .into_iter()
        .map(|name| Ok((name.to_string(), std::fs::read(folder.join(name.to_string()))?)))
        .collect()
}
