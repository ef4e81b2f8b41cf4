//! Pattern 6, errors: what a caller may read is said on purpose; everything else is logged and masked.
//!
//! Run with: `cargo run -p fastmcp-examples --bin error_handling`

use fastmcp::{middleware::ErrorHandlingMiddleware, prelude::*};

/// Divides two whole numbers.
#[tool]
async fn divide(a: i64, b: i64) -> Result<f64, ToolError> {
    if b == 0 {
        // A `ToolError` is for the caller.
        return Err(ToolError::new("Division by zero not allowed"));
    }
    Ok(a as f64 / b as f64)
}

/// Reads a number that somebody wrote into a file that is not there.
#[tool]
async fn read_setting() -> Result<u64> {
    // Any other error is for the log: the caller learns that something failed, and not where.
    let text = std::fs::read_to_string("/nowhere/secret-path")?;
    Ok(text.trim().parse()?)
}

fn server(mask: bool) -> FastMcp {
    FastMcp::new("ErrorDemo")
        .mask_error_details(mask)
        .middleware(ErrorHandlingMiddleware::new())
        .tool(divide)
        .tool(read_setting)
}

#[tokio::main]
#[expect(
    clippy::disallowed_methods,
    reason = "a program may read its environment"
)]
async fn main() -> Result<()> {
    let production = std::env::var("ENV").is_ok_and(|env| env == "production");
    server(production).run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(mask: bool, tool: &str, arguments: serde_json::Value) -> String {
        let client = Client::connect(&server(mask).build().unwrap())
            .await
            .unwrap();
        let refused = client.call_tool(tool, arguments).await.unwrap_err();
        refused.message().to_owned()
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
        assert!(told.contains("`a`"), "{told}");
    }
}
