//! Other people's tools, unchanged: `ccf_cose_sign1` and curl govern us, `ccf.receipt` and
//! `read_ledger.py` check us.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value as JsonValue, json};
use tests::people::Person;
use tests::service::Service;
use tests::{built, ledgers};

/// A governance request by hand: payload signed by the public tool, sent by curl.
fn govern(
    service: &Service,
    person: &Person,
    kind: &str,
    proposal: Option<&str>,
    path: &str,
    payload: &JsonValue,
) -> Result<JsonValue> {
    let dir = &service.layout.dir;
    let (content, signed) = (dir.join("content.json"), dir.join("signed.cose"));
    std::fs::write(&content, payload.to_string())?;
    let mut sign = Command::new(built::tool("ccf_cose_sign1")?);
    sign.args(["--ccf-gov-msg-type", kind, "--ccf-gov-msg-created_at"])
        .arg(built::output(Command::new("date").arg("-Is"))?.trim())
        .arg("--signing-key")
        .arg(person.key_file())
        .arg("--signing-cert")
        .arg(person.cert_file())
        .arg("--content")
        .arg(&content);
    if let Some(id) = proposal {
        sign.args(["--ccf-gov-msg-proposal_id", id]);
    }
    let output = sign.output()?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::write(&signed, output.stdout)?;
    let url = format!("{}/gov/members/{path}?api-version=2024-07-01", service.address()?);
    let data = format!("@{}", signed.display());
    let answer = curl(
        service,
        &[
            "-X",
            "POST",
            &url,
            "-H",
            "content-type: application/cose",
            "--data-binary",
            &data,
        ],
    )?;
    if answer.is_empty() {
        return Ok(JsonValue::Null);
    }
    Ok(serde_json::from_str(&answer)?)
}

fn curl(service: &Service, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail-with-body", "--cacert"])
        .arg(service.layout.service_cert())
        .args(arguments);
    built::output(&mut command).context("curl")
}

fn save(path: &Path, text: &str) -> Result<PathBuf> {
    std::fs::write(path, text)?;
    Ok(path.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn public_tools_govern_the_service_and_check_its_ledger_and_receipts() -> Result<()> {
    let mut service = Service::begin(&["ann", "bob"], &[]).await?;
    // Activation, by hand.
    for member in &service.members {
        let path = format!("state-digests/{}", member.id()?);
        let digest = govern(
            &service,
            member,
            "state_digest",
            None,
            &format!("{path}:update"),
            &json!({}),
        )?;
        govern(&service, member, "ack", None, &format!("{path}:ack"), &digest)?;
    }
    // A proposal, accepted by both with the constant script that existing members keep as a file.
    let proposal = json!({ "actions": [
        { "name": "set_member_data", "args": { "member_id": service.member(1)?.id()?, "member_data": { "by": "hand" } } },
        { "name": "transition_service_to_open", "args": { "next_service_identity": service.service_cert()? } },
    ] });
    let made = govern(
        &service,
        service.member(0)?,
        "proposal",
        None,
        "proposals:create",
        &proposal,
    )?;
    assert_eq!(made["proposalState"], "Open");
    let id = made["proposalId"].as_str().unwrap();
    let script = json!({ "ballot": "export function vote (proposal, proposerId) { return true }" });
    let mut state = JsonValue::Null;
    for member in &service.members {
        let path = format!("proposals/{id}/ballots/{}:submit", member.id()?);
        state = govern(&service, member, "ballot", Some(id), &path, &script)?;
    }
    assert_eq!(state["proposalState"], "Accepted", "{state}");
    let url = |path: &str| Ok::<_, anyhow::Error>(format!("{}{path}", service.address()?));
    let network: JsonValue = serde_json::from_str(&curl(&service, &[&url("/node/network")?])?)?;
    assert_eq!(network["service_status"], "Open");
    let path = format!(
        "/gov/service/members/{}?api-version=2024-07-01",
        service.member(1)?.id()?
    );
    let member: JsonValue = serde_json::from_str(&curl(&service, &[&url(&path)?])?)?;
    assert_eq!(member["memberData"], json!({ "by": "hand" }));

    // Receipts of every transaction so far: the first, votes, signatures.
    let committed = service.committed().await?;
    for seqno in 1..=committed.seqno {
        let path = format!("/app/receipt?transaction_id={}.{seqno}", committed.view);
        let text = curl(&service, &[&url(&path)?])?;
        let file = save(&service.layout.dir.join("receipt.json"), &text)?;
        let receipt: JsonValue = serde_json::from_str(&text)?;
        // The public tool's arguments ask for the leaf's components, which signatures lack.
        if receipt.get("leaf_components").is_some() {
            ledgers::verify_receipt_publicly(&file, &service.layout.service_cert())?;
        }
    }

    service.stop().await?;
    let folder = service.layout.ledger();
    let report = ledgers::replay(&folder, &service.service_cert()?)?;
    let last = report.last_signed.unwrap();
    assert!(last >= committed, "the ledger ends at {last}, before {committed}");
    ledgers::validate_publicly(&folder, last.seqno)?;
    // The reader skips open chunks and calls nothing at all complete (decision 35).
    let mut read = Command::new(built::tool("read_ledger.py")?);
    let shown = built::output(read.args(["--uncommitted", "--quiet"]).arg(&folder))?;
    assert!(shown.contains("Ledger verification complete"), "{shown}");
    // "verified until 2.16" by version 6 of the reader, "Verified FULL - …, until 2.16" by version 7.
    let reached = format!("until {last}");
    assert!(
        shown.lines().any(|line| line.ends_with(&reached)),
        "{reached}: {shown}"
    );
    Ok(())
}
