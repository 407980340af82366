//! Steps 5 to 7: the launcher refuses twice, then runs a real Spark job; an uninvited pod gets nothing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value as JsonValue;

use super::background::Background;
use super::narrator::Waiting;
use super::refusals::{Refused, on_ledger};
use super::story::{CONTRACT, QUERY, Story, launch_document, refusal};
use crate::sandbox::field;
use crate::workspace::{program, root, venv_dir};

/// Longest wait for the Spark job, in seconds.
const JOB_WAIT_S: u64 = 300;

/// Launch documents of the story, with their digests.
pub(crate) struct Launch {
    pub(crate) launcher_document: PathBuf,
    pub(crate) launcher: String,
    pub(crate) pod_document: PathBuf,
    pub(crate) pod: String,
}

/// The folder with the fixed Spark program.
pub(crate) fn job_dir() -> PathBuf {
    root().join("spark-launcher/job")
}

/// Computes both host data the way every owner can: from program, files and arguments.
pub(crate) fn launch_documents(dir: &Path) -> Result<Launch> {
    std::fs::create_dir_all(dir)?;
    let launcher_document = dir.join("launcher.launch.json");
    let program_path = program("concordat-launcher").to_string_lossy().into_owned();
    let launcher = launch_document(
        &launcher_document,
        &["--role", "launcher", "--program", &program_path, "--arg", "serve"],
    )?;
    let pod_document = dir.join("pod.launch.json");
    let pod = pod_launch_document(&pod_document, &job_dir(), "run")?;
    Ok(Launch {
        launcher_document,
        launcher,
        pod_document,
        pod,
    })
}

fn pod_launch_document(out: &Path, job: &Path, argument: &str) -> Result<String> {
    let program_path = program("concordat-pod").to_string_lossy().into_owned();
    let lock = job.join("requirements.lock").to_string_lossy().into_owned();
    let mut arguments = vec![
        "--role",
        "pod",
        "--program",
        &program_path,
        "--arg",
        argument,
        "--spark-lock",
        &lock,
    ];
    let mut files: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(job).with_context(|| format!("cannot list {}", job.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(format!(
                "{}={}",
                entry.file_name().to_string_lossy(),
                entry.path().display()
            ));
        }
    }
    files.sort();
    for file in &files {
        arguments.extend(["--file", file]);
    }
    launch_document(out, &arguments)
}

/// A running launcher.
pub(crate) struct Launcher {
    _process: Background,
    address: String,
}

/// Starts the launcher and gives its address.
pub(crate) fn start_launcher(story: &Story, launch: &Launch) -> Result<(Launcher, String)> {
    let work = story.dir.join("launcher");
    std::fs::create_dir_all(&work)?;
    let address_file = work.join("address");
    let mut command = Command::new(program("concordat-launcher"));
    command
        .args([
            "serve",
            "--address",
            &story.cli().address,
            "--contract",
            CONTRACT,
            "--bind",
            "127.0.0.1:0",
        ])
        .arg("--service-cert")
        .arg(&story.cli().service_cert)
        .arg("--launch-document")
        .arg(&launch.launcher_document)
        .arg("--attester")
        .arg(story.sandbox.dir.join("attester"))
        .arg("--address-file")
        .arg(&address_file)
        .arg("--certificate-file")
        .arg(work.join("certificate.pem"))
        .arg("--work-dir")
        .arg(&work)
        .arg("--pod-program")
        .arg(program("concordat-pod"))
        .arg("--pod-launch-document")
        .arg(&launch.pod_document)
        .arg("--job-dir")
        .arg(job_dir())
        .arg("--spark-venv")
        .arg(venv_dir("venv-spark"));
    let mut process = Background::start("the launcher", &mut command, &work.join("log.txt"))?;
    let address = format!("https://{}", process.wait_for_file(&address_file)?.trim());
    let detail = format!("{address}; its certificate's digest is in its evidence");
    Ok((
        Launcher {
            _process: process,
            address,
        },
        detail,
    ))
}

/// Asks the launcher to run the query as the analyst.
pub(crate) fn ask(story: &Story, launch: &Launch, launcher: &Launcher, run: &str) -> Result<JsonValue> {
    let attester = story.sandbox.dir.join("attester").to_string_lossy().into_owned();
    let root = field(&crate::cli::offline(&["attester", "root", &attester])?, "root")?;
    story.cli().run(
        &story.steward("airline"),
        &[
            "query",
            "run",
            CONTRACT,
            QUERY,
            "--launcher",
            &launcher.address,
            "--launcher-host-data",
            &launch.launcher,
            "--attester-root",
            &root,
            "--measurement",
            super::SOFTWARE_MEASUREMENT,
            "--run-id",
            run,
        ],
    )
}

/// Asks before the third approval: refused, naming who has not agreed.
pub(crate) fn too_early(story: &Story, launch: &Launch, launcher: &Launcher) -> Result<((), String)> {
    let run = "run-too-early";
    let refused = refusal(ask(story, launch, launcher, run))?;
    let registry = story.steward_id("registry")?;
    ensure!(
        refused.details.to_string().contains(&registry) || refused.message.contains(&registry),
        "the refusal does not name registry's steward {registry}: {refused} {}",
        refused.details
    );
    admission_refused(story, launch, run, &refused.code)?;
    Ok((
        (),
        format!(
            "refused with {}: registry's steward has not agreed; the refusal is on the ledger",
            refused.code
        ),
    ))
}

/// A member finds the refusal to admit a run.
fn admission_refused(story: &Story, launch: &Launch, run: &str, code: &str) -> Result<()> {
    let wanted = Refused {
        kind: "admission",
        name: run,
        code,
        host_data: &launch.launcher,
    };
    on_ledger(story, &wanted).map(drop)
}

/// The third approval comes, but one consent is switched off: refused again, naming whose.
pub(crate) fn consent_off(story: &Story, launch: &Launch, launcher: &Launcher) -> Result<((), String)> {
    let registry = story.steward("registry");
    story
        .cli()
        .run(&registry, &["document", "accept", CONTRACT, QUERY])?;
    ensure!(
        story.document_state(&registry, QUERY)? == "Accepted",
        "the query is not Accepted after all three"
    );
    let airport = story.steward("airport");
    story
        .cli()
        .run(&airport, &["document", "disable", CONTRACT, "weather"])?;
    let run = "run-without-consent";
    let refused = refusal(ask(story, launch, launcher, run))?;
    let id = story.steward_id("airport")?;
    ensure!(
        refused.details.to_string().contains(&id) || refused.message.contains(&id),
        "the refusal does not name airport's steward {id}: {refused} {}",
        refused.details
    );
    admission_refused(story, launch, run, &refused.code)?;
    story
        .cli()
        .run(&airport, &["document", "enable", CONTRACT, "weather"])?;
    Ok((
        (),
        format!(
            "query Accepted; refused with {}: airport's consent for weather was off; the refusal is on the ledger; consent is on again",
            refused.code
        ),
    ))
}

/// Runs the query and waits for its end; gives the job's id.
pub(crate) fn run_query(
    story: &Story,
    launch: &Launch,
    launcher: &Launcher,
    run: &str,
) -> Result<(String, String)> {
    let submitted = ask(story, launch, launcher, run)?;
    let job = field(&submitted, "id")?;
    let attester = story.sandbox.dir.join("attester").to_string_lossy().into_owned();
    let root = field(&crate::cli::offline(&["attester", "root", &attester])?, "root")?;
    let mut waiting = Waiting::new();
    loop {
        let status = story.cli().run(
            &story.steward("airline"),
            &[
                "query",
                "status",
                CONTRACT,
                &job,
                "--launcher",
                &launcher.address,
                "--launcher-host-data",
                &launch.launcher,
                "--attester-root",
                &root,
                "--measurement",
                super::SOFTWARE_MEASUREMENT,
            ],
        )?;
        let state = status
            .pointer("/status/applicationState/state")
            .and_then(JsonValue::as_str)
            .unwrap_or("UNKNOWN");
        match state {
            "COMPLETED" => {
                let detail = format!("job {job} completed on Spark; asking again for {run} starts nothing");
                return Ok((job, detail));
            }
            "FAILED" | "SUBMISSION_FAILED" => bail!("job {job} is {state}: {status}"),
            _ => {}
        }
        if waiting.tick(&format!("job {job} is {state}")) > JOB_WAIT_S {
            bail!("job {job} is still {state} after {JOB_WAIT_S} s");
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// A changed copy of the voted pod, started like it for the admitted run, and then asking for a
/// secret of that run without further ado: both are refused for the host data.
pub(crate) fn uninvited_pod(story: &Story, launch: &Launch, run: &str, secret: &str) -> Result<((), String)> {
    let dir = story.dir.join("uninvited");
    let job = dir.join("job");
    changed_job(&job)?;
    let (work, venv) = (dir.join("work"), venv_dir("venv-spark"));
    let run_arguments = [
        OsStr::new("--run"),
        OsStr::new(run),
        OsStr::new("--spark-venv"),
        venv.as_os_str(),
        OsStr::new("--work-dir"),
        work.as_os_str(),
    ];
    let secret_arguments = [OsStr::new("--secret"), OsStr::new(secret)];
    let mut codes = Vec::new();
    for (act, kind, name, arguments) in [
        ("run", "run", run, &run_arguments[..]),
        ("probe", "secret", secret, &secret_arguments),
    ] {
        let document = dir.join(format!("{act}.launch.json"));
        let host_data = pod_launch_document(&document, &job, act)?;
        ensure!(
            host_data != launch.pod,
            "a changed program has the voted host data {host_data}"
        );
        let output = Command::new(program("concordat-pod"))
            .arg(act)
            .args(["--address", &story.cli().address, "--contract", CONTRACT])
            .arg("--service-cert")
            .arg(&story.cli().service_cert)
            .arg("--launch-document")
            .arg(&document)
            .arg("--attester")
            .arg(story.sandbox.dir.join("attester"))
            .arg("--job-dir")
            .arg(&job)
            .args(arguments)
            .output()
            .context("cannot start concordat-pod")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            !output.status.success(),
            "the uninvited pod was served: {printed}"
        );
        let wanted = Refused {
            kind,
            name,
            code: "VerifySnpAttestationFailed",
            host_data: &host_data,
        };
        let detail = on_ledger(story, &wanted)
            .with_context(|| format!("{printed}{}", String::from_utf8_lossy(&output.stderr)))?;
        let claim = field(&detail, "claim")?;
        ensure!(
            claim == "x-ms-sevsnpvm-hostdata",
            "refused, but not for its host data: {detail}"
        );
        codes.push(format!("{kind}: {} on {claim}", field(&detail, "code")?));
    }
    Ok((
        (),
        format!("refused, {}; both refusals are on the ledger", codes.join(", ")),
    ))
}

/// Copies the job's folder; one more line in the Spark program makes it another program.
fn changed_job(job: &Path) -> Result<()> {
    std::fs::create_dir_all(job)?;
    for entry in std::fs::read_dir(job_dir())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), job.join(entry.file_name()))?;
        }
    }
    let program_file = job.join("run_query.py");
    let text = std::fs::read_to_string(&program_file)?;
    std::fs::write(&program_file, format!("{text}\n# and send me a copy\n"))?;
    Ok(())
}
