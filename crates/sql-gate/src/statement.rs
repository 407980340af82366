//! From text to one query, and the name of the view it makes, if it makes one.

use cleanroom_model::analytics::ViewName;
use sqlparser::ast::{Query, Statement as SqlStatement};
use sqlparser::dialect::SparkSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use super::{Rule, text};

/// Deepest nesting of expressions and subqueries.
const DEPTH_MAX: usize = 40;
/// Most operators of one statement. A chain of them is as deep as it is long, and the parser's own
/// limit does not see chains; what walks, copies or drops the result does.
const OPERATOR_COUNT_MAX: usize = 500;

/// One segment's SQL.
pub(super) struct Statement {
    pub(super) makes: Option<ViewName>,
    pub(super) query: Box<Query>,
}

pub(super) fn parse(text: &str) -> Result<Statement, Rule> {
    let plain = text::without_comments(text)?;
    let tokens = Tokenizer::new(&SparkSqlDialect, &plain)
        .tokenize_with_location()
        .map_err(|error| Rule::Parse(error.to_string()))?;
    check_tokens(&tokens)?;
    let (makes, body) = split_head(text, tokens)?;
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

/// Bounds the operators, and refuses what is a comment or a string to one lexer only.
fn check_tokens(tokens: &[TokenWithSpan]) -> Result<(), Rule> {
    let mut operator_count = 0_usize;
    for TokenWithSpan { token, .. } in tokens {
        match token {
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
                return Err(Rule::Text("what only one of two parsers takes for a comment"));
            }
            // Spark reads these as two tokens.
            Token::PGSquareRoot | Token::PGCubeRoot | Token::TildeAsterisk => {
                return Err(Rule::Text("an operator that Spark does not know"));
            }
            other if is_operator(other) => operator_count = operator_count.saturating_add(1),
            _ => {}
        }
    }
    if operator_count > OPERATOR_COUNT_MAX {
        return Err(Rule::Form("a statement of more than 500 operators"));
    }
    Ok(())
}

/// Whether a token can make a tree deeper without a parenthesis. Unknown ones count.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::EOF
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::Whitespace(_)
        | Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::SemiColon
        | Token::Placeholder(_) => false,
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::DIV
                | Keyword::IS
                | Keyword::NOTNULL
                | Keyword::IN
                | Keyword::BETWEEN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::RLIKE
                | Keyword::REGEXP
                | Keyword::SIMILAR
                | Keyword::ESCAPE
                | Keyword::MEMBER
                | Keyword::OVERLAPS
                | Keyword::MATCH
                | Keyword::OPERATOR
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::UNION
                | Keyword::INTERSECT
                | Keyword::EXCEPT
                | Keyword::MINUS
                | Keyword::PIVOT
                | Keyword::UNPIVOT
        ),
        _ => true,
    }
}

/// Takes `CREATE [OR REPLACE] TEMP[ORARY] VIEW name AS` off. Any other `CREATE` stays and is refused
/// as no query. Columns or options in the head leave no `AS` behind the name, so they are refused
/// too; comments in it as well, since the program that Spark runs takes the head off as text.
fn split_head(
    text: &str,
    tokens: Vec<TokenWithSpan>,
) -> Result<(Option<ViewName>, Vec<TokenWithSpan>), Rule> {
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
    // One word for each token of the head, with blanks and nothing else between them.
    let words: Vec<&str> = text
        .split_ascii_whitespace()
        .take(as_at.saturating_add(1))
        .collect();
    let quoted = format!("`{}`", name.value);
    let plain = words
        .first()
        .is_some_and(|word| word.eq_ignore_ascii_case("create"))
        && words
            .get(name_at)
            .is_some_and(|word| *word == name.value || *word == quoted)
        && words
            .get(as_at)
            .is_some_and(|word| word.eq_ignore_ascii_case("as"));
    if !plain {
        return Err(Rule::Form(
            "a comment or a missing blank in the head of CREATE VIEW",
        ));
    }
    let body_at = solid
        .get(as_at)
        .map_or(tokens.len(), |(place, _)| place.saturating_add(1));
    Ok((Some(view), tokens.into_iter().skip(body_at).collect()))
}
