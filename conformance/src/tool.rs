//! Tools that answer by themselves.

use std::time::Duration;

use fastmcp::{
    Context, FastMcp, Result, ToolBuilder, ToolError, ToolResult,
    protocol::{
        content::{ContentBlock, ResourceContents},
        tool::JsonSchema,
    },
    registry::{Change, Kind},
    tool,
};
use serde_json::{Map, Value, json};

/// A red picture of one pixel.
pub(crate) const PIXEL: &[u8] = include_bytes!("media/pixel.png");
/// Half a millisecond of silence.
const SILENCE: &[u8] = include_bytes!("media/silence.wav");

/// Returns a text.
#[tool(name = "test_simple_text", read_only)]
async fn simple_text() -> ToolResult {
    ToolResult::text("This is a simple text response for testing.")
}

/// Returns a picture.
#[tool(name = "test_image_content", read_only)]
async fn image_content() -> ContentBlock {
    ContentBlock::image(PIXEL, "image/png")
}

/// Returns a sound.
#[tool(name = "test_audio_content", read_only)]
async fn audio_content() -> ContentBlock {
    ContentBlock::audio(SILENCE, "audio/wav")
}

/// Returns a resource within the result.
#[tool(name = "test_embedded_resource", read_only)]
async fn embedded_resource() -> ContentBlock {
    embedded(
        "test://embedded-resource",
        "text/plain",
        "This is an embedded resource content.",
    )
}

/// Returns content of several types.
#[tool(name = "test_multiple_content_types", read_only)]
async fn multiple_content_types() -> Vec<ContentBlock> {
    vec![
        ContentBlock::text("Multiple content types test:"),
        ContentBlock::image(PIXEL, "image/png"),
        embedded(
            "test://mixed-content-resource",
            "application/json",
            r#"{"test":"data","value":123}"#,
        ),
    ]
}

/// A text resource within other content.
pub(crate) fn embedded(uri: &str, mime_type: &str, text: &str) -> ContentBlock {
    ContentBlock::resource(ResourceContents::text(uri, text).with_mime_type(mime_type))
}

/// Fails.
#[tool(name = "test_error_handling", read_only)]
async fn error_handling() -> Result<String> {
    Err(ToolError::new("This tool intentionally returns an error for testing").into())
}

/// Reports progress on its way.
#[tool(name = "test_tool_with_progress", read_only)]
async fn with_progress(context: Context) -> ToolResult {
    for progress in [0.0, 50.0, 100.0] {
        context.report_progress(progress, Some(100.0), None).await;
    }
    ToolResult::text("Tool with progress executed successfully")
}

/// Logs on its way, with the pauses that the suite asks for.
#[tool(name = "test_tool_with_logging", read_only)]
async fn with_logging(context: Context) -> ToolResult {
    context.info("Tool execution started").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    context.info("Tool processing data").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    context.info("Tool execution completed").await;
    ToolResult::text("Tool with logging executed successfully")
}

/// Logs one message, which reaches only clients that asked for messages.
#[tool(name = "test_logging_tool", read_only)]
async fn logging(context: Context) -> ToolResult {
    context
        .info("This message is for clients that asked for it")
        .await;
    ToolResult::text("Logged")
}

/// Lets the client go in the midst of its work; the answer waits for its coming back.
#[tool(name = "test_reconnection")]
async fn reconnection(context: Context) -> ToolResult {
    let came_back = context.close_stream(Duration::from_millis(500));
    tokio::time::sleep(Duration::from_millis(100)).await;
    ToolResult::text(if came_back {
        "You came back"
    } else {
        "You never left"
    })
}

/// Tells subscribers that the tools changed.
#[tool(name = "test_trigger_tool_change")]
async fn trigger_tool_change(context: Context) -> ToolResult {
    context.notify(Change::List(Kind::Tool));
    ToolResult::text("Told of a change of tools")
}

/// Tells subscribers that the prompts changed.
#[tool(name = "test_trigger_prompt_change")]
async fn trigger_prompt_change(context: Context) -> ToolResult {
    context.notify(Change::List(Kind::Prompt));
    ToolResult::text("Told of a change of prompts")
}

/// Takes an argument that a header mirrors.
#[tool(name = "test_mirrored_argument", read_only)]
async fn mirrored_argument(
    /// Where to look.
    #[schemars(extend("x-mcp-header" = "Region"))]
    region: String,
) -> ToolResult {
    ToolResult::text(format!("Looked in {region}"))
}

/// The schema whose keywords must reach clients as they are.
fn keywords() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            },
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

fn json_schema_2020_12() -> ToolBuilder {
    let echo = |args: Map<String, Value>, _: Context| async move {
        ToolResult::text(format!("Called with {}", Value::Object(args)))
    };
    let builder = ToolBuilder::new("json_schema_2020_12_tool", echo)
        .description("Has a schema with the keywords of JSON Schema 2020-12.")
        .read_only();
    match JsonSchema::from_value(&keywords()) {
        Ok(schema) => builder.input_schema(schema),
        Err(_) => builder,
    }
}

/// Adds the tools. The first takes no arguments: the suite calls whichever comes first without any.
pub(crate) fn add(server: FastMcp) -> FastMcp {
    server
        .tool(simple_text)
        .tool(image_content)
        .tool(audio_content)
        .tool(embedded_resource)
        .tool(multiple_content_types)
        .tool(error_handling)
        .tool(with_progress)
        .tool(with_logging)
        .tool(logging)
        .tool(reconnection)
        .tool(trigger_tool_change)
        .tool(trigger_prompt_change)
        .tool(mirrored_argument)
        .tool(json_schema_2020_12())
}
