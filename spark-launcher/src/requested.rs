//! Runs that wait on the ledger for a launcher, as far as this one knows.
//!
//! Run ids come from anybody. One that is unknown costs a question to the ledger, and a question
//! writes a nonce; so one question answers every id that came before it, and there is one in five
//! seconds at most: strangers cannot make the launcher write (decision 45).

use std::collections::BTreeMap;
use std::sync::Arc;
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
    latest: Arc<Mutex<Option<Latest>>>,
}

impl Default for Requested {
    fn default() -> Self {
        Self {
            interval: QUESTION_INTERVAL,
            latest: Arc::default(),
        }
    }
}

struct Latest {
    asked: Instant,
    answer: Result<Listed, Refusal>,
}

impl Requested {
    /// The query that `run` was asked for, or `None` if nobody has asked for it. `list` asks the
    /// ledger.
    ///
    /// # Errors
    ///
    /// What `list` failed with.
    pub async fn find<F>(&self, run: &RunId, list: impl FnOnce() -> F) -> Result<Option<DocumentId>, Refusal>
    where
        F: Future<Output = Result<Listed, Refusal>> + Send + 'static,
    {
        let came = Instant::now();
        // Held through the question, so that all who come meanwhile wait for the next one together.
        let mut latest = Arc::clone(&self.latest).lock_owned().await;
        let mut not_before = None;
        if let Some(known) = latest.as_ref() {
            if let Ok(listed) = &known.answer
                && let Some(query) = listed.get(run)
            {
                return Ok(Some(query.clone()));
            }
            if known.asked >= came {
                return known.answer.as_ref().map(|_| None).map_err(Clone::clone);
            }
            not_before = known.asked.checked_add(self.interval);
        }
        let (question, run) = (list(), run.clone());
        // A task of its own: whoever hangs up in the middle neither spoils the answer for the others
        // nor makes the next question come sooner.
        let asking = tokio::spawn(async move {
            if let Some(time) = not_before {
                tokio::time::sleep_until(time).await;
            }
            let asked = Instant::now();
            let answer = question.await;
            let found = answer
                .as_ref()
                .map(|listed| listed.get(&run).cloned())
                .map_err(Clone::clone);
            *latest = Some(Latest { asked, answer });
            found
        });
        asking
            .await
            .unwrap_or_else(|_| Err(Refusal::new(500, "InternalError", "the question was cut off")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn run(text: &str) -> RunId {
        text.parse().unwrap()
    }

    const INTERVAL: Duration = Duration::from_millis(400);

    /// Short, for the tests' sake.
    fn requested() -> Requested {
        assert_eq!(Requested::default().interval, Duration::from_secs(5));
        Requested {
            interval: INTERVAL,
            ..Requested::default()
        }
    }

    #[derive(Default)]
    struct Ledger {
        questions: AtomicU32,
    }

    impl Ledger {
        /// As long as the real one takes, or longer.
        async fn list(self: Arc<Self>) -> Result<Listed, Refusal> {
            self.questions.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            let query: DocumentId = "q".parse().unwrap();
            Ok(["r1", "r2"].map(|id| (run(id), query.clone())).into())
        }

        fn count(&self) -> u32 {
            self.questions.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn a_thousand_made_up_ids_are_one_question_an_interval() {
        let (requested, ledger) = (Arc::new(requested()), Arc::new(Ledger::default()));
        let began = Instant::now();
        let mut strangers = tokio::task::JoinSet::new();
        for number in 0..1000 {
            let (requested, ledger) = (Arc::clone(&requested), Arc::clone(&ledger));
            strangers.spawn(async move {
                let id = run(&format!("made-up-{number}"));
                requested.find(&id, || ledger.list()).await
            });
        }
        while let Some(answer) = strangers.join_next().await {
            assert_eq!(answer.unwrap(), Ok(None));
        }
        // The first was asked for at once; all who came while it was under way share the next.
        let questions = ledger.count();
        assert!((1..=2).contains(&questions), "{questions}");
        assert!(began.elapsed() >= INTERVAL * (questions - 1));
        // A run that is known by now needs none.
        for _ in 0..2 {
            let found = requested.find(&run("r1"), || Arc::clone(&ledger).list()).await;
            assert_eq!(found, Ok(Some("q".parse().unwrap())));
        }
        assert_eq!(ledger.count(), questions);
    }

    #[tokio::test]
    async fn strangers_who_hang_up_do_not_make_the_launcher_ask_more_often() {
        let (requested, ledger) = (requested(), Arc::new(Ledger::default()));
        let began = Instant::now();
        for number in 0..30 {
            let id = run(&format!("made-up-{number}"));
            let asked = requested.find(&id, || Arc::clone(&ledger).list());
            // Gone in the middle of the question.
            let gone = tokio::time::timeout(Duration::from_millis(50), asked).await;
            assert!(gone.is_err());
        }
        let intervals = began.elapsed().as_millis() / INTERVAL.as_millis();
        assert!(u128::from(ledger.count()) <= intervals + 1, "{}", ledger.count());
    }

    #[tokio::test]
    async fn questions_are_an_interval_apart_also_when_the_ledger_fails() {
        let requested = requested();
        let down = || Refusal::new(503, "LedgerUnreachable", "no answer");
        let began = Instant::now();
        for _ in 0..3 {
            let answer = requested
                .find(&run("r"), || std::future::ready(Err(down())))
                .await;
            assert_eq!(answer, Err(down()));
        }
        assert!(began.elapsed() >= INTERVAL * 2);
    }
}
