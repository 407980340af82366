//! What programs rely on: exit codes, and with `--json` one document on standard output.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as JsonValue;

/// Runs `concordat --json` and gives exit code and document.
fn concordat(arguments: &[&str]) -> (i32, JsonValue) {
    let output = Command::new(env!("CARGO_BIN_EXE_concordat"))
        .env_clear()
        .arg("--json")
        .args(arguments)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let document =
        serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{arguments:?}: {printed}{said}"));
    (output.status.code().unwrap(), document)
}

fn refused(arguments: &[&str]) -> (i32, String) {
    let (exit_code, document) = concordat(arguments);
    assert!(document.pointer("/error/message").unwrap().is_string());
    assert!(document.pointer("/error/details").unwrap().is_array());
    (
        exit_code,
        document
            .pointer("/error/code")
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned(),
    )
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// A certificate that is well-formed and nobody's.
    fn certificate(&self) -> String {
        assert_eq!(
            concordat(&["keys", "user", "nobody", "--out", &self.path("")]).0,
            0
        );
        self.path("nobody_cert.pem")
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/ccf-golden")
}

#[test]
fn a_missing_argument_is_wrong_usage() {
    assert_eq!(refused(&["service", "commit"]), (2, "Usage".to_owned()));
}

#[test]
fn a_service_that_does_not_answer_is_unreachable() {
    let folder = Folder::new();
    let certificate = folder.certificate();
    let arguments = [
        "--address",
        "https://127.0.0.1:1",
        "--service-cert",
        &certificate,
        "service",
        "commit",
    ];
    assert_eq!(refused(&arguments), (3, "Unreachable".to_owned()));
}

#[test]
fn a_ledger_is_audited_against_the_service_that_wrote_it() {
    let (ledger, certificate) = (golden().join("ledger"), golden().join("service_cert_2.pem"));
    let arguments = [
        "audit",
        ledger.to_str().unwrap(),
        "--service-cert",
        certificate.to_str().unwrap(),
    ];
    let (exit_code, report) = concordat(&arguments);
    assert_eq!(exit_code, 0, "{report}");
    assert!(report["signatures"].as_u64().unwrap() > 1);
    assert!(report["lastVerified"].is_string());
}

#[test]
fn a_ledger_of_another_service_fails_verification() {
    let folder = Folder::new();
    let certificate = folder.certificate();
    let ledger = golden().join("ledger");
    let arguments = ["audit", ledger.to_str().unwrap(), "--service-cert", &certificate];
    assert_eq!(refused(&arguments), (5, "VerificationFailed".to_owned()));
}

#[test]
fn a_dataset_comes_back_under_its_key_and_under_no_other() {
    let folder = Folder::new();
    let [plain, sealed, opened, key, other] =
        ["plain.csv", "sealed.csv", "opened.csv", "a.dek", "b.dek"].map(|name| folder.path(name));
    std::fs::write(&plain, "N1,3\nN2,\n").unwrap();
    for key in [&key, &other] {
        assert_eq!(concordat(&["keys", "dataset", key]).0, 0);
    }
    assert_eq!(
        concordat(&["dataset", "encrypt", &plain, &sealed, "--key", &key]).0,
        0
    );
    assert_eq!(
        refused(&["dataset", "decrypt", &sealed, &opened, "--key", &other]).0,
        2
    );
    assert!(
        !Path::new(&opened).exists(),
        "what does not authenticate is not left as a result"
    );
    assert_eq!(
        concordat(&["dataset", "decrypt", &sealed, &opened, "--key", &key]).0,
        0
    );
    assert_eq!(std::fs::read(&opened).unwrap(), std::fs::read(&plain).unwrap());
}

#[test]
fn host_data_depends_on_every_file_and_argument() {
    let folder = Folder::new();
    let [program, file] = ["program", "a.py"].map(|name| folder.path(name));
    std::fs::write(&program, "program").unwrap();
    let digest = |content: &str, argument: &str| {
        std::fs::write(&file, content).unwrap();
        let named = format!("a.py={file}");
        let arguments = [
            "policy",
            "host-data",
            "--role",
            "pod",
            "--program",
            &program,
            "--file",
            &named,
            "--arg",
            argument,
        ];
        let (exit_code, answer) = concordat(&arguments);
        assert_eq!(exit_code, 0);
        answer["hostData"].as_str().unwrap().to_owned()
    };
    let voted = digest("pass", "run");
    assert_eq!(digest("pass", "run"), voted);
    assert_ne!(digest("pass ", "run"), voted);
    assert_ne!(digest("pass", "probe"), voted);
}

#[test]
fn an_attester_is_not_replaced() {
    let folder = Folder::new();
    let dir = folder.path("attester");
    let (exit_code, made) = concordat(&["attester", "init", &dir]);
    assert_eq!(exit_code, 0);
    assert_eq!(concordat(&["attester", "root", &dir]).1, made);
    assert_eq!(refused(&["attester", "init", &dir]).0, 2);
}
