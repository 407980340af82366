//! `cargo xtask demo`: the main job end to end on real parts, told step by step.

mod background;
mod checks;
mod consortium;
mod datasets;
mod narrator;
mod refusals;
mod run;
mod story;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value as JsonValue, json};

use self::background::Background;
use self::narrator::Narrator;
use self::story::{AUDIENCE, CONTRACT, QUERY, SINK, SQL, Story};
use crate::workspace::{target, venv_dir};

/// SHA-384 of the text `concordat software attester v1`: the launch measurement of its evidence.
const SOFTWARE_MEASUREMENT: &str =
    "e1ee5f1e445067d586887422c89d7401253e9685a280a649c117c394c4e263740498b2f99efe92978a1dba4225f151a2";

/// The run that everybody agreed to.
const RUN: &str = "run-1";

/// Runs the demo in `dir`, which is emptied first.
pub(crate) fn demo(dir: Option<PathBuf>, json_file: Option<&Path>) -> Result<()> {
    let dir = dir.unwrap_or_else(|| target().join("demo"));
    let mut narrator = Narrator::new();
    println!(
        "Three organisations (airline, airport, registry) answer a question over their joined data, and none of\n\
         them shows its data to anybody. Everything below runs on this machine, in development mode."
    );
    let outcome = tell(&mut narrator, &dir);
    narrator.summary();
    if let Some(path) = json_file {
        let text = serde_json::to_string_pretty(narrator.record())?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    outcome?;
    explain(&dir);
    Ok(())
}

fn tell(narrator: &mut Narrator, dir: &Path) -> Result<()> {
    let clear = narrator.step(
        "setup",
        "Set up what is missing: Wasm target, components, programs, Python, Spark",
        || {
            crate::setup::everything()?;
            let clear = clear_data()?;
            empty(dir)?;
            Ok((clear, format!("everything lies in {}", target().display())))
        },
    )?;
    let launch = run::launch_documents(&dir.join("launch"))?;
    let mut story = narrator.step(
        "service",
        "A node starts, members are activated, the service opens",
        || consortium::open(dir),
    )?;
    let accepted = narrator.step(
        "contract",
        "airline proposes a contract that airline and airport decide; they vote with signed messages",
        || consortium::contract(&story),
    )?;
    narrator.ids(story.ids()?);
    narrator.step(
        "policy",
        "The same two vote which launcher and which Spark pod are admitted, by the digests of their launch documents",
        || consortium::policy(&story, &launch.launcher, &launch.pod),
    )?;
    narrator.ids(story.ids()?);
    let (mut relying_party, place) = start_relying_party(dir)?;
    narrator.step(
        "publish",
        "Each owner encrypts its data, stores the key as a secret, publishes its dataset",
        || {
            let told = datasets::publish(&story, &clear, &place)?;
            register_credential(&story, &mut relying_party)?;
            Ok(told)
        },
    )?;
    narrator.step(
        "query",
        "The analyst publishes a query that all three stewards must approve",
        || datasets::query(&story),
    )?;
    narrator.ids(json!({ "query": QUERY }));
    let result = execute(narrator, &story, &launch, &clear)?;
    narrator.keep(SQL, result.rows.clone());
    checks::print_table(&result);
    narrator.step(
        "token",
        "The pod showed the sink's relying party an identity token; an OpenID library judged it",
        || checks::token(&story, &dir.join("relying-party")),
    )?;
    narrator.step(
        "receipt",
        "A receipt proves offline that the contract was accepted",
        || checks::receipt(&story, &accepted),
    )?;
    narrator.step(
        "ledger",
        "The node stops; the public Python package ccf validates every entry of its ledger",
        || checks::ledger(&mut story),
    )?;
    Ok(())
}

fn execute(
    narrator: &mut Narrator,
    story: &Story,
    launch: &run::Launch,
    clear: &Path,
) -> Result<checks::ResultFile> {
    let launcher = narrator.step("launcher", "The launcher starts and shows its evidence", || {
        run::start_launcher(story, launch)
    })?;
    narrator.step(
        "too-early",
        "The analyst asks for a run before the third approval",
        || run::too_early(story, launch, &launcher),
    )?;
    narrator.step(
        "consent-off",
        "All three approve, but one steward switches its consent off",
        || run::consent_off(story, launch, &launcher),
    )?;
    let job = narrator.step(
        "run",
        "Everybody agrees: an attested pod gets the keys and runs the query on Spark",
        || {
            let (job, detail) = run::run_query(story, launch, &launcher, RUN)?;
            let again = run::ask(story, launch, &launcher, RUN)?;
            anyhow::ensure!(
                again.get("id").and_then(JsonValue::as_str) == Some(&job),
                "asking again for {RUN} gave another job: {again}"
            );
            Ok((job, detail))
        },
    )?;
    narrator.ids(json!({ "run": RUN, "job": job }));
    let secret = format!("{}_flights-dek", story.steward_id("airline")?);
    narrator.step(
        "uninvited",
        "A pod with a changed Spark program asks for the same run, then for the same secret",
        || run::uninvited_pod(story, launch, RUN, &secret),
    )?;
    narrator.step(
        "result",
        "The sink's owner decrypts the result; DuckDB recomputes it over the clear files",
        || checks::result(story, clear, RUN),
    )
}

fn start_relying_party(dir: &Path) -> Result<(Background, JsonValue)> {
    let folder = dir.join("relying-party");
    let mut process = Background::python("the relying party", "relying_party.py", &folder)?;
    let place = process.wait_for_json(&folder.join("relying_party.json"))?;
    Ok((process, place))
}

/// Tells the relying party which issuer, subject and audience it trusts: the federated credential.
fn register_credential(story: &Story, relying_party: &mut Background) -> Result<()> {
    let credential = json!({
        "issuer": consortium::issuer_url(story),
        "ca_cert": story.cli().service_cert,
        "subject": format!("{CONTRACT}/{}", story.steward_id("airline")?),
        "audience": AUDIENCE,
    });
    let stdin = relying_party.stdin().context("the relying party has no input")?;
    writeln!(stdin, "{credential}").context("cannot reach the relying party")?;
    Ok(())
}

/// The clear tables, made once.
fn clear_data() -> Result<PathBuf> {
    let clear = target().join("demo-data/clear");
    if !clear.join("planes.schema.json").exists() {
        let archive = crate::setup::data_archive()?;
        let script = crate::workspace::root().join("xtask/demo/prepare_data.py");
        let mut command = std::process::Command::new(crate::workspace::python("venv-tools"));
        crate::workspace::output(command.arg(script).arg(archive).arg(&clear))?;
    }
    Ok(clear)
}

fn empty(dir: &Path) -> Result<()> {
    // Only a folder that a demo made is emptied.
    let marker = dir.join("DEMO");
    if dir.exists() {
        let foreign = !marker.exists() && std::fs::read_dir(dir)?.next().is_some();
        anyhow::ensure!(
            !foreign,
            "{} is not empty and not of an earlier demo; name another --dir",
            dir.display()
        );
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    std::fs::write(
        marker,
        "made by cargo xtask demo; the next demo empties this folder\n",
    )?;
    Ok(())
}

fn explain(dir: &Path) {
    let shown = dir.display();
    println!(
        "\nWhat happened: the members' signed votes decided contract and policy; the owners' approvals decided the\n\
         query; admission and every release are entries of the ledger; Spark saw data through a loopback door only,\n\
         and at rest it was encrypted throughout.\n\n\
         To explore:\n\
         \x20 {shown}/result.csv                    the decrypted result\n\
         \x20 {shown}/organisations/                each owner's encrypted store; the result is {SINK}\n\
         \x20 {shown}/launch/*.launch.json          what the members voted, by digest\n\
         \x20 {shown}/service/ledger/               the ledger; {tools}/bin/read_ledger.py shows it\n\
         \x20 cargo xtask sandbox --dir {shown}/service   starts this service again, with all it holds",
        tools = venv_dir("venv-tools").display()
    );
}
