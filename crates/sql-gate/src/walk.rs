//! Looks at every part of a parsed query.
//!
//! Structure with scopes (queries, common table expressions, set operations) is walked by hand;
//! everything inside one `SELECT` is seen through the parser's own visitor, which forgets nothing.
//! Where the visitor meets a nested query it hands it back to the walk by hand and skips it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, Select, SelectFlavor, SetExpr, TableFactor, TableWithJoins, Value, ValueWithSpan,
    Visit, Visitor,
};

use super::lineage::Relation;
use super::{ERROR_COUNT_MAX, Rule, functions};

/// Whether a parameter of this name is declared.
pub(super) type Declared<'a> = &'a dyn Fn(&str) -> bool;

/// Checks a query over `known` views; gives the views it reads.
pub(super) fn check(
    query: &Query,
    known: &BTreeMap<String, Relation>,
    declared: Declared<'_>,
    rules: &mut Vec<Rule>,
) -> BTreeSet<String> {
    let mut walk = Walk {
        known,
        declared,
        rules,
        reads: BTreeSet::new(),
    };
    walk.query(query, &Scope::default());
    walk.reads
}

/// Names of common table expressions that can be seen at a place.
#[derive(Clone, Default)]
struct Scope(BTreeSet<String>);

struct Walk<'a> {
    known: &'a BTreeMap<String, Relation>,
    declared: Declared<'a>,
    rules: &'a mut Vec<Rule>,
    reads: BTreeSet<String>,
}

impl Walk<'_> {
    fn refuse(&mut self, rule: Rule) {
        if self.rules.len() < ERROR_COUNT_MAX && !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
    }

    fn refuse_if(&mut self, found: bool, form: &'static str) {
        if found {
            self.refuse(Rule::Form(form));
        }
    }

    fn query(&mut self, query: &Query, outer: &Scope) {
        let mut scope = outer.clone();
        if let Some(with) = &query.with {
            self.refuse_if(with.recursive, "WITH RECURSIVE");
            for cte in &with.cte_tables {
                // The expression sees those before it, not itself: its name is added afterwards.
                self.query(&cte.query, &scope);
                self.refuse_if(cte.from.is_some(), "FROM behind a common table expression");
                match plain(&cte.alias.name) {
                    Some(name) => {
                        scope.0.insert(name);
                    }
                    None => self.refuse(Rule::NotAPlainName(cte.alias.name.value.clone())),
                }
            }
        }
        self.refuse_if(!query.locks.is_empty(), "FOR UPDATE or SHARE");
        self.refuse_if(query.for_clause.is_some(), "FOR XML, JSON or BROWSE");
        self.refuse_if(query.settings.is_some(), "SETTINGS");
        self.refuse_if(query.format_clause.is_some(), "FORMAT");
        self.refuse_if(!query.pipe_operators.is_empty(), "a pipe operator");
        self.refuse_if(query.fetch.is_some(), "FETCH");
        self.body(&query.body, &scope);
        self.visit(&query.order_by, &scope);
        self.visit(&query.limit_clause, &scope);
    }

    fn body(&mut self, body: &SetExpr, scope: &Scope) {
        match body {
            SetExpr::Select(select) => self.select(select, scope),
            SetExpr::Query(query) => self.query(query, scope),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, scope);
                self.body(right, scope);
            }
            SetExpr::Values(values) => self.visit(values, scope),
            SetExpr::Table(_) => self.refuse(Rule::Form("TABLE in place of a query")),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                self.refuse(Rule::Form("a statement that changes data"));
            }
        }
    }

    fn select(&mut self, select: &Select, scope: &Scope) {
        self.refuse_if(select.into.is_some(), "INTO");
        self.refuse_if(select.top.is_some(), "TOP");
        self.refuse_if(select.prewhere.is_some(), "PREWHERE");
        self.refuse_if(!select.connect_by.is_empty(), "CONNECT BY");
        self.refuse_if(select.select_modifiers.is_some(), "a MySQL modifier");
        self.refuse_if(select.value_table_mode.is_some(), "AS STRUCT or AS VALUE");
        self.refuse_if(select.exclude.is_some(), "EXCLUDE");
        self.refuse_if(matches!(select.distinct, Some(Distinct::On(_))), "DISTINCT ON");
        self.refuse_if(
            !matches!(select.flavor, SelectFlavor::Standard),
            "FROM before SELECT",
        );
        self.visit(select, scope);
    }

    fn visit(&mut self, part: &impl Visit, scope: &Scope) {
        let mut inside = Inside {
            walk: self,
            scope,
            depth: 0,
        };
        let ControlFlow::Continue(()) = part.visit(&mut inside);
    }

    fn relation(&mut self, name: &ObjectName, scope: &Scope) {
        match single(name) {
            Some(name) if scope.0.contains(&name) => {}
            Some(name) if self.known.contains_key(&name) => {
                self.reads.insert(name);
            }
            Some(_) => self.refuse(Rule::UnknownRelation(name.to_string())),
            None => self.refuse(Rule::NotAPlainName(name.to_string())),
        }
    }

    fn table_function(&mut self, name: &ObjectName) {
        if !single(name).is_some_and(|name| functions::is_permitted_as_table(&name)) {
            self.refuse(Rule::Function(name.to_string()));
        }
    }

    fn table_factor(&mut self, factor: &TableFactor, scope: &Scope) {
        match factor {
            TableFactor::Table {
                name,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                index_hints,
                ..
            } => {
                self.refuse_if(version.is_some(), "a table version");
                self.refuse_if(
                    !with_hints.is_empty()
                        || *with_ordinality
                        || !partitions.is_empty()
                        || json_path.is_some(),
                    "an option behind a relation",
                );
                self.refuse_if(!index_hints.is_empty(), "an index hint");
                match args {
                    Some(args) => {
                        self.refuse_if(args.settings.is_some(), "SETTINGS");
                        self.refuse_if(
                            args.args.iter().any(is_wildcard),
                            "* as an argument of a table function",
                        );
                        self.table_function(name);
                    }
                    None => self.relation(name, scope),
                }
            }
            TableFactor::Function {
                name,
                args,
                with_ordinality,
                ..
            } => {
                self.refuse_if(
                    args.iter().any(is_wildcard),
                    "* as an argument of a table function",
                );
                self.refuse_if(*with_ordinality, "WITH ORDINALITY");
                self.table_function(name);
            }
            // What is inside these is visited as a query, a factor or an expression of its own.
            TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::Pivot { .. }
            | TableFactor::Unpivot { .. } => {}
            _ => self.refuse(Rule::Form("this kind of table")),
        }
    }

    fn function(&mut self, function: &Function) {
        let permitted = single(&function.name).is_some_and(|name| functions::is_permitted(&name));
        if !permitted {
            self.refuse(Rule::Function(function.name.to_string()));
        }
        let is_count = single(&function.name).is_some_and(|name| name == "count");
        self.refuse_if(
            !is_count && takes_wildcard(&function.args),
            "* as an argument of a function other than COUNT",
        );
        self.refuse_if(function.uses_odbc_syntax, "ODBC function syntax");
        self.refuse_if(
            !matches!(function.parameters, FunctionArguments::None),
            "a parameterised function",
        );
    }

    fn value(&mut self, value: &ValueWithSpan) {
        match &value.value {
            Value::Placeholder(text) => match text.strip_prefix(':') {
                Some(name) if (self.declared)(name) => {}
                Some(name) => self.refuse(Rule::UndeclaredParameter(name.to_owned())),
                None => self.refuse(Rule::Form("a parameter without a name")),
            },
            Value::Number(..)
            | Value::SingleQuotedString(_)
            | Value::DoubleQuotedString(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::HexStringLiteral(_) => {}
            _ => self.refuse(Rule::Form("this kind of literal")),
        }
    }
}

/// The parser's visitor inside one select; `depth` counts the nested queries it is in.
struct Inside<'a, 'b> {
    walk: &'a mut Walk<'b>,
    scope: &'a Scope,
    depth: usize,
}

impl Visitor for Inside<'_, '_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        if self.depth == 0 {
            self.walk.query(query, self.scope);
        }
        self.depth = self.depth.saturating_add(1);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        self.depth = self.depth.saturating_sub(1);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        if self.depth == 0 {
            self.walk.table_factor(factor, self.scope);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        if self.depth == 0 {
            match expr {
                Expr::Function(function) => self.walk.function(function),
                other if is_permitted(other) => {}
                _ => self.walk.refuse(Rule::Form("this kind of expression")),
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<Self::Break> {
        if self.depth == 0 {
            self.walk.value(value);
        }
        ControlFlow::Continue(())
    }
}

/// Whether `*` is among the arguments: it would hand over columns that the query does not name.
fn takes_wildcard(arguments: &FunctionArguments) -> bool {
    let FunctionArguments::List(list) = arguments else {
        return false;
    };
    list.args.iter().any(is_wildcard)
}

fn is_wildcard(argument: &FunctionArg) -> bool {
    let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) =
        argument;
    !matches!(arg, FunctionArgExpr::Expr(_))
}

/// Expressions that compute from columns and literals; their parts are visited on their own.
fn is_permitted(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::CompoundFieldAccess { .. }
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::BinaryOp { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::RLike { .. }
            | Expr::UnaryOp { .. }
            | Expr::Cast { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::TypedString(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Struct { .. }
            | Expr::Named { .. }
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::Lambda(_)
    )
}

/// A name of one part in lower case.
pub(super) fn single(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(part)] => plain(part),
        _ => None,
    }
}

/// An identifier of ASCII letters, digits and underscores, in lower case.
pub(super) fn plain(ident: &Ident) -> Option<String> {
    let good = !ident.value.is_empty()
        && ident
            .value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    good.then(|| ident.value.to_ascii_lowercase())
}

/// The only relation of a FROM clause, if it has one and no joins.
pub(super) fn only(from: &[TableWithJoins]) -> Option<&TableFactor> {
    match from {
        [one] if one.joins.is_empty() => Some(&one.relation),
        _ => None,
    }
}
