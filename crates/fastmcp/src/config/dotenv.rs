//! The text of a `.env` file.

use super::{ConfigError, Problem};

/// The most bytes of a file.
const MAX_BYTES: usize = 1024 * 1024;

/// Reads the text of a `.env` file: a `NAME=value` in each line, with or without `export` before it; values in
/// single quotes as they are, values in double quotes with `\n`, `\t`, `\\`, `\"` and `\$`, others up to a ` #` or
/// the end of their line. `#` begins a comment. Nothing is put in place of `$NAME`: no other variable is looked at.
///
/// # Errors
///
/// When a line is none of this; the line is named, its value is not. When the text is longer than 1 MiB.
pub fn dotenv(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    if text.len() > MAX_BYTES {
        let problem = Problem::new(".env", format!("is longer than {MAX_BYTES} bytes"));
        return Err(ConfigError {
            problems: vec![problem],
        });
    }
    let (mut pairs, mut problems) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match pair(line) {
            Ok(pair) => pairs.push(pair),
            Err(why) => problems.push(Problem::new(format!("line {}", index + 1), why)),
        }
    }
    ConfigError::none(problems)?;
    Ok(pairs)
}

fn pair(line: &str) -> Result<(String, String), &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("must be `NAME=value`")?;
    let name = name.trim();
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err("must begin with a name of letters, digits and `_`");
    }
    Ok((name.to_owned(), value_of(value.trim())?))
}

fn value_of(text: &str) -> Result<String, &'static str> {
    if let Some(rest) = text.strip_prefix('\'') {
        let (value, rest) = rest.split_once('\'').ok_or("has no closing `'`")?;
        return ends(rest).map(|()| value.to_owned());
    }
    if let Some(rest) = text.strip_prefix('"') {
        return quoted(rest);
    }
    let value = match text.find(" #") {
        Some(comment) => text.get(..comment).unwrap_or(text),
        None => text,
    };
    Ok(value.trim_end().to_owned())
}

/// A value up to its closing quote.
fn quoted(text: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return ends(chars.as_str()).map(|()| value),
            '\\' => value.push(match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(c @ ('\\' | '"' | '$')) => c,
                _ => {
                    return Err(
                        r#"has a `\` before something else than `n`, `t`, `\`, `"` or `$`"#,
                    );
                }
            }),
            c => value.push(c),
        }
    }
    Err("has no closing `\"`")
}

/// Nothing but a comment stands behind a quoted value.
fn ends(rest: &str) -> Result<(), &'static str> {
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(())
    } else {
        Err("has something behind its closing quote")
    }
}
