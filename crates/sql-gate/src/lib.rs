//! The first gate: what a query's SQL may do, decided from its text before anyone runs it.
//!
//! Spark alone accepts statements that read files by path, call Java by reflection, run shell
//! commands or write elsewhere. This gate admits, per segment, one `SELECT` or one temporary view
//! made of a `SELECT`, over nothing but the approved views, earlier segments' views and common table
//! expressions in lexical scope, with functions from a list. Whatever it does not know it refuses.
//!
//! Not decided here: whether columns exist (Spark's analysis), and what a count that passes k-min
//! means. `COUNT(*)` over a join that multiplies rows is still a count; owners read the query before
//! they agree, and should ask for `COUNT(DISTINCT …)` of what they protect. Nor does a good count
//! say anything of the other columns of its row: `collect_list` or a scalar subquery beside it may
//! carry single values, and are as visible to those owners.
//!
//! Launcher and pod both ask it, each for itself: the launcher before it asks for admission, the pod
//! before it fetches a key. The program that Spark runs looks once more, at the analysed plan,
//! because two parsers may differ.
//! Spellings on which the two parsers are known to differ (backslashes in literals, carriage returns,
//! `${…}`, hints, comments inside comments) are refused outright.
//!
//! The work is bounded: 500 operators in a statement, limited nesting, 4096 columns of a relation.
//!
//! `FROM t SELECT …` is not supported, nor are comments between `CREATE` and `AS`.
//!
//! Source: spark-analytics §10; spark-runtime (e).

mod functions;
mod lineage;
mod statement;
mod text;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use cleanroom_model::analytics::{PrivacyPolicy, Query, ViewName};

use lineage::Relation;
use statement::Statement;

/// Most errors reported at once.
const ERROR_COUNT_MAX: usize = 64;

/// One thing a query may not do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("segment {segment}: {rule}")]
pub struct GateError {
    /// Place of the segment in the query document, from 0.
    pub segment: usize,
    /// The rule it breaks.
    pub rule: Rule,
}

/// The rules, each with what broke it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    /// The text holds something on which SQL parsers differ.
    #[error("the text must not contain {0}")]
    Text(&'static str),
    /// Not understood.
    #[error("not understood as SQL: {0}")]
    Parse(String),
    /// None, several, or not a query.
    #[error("must be exactly one SELECT, or CREATE TEMPORARY VIEW name AS SELECT")]
    NotOneQuery,
    /// A relation outside the approved ones.
    #[error(
        "{0} is not an approved view, a view of an earlier sequence, or a common table expression in scope"
    )]
    UnknownRelation(String),
    /// A name with several parts, or with unusual characters.
    #[error("{0} is not a plain name: relations have one part of ASCII letters, digits and underscores")]
    NotAPlainName(String),
    /// A function that is not on the list.
    #[error("function {0} is not permitted")]
    Function(String),
    /// A form of SQL that is not permitted.
    #[error("{0} is not permitted")]
    Form(&'static str),
    /// A view that exists would be replaced.
    #[error("view {0} exists already and must not be redefined")]
    Redefined(String),
    /// A segment is not what its place demands.
    #[error("{0}")]
    Place(&'static str),
    /// A pre-condition names no view.
    #[error("pre-condition on {0}, which is not a view at this point")]
    PreCondition(String),
    /// A post-filter on something that is not a count.
    #[error("post-filter column {0} must be one column of the result, made by COUNT")]
    PostFilter(String),
    /// The result would take every column of an owner's view.
    #[error("the result must name its columns: * would expose rows of an owner's view")]
    Wildcard,
    /// A named parameter that is not declared.
    #[error("parameter :{0} is not declared")]
    UndeclaredParameter(String),
    /// An owner's floor is not met.
    #[error("the result must be filtered by a count of at least {0}: an owner demands it")]
    Floor(u64),
}

/// A query that passed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checked {
    /// The segments, in the order of the document.
    pub segments: Vec<CheckedSegment>,
}

/// What is known of a segment that passed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckedSegment {
    /// The temporary view it makes; `None` for the last, whose result is the output.
    pub makes: Option<ViewName>,
    /// The views it reads, in lower case, common table expressions left out.
    pub reads: BTreeSet<String>,
}

/// Checks a whole query over these approved views.
///
/// # Errors
///
/// Every rule that is broken, up to a bound.
pub fn check(query: &Query, views: &[ViewName]) -> Result<Checked, Vec<GateError>> {
    let mut known: BTreeMap<String, Relation> = views
        .iter()
        .map(|view| (view.folded(), Relation::of_owner()))
        .collect();
    let mut segments: Vec<Option<CheckedSegment>> = vec![None; query.segments.len()];
    let mut errors = Vec::new();
    let groups = query.groups();
    let group_count = groups.len();
    for (place, group) in groups.into_iter().enumerate() {
        let is_last = place.saturating_add(1) == group_count;
        let mut made = BTreeMap::new();
        for (index, segment) in group {
            let mut rules = Vec::new();
            let parameters = |name: &str| query.parameters.contains_key(name);
            match statement::parse(&segment.data) {
                Ok(statement) => {
                    let reads = walk::check(&statement.query, &known, &parameters, &mut rules);
                    let relation = lineage::of_query(&statement.query, &known);
                    check_place(&statement, is_last, &relation, &known, &made, &mut rules);
                    for filter in &segment.post_filters {
                        if !relation.is_count(&filter.column_name) {
                            rules.push(Rule::PostFilter(filter.column_name.clone()));
                        }
                    }
                    if let Some(view) = &statement.makes {
                        made.insert(view.folded(), relation);
                    }
                    if let Some(slot) = segments.get_mut(index) {
                        *slot = Some(CheckedSegment {
                            makes: statement.makes,
                            reads,
                        });
                    }
                }
                Err(rule) => rules.push(rule),
            }
            for condition in &segment.pre_conditions {
                if !known.contains_key(&condition.view_name.folded()) {
                    rules.push(Rule::PreCondition(condition.view_name.to_string()));
                }
            }
            errors.extend(rules.into_iter().map(|rule| GateError { segment: index, rule }));
        }
        // Visible from the next group on: segments of one group run side by side.
        known.extend(made);
    }
    errors.truncate(ERROR_COUNT_MAX);
    match segments.into_iter().collect() {
        Some(segments) if errors.is_empty() => Ok(Checked { segments }),
        _ => Err(errors),
    }
}

/// Checks the floors that owners put under every query on their datasets: the last segment must be
/// filtered by a count at least as large as the largest floor.
///
/// # Errors
///
/// [`Rule::Floor`] with the floor that is not met.
pub fn check_floors(query: &Query, policies: &[PrivacyPolicy]) -> Result<(), GateError> {
    let floor = policies
        .iter()
        .filter_map(|policy| policy.min_group_size.or(policy.require_aggregation.then_some(1)))
        .max();
    let groups = query.groups();
    let last = groups.last().and_then(|group| group.first());
    let (Some(floor), Some((index, segment))) = (floor, last) else {
        return Ok(());
    };
    if segment.post_filters.iter().any(|filter| filter.value >= floor) {
        return Ok(());
    }
    Err(GateError {
        segment: *index,
        rule: Rule::Floor(floor),
    })
}

fn check_place(
    statement: &Statement,
    is_last: bool,
    relation: &Relation,
    known: &BTreeMap<String, Relation>,
    made: &BTreeMap<String, Relation>,
    rules: &mut Vec<Rule>,
) {
    match &statement.makes {
        Some(_) if is_last => {
            rules.push(Rule::Place(
                "the last segment must be a SELECT: its result is the output",
            ));
        }
        Some(view) if known.contains_key(&view.folded()) || made.contains_key(&view.folded()) => {
            rules.push(Rule::Redefined(view.to_string()));
        }
        None if !is_last => {
            rules.push(Rule::Place(
                "every segment but the last must make a temporary view",
            ));
        }
        None if relation.is_row_level() => rules.push(Rule::Wildcard),
        _ => {}
    }
}
