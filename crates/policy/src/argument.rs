//! The open corners: arguments of the call and claims of the token, as typed values under dotted paths.
//!
//! Cedar's schema is closed and arguments are not, so a call's arguments become seven entities with tags, one per type. Rules name their paths
//! in quotes, hence only the paths that some rule reads are ever looked up, however large the arguments are.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

/// The longest path, in bytes.
const PATH_MAX: usize = 256;
/// The most parts of a path.
const PARTS_MAX: usize = 16;
/// The most entries that a list may have to be judged.
const LIST_MAX: usize = 1024;
/// The longest text that is judged, in bytes.
const TEXT_MAX: usize = 1 << 20;
/// Integers beyond this are no longer exact once a parser has made them floating.
const FLOAT_EXACT: f64 = 9_007_199_254_740_992.0;

/// Says whether a text can be a path: non-empty parts between dots.
pub(crate) fn is_path(path: &str) -> bool {
    path.len() <= PATH_MAX
        && path.split('.').count() <= PARTS_MAX
        && path.split('.').all(|part| !part.is_empty())
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Found<'a> {
    /// Nothing.
    Absent,
    /// One value.
    One(&'a Value),
    /// Several, since a dot may separate names or be part of one (`{"a": {"b": 1}, "a.b": 2}`).
    Several,
}

/// Looks a dotted path up, every dot taken as a separator or as part of a name.
pub(crate) fn look_up<'a>(map: &'a Map<String, Value>, path: &str) -> Found<'a> {
    let direct = map.get(path).map_or(Found::Absent, Found::One);
    path.match_indices('.').fold(direct, |found, (dot, _)| {
        let (Some(head), Some(tail)) = (path.get(..dot), path.get(dot + 1..)) else {
            return found;
        };
        let Some(Value::Object(inner)) = map.get(head) else {
            return found;
        };
        match (found, look_up(inner, tail)) {
            (found, Found::Absent) => found,
            (Found::Absent, deeper) => deeper,
            _ => Found::Several,
        }
    })
}

/// Says whether arguments of this JSON Schema may have something at a path. What the schema leaves open, they may.
pub(crate) fn is_taken(schema: &Value, path: &str) -> bool {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return true;
    };
    let is_within = |(dot, _)| {
        let (Some(head), Some(tail)) = (path.get(..dot), path.get(dot + 1..)) else {
            return false;
        };
        let inner = properties.get(head);
        inner.is_some_and(|inner| is_taken(inner, tail))
    };
    properties.contains_key(path) || path.match_indices('.').any(is_within)
}

/// A value as rules see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen<'a> {
    /// JSON null, which counts as no argument at all.
    Null,
    Text(&'a str),
    Flag(bool),
    /// A number, which may be a [`whole`] one or a [`decimal`].
    Number(&'a Number),
    /// A list of texts.
    List(Vec<&'a str>),
    /// A list of texts, numbers, booleans and nulls, but not of texts alone.
    Mixed(&'a [Value]),
    /// A list that holds objects or lists, or one beyond bounds.
    OtherList,
    Object,
    /// A text beyond bounds.
    Oversized,
}

impl<'a> Seen<'a> {
    pub(crate) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(number) => Self::Number(number),
            Value::String(text) if text.len() > TEXT_MAX => Self::Oversized,
            Value::String(text) => Self::Text(text),
            Value::Array(entries) if entries.len() > LIST_MAX => Self::OtherList,
            Value::Array(entries)
                if entries
                    .iter()
                    .any(|entry| entry.is_array() || entry.is_object()) =>
            {
                Self::OtherList
            }
            Value::Array(entries) => {
                let texts: Option<Vec<_>> = entries.iter().map(Value::as_str).collect();
                texts.map_or(Self::Mixed(entries), Self::List)
            }
            Value::Object(_) => Self::Object,
        }
    }

    /// Names the type, as `context.arguments.kind` tells it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) | Self::Oversized => "text",
            Self::Flag(_) => "flag",
            Self::Number(_) => "number",
            Self::List(_) | Self::Mixed(_) | Self::OtherList => "list",
            Self::Object => "object",
        }
    }

    /// Says whether a rule that compares with values can judge this one: all but a list of which not every entry is looked at.
    pub(crate) const fn is_comparable(&self) -> bool {
        !matches!(self, Self::OtherList)
    }

    /// Says whether a rule that compares with another attribute can judge this value: one that is alone. Whether a list is the caller, or is not, has
    /// no answer that neither widens a grant nor passes a deny rule by.
    pub(crate) const fn is_single(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Mixed(_) | Self::OtherList)
    }

    /// Says whether a Cedar policy that reads `context.arguments.<kind>` sees this value. One that sees none of it must not judge: an
    /// amount of 1000.5 has no tag under `number`, and a forbid that looks only there would let it pass.
    pub(crate) fn fits(&self, kind: &str) -> bool {
        match self {
            Self::Null => true,
            Self::Text(_) => matches!(kind, "kind" | "text"),
            Self::Flag(_) => matches!(kind, "kind" | "flag"),
            Self::Number(number) => match kind {
                "kind" => true,
                "number" => whole(number).is_some(),
                "decimal" => decimal(number).is_some(),
                _ => false,
            },
            Self::List(_) => matches!(kind, "kind" | "list"),
            Self::Mixed(_) => matches!(kind, "kind" | "mixed"),
            Self::OtherList | Self::Object | Self::Oversized => kind == "kind",
        }
    }
}

/// An entry of a [mixed](Seen::Mixed) list as text: JSON, whole numbers as integers. Null is no entry, as it is no argument.
pub(crate) fn entry(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => whole(number)
            .map_or_else(|| number.to_string(), |whole| whole.to_string())
            .into(),
        Value::Bool(_) | Value::String(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number as a 64-bit integer, where it is exactly one.
pub(crate) fn whole(number: &Number) -> Option<i64> {
    number
        .as_i64()
        .or_else(|| integer(&exact(number)?.to_string()))
}

/// A number as a Cedar decimal of four places, where it is exactly one.
pub(crate) fn decimal(number: &Number) -> Option<String> {
    let scaled = scaled(number)?;
    let (sign, digits) = (if scaled < 0 { "-" } else { "" }, scaled.unsigned_abs());
    Some(format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000))
}

/// The same in ten-thousandths.
pub(crate) fn scaled(number: &Number) -> Option<i64> {
    scaled_of(&exact(number)?.to_string())
}

/// A number that was not rounded when it was read.
fn exact(number: &Number) -> Option<&Number> {
    let float = number.as_f64().filter(|_| number.is_f64());
    let exact = number.as_i64().is_some() || float.is_some_and(|float| float.abs() < FLOAT_EXACT);
    exact.then_some(number)
}

/// Reads `-?digits(.0*)?` as an integer.
fn integer(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    fraction
        .bytes()
        .all(|digit| digit == b'0')
        .then(|| whole.parse().ok())?
}

/// Reads a plain number in ten-thousandths, if it is exactly so many and they fit into 64 bits.
pub(crate) fn scaled_of(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let plain = fraction.len() <= 4 && fraction.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| format!("{whole}{fraction:0<4}").parse().ok())?
}

/// Returns a claim as rules see it: a set of texts. Numbers and booleans are their JSON text, objects are no value.
pub(crate) fn claim(claims: &Map<String, Value>, path: &str) -> Option<BTreeSet<String>> {
    let Found::One(value) = look_up(claims, path) else {
        return None;
    };
    match value {
        Value::Array(entries) if entries.len() > LIST_MAX => None,
        Value::Array(entries) => entries.iter().map(scalar).collect(),
        other => scalar(other).map(|text| BTreeSet::from([text])),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.len() <= TEXT_MAX => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("an object, not {other}"),
        }
    }

    #[test]
    fn a_dot_separates_or_belongs_to_the_name_but_never_both() {
        let arguments =
            map(json!({"a": {"b": 1, "c.d": 2}, "x.y": {"z": 3}, "p": {"q": 1}, "p.q": 2}));
        assert_eq!(look_up(&arguments, "a.b"), Found::One(&json!(1)));
        assert_eq!(look_up(&arguments, "a.c.d"), Found::One(&json!(2)));
        assert_eq!(look_up(&arguments, "x.y.z"), Found::One(&json!(3)));
        assert_eq!(look_up(&arguments, "p.q"), Found::Several);
        assert_eq!(look_up(&arguments, "a.b.c"), Found::Absent);
    }

    #[test]
    fn numbers_are_exact_or_say_that_they_are_not() {
        let seen = |value: Value| match Seen::of(&value) {
            Seen::Number(number) => (whole(number), decimal(number)),
            other => panic!("a number, not {other:?}"),
        };
        assert_eq!(
            seen(json!(1000)),
            (Some(1000), Some("1000.0000".to_owned()))
        );
        assert_eq!(seen(json!(-0.5)), (None, Some("-0.5000".to_owned())));
        assert_eq!(seen(json!(-12.25)), (None, Some("-12.2500".to_owned())));
        assert_eq!(seen(json!(3.0)), (Some(3), Some("3.0000".to_owned())));
        assert_eq!(seen(json!(0.00001)), (None, None));
        assert_eq!(seen(json!(1e30)), (None, None));
        assert_eq!(seen(json!(u64::MAX)), (None, None));
        assert_eq!(seen(json!(i64::MAX)), (Some(i64::MAX), None));
    }

    #[test]
    fn claims_are_sets_of_texts() {
        let claims = map(
            json!({"dept": "sales", "level": 3, "realm": {"roles": ["a", "b"]}, "deep": {"x": {}}, "mixed": ["a", {}]}),
        );
        assert_eq!(
            claim(&claims, "dept"),
            Some(BTreeSet::from(["sales".to_owned()]))
        );
        assert_eq!(
            claim(&claims, "level"),
            Some(BTreeSet::from(["3".to_owned()]))
        );
        assert_eq!(
            claim(&claims, "realm.roles"),
            Some(BTreeSet::from(["a".to_owned(), "b".to_owned()]))
        );
        for none in ["deep.x", "mixed", "other", "realm"] {
            assert_eq!(claim(&claims, none), None, "{none}");
        }
    }
}
