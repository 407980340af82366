//! The corpus of `tests/vectors/sql_gate`, and the rules that span segments.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use cleanroom_model::analytics::{PrivacyPolicy, Query, ViewName};
use serde_json::json;
use sql_gate::{Checked, GateError, Rule, check, check_floors};

fn views() -> Vec<ViewName> {
    ["flights", "planes", "weather"]
        .map(|name| ViewName::parse(name).unwrap())
        .to_vec()
}

fn query(segments: serde_json::Value) -> Query {
    let query = json!({"segments": segments, "parameters": {"late": {"type": "long", "default": 5}}});
    Query::parse(&query.to_string()).unwrap()
}

/// Checks one statement behind a segment that makes the view `earlier`.
fn check_one(sql: &str) -> Result<Checked, Vec<GateError>> {
    let mut segments = vec![
        json!({"executionSequence": 1,
               "data": "CREATE TEMP VIEW earlier AS SELECT carrier, COUNT(*) AS n FROM flights GROUP BY carrier"}),
        json!({"executionSequence": 2, "data": sql}),
    ];
    if sql.starts_with("CREATE") {
        segments.push(json!({"executionSequence": 3, "data": "SELECT carrier FROM earlier"}));
    }
    check(&query(segments.into()), &views())
}

/// Names and statements of one corpus file.
fn corpus(file: &str) -> Vec<(String, String)> {
    let path = format!(
        "{}/../../tests/vectors/sql_gate/{file}",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    let mut cases: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("-- ") {
            Some(name) => cases.push((name.to_owned(), String::new())),
            None => cases.last_mut().unwrap().1.push_str(line),
        }
    }
    cases
}

#[test]
fn realistic_queries_pass() {
    let cases = corpus("good.sql");
    assert!(cases.len() >= 20);
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(name, sql)| check_one(sql).err().map(|errors| format!("{name}: {errors:?}")))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn hostile_statements_are_refused_for_the_reason_given() {
    let cases = corpus("bad.sql");
    assert!(cases.len() >= 30);
    let mut wrong = Vec::new();
    for (case, sql) in &cases {
        let (_, expected) = case.split_once(": ").unwrap();
        match check_one(sql) {
            Ok(_) => wrong.push(format!("{case}: passed")),
            Err(errors) if errors.iter().any(|error| error.to_string().contains(expected)) => {}
            Err(errors) => wrong.push(format!("{case}: {errors:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_views_a_segment_reads_are_reported_without_its_own_names() {
    let checked =
        check_one("WITH a AS (SELECT origin FROM Flights) SELECT a.origin FROM a JOIN earlier ON true")
            .unwrap();
    assert_eq!(
        checked.segments[1].reads.iter().collect::<Vec<_>>(),
        ["earlier", "flights"]
    );
    assert_eq!(checked.segments[0].makes, ViewName::parse("EARLIER").ok());
}

#[test]
fn a_post_filter_works_only_on_a_column_made_by_count() {
    for (sql, good) in [
        (
            "SELECT carrier, COUNT(DISTINCT tailnum) AS n FROM flights GROUP BY carrier",
            true,
        ),
        (
            "SELECT carrier, CAST((COUNT(*)) AS INT) AS N FROM flights GROUP BY carrier",
            true,
        ),
        ("SELECT carrier, n FROM earlier", true),
        ("SELECT * FROM earlier", true),
        (
            "SELECT e.carrier, e.n FROM earlier e WHERE e.n > 3 ORDER BY e.n",
            true,
        ),
        (
            "WITH c (k, n) AS (SELECT carrier, COUNT(*) FROM flights GROUP BY carrier) SELECT k, n FROM c",
            true,
        ),
        (
            "SELECT carrier, n FROM earlier UNION ALL SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin",
            true,
        ),
        (
            "SELECT carrier, CAST(CAST(COUNT(*) AS BIGINT) AS LONG) AS n FROM flights GROUP BY carrier",
            true,
        ),
        (
            "SELECT carrier, COUNT(*) AS n, CAST(COUNT(*)::INTEGER AS INT) AS m FROM flights GROUP BY carrier",
            true,
        ),
        (
            "SELECT carrier, CAST(CAST(COUNT(*) AS INTERVAL) AS BIGINT) AS n FROM flights GROUP BY carrier",
            false,
        ),
        (
            "SELECT carrier, CAST(CAST(COUNT(*) AS TIMESTAMP) AS BIGINT) AS n FROM flights GROUP BY carrier",
            false,
        ),
        (
            "SELECT carrier, CAST(COUNT(*) AS STRING) AS n FROM flights GROUP BY carrier",
            false,
        ),
        (
            "SELECT carrier, TRY_CAST(COUNT(*) AS INT) AS n FROM flights GROUP BY carrier",
            false,
        ),
        ("SELECT carrier, 1000 AS n FROM flights", false),
        ("SELECT carrier, SUM(1) AS n FROM flights GROUP BY carrier", false),
        (
            "SELECT carrier, COUNT(*) + 1000 AS n FROM flights GROUP BY carrier",
            false,
        ),
        ("SELECT carrier, COUNT(*) OVER () AS n FROM flights", false),
        (
            "SELECT tailnum, (SELECT COUNT(*) FROM flights) AS n FROM flights",
            false,
        ),
        (
            "SELECT f.tailnum, e.n FROM flights f JOIN earlier e ON f.carrier = e.carrier",
            false,
        ),
        (
            "SELECT tailnum, n FROM earlier LATERAL VIEW explode(array(carrier)) t AS tailnum",
            false,
        ),
        (
            "SELECT carrier, n FROM earlier UNION ALL SELECT tailnum, 1000 AS n FROM flights",
            false,
        ),
        ("SELECT carrier AS n FROM earlier", false),
        ("SELECT COUNT(*) AS n, 1000 AS n FROM flights", false),
        ("SELECT dep_delay AS n FROM flights", false),
        ("SELECT t.n FROM (SELECT dep_delay AS n FROM flights) t", false),
        (
            "SELECT carrier, COUNT(*) AS m FROM flights GROUP BY carrier",
            false,
        ),
    ] {
        let query = query(json!([
            {"executionSequence": 1,
             "data": "CREATE TEMP VIEW earlier AS SELECT carrier, COUNT(*) AS n FROM flights GROUP BY carrier"},
            {"executionSequence": 2, "data": sql, "postFilters": [{"columnName": "n", "value": 10}]}]));
        let expected = [GateError {
            segment: 1,
            rule: Rule::PostFilter("n".into()),
        }];
        match check(&query, &views()) {
            Ok(_) => assert!(good, "{sql}: passed"),
            Err(errors) => assert!(!good && errors == expected, "{sql}: {errors:?}"),
        }
    }
}

#[test]
fn segments_of_one_sequence_do_not_see_each_other_and_only_the_last_is_a_select() {
    let make = |sequence: u32, sql: &str| json!({"executionSequence": sequence, "data": sql});
    let rules = |segments: Vec<serde_json::Value>| -> Vec<Rule> {
        let errors = check(&query(segments.into()), &views()).err().unwrap_or_default();
        errors.into_iter().map(|error| error.rule).collect()
    };
    let a = "CREATE TEMP VIEW a AS SELECT origin FROM flights";
    let b = "CREATE TEMP VIEW b AS SELECT origin FROM a";
    assert_eq!(
        rules(vec![make(1, a), make(2, b), make(3, "SELECT origin FROM b")]),
        []
    );
    assert_eq!(
        rules(vec![make(1, a), make(1, b), make(3, "SELECT origin FROM b")]),
        [Rule::UnknownRelation("a".into())]
    );
    assert_eq!(
        rules(vec![make(1, a), make(1, a), make(2, "SELECT origin FROM a")]),
        [Rule::Redefined("a".into())]
    );
    assert!(matches!(
        rules(vec![make(1, "SELECT 1 AS x"), make(2, "SELECT 1 AS x")])[..],
        [Rule::Place(_)]
    ));
    assert!(matches!(rules(vec![make(1, a)])[..], [Rule::Place(_)]));
}

#[test]
fn a_pre_condition_names_a_view_that_exists_by_then() {
    for (view, good) in [("flights", true), ("PLANES", true), ("missing", false)] {
        let query = query(
            json!([{"executionSequence": 1, "data": "SELECT origin FROM flights",
            "preConditions": [{"viewName": view, "minRowCount": 5}]}]),
        );
        assert_eq!(check(&query, &views()).is_ok(), good, "{view}");
    }
}

#[test]
fn an_owners_floor_under_the_group_size_must_be_met_by_the_last_segment() {
    let floor = |min_group_size, require_aggregation| PrivacyPolicy {
        min_group_size,
        require_aggregation,
        ..PrivacyPolicy::default()
    };
    let with = |filters: serde_json::Value| {
        query(
            json!([{"executionSequence": 1, "data": "SELECT COUNT(*) AS n FROM flights", "postFilters": filters}]),
        )
    };
    let ten = with(json!([{"columnName": "n", "value": 10}]));
    assert!(check_floors(&ten, &[floor(Some(10), false), floor(None, true)]).is_ok());
    assert_eq!(
        check_floors(&ten, &[floor(Some(5), false), floor(Some(11), false)])
            .unwrap_err()
            .rule,
        Rule::Floor(11)
    );
    assert_eq!(
        check_floors(&with(json!([])), &[floor(None, true)])
            .unwrap_err()
            .rule,
        Rule::Floor(1)
    );
    assert!(check_floors(&with(json!([])), &[floor(None, false)]).is_ok());
}
