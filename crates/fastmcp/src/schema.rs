//! Schemas from types, and values against schemas.

mod lenient;

use std::any::TypeId;

use fastmcp_protocol::{Raw, elicit::ElicitSchema};
use jsonschema::Validator;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// The JSON Schema 2020-12 of `T`, without references where the type is not recursive.
#[must_use]
pub fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("title");
    }
    schema
}

/// The schema of arguments of type `T`: always an object.
pub(crate) fn arguments<T: JsonSchema>() -> Result<Value> {
    let mut schema = of::<T>();
    let object = schema
        .as_object_mut()
        .ok_or_else(|| Error::internal("arguments must be a struct with named fields"))?;
    match object.get("type") {
        None => object.insert("type".to_owned(), json!("object")),
        // A unit: no arguments at all.
        Some(t) if t == "null" => {
            object.insert("additionalProperties".to_owned(), json!(false));
            object.insert("type".to_owned(), json!("object"))
        }
        Some(_) => None,
    };
    if object.get("type") != Some(&json!("object")) {
        return Err(Error::internal(
            "arguments must be a struct with named fields",
        ));
    }
    object.entry("properties").or_insert_with(|| json!({}));
    Ok(schema)
}

/// The form that asks for a `T`.
pub(crate) fn form_of<T: JsonSchema>() -> Result<ElicitSchema> {
    let mut schema = of::<T>();
    if let Some(object) = schema.as_object_mut() {
        object.retain(|key, _| matches!(key.as_str(), "type" | "properties" | "required"));
        object.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
            properties.values_mut().for_each(plain_field);
        }
    }
    serde_json::from_value(schema).map_err(|e| {
        Error::internal(format!(
            "a form asks for a struct of strings, numbers, booleans and enums: {e}"
        ))
    })
}

/// Rewrites what schemars says of a field in the few words that forms have.
fn plain_field(field: &mut Value) {
    let Some(object) = field.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = object.get("type") {
        let first = types.iter().find(|t| *t != "null").cloned();
        if let Some(first) = first {
            object.insert("type".to_owned(), first);
        }
    }
    let known = [
        "int8", "int16", "int32", "int64", "int", "uint8", "uint16", "uint32", "uint64", "uint",
        "float", "double",
    ];
    if object
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|f| known.contains(&f))
    {
        object.remove("format");
    }
}

/// Checks arguments against what a schema says beyond the types that decoding checks.
#[derive(Debug)]
pub(crate) struct Constraints(Option<Validator>);

impl Constraints {
    /// Compiles `schema`; schemas without constraints cost nothing at a call.
    pub(crate) fn of(schema: &Value) -> Result<Self> {
        if !constrains(schema) {
            return Ok(Self(None));
        }
        Self::compile(schema)
    }

    /// Compiles `schema`, whatever it says.
    pub(crate) fn compile(schema: &Value) -> Result<Self> {
        jsonschema::draft202012::options()
            .build(schema)
            .map(|validator| Self(Some(validator)))
            .map_err(|e| Error::internal(format!("schema cannot be used: {e}")))
    }

    /// Checks `args`.
    pub(crate) fn check(&self, args: &str) -> Result<()> {
        let Some(validator) = &self.0 else {
            return Ok(());
        };
        let value: Value =
            serde_json::from_str(args).map_err(|e| Error::validation(e.to_string()))?;
        let problems: Vec<String> = validator
            .iter_errors(&value)
            .take(10)
            .map(|e| describe(&e))
            .collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::validation(format!(
            "invalid arguments: {}",
            problems.join("; ")
        )))
    }
}

/// One problem, with the field first.
pub fn describe(error: &jsonschema::ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    let field = path.trim_start_matches('/').replace('/', ".");
    // Values stay out of messages: these end in logs and records.
    let mut problem = error.masked().to_string();
    if let Some((at, _)) = problem.char_indices().nth(300) {
        problem.truncate(at);
        problem.push('…');
    }
    if field.is_empty() {
        problem
    } else {
        format!("`{field}`: {problem}")
    }
}

/// Whether a schema says more than what decoding into a Rust type checks anyway.
fn constrains(schema: &Value) -> bool {
    const WORDS: &[&str] = &[
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "uniqueItems",
        "contains",
        "minProperties",
        "maxProperties",
        "propertyNames",
        "not",
        "if",
        "dependentRequired",
        "dependentSchemas",
    ];
    match schema {
        Value::Object(object) => object.iter().any(|(key, value)| {
            (WORDS.contains(&key.as_str()) && !implied(object, key, value)) || constrains(value)
        }),
        Value::Array(items) => items.iter().any(constrains),
        _ => false,
    }
}

/// Whether a bound is that of the integer type which the format names: decoding checks it.
fn implied(schema: &serde_json::Map<String, Value>, key: &str, value: &Value) -> bool {
    let (least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("int8") => (json!(i8::MIN), json!(i8::MAX)),
        Some("int16") => (json!(i16::MIN), json!(i16::MAX)),
        Some("int32") => (json!(i32::MIN), json!(i32::MAX)),
        Some("uint8") => (json!(0), json!(u8::MAX)),
        Some("uint16") => (json!(0), json!(u16::MAX)),
        Some("uint32") => (json!(0), json!(u32::MAX)),
        Some("uint" | "uint64") => (json!(0), json!(u64::MAX)),
        _ => return false,
    };
    (key == "minimum" && *value == least) || (key == "maximum" && *value == most)
}

/// Reads arguments by their schema.
#[derive(Debug)]
pub(crate) struct Reader {
    schema: Value,
    constraints: Constraints,
}

impl Reader {
    /// Creates a reader; what types check anyway is left to them.
    pub(crate) fn of(schema: Value) -> Result<Self> {
        Ok(Self {
            constraints: Constraints::of(&schema)?,
            schema,
        })
    }

    /// Creates a reader that checks the whole schema.
    pub(crate) fn compile(schema: Value) -> Result<Self> {
        Ok(Self {
            constraints: Constraints::compile(&schema)?,
            schema,
        })
    }

    /// Reads `args`. What cannot be read as it is, is read as what the schema takes it for, unless
    /// `strict`.
    pub(crate) fn read<T: DeserializeOwned + 'static>(
        &self,
        args: Option<&Raw>,
        strict: impl FnOnce() -> bool,
    ) -> Result<T> {
        let read = |args: Option<&Raw>| {
            let value = decode(args)?;
            self.constraints.check(args.map_or("{}", Raw::as_str))?;
            Ok(value)
        };
        read(args).or_else(|error| match self.mended(args, strict) {
            Some(mended) => read(Some(&mended)),
            None => Err(error),
        })
    }

    /// Checks `args`, and gives back what they were taken for where they do not fit as they are.
    pub(crate) fn check(
        &self,
        args: Option<&Raw>,
        strict: impl FnOnce() -> bool,
    ) -> Result<Option<Raw>> {
        let check = |args: Option<&Raw>| self.constraints.check(args.map_or("{}", Raw::as_str));
        match check(args) {
            Ok(()) => Ok(None),
            Err(error) => match self.mended(args, strict) {
                Some(mended) => check(Some(&mended)).map(|()| Some(mended)),
                None => Err(error),
            },
        }
    }

    fn mended(&self, args: Option<&Raw>, strict: impl FnOnce() -> bool) -> Option<Raw> {
        args.filter(|_| !strict())
            .and_then(|args| lenient::mended(&self.schema, args))
    }
}

/// Decodes arguments; on failure the message names the field.
pub(crate) fn decode<T: DeserializeOwned + 'static>(args: Option<&Raw>) -> Result<T> {
    let text = args.map_or("{}", Raw::as_str);
    if TypeId::of::<T>() == TypeId::of::<()>() {
        // serde reads a unit from `null` alone.
        let Nothing {} = decode(args)?;
        return Ok(serde_json::from_str("null")?);
    }
    serde_json::from_str(text).map_err(|_| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Err(error) if error.path().iter().next().is_none() => {
                Error::validation(format!("invalid arguments: {}", plain(error.inner())))
            }
            Err(error) => Error::validation(format!(
                "invalid arguments: `{}`: {}",
                error.path(),
                plain(error.inner())
            )),
            Ok(_) => Error::validation("invalid arguments: text after the object"),
        }
    })
}

/// What a component without arguments is called with.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The message without the position in a text that the caller does not see.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text.get(..at).unwrap_or(&text).to_owned(),
        None => text,
    }
}

/// Turns parameters that came as strings into what `schema` wants of them.
pub(crate) fn from_strings(
    schema: &Value,
    params: impl IntoIterator<Item = (String, Value)>,
) -> Result<Raw> {
    let properties = schema.get("properties");
    let typed: serde_json::Map<String, Value> = params
        .into_iter()
        .map(|(name, value)| {
            let wanted = properties.and_then(|p| p.get(&name));
            let typed = match value {
                Value::String(text) if !takes_text(wanted) => {
                    serde_json::from_str(&text).unwrap_or(Value::String(text))
                }
                other => other,
            };
            (name, typed)
        })
        .collect();
    Ok(Raw::of(&typed)?)
}

fn takes_text(schema: Option<&Value>) -> bool {
    let Some(schema) = schema else { return true };
    let alternatives = ["anyOf", "oneOf"]
        .iter()
        .filter_map(|k| schema.get(*k))
        .filter_map(Value::as_array)
        .flatten();
    match schema.get("type") {
        Some(Value::String(t)) => t == "string",
        Some(Value::Array(types)) => types.iter().any(|t| t == "string"),
        _ => {
            schema.get("enum").is_some()
                || schema.get("const").is_some()
                || alternatives.into_iter().any(|s| takes_text(Some(s)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "fields are there for their schema")]
    struct Search {
        #[schemars(length(min = 1, max = 5))]
        query: String,
        limit: u32,
        #[serde(default)]
        tags: Vec<String>,
    }

    #[test]
    fn messages_name_the_field() {
        let message = |text: &'static str| {
            decode::<Search>(Some(&Raw::parse(text).unwrap()))
                .unwrap_err()
                .message()
                .to_owned()
        };
        assert_eq!(
            message(r#"{"query":"a","limit":"x"}"#),
            "invalid arguments: `limit`: invalid type: string \"x\", expected u32"
        );
        assert_eq!(
            message(r#"{"query":"a","limit":1,"tags":[1]}"#),
            "invalid arguments: `tags[0]`: invalid type: integer `1`, expected a string"
        );
        assert!(message(r#"{"query":"a"}"#).contains("missing field `limit`"));
        assert!(message(r#"{"query":"a","limit":1,"lmit":1}"#).contains("unknown field `lmit`"));
    }

    #[test]
    fn constraints_are_checked_and_cost_nothing_without() {
        let schema = arguments::<Search>().unwrap();
        let constraints = Constraints::of(&schema).unwrap();
        assert!(constraints.check(r#"{"query":"abc","limit":1}"#).is_ok());
        let error = constraints.check(r#"{"query":"","limit":1}"#).unwrap_err();
        assert!(
            error.message().starts_with("invalid arguments: `query`: "),
            "{error}"
        );
        assert!(!constrains(&arguments::<Plain>().unwrap()));
    }

    #[derive(Debug, serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "fields are there for their schema")]
    struct Plain {
        a: i64,
        b: u8,
    }

    #[test]
    fn strings_become_what_the_schema_wants() {
        let schema = json!({"properties": {"id": {"type": "integer"}, "name": {"type": "string"}}});
        let params = [("id", "42"), ("name", "42")].map(|(k, v)| (k.to_owned(), json!(v)));
        assert_eq!(
            from_strings(&schema, params).unwrap().as_str(),
            r#"{"id":42,"name":"42"}"#
        );
    }
}
