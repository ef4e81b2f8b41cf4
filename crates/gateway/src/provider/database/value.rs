//! Values on their way into a statement and out of it.
//!
//! SQLite's integers of 64 bits stay exact; a blob is `{"$base64": "..."}` in both directions.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fastmcp_protocol::args::{Node, Number};
use rusqlite::{
    Statement,
    types::{Value, ValueRef},
};

use crate::provider::{ProviderError, input::shorten};

/// The most parameters of one statement.
pub(super) const MAX_PARAMS: usize = 1_000;
/// Digits that a floating-point number of 64 bits can tell apart.
const FLOAT_DIGITS: usize = 17;

/// The values for a statement's placeholders.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Params {
    /// None were given.
    #[default]
    None,
    /// In the order of the placeholders.
    Positional(Vec<Value>),
    /// By the placeholders' names, without their sign.
    Named(BTreeMap<String, Value>),
}

impl Params {
    /// Reads `params`: an array or an object of scalars.
    ///
    /// # Errors
    ///
    /// An invalid-argument error that names the parameter.
    pub(super) fn read(node: Option<&Node>) -> Result<Self, ProviderError> {
        match node {
            None | Some(Node::Null) => Ok(Self::None),
            Some(Node::Array(items)) => {
                check_count(items.len())?;
                let values = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| scalar(item, &format!("params[{index}]")));
                Ok(Self::Positional(values.collect::<Result<_, _>>()?))
            }
            Some(Node::Object(items)) => {
                check_count(items.len())?;
                let values = items.iter().map(|(name, item)| {
                    let value = scalar(item, &format!("params.{name}"))?;
                    let bare = name.strip_prefix([':', '@', '$']).unwrap_or(name);
                    Ok((bare.to_owned(), value))
                });
                Ok(Self::Named(values.collect::<Result<_, ProviderError>>()?))
            }
            Some(_) => Err(ProviderError::invalid(
                "`params` must be an array or an object of scalars",
            )),
        }
    }

    /// Binds every placeholder of `statement`.
    ///
    /// # Errors
    ///
    /// An invalid-argument error when placeholders and values do not match; the outer error is SQLite's.
    pub(super) fn bind(
        self,
        statement: &mut Statement<'_>,
    ) -> rusqlite::Result<Result<(), ProviderError>> {
        let wanted = statement.parameter_count();
        match self {
            Self::None if wanted == 0 => Ok(Ok(())),
            Self::None => Ok(Err(ProviderError::invalid(format!(
                "`query` has {wanted} placeholders, but there are no `params`"
            )))),
            Self::Positional(values) if values.len() != wanted => {
                Ok(Err(ProviderError::invalid(format!(
                    "`query` has {wanted} placeholders, but `params` has {} values",
                    values.len()
                ))))
            }
            Self::Positional(values) => {
                for (index, value) in values.into_iter().enumerate() {
                    statement.raw_bind_parameter(index + 1, value)?;
                }
                Ok(Ok(()))
            }
            Self::Named(values) => bind_named(statement, values, wanted),
        }
    }
}

fn bind_named(
    statement: &mut Statement<'_>,
    mut values: BTreeMap<String, Value>,
    wanted: usize,
) -> rusqlite::Result<Result<(), ProviderError>> {
    for index in 1..=wanted {
        // `?` has no name; `?7` has, a number, which an array says better.
        let name = statement
            .parameter_name(index)
            .and_then(|name| name.strip_prefix([':', '@', '$']));
        let Some(name) = name.map(str::to_owned) else {
            return Ok(Err(ProviderError::invalid(format!(
                "placeholder {index} of `query` has no name: give `params` as an array, or name it, as in `:id`"
            ))));
        };
        let Some(value) = values.remove(&name) else {
            return Ok(Err(ProviderError::invalid(shorten(&format!(
                "`params.{name}` is missing"
            )))));
        };
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(match values.keys().next() {
        Some(extra) => Err(ProviderError::invalid(shorten(&format!(
            "`params.{extra}` belongs to no placeholder of `query`"
        )))),
        None => Ok(()),
    })
}

fn check_count(count: usize) -> Result<(), ProviderError> {
    if count > MAX_PARAMS {
        let message = format!("`params` has {count} values, more than {MAX_PARAMS}");
        return Err(ProviderError::invalid(message));
    }
    Ok(())
}

/// Reads the scalar `node`; `name` is its place.
fn scalar(node: &Node, name: &str) -> Result<Value, ProviderError> {
    let wrong = |what: &str| ProviderError::invalid(shorten(&format!("`{name}` {what}")));
    match node {
        Node::Null => Ok(Value::Null),
        Node::Bool(flag) => Ok(Value::Integer((*flag).into())),
        Node::String(text) => Ok(Value::Text(text.clone())),
        Node::Number(exact) => number(exact).map_err(wrong),
        Node::Object(members) => match members.get("$base64") {
            Some(Node::String(text)) if members.len() == 1 => STANDARD
                .decode(text)
                .map(Value::Blob)
                .map_err(|_| wrong("is not base64 (RFC 4648, section 4, with padding)")),
            _ => Err(wrong(
                "must be a scalar; a blob is `{\"$base64\": \"...\"}`",
            )),
        },
        Node::Array(_) => Err(wrong("must be a scalar: text, number, boolean or null")),
    }
}

fn number(exact: &Number) -> Result<Value, &'static str> {
    if let Some(integer) = exact.to_i64() {
        return Ok(Value::Integer(integer));
    }
    // Rounding an identifier would silently name another row.
    if exact.is_integer() && significant_digits(exact) > FLOAT_DIGITS {
        return Err("does not fit into 64 bits: pass it as a text");
    }
    Ok(Value::Real(exact.to_f64()))
}

fn significant_digits(number: &Number) -> usize {
    let text = number.to_string();
    let mantissa = text
        .split('e')
        .next()
        .unwrap_or_default()
        .trim_end_matches('0');
    mantissa.bytes().filter(u8::is_ascii_digit).count()
}

/// Appends `value` as JSON.
pub(super) fn write(out: &mut String, value: ValueRef<'_>) {
    match value {
        ValueRef::Integer(integer) => {
            // Writing to a string does not fail.
            let _infallible = write!(out, "{integer}");
        }
        ValueRef::Real(float) => match serde_json::Number::from_f64(float) {
            Some(number) => out.push_str(&number.to_string()),
            None => out.push_str("null"),
        },
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => write_text(out, text),
            Err(_) => write_blob(out, bytes),
        },
        ValueRef::Blob(bytes) => write_blob(out, bytes),
        ValueRef::Null => out.push_str("null"),
    }
}

/// Appends `text` as a JSON string.
pub(super) fn write_text(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(json) => out.push_str(&json),
        // A text always has a JSON form.
        Err(_) => out.push_str("null"),
    }
}

fn write_blob(out: &mut String, bytes: &[u8]) {
    out.push_str("{\"$base64\":\"");
    STANDARD.encode_string(bytes, out);
    out.push_str("\"}");
}

/// How many bytes `value` takes at least when written.
pub(super) const fn least_size(value: &ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_protocol::args::{Args, ArgsLimits};

    use super::*;

    fn read(text: &str) -> Result<Params, ProviderError> {
        let args =
            Args::parse_str(&format!(r#"{{"params":{text}}}"#), &ArgsLimits::default()).unwrap();
        Params::read(args.member("params"))
    }

    #[test]
    fn scalars_keep_their_value_exactly() {
        let params = read(
            r#"[null, true, false, "é", 9223372036854775807, -9007199254740993, 0.1, 1e300, 2.0, {"$base64":"AAH/"}]"#,
        );
        assert_eq!(
            params.unwrap(),
            Params::Positional(vec![
                Value::Null,
                Value::Integer(1),
                Value::Integer(0),
                Value::Text("é".to_owned()),
                Value::Integer(i64::MAX),
                Value::Integer(-9_007_199_254_740_993),
                Value::Real(0.1),
                Value::Real(1e300),
                Value::Integer(2),
                Value::Blob(vec![0, 1, 255]),
            ])
        );
        assert_eq!(read("null").unwrap(), Params::None);
    }

    #[test]
    fn what_is_no_scalar_is_refused_by_name() {
        for (text, named) in [
            ("[[1]]", "`params[0]` must be a scalar"),
            (r#"{"a":{"b":1}}"#, "`params.a` must be a scalar"),
            (
                "[100000000000000000001]",
                "`params[0]` does not fit into 64 bits",
            ),
            (
                "[9223372036854775808]",
                "`params[0]` does not fit into 64 bits",
            ),
            (r#"[{"$base64":"?"}]"#, "`params[0]` is not base64"),
            ("3", "`params` must be an array or an object"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message.starts_with(named), "{text}: {error}");
        }
        let many = format!("[{}1]", "1,".repeat(MAX_PARAMS));
        assert!(read(&many).unwrap_err().message.contains("more than 1000"));
    }

    #[test]
    fn what_is_no_json_becomes_some() {
        let written = |value| {
            let mut out = String::new();
            write(&mut out, value);
            out
        };
        assert_eq!(written(ValueRef::Real(f64::INFINITY)), "null");
        assert_eq!(written(ValueRef::Real(f64::NAN)), "null");
        assert_eq!(written(ValueRef::Real(1.0)), "1.0");
        assert_eq!(written(ValueRef::Integer(i64::MIN)), i64::MIN.to_string());
        assert_eq!(written(ValueRef::Text(b"a\"\n")), r#""a\"\n""#);
        assert_eq!(written(ValueRef::Text(b"\xff")), r#"{"$base64":"/w=="}"#);
        assert_eq!(written(ValueRef::Blob(b"")), r#"{"$base64":""}"#);
    }
}
