//! Takes jobs from the queue, one at a time, has each admitted, and has a pod carry it out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cleanroom_model::analytics::{FailureCode, JobEvent};
use cleanroom_model::{ContractId, RunId};
use tokio::sync::mpsc;

use crate::admission;
use crate::backends::local::LocalPod;
use crate::jobs::{Jobs, Waiting};
use crate::ledger::Ledger;

/// How pods are started. Nothing here decides what a pod may read: that is its launch document's
/// and the run record's matter.
#[derive(Clone, Debug)]
pub struct PodSettings {
    /// The `concordat-pod` executable.
    pub program: PathBuf,
    /// Address of the ledger.
    pub address: String,
    /// File with the service certificate.
    pub service_cert: PathBuf,
    /// The contract.
    pub contract: ContractId,
    /// The pod's launch document.
    pub launch_document: PathBuf,
    /// The software attester; the SNP guest device if absent.
    pub attester: Option<PathBuf>,
    /// The job's fixed files.
    pub job_dir: PathBuf,
    /// Spark's virtual environment.
    pub spark_venv: PathBuf,
    /// Where working directories are made.
    pub work_dir: PathBuf,
    /// Longest run.
    pub timeout: Duration,
}

impl PodSettings {
    fn arguments(&self, run: &RunId) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["run".into()];
        let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        option("--address", self.address.clone().into());
        option("--service-cert", self.service_cert.clone().into());
        option("--contract", self.contract.to_string().into());
        option("--run", run.to_string().into());
        option("--launch-document", self.launch_document.clone().into());
        option("--job-dir", self.job_dir.clone().into());
        option("--spark-venv", self.spark_venv.clone().into());
        option("--work-dir", self.work_dir.clone().into());
        option("--timeout-s", self.timeout.as_secs().to_string().into());
        match &self.attester {
            Some(dir) => option("--attester", dir.clone().into()),
            None => arguments.push("--sev-guest".into()),
        }
        arguments
    }
}

/// Works until the queue's sender is gone.
pub async fn work(
    settings: PodSettings,
    ledger: Arc<Ledger>,
    jobs: Arc<Jobs>,
    mut queue: mpsc::Receiver<Waiting>,
) {
    while let Some(Waiting { run, asker }) = queue.recv().await {
        let Some(job) = jobs.get(&run) else { continue };
        let verdict = admission::admit(&ledger, &job.query_id, &run).await;
        match &verdict {
            Ok(()) => jobs.started(&run),
            Err(refusal) => {
                tracing::info!(%run, code = %refusal.code, "not admitted");
                jobs.refused(&run, refusal, unix_now_ms());
            }
        }
        let is_admitted = verdict.is_ok();
        if let Some(asker) = asker {
            // Who asked may have gone.
            let _ = asker.send(verdict);
        }
        if is_admitted {
            carry_out(&settings, &jobs, &run).await;
        }
    }
}

async fn carry_out(settings: &PodSettings, jobs: &Jobs, run: &RunId) {
    tracing::info!(%run, "pod started");
    let pod = LocalPod {
        program: settings.program.clone(),
        arguments: settings.arguments(run),
        work_dir: settings.work_dir.clone(),
        // The pod ends in good order by its own clock; this one is for pods that hang.
        timeout: settings.timeout.saturating_add(Duration::from_secs(60)),
    };
    let last = match pod.run(|event| jobs.progressed(run, event)).await {
        Ok(last) => last,
        Err(error) => {
            tracing::error!(%run, %error, "pod failed");
            JobEvent::failed(FailureCode::SparkJobFailed, &error.to_string())
        }
    };
    jobs.ended(run, &last, unix_now_ms());
    tracing::info!(%run, code = ?last.code, "pod ended");
}

/// Unix milliseconds, for records that people read.
#[must_use]
pub fn unix_now_ms() -> u64 {
    client::governance::unix_now_s().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_where_and_which_run_and_nothing_about_the_query() {
        let settings = PodSettings {
            program: "pod".into(),
            address: "https://127.0.0.1:1".to_owned(),
            service_cert: "s.pem".into(),
            contract: "c".parse().unwrap(),
            launch_document: "l.json".into(),
            attester: None,
            job_dir: "job".into(),
            spark_venv: "venv".into(),
            work_dir: "work".into(),
            timeout: Duration::from_secs(60),
        };
        let arguments = settings.arguments(&"r".parse().unwrap());
        assert_eq!(arguments.first(), Some(&OsString::from("run")));
        assert_eq!(arguments.last(), Some(&OsString::from("--sev-guest")));
        assert_eq!(arguments.len(), 1 + 9 * 2 + 1);
    }
}
