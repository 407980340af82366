//! Evidence decides: real evidence of a real container group, and that of development chips.

use anyhow::Result;
use crypto::native::RsaKeyPair;
use crypto::native::wrap::unwrap;
use model::attested::{Bound, report_data};
use model::b64;
use serde_json::{Value as JsonValue, json};
use tests::outcome::{json, refused};
use tests::pods::{self, Chip, HOST_DATA, Recorded};
use tests::service::Service;

const SECRET: &str = "for attested eyes only";

#[tokio::test]
async fn recorded_evidence_of_a_real_container_group_opens_a_static_alternative() -> Result<()> {
    let service = Service::open(&["ann", "bob"], &[]).await?;
    let recorded = Recorded::read("encryption")?;
    let connection = service.connection()?;
    // Its host data is that of a published policy that allows everything.
    let host_data = "73973b78d70cc68353426de188db5dfc57e5b766e399935fb73a61127ea26d20";
    let claims = json!({ HOST_DATA: host_data, "x-ms-sevsnpvm-is-debuggable": false });
    service.accept_contract("c1").await?;
    let id = service.put_secret("c1", "dek", SECRET).await?;
    let path = format!("/app/contracts/c1/secrets/{id}");

    // No policy admits nobody; without leave for static evidence it cannot even be voted.
    let refusal = refused(
        connection.post(&path, &recorded.request()).await,
        400,
        "VerifySnpAttestationFailed",
    )?;
    assert!(
        refusal.message.contains("policy is missing"),
        "{}",
        refusal.message
    );
    let plain = json!([{ "name": "set_clean_room_policy", "args": {
        "contractId": "c1", "type": "add", "claims": claims } }]);
    refused(service.propose(0, &plain).await, 400, "ProposalFailedToValidate")?;

    service
        .accept_policy("c1", &json!({ "claims": claims, "allowStaticEvidence": true }))
        .await?;
    let answer = json(connection.post(&path, &recorded.request()).await)?;
    let wrapped = b64::decode(answer["value"].as_str().unwrap())?;
    let value = unwrap(&RsaKeyPair::from_pem(&recorded.private_pem)?, &wrapped)?;
    assert_eq!(value.as_slice(), SECRET.as_bytes());

    // The release is on the ledger, with what was shown and without what was given.
    let ann = service.connection_of(service.member(0)?)?;
    let releases = json(ann.get("/app/contracts/c1/events?scope=releases").await)?;
    let row = &releases["value"][0]["data"];
    assert_eq!(row["name"], json!(id), "{releases}");
    assert_eq!(row["hostData"], json!(host_data), "{releases}");
    assert_eq!(row["staticEvidence"], json!(true), "{releases}");
    assert!(!releases.to_string().contains(SECRET));

    // Another key than the bound one; a bound key that cannot unwrap.
    let signing = Recorded::read("signing")?;
    let mut other = recorded.request();
    other["encrypt"]["publicKey"] = json!(b64::encode(signing.public_pem.as_bytes()));
    refused(connection.post(&path, &other).await, 400, "ReportDataMismatch")?;
    refused(
        connection.post(&path, &signing.request()).await,
        400,
        "InvalidInput",
    )?;

    // Every byte that the processor signed counts.
    let report = b64::decode(recorded.attestation["evidence"].as_str().unwrap())?;
    for at in [0, 0x50, 0x90, 0xc0, 0x29f] {
        let mut altered = report.clone();
        altered[at] ^= 1;
        let mut request = recorded.request();
        request["attestation"]["evidence"] = json!(b64::encode(&altered));
        refused(
            connection.post(&path, &request).await,
            400,
            "VerifySnpAttestationFailed",
        )?;
    }
    Ok(())
}

#[tokio::test]
async fn evidence_of_a_development_chip_counts_where_its_root_is_trusted() -> Result<()> {
    let (trusted, other) = (Chip::new()?, Chip::new()?);
    let service = Service::open(&["ann"], std::slice::from_ref(&trusted.root)).await?;
    let id = service.connection()?.service()?;
    let (pod, second, foreign) = (
        trusted.pod(id, "pod")?,
        trusted.pod(id, "second")?,
        other.pod(id, "pod")?,
    );
    service.accept_contract("c1").await?;
    service
        .accept_policy("c1", &json!({ "claims": pod.claims() }))
        .await?;
    let id = service.put_secret("c1", "dek", SECRET).await?;
    let path = format!("/app/contracts/c1/secrets/{id}");
    let connection = service.connection()?;
    let before = service.committed().await?;

    // A foreign root proves nothing, and leaves no trace.
    let refusal = foreign.workload.post(&connection, &path, &json!({})).await;
    let refusal = refused(refusal, 400, "VerifySnpAttestationFailed")?;
    assert!(refusal.details.is_empty(), "no claim was looked at: {refusal:?}");
    assert_eq!(service.committed().await?, before);

    let value = pod.workload.release(&connection, &path, &json!({})).await?;
    assert_eq!(value.as_slice(), SECRET.as_bytes());

    // Another launch document: refused with the claim that failed, and the ledger knows.
    let before = service.committed().await?;
    let refusal = second.workload.post(&connection, &path, &json!({})).await;
    let refusal = refused(refusal, 400, "VerifySnpAttestationFailed")?;
    let detail = &refusal.details[0];
    assert_eq!(
        (&detail["code"], &detail["claim"]),
        (&json!("ClaimRejected"), &json!(HOST_DATA))
    );
    assert_eq!(detail["got"], json!(second.host_data));
    assert_eq!(detail["expected"], json!([pod.host_data]));
    assert!(service.committed().await? > before, "the refusal is an event");

    // Another contract's secrets are out of reach.
    service.accept_contract("c2").await?;
    service.put_secret("c2", "dek", SECRET).await?;
    let elsewhere = format!("/app/contracts/c2/secrets/{id}");
    let refusal = pod.workload.post(&connection, &elsewhere, &json!({})).await;
    refused(refusal, 400, "VerifySnpAttestationFailed")?;
    Ok(())
}

#[tokio::test]
async fn a_statement_that_nothing_signs_matches_no_ordinary_policy() -> Result<()> {
    let chip = Chip::new()?;
    let service = Service::open(&["ann"], &[]).await?;
    let pod = chip.pod(service.connection()?.service()?, "pod")?;
    service.accept_contract("c1").await?;
    service
        .accept_policy("c1", &json!({ "claims": pod.claims() }))
        .await?;
    let id = service.put_secret("c1", "dek", SECRET).await?;
    let connection = service.connection()?;
    let nonce = pods::nonce(&connection).await?;
    let key = pod.workload.public_pem();
    let service = connection.service()?;
    let bound = Bound::Nonce {
        nonce: &nonce,
        service: &service,
    };
    let statement = json!({
        "measurement": pod.claims()[pods::MEASUREMENT],
        "host_data": pod.host_data,
        "report_data": hex::encode(report_data(key, bound, crypto::sha256)),
    });
    let mut request: JsonValue = pod.request(key, &nonce)?;
    request["platform"] = json!("virtual");
    request["attestation"] = json!({ "evidence": b64::encode(statement.to_string().as_bytes()) });
    let path = format!("/app/contracts/c1/secrets/{id}");
    refused(
        connection.post(&path, &request).await,
        400,
        "VerifySnpAttestationFailed",
    )?;
    // The chip is not trusted by this node, whatever the policy says.
    let refusal = pod.workload.post(&connection, &path, &json!({})).await;
    refused(refusal, 400, "VerifySnpAttestationFailed")?;
    Ok(())
}
