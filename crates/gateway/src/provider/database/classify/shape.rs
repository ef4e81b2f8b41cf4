//! A look at a statement's words before it is parsed.
//!
//! The parser goes down the tree by recursion, and some of its paths do so without counting (`EXPLAIN EXPLAIN ..`,
//! nested blocks, copies of a chain of operators). What could exhaust the stack is refused here, where nothing recurs.

use sqlparser::{
    dialect::SQLiteDialect,
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan, Tokenizer},
};

use super::{not_understood, refused, several};
use crate::provider::ProviderError;

/// The most words, numbers and signs of a statement.
const MAX_TOKENS: usize = 4_000;
/// The most operators and keywords between two commas, those around the brackets included: how deep a tree can grow.
const MAX_CHAIN: usize = 400;
/// The same in a statement with `GLOB`, `MATCH` or `REGEXP`, whose left side the parser copies, which takes about 5 KB
/// of stack for each level where nothing is optimised.
const MAX_COPIED_CHAIN: usize = 80;
/// The most `UNION`, `INTERSECT` and `EXCEPT`.
const MAX_COMPOUND: usize = 50;

/// The longest list of characters for `trim`, in bytes.
const MAX_TRIM: usize = 64;

/// What a statement is by its words.
#[derive(Debug)]
pub(super) enum Shape {
    /// `CREATE TRIGGER`, whose body holds statements of its own.
    Trigger,
    /// One statement for the parser, without `EXPLAIN` before it and semicolons behind it.
    Statement(Vec<TokenWithSpan>),
}

/// Takes `sql` apart into words, and looks at what it begins with and how deep it can be.
///
/// # Errors
///
/// An invalid-argument error when `sql` is empty, several statements, none that is available, or too deep.
pub(super) fn shape(sql: &str) -> Result<Shape, ProviderError> {
    let mut tokens = Tokenizer::new(&SQLiteDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| not_understood(&error.to_string()))?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    if tokens.len() > MAX_TOKENS {
        return Err(ProviderError::invalid(format!(
            "`query` has {} words and signs, more than {MAX_TOKENS}: split it, or pass values through `params`",
            tokens.len()
        )));
    }
    let is_semicolon = |token: &TokenWithSpan| token.token == Token::SemiColon;
    let start = tokens
        .iter()
        .position(|token| !is_semicolon(token))
        .unwrap_or(tokens.len());
    tokens.drain(..start);
    strip_explain(&mut tokens);
    check_trims(&tokens)?;
    if begins_trigger(&tokens)? {
        return Ok(Shape::Trigger);
    }
    let statements = tokens
        .split(is_semicolon)
        .filter(|part| !part.is_empty())
        .count();
    if statements > 1 {
        return Err(several(statements));
    }
    tokens.retain(|token| !is_semicolon(token));
    check_depth(&tokens)?;
    Ok(Shape::Statement(tokens))
}

/// Takes one `EXPLAIN` or `EXPLAIN QUERY PLAN` away: what is explained decides.
fn strip_explain(tokens: &mut Vec<TokenWithSpan>) {
    let words = |count| word(tokens, count);
    let explain = match (
        words(0).as_deref(),
        words(1).as_deref(),
        words(2).as_deref(),
    ) {
        (Some("EXPLAIN"), Some("QUERY"), Some("PLAN")) => 3,
        (Some("EXPLAIN"), ..) => 1,
        _ => 0,
    };
    tokens.drain(..explain);
}

/// The word at `index` in capitals, where there is one without quotes.
fn word(tokens: &[TokenWithSpan], index: usize) -> Option<String> {
    match &tokens.get(index)?.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    }
}

/// Whether `tokens` begin a trigger; refuses what begins nothing that is available.
fn begins_trigger(tokens: &[TokenWithSpan]) -> Result<bool, ProviderError> {
    let first = tokens.iter().position(|token| token.token != Token::LParen);
    let Some(first) = first else {
        return Err(ProviderError::invalid(
            "`query` is empty: send one SQL statement",
        ));
    };
    let Some(verb) = word(tokens, first) else {
        return Err(not_understood("it begins with no word"));
    };
    let object = word(tokens, first + 1).unwrap_or_default();
    match (verb.as_str(), object.as_str()) {
        ("SELECT" | "WITH" | "VALUES" | "INSERT" | "REPLACE" | "UPDATE" | "DELETE", _) => Ok(false),
        ("CREATE", "TRIGGER") => Ok(true),
        ("CREATE", "TABLE" | "VIEW" | "INDEX" | "UNIQUE")
        | ("ALTER", "TABLE")
        | ("DROP", "TABLE" | "VIEW" | "INDEX" | "TRIGGER") => Ok(false),
        ("CREATE", "TEMP" | "TEMPORARY") => Err(refused("CREATE TEMP")),
        ("CREATE" | "ALTER" | "DROP", _) => Err(refused(&format!("{verb} {object}"))),
        _ => Err(refused(&verb)),
    }
}

/// Refuses what parses into a tree that is too deep. The depth cannot exceed the operators and keywords that stand in
/// a row, with those around every open bracket; a comma begins anew.
fn check_depth(tokens: &[TokenWithSpan]) -> Result<(), ProviderError> {
    let copies = tokens.iter().any(|token| match &token.token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::GLOB | Keyword::MATCH | Keyword::REGEXP
        ),
        _ => false,
    });
    let most = if copies { MAX_COPIED_CHAIN } else { MAX_CHAIN };
    let mut compound = 0;
    let mut around = Vec::new();
    let (mut outer, mut here) = (0, 0);
    for token in tokens {
        match &token.token {
            Token::LParen => {
                around.push(here);
                outer += here;
                here = 0;
            }
            Token::RParen => {
                here = around.pop().unwrap_or(0);
                outer -= here;
            }
            Token::Comma => here = 0,
            Token::Word(word)
                if word.quote_style.is_some() || word.keyword == Keyword::NoKeyword => {}
            Token::Period
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_) => {}
            Token::Word(word) => {
                here += 1;
                compound += usize::from(matches!(
                    word.keyword,
                    Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT
                ));
            }
            _ => here += 1,
        }
        if outer + here > most || compound > MAX_COMPOUND {
            return Err(ProviderError::invalid(
                "`query` is too deep: put fewer operators in a row, for example IN instead of OR",
            ));
        }
    }
    Ok(())
}

/// Refuses `trim` with a list of characters that is not a short text.
///
/// SQLite compares every character with the whole list, and nothing can stop it meanwhile: half a megabyte of each
/// takes minutes.
fn check_trims(tokens: &[TokenWithSpan]) -> Result<(), ProviderError> {
    for (index, token) in tokens.iter().enumerate() {
        let Token::Word(word) = &token.token else {
            continue;
        };
        let trims = ["trim", "ltrim", "rtrim"]
            .iter()
            .any(|name| word.value.eq_ignore_ascii_case(name));
        let arguments = tokens.get(index + 1..).unwrap_or_default();
        if trims && !has_short_list(arguments) {
            return Err(ProviderError::invalid(format!(
                "`query`: the second argument of `{}` must be a text of at most {MAX_TRIM} bytes, written out",
                word.value
            )));
        }
    }
    Ok(())
}

/// Whether the second of the `arguments` in brackets, if there is one, is a short text.
fn has_short_list(arguments: &[TokenWithSpan]) -> bool {
    let mut depth = 0_usize;
    for (index, token) in arguments.iter().enumerate() {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Comma if depth == 1 => {
                let list = arguments.get(index + 1).map(|token| &token.token);
                let end = arguments.get(index + 2).map(|token| &token.token);
                return match list {
                    Some(Token::SingleQuotedString(text)) => {
                        text.len() <= MAX_TRIM && end == Some(&Token::RParen)
                    }
                    _ => false,
                };
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trim_takes_a_short_list() {
        for (sql, fits) in [
            ("SELECT trim(name) FROM t", true),
            ("SELECT trim(a, ' x'), rtrim(max(a, b)), 1 FROM t", true),
            ("SELECT trim FROM t", true),
            ("SELECT trim, a FROM t", true),
            ("SELECT ltrim(a, b) FROM t", false),
            ("SELECT \"TRIM\"(a, hex(zeroblob(9))) FROM t", false),
            ("SELECT trim(a, 'x' || b) FROM t", false),
            ("SELECT trim(a, ?) FROM t", false),
            ("SELECT trim(rtrim(a, b), 'x') FROM t", false),
            (
                "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT trim(a, b); END",
                false,
            ),
        ] {
            assert_eq!(shape(sql).is_ok(), fits, "{sql}");
        }
        assert!(shape(&format!("SELECT trim(a, '{}')", "x".repeat(65))).is_err());
    }

    #[test]
    fn only_what_nests_counts_as_deep() {
        let fits = |sql: &str| shape(sql).is_ok();
        assert!(fits(&format!(
            "SELECT a FROM t WHERE id IN (1{})",
            ",-2".repeat(1_000)
        )));
        assert!(fits(&format!(
            "INSERT INTO t VALUES (1, 'a'){}",
            ", (-1, 'b')".repeat(500)
        )));
        assert!(fits(&format!(
            "SELECT a FROM t WHERE a = 1{}",
            " OR a = 2".repeat(190)
        )));
        assert!(!fits(&format!(
            "SELECT a FROM t WHERE a = 1{}",
            " OR a = 2".repeat(400)
        )));
        assert!(!fits(&format!(
            "SELECT 1{}{}",
            "+(1".repeat(500),
            ")".repeat(500)
        )));
        assert!(!fits(&format!("SELECT 1{}", "+1".repeat(MAX_TOKENS))));
    }

    #[test]
    fn brackets_that_do_not_match_are_left_to_the_parser() {
        for sql in ["SELECT ))))", "SELECT ((((", ")", "((("] {
            assert!(super::super::classify(sql).is_err(), "{sql}");
        }
    }
}
