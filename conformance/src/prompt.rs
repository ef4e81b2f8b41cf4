//! Prompts.

use fastmcp::{
    Context, FastMcp, Result, prompt,
    protocol::{content::ContentBlock, prompt::PromptMessage},
};

use crate::{
    ask::Topic,
    tool::{PIXEL, embedded},
};

/// Takes no arguments.
#[prompt(name = "test_simple_prompt", inline)]
fn simple() -> &'static str {
    "This is a simple prompt for testing."
}

/// Takes two arguments.
#[prompt(name = "test_prompt_with_arguments", inline)]
fn with_arguments(
    /// The first.
    arg1: String,
    /// The second.
    arg2: String,
) -> String {
    format!("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")
}

/// Has a resource in its messages.
#[prompt(name = "test_prompt_with_embedded_resource", inline)]
fn with_embedded_resource(
    /// The resource's URI.
    #[serde(rename = "resourceUri")]
    resource_uri: String,
) -> Vec<PromptMessage> {
    let text = "Embedded resource content for testing.";
    vec![
        PromptMessage::user(embedded(&resource_uri, "text/plain", text)),
        PromptMessage::user("Please process the embedded resource above."),
    ]
}

/// Has a picture in its messages.
#[prompt(name = "test_prompt_with_image", inline)]
fn with_image() -> Vec<PromptMessage> {
    vec![
        PromptMessage::user(ContentBlock::image(PIXEL, "image/png")),
        PromptMessage::user("Please analyze the image above."),
    ]
}

/// Asks what it is about first.
#[prompt(name = "test_input_required_result_prompt")]
async fn asks_first(context: Context) -> Result<String> {
    let topic: Topic = context
        .elicit("user_context", "What context should the prompt have?")
        .await?;
    Ok(format!("Use this context: {}", topic.context))
}

/// Adds the prompts.
pub(crate) fn add(server: FastMcp) -> FastMcp {
    server
        .prompt(simple)
        .prompt(with_arguments)
        .prompt(with_embedded_resource)
        .prompt(with_image)
        .prompt(asks_first)
}
