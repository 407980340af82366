//! Small texts that would cost a lot: they are answered in little time, memory and stack.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use cleanroom_model::analytics::{Query, ViewName};
use serde_json::json;
use sql_gate::{GateError, Rule, check};

/// What one statement leads to, on a stack as small as a server's threads have.
fn outcome(sql: &str) -> Result<(), Vec<GateError>> {
    let query = json!({"segments": [{"executionSequence": 1, "data": sql}]});
    let query = Query::parse(&query.to_string()).unwrap();
    let started = Instant::now();
    let checked = std::thread::Builder::new()
        .stack_size(2 * 1024 * 1024)
        .spawn(move || check(&query, &[ViewName::parse("t").unwrap()]).map(drop))
        .unwrap()
        .join()
        .unwrap();
    // Far above what is needed, far below what unbounded work would take.
    assert!(started.elapsed() < Duration::from_secs(20), "{sql:.80}");
    checked
}

fn is_refused_as_too_long(sql: &str) -> bool {
    let errors = outcome(sql).unwrap_err();
    errors
        .iter()
        .any(|error| matches!(error.rule, Rule::Form(form) if form.contains("500 operators")))
}

#[test]
fn chains_of_operators_are_bounded_before_they_are_parsed() {
    for (head, link) in [
        ("SELECT 1", " DIV 1"),
        ("SELECT 1", "+1"),
        ("SELECT true", " AND true"),
        ("SELECT 1", " IS NULL"),
        ("SELECT '1'", "::INT"),
        ("SELECT a", "[0]"),
        ("SELECT 1 AS a", " UNION ALL SELECT 1"),
        ("SELECT 1 AS a", " MINUS SELECT 1"),
        ("SELECT a FROM t", " UNPIVOT (a FOR b IN (c))"),
    ] {
        let tail = if head.contains("FROM") { "" } else { " FROM t" };
        let long = |count: usize| format!("{head}{}{tail}", link.repeat(count));
        assert!(is_refused_as_too_long(&long(2_000)), "{link}");
        // At the bound: whatever the answer is, it comes.
        let _ = outcome(&long(100));
        let _ = outcome(&long(499));
    }
    assert!(outcome(&format!("SELECT 1{} AS a FROM t", " + 1".repeat(499))).is_ok());
    let long_list = (0..5_000).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    assert!(outcome(&format!("SELECT a FROM t WHERE a IN ({long_list})")).is_ok());
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [
        ("(", ")"),
        ("-", ""),
        ("NOT ", ""),
        ("(SELECT ", ")"),
        ("CASE WHEN true THEN ", " END"),
    ] {
        let sql = format!(
            "SELECT {}1{} AS a FROM t",
            open.repeat(1_000),
            close.repeat(1_000)
        );
        assert!(outcome(&sql).is_err(), "{open}");
    }
}

#[test]
fn nested_queries_are_followed_once_for_all_their_columns() {
    let mut sql = "SELECT a FROM t".to_owned();
    for _ in 0..12 {
        sql = format!("SELECT *, *, *, * FROM ({sql}) x");
    }
    let _ = outcome(&sql);
}

#[test]
fn columns_that_double_are_not_followed_for_ever() {
    let mut sql = "WITH c0 AS (SELECT COUNT(*) AS n FROM t)".to_owned();
    for i in 1..60_usize {
        let more = format!(", c{i} AS (SELECT *, * FROM c{})", i.saturating_sub(1));
        sql.push_str(&more);
    }
    let _ = outcome(&format!("{sql} SELECT n FROM c59"));
}
