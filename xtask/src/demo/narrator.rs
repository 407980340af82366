//! Tells what happens, step by step, and keeps the record for `--json`.

use std::io::Write as _;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value as JsonValue;

/// One step of the story.
#[derive(Serialize)]
pub(crate) struct StepRecord {
    name: &'static str,
    outcome: &'static str,
    detail: String,
    ms: u128,
}

/// Everything the demo can say afterwards.
#[derive(Serialize)]
pub(crate) struct Record {
    steps: Vec<StepRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    result: Vec<JsonValue>,
    ids: JsonValue,
}

/// Prints and records.
pub(crate) struct Narrator {
    record: Record,
    started: Instant,
}

impl Narrator {
    pub(crate) fn new() -> Self {
        Self {
            record: Record {
                steps: Vec::new(),
                query: None,
                result: Vec::new(),
                ids: JsonValue::Object(serde_json::Map::new()),
            },
            started: Instant::now(),
        }
    }

    /// Runs one step: what it is about to do is printed before, what came of it after.
    pub(crate) fn step<T>(
        &mut self,
        name: &'static str,
        about: &str,
        act: impl FnOnce() -> Result<(T, String)>,
    ) -> Result<T> {
        println!("\n{:>2}. {about}", self.record.steps.len() + 1);
        let started = Instant::now();
        let result = act();
        let ms = started.elapsed().as_millis();
        let (outcome, detail) = match &result {
            Ok((_, detail)) => ("ok", detail.clone()),
            Err(error) => ("failed", format!("{error:#}")),
        };
        println!("    {outcome} ({ms} ms): {detail}");
        self.record.steps.push(StepRecord {
            name,
            outcome,
            detail,
            ms,
        });
        result.map(|(value, _)| value)
    }

    /// Keeps the query and its result rows for the record.
    pub(crate) fn keep(&mut self, query: &str, result: Vec<JsonValue>) {
        self.record.query = Some(query.to_owned());
        self.record.result = result;
    }

    /// Keeps ids for the record, beside those that are kept already.
    pub(crate) fn ids(&mut self, more: JsonValue) {
        if let (Some(kept), JsonValue::Object(more)) = (self.record.ids.as_object_mut(), more) {
            kept.extend(more);
        }
    }

    /// The closing lines.
    pub(crate) fn summary(&self) {
        let ok = self
            .record
            .steps
            .iter()
            .filter(|step| step.outcome == "ok")
            .count();
        let total = self.record.steps.len();
        println!(
            "\n{ok} of {total} steps ok in {:.1} s",
            self.started.elapsed().as_secs_f64()
        );
    }

    /// The record, for `--json`.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }
}

/// Shows that something is still going on; one line every few seconds.
pub(crate) struct Waiting {
    started: Instant,
    said_s: u64,
}

impl Waiting {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            said_s: 0,
        }
    }

    /// Seconds since the wait began; says so every five.
    pub(crate) fn tick(&mut self, what: &str) -> u64 {
        let elapsed_s = self.started.elapsed().as_secs();
        if elapsed_s >= self.said_s + 5 {
            self.said_s = elapsed_s;
            println!("    … {elapsed_s} s: {what}");
            let _ = std::io::stdout().flush();
        }
        elapsed_s
    }
}
