//! Arguments from words, typed by the schema of what takes them.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use crate::{output::printable, surroundings::did_you_mean};

/// How deep references and alternatives of a schema are followed.
const DEPTH: usize = 8;

/// The arguments that `words` (`name=text`, `name:=JSON`) and `given` make, as `schema` wants them. Says by name what
/// does not fit, what is missing, and what nobody takes.
pub(crate) fn assemble(
    words: &[String],
    given: Map<String, Value>,
    schema: &Value,
) -> Result<Map<String, Value>, String> {
    let none = Map::new();
    let properties = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let is_open = schema.get("additionalProperties") != Some(&Value::Bool(false));
    let mut arguments = given;
    let mut texts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for word in words {
        let (name, text) = word
            .split_once('=')
            .ok_or_else(|| format!("`{}`: give NAME=VALUE", printable(word)))?;
        match name.strip_suffix(':') {
            Some(name) => {
                let value = serde_json::from_str(text).map_err(|error| {
                    format!(
                        "`{}`: what follows `:=` is no JSON: {error}",
                        printable(name)
                    )
                })?;
                arguments.insert(name.to_owned(), value);
            }
            None => texts.entry(name).or_default().push(text),
        }
    }
    for (name, texts) in texts {
        let value = match properties.get(name) {
            Some(property) => typed(&texts, property, schema),
            None => Ok(guessed(&texts)),
        };
        let value = value.map_err(|why| format!("`{}`: {why}", printable(name)))?;
        arguments.insert(name.to_owned(), value);
    }
    let stray = arguments
        .keys()
        .find(|name| !properties.contains_key(*name));
    if let (Some(name), false) = (stray, is_open) {
        let near = did_you_mean(name, properties.keys().map(String::as_str));
        return Err(format!(
            "`{}`: there is no such argument{near}",
            printable(name)
        ));
    }
    let required = schema.get("required").and_then(Value::as_array);
    let missing: Vec<_> = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| !arguments.contains_key(*name))
        .map(|name| format!("`{}`", printable(name)))
        .collect();
    if !missing.is_empty() {
        return Err(format!("missing: {}", missing.join(", ")));
    }
    Ok(arguments)
}

/// The value that `texts` mean where `property` says what is wanted.
fn typed(texts: &[&str], property: &Value, root: &Value) -> Result<Value, String> {
    let types = types(property, root);
    let wants = |word: &str| types.contains(&word);
    let value = match texts {
        [text] => single(text, &types, property, root)?,
        several if wants("array") => {
            let items = items(property, root);
            let all: Result<Vec<_>, _> = several
                .iter()
                .map(|text| typed(&[text], items, root))
                .collect();
            Value::Array(all?)
        }
        _ => return Err("it is given several times and takes one value".to_owned()),
    };
    choices(&value, property, root)?;
    Ok(value)
}

/// One text as the first of the types that it can be.
fn single(text: &str, types: &[&str], property: &Value, root: &Value) -> Result<Value, String> {
    let wants = |word: &str| types.contains(&word);
    if types.is_empty() {
        return Ok(guessed(&[text]));
    }
    if wants("null") && text == "null" {
        return Ok(Value::Null);
    }
    if wants("boolean") && matches!(text, "true" | "false") {
        return Ok(Value::Bool(text == "true"));
    }
    if (wants("integer") || wants("number"))
        && let Ok(number) = serde_json::from_str::<Number>(text)
    {
        let whole = number.is_i64() || number.is_u64();
        // Rounded, it would be another number than the one that was given.
        let is_exact = whole || text.contains(['.', 'e', 'E']);
        if is_exact && (whole || wants("number")) {
            return Ok(Value::Number(number));
        }
    }
    for (word, begin) in [("array", '['), ("object", '{')] {
        if wants(word) && text.trim_start().starts_with(begin) {
            return serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"));
        }
    }
    if wants("string") {
        return Ok(Value::from(text));
    }
    if wants("array") {
        let item = typed(&[text], items(property, root), root)?;
        return Ok(Value::Array(vec![item]));
    }
    Err(format!("give {}, not `{}`", wanted(types), shown(text)))
}

/// The types in words.
fn wanted(types: &[&str]) -> String {
    let words: Vec<_> = types
        .iter()
        .map(|word| match *word {
            "boolean" => "true or false",
            "integer" => "a whole number of at most 64 bits",
            "number" => "a number",
            "object" => "a JSON object",
            "null" => "null",
            _ => "a value",
        })
        .collect();
    words.join(" or ")
}

fn shown(text: &str) -> String {
    printable(&text.chars().take(64).collect::<String>())
}

/// Refuses what is not among the choices, where there are some.
fn choices(value: &Value, property: &Value, root: &Value) -> Result<(), String> {
    let Some(choices) = choices_of(property, root) else {
        return Ok(());
    };
    if choices.contains(value) {
        return Ok(());
    }
    let words: Vec<String> = choices
        .iter()
        .take(32)
        .map(|choice| {
            choice
                .as_str()
                .map_or_else(|| choice.to_string(), str::to_owned)
        })
        .collect();
    let given = value.as_str().unwrap_or_default();
    let near = did_you_mean(given, words.iter().map(String::as_str));
    Err(format!(
        "give one of {}{near}",
        printable(&words.join(", "))
    ))
}

/// The choices that a property leaves.
pub(crate) fn choices_of<'a>(property: &'a Value, root: &'a Value) -> Option<&'a Vec<Value>> {
    resolved(property, root, DEPTH)
        .get("enum")
        .and_then(Value::as_array)
}

/// Without a schema: JSON where it is that, a text otherwise.
fn guessed(texts: &[&str]) -> Value {
    let one = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    match texts {
        [text] => one(text),
        several => several.iter().map(|text| one(text)).collect(),
    }
}

/// What the items of a list are.
pub(crate) fn items<'a>(property: &'a Value, root: &'a Value) -> &'a Value {
    let property = resolved(property, root, DEPTH);
    let own = property.get("items");
    let of_alternatives =
        alternatives(property).find_map(|one| resolved(one, root, DEPTH).get("items"));
    own.or(of_alternatives).unwrap_or(&Value::Null)
}

/// The JSON types that a property may have; none where it says nothing about them.
pub(crate) fn types<'a>(property: &'a Value, root: &'a Value) -> Vec<&'a str> {
    let mut types = Vec::new();
    gather(property, root, DEPTH, &mut types);
    types
}

fn gather<'a>(property: &'a Value, root: &'a Value, depth: usize, types: &mut Vec<&'a str>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let property = resolved(property, root, depth);
    let mut add = |word: &'a str| {
        if !types.contains(&word) {
            types.push(word);
        }
    };
    match property.get("type") {
        Some(Value::String(word)) => add(word),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).for_each(add),
        _ => {
            let choices = property.get("enum").and_then(Value::as_array);
            for value in choices.into_iter().flatten().chain(property.get("const")) {
                add(type_of(value));
            }
            for one in alternatives(property) {
                gather(one, root, depth, types);
            }
        }
    }
}

const fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn alternatives(property: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf", "allOf"]
        .into_iter()
        .filter_map(|word| property.get(word).and_then(Value::as_array))
        .flatten()
}

/// What a reference within the schema leads to.
fn resolved<'a>(property: &'a Value, root: &'a Value, depth: usize) -> &'a Value {
    let Some(depth) = depth.checked_sub(1) else {
        return property;
    };
    let pointer = property
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|text| text.strip_prefix('#'));
    match pointer.and_then(|pointer| root.pointer(pointer)) {
        Some(target) => resolved(target, root, depth),
        None => property,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "count": {"type": "integer"},
                "ratio": {"type": "number"},
                "on": {"type": "boolean"},
                "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "either": {"type": ["integer", "string"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "numbers": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Whole"}}, {"type": "null"}]},
                "place": {"type": "object"},
                "size": {"$ref": "#/$defs/Size"},
                "any": {}
            },
            "required": ["text"],
            "additionalProperties": false,
            "$defs": {"Size": {"type": "string", "enum": ["small", "large"]}, "Whole": {"type": "integer"},
                      "Loop": {"$ref": "#/$defs/Loop"}}
        })
    }

    fn of(words: &[&str]) -> Result<Value, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let given = Map::from_iter([("text".to_owned(), json!("t"))]);
        assemble(&words, given, &schema()).map(|mut arguments| {
            arguments.remove("text");
            Value::Object(arguments)
        })
    }

    #[test]
    fn words_become_what_the_schema_wants() {
        for (words, value) in [
            (&["count=3"][..], json!({"count": 3})),
            (&["count=-3"], json!({"count": -3})),
            (&["ratio=3"], json!({"ratio": 3})),
            (&["ratio=2.5e1"], json!({"ratio": 25.0})),
            (&["on=true"], json!({"on": true})),
            (&["maybe=null"], json!({"maybe": null})),
            (&["maybe=7"], json!({"maybe": 7})),
            (&["either=7"], json!({"either": 7})),
            (&["either=seven"], json!({"either": "seven"})),
            (&["tags=a"], json!({"tags": ["a"]})),
            (&["tags=a", "tags=b=c"], json!({"tags": ["a", "b=c"]})),
            (&["tags=[\"a\", \"b\"]"], json!({"tags": ["a", "b"]})),
            (&["numbers=1", "numbers=2"], json!({"numbers": [1, 2]})),
            (
                &["place={\"city\": \"Oslo\"}"],
                json!({"place": {"city": "Oslo"}}),
            ),
            (&["size=small"], json!({"size": "small"})),
            (&["any=[1]"], json!({"any": [1]})),
            (&["any=plain"], json!({"any": "plain"})),
            (&["count:=\"3\""], json!({"count": "3"})),
        ] {
            assert_eq!(of(words), Ok(value), "{words:?}");
        }
        let text = assemble(&["text=42".to_owned()], Map::new(), &schema()).unwrap();
        assert_eq!(text["text"], "42", "a text stays one");
    }

    #[test]
    fn what_does_not_fit_is_said_by_name() {
        for (words, why) in [
            (
                &["count=three"][..],
                "`count`: give a whole number of at most 64 bits, not `three`",
            ),
            (&["count=3.5"], "`count`: give a whole number"),
            (
                &["count=99999999999999999999"],
                "`count`: give a whole number of at most 64 bits",
            ),
            (&["on=yes"], "`on`: give true or false, not `yes`"),
            (
                &["numbers=1", "numbers=x"],
                "`numbers`: give a whole number",
            ),
            (&["place=Oslo"], "`place`: give a JSON object, not `Oslo`"),
            (&["place={"], "`place`: it is no JSON"),
            (
                &["size=smal"],
                "`size`: give one of small, large; did you mean `small`?",
            ),
            (
                &["count=1", "count=2"],
                "`count`: it is given several times",
            ),
            (
                &["cuont=1"],
                "`cuont`: there is no such argument; did you mean `count`?",
            ),
            (&["count:=x"], "`count`: what follows `:=` is no JSON"),
        ] {
            let error = of(words).unwrap_err();
            assert!(error.starts_with(why), "{words:?}: {error}");
        }
        assert_eq!(
            assemble(&[], Map::new(), &schema()).unwrap_err(),
            "missing: `text`"
        );
    }

    #[test]
    fn references_that_go_in_circles_end() {
        let root = schema();
        assert!(types(&json!({"$ref": "#/$defs/Loop"}), &root).is_empty());
    }

    proptest! {
        #[test]
        fn any_word_is_taken_or_refused(word in ".{0,40}", kind in "(string|integer|number|boolean|array|object|null)") {
            let schema = json!({"properties": {"x": {"type": kind}}});
            let _either = assemble(&[format!("x={word}")], Map::new(), &schema);
            let text = json!({"properties": {"x": {"type": "string"}}});
            let arguments = assemble(&[format!("x={word}")], Map::new(), &text).unwrap();
            prop_assert_eq!(arguments.get("x").and_then(Value::as_str), Some(word.as_str()));
        }
    }
}
