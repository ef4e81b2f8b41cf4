//! Tools that run as tasks, and one that never does.

use std::time::Duration;

use fastmcp::{
    Context, Error, FastMcp, Result, ToolError, ToolResult,
    protocol::{ErrorCode, RpcError},
    tool,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::ask::Name;

/// A form that confirms.
#[derive(Debug, Deserialize, JsonSchema)]
struct Confirmation {
    /// Whether to go on.
    confirm: bool,
}

/// Greets, at once.
#[tool(read_only)]
async fn greet(
    /// Who is greeted.
    name: String,
) -> ToolResult {
    ToolResult::text(format!("Hello, {name}!"))
}

/// Works for some seconds, unless it is called off.
#[tool(task, read_only)]
async fn slow_compute(
    context: Context,
    /// For how many seconds.
    seconds: u32,
    /// What the work is called.
    label: Option<String>,
) -> Result<ToolResult> {
    let work = tokio::time::sleep(Duration::from_secs(seconds.into()));
    tokio::select! {
        () = work => {}
        () = context.cancellation().cancelled() => return Err(Error::cancelled()),
    }
    let label = label.unwrap_or_else(|| "work".to_owned());
    Ok(ToolResult::text(format!("{label} took {seconds} s")))
}

/// Fails after a while, as tools do.
#[tool(task_required, read_only)]
async fn failing_job() -> Result<String> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    Err(ToolError::new("This job always fails").into())
}

/// Ends with an error of the protocol.
#[tool(task, read_only)]
async fn protocol_error_job() -> Result<String> {
    let error = RpcError::new(ErrorCode::INTERNAL_ERROR, "This job always breaks");
    Err(Error::protocol(error))
}

/// Asks before it pretends to delete a file.
#[tool(task)]
async fn confirm_delete(
    context: Context,
    /// The file.
    filename: String,
) -> Result<ToolResult> {
    let question = format!("Delete {filename}?");
    let answer: Confirmation = context.elicit("confirm", question).await?;
    Ok(ToolResult::text(if answer.confirm {
        format!("Deleted {filename}")
    } else {
        format!("Kept {filename}")
    }))
}

/// Asks two questions at a time.
#[tool(task)]
async fn multi_input(context: Context) -> Result<ToolResult> {
    let (name, answer) = tokio::try_join!(
        context.elicit::<Name>("name", "What is your name?"),
        context.elicit::<Confirmation>("confirm", "Go on?"),
    )?;
    Ok(ToolResult::text(format!(
        "{}: {}",
        name.name, answer.confirm
    )))
}

/// Asks for a name, and only then becomes a task.
#[tool(name = "test_tool_with_task", task_required, begins_task)]
async fn with_task(context: Context) -> Result<ToolResult> {
    let name: Name = context.elicit("user_name", "What is your name?").await?;
    context.begin_task().await?;
    Ok(ToolResult::text(format!("Hello, {}!", name.name)))
}

/// Adds the tools.
pub(crate) fn add(server: FastMcp) -> FastMcp {
    server
        .tool(greet)
        .tool(slow_compute)
        .tool(failing_job)
        .tool(protocol_error_job)
        .tool(confirm_delete)
        .tool(multi_input)
        .tool(with_task)
}
