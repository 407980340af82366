//! From text to one query, and the name of the view it makes, if it makes one.

use cleanroom_model::analytics::ViewName;
use sqlparser::ast::{Query, Statement as SqlStatement};
use sqlparser::dialect::SparkSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::Rule;

/// Deepest nesting of expressions and subqueries.
const DEPTH_MAX: usize = 40;

/// One segment's SQL.
pub(super) struct Statement {
    pub(super) makes: Option<ViewName>,
    pub(super) query: Box<Query>,
}

pub(super) fn parse(text: &str) -> Result<Statement, Rule> {
    check_text(text)?;
    let tokens = Tokenizer::new(&SparkSqlDialect, text)
        .tokenize_with_location()
        .map_err(|error| Rule::Parse(error.to_string()))?;
    let (makes, body) = split_head(tokens)?;
    let mut parser = Parser::new(&SparkSqlDialect)
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(body);
    let statements = parser
        .parse_statements()
        .map_err(|error| Rule::Parse(error.to_string()))?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(SqlStatement::Query(query)), None) => Ok(Statement { makes, query }),
        _ => Err(Rule::NotOneQuery),
    }
}

/// Refuses spellings that Spark and our parser read differently.
fn check_text(text: &str) -> Result<(), Rule> {
    if text.contains('\\') {
        return Err(Rule::Text(
            "a backslash: Spark takes it for an escape inside strings",
        ));
    }
    if text.contains("${") {
        return Err(Rule::Text(
            "${: Spark replaces it by settings or environment variables",
        ));
    }
    let odd = |c: char| (c.is_control() && c != '\n' && c != '\t') || (!c.is_ascii() && c.is_whitespace());
    if text.chars().any(odd) {
        return Err(Rule::Text("control characters or unusual blanks"));
    }
    Ok(())
}

/// Takes `CREATE [OR REPLACE] TEMP[ORARY] VIEW name AS` off. Any other `CREATE` stays and is refused
/// as no query. Columns, options or a comment in the head leave no `AS` behind the name, so they are
/// refused too.
fn split_head(tokens: Vec<TokenWithSpan>) -> Result<(Option<ViewName>, Vec<TokenWithSpan>), Rule> {
    let solid: Vec<(usize, &Token)> = tokens
        .iter()
        .enumerate()
        .map(|(place, token)| (place, &token.token))
        .filter(|(_, token)| !matches!(token, Token::Whitespace(_)))
        .collect();
    let is = |place: usize, keyword: Keyword| matches!(solid.get(place), Some((_, Token::Word(word))) if word.quote_style.is_none() && word.keyword == keyword);
    if !is(0, Keyword::CREATE) {
        return Ok((None, tokens));
    }
    let at = if is(1, Keyword::OR) && is(2, Keyword::REPLACE) {
        3_usize
    } else {
        1
    };
    let temporary = is(at, Keyword::TEMP) || is(at, Keyword::TEMPORARY);
    let name_at = at.saturating_add(2);
    let as_at = at.saturating_add(3);
    if !temporary || !is(at.saturating_add(1), Keyword::VIEW) || !is(as_at, Keyword::AS) {
        return Err(Rule::NotOneQuery);
    }
    let Some((_, Token::Word(name))) = solid.get(name_at) else {
        return Err(Rule::NotOneQuery);
    };
    let view = ViewName::parse(&name.value).map_err(|_| Rule::NotAPlainName(name.value.clone()))?;
    let body_at = solid
        .get(as_at)
        .map_or(tokens.len(), |(place, _)| place.saturating_add(1));
    Ok((Some(view), tokens.into_iter().skip(body_at).collect()))
}
