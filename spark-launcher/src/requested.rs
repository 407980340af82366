//! Runs that wait on the ledger for a launcher, as far as this one knows.
//!
//! Run ids come from anybody. One that is unknown costs a question to the ledger, and a question
//! writes a nonce; so one question answers every id that came before it, and there is one in five
//! seconds at most: strangers cannot make the launcher write (decision 45).

use std::collections::BTreeMap;
use std::time::Duration;

use cleanroom_model::{DocumentId, RunId};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::refusal::Refusal;

/// Shortest time between two questions.
pub const QUESTION_INTERVAL: Duration = Duration::from_secs(5);

/// What the ledger lists: run and query.
pub type Listed = BTreeMap<RunId, DocumentId>;

/// The latest list.
pub struct Requested {
    interval: Duration,
    latest: Mutex<Option<Latest>>,
}

impl Default for Requested {
    fn default() -> Self {
        Self {
            interval: QUESTION_INTERVAL,
            latest: Mutex::default(),
        }
    }
}

struct Latest {
    asked: Instant,
    answer: Result<Listed, Refusal>,
}

impl Requested {
    /// The query that `run` was asked for, taken off the list: whoever finds it sees to it. `None`
    /// if nobody has asked for it. `list` asks the ledger.
    ///
    /// # Errors
    ///
    /// What `list` failed with.
    pub async fn take(
        &self,
        run: &RunId,
        list: impl AsyncFnOnce() -> Result<Listed, Refusal>,
    ) -> Result<Option<DocumentId>, Refusal> {
        let came = Instant::now();
        // Held through the question, so that all who come meanwhile wait for the next one together.
        let mut latest = self.latest.lock().await;
        if let Some(Latest {
            answer: Ok(listed), ..
        }) = latest.as_mut()
            && let Some(query) = listed.remove(run)
        {
            return Ok(Some(query));
        }
        if let Some(known) = latest.as_ref() {
            if known.asked >= came {
                return known.answer.as_ref().map(|_| None).map_err(Clone::clone);
            }
            tokio::time::sleep_until(known.asked + self.interval).await;
        }
        let asked = Instant::now();
        let mut answer = list().await;
        let found = answer
            .as_mut()
            .map(|listed| listed.remove(run))
            .map_err(|e| e.clone());
        *latest = Some(Latest { asked, answer });
        found
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn run(text: &str) -> RunId {
        text.parse().unwrap()
    }

    /// Short, for the tests' sake.
    fn requested() -> Requested {
        Requested {
            interval: Duration::from_millis(500),
            ..Requested::default()
        }
    }

    struct Ledger {
        questions: AtomicU32,
        listed: Vec<&'static str>,
    }

    impl Ledger {
        fn list(&self) -> Result<Listed, Refusal> {
            self.questions.fetch_add(1, Ordering::Relaxed);
            let query: DocumentId = "q".parse().unwrap();
            Ok(self.listed.iter().map(|id| (run(id), query.clone())).collect())
        }
    }

    #[tokio::test]
    async fn a_thousand_made_up_ids_at_once_are_two_questions() {
        let (requested, ledger) = (
            Arc::new(requested()),
            Arc::new(Ledger {
                questions: AtomicU32::new(0),
                listed: vec!["r1", "r2"],
            }),
        );
        let mut strangers = tokio::task::JoinSet::new();
        for number in 0..1000 {
            let (requested, ledger) = (Arc::clone(&requested), Arc::clone(&ledger));
            strangers.spawn(async move {
                requested
                    .take(&run(&format!("made-up-{number}")), async || ledger.list())
                    .await
            });
        }
        while let Some(answer) = strangers.join_next().await {
            assert_eq!(answer.unwrap(), Ok(None));
        }
        // The first was asked for at once; all who came while it was under way share the next.
        assert!(ledger.questions.load(Ordering::Relaxed) <= 2);
        // A run that is known by now needs none, and is found by one caller.
        let before = ledger.questions.load(Ordering::Relaxed);
        let found = requested.take(&run("r1"), async || ledger.list()).await;
        assert_eq!(found, Ok(Some("q".parse().unwrap())));
        assert_eq!(ledger.questions.load(Ordering::Relaxed), before);
    }

    #[tokio::test]
    async fn questions_are_an_interval_apart_also_when_the_ledger_fails() {
        let requested = requested();
        let down = || Refusal::new(503, "LedgerUnreachable", "no answer");
        let began = Instant::now();
        for _ in 0..3 {
            let answer = requested.take(&run("r"), async || Err(down())).await;
            assert_eq!(answer, Err(down()));
        }
        assert!(began.elapsed() >= requested.interval * 2);
        assert_eq!(Requested::default().interval, Duration::from_secs(5));
    }
}
