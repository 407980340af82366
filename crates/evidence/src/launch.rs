//! The launch document: what was started, in a form whose digest members can vote for.
//!
//! Its digest stands in evidence as host data. It names no path, port, run or query, so it is
//! known before any of them exists, and owners recompute it offline. Source: "Who is who".

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use model::Digest;
use model::evidence::Role;
use serde::{Deserialize, Serialize};

use crate::files;

/// Longest launch document read, in bytes.
pub const DOCUMENT_SIZE_MAX: u64 = 256 * 1024;

/// The format's name and version.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ApiVersion {
    /// The first.
    #[serde(rename = "concordat/launch/v1")]
    V1,
}

/// An executable, by content.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// SHA-256 of the file.
    pub sha256: Digest,
}

/// The Spark distribution, by the lock file that it is installed from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Spark {
    /// SHA-256 of the lock file.
    #[serde(rename = "lockSha256")]
    pub lock_sha256: Digest,
}

/// What was launched, by content.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchDocument {
    /// The format.
    #[serde(rename = "apiVersion")]
    pub api_version: ApiVersion,
    /// What the program may ask of the ledger.
    pub role: Role,
    /// The running executable.
    pub program: Program,
    /// Files that the program reads as code, by name.
    pub files: BTreeMap<String, Digest>,
    /// Arguments that are the same in every run.
    pub args: Vec<String>,
    /// Absent where no Spark is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spark: Option<Spark>,
}

/// A launch document, and where on this machine the parts are that it names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Measured {
    /// The document.
    pub document: LaunchDocument,
    /// Path of each of the document's files, by name.
    pub files: BTreeMap<String, PathBuf>,
    /// Path of the Spark lock file, if the document has one.
    pub spark_lock: Option<PathBuf>,
}

/// A launch document could not be made, read or confirmed.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A file cannot be read or written.
    #[error("launch document: {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The text is no launch document.
    #[error("launch document {path} is malformed")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The text is longer than any launch document.
    #[error("launch document {0} is longer than {DOCUMENT_SIZE_MAX} bytes")]
    TooLong(PathBuf),
    /// A part is not the one that the document names.
    #[error("{part} has drifted from the launch document: expected sha256 {expected}, got {got}")]
    Drifted {
        /// The program, a file, or the Spark lock file.
        part: String,
        /// Digest in the document.
        expected: Digest,
        /// Digest of what is there.
        got: Digest,
    },
    /// Document and paths name different parts.
    #[error("launch document and files at hand differ in '{0}'")]
    PartsDiffer(String),
}

impl LaunchDocument {
    /// Canonical JSON: members sorted by name, no blanks.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        // A JSON value keeps its members sorted; a struct would keep the order of its fields.
        let value = serde_json::to_value(self).expect("every member of the document has a JSON form");
        value.to_string()
    }

    /// SHA-256 of the canonical JSON: the host data of evidence.
    #[must_use]
    pub fn digest(&self) -> Digest {
        crypto::sha256(self.canonical_json().as_bytes())
    }

    /// Writes the canonical JSON to `path`.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), LaunchError> {
        std::fs::write(path, self.canonical_json()).map_err(|source| io_error(path, source))
    }

    /// Reads a document from `path`. Members that it does not know are refused: whoever wrote
    /// them counted on something.
    ///
    /// # Errors
    ///
    /// [`LaunchError`] if the file cannot be read or is no launch document.
    pub fn read(path: &Path) -> Result<Self, LaunchError> {
        let text = files::read(path, DOCUMENT_SIZE_MAX)
            .map_err(|source| io_error(path, source))?
            .ok_or_else(|| LaunchError::TooLong(path.to_owned()))?;
        serde_json::from_slice(&text).map_err(|source| LaunchError::Malformed {
            path: path.to_owned(),
            source,
        })
    }
}

impl Measured {
    /// Measures a program and the files that belong to it.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Io`] if one of them cannot be read.
    pub fn measure(
        role: Role,
        program: &Path,
        files: BTreeMap<String, PathBuf>,
        args: Vec<String>,
        spark_lock: Option<PathBuf>,
    ) -> Result<Self, LaunchError> {
        let digests = files
            .iter()
            .map(|(name, path)| Ok((name.clone(), file_digest(path)?)))
            .collect::<Result<_, LaunchError>>()?;
        let spark = spark_lock
            .as_deref()
            .map(|path| file_digest(path).map(|lock_sha256| Spark { lock_sha256 }))
            .transpose()?;
        let document = LaunchDocument {
            api_version: ApiVersion::V1,
            role,
            program: Program {
                sha256: file_digest(program)?,
            },
            files: digests,
            args,
            spark,
        };
        Ok(Self {
            document,
            files,
            spark_lock,
        })
    }

    /// Confirms that `program` (a digest) and the files are still what the document says.
    ///
    /// # Errors
    ///
    /// [`LaunchError`] naming the first part that differs or cannot be read.
    pub(crate) fn check(&self, program: Digest) -> Result<(), LaunchError> {
        compare("program", self.document.program.sha256, program)?;
        if let Some(name) = self
            .files
            .keys()
            .find(|name| !self.document.files.contains_key(*name))
        {
            return Err(LaunchError::PartsDiffer(name.clone()));
        }
        for (name, expected) in &self.document.files {
            let path = self
                .files
                .get(name)
                .ok_or_else(|| LaunchError::PartsDiffer(name.clone()))?;
            compare(&format!("file '{name}'"), *expected, file_digest(path)?)?;
        }
        match (&self.document.spark, &self.spark_lock) {
            (None, None) => Ok(()),
            (Some(spark), Some(path)) => compare("Spark lock file", spark.lock_sha256, file_digest(path)?),
            _ => Err(LaunchError::PartsDiffer("spark".to_owned())),
        }
    }
}

/// SHA-256 of a file's content.
///
/// # Errors
///
/// [`LaunchError::Io`].
pub fn file_digest(path: &Path) -> Result<Digest, LaunchError> {
    let mut file = File::open(path).map_err(|source| io_error(path, source))?;
    crypto::sha256_read(&mut file).map_err(|source| io_error(path, source))
}

fn compare(part: &str, expected: Digest, got: Digest) -> Result<(), LaunchError> {
    if expected == got {
        Ok(())
    } else {
        Err(LaunchError::Drifted {
            part: part.to_owned(),
            expected,
            got,
        })
    }
}

fn io_error(path: &Path, source: io::Error) -> LaunchError {
    LaunchError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> LaunchDocument {
        LaunchDocument {
            api_version: ApiVersion::V1,
            role: Role::Pod,
            program: Program {
                sha256: Digest([1; 32]),
            },
            files: [
                ("b.py".to_owned(), Digest([2; 32])),
                ("a.py".to_owned(), Digest([3; 32])),
            ]
            .into(),
            args: vec!["--back-end=local".to_owned()],
            spark: Some(Spark {
                lock_sha256: Digest([4; 32]),
            }),
        }
    }

    #[test]
    fn a_document_of_the_most_bytes_is_read_and_one_more_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("launch.json");
        let of_size = |size: u64| {
            let mut text = document().canonical_json().into_bytes();
            text.resize(usize::try_from(size).unwrap(), b' ');
            std::fs::write(&path, text).unwrap();
            LaunchDocument::read(&path)
        };
        assert_eq!(of_size(DOCUMENT_SIZE_MAX).unwrap(), document());
        let refused = of_size(DOCUMENT_SIZE_MAX + 1).unwrap_err();
        assert!(matches!(refused, LaunchError::TooLong(_)), "{refused}");
    }

    #[test]
    fn a_file_without_an_end_is_not_read_for_ever() {
        let refused = LaunchDocument::read(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(refused, LaunchError::TooLong(_)), "{refused}");
    }

    #[test]
    fn canonical_json_is_sorted_and_has_no_blanks() {
        let digest = |byte: &str| byte.repeat(32);
        let expected = format!(
            concat!(
                r#"{{"apiVersion":"concordat/launch/v1","args":["--back-end=local"],"#,
                r#""files":{{"a.py":"{}","b.py":"{}"}},"program":{{"sha256":"{}"}},"#,
                r#""role":"pod","spark":{{"lockSha256":"{}"}}}}"#
            ),
            digest("03"),
            digest("02"),
            digest("01"),
            digest("04"),
        );
        assert_eq!(document().canonical_json(), expected);
        assert_eq!(document().digest(), crypto::sha256(expected.as_bytes()));
    }

    #[test]
    fn a_document_without_spark_does_not_mention_it() {
        let launcher = LaunchDocument {
            role: Role::Launcher,
            spark: None,
            ..document()
        };
        assert!(!launcher.canonical_json().contains("spark"));
    }

    #[test]
    fn what_was_written_is_read_back_and_unknown_members_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("launch.json");
        document().write(&path).unwrap();
        assert_eq!(LaunchDocument::read(&path).unwrap(), document());
        let more = document().canonical_json().replacen('{', r#"{"runId":"r1","#, 1);
        std::fs::write(&path, more).unwrap();
        assert!(matches!(
            LaunchDocument::read(&path),
            Err(LaunchError::Malformed { .. })
        ));
        let newer = document().canonical_json().replace("launch/v1", "launch/v2");
        std::fs::write(&path, newer).unwrap();
        assert!(matches!(
            LaunchDocument::read(&path),
            Err(LaunchError::Malformed { .. })
        ));
    }

    #[test]
    fn every_part_that_drifts_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["program", "job.py", "requirements.lock"] {
            std::fs::write(path(name), name).unwrap();
        }
        let files: BTreeMap<String, PathBuf> = [("job.py".to_owned(), path("job.py"))].into();
        let lock = Some(path("requirements.lock"));
        let measured = Measured::measure(Role::Pod, &path("program"), files, Vec::new(), lock).unwrap();
        let program = file_digest(&path("program")).unwrap();
        assert!(measured.check(program).is_ok());
        assert!(
            matches!(measured.check(Digest::ZERO), Err(LaunchError::Drifted { part, .. }) if part == "program")
        );
        for (name, part) in [
            ("job.py", "file 'job.py'"),
            ("requirements.lock", "Spark lock file"),
        ] {
            std::fs::write(path(name), "altered").unwrap();
            let drifted = measured.check(program);
            assert!(
                matches!(drifted, Err(LaunchError::Drifted { part: got, .. }) if got == part),
                "{name}"
            );
            std::fs::write(path(name), name).unwrap();
        }
        let mut more = measured.clone();
        more.files.insert("extra.py".to_owned(), path("job.py"));
        assert!(matches!(more.check(program), Err(LaunchError::PartsDiffer(name)) if name == "extra.py"));
        let mut fewer = measured;
        fewer.files.clear();
        assert!(matches!(fewer.check(program), Err(LaunchError::PartsDiffer(name)) if name == "job.py"));
    }
}
