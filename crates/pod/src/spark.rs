//! Runs Spark as a child with nothing but its job: a cleared environment, a working directory that
//! is removed afterwards, the specification on standard input.
//!
//! The driver is started as a Python program. PySpark then calls its own `spark-submit`, whose
//! arguments the program sets. Starting `spark-submit` ourselves would put a Java process between
//! us and the program, and that process does not pass standard input on.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::job::{FailureCode, JobEvent, JobSpec};

/// Longest line of an event, in bytes.
const EVENT_LEN_MAX: u64 = 16 * 1024;
/// Most events of one run.
const EVENT_COUNT_MAX: usize = 10_000;
/// How much of Spark's own messages is kept when diagnostics are on, in bytes.
const DIAGNOSTICS_LEN_MAX: usize = 16 * 1024;

/// Why Spark gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SparkError {
    /// It could not be started.
    #[error("spark cannot be started from {venv}: install the locked packages there first")]
    Start {
        /// The virtual environment that was tried.
        venv: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Talking to the child failed.
    #[error("talking to spark failed")]
    Io(#[from] std::io::Error),
    /// The job ended badly.
    #[error("spark job failed: {message}")]
    Job {
        /// The class of failure.
        code: FailureCode,
        /// For people; without data values.
        message: String,
        /// Spark's last messages, capability struck out. Only with [`Spark::diagnostics`]; they may
        /// quote data values.
        diagnostics: Option<String>,
    },
}

impl SparkError {
    /// The class of failure to report.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Job { code, .. } => *code,
            _ => FailureCode::SparkJobFailed,
        }
    }
}

/// How Spark is run.
#[derive(Clone, Debug)]
pub struct Spark {
    /// A Python virtual environment made from `requirements.lock`.
    pub venv: PathBuf,
    /// The directory of the fixed program, with `run_query.py` in it.
    pub program: PathBuf,
    /// Where the working directory is made.
    pub work_root: PathBuf,
    /// The Java installation; looked up on the system path if absent.
    pub java_home: Option<PathBuf>,
    /// Worker threads, the N of `local[N]`.
    pub thread_count: u32,
    /// Heap of the Java process in mebibytes.
    pub driver_memory_mib: u32,
    /// The whole run must end within this time.
    pub timeout: Duration,
    /// Keep Spark's own messages for an error. Development only: they may quote data values.
    pub diagnostics: bool,
}

/// What a successful job reports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JobResult {
    /// Rows of all inputs.
    pub rows_read: u64,
    /// Rows of the result.
    pub rows_written: u64,
}

impl Spark {
    /// Runs a job to its end; `on_event` sees each step. `secret` is struck from diagnostics.
    ///
    /// # Errors
    ///
    /// If Spark cannot be started, fails, or takes too long. The child is gone in every case.
    pub async fn run(
        &self,
        spec: &JobSpec,
        secret: &str,
        mut on_event: impl FnMut(&JobEvent),
    ) -> Result<JobResult, SparkError> {
        let work = tempfile::Builder::new()
            .prefix("spark-")
            .tempdir_in(&self.work_root)?;
        let mut child = self.spawn(work.path())?;
        let conversation = converse(&mut child, spec, &mut on_event);
        let outcome = tokio::time::timeout(self.timeout, conversation).await;
        let ended = match outcome {
            Ok(ended) => ended,
            Err(_) => {
                // The Java process ends by itself when its parent's pipe closes.
                child.kill().await?;
                return Err(failed(
                    FailureCode::Timeout,
                    "the run took longer than permitted",
                    None,
                ));
            }
        };
        let (status, last, messages) = ended?;
        let diagnostics = self.diagnostics.then(|| messages.replace(secret, "[capability]"));
        judge(status, last, diagnostics)
    }

    fn spawn(&self, work: &std::path::Path) -> Result<Child, SparkError> {
        let mut path = OsString::from(self.venv.join("bin"));
        path.push(":/usr/local/bin:/usr/bin:/bin");
        let mut command = Command::new(self.venv.join("bin/python"));
        command
            // Isolated from the user's Python settings, and nothing is written beside the program.
            .args(["-I", "-B"])
            .arg(self.program.join("run_query.py"))
            .env_clear()
            .env("PATH", path)
            .env("LANG", "C.UTF-8")
            .env("HOME", work)
            .env("TMPDIR", work)
            .env("PYSPARK_PYTHON", self.venv.join("bin/python"))
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            .env("CONCORDAT_SPARK_WORK", work)
            .env("CONCORDAT_SPARK_THREADS", self.thread_count.to_string())
            .env("CONCORDAT_SPARK_MEMORY", format!("{}m", self.driver_memory_mib))
            .current_dir(work)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(java_home) = &self.java_home {
            command.env("JAVA_HOME", java_home);
        }
        command.spawn().map_err(|source| SparkError::Start {
            venv: self.venv.clone(),
            source,
        })
    }
}

/// Sends the specification, reads events until the child ends. Gives status, last event, messages.
async fn converse(
    child: &mut Child,
    spec: &JobSpec,
    on_event: &mut impl FnMut(&JobEvent),
) -> Result<(ExitStatus, Option<JobEvent>, String), SparkError> {
    let missing = || std::io::Error::other("a pipe to the child is missing");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let spec = spec.to_bytes();
    let send = async {
        // A child that dies early closes the pipe; its exit status says more than that error.
        let sent = stdin.write_all(&spec).await;
        drop(stdin);
        if let Err(error) = sent {
            tracing::debug!(%error, "spark did not read its job");
        }
    };
    let ((), last, messages) = tokio::join!(send, events(stdout, on_event), tail(stderr));
    Ok((child.wait().await?, last?, messages?))
}

async fn events(
    stdout: impl AsyncRead + Unpin,
    on_event: &mut impl FnMut(&JobEvent),
) -> Result<Option<JobEvent>, SparkError> {
    let mut reader = BufReader::new(stdout);
    let mut last = None;
    // One line more is read than there may be events: it is the end, or one too many.
    for count in 0..=EVENT_COUNT_MAX {
        let mut line = Vec::new();
        if (&mut reader)
            .take(EVENT_LEN_MAX)
            .read_until(b'\n', &mut line)
            .await?
            == 0
        {
            return Ok(last);
        }
        if count == EVENT_COUNT_MAX {
            break;
        }
        let Ok(event) = serde_json::from_slice::<JobEvent>(&line) else {
            return Err(failed(
                FailureCode::SparkJobFailed,
                "the job wrote something that is no event",
                None,
            ));
        };
        on_event(&event);
        last = Some(event);
    }
    Err(failed(
        FailureCode::SparkJobFailed,
        "the job reports too many events",
        None,
    ))
}

/// Reads everything, keeps the end.
async fn tail(mut stderr: impl AsyncRead + Unpin) -> Result<String, SparkError> {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let len = stderr.read(&mut chunk).await?;
        let Some(read) = chunk.get(..len).filter(|read| !read.is_empty()) else {
            break;
        };
        kept.extend_from_slice(read);
        let excess = kept.len().saturating_sub(DIAGNOSTICS_LEN_MAX);
        kept.drain(..excess);
    }
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

fn judge(
    status: ExitStatus,
    last: Option<JobEvent>,
    diagnostics: Option<String>,
) -> Result<JobResult, SparkError> {
    if let Some(JobEvent {
        code: Some(code),
        message,
        ..
    }) = last
    {
        return Err(failed(code, &message.unwrap_or_default(), diagnostics));
    }
    match last.as_ref().and_then(JobEvent::success) {
        Some((rows_read, rows_written)) if status.success() => Ok(JobResult {
            rows_read,
            rows_written,
        }),
        _ => Err(failed(
            FailureCode::SparkJobFailed,
            "the job ended without a result",
            diagnostics,
        )),
    }
}

fn failed(code: FailureCode, message: &str, diagnostics: Option<String>) -> SparkError {
    SparkError::Job {
        code,
        message: message.to_owned(),
        diagnostics,
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;

    const EVENT: &str = "{\"event\":\"x\"}\n";

    async fn count(lines: &str) -> Result<usize, String> {
        let mut seen = 0;
        let read = events(lines.as_bytes(), &mut |_| seen += 1).await;
        read.map(|_| seen).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_run_reports_the_most_events_and_not_one_more() {
        let most = EVENT.repeat(EVENT_COUNT_MAX);
        assert_eq!(count(&most).await, Ok(EVENT_COUNT_MAX));
        let refused = count(&format!("{most}{EVENT}")).await.unwrap_err();
        assert!(refused.contains("too many events"), "{refused}");
    }

    #[tokio::test]
    async fn an_event_of_the_most_bytes_is_read_and_a_longer_one_is_none() {
        let longest = usize::try_from(EVENT_LEN_MAX).unwrap();
        let of_len = |len: usize| format!("{:len$}\n", EVENT.trim_end(), len = len - 1);
        assert_eq!(count(&of_len(longest)).await, Ok(1));
        let refused = count(&of_len(longest + 1)).await.unwrap_err();
        assert!(refused.contains("no event"), "{refused}");
    }

    #[tokio::test]
    async fn the_end_of_the_messages_is_kept_and_no_more_than_the_most() {
        let most = "m".repeat(DIAGNOSTICS_LEN_MAX);
        assert_eq!(tail(most.as_bytes()).await.unwrap(), most);
        let more = format!("x{most}");
        assert_eq!(tail(more.as_bytes()).await.unwrap(), most);
    }
}
