//! Tools: definitions, calls and what they answer.
//!
//! Source: MCP 2026-07-28, server/tools.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::{Value, value::RawValue};

use crate::{
    content::{ContentBlock, Icon, Meta},
    mrtr::{InputResponses, optional_responses},
    raw::{self, Raw},
};

/// A JSON Schema, verbatim.
///
/// Only its being an object is checked here; every keyword stays as it was written, and a clone
/// costs a reference count.
#[derive(Clone)]
pub struct JsonSchema(Arc<RawValue>);

impl JsonSchema {
    /// Keeps `text`.
    ///
    /// # Errors
    ///
    /// When `text` is not a JSON object. The boolean schemas are not allowed at the root.
    pub fn parse(text: impl Into<String>) -> Result<Self, serde_json::Error> {
        Self::checked(RawValue::from_string(text.into())?)
    }

    /// Writes `schema` as a text.
    ///
    /// # Errors
    ///
    /// When `schema` is not an object.
    pub fn from_value(schema: &Value) -> Result<Self, serde_json::Error> {
        Self::checked(serde_json::value::to_raw_value(schema)?)
    }

    /// The schema of a tool that takes no arguments.
    #[must_use]
    pub fn empty() -> Self {
        Self(Arc::from(Self::literal(
            r#"{"type":"object","additionalProperties":false}"#,
        )))
    }

    /// The schema's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The schema as a value, to compile it.
    ///
    /// # Errors
    ///
    /// When a number does not fit, or the text nests deeper than 128 levels.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// Whether the root says `"type": "object"`, which input schemas and legacy output schemas must.
    #[must_use]
    pub fn describes_object(&self) -> bool {
        #[derive(Deserialize)]
        struct Root<'a> {
            #[serde(rename = "type", borrow)]
            kind: Option<&'a RawValue>,
        }
        serde_json::from_str::<Root<'_>>(self.as_str())
            .is_ok_and(|root| root.kind.is_some_and(|kind| kind.get() == r#""object""#))
    }

    fn checked(text: Box<RawValue>) -> Result<Self, serde_json::Error> {
        if text.get().starts_with('{') {
            Ok(Self(text.into()))
        } else {
            Err(serde_json::Error::custom("a schema must be an object"))
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "the argument is a constant of this module"
    )]
    fn literal(text: &'static str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("the constant is JSON")
    }
}

impl fmt::Debug for JsonSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for JsonSchema {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.as_str() == other.as_str()
    }
}

impl Eq for JsonSchema {}

impl Serialize for JsonSchema {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonSchema {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::checked(Box::<RawValue>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Hints about what a tool does; not to be trusted from a server that is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToolAnnotations {
    /// The name for people; [`Tool::title`] goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Changes nothing. False where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// May destroy something. True where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Doing it twice is doing it once. False where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// Touches things outside the server. True where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

/// Whether a tool runs as a task: in both eras what the server goes by, and what clients of 2025-11-25
/// are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskSupport {
    /// It must not.
    #[default]
    Forbidden,
    /// It may.
    Optional,
    /// It only runs as a task. A call that cannot be one is refused: with `-32021` where the client did
    /// not declare the extension, with `-32601` where it is of 2025-11-25 and did not ask for a task.
    Required,
}

/// How a tool is run.
///
/// Source: MCP 2025-11-25, schema, `ToolExecution`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToolExecution {
    /// Whether the tool runs as a task.
    pub task_support: TaskSupport,
}

/// The definition of a tool.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// The name that calls it.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it does, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Icons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icons: Option<Vec<Icon>>,
    /// The schema of the arguments; its root is of type `object`.
    pub input_schema: JsonSchema,
    /// The schema of `structuredContent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<JsonSchema>,
    /// Hints about what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<ToolAnnotations>,
    /// Whether it runs as a task. Only clients of 2025-11-25 are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ToolExecution>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl Tool {
    /// A tool `name` that takes what `input_schema` describes.
    pub fn new(name: impl Into<String>, input_schema: JsonSchema) -> Self {
        Self {
            name: name.into(),
            title: None,
            description: None,
            icons: None,
            input_schema,
            output_schema: None,
            annotations: None,
            execution: None,
            meta: None,
        }
    }

    /// Says what it does.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Describes `structuredContent`.
    #[must_use]
    pub fn with_output_schema(mut self, schema: JsonSchema) -> Self {
        self.output_schema = Some(schema);
        self
    }

    /// Adds hints about what it does.
    #[must_use]
    pub fn with_annotations(mut self, annotations: ToolAnnotations) -> Self {
        self.annotations = Some(annotations);
        self
    }

    /// Whether it runs as a task.
    #[must_use]
    pub fn task_support(&self) -> TaskSupport {
        self.execution
            .map(|execution| execution.task_support)
            .unwrap_or_default()
    }

    /// Whether it is marked to change nothing; a tool that says nothing counts as writing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.annotations
            .as_ref()
            .and_then(|hints| hints.read_only_hint)
            .unwrap_or(false)
    }
}

/// The result of `tools/list`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListToolsResult {
    /// The tools of this page.
    pub tools: Vec<Tool>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The parameters of `tools/call`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallToolParams<'a> {
    /// The tool's name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// The arguments, an object, as sent.
    #[serde(
        default,
        borrow,
        deserialize_with = "raw::optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub arguments: Option<&'a RawValue>,
    /// Answers to what an earlier round asked.
    #[serde(
        default,
        deserialize_with = "optional_responses",
        skip_serializing_if = "Option::is_none"
    )]
    pub input_responses: Option<InputResponses>,
    /// The state that an earlier round handed out, unchanged.
    #[serde(
        default,
        borrow,
        deserialize_with = "raw::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_state: Option<Cow<'a, str>>,
}

/// The result of `tools/call`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallToolResult {
    /// What the model reads. Old servers leave it out next to `structuredContent`.
    #[serde(default)]
    pub content: Vec<ContentBlock>,
    /// What programs read: any JSON value, null included.
    #[serde(
        default,
        deserialize_with = "raw::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub structured_content: Option<Raw>,
    /// Whether the tool failed.
    #[serde(
        default,
        deserialize_with = "null_is_false",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub is_error: bool,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

fn null_is_false<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl CallToolResult {
    /// Succeeds with `content`.
    #[must_use]
    pub fn new(content: Vec<ContentBlock>) -> Self {
        Self {
            content,
            ..Self::default()
        }
    }

    /// Succeeds with text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(vec![ContentBlock::text(text)])
    }

    /// Fails with text that tells the model what to do differently.
    pub fn error(text: impl Into<String>) -> Self {
        Self {
            is_error: true,
            ..Self::text(text)
        }
    }

    /// Succeeds with a value, which is repeated as text for clients that read no other.
    #[must_use]
    pub fn structured(value: Raw) -> Self {
        let text = Self::text(value.as_str());
        Self {
            structured_content: Some(value),
            ..text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_keep_every_keyword() {
        let text = r#"{"name":"t","inputSchema":{"type":"object","$defs":{"a":true},"x-order":[2,1],"maximum":12345678901234567890123}}"#;
        let tool: Tool = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&tool).unwrap(), text);
        assert!(tool.input_schema.describes_object());
        assert!(!tool.is_read_only());
    }

    #[test]
    fn schemas_are_objects() {
        assert!(JsonSchema::parse("true").is_err());
        assert!(JsonSchema::parse("{").is_err());
        assert!(JsonSchema::empty().describes_object());
        assert!(
            !JsonSchema::parse(r#"{"type":["object","null"]}"#)
                .unwrap()
                .describes_object()
        );
        let text = r#"{"name":"t","inputSchema":[]}"#;
        let error = serde_json::from_str::<Tool>(text).unwrap_err();
        assert!(
            error.to_string().contains("a schema must be an object"),
            "{error}"
        );
    }

    #[test]
    fn structured_null_is_a_value() {
        let read = |text: &str| {
            serde_json::from_str::<CallToolResult>(text)
                .unwrap()
                .structured_content
        };
        assert_eq!(
            read(r#"{"content":[],"structuredContent":null}"#)
                .unwrap()
                .as_str(),
            "null"
        );
        assert_eq!(read(r#"{"content":[]}"#), None);
        assert_eq!(
            serde_json::to_string(&CallToolResult::structured(Raw::parse("[1.0]").unwrap()))
                .unwrap(),
            r#"{"content":[{"type":"text","text":"[1.0]"}],"structuredContent":[1.0]}"#
        );
    }

    #[test]
    fn call_params_borrow_and_name_what_is_wrong() {
        let raw = Raw::parse(
            r#"{"_meta":{},"name":"t","arguments":{"n":1.0},"inputResponses":{"k":{}},"requestState":"s"}"#,
        )
        .unwrap();
        let params: CallToolParams<'_> = Raw::decode_params(Some(&raw)).unwrap();
        assert!(matches!(params.name, Cow::Borrowed("t")));
        assert!(matches!(params.request_state, Some(Cow::Borrowed("s"))));
        assert_eq!(params.arguments.unwrap().get(), r#"{"n":1.0}"#);
        let refusal = |text: &str| {
            let raw = Raw::parse(text.to_owned()).unwrap();
            Raw::decode_params::<CallToolParams<'_>>(Some(&raw))
                .unwrap_err()
                .message
                .to_string()
        };
        assert_eq!(
            refusal(r#"{"name":"t","arguments":[1]}"#),
            "`params.arguments`: expected an object"
        );
        assert!(
            refusal(r#"{"name":"t","inputResponses":null}"#).starts_with("`params.inputResponses`")
        );
        assert!(
            refusal(r#"{"name":"t","inputResponses":{"k":null}}"#)
                .starts_with("`params.inputResponses.k`")
        );
    }
}
