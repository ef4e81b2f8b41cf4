//! Questions to the client as requests of their own.

use serde::Deserialize;
use serde_json::json;

use super::Knows;
use crate::{
    content::ContentBlock,
    elicit::{Choices, ElicitForm, ElicitParams, ElicitSchema, PrimitiveSchema},
    error::RpcError,
    jsonrpc::Text,
    method::Method,
    mrtr::InputRequest,
    ordered::Ordered,
    raw::Raw,
    sampling::{CreateMessageParams, SamplingContent, SamplingMessage},
    version::ProtocolVersion,
};

/// Why a question cannot be asked in a revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unrepresentable {
    /// The revision has no elicitation.
    #[error("revision {0} cannot ask the user")]
    Elicitation(ProtocolVersion),
    /// The revision has no elicitation by address.
    #[error("revision {0} cannot send the user to an address")]
    Url(ProtocolVersion),
    /// The revision has no form field of this kind.
    #[error("revision {version} has no form field like `{field}`, which chooses several")]
    Field {
        /// The revision.
        version: ProtocolVersion,
        /// The field's name.
        field: String,
    },
    /// The revision has no tools, or no such content, in sampling.
    #[error("revision {0} cannot sample with tools")]
    SamplingTools(ProtocolVersion),
    /// The parameters cannot be written.
    #[error("parameters cannot be written")]
    Unwritable,
}

/// Renders a question as the method and parameters of a request in `version`.
///
/// `elicitation_id` names an address to the client, which 2025-11-25 tells it when the user is done; it
/// must be unique and hard to guess.
///
/// # Errors
///
/// [`Unrepresentable`] where the revision has no words for the question.
pub fn input_request(
    request: &InputRequest,
    version: ProtocolVersion,
    elicitation_id: &str,
) -> Result<(Method, Option<Raw>), Unrepresentable> {
    let params = match request {
        InputRequest::ListRoots => None,
        InputRequest::Elicit(ElicitParams::Form(form)) => Some(elicit_form(form, version)?),
        InputRequest::Elicit(ElicitParams::Url(url)) => {
            if !Knows(version).icons() {
                return Err(Unrepresentable::Url(version));
            }
            let params = json!({
                "mode": "url",
                "message": url.message,
                "url": url.url,
                "elicitationId": elicitation_id,
            });
            Some(raw(&params)?)
        }
        InputRequest::CreateMessage(params) => Some(raw(&create_message(params, version)?)?),
    };
    Ok((request.method(), params))
}

fn raw<T: serde::Serialize>(params: &T) -> Result<Raw, Unrepresentable> {
    Raw::of(params).map_err(|_| Unrepresentable::Unwritable)
}

fn elicit_form(form: &ElicitForm, version: ProtocolVersion) -> Result<Raw, Unrepresentable> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct OldForm<'a> {
        message: &'a str,
        requested_schema: ElicitSchema,
    }
    if Knows(version).icons() {
        return raw(&ElicitParams::Form(form.clone()));
    }
    if !Knows(version).titles() {
        return Err(Unrepresentable::Elicitation(version));
    }
    let mut properties = Ordered::new();
    for (name, field) in form.requested_schema.properties.iter() {
        let field = old_field(field).ok_or_else(|| Unrepresentable::Field {
            version,
            field: name.to_owned(),
        })?;
        properties.set(name, field);
    }
    let requested_schema = ElicitSchema {
        dialect: None,
        properties,
        required: form.requested_schema.required.clone(),
    };
    raw(&OldForm {
        message: &form.message,
        requested_schema,
    })
}

/// A field as 2025-06-18 writes it: without most defaults, and with titles of choices beside them.
fn old_field(field: &PrimitiveSchema) -> Option<PrimitiveSchema> {
    let mut field = field.clone();
    match &mut field {
        PrimitiveSchema::String(schema) => schema.default = None,
        PrimitiveSchema::Number(schema) => schema.default = None,
        PrimitiveSchema::Boolean(_) => {}
        PrimitiveSchema::Single(schema) => {
            schema.default = None;
            if let Choices::Titled(choices) = &schema.choices {
                schema.enum_names =
                    Some(choices.iter().map(|choice| choice.title.clone()).collect());
                schema.choices =
                    Choices::untitled(choices.iter().map(|choice| choice.value.clone()));
            }
        }
        PrimitiveSchema::Multi(_) => return None,
    }
    Some(field)
}

fn create_message(
    params: &CreateMessageParams,
    version: ProtocolVersion,
) -> Result<CreateMessageParams, Unrepresentable> {
    let mut out = params.clone();
    if Knows(version).icons() {
        for tool in out.tools.iter_mut().flatten() {
            *tool = super::tool(tool, version).into_owned();
        }
        for block in out
            .messages
            .iter_mut()
            .flat_map(|message| &mut message.content)
        {
            old_tool_result(block, version);
        }
        return Ok(out);
    }
    if out.tools.is_some() {
        return Err(Unrepresentable::SamplingTools(version));
    }
    out.tool_choice = None;
    // A message has one piece here, so several become as many messages.
    out.messages = params
        .messages
        .iter()
        .flat_map(|message| message.content.iter().map(|block| (message.role, block)))
        .map(|(role, block)| {
            let content = vec![old_sampling(block, version)?];
            Ok(SamplingMessage {
                role,
                content,
                meta: None,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(out)
}

/// A tool's result as 2025-11-25 writes it: as in [`super::call_tool_result`].
fn old_tool_result(block: &mut SamplingContent, version: ProtocolVersion) {
    let SamplingContent::ToolResult(result) = block else {
        return;
    };
    for block in &mut result.content {
        *block = super::content(block, version).into_owned();
    }
    if let Some(value) = result
        .structured_content
        .take_if(|value| !value.is_object())
        && !result.content.iter().any(|block| block.as_text().is_some())
    {
        result.content.push(ContentBlock::text(value.as_str()));
    }
}

fn old_sampling(
    block: &SamplingContent,
    version: ProtocolVersion,
) -> Result<SamplingContent, Unrepresentable> {
    let mut block = block.clone();
    match &mut block {
        SamplingContent::Text(text) if !Knows(version).titles() => {
            super::forget(&mut text.annotations, &mut text.meta);
        }
        SamplingContent::Image(media) | SamplingContent::Audio(media)
            if !Knows(version).titles() =>
        {
            super::forget(&mut media.annotations, &mut media.meta);
        }
        SamplingContent::Text(_) | SamplingContent::Image(_) | SamplingContent::Audio(_) => {}
        SamplingContent::ToolUse(_)
        | SamplingContent::ToolResult(_)
        | SamplingContent::Unknown(_) => {
            return Err(Unrepresentable::SamplingTools(version));
        }
    }
    Ok(block)
}

/// Reads a legacy server's request as a question.
///
/// # Errors
///
/// `-32601` for a method that does not ask, `-32602` that names the field for ill-typed parameters.
pub fn asked(method: &str, params: Option<&Raw>) -> Result<InputRequest, RpcError> {
    match Method::parse(method) {
        Some(Method::ElicitationCreate | Method::SamplingCreateMessage | Method::RootsList) => {
            InputRequest::read(method, params).map_err(RpcError::invalid_params)
        }
        _ => Err(RpcError::method_not_found(method)),
    }
}

/// The id under which a legacy server will say that an address is done with.
///
/// Source: MCP 2025-11-25, client/elicitation, "Completion Notifications".
#[must_use]
pub fn url_elicitation_id(params: &Raw) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Id<'a> {
        #[serde(borrow)]
        elicitation_id: Text<'a>,
    }
    let Id {
        elicitation_id: Text(id),
    } = params.decode().ok()?;
    Some(id.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        elicit::{BooleanSchema, MultiSelect, NumberSchema, SingleSelect, StringSchema},
        sampling::ToolUseContent,
        tool::{JsonSchema, Tool},
    };

    const V03: ProtocolVersion = ProtocolVersion::V2025_03_26;
    const V06: ProtocolVersion = ProtocolVersion::V2025_06_18;
    const V11: ProtocolVersion = ProtocolVersion::V2025_11_25;

    fn written(request: &InputRequest, version: ProtocolVersion) -> Result<String, String> {
        input_request(request, version, "e1")
            .map(|(_, params)| params.map_or_else(String::new, |params| params.as_str().to_owned()))
            .map_err(|e| e.to_string())
    }

    fn form(schema: ElicitSchema) -> InputRequest {
        ElicitParams::form("m", schema).into()
    }

    #[test]
    fn old_forms_have_old_fields() {
        let asks = form(
            ElicitSchema {
                dialect: Some("https://json-schema.org/draft/2020-12/schema".to_owned()),
                ..Default::default()
            }
            .required("name", StringSchema::default().with_default("x"))
            .optional("age", NumberSchema::integer().with_default(3))
            .optional("ok", BooleanSchema::default().with_default(true))
            .optional(
                "pet",
                SingleSelect::new(Choices::titled([("c", "Cat")])).with_default("c"),
            ),
        );
        assert_eq!(
            written(&asks, V06).unwrap(),
            r#"{"message":"m","requestedSchema":{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},"ok":{"type":"boolean","default":true},"pet":{"type":"string","enum":["c"],"enumNames":["Cat"]}},"required":["name"]}}"#
        );
        assert!(
            written(&asks, V11)
                .unwrap()
                .contains(r#""oneOf":[{"const":"c","title":"Cat"}]"#)
        );
        assert_eq!(
            written(&asks, V03).unwrap_err(),
            "revision 2025-03-26 cannot ask the user"
        );
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let several = form(
            ElicitSchema::default().optional("days", MultiSelect::new(Choices::untitled(["mo"]))),
        );
        assert_eq!(
            written(&several, V06).unwrap_err(),
            "revision 2025-06-18 has no form field like `days`, which chooses several"
        );
        let url = ElicitParams::url("m", "https://a.example/").into();
        assert_eq!(
            written(&url, V06).unwrap_err(),
            "revision 2025-06-18 cannot send the user to an address"
        );
        let tools = CreateMessageParams {
            tools: Some(vec![Tool::new("t", JsonSchema::empty())]),
            ..CreateMessageParams::new(vec![], 1)
        };
        assert_eq!(
            written(&tools.into(), V06).unwrap_err(),
            "revision 2025-06-18 cannot sample with tools"
        );
    }

    #[test]
    fn addresses_have_an_id() {
        let url = ElicitParams::url("m", "https://a.example/").into();
        let (method, params) = input_request(&url, V11, "e1").unwrap();
        let params = params.unwrap();
        assert_eq!(method, Method::ElicitationCreate);
        assert_eq!(url_elicitation_id(&params).as_deref(), Some("e1"));
        assert_eq!(asked("elicitation/create", Some(&params)), Ok(url));
    }

    #[test]
    fn messages_of_many_pieces_become_many() {
        let mut message = SamplingMessage::user("a");
        message.content.push(SamplingContent::text("b"));
        let asks = CreateMessageParams::new(vec![message], 5);
        assert_eq!(
            written(&asks.into(), V06).unwrap(),
            r#"{"messages":[{"role":"user","content":{"type":"text","text":"a"}},{"role":"user","content":{"type":"text","text":"b"}}],"maxTokens":5}"#
        );
        let mut message = SamplingMessage::user("a");
        message
            .content
            .push(SamplingContent::ToolUse(ToolUseContent {
                id: "1".to_owned(),
                name: "t".to_owned(),
                input: Raw::parse("{}").unwrap(),
                meta: None,
            }));
        assert!(written(&CreateMessageParams::new(vec![message], 5).into(), V06).is_err());
    }

    #[test]
    fn structured_results_in_messages_become_text() {
        let text = r#"{"messages":[{"role":"user","content":{"type":"tool_result","toolUseId":"1","content":[],"structuredContent":[1]}}],"maxTokens":5}"#;
        let asks: CreateMessageParams = serde_json::from_str(text).unwrap();
        assert_eq!(
            written(&asks.into(), V11).unwrap(),
            r#"{"messages":[{"role":"user","content":{"type":"tool_result","toolUseId":"1","content":[{"type":"text","text":"[1]"}]}}],"maxTokens":5}"#
        );
    }

    #[test]
    fn questions_of_old_servers_are_read() {
        assert_eq!(asked("roots/list", None), Ok(InputRequest::ListRoots));
        assert_eq!(
            asked("tools/call", None).unwrap_err().code,
            crate::ErrorCode::METHOD_NOT_FOUND
        );
        let refusal = asked("elicitation/create", None).unwrap_err();
        assert_eq!(
            (refusal.code, &*refusal.message),
            (
                crate::ErrorCode::INVALID_PARAMS,
                "`params`: missing field `message`"
            )
        );
    }
}
