//! A statement's text without its comments, read as Spark's lexer reads it.
//!
//! What is a comment decides what is executed, and lexers differ: Spark reads `/*+` as a hint and
//! not as a comment, also inside another comment, and strings inside a hint are strings. So comments
//! are taken off here, by Spark's rules alone, and forms on which lexers could disagree are refused.

use std::iter::Peekable;
use std::str::Chars;

use super::Rule;

/// The text with a blank in place of every comment.
///
/// # Errors
///
/// [`Rule::Text`] for spellings that Spark and our parser would read differently.
pub(super) fn without_comments(text: &str) -> Result<String, Rule> {
    check(text)?;
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\'' | '"' | '`', _) => {
                plain.push(c);
                // A doubled quote closes and opens at once, which comes to the same.
                for inner in chars.by_ref() {
                    plain.push(inner);
                    if inner == c {
                        break;
                    }
                }
            }
            ('-', Some('-')) => {
                let newline = chars.by_ref().any(|c| c == '\n');
                plain.push(if newline { '\n' } else { ' ' });
            }
            ('/', Some('*')) => {
                chars.next();
                skip_bracketed(&mut chars)?;
                plain.push(' ');
            }
            ('$', _) => {
                return Err(Rule::Text("$ outside strings: it may open a string in Spark"));
            }
            _ => plain.push(c),
        }
    }
    Ok(plain)
}

/// Skips to the end of a comment whose `/*` has been read.
fn skip_bracketed(chars: &mut Peekable<Chars<'_>>) -> Result<(), Rule> {
    if chars.peek() == Some(&'+') {
        return Err(Rule::Text("a hint: parsers differ on where it ends"));
    }
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('*', Some('/')) => {
                chars.next();
                return Ok(());
            }
            ('/', Some('*')) => {
                return Err(Rule::Text(
                    "a comment inside a comment: parsers differ on where it ends",
                ));
            }
            _ => {}
        }
    }
    Err(Rule::Text("a comment without an end"))
}

fn check(text: &str) -> Result<(), Rule> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_blanks_and_strings_stay_whole() {
        for (text, plain) in [
            ("a -- b /* c\nd", "a \nd"),
            ("a/* 'b */c", "a c"),
            ("a/**/b/***/c/*/ */d", "a b c d"),
            ("'-- a' \"/* b\" `/* -- c` -- d", "'-- a' \"/* b\" `/* -- c`  "),
            ("'it''s' - -1", "'it''s' - -1"),
        ] {
            assert_eq!(without_comments(text).as_deref(), Ok(plain), "{text}");
        }
    }

    #[test]
    fn comments_on_which_lexers_differ_are_refused() {
        for text in [
            "/*+ a */",
            "/* /* a */ */",
            "/* /*+ */ a",
            "/* a",
            "/*/",
            "$$ ' $$",
            "a$b",
        ] {
            assert!(matches!(without_comments(text), Err(Rule::Text(_))), "{text}");
        }
    }
}
