//! Steps 8 and 9: independent parties check tokens, result, receipt and ledger.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value as JsonValue, json};

use super::story::{CONTRACT, GROUP_MIN, SINK, Story};
use crate::cli::{Who, offline};
use crate::sandbox::field;
use crate::workspace::{output, python, root};

/// What the relying party verified when the pod showed its token.
pub(crate) fn token(story: &Story, relying_party: &Path) -> Result<((), String)> {
    let log = std::fs::read_to_string(relying_party.join("assertions.jsonl"))
        .context("the relying party has verified no assertion")?;
    let line = log
        .lines()
        .last()
        .context("the relying party has verified no assertion")?;
    let claims: JsonValue = serde_json::from_str(line)?;
    ensure!(
        claims.get("exp").is_some_and(JsonValue::is_u64),
        "exp is not a number: {claims}"
    );
    ensure!(
        field(&claims, "iss")? == super::consortium::issuer_url(story),
        "iss differs: {claims}"
    );
    Ok((
        (),
        format!(
            "PyJWT accepted it by discovery and key set alone: sub {}, contract {}, release {}",
            field(&claims, "sub")?,
            field(&claims, "contract_id")?,
            field(&claims, "release_txid")?
        ),
    ))
}

/// The decrypted result of a run.
pub(crate) struct ResultFile {
    pub(crate) rows: Vec<JsonValue>,
}

/// The owner of the sink decrypts the output and compares it with DuckDB over the clear files.
pub(crate) fn result(story: &Story, clear: &Path, run: &str) -> Result<(ResultFile, String)> {
    let store = story.dir.join("organisations/airline/store").join(SINK);
    let folder = find_run(&store, run)?;
    let key = story.path(&format!("organisations/airline/{SINK}.dek"));
    let csv = story.dir.join("result.csv");
    let mut text = String::new();
    let mut parts: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    parts.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    parts.sort();
    for (index, part) in parts.iter().enumerate() {
        let opened = story.dir.join(format!("part-{index}.csv"));
        offline(&[
            "dataset",
            "decrypt",
            &part.to_string_lossy(),
            &opened.to_string_lossy(),
            "--key",
            &key,
        ])?;
        let content = std::fs::read_to_string(&opened)?;
        std::fs::remove_file(&opened)?;
        // Every part has the header line; it is kept once.
        let skip = usize::from(index > 0);
        for line in content.lines().skip(skip) {
            text.push_str(line);
            text.push('\n');
        }
    }
    std::fs::write(&csv, &text)?;
    let mut command = Command::new(python("venv-tools"));
    command
        .arg(root().join("xtask/demo/compare.py"))
        .arg(clear)
        .arg(&csv)
        .arg(GROUP_MIN.to_string());
    let report: JsonValue = serde_json::from_str(&output(&mut command)?)?;
    let rows = parse_rows(&text)?;
    let detail = format!(
        "{} rows equal DuckDB's over the clear files; {} groups before the threshold of {GROUP_MIN} planes",
        rows.len(),
        report.get("groups_before_threshold").unwrap_or(&JsonValue::Null)
    );
    Ok((ResultFile { rows }, detail))
}

/// Output lies under `<contract>/<date>/<run>` of the sink.
fn find_run(store: &Path, run: &str) -> Result<PathBuf> {
    let contract = store.join(CONTRACT);
    for date in
        std::fs::read_dir(&contract).with_context(|| format!("no output in {}", contract.display()))?
    {
        let folder = date?.path().join(run);
        if folder.is_dir() {
            return Ok(folder);
        }
    }
    bail!("no folder {run} below {}", contract.display())
}

fn parse_rows(text: &str) -> Result<Vec<JsonValue>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().context("the result is empty")?.split(',').collect();
    lines
        .map(|line| {
            let values = split_csv(line);
            ensure!(
                values.len() == header.len(),
                "a row has {} fields: {line}",
                values.len()
            );
            let fields = header.iter().zip(values).map(|(name, value)| {
                let number = value.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                (
                    (*name).to_owned(),
                    number.map_or(JsonValue::String(value), JsonValue::Number),
                )
            });
            Ok(JsonValue::Object(fields.collect()))
        })
        .collect()
}

/// Splits one CSV line; quotes may enclose a field with commas.
fn split_csv(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => {
                if let Some(field) = fields.last_mut() {
                    field.push(other);
                }
            }
        }
    }
    fields
}

/// Prints the result as a table.
pub(crate) fn print_table(result: &ResultFile) {
    println!(
        "\n    {:<32} {:<8} {:>12} {:>8}",
        "manufacturer", "visib.", "mean delay", "planes"
    );
    let mut rows = result.rows.clone();
    rows.sort_by_key(|row| row.to_string());
    for row in rows {
        let text = |name: &str| {
            row.get(name)
                .and_then(JsonValue::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let number = |name: &str| row.get(name).and_then(JsonValue::as_f64).unwrap_or_default();
        println!(
            "    {:<32} {:<8} {:>9.2} min {:>8}",
            text("manufacturer"),
            text("visibility"),
            number("mean_dep_delay"),
            number("planes")
        );
    }
}

/// Fetches the receipt of the contract's acceptance and has two programs verify it.
pub(crate) fn receipt(story: &Story, tx: &str) -> Result<((), String)> {
    let file = story.path("contract.receipt.json");
    story
        .cli()
        .run(&Who::Anyone, &["receipt", "get", tx, "--out", &file])?;
    let mut command = Command::new(python("venv-tools"));
    command
        .arg(root().join("xtask/demo/verify_receipt.py"))
        .arg(&file)
        .arg(&story.cli().service_cert);
    let verified: JsonValue = serde_json::from_str(&output(&mut command)?)?;
    Ok((
        (),
        format!(
            "ours and the public package ccf agree on root {}",
            field(&verified, "root")?
        ),
    ))
}

/// Stops the node and has the public package validate its whole ledger.
pub(crate) fn ledger(story: &mut Story) -> Result<((), String)> {
    let commit = story.cli().run(&Who::Anyone, &["service", "commit"])?;
    let last = field(&commit, "transaction_id")?;
    let seqno = last.split_once('.').map_or("", |(_, seqno)| seqno).to_owned();
    story.sandbox.stop()?;
    let directory = story.sandbox.dir.join("ledger");
    let mut command = Command::new(python("venv-tools"));
    command
        .arg(root().join("xtask/demo/validate_ledger.py"))
        .arg(&directory)
        .arg(&seqno);
    let report: JsonValue = serde_json::from_str(output(&mut command)?.lines().last().unwrap_or_default())?;
    let audit = offline(&[
        "audit",
        &directory.to_string_lossy(),
        "--service-cert",
        &story.cli().service_cert.to_string_lossy(),
    ])?;
    let verified = audit.get("lastVerified").cloned().unwrap_or(json!(null));
    Ok((
        (),
        format!(
            "public validator: {} entries, {} signatures, all good; ours: verified to {verified}",
            report.get("last_seqno").unwrap_or(&JsonValue::Null),
            report.get("signatures").unwrap_or(&JsonValue::Null)
        ),
    ))
}
