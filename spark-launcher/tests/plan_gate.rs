//! The pod's gate on Spark's analysed plan: one real session, many statements.
//!
//! Needs the virtual environment of `job/requirements.lock`, from `CONCORDAT_SPARK_VENV` or
//! `target/venv-spark` in the workspace.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use cleanroom_model::analytics::{Query, ViewName};
use serde_json::{Value as JsonValue, json};

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

/// The good corpus, and for each statement the views that the first gate found in it.
fn admitted(workspace: &Path) -> Vec<(String, JsonValue)> {
    let text = std::fs::read_to_string(workspace.join("tests/vectors/sql_gate/good.sql")).unwrap();
    let views = ["flights", "planes", "weather"].map(|name| ViewName::parse(name).unwrap());
    let reads = |sql: &str| {
        let earlier =
            "CREATE TEMP VIEW earlier AS SELECT carrier, COUNT(*) AS n FROM flights GROUP BY carrier";
        let mut segments = vec![
            json!({"executionSequence": 1, "data": earlier}),
            json!({"executionSequence": 2, "data": sql}),
        ];
        if sql.starts_with("CREATE") {
            segments.push(json!({"executionSequence": 3, "data": "SELECT 1 AS a"}));
        }
        let query = json!({"segments": segments, "parameters": {"late": {"type": "long", "default": 5}}});
        let checked = sql_gate::check(&Query::parse(&query.to_string()).unwrap(), &views).unwrap();
        json!(checked.segments.get(1).unwrap().reads)
    };
    text.lines()
        .filter(|line| !line.starts_with("-- "))
        .map(|sql| (sql.to_owned(), reads(sql)))
        .collect()
}

#[test]
fn sparks_plan_admits_the_good_corpus_and_stops_hostile_statements_without_the_first_gate() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap();
    let venv = venv(&workspace);
    let work = tempfile::tempdir().unwrap();
    let statements = work.path().join("admitted.json");
    std::fs::write(&statements, json!(admitted(&workspace)).to_string()).unwrap();
    let output = Command::new(venv.join("bin/python"))
        .args(["-I", "-B"])
        .arg(workspace.join("spark-launcher/tests/plan_gate.py"))
        .arg(workspace.join("spark-launcher/job"))
        .arg(&statements)
        .arg(workspace.join("tests/vectors/sql_gate/attacks.sql"))
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
