//! Errors with a category, a severity and details, for programs that act on them.
//!
//! Run with: `cargo run -p fastmcp-examples --bin error_classification`

use std::collections::BTreeMap;

use fastmcp::{
    IntoTool as _,
    error::{ErrorCategory, ErrorSeverity, McpError},
    middleware::handle_mcp_error,
    prelude::*,
};

/// Checks what a user sent.
#[tool(read_only)]
async fn validate_user_input(data: BTreeMap<String, String>) -> Result<&'static str> {
    if data.is_empty() {
        let error = McpError::new("Input data is required", ErrorCategory::Validation)
            .severity(ErrorSeverity::Medium)
            .detail("provided_data", &data);
        return Err(error.into());
    }
    Ok("Data processed successfully")
}

fn server() -> FastMcp {
    FastMcp::new("Classified").tool(
        validate_user_input
            .into_tool()
            .middleware(handle_mcp_error()),
    )
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_says_what_kind_it_is() {
        let client = Client::connect(&server().build().unwrap()).await.unwrap();
        let refused = client
            .call_tool("validate_user_input", json!({"data": {}}))
            .await
            .unwrap_err();
        assert!(
            refused.message().contains("Input data is required"),
            "{refused}"
        );
        let done = client
            .call_tool("validate_user_input", json!({"data": {"a": "b"}}))
            .await
            .unwrap();
        assert_eq!(done.text(), "Data processed successfully");
    }
}
