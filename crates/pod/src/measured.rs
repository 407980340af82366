//! What this pod is: its launch document, and private copies of the files that the document names.
//!
//! The files are copied before they are measured, into a directory that only this process's user
//! can open, and Spark runs the copies: what is attested is what runs. Files that lie beside them
//! but are not in the document are left behind. Source: "Who is who", decision 19.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use evidence::Measured;
use model::evidence::Role;
use workload::WorkloadError;

/// Name of the file that fixes Spark's packages.
const LOCK_FILE: &str = "requirements.lock";
/// Longest file of the job's directory, in bytes.
const FILE_SIZE_MAX: u64 = 4 * 1024 * 1024;

/// Why this process cannot show what it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The process is not what the launch document says, or cannot show it.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A file name of the document is a path.
    #[error("the launch document names the file {0:?}; names are single path parts")]
    FileName(String),
    /// A file cannot be copied.
    #[error("cannot copy {path} of the job: {source}")]
    Copy {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Reads the launch document and copies what it names from `job_dir` to `copies`. `started` is the
/// one argument that the document must fix.
///
/// # Errors
///
/// [`MeasureError`] if document, arguments or files cannot be used.
pub fn prepare(
    document: &Path,
    job_dir: &Path,
    copies: &Path,
    started: &'static str,
) -> Result<Measured, MeasureError> {
    let document = workload::document(document, Role::Pod, vec![started])?;
    let mut files = BTreeMap::new();
    for name in document.files.keys() {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
            return Err(MeasureError::FileName(name.clone()));
        }
        files.insert(name.clone(), copy(job_dir, copies, name)?);
    }
    let spark_lock = match &document.spark {
        Some(_) => Some(copy(job_dir, copies, LOCK_FILE)?),
        None => None,
    };
    Ok(Measured {
        document,
        files,
        spark_lock,
    })
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<PathBuf, MeasureError> {
    let path = from.join(name);
    let copied = to.join(name);
    let attempt = || {
        let mut bytes = Vec::new();
        File::open(&path)?
            .take(FILE_SIZE_MAX.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_SIZE_MAX {
            return Err(std::io::Error::other(format!(
                "longer than {FILE_SIZE_MAX} bytes"
            )));
        }
        std::fs::write(&copied, bytes)
    };
    attempt().map_err(|source| MeasureError::Copy {
        path: path.clone(),
        source,
    })?;
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(dir: &Path, role: Role, file: &str) -> PathBuf {
        let program = dir.join("program");
        std::fs::write(&program, "x").unwrap();
        let job = dir.join("job");
        std::fs::create_dir_all(&job).unwrap();
        std::fs::write(job.join("a.py"), "pass").unwrap();
        let files = [(file.to_owned(), job.join("a.py"))].into();
        let measured = Measured::measure(role, &program, files, vec!["run".to_owned()], None).unwrap();
        let path = dir.join("launch.json");
        measured.document.write(&path).unwrap();
        path
    }

    fn prepared(role: Role, file: &str, started: &'static str) -> Result<Measured, MeasureError> {
        let dir = tempfile::tempdir().unwrap();
        let copies = tempfile::tempdir().unwrap();
        let document = document(dir.path(), role, file);
        prepare(&document, &dir.path().join("job"), copies.path(), started)
    }

    #[test]
    fn named_files_are_copied() {
        let measured = prepared(Role::Pod, "a.py", "run").unwrap();
        assert_eq!(measured.files.len(), 1);
    }

    #[test]
    fn other_roles_arguments_and_paths_are_refused() {
        assert!(matches!(
            prepared(Role::Launcher, "a.py", "run"),
            Err(MeasureError::Workload(WorkloadError::Role(Role::Pod)))
        ));
        assert!(matches!(
            prepared(Role::Pod, "a.py", "probe"),
            Err(MeasureError::Workload(WorkloadError::Arguments { .. }))
        ));
        assert!(matches!(
            prepared(Role::Pod, "../a.py", "run"),
            Err(MeasureError::FileName(_))
        ));
        assert!(matches!(
            prepared(Role::Pod, "b.py", "run"),
            Err(MeasureError::Copy { .. })
        ));
    }

    #[test]
    fn a_file_of_the_most_bytes_is_copied_and_a_longer_one_is_not() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let of_size = |size: u64| {
            let file = File::create(from.path().join("a.py")).unwrap();
            file.set_len(size).unwrap();
            copy(from.path(), to.path(), "a.py")
        };
        let copied = of_size(FILE_SIZE_MAX).unwrap();
        assert_eq!(copied.metadata().unwrap().len(), FILE_SIZE_MAX);
        let Err(MeasureError::Copy { source, .. }) = of_size(FILE_SIZE_MAX + 1) else {
            panic!("it was copied");
        };
        assert_eq!(source.to_string(), "longer than 4194304 bytes");
    }
}
