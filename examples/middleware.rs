//! Pattern 2, middleware: what every call has in common is written once.
//!
//! Run with: `cargo run -p fastmcp-examples --bin middleware`

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fastmcp::{
    middleware::{
        ErrorHandlingMiddleware, RateLimitingMiddleware, RetryMiddleware,
        StructuredLoggingMiddleware, TimingMiddleware, prelude::*,
    },
    prelude::*,
};

/// Lets in who knows the key. Where there is no HTTP there are no headers: a local client needs none.
struct ApiKeyMiddleware {
    api_key: &'static str,
}

impl Middleware for ApiKeyMiddleware {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let headers = context.fastmcp_context().headers();
        let provided = headers.get("x-api-key");
        if !headers.is_empty() && provided.is_none_or(|key| key != self.api_key) {
            return Err(Error::forbidden("Invalid API key"));
        }
        next.run(context).await
    }
}

/// Counts the calls of tools.
#[derive(Default)]
struct CountingMiddleware {
    calls: AtomicUsize,
}

impl Middleware for CountingMiddleware {
    async fn on_call_tool(
        &self,
        context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> Result<Outcome<CallToolResult>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if context
            .message
            .component()
            .is_some_and(|tool| tool.tags().contains("private"))
        {
            return Err(Error::tool("Access denied: private tool"));
        }
        next.run(context).await
    }
}

/// Looks something up.
#[tool(read_only)]
async fn get_data(query: String) -> String {
    format!("Result for {query}")
}

/// What nobody may call.
#[tool(tags("private"))]
async fn secret_data() -> &'static str {
    "secret"
}

fn server() -> FastMcp {
    FastMcp::new("Protected")
        // The first is the outermost: who may come in, then what went wrong, then how often and how long.
        .middleware(ApiKeyMiddleware {
            api_key: "secret-key",
        })
        .middleware(ErrorHandlingMiddleware::new())
        .middleware(RateLimitingMiddleware::new(10.0).burst_capacity(20))
        .middleware(
            RetryMiddleware::new()
                .max_retries(3)
                .base_delay(Duration::from_millis(100)),
        )
        .middleware(TimingMiddleware::new())
        .middleware(StructuredLoggingMiddleware::new())
        .middleware(CountingMiddleware::default())
        .tool(get_data)
        .tool(secret_data)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp::middleware::Layer;

    use super::*;

    #[tokio::test]
    async fn a_layer_sees_each_call_once() {
        let counting = Arc::new(CountingMiddleware::default());
        let server = FastMcp::new("Test")
            .middleware(Layer::shared(Arc::clone(&counting)))
            .tool(get_data);
        let client = Client::connect(&server.build().unwrap()).await.unwrap();
        for _ in 0..2 {
            client
                .call_tool("get_data", json!({"query": "x"}))
                .await
                .unwrap();
        }
        assert_eq!(counting.calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_layer_may_refuse_by_the_tags_of_a_tool() {
        let client = Client::connect(&server().build().unwrap()).await.unwrap();
        let refused = client
            .call_tool("secret_data", json!({}))
            .await
            .unwrap_err();
        assert_eq!(refused.message(), "Access denied: private tool");
    }
}
