//! Text that is the JSON of what the schema wants.

use fastmcp_protocol::Raw;
use serde_json::{Map, Value};

/// How deep values are looked at.
const MAX_DEPTH: usize = 32;

/// `args` with text taken for what `schema` wants there, where something can be: `"10"` for a number,
/// `"true"` for a boolean, `"[1]"` for a list, `"{}"` for an object. Text stays where text is wanted,
/// and where nothing in particular is.
pub(crate) fn mended(schema: &Value, args: &Raw) -> Option<Raw> {
    let mut value: Value = args.decode().ok()?;
    mend(schema, &mut value, MAX_DEPTH).then(|| Raw::of(&value).ok())?
}

fn mend(schema: &Value, value: &mut Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    let Some(schema) = only(schema) else {
        return false;
    };
    match value {
        Value::String(text) => {
            let Some(read) = serde_json::from_str(text).ok().filter(|v| fits(schema, v)) else {
                return false;
            };
            *value = read;
            mend_inside(schema, value, depth);
            true
        }
        _ => mend_inside(schema, value, depth),
    }
}

fn mend_inside(schema: &Map<String, Value>, value: &mut Value, depth: usize) -> bool {
    match value {
        Value::Object(members) => {
            let (known, others) = (schema.get("properties"), schema.get("additionalProperties"));
            let mut mended = false;
            for (name, member) in members {
                let wanted = known.and_then(|k| k.get(name)).or(others);
                mended |= wanted.is_some_and(|wanted| mend(wanted, member, depth));
            }
            mended
        }
        Value::Array(items) => schema.get("items").is_some_and(|wanted| {
            items
                .iter_mut()
                .fold(false, |mended, item| mend(wanted, item, depth) | mended)
        }),
        _ => false,
    }
}

/// The one thing that a schema wants, `null` apart. Where there are several, nothing is guessed.
fn only(schema: &Value) -> Option<&Map<String, Value>> {
    let object = schema.as_object()?;
    let alternatives = object.get("anyOf").or_else(|| object.get("oneOf"));
    let Some(alternatives) = alternatives.and_then(Value::as_array) else {
        return Some(object);
    };
    let mut wanted = alternatives
        .iter()
        .filter(|s| s.get("type").is_none_or(|t| t != "null"));
    match (wanted.next(), wanted.next()) {
        (Some(one), None) => one.as_object(),
        _ => None,
    }
}

/// Whether the schema names types, text not among them, and `value` is of one.
fn fits(schema: &Map<String, Value>, value: &Value) -> bool {
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return false,
    };
    let is_of = |name: &&str| match (value, *name) {
        (Value::Null, "null")
        | (Value::Bool(_), "boolean")
        | (Value::Number(_), "number")
        | (Value::Array(_), "array")
        | (Value::Object(_), "object") => true,
        (Value::Number(number), "integer") => !number.is_f64(),
        _ => false,
    };
    !types.contains(&"string") && types.iter().any(is_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mended_to(schema: &Value, args: &Value) -> Option<Value> {
        mended(schema, &Raw::of(args).unwrap()).map(|raw| raw.decode().unwrap())
    }

    #[test]
    fn text_is_taken_for_what_is_wanted_and_for_nothing_else() {
        let schema = json!({"properties": {
            "n": {"type": "integer"},
            "x": {"type": ["number", "null"]},
            "b": {"type": "boolean"},
            "list": {"type": "array", "items": {"type": "integer"}},
            "object": {"anyOf": [{"type": "object", "properties": {"n": {"type": "integer"}}}, {"type": "null"}]},
            "text": {"type": "string"},
            "either": {"type": ["string", "integer"]},
            "any": {},
        }});
        let cases = [
            (json!({"n": "10"}), Some(json!({"n": 10}))),
            (json!({"n": "10.5"}), None),
            (json!({"n": "ten"}), None),
            (json!({"x": "1.5"}), Some(json!({"x": 1.5}))),
            (json!({"b": "true"}), Some(json!({"b": true}))),
            (json!({"b": "1"}), None),
            (json!({"list": "[1, \"2\"]"}), Some(json!({"list": [1, 2]}))),
            (json!({"list": ["1", 2]}), Some(json!({"list": [1, 2]}))),
            (json!({"list": "{}"}), None),
            (
                json!({"object": "{\"n\": \"3\"}"}),
                Some(json!({"object": {"n": 3}})),
            ),
            (json!({"text": "10"}), None),
            (json!({"either": "10"}), None),
            (json!({"any": "[1]"}), None),
        ];
        for (args, expected) in cases {
            assert_eq!(mended_to(&schema, &args), expected, "{args}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_left_alone() {
        let (mut schema, mut args) = (json!({"type": "integer"}), json!("1"));
        for _ in 0..MAX_DEPTH {
            (schema, args) = (json!({"items": schema}), json!([args]));
        }
        assert_eq!(mended_to(&schema, &args), None);
    }
}
