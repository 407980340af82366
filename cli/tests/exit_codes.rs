//! What programs rely on: exit codes, and with `--json` one document on standard output.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as JsonValue;

/// Runs `concordat --json` and gives exit code and document.
fn concordat(arguments: &[&str]) -> (i32, JsonValue) {
    let output = Command::new(env!("CARGO_BIN_EXE_concordat"))
        .env_clear()
        .env("CONCORDAT_CONFIG_DIR", env!("CARGO_TARGET_TMPDIR"))
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
fn arguments_that_nobody_knows_are_told_to_programs_too() {
    for arguments in [
        &["service", "close"][..],
        &["member", "list", "--color"],
        &["receipt", "get", "not-a-transaction"],
        &["contract"],
    ] {
        assert_eq!(refused(arguments), (2, "Usage".to_owned()), "{arguments:?}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_concordat"))
        .args(["--json", "--help"])
        .output()
        .unwrap();
    assert!(help.status.success(), "help is an answer");
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
    let failed = (5, "VerificationFailed".to_owned());
    assert_eq!(
        refused(&["dataset", "decrypt", &sealed, &opened, "--key", &other]),
        failed
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

    // Magic, block size, file id, nonce, ciphertext, tag; and a byte less.
    let genuine = std::fs::read(&sealed).unwrap();
    let flipped = [0, 5, 10, 30, 39, genuine.len() - 1].map(|at| {
        let mut bytes = genuine.clone();
        bytes[at] ^= 0x40;
        bytes
    });
    let spoiled = folder.path("spoiled.csv");
    for bytes in flipped
        .iter()
        .map(Vec::as_slice)
        .chain([&genuine[..genuine.len() - 1]])
    {
        std::fs::write(&spoiled, bytes).unwrap();
        assert_eq!(
            refused(&["dataset", "decrypt", &spoiled, &opened, "--key", &key]),
            failed
        );
    }
    let missing = folder.path("missing.csv");
    assert_eq!(
        refused(&["dataset", "decrypt", &missing, &opened, "--key", &key]).0,
        2
    );
}

#[test]
fn keys_are_not_replaced_and_secrets_are_their_owners() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    let (out, dek) = (folder.path(""), folder.path("a.dek"));
    let make = [
        &["keys", "member", "ann", "--out", &out][..],
        &["keys", "user", "bob", "--out", &out],
        &["keys", "dataset", &dek],
    ];
    for arguments in make {
        assert_eq!(concordat(arguments).0, 0);
    }
    let state = || {
        let mut files: Vec<_> = std::fs::read_dir(&out)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                (path.clone(), std::fs::read(path).unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let before = state();
    assert_eq!(before.len(), 7);
    for (path, _) in &before {
        let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let secret = path.ends_with("a.dek") || path.to_str().unwrap().ends_with("privk.pem");
        assert!(!secret || mode == 0o600, "{path:?} {mode:o}");
    }
    for arguments in make {
        assert_eq!(refused(arguments), (2, "Usage".to_owned()));
    }
    // The member's encryption key is in the way: nothing of the new member is left.
    for name in ["ann_privk.pem", "ann_cert.pem"] {
        std::fs::remove_file(folder.path(name)).unwrap();
    }
    assert_eq!(refused(make[0]).0, 2);
    let left: Vec<_> = before
        .into_iter()
        .filter(|(path, _)| !path.ends_with("ann_privk.pem") && !path.ends_with("ann_cert.pem"))
        .collect();
    assert_eq!(state(), left);
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
