//! Tools that ask the user, the client's model, or for its folders.

use fastmcp::{
    Context, FastMcp, Result, ToolResult,
    protocol::{
        elicit::{
            BooleanSchema, Choices, ElicitParams, ElicitResult, ElicitSchema, MultiSelect,
            NumberSchema, SingleSelect, StringFormat, StringSchema,
        },
        sampling::{CreateMessageParams, CreateMessageResult, SamplingContent, SamplingMessage},
    },
    tool,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Number, Value, json};

/// A form with a name.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Name {
    /// The name.
    pub(crate) name: String,
}

/// A form with a colour.
#[derive(Debug, Deserialize, JsonSchema)]
struct Color {
    /// The colour.
    color: String,
}

/// A form that wants a nod.
#[derive(Debug, Deserialize, JsonSchema)]
struct Nod {
    /// Whether it is fine.
    ok: bool,
}

/// A form with a context.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Topic {
    /// What it is about.
    pub(crate) context: String,
}

/// Asks the client's model what is given.
#[tool(name = "test_sampling")]
async fn sampling(
    context: Context,
    /// What the model is asked.
    prompt: String,
) -> Result<ToolResult> {
    let answer = context.sample("answer", question(prompt)).await?;
    Ok(ToolResult::text(format!("LLM response: {}", said(&answer))))
}

fn question(text: impl Into<String>) -> CreateMessageParams {
    CreateMessageParams::new(vec![SamplingMessage::user(text)], 100)
}

fn said(answer: &CreateMessageResult) -> &str {
    let mut pieces = answer.content.iter().filter_map(SamplingContent::as_text);
    pieces.next().unwrap_or("nothing")
}

/// Asks the user for a name and an address.
#[tool(name = "test_elicitation")]
async fn elicitation(
    context: Context,
    /// What the user is asked.
    message: String,
) -> Result<ToolResult> {
    let form = ElicitSchema::default()
        .required(
            "username",
            StringSchema::default().with_description("User's response"),
        )
        .required(
            "email",
            StringSchema::of(StringFormat::Email).with_description("User's email address"),
        );
    let answer = context
        .elicit_raw("user", ElicitParams::form(message, form))
        .await?;
    Ok(told("User response", &answer))
}

/// Says what the user did.
fn told(what: &str, answer: &ElicitResult) -> ToolResult {
    let content = answer.content.clone().map_or(Value::Null, Value::Object);
    let action = json!(answer.action);
    let action = action.as_str().unwrap_or_default();
    ToolResult::text(format!("{what}: action={action}, content={content}"))
}

/// Asks by a form whose fields are filled in already.
#[tool(name = "test_elicitation_sep1034_defaults")]
async fn defaults(context: Context) -> Result<ToolResult> {
    let statuses = Choices::untitled(["active", "inactive", "pending"]);
    let form = ElicitSchema::default()
        .optional("name", StringSchema::default().with_default("John Doe"))
        .optional("age", NumberSchema::integer().with_default(30))
        .optional(
            "score",
            NumberSchema {
                default: Number::from_f64(95.5),
                ..NumberSchema::default()
            },
        )
        .optional("status", SingleSelect::new(statuses).with_default("active"))
        .optional("verified", BooleanSchema::default().with_default(true));
    let params = ElicitParams::form("Please review and update the form fields", form);
    let answer = context.elicit_raw("form", params).await?;
    Ok(told("Elicitation completed", &answer))
}

/// Asks by a form with choices of every kind.
#[tool(name = "test_elicitation_sep1330_enums")]
async fn choices(context: Context) -> Result<ToolResult> {
    let untitled = || Choices::untitled(["option1", "option2", "option3"]);
    let titled = |word: &str| {
        let ordinals = [
            ("value1", "First"),
            ("value2", "Second"),
            ("value3", "Third"),
        ];
        Choices::titled(ordinals.map(|(value, ordinal)| (value, format!("{ordinal} {word}"))))
    };
    let older = SingleSelect {
        enum_names: Some(
            ["Option One", "Option Two", "Option Three"]
                .map(str::to_owned)
                .into(),
        ),
        ..SingleSelect::new(Choices::untitled(["opt1", "opt2", "opt3"]))
    };
    let form = ElicitSchema::default()
        .optional("untitledSingle", SingleSelect::new(untitled()))
        .optional("titledSingle", SingleSelect::new(titled("Option")))
        .optional("legacyEnum", older)
        .optional("untitledMulti", MultiSelect::new(untitled()))
        .optional("titledMulti", MultiSelect::new(titled("Choice")));
    let params = ElicitParams::form("Please select options from the enum fields", form);
    let answer = context.elicit_raw("form", params).await?;
    Ok(told("Elicitation completed", &answer))
}

/// Needs the client's model, which few clients offer.
#[tool(name = "test_missing_capability")]
async fn missing_capability(context: Context) -> Result<ToolResult> {
    let answer = context.sample("greeting", question("Say hello.")).await?;
    Ok(ToolResult::text(said(&answer)))
}

/// Asks the user in the middle of its work.
#[tool(name = "test_streaming_elicitation")]
async fn streaming_elicitation(context: Context) -> Result<ToolResult> {
    let name: Name = context.elicit("user_name", "What is your name?").await?;
    Ok(ToolResult::text(format!("Hello, {}!", name.name)))
}

/// Asks for a name.
#[tool(name = "test_input_required_result_elicitation")]
async fn asks_user(context: Context) -> Result<ToolResult> {
    let name: Name = context.elicit("user_name", "What is your name?").await?;
    Ok(ToolResult::text(format!("Hello, {}!", name.name)))
}

/// Asks the client's model.
#[tool(name = "test_input_required_result_sampling")]
async fn asks_model(context: Context) -> Result<ToolResult> {
    let question = question("What is the capital of France?");
    let answer = context.sample("capital_question", question).await?;
    Ok(ToolResult::text(said(&answer)))
}

/// Asks for the client's folders.
#[tool(name = "test_input_required_result_list_roots")]
async fn asks_roots(context: Context) -> Result<ToolResult> {
    let roots = context.roots("client_roots").await?;
    let uris: Vec<_> = roots.iter().map(|root| root.uri.as_str()).collect();
    Ok(ToolResult::text(format!("Roots: {}", uris.join(", "))))
}

/// Remembers a value from before its question.
#[tool(name = "test_input_required_result_request_state")]
async fn keeps_state(context: Context) -> Result<ToolResult> {
    let kept = context
        .remember("kept", || async { Ok("state-ok".to_owned()) })
        .await?;
    let nod: Nod = context.elicit("confirm", "Is that fine?").await?;
    Ok(ToolResult::text(format!("{kept}: {}", nod.ok)))
}

/// Asks everybody at once.
#[tool(name = "test_input_required_result_multiple_inputs")]
async fn asks_all(context: Context) -> Result<ToolResult> {
    let (name, greeting, roots) = tokio::try_join!(
        context.elicit::<Name>("user_name", "What is your name?"),
        context.sample("greeting", question("Generate a greeting.")),
        context.roots("client_roots"),
    )?;
    Ok(ToolResult::text(format!(
        "{} {} ({} roots)",
        said(&greeting),
        name.name,
        roots.len()
    )))
}

/// Asks twice, one after the other.
#[tool(name = "test_input_required_result_multi_round")]
async fn asks_twice(context: Context) -> Result<ToolResult> {
    let name: Name = context
        .elicit("step1", "Step 1: What is your name?")
        .await?;
    let color: Color = context
        .elicit("step2", "Step 2: What is your favorite color?")
        .await?;
    Ok(ToolResult::text(format!(
        "{} likes {}",
        name.name, color.color
    )))
}

/// Asks for a nod; its state must not be touched on the way.
#[tool(name = "test_input_required_result_tampered_state")]
async fn guards_state(context: Context) -> Result<ToolResult> {
    let nod: Nod = context.elicit("confirm", "Is that fine?").await?;
    Ok(ToolResult::text(format!("confirmed: {}", nod.ok)))
}

/// Asks only for what the client can do.
#[tool(name = "test_input_required_result_capabilities")]
async fn asks_what_is_declared(context: Context) -> Result<ToolResult> {
    let declared = context.client_capabilities();
    if declared.has_form() {
        let name: Name = context.elicit("user_name", "What is your name?").await?;
        return Ok(ToolResult::text(format!("Hello, {}!", name.name)));
    }
    if declared.sampling.is_some() {
        let answer = context.sample("greeting", question("Say hello.")).await?;
        return Ok(ToolResult::text(said(&answer)));
    }
    Ok(ToolResult::text("Nobody can be asked"))
}

/// Adds the tools.
pub(crate) fn add(server: FastMcp) -> FastMcp {
    server
        .tool(sampling)
        .tool(elicitation)
        .tool(defaults)
        .tool(choices)
        .tool(missing_capability)
        .tool(streaming_elicitation)
        .tool(asks_user)
        .tool(asks_model)
        .tool(asks_roots)
        .tool(keeps_state)
        .tool(asks_all)
        .tool(asks_twice)
        .tool(guards_state)
        .tool(asks_what_is_declared)
}
