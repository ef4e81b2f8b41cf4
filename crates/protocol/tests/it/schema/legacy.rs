//! What legacy peers are sent, against the schemas of their revisions.

use fastmcp_protocol::{
    ErrorCode, Method, ProtocolVersion, Raw, RequestId, RpcError,
    capability::{ClientCapabilities, ServerCapabilities},
    completion::CompleteResult,
    content::{Annotations, ContentBlock, Icon, Meta, ResourceContents, ResourceLink},
    discover::DiscoverResult,
    elicit::{
        BooleanSchema, Choices, ElicitForm, ElicitParams, ElicitSchema, ElicitUrl, MultiSelect,
        NumberSchema, SingleSelect, StringFormat, StringSchema,
    },
    initialize::InitializeParams,
    jsonrpc::{encode_call, encode_error},
    legacy,
    meta::Implementation,
    mrtr::InputRequest,
    prompt::{GetPromptResult, ListPromptsResult, Prompt, PromptArgument, PromptMessage},
    resource::{
        ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource,
        ResourceTemplate, not_found,
    },
    sampling::{
        CreateMessageParams, ModelHint, ModelPreferences, SamplingContent, SamplingMessage,
    },
    tool::{CallToolResult, JsonSchema, ListToolsResult, Tool, ToolAnnotations},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::Schema;

const REVISIONS: [(&str, ProtocolVersion); 2] = [
    ("2025-06-18", ProtocolVersion::V2025_06_18),
    ("2025-11-25", ProtocolVersion::V2025_11_25),
];

/// Runs `checks` for each legacy revision whose schema is there.
fn each(checks: impl Fn(&Schema, ProtocolVersion)) {
    for (name, version) in REVISIONS {
        if let Some(schema) = Schema::load(name) {
            checks(&schema, version);
        }
    }
}

fn value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap()
}

fn icons() -> Option<Vec<Icon>> {
    Some(vec![Icon {
        mime_type: Some("image/png".to_owned()),
        sizes: Some(vec!["any".to_owned()]),
        ..Icon::new("https://a.example/i.png")
    }])
}

fn annotations() -> Option<Annotations> {
    Some(Annotations {
        priority: Some(0.5),
        last_modified: Some("2026-01-01T00:00:00Z".to_owned()),
        ..Annotations::default()
    })
}

fn meta() -> Option<Meta> {
    Some(Meta::default().with("example.com/k", 1))
}

fn tools() -> Vec<Tool> {
    let base = Tool {
        title: Some("T".to_owned()),
        icons: icons(),
        annotations: Some(ToolAnnotations { read_only_hint: Some(true), ..ToolAnnotations::default() }),
        meta: meta(),
        ..Tool::new("t", JsonSchema::parse(r#"{"type":"object","properties":{"any":true,"none":false,"n":{"type":"integer"}},"required":["n"]}"#).unwrap())
    };
    ["object", "array"]
        .map(|kind| {
            base.clone()
                .with_output_schema(JsonSchema::from_value(&json!({"type": kind})).unwrap())
        })
        .into()
}

fn blocks() -> Vec<ContentBlock> {
    vec![
        ContentBlock::text("a"),
        ContentBlock::image(&[1], "image/png"),
        ContentBlock::audio(&[1], "audio/wav"),
        ContentBlock::resource(ResourceContents::blob("a:b", &[1]).with_mime_type("x/y")),
        ContentBlock::ResourceLink(ResourceLink {
            uri: "a:b".to_owned(),
            name: "n".to_owned(),
            size: Some(1),
            icons: icons(),
            annotations: annotations(),
            meta: meta(),
            ..ResourceLink::default()
        }),
        serde_json::from_str(r#"{"type":"hologram","n":1.0}"#).unwrap(),
    ]
}

#[test]
fn lists() {
    each(|schema, version| {
        let tools = tools()
            .iter()
            .map(|tool| legacy::tool(tool, version).into_owned())
            .collect();
        schema.check(
            "ListToolsResult",
            &value(&ListToolsResult {
                tools,
                next_cursor: Some("c".to_owned()),
                meta: meta(),
            }),
        );
        let resource = Resource {
            icons: icons(),
            annotations: annotations(),
            meta: meta(),
            size: Some(3),
            ..Resource::new("a:b", "n")
        };
        let resources = vec![legacy::resource(&resource, version).into_owned()];
        schema.check(
            "ListResourcesResult",
            &value(&ListResourcesResult {
                resources,
                ..Default::default()
            }),
        );
        let template = ResourceTemplate {
            icons: icons(),
            title: Some("T".to_owned()),
            ..ResourceTemplate::new("a:{b}", "n")
        };
        let resource_templates = vec![legacy::resource_template(&template, version).into_owned()];
        schema.check(
            "ListResourceTemplatesResult",
            &value(&ListResourceTemplatesResult {
                resource_templates,
                ..Default::default()
            }),
        );
        let prompt = Prompt {
            icons: icons(),
            arguments: Some(vec![PromptArgument::new("a", true)]),
            ..Prompt::new("p")
        };
        let prompts = vec![legacy::prompt(&prompt, version).into_owned()];
        schema.check(
            "ListPromptsResult",
            &value(&ListPromptsResult {
                prompts,
                ..Default::default()
            }),
        );
    });
}

#[test]
fn what_is_not_rendered_is_noticed() {
    each(|schema, version| {
        let result = CallToolResult {
            structured_content: Some(Raw::parse("[1]").unwrap()),
            ..CallToolResult::default()
        };
        assert!(
            !schema
                .problems("CallToolResult", &value(&result))
                .is_empty()
        );
        let unknown = tools().remove(1);
        assert!(
            !schema.problems("Tool", &value(&unknown)).is_empty(),
            "{version}"
        );
    });
}

#[test]
fn results() {
    each(|schema, version| {
        for structured in ["{\"a\":1}", "[1]", "null", "7"] {
            let result = CallToolResult {
                content: blocks(),
                structured_content: Some(Raw::parse(structured).unwrap()),
                is_error: true,
                meta: meta(),
            };
            schema.check(
                "CallToolResult",
                &value(&legacy::call_tool_result(&result, version)),
            );
        }
        let messages = blocks().into_iter().map(PromptMessage::user).collect();
        let prompt = GetPromptResult {
            description: Some("d".to_owned()),
            messages,
            meta: meta(),
        };
        schema.check(
            "GetPromptResult",
            &value(&legacy::get_prompt_result(&prompt, version)),
        );
        let read = ReadResourceResult::new(ResourceContents::text("a:b", "c"));
        schema.check(
            "ReadResourceResult",
            &value(&legacy::read_resource_result(&read, version)),
        );
        schema.check(
            "CompleteResult",
            &value(&CompleteResult::new(vec!["a".to_owned()])),
        );
    });
}

fn implementation() -> Implementation {
    let mut implementation = Implementation::new("s", "1");
    implementation.title = Some("S".to_owned());
    implementation.description = Some("d".to_owned());
    implementation.website_url = Some("https://a.example/".to_owned());
    implementation.icons = Some(vec![Icon::new("https://a.example/icon.png")]);
    implementation
}

#[test]
fn handshakes() {
    each(|schema, version| {
        let capabilities: ServerCapabilities = serde_json::from_str(
            r#"{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"prompts":{},"completions":{},"logging":{},"extensions":{"io.modelcontextprotocol/tasks":{}},"experimental":{"x":{}}}"#,
        )
        .unwrap();
        let discover = DiscoverResult {
            capabilities,
            instructions: Some("i".to_owned()),
            ..DiscoverResult::default()
        };
        schema.check(
            "InitializeResult",
            &value(&legacy::initialize_result(
                &discover,
                &implementation(),
                version,
            )),
        );
        let capabilities: ClientCapabilities = serde_json::from_str(
            r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{},"context":{}},"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
        )
        .unwrap();
        let params = InitializeParams {
            protocol_version: version.as_str().into(),
            capabilities: legacy::client_capabilities(&capabilities, version, true),
            client_info: legacy::implementation(&implementation(), version),
        };
        check_call(
            schema,
            "InitializeRequest",
            Method::Initialize,
            Some(&Raw::of(&params).unwrap()),
        );
    });
}

/// Checks a request; the oldest schemas leave the envelope out.
fn check_call(schema: &Schema, name: &str, method: Method, params: Option<&Raw>) {
    let call = if schema.revision == "2025-06-18" {
        let mut call = json!({ "method": method.as_str() });
        if let Some(params) = params {
            call["params"] = params.decode().unwrap();
        }
        call
    } else {
        serde_json::from_str(&encode_call(
            Some(&RequestId::Number(1)),
            method.as_str(),
            params.map(Raw::as_str),
        ))
        .unwrap()
    };
    schema.check(name, &call);
}

fn check_ask(schema: &Schema, version: ProtocolVersion, name: &str, request: &InputRequest) {
    let (method, params) = legacy::input_request(request, version, "e1").unwrap();
    check_call(schema, name, method, params.as_ref());
    // Read again, it is the same question; 2025-06-18 loses defaults and titles.
    if version == ProtocolVersion::V2025_11_25 {
        assert_eq!(
            legacy::asked(method.as_str(), params.as_ref()).as_ref(),
            Ok(request)
        );
    }
}

#[test]
fn questions() {
    each(|schema, version| {
        let mut fields = ElicitSchema::default()
            .required(
                "mail",
                StringSchema::of(StringFormat::Email)
                    .with_title("Mail")
                    .with_default("a@b.example"),
            )
            .optional(
                "age",
                NumberSchema::integer().between(18, 120).with_default(30),
            )
            .optional("ok", BooleanSchema::default().with_default(true))
            .optional(
                "pet",
                SingleSelect::new(Choices::titled([("c", "Cat")])).with_default("c"),
            )
            .optional("sex", SingleSelect::new(Choices::untitled(["f", "m"])));
        if version == ProtocolVersion::V2025_11_25 {
            fields = fields
                .optional(
                    "days",
                    MultiSelect::new(Choices::untitled(["mo", "tu"]))
                        .with_default(vec!["mo".to_owned()]),
                )
                .optional("tags", MultiSelect::new(Choices::titled([("a", "A")])));
            check_ask(
                schema,
                version,
                "ElicitRequest",
                &ElicitParams::url("m", "https://a.example/").into(),
            );
        }
        check_ask(
            schema,
            version,
            "ElicitRequest",
            &ElicitParams::form("m", fields).into(),
        );
        check_ask(
            schema,
            version,
            "ListRootsRequest",
            &InputRequest::ListRoots,
        );
        let sampling = CreateMessageParams {
            model_preferences: Some(ModelPreferences {
                hints: Some(vec![ModelHint {
                    name: Some("x".to_owned()),
                }]),
                cost_priority: Some(1.0),
                ..ModelPreferences::default()
            }),
            system_prompt: Some("s".to_owned()),
            temperature: Some(0.5),
            ..CreateMessageParams::new(
                vec![SamplingMessage::user("a"), SamplingMessage::assistant("b")],
                9,
            )
        };
        check_ask(
            schema,
            version,
            "CreateMessageRequest",
            &sampling.clone().into(),
        );
        let mut many = sampling;
        many.messages[0].content.push(SamplingContent::text("c"));
        check_ask(schema, version, "CreateMessageRequest", &many.into());
    });
}

#[test]
fn errors() {
    each(|schema, version| {
        let name = if version == ProtocolVersion::V2025_06_18 {
            "JSONRPCError"
        } else {
            "JSONRPCErrorResponse"
        };
        for error in [
            not_found("a:b"),
            RpcError::new(ErrorCode::MISSING_CAPABILITY, "m"),
            RpcError::new(ErrorCode::UNSUPPORTED_VERSION, "m")
                .with_data(json!({"supported": ["2025-11-25"]})),
        ] {
            let error = legacy::error(&error, Some(Method::ResourcesRead));
            assert!(error.code.0 > -32020 || error.code.0 < -32099, "{error:?}");
            schema.check(
                name,
                &serde_json::from_str(&encode_error(Some(&RequestId::Number(1)), &error)).unwrap(),
            );
        }
        if version == ProtocolVersion::V2025_11_25 {
            let url = ElicitUrl {
                message: "m".to_owned(),
                url: "https://a.example/".to_owned(),
            };
            let error = legacy::url_elicitation_required(&[("e1", &url)]);
            let text = encode_error(Some(&RequestId::Number(1)), &error);
            schema.check(
                "URLElicitationRequiredError",
                &serde_json::from_str(&text).unwrap(),
            );
        }
    });
}

#[test]
fn forms_of_the_newest_revision() {
    let Some(schema) = Schema::load("2026-07-28") else {
        return;
    };
    let form = ElicitForm {
        message: "m".to_owned(),
        requested_schema: ElicitSchema {
            dialect: Some("https://json-schema.org/draft/2020-12/schema".to_owned()),
            ..ElicitSchema::default()
        }
        .required("when", StringSchema::of(StringFormat::DateTime))
        .optional(
            "tags",
            MultiSelect::new(Choices::titled([("a", "A")])).with_description("d"),
        ),
    };
    schema.check("ElicitRequestFormParams", &value(&ElicitParams::Form(form)));
    schema.check("ListToolsResult", &{
        let tools = tools();
        let body = Raw::of(&ListToolsResult {
            tools,
            ..ListToolsResult::default()
        })
        .unwrap();
        serde_json::from_str(&fastmcp_protocol::wire::complete(
            body.as_str(),
            Some(Default::default()),
            None,
        ))
        .unwrap()
    });
}
