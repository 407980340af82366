//! Runs a pod as a child on this machine: the embedded default.
//!
//! The pod, not the launcher, starts Spark: keys, plaintext and the run capability stay on the pod's
//! side. The child gets a cleared environment and ordinary arguments (contract, run, address), and
//! reports one JSON event per line. It is killed when the run takes too long or is dropped.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use cleanroom_model::analytics::{FailureCode, JobEvent};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Longest line of an event, in bytes.
pub(crate) const EVENT_LEN_MAX: u64 = 16 * 1024;
/// Most events of one run.
const EVENT_COUNT_MAX: usize = 10_000;

/// Why nothing is known of a run's end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The program could not be started.
    #[error("pod program {program} cannot be started")]
    Start {
        /// The program.
        program: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Talking to the child failed.
    #[error("talking to the pod failed")]
    Io(#[from] std::io::Error),
}

/// A pod program and how to run it.
#[derive(Clone, Debug)]
pub struct LocalPod {
    /// The `concordat-pod` executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its working directory.
    pub work_dir: PathBuf,
    /// The whole run must end within this time.
    pub timeout: Duration,
}

impl LocalPod {
    /// Runs the pod to its end; `on_event` sees every event. Gives the event that ended the run:
    /// the pod's last one, or one made here if the pod took too long or died without a word.
    ///
    /// # Errors
    ///
    /// If the pod cannot be started or its pipe fails.
    pub async fn run(&self, mut on_event: impl FnMut(&JobEvent)) -> Result<JobEvent, LocalError> {
        let mut child = self.spawn()?;
        let ended = tokio::time::timeout(self.timeout, follow(&mut child, &mut on_event)).await;
        match ended {
            Ok(last) => last,
            Err(_) => {
                child.kill().await?;
                Ok(JobEvent::failed(
                    FailureCode::Timeout,
                    "the run took longer than permitted",
                ))
            }
        }
    }

    fn spawn(&self) -> Result<Child, LocalError> {
        Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .current_dir(&self.work_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| LocalError::Start {
                program: self.program.clone(),
                source,
            })
    }
}

async fn follow(child: &mut Child, on_event: &mut impl FnMut(&JobEvent)) -> Result<JobEvent, LocalError> {
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| std::io::Error::other("the pod has no output"))?;
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
            let success = child.wait().await?.success();
            return Ok(verdict(last, success));
        }
        if count == EVENT_COUNT_MAX {
            break;
        }
        let Ok(event) = serde_json::from_slice::<JobEvent>(&line) else {
            child.kill().await?;
            return Ok(JobEvent::failed(
                FailureCode::SparkJobFailed,
                "the pod wrote something that is no event",
            ));
        };
        on_event(&event);
        last = Some(event);
    }
    child.kill().await?;
    Ok(JobEvent::failed(
        FailureCode::SparkJobFailed,
        "the pod reports too many events",
    ))
}

/// A good end needs both: the event that says so and the exit status.
fn verdict(last: Option<JobEvent>, success: bool) -> JobEvent {
    match last {
        Some(event) if event.code.is_some() => event,
        Some(event) if success && event.ended_well() => event,
        _ => JobEvent::failed(FailureCode::SparkJobFailed, "the pod ended without a result"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a shell in place of the pod: what matters here is how a child is run.
    async fn run(script: &str, timeout_ms: u64) -> (JobEvent, Vec<String>) {
        let pod = LocalPod {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            work_dir: std::env::temp_dir(),
            timeout: Duration::from_millis(timeout_ms),
        };
        let mut seen = Vec::new();
        let last = pod.run(|event| seen.push(event.event.clone())).await.unwrap();
        (last, seen)
    }

    const LONG_MS: u64 = 60_000;
    const DONE: &str = r#"echo '{"event":"QUERY_EXECUTION_COMPLETED","rows":2}'"#;

    #[tokio::test]
    async fn a_run_is_good_only_with_the_final_event_and_a_clean_exit() {
        let (last, seen) = run(&format!(r#"echo '{{"event":"A","view":"v"}}'; {DONE}"#), LONG_MS).await;
        assert_eq!(
            (last.ended_well(), seen),
            (true, vec!["A".into(), "QUERY_EXECUTION_COMPLETED".into()])
        );
        for script in [
            &format!("{DONE}; exit 3"),
            "exit 0",
            r#"echo '{"event":"A"}'"#,
            "echo hello; exec cat /dev/zero",
        ] {
            assert_eq!(
                run(script, LONG_MS).await.0.code,
                Some(FailureCode::SparkJobFailed),
                "{script}"
            );
        }
        let refused = r#"echo '{"event":"X","code":"K_MIN_NOT_MET","message":"m"}'; exit 1"#;
        assert_eq!(run(refused, LONG_MS).await.0.code, Some(FailureCode::KMinNotMet));
    }

    #[tokio::test]
    async fn a_run_that_hangs_is_ended() {
        assert_eq!(
            run("exec tail -f /dev/null", 50).await.0.code,
            Some(FailureCode::Timeout)
        );
    }

    #[tokio::test]
    async fn the_child_inherits_nothing_from_the_environment() {
        let script = r#"for name in $(env | cut -d= -f1); do echo "{\"event\":\"$name\"}"; done"#;
        let (_, mut names) = run(script, LONG_MS).await;
        names.retain(|name| !["PWD", "_", "SHLVL", "OLDPWD"].contains(&name.as_str()));
        names.sort();
        assert_eq!(names, ["LANG", "PATH"]);
    }

    /// A pod that writes what lies in a file.
    async fn told(events: &str) -> (JobEvent, usize) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, events).unwrap();
        let (last, seen) = run(&format!("cat {}", file.path().display()), LONG_MS).await;
        (last, seen.len())
    }

    #[tokio::test]
    async fn a_pod_reports_the_most_events_and_not_one_more() {
        let event = "{\"event\":\"A\"}\n";
        let done = "{\"event\":\"QUERY_EXECUTION_COMPLETED\",\"rows\":2}\n";
        let (last, count) = told(&format!("{}{done}", event.repeat(EVENT_COUNT_MAX - 1))).await;
        assert_eq!((last.ended_well(), count), (true, EVENT_COUNT_MAX));
        let (last, count) = told(&format!("{}{done}", event.repeat(EVENT_COUNT_MAX))).await;
        assert_eq!((last.ended_well(), count), (false, EVENT_COUNT_MAX));
        assert!(last.message.unwrap().contains("too many events"));
    }

    #[tokio::test]
    async fn an_event_of_the_most_bytes_is_read_and_a_longer_one_is_none() {
        let done = "{\"event\":\"QUERY_EXECUTION_COMPLETED\",\"rows\":2}";
        let longest = usize::try_from(EVENT_LEN_MAX).unwrap();
        let of_len = |len: usize| format!("{done:width$}\n", width = len - 1);
        assert!(told(&of_len(longest)).await.0.ended_well());
        let (last, _) = told(&of_len(longest + 1)).await;
        assert!(last.message.unwrap().contains("no event"));
    }
}
