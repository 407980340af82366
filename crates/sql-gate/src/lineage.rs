//! Which columns of a result are counts, and whether a result exposes an owner's rows by `*`.
//!
//! A column counts as a count if `COUNT` makes it, or if it is taken unchanged from a single
//! relation in which it is one. A join ends that: behind it a row may carry a count that belongs to
//! another group. So does a union unless both sides agree. Anything not understood is no count.

use std::collections::BTreeMap;
use std::rc::Rc;

use sqlparser::ast::{
    CastKind, DataType, Expr, Function, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableAlias, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};

use super::walk::{only, single};

/// Most columns that are followed: `*` doubles them with few characters. Beyond, nothing is known.
const COLUMN_COUNT_MAX: usize = 4096;

/// What is known of a relation's columns. Cheap to copy: every query copies those in its scope.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// In order; `None` if not known.
    columns: Option<Rc<[Column]>>,
    /// Whether `*` over it gives an owner's rows.
    row_level: bool,
}

#[derive(Clone, Debug)]
struct Column {
    /// In lower case; `None` if Spark would make one up.
    name: Option<Rc<str>>,
    is_count: bool,
}

type Known = BTreeMap<String, Relation>;

impl Relation {
    /// An owner's view: no counts, and every row is the owner's.
    pub(super) fn of_owner() -> Self {
        Self {
            columns: None,
            row_level: true,
        }
    }

    /// Whether exactly one column has this name, and it is a count.
    pub(super) fn is_count(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let mut found = self
            .columns
            .iter()
            .flat_map(|columns| columns.iter())
            .filter(|column| column.name.as_deref() == Some(name.as_str()));
        matches!(
            (found.next(), found.next()),
            (Some(Column { is_count: true, .. }), None)
        )
    }

    /// Whether the result takes all columns of an owner's view by `*`.
    pub(super) fn is_row_level(&self) -> bool {
        self.row_level
    }

    fn unknown() -> Self {
        Self {
            columns: None,
            row_level: false,
        }
    }

    /// New names for the columns, by place.
    fn renamed(mut self, alias: Option<&TableAlias>) -> Self {
        let Some(alias) = alias.filter(|alias| !alias.columns.is_empty()) else {
            return self;
        };
        self.columns = self
            .columns
            .filter(|columns| columns.len() == alias.columns.len())
            .map(|columns| {
                let names = alias
                    .columns
                    .iter()
                    .map(|column| Some(Rc::from(column.name.value.to_ascii_lowercase())));
                columns
                    .iter()
                    .zip(names)
                    .map(|(column, name)| Column { name, ..*column })
                    .collect()
            });
        self
    }
}

/// The result of a query over `known` relations.
pub(super) fn of_query(query: &Query, known: &Known) -> Relation {
    let mut scope = known.clone();
    for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
        let relation = of_query(&cte.query, &scope).renamed(Some(&cte.alias));
        scope.insert(cte.alias.name.value.to_ascii_lowercase(), relation);
    }
    of_body(&query.body, &scope)
}

fn of_body(body: &SetExpr, scope: &Known) -> Relation {
    match body {
        SetExpr::Select(select) => of_select(select, scope),
        SetExpr::Query(query) => of_query(query, scope),
        SetExpr::SetOperation { left, right, .. } => both(of_body(left, scope), of_body(right, scope)),
        _ => Relation::unknown(),
    }
}

/// Rows of either side: a column is a count if it is one on both, in the same place.
fn both(left: Relation, right: Relation) -> Relation {
    let columns = match (left.columns, right.columns) {
        (Some(left), Some(right)) if left.len() == right.len() => Some(
            left.iter()
                .zip(right.iter())
                .map(|(left, right)| Column {
                    // BY NAME would match otherwise than by place: names must agree to count.
                    is_count: left.is_count && right.is_count && left.name == right.name,
                    name: left.name.clone(),
                })
                .collect(),
        ),
        _ => None,
    };
    Relation {
        columns,
        row_level: left.row_level || right.row_level,
    }
}

fn of_select(select: &Select, scope: &Known) -> Relation {
    // Each once: a nested query would otherwise be followed again for every item of every level.
    let factors: Vec<Relation> = select
        .from
        .iter()
        .flat_map(|table| {
            std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation))
        })
        .map(|factor| of_factor(factor, scope))
        .collect();
    let exposes = factors.iter().any(|relation| relation.row_level);
    // Only a single relation without generated rows passes its counts on.
    let source = match (only(&select.from), factors.into_iter().next()) {
        (Some(_), Some(relation)) if select.lateral_views.is_empty() => relation,
        _ => Relation::unknown(),
    };
    let mut columns = Some(Vec::new());
    let mut row_level = false;
    for item in &select.projection {
        let more: Option<Rc<[Column]>> = match item {
            SelectItem::UnnamedExpr(expr) => Some(Rc::from([Column {
                name: own_name(expr),
                is_count: is_count(expr, &source),
            }])),
            SelectItem::ExprWithAlias { expr, alias } => Some(Rc::from([Column {
                name: Some(Rc::from(alias.value.to_ascii_lowercase())),
                is_count: is_count(expr, &source),
            }])),
            SelectItem::ExprWithAliases { .. } => None,
            SelectItem::Wildcard(options) => {
                row_level |= exposes;
                source.columns.clone().filter(|_| is_bare(options))
            }
            SelectItem::QualifiedWildcard(kind, options) => {
                // Which relation is meant does not matter for caution: any owner's view will do.
                let whole = matches!(kind, SelectItemQualifiedWildcardKind::ObjectName(_));
                row_level |= !whole || exposes;
                source.columns.clone().filter(|_| whole && is_bare(options))
            }
        };
        columns = match (columns, more) {
            (Some(mut columns), Some(more))
                if columns.len().saturating_add(more.len()) <= COLUMN_COUNT_MAX =>
            {
                columns.extend_from_slice(&more);
                Some(columns)
            }
            _ => None,
        };
    }
    Relation {
        columns: columns.map(Rc::from),
        row_level,
    }
}

fn exposes(table: &TableWithJoins, scope: &Known) -> bool {
    std::iter::once(&table.relation)
        .chain(table.joins.iter().map(|join| &join.relation))
        .any(|factor| of_factor(factor, scope).row_level)
}

fn of_factor(factor: &TableFactor, scope: &Known) -> Relation {
    match factor {
        TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } => {
            let relation = single(name).and_then(|name| scope.get(&name).cloned());
            relation.unwrap_or_else(Relation::unknown).renamed(alias.as_ref())
        }
        TableFactor::Derived { subquery, alias, .. } => of_query(subquery, scope).renamed(alias.as_ref()),
        TableFactor::NestedJoin { table_with_joins, .. } => Relation {
            columns: None,
            row_level: exposes(table_with_joins, scope),
        },
        TableFactor::Pivot { table, .. } | TableFactor::Unpivot { table, .. } => {
            // An unpivot keeps the other columns of each row; a pivot aggregates, but caution costs little.
            Relation {
                columns: None,
                row_level: of_factor(table, scope).row_level,
            }
        }
        _ => Relation::unknown(),
    }
}

fn is_bare(options: &WildcardAdditionalOptions) -> bool {
    options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_alias.is_none()
}

fn own_name(expr: &Expr) -> Option<Rc<str>> {
    match expr {
        Expr::Identifier(name) => Some(Rc::from(name.value.to_ascii_lowercase())),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| Rc::from(name.value.to_ascii_lowercase())),
        _ => None,
    }
}

fn is_count(expr: &Expr, source: &Relation) -> bool {
    match expr {
        Expr::Nested(inner) => is_count(inner, source),
        // Other casts change the number: a count as INTERVAL DAY is 86 400 times as many seconds.
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr: inner,
            data_type: DataType::Int(None) | DataType::Integer(None) | DataType::BigInt(None),
            format: None,
            ..
        } => is_count(inner, source),
        Expr::Function(function) => is_count_call(function),
        Expr::Identifier(_) => own_name(expr).is_some_and(|name| source.is_count(&name)),
        // `t.n` is a column of the one relation; with more parts it would be a field inside one.
        Expr::CompoundIdentifier(parts) if parts.len() == 2 => {
            own_name(expr).is_some_and(|name| source.is_count(&name))
        }
        _ => false,
    }
}

/// `COUNT(…)` as an aggregate: over a window every row would carry it.
fn is_count_call(function: &Function) -> bool {
    function.over.is_none()
        && function.within_group.is_empty()
        && single(&function.name).is_some_and(|name| name == "count")
}
