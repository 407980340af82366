//! The pod's gate on Spark's analysed plan: one real session, many statements.
//!
//! Needs the virtual environment of `job/requirements.lock`, from `CONCORDAT_SPARK_VENV` or
//! `target/venv-spark` in the workspace.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

#[allow(clippy::disallowed_methods, reason = "the one setting of this test")]
fn venv(workspace: &Path) -> PathBuf {
    let venv = std::env::var("CONCORDAT_SPARK_VENV")
        .map_or_else(|_| workspace.join("target/venv-spark"), PathBuf::from);
    assert!(
        venv.join("bin/spark-submit").exists(),
        "no Spark in {}: python3 -m venv {0} && {0}/bin/pip install --require-hashes -r \
         spark-launcher/job/requirements.lock, or set CONCORDAT_SPARK_VENV",
        venv.display()
    );
    venv
}

#[test]
fn sparks_plan_admits_the_good_corpus_and_stops_hostile_statements_without_the_first_gate() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap();
    let venv = venv(&workspace);
    let work = tempfile::tempdir().unwrap();
    let output = Command::new(venv.join("bin/python"))
        .args(["-I", "-B"])
        .arg(workspace.join("spark-launcher/tests/plan_gate.py"))
        .arg(workspace.join("spark-launcher/job"))
        .arg(workspace.join("tests/vectors/sql_gate"))
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .env("HOME", work.path())
        .env("PYSPARK_PYTHON", venv.join("bin/python"))
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .env("CONCORDAT_SPARK_WORK", work.path())
        .env("CONCORDAT_SPARK_THREADS", "2")
        .env("CONCORDAT_SPARK_MEMORY", "1024m")
        .current_dir(work.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let messages = text(&output.stderr);
    let tail = messages.lines().rev().take(5).collect::<Vec<_>>();
    assert!(output.status.success(), "{}\n{tail:#?}", text(&output.stdout));
}
