//! Error handling: what a caller may read is said on purpose, by the name of an error; everything else is logged and masked.
//!
//! Run with: `cargo run -p fastmcp-examples --bin error_handling`

use fastmcp::{NotFoundError, ResourceError, error::ErrorKind, middleware::prelude::*, prelude::*};

/// Divides two numbers.
#[tool]
async fn divide(a: i64, b: i64) -> Result<f64, ToolError> {
    if b == 0 {
        // A `ToolError` is for the caller.
        return Err(ToolError::new("Division by zero not allowed"));
    }
    // That both are integers is what the types say: others are refused by the name of the argument.
    Ok(a as f64 / b as f64)
}

/// Reads a number that somebody wrote into a file that is not there.
#[tool]
async fn read_setting() -> Result<u64> {
    // Any other error is for the log: the caller learns that something failed, and not where.
    let text = std::fs::read_to_string("/nowhere/secret-path")?;
    Ok(text.trim().parse()?)
}

/// A chapter of the handbook.
#[resource("handbook://{chapter}")]
async fn chapter(chapter: u32) -> Result<String> {
    match chapter {
        1 => Ok("Be kind.".to_owned()),
        2 => Err(ResourceError::new("chapter 2 is being written").into()),
        _ => Err(NotFoundError::new(format!("there is no chapter {chapter}")).into()),
    }
}

/// Puts errors into words, and into the log.
struct ErrorMiddleware;

impl Middleware for ErrorMiddleware {
    async fn on_message(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let method = context.method().to_owned();
        next.run(context).await.map_err(|error| {
            let kind = error.kind();
            tracing::warn!(method, ?kind, %error, "failed");
            match kind {
                ErrorKind::Validation => Error::tool(format!("Invalid input: {error}")),
                // For the caller as it is, or masked by the server.
                _ => error,
            }
        })
    }
}

fn server(mask: bool) -> FastMcp {
    FastMcp::new("ErrorDemo")
        .mask_error_details(mask)
        .middleware(ErrorMiddleware)
        .tool(divide)
        .tool(read_setting)
        .resource(chapter)
}

#[tokio::main]
async fn main() -> Result<()> {
    server(true).run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn client(mask: bool) -> Client {
        Client::connect(&server(mask).build().unwrap())
            .await
            .unwrap()
    }

    async fn refusal(mask: bool, tool: &str, arguments: serde_json::Value) -> String {
        let refused = client(mask).await.call_tool(tool, arguments).await;
        refused.unwrap_err().message().to_owned()
    }

    #[tokio::test]
    async fn tool_errors_are_shown_and_others_are_masked() {
        let zero = json!({"a": 1, "b": 0});
        assert_eq!(
            refusal(true, "divide", zero).await,
            "Division by zero not allowed"
        );
        let masked = refusal(true, "read_setting", json!({})).await;
        assert!(!masked.contains("os error"), "{masked}");
        let shown = refusal(false, "read_setting", json!({})).await;
        assert!(shown.contains("No such file"), "{shown}");
    }

    #[tokio::test]
    async fn a_wrong_argument_is_named() {
        let told = refusal(true, "divide", json!({"a": "one", "b": 2})).await;
        assert!(
            told.starts_with("Invalid input") && told.contains("`a`"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn a_failed_tool_is_a_result_that_says_so() {
        let client = client(true).await;
        let result = client
            .call_tool_raw("divide", json!({"a": 1, "b": 0}))
            .await
            .unwrap();
        assert!(result.is_error());
        assert_eq!(result.text(), "Division by zero not allowed");
    }

    #[tokio::test]
    async fn resources_say_what_is_missing() {
        let client = client(true).await;
        let writing = client.read_resource("handbook://2").await.unwrap_err();
        assert!(writing.message().contains("being written"), "{writing}");
        client.read_resource("handbook://3").await.unwrap_err();
        client.read_resource("handbook://1").await.unwrap();
    }
}
