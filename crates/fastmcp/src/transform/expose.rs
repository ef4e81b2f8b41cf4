//! Resources and prompts for clients that know tools alone.

use std::sync::Arc;

use fastmcp_protocol::{
    Raw,
    tool::{CallToolResult, JsonSchema, Tool, ToolAnnotations},
};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Host, Transform};
use crate::{
    call::{Input, Kind, Outcome, Payload},
    component::{Component, Definition},
    context::Context,
    error::{Error, Result},
};

/// Adds two tools: `list_resources`, which lists the resources and templates that the caller may see, and
/// `read_resource`, which reads one as a client would.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResourcesAsTools;

impl Transform for ResourcesAsTools {
    fn apply(
        &self,
        mut components: Vec<Arc<Component>>,
        host: &Host,
    ) -> Result<Vec<Arc<Component>>> {
        let (lists, reads) = (host.clone(), host.clone());
        components.push(tool(
            "list_resources",
            "Lists all resources and the templates of resources. A resource has a `uri`; a template has a \
             `uri_template` with parameters in braces.",
            NO_ARGUMENTS,
            move |context, _| {
                let listed = list_resources(&lists, &context);
                Box::pin(async move { listed })
            },
        )?);
        components.push(tool(
            "read_resource",
            "Reads a resource by its URI. For a template, fill in its parameters.",
            r#"{"type":"object","properties":{"uri":{"type":"string","description":"The URI of the resource."}},"required":["uri"],"additionalProperties":false}"#,
            move |context, input| {
                let host = reads.clone();
                Box::pin(async move {
                    let Uri { uri } = arguments(&input)?;
                    as_text(host.read_resource(context, &uri).await?)
                })
            },
        )?);
        Ok(components)
    }
}

/// Adds two tools: `list_prompts`, which lists the prompts that the caller may see, and `get_prompt`, which
/// renders one as a client would.
#[derive(Clone, Copy, Debug, Default)]
pub struct PromptsAsTools;

impl Transform for PromptsAsTools {
    fn apply(
        &self,
        mut components: Vec<Arc<Component>>,
        host: &Host,
    ) -> Result<Vec<Arc<Component>>> {
        let (lists, gets) = (host.clone(), host.clone());
        components.push(tool(
            "list_prompts",
            "Lists all prompts with their arguments.",
            NO_ARGUMENTS,
            move |context, _| {
                let listed = list_prompts(&lists, &context);
                Box::pin(async move { listed })
            },
        )?);
        components.push(tool(
            "get_prompt",
            "Renders a prompt by its name and returns its messages.",
            r#"{"type":"object","properties":{"name":{"type":"string","description":"The name of the prompt."},"arguments":{"type":"object","additionalProperties":{"type":"string"},"description":"Its arguments."}},"required":["name"],"additionalProperties":false}"#,
            move |context, input| {
                let host = gets.clone();
                Box::pin(async move {
                    let Named { name, arguments } = arguments(&input)?;
                    as_json(host.get_prompt(context, &name, arguments).await?)
                })
            },
        )?);
        Ok(components)
    }
}

const NO_ARGUMENTS: &str = r#"{"type":"object","additionalProperties":false}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Uri {
    uri: String,
}

/// What is called, and with what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: Option<Raw>,
}

/// The arguments of a tool that was made here.
pub(super) fn arguments<'a, T: Deserialize<'a>>(input: &'a Input) -> Result<T> {
    let text = input.args.as_ref().map_or("{}", Raw::as_str);
    serde_json::from_str(text).map_err(|e| Error::validation(format!("invalid arguments: {e}")))
}

/// A tool that changes nothing.
pub(super) fn tool<F>(
    name: &str,
    description: &str,
    schema: &str,
    call: F,
) -> Result<Arc<Component>>
where
    F: Fn(Context, Input) -> BoxFuture<'static, Result<Outcome>> + Send + Sync + 'static,
{
    let annotations = ToolAnnotations {
        read_only_hint: Some(true),
        ..ToolAnnotations::default()
    };
    let tool = Tool::new(name, JsonSchema::parse(schema)?)
        .with_description(description)
        .with_annotations(annotations);
    Ok(Arc::new(Component::new(Definition::Tool(tool), call)))
}

/// A result whose text and value say the same.
pub(super) fn listed(all: Vec<Value>) -> Result<Outcome> {
    let all = Value::Array(all);
    let mut result = CallToolResult::text(serde_json::to_string(&all)?);
    result.structured_content = Some(Raw::of(&json!({"result": all}))?);
    Ok(Outcome::Complete(Payload::Wrapped(result)))
}

fn list_resources(host: &Host, context: &Context) -> Result<Outcome> {
    let mut all = Vec::new();
    for kind in [Kind::Resource, Kind::Template] {
        for component in host.visible(context, kind) {
            let shown = match component.definition() {
                _ if !component.is_listed() => continue,
                Definition::Resource(r) => json!({
                    "uri": r.uri, "name": r.name, "description": r.description, "mime_type": r.mime_type,
                }),
                Definition::Template(t) => json!({
                    "uri_template": t.uri_template, "name": t.name, "description": t.description,
                    "mime_type": t.mime_type,
                }),
                Definition::Tool(_) | Definition::Prompt(_) => continue,
            };
            all.push(without_nulls(shown));
        }
    }
    listed(all)
}

fn list_prompts(host: &Host, context: &Context) -> Result<Outcome> {
    let mut all = Vec::new();
    for component in host.visible(context, Kind::Prompt) {
        if let Definition::Prompt(prompt) = component.definition()
            && component.is_listed()
        {
            all.push(without_nulls(json!({
                "name": prompt.name, "description": prompt.description, "arguments": prompt.arguments,
            })));
        }
    }
    listed(all)
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, member| !member.is_null());
    }
    value
}

/// One piece of contents, whoever encoded it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    blob: Option<String>,
    #[serde(default)]
    mime_type: Option<String>,
}

/// What was read, as a text: one piece as it is, bytes in base64; several as JSON.
fn as_text(outcome: Outcome) -> Result<Outcome> {
    #[derive(Deserialize)]
    struct Read {
        contents: Vec<Piece>,
    }
    let payload = match outcome {
        Outcome::Complete(payload) => payload,
        other => return Ok(other),
    };
    let Read { contents } = serde_json::from_value(value_of(payload)?)?;
    let content = |piece: &Piece| piece.text.clone().or_else(|| piece.blob.clone());
    let text = match contents.as_slice() {
        [one] => content(one).unwrap_or_default(),
        several => {
            let all = several.iter().map(|piece| {
                without_nulls(json!({"content": content(piece), "mime_type": piece.mime_type}))
            });
            serde_json::to_string(&all.collect::<Vec<_>>())?
        }
    };
    Ok(CallToolResult::text(text).into())
}

/// A prompt's messages, as JSON.
fn as_json(outcome: Outcome) -> Result<Outcome> {
    let payload = match outcome {
        Outcome::Complete(payload) => payload,
        other => return Ok(other),
    };
    let mut value = value_of(payload)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("_meta");
    }
    let mut result = CallToolResult::text(serde_json::to_string(&value)?);
    result.structured_content = Some(Raw::of(&value)?);
    Ok(result.into())
}

fn value_of(payload: Payload) -> Result<Value> {
    Ok(match payload {
        Payload::Resource(result) => serde_json::to_value(&result)?,
        Payload::Prompt(result) => serde_json::to_value(&result)?,
        Payload::Raw(raw) => raw.decode()?,
        _ => return Err(Error::internal("a call returned another kind of result")),
    })
}
