//! A secret is nowhere in clear: not in the ledger, not in the state folder, not in the log.

use std::path::Path;

use anyhow::Result;
use model::b64;
use serde_json::json;
use tests::outcome::refused;
use tests::pods::Chip;
use tests::service::Service;

const SECRET: &str = "a value that must never lie anywhere in clear 7f3a91";
/// Public, so that the search is known to find something.
const PUBLIC: &str = "a purpose that everybody may read 55c2d0";

/// Files below `folder` with `needle` in them.
fn files_with(folder: &Path, needle: &[u8], found: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files_with(&path, needle, found)?;
        } else if std::fs::read(&path)?
            .windows(needle.len())
            .any(|window| window == needle)
        {
            found.push(path.display().to_string());
        }
    }
    Ok(())
}

/// Everywhere in the service's folder, in each of the forms in which text gets written down.
fn traces(folder: &Path, text: &str) -> Result<Vec<String>> {
    // Base64 depends on where in a longer text the value begins.
    let mut forms = vec![text.as_bytes().to_vec(), hex::encode(text).into_bytes()];
    for before in ["", "x", "xx"] {
        let encoded = b64::encode(format!("{before}{text}").as_bytes());
        let whole = encoded.len() / 4 * 4;
        forms.push(encoded.as_bytes()[4..whole - 4].to_vec());
    }
    let mut found = Vec::new();
    for form in forms {
        files_with(folder, &form, &mut found)?;
    }
    Ok(found)
}

#[tokio::test]
async fn a_secret_is_in_no_file_in_clear() -> Result<()> {
    let chip = Chip::new()?;
    let mut service = Service::open(&["ann"], std::slice::from_ref(&chip.root)).await?;
    let id = service.connection()?.service()?;
    let (pod, stranger) = (chip.pod(id, "pod")?, chip.pod(id, "stranger")?);
    service.accept_contract("c1").await?;
    service.draft("c2", &json!({ "purpose": PUBLIC })).await?;
    service
        .accept_policy("c1", &json!({ "claims": pod.claims() }))
        .await?;
    let id = service.put_secret("c1", "dek", SECRET).await?;
    let path = format!("/app/contracts/c1/secrets/{id}");
    let connection = service.connection()?;
    let value = pod.workload.release(&connection, &path, &json!({})).await?;
    assert_eq!(value.as_slice(), SECRET.as_bytes());
    let denied = stranger.workload.post(&connection, &path, &json!({})).await;
    refused(denied, 400, "VerifySnpAttestationFailed")?;

    // Written badly, the value must not come back in a complaint or reach the log either.
    let ann = service.connection_of(service.member(0)?)?;
    let cut = format!("{{\"value\":\"{SECRET}\"");
    let malformed = ann
        .send(
            http::Method::PUT,
            "/app/contracts/c1/secrets/dek",
            Some("application/json"),
            cut.into(),
        )
        .await;
    let refusal = refused(malformed, 400, "InvalidInput")?;
    assert!(!refusal.message.contains(SECRET));

    // A restart seals the secret's key again, and a kill leaves whatever was half written.
    service.stop().await?;
    service.start().await?;
    service.put_secret("c1", "other", SECRET).await?;
    service.kill().await?;
    let folder = &service.layout.dir;
    assert_eq!(traces(folder, SECRET)?, Vec::<String>::new());
    assert!(
        !traces(folder, PUBLIC)?.is_empty(),
        "what is public is found by the same search"
    );
    Ok(())
}
