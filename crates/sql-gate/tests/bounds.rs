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

// The gate's limits, said here once more: whoever moves one says so twice.
const COLUMN_COUNT_MAX: usize = 4096;
const DEPTH_MAX: usize = 40;
const ERROR_COUNT_MAX: usize = 64;
const OPERATOR_COUNT_MAX: usize = 500;

#[test]
fn a_statement_has_the_most_operators_and_not_one_more() {
    let sum = |count: usize| format!("SELECT 1{} AS a FROM t", " + 1".repeat(count));
    assert!(outcome(&sum(OPERATOR_COUNT_MAX)).is_ok());
    assert!(is_refused_as_too_long(&sum(OPERATOR_COUNT_MAX.saturating_add(1))));
}

#[test]
fn expressions_nest_as_deep_as_the_parser_goes_and_no_deeper() {
    let nested = |depth: usize| format!("SELECT {}1{} AS a FROM t", "(".repeat(depth), ")".repeat(depth));
    let deepest = (1..=DEPTH_MAX)
        .rev()
        .find(|depth| outcome(&nested(*depth)).is_ok());
    // Statement, query, select and the expression itself are levels too.
    assert_eq!(deepest, DEPTH_MAX.checked_sub(4));
}

#[test]
fn columns_are_counted_up_to_the_most_and_not_followed_beyond() {
    // A count can be filtered by as long as the gate knows which column it is.
    let filtered = |columns: usize| {
        let others = ", 1".repeat(columns.saturating_sub(1));
        let query = json!({"segments": [{"executionSequence": 1,
            "data": format!("SELECT COUNT(*) AS n{others} FROM t"),
            "postFilters": [{"columnName": "n", "value": 1}]}]});
        let query = Query::parse(&query.to_string()).unwrap();
        check(&query, &[ViewName::parse("t").unwrap()]).map(drop)
    };
    assert_eq!(filtered(COLUMN_COUNT_MAX), Ok(()));
    let errors = filtered(COLUMN_COUNT_MAX.saturating_add(1)).unwrap_err();
    assert!(matches!(errors.as_slice(), [GateError { rule: Rule::PostFilter(name), .. }] if name == "n"));
}

#[test]
fn no_more_errors_are_reported_than_the_most() {
    let unknown = |from: usize, to: usize| {
        let calls: Vec<String> = (from..to).map(|at| format!("f{at}(1)")).collect();
        format!("SELECT {} AS a FROM t", calls.join(", "))
    };
    for count in [ERROR_COUNT_MAX, ERROR_COUNT_MAX.saturating_add(1)] {
        assert_eq!(outcome(&unknown(0, count)).unwrap_err().len(), ERROR_COUNT_MAX);
        // Together, from two segments that have fewer each.
        let query = json!({"segments": [
            {"executionSequence": 1, "data": format!("CREATE TEMPORARY VIEW v AS {}", unknown(0, 32))},
            {"executionSequence": 2, "data": unknown(32, count)}]});
        let query = Query::parse(&query.to_string()).unwrap();
        let errors = check(&query, &[ViewName::parse("t").unwrap()]).unwrap_err();
        assert_eq!(errors.len(), ERROR_COUNT_MAX);
    }
}
