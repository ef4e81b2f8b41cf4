//! Headers that mirror arguments: `x-mcp-header` in an input schema.
//!
//! Source: MCP 2026-07-28, basic/transports/streamable-http, "Custom Headers from Tool Parameters"
//! (SEP-2243).

use serde_json::{Map, Value};

use super::{PARAM_PREFIX, decode, encode};
use crate::{ErrorCode, Raw, RpcError, tool::JsonSchema};

/// The keyword that marks a property.
const KEYWORD: &str = "x-mcp-header";
/// The levels of `properties` that are looked through.
const MAX_DEPTH: usize = 16;
/// The largest integer that a header mirrors, either sign.
///
/// Source: as this module; RFC 8259, section 6: what every reader of JSON reads alike.
const MAX_INTEGER: f64 = 9_007_199_254_740_991.0;

/// An argument that a header mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirroredParam {
    header: String,
    path: Vec<String>,
}

/// Why a schema marks its properties wrongly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMirror {
    /// The name is no token.
    #[error("`x-mcp-header` of `{0}` must be a token of RFC 9110: letters, digits and `-`")]
    Name(String),
    /// Two properties have one header.
    #[error("`x-mcp-header` names `{0}` twice; letter case does not tell headers apart")]
    Twice(String),
    /// The value would not be one scalar.
    #[error("`x-mcp-header` of `{0}` needs a property of type `string`, `integer` or `boolean`")]
    Type(String),
    /// The mark stands where it is not reached by names alone.
    #[error("`x-mcp-header` stands outside of `properties`, where no header can mirror a value")]
    Place,
    /// The schema cannot be read.
    #[error("schema cannot be read")]
    Unreadable,
}

impl MirroredParam {
    /// The header's name, in lower case.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The names that lead to the argument.
    #[must_use]
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// The header's value for `args`; none where the argument is absent or null, or nothing that a
    /// header mirrors: such arguments are refused for their type.
    #[must_use]
    pub fn mirror(&self, args: &Map<String, Value>) -> Option<String> {
        match self.value(args)? {
            Value::String(text) => Some(encode(text).into_owned()),
            Value::Bool(yes) => Some(yes.to_string()),
            Value::Number(number) => {
                let whole = number
                    .as_f64()
                    .is_some_and(|n| n.fract() == 0.0 && n.abs() <= MAX_INTEGER);
                whole.then(|| number.to_string())
            }
            _ => None,
        }
    }

    fn value<'a>(&self, args: &'a Map<String, Value>) -> Option<&'a Value> {
        let (first, rest) = self.path.split_first()?;
        rest.iter()
            .try_fold(args.get(first)?, |value, name| value.get(name))
            .filter(|value| !value.is_null())
    }
}

/// Finds the properties that `schema` marks.
///
/// # Errors
///
/// [`BadMirror`] when a mark is not a valid one; the tool must not be offered over HTTP then.
pub fn mirrored_params(schema: &JsonSchema) -> Result<Vec<MirroredParam>, BadMirror> {
    // Few schemas have marks, and only those are read.
    if !schema.as_str().contains(KEYWORD) {
        return Ok(Vec::new());
    }
    let schema = schema.to_value().map_err(|_| BadMirror::Unreadable)?;
    let mut found = Vec::new();
    visit(&schema, &mut Vec::new(), &mut found)?;
    // What is marked anywhere else was not found on the way.
    let marks = count(&schema);
    if marks == found.len() {
        Ok(found)
    } else {
        Err(BadMirror::Place)
    }
}

fn visit(
    schema: &Value,
    path: &mut Vec<String>,
    found: &mut Vec<MirroredParam>,
) -> Result<(), BadMirror> {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        path.push(name.clone());
        if let Some(mark) = property.get(KEYWORD) {
            let header = header_of(mark, property, &path.join("."))?;
            if found.iter().any(|f| f.header == header) {
                return Err(BadMirror::Twice(header));
            }
            found.push(MirroredParam {
                header,
                path: path.clone(),
            });
        }
        if path.len() < MAX_DEPTH {
            visit(property, path, found)?;
        }
        path.pop();
    }
    Ok(())
}

fn header_of(mark: &Value, property: &Value, path: &str) -> Result<String, BadMirror> {
    // Source: RFC 9110, section 5.6.2, "Tokens".
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let name = mark
        .as_str()
        .filter(|name| !name.is_empty() && name.bytes().all(is_tchar))
        .ok_or_else(|| BadMirror::Name(path.to_owned()))?;
    match property.get("type").and_then(Value::as_str) {
        Some("string" | "integer" | "boolean") => {
            Ok(format!("{PARAM_PREFIX}{}", name.to_ascii_lowercase()))
        }
        _ => Err(BadMirror::Type(path.to_owned())),
    }
}

/// How many schemas are marked: a property that is itself named like the keyword is none.
fn count(schema: &Value) -> usize {
    match schema {
        Value::Object(object) => {
            let own = usize::from(object.get(KEYWORD).is_some_and(|mark| !mark.is_object()));
            own + object.values().map(count).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0,
    }
}

/// Checks that the headers mirror the arguments: a marked argument that is there has its header,
/// once and equal, and one that is absent or null has none.
///
/// `headers` gives the values of the header with a name, each `None` where it is not text.
///
/// # Errors
///
/// A header mismatch that names the header.
pub fn check_params<'h>(
    marked: &[MirroredParam],
    args: Option<&Raw>,
    headers: impl Fn(&str) -> Vec<Option<&'h str>>,
) -> Result<(), RpcError> {
    let args: Map<String, Value> = match args {
        Some(args) => args.decode().map_err(|e| {
            RpcError::invalid_params(format!("`params.arguments` cannot be read: {e}"))
        })?,
        None => Map::new(),
    };
    for param in marked {
        let wrong = |why: &str| {
            let text = format!(
                "header {} {why} argument `{}`",
                param.header,
                param.path.join(".")
            );
            Err(RpcError::new(ErrorCode::HEADER_MISMATCH, text))
        };
        match (param.value(&args), headers(&param.header).as_slice()) {
            (None, []) => {}
            (None, _) => return wrong("is sent without its"),
            // A value of another type is refused with the other arguments.
            (Some(Value::Array(_) | Value::Object(_)), _) => {}
            (Some(_), []) => return wrong("is missing for"),
            (Some(value), [Some(sent)]) => match decode(sent) {
                Ok(sent) if equal(value, &sent) => {}
                _ => return wrong("does not mirror"),
            },
            (Some(_), _) => return wrong("must be sent once, as text, for"),
        }
    }
    Ok(())
}

fn equal(value: &Value, sent: &str) -> bool {
    match value {
        Value::String(text) => text == sent,
        Value::Bool(true) => sent == "true",
        Value::Bool(false) => sent == "false",
        Value::Number(number) => {
            let plain = sent
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'));
            let sent = sent.parse::<f64>().ok().filter(|_| plain);
            // Integers of this size have one representation each.
            let equal = sent.is_some() && sent == number.as_f64();
            equal && sent.is_some_and(|n| n.abs() <= MAX_INTEGER)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn marks(schema: &Value) -> Result<Vec<MirroredParam>, BadMirror> {
        mirrored_params(&JsonSchema::from_value(schema).unwrap())
    }

    fn region() -> Vec<MirroredParam> {
        marks(&json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "where": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "x-mcp-header": {"type": "object"},
        }}))
        .unwrap()
    }

    #[test]
    fn marks_are_found_on_the_way_of_names() {
        let found = region();
        assert_eq!(found[0].header(), "mcp-param-region");
        assert_eq!(found[1].path(), ["where", "n"]);
    }

    #[test]
    fn wrong_marks_are_refused() {
        let property = |p: Value| marks(&json!({"type": "object", "properties": {"a": p}}));
        let mark = |name: &str, kind: &str| property(json!({"type": kind, "x-mcp-header": name}));
        assert_eq!(mark("", "string"), Err(BadMirror::Name("a".to_owned())));
        assert_eq!(mark("a b", "string"), Err(BadMirror::Name("a".to_owned())));
        assert_eq!(mark("A", "number"), Err(BadMirror::Type("a".to_owned())));
        assert_eq!(mark("A", "null"), Err(BadMirror::Type("a".to_owned())));
        let items = json!({"type": "array", "items": {"type": "string", "x-mcp-header": "A"}});
        assert_eq!(property(items), Err(BadMirror::Place));
        let twice = json!({"type": "object", "properties": {
            "a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"},
        }});
        assert_eq!(
            marks(&twice),
            Err(BadMirror::Twice("mcp-param-a".to_owned()))
        );
    }

    #[test]
    fn headers_mirror_arguments() {
        let check = |args: Value, sent: &[(&str, &'static str)]| {
            let args = Raw::of(&args).unwrap();
            let headers = |name: &str| {
                sent.iter()
                    .filter(|(n, _)| name == format!("mcp-param-{n}"))
                    .map(|(_, value)| Some(*value))
                    .collect()
            };
            check_params(&region(), Some(&args), headers).map_err(|e| e.code)
        };
        let mismatch = Err(ErrorCode::HEADER_MISMATCH);
        assert_eq!(check(json!({}), &[]), Ok(()));
        assert_eq!(check(json!({"region": null}), &[]), Ok(()));
        assert_eq!(
            check(json!({"region": "eu"}), &[("region", " eu ")]),
            Ok(())
        );
        assert_eq!(
            check(json!({"region": "ü"}), &[("region", "=?base64?w7w=?=")]),
            Ok(())
        );
        assert_eq!(
            check(json!({"region": "ü"}), &[("region", "=?base64?w7w?=")]),
            mismatch
        );
        assert_eq!(
            check(json!({"region": "eu"}), &[("region", "EU")]),
            mismatch
        );
        assert_eq!(check(json!({"region": "eu"}), &[]), mismatch);
        assert_eq!(check(json!({}), &[("region", "eu")]), mismatch);
        assert_eq!(
            check(
                json!({"region": "eu"}),
                &[("region", "eu"), ("region", "eu")]
            ),
            mismatch
        );
        assert_eq!(check(json!({"where": {"n": 42}}), &[("n", "42.0")]), Ok(()));
        assert_eq!(check(json!({"where": {"n": 42}}), &[("n", "43")]), mismatch);
        assert_eq!(
            check(json!({"where": {"n": 42}}), &[("n", "4.2e1")]),
            mismatch
        );
        assert_eq!(
            check(
                json!({"where": {"n": 9_007_199_254_740_993_i64}}),
                &[("n", "9007199254740993")]
            ),
            mismatch
        );
    }
}
