//! Jobs: one record per run id on disk, one running at a time, a bounded queue behind it.
//!
//! A run id that is known is answered from its record, also after a restart. A job that was waiting
//! when the launcher stopped is queued again; one that was running is not: nobody knows how far it
//! came, and a new run needs a new admission. A job that waits is not admitted yet: the life of its
//! permissions begins when its turn has come, and whoever ends the run before ends it for good.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cleanroom_model::analytics::{FailureCode, JobEvent};
use cleanroom_model::{DocumentId, RunId};
use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json};
use tokio::sync::{mpsc, oneshot};

use crate::backends::local::EVENT_LEN_MAX;
use crate::refusal::Refusal;

/// Most jobs that wait.
const QUEUE_LEN_MAX: usize = 64;
/// Most steps kept of one job.
const EVENT_COUNT_MAX: usize = 256;
/// Most runs shown of one query, as the reference does.
const HISTORY_LEN_MAX: usize = 20;
/// Longest record read at start, in bytes.
const RECORD_SIZE_MAX: u64 = 8 * 1024 * 1024;

// All steps at their longest, the last one, and the rest of the record.
const _: () = assert!((EVENT_COUNT_MAX as u64 + 2) * EVENT_LEN_MAX <= RECORD_SIZE_MAX);

/// Where a job stands (spark-analytics §7).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    /// Waiting.
    Submitted,
    /// Its pod is at work.
    Running,
    /// The result is visible.
    Completed,
    /// There is no result.
    Failed,
}

/// A job's record.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// The run.
    pub run_id: RunId,
    /// The query.
    pub query_id: DocumentId,
    /// Where it stands.
    pub state: JobState,
    /// Unix milliseconds.
    pub submitted_on: u64,
    /// Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_on: Option<u64>,
    /// Why there is no pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// What its pod reported.
    #[serde(default)]
    pub events: Vec<JobEvent>,
}

/// How a run was refused; why, its people read on the ledger.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// Machine-readable code.
    pub code: String,
}

/// Whether a job's run may be started, and if not, why.
pub type Verdict = Result<(), Refusal>;

/// A job in the queue.
#[derive(Debug)]
pub struct Waiting {
    /// Its run.
    pub run: RunId,
    /// Who waits to hear whether it may be started.
    pub asker: Option<oneshot::Sender<Verdict>>,
}

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// The run was known already.
    Known(Job),
    /// It is this job's turn: the verdict comes soon.
    Next(oneshot::Receiver<Verdict>),
    /// Others are before it.
    Behind,
}

impl Job {
    /// A job that waits.
    #[must_use]
    pub fn new(run_id: RunId, query_id: DocumentId, now_ms: u64) -> Self {
        Self {
            run_id,
            query_id,
            state: JobState::Submitted,
            submitted_on: now_ms,
            ended_on: None,
            refused: None,
            events: Vec::new(),
        }
    }

    /// What anybody sees: spark-analytics §7, as far as it is state, code and times (decision 45).
    /// Spark works inside the pod, so there are no executors of their own.
    #[must_use]
    pub fn view(&self) -> JsonValue {
        let mut state = json!({ "state": self.state });
        if let (Some(code), Some(fields)) = (self.code(), state.as_object_mut()) {
            fields.insert("errorCode".to_owned(), json!(code));
        }
        // One pod, started once: nothing is ever run again by itself (§16).
        let attempts = u8::from(self.state != JobState::Submitted && self.refused.is_none());
        json!({
            "id": self.run_id,
            "status": {
                "applicationState": state,
                "driverInfo": { "podName": self.run_id },
                "executorState": {},
                "executionAttempts": attempts,
                "submissionAttempts": 1,
                "lastSubmissionAttemptTime": self.submitted_on,
                "terminationTime": self.ended_on,
            },
        })
    }

    /// One line of a query's history.
    fn history(&self) -> JsonValue {
        json!({
            "runId": self.run_id,
            "startTime": self.submitted_on,
            "endTime": self.ended_on,
            "isSuccessful": self.state == JobState::Completed,
            "error": self.code().map(|code| json!({ "code": code })),
        })
    }

    fn code(&self) -> Option<JsonValue> {
        match &self.refused {
            Some(refused) => Some(json!(refused.code)),
            None => Some(json!(self.events.last()?.code?)),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, JobState::Completed | JobState::Failed)
    }
}

/// All jobs of this launcher.
pub struct Jobs {
    dir: PathBuf,
    jobs: Mutex<BTreeMap<RunId, Job>>,
    queue: mpsc::Sender<Waiting>,
}

impl Jobs {
    /// Opens the records in `dir` and gives the queue's other end.
    ///
    /// # Errors
    ///
    /// If the directory or a record cannot be read or written.
    pub fn open(dir: &Path, now_ms: u64) -> std::io::Result<(Arc<Self>, mpsc::Receiver<Waiting>)> {
        std::fs::create_dir_all(dir)?;
        let (queue, waiting) = mpsc::channel(QUEUE_LEN_MAX);
        let opened = Self {
            dir: dir.to_owned(),
            jobs: Mutex::new(BTreeMap::new()),
            queue,
        };
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let mut job = read(&path)?;
            match job.state {
                JobState::Submitted => {
                    let again = Waiting {
                        run: job.run_id.clone(),
                        asker: None,
                    };
                    if opened.queue.try_send(again).is_err() {
                        end(&mut job, &lost(), now_ms);
                    }
                }
                JobState::Running => end(&mut job, &lost(), now_ms),
                JobState::Completed | JobState::Failed => {}
            }
            opened.write(&job)?;
            opened.lock().insert(job.run_id.clone(), job);
        }
        Ok((Arc::new(opened), waiting))
    }

    /// The job of a run.
    #[must_use]
    pub fn get(&self, run: &RunId) -> Option<Job> {
        self.lock().get(run).cloned()
    }

    /// Takes a place in the queue, so that nothing is asked for that has no place.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with 503 if too many jobs wait.
    pub fn reserve(&self) -> Result<mpsc::OwnedPermit<Waiting>, Refusal> {
        self.queue.clone().try_reserve_owned().map_err(|_| {
            Refusal::new(
                503,
                "TooManyPendingJobs",
                "too many jobs are waiting; try again later",
            )
        })
    }

    /// Queues a job, unless its run is known already.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if its record cannot be written.
    pub fn submit(&self, place: mpsc::OwnedPermit<Waiting>, job: Job) -> Result<Submitted, Refusal> {
        let mut jobs = self.lock();
        if let Some(known) = jobs.get(&job.run_id) {
            return Ok(Submitted::Known(known.clone()));
        }
        self.write(&job)
            .map_err(|e| Refusal::new(500, "InternalError", format!("cannot record the job: {e}")))?;
        let (asker, verdict) = oneshot::channel();
        let is_next = jobs.values().all(Job::is_over);
        let run = job.run_id.clone();
        jobs.insert(run.clone(), job);
        place.send(Waiting {
            run,
            asker: Some(asker),
        });
        Ok(if is_next {
            Submitted::Next(verdict)
        } else {
            Submitted::Behind
        })
    }

    /// Notes that there will be no pod.
    pub fn refused(&self, run: &RunId, refusal: &Refusal, now_ms: u64) {
        self.change(run, |job| {
            job.state = JobState::Failed;
            job.ended_on = Some(now_ms);
            job.refused = Some(Refused {
                status: refusal.status,
                code: refusal.code.clone(),
            });
        });
    }

    /// Notes that the pod is at work.
    pub fn started(&self, run: &RunId) {
        self.change(run, |job| job.state = JobState::Running);
    }

    /// Notes a step.
    pub fn progressed(&self, run: &RunId, event: &JobEvent) {
        self.change(run, |job| {
            if job.events.len() < EVENT_COUNT_MAX {
                job.events.push(event.clone());
            }
        });
    }

    /// Notes the end, by the event that ended it.
    pub fn ended(&self, run: &RunId, event: &JobEvent, now_ms: u64) {
        self.change(run, |job| end(job, event, now_ms));
    }

    /// The latest runs of a query; `None` if it has none.
    #[must_use]
    pub fn history(&self, query: &DocumentId) -> Option<JsonValue> {
        let mut runs: Vec<Job> = self
            .lock()
            .values()
            .filter(|job| job.query_id == *query)
            .cloned()
            .collect();
        runs.sort_by_key(|job| std::cmp::Reverse(job.submitted_on));
        let latest = runs.first()?.history();
        let count = |state| runs.iter().filter(|job| job.state == state).count();
        let (successful, failed) = (count(JobState::Completed), count(JobState::Failed));
        let total = runs.len();
        let shown: Vec<JsonValue> = runs.iter().take(HISTORY_LEN_MAX).map(Job::history).collect();
        Some(json!({
            "queryId": query,
            "latestRun": latest,
            "runs": shown,
            "summary": { "totalRuns": total, "successfulRuns": successful, "failedRuns": failed },
        }))
    }

    fn change(&self, run: &RunId, change: impl FnOnce(&mut Job)) {
        let mut jobs = self.lock();
        if let Some(job) = jobs.get_mut(run) {
            change(job);
            if let Err(error) = self.write(job) {
                tracing::error!(%run, %error, "cannot record the job");
            }
        }
    }

    /// Written beside and renamed, so that a record is whole or the one before.
    fn write(&self, job: &Job) -> std::io::Result<()> {
        let path = self.dir.join(format!("{}.json", job.run_id));
        let beside = self.dir.join(format!("{}.new", job.run_id));
        // A record says who asked for what: nobody else's business, whatever the umask is.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&serde_json::to_vec(job)?)?;
        std::fs::rename(beside, path)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Job>> {
        // Nothing panics while a record is half-changed.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> std::io::Result<Job> {
    let mut record = Vec::new();
    File::open(path)?
        .take(RECORD_SIZE_MAX.saturating_add(1))
        .read_to_end(&mut record)?;
    if record.len() as u64 > RECORD_SIZE_MAX {
        return Err(std::io::Error::other(format!(
            "{} is too long for a job's record",
            path.display()
        )));
    }
    Ok(serde_json::from_slice(&record)?)
}

fn lost() -> JobEvent {
    JobEvent::failed(
        FailureCode::SparkJobFailed,
        "the launcher stopped while the run was at work",
    )
}

fn end(job: &mut Job, event: &JobEvent, now_ms: u64) {
    job.state = if event.ended_well() {
        JobState::Completed
    } else {
        JobState::Failed
    };
    job.ended_on = Some(now_ms);
    // The last event is the one that says how it ended, whatever the bound on steps.
    if job.events.last() != Some(event) {
        job.events.push(event.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(run: &str) -> Job {
        Job::new(run.parse().unwrap(), "q".parse().unwrap(), 1)
    }

    fn completed() -> JobEvent {
        JobEvent {
            event: "QUERY_EXECUTION_COMPLETED".to_owned(),
            rows: Some(2),
            rows_read: None,
            code: None,
            message: None,
            view: None,
            segment: None,
        }
    }

    #[tokio::test]
    async fn the_same_run_is_one_job_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let run: RunId = "r1".parse().unwrap();
        {
            let (jobs, mut waiting) = Jobs::open(dir.path(), 1).unwrap();
            jobs.submit(jobs.reserve().unwrap(), job("r1")).unwrap();
            jobs.submit(jobs.reserve().unwrap(), job("r1")).unwrap();
            assert_eq!(waiting.recv().await.unwrap().run, run);
            assert!(waiting.try_recv().is_err(), "queued twice");
            let record = std::fs::metadata(dir.path().join("r1.json")).unwrap();
            let mode = std::os::unix::fs::MetadataExt::mode(&record) & 0o777;
            assert_eq!(mode, 0o600, "others may read who asked for what");
            jobs.started(&run);
            jobs.ended(&run, &completed(), 5);
        }
        let (jobs, mut waiting) = Jobs::open(dir.path(), 9).unwrap();
        assert_eq!(jobs.get(&run).unwrap().state, JobState::Completed);
        assert!(waiting.try_recv().is_err());
    }

    #[tokio::test]
    async fn after_a_restart_waiting_jobs_wait_again_and_running_ones_have_failed() {
        let dir = tempfile::tempdir().unwrap();
        {
            let (jobs, _waiting) = Jobs::open(dir.path(), 1).unwrap();
            for run in ["r1", "r2"] {
                jobs.submit(jobs.reserve().unwrap(), job(run)).unwrap();
            }
            jobs.started(&"r1".parse().unwrap());
        }
        let (jobs, mut waiting) = Jobs::open(dir.path(), 9).unwrap();
        let lost = jobs.get(&"r1".parse().unwrap()).unwrap();
        assert_eq!((lost.state, lost.ended_on), (JobState::Failed, Some(9)));
        assert_eq!(waiting.recv().await.unwrap().run.as_str(), "r2");
    }

    #[tokio::test]
    async fn only_who_is_next_waits_for_the_verdict_which_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let run: RunId = "r1".parse().unwrap();
        {
            let (jobs, mut waiting) = Jobs::open(dir.path(), 1).unwrap();
            let submit = |run| jobs.submit(jobs.reserve().unwrap(), job(run)).unwrap();
            let Submitted::Next(verdict) = submit("r1") else {
                panic!("nothing is before it");
            };
            assert!(matches!(submit("r2"), Submitted::Behind));
            assert!(matches!(submit("r1"), Submitted::Known(_)));
            let refusal = Refusal::new(403, "RunCancelled", "by 4711");
            jobs.refused(&run, &refusal, 7);
            let asker = waiting.recv().await.unwrap().asker.unwrap();
            asker.send(Err(refusal.clone())).unwrap();
            assert_eq!(verdict.await, Ok(Err(refusal)));
        }
        let (jobs, _waiting) = Jobs::open(dir.path(), 9).unwrap();
        let known = jobs.get(&run).unwrap();
        assert_eq!((known.state, known.ended_on), (JobState::Failed, Some(7)));
        let view = known.view();
        let code = view.pointer("/status/applicationState/errorCode");
        assert_eq!(code, Some(&json!("RunCancelled")));
        assert_eq!(view.pointer("/status/executionAttempts"), Some(&json!(0)));
        let text = format!("{view}{}", known.history());
        assert!(!text.contains("4711"), "{text}");
    }

    #[tokio::test]
    async fn a_full_queue_is_told_before_anything_is_admitted() {
        let dir = tempfile::tempdir().unwrap();
        let (jobs, _waiting) = Jobs::open(dir.path(), 1).unwrap();
        let places: Vec<_> = (0..QUEUE_LEN_MAX).map(|_| jobs.reserve().unwrap()).collect();
        assert_eq!(jobs.reserve().unwrap_err().status, 503);
        drop(places);
        assert!(jobs.reserve().is_ok());
    }

    #[test]
    fn a_watcher_is_not_told_how_many_rows_were_read() {
        let mut job = job("r1");
        job.events.push(JobEvent {
            event: "DATASET_LOAD_COMPLETED".to_owned(),
            view: Some("flights".to_owned()),
            rows: Some(40_097),
            ..completed()
        });
        let last = JobEvent {
            rows_read: Some(40_097),
            message: Some("of 40097 rows".to_owned()),
            ..completed()
        };
        end(&mut job, &last, 7);
        for shown in [job.view(), job.history()] {
            let text = shown.to_string();
            assert!(!text.contains("40097") && !text.contains("flights"), "{text}");
        }
        assert_eq!(job.history().get("isSuccessful"), Some(&json!(true)));
    }

    #[test]
    fn a_failed_job_says_why_without_hiding_its_state() {
        let mut failed = job("r1");
        assert_eq!(
            failed.view().pointer("/status/executionAttempts"),
            Some(&json!(0))
        );
        end(
            &mut failed,
            &JobEvent::failed(FailureCode::KMinNotMet, "view t has too few rows"),
            7,
        );
        let view = failed.view();
        assert_eq!(
            view.pointer("/status/applicationState/state"),
            Some(&json!("FAILED"))
        );
        assert_eq!(
            view.pointer("/status/applicationState/errorCode"),
            Some(&json!("K_MIN_NOT_MET"))
        );
        for (field, value) in [
            ("driverInfo", json!({ "podName": "r1" })),
            ("executorState", json!({})),
            ("executionAttempts", json!(1)),
            ("submissionAttempts", json!(1)),
            ("terminationTime", json!(7)),
        ] {
            assert_eq!(view.pointer(&format!("/status/{field}")), Some(&value), "{field}");
        }
    }

    #[tokio::test]
    async fn the_most_and_longest_steps_are_kept_and_read_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let run: RunId = "r1".parse().unwrap();
        let longest = JobEvent {
            message: Some("m".repeat(usize::try_from(EVENT_LEN_MAX).unwrap() - 100)),
            ..completed()
        };
        {
            let (jobs, _waiting) = Jobs::open(dir.path(), 1).unwrap();
            jobs.submit(jobs.reserve().unwrap(), job("r1")).unwrap();
            let steps = || jobs.get(&run).unwrap().events.len();
            for _ in 0..EVENT_COUNT_MAX {
                jobs.progressed(&run, &longest);
            }
            assert_eq!(steps(), EVENT_COUNT_MAX);
            jobs.progressed(&run, &longest);
            assert_eq!(steps(), EVENT_COUNT_MAX);
            jobs.ended(&run, &completed(), 5);
        }
        let (jobs, _waiting) = Jobs::open(dir.path(), 9).unwrap();
        assert_eq!(jobs.get(&run).unwrap().events.len(), EVENT_COUNT_MAX + 1);
    }

    #[test]
    fn a_record_of_the_most_bytes_is_read_and_a_longer_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r1.json");
        let of_size = |size: u64| {
            let mut record = serde_json::to_vec(&job("r1")).unwrap();
            record.resize(usize::try_from(size).unwrap(), b' ');
            std::fs::write(&path, record).unwrap();
            read(&path)
        };
        assert!(of_size(RECORD_SIZE_MAX).is_ok());
        let refused = of_size(RECORD_SIZE_MAX + 1).unwrap_err().to_string();
        assert!(refused.contains("too long for a job's record"), "{refused}");
    }

    #[tokio::test]
    async fn the_latest_runs_are_shown_up_to_the_most_and_all_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (jobs, _waiting) = Jobs::open(dir.path(), 1).unwrap();
        let submit = |number: usize| {
            jobs.submit(jobs.reserve().unwrap(), job(&format!("r{number}")))
                .unwrap();
            let history = jobs.history(&"q".parse().unwrap()).unwrap();
            let shown = history
                .pointer("/runs")
                .and_then(JsonValue::as_array)
                .unwrap()
                .len();
            (shown, history.pointer("/summary/totalRuns").cloned())
        };
        for number in 1..HISTORY_LEN_MAX {
            submit(number);
        }
        let most = HISTORY_LEN_MAX;
        assert_eq!(submit(most), (most, Some(json!(most))));
        assert_eq!(submit(most + 1), (most, Some(json!(most + 1))));
    }
}
