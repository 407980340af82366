//! The statements that people tried against the gates, with the verdict of each gate.
//!
//! `tests/vectors/sql_gate/attacks.sql`; the second gate is held to the same file by
//! `spark-launcher/tests/plan_gate.rs`, with a real Spark.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use cleanroom_model::analytics::{Query, ViewName};
use serde_json::json;

/// One statement of the corpus.
struct Case<'a> {
    kind: &'a str,
    first: &'a str,
    second: &'a str,
    name: &'a str,
    sql: &'a str,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let mut lines = text.lines();
    let mut cases = Vec::new();
    while let (Some(head), Some(sql)) = (lines.next(), lines.next()) {
        let (verdicts, name) = head.strip_prefix("-- ").unwrap().split_once(": ").unwrap();
        let mut words = verdicts.split(' ');
        let mut word = || words.next().unwrap();
        cases.push(Case {
            kind: word(),
            first: word(),
            second: word(),
            name,
            sql,
        });
    }
    cases
}

/// What the first gate says of a query that ends in this statement. A `count` case has a floor on
/// its column `n`, as the owners of protected data demand.
fn verdict(case: &Case<'_>) -> &'static str {
    let earlier = "CREATE TEMP VIEW earlier AS SELECT carrier, COUNT(*) AS n FROM flights GROUP BY carrier";
    let mut last = json!({"executionSequence": 2, "data": case.sql});
    if case.kind == "count" {
        last["postFilters"] = json!([{"columnName": "n", "value": 10}]);
    }
    let mut segments = vec![json!({"executionSequence": 1, "data": earlier}), last];
    if case.sql.starts_with("CREATE") {
        segments.push(json!({"executionSequence": 3, "data": "SELECT carrier FROM earlier"}));
    }
    let query = Query::parse(&json!({"segments": segments}).to_string()).unwrap();
    let views = ["flights", "planes", "weather"].map(|name| ViewName::parse(name).unwrap());
    match sql_gate::check(&query, &views) {
        Ok(_) => "admitted",
        Err(_) => "refused",
    }
}

#[test]
fn every_statement_that_was_tried_has_the_verdict_it_had() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/sql_gate/attacks.sql"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let cases = cases(&text);
    assert_eq!(cases.len(), 114);
    let wrong: Vec<_> = cases
        .iter()
        .map(|case| (case, verdict(case)))
        .filter(|(case, verdict)| case.first != *verdict)
        .map(|(case, verdict)| format!("{verdict}: {}: {}", case.name, case.sql))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_statement_that_leaves_the_views_passes_both_gates() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/sql_gate/attacks.sql"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let passing: Vec<_> = cases(&text)
        .iter()
        .filter(|case| case.kind == "leave" && case.first == "admitted" && case.second == "admitted")
        .map(|case| case.name.to_owned())
        .collect();
    assert!(passing.is_empty(), "{passing:#?}");
}
