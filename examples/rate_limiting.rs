//! Limits: of a whole server, and of one tool.
//!
//! Run with: `cargo run -p fastmcp-examples --bin rate_limiting`

use std::time::Duration;

use fastmcp::{
    IntoTool as _,
    middleware::{RateLimitingMiddleware, rate_limited},
    prelude::*,
};

/// Calls what may be called ten times a minute.
#[tool(read_only)]
async fn rate_limited_api_call(query: String) -> String {
    format!("API response for: {query}")
}

/// Calls what may be called as often as the server can.
#[tool(read_only)]
async fn cheap_call() -> &'static str {
    "ok"
}

fn server() -> FastMcp {
    let limited = rate_limited_api_call
        .into_tool()
        .middleware(rate_limited(10, Duration::from_secs(60)));
    FastMcp::new("Limited")
        .middleware(RateLimitingMiddleware::new(100.0).burst_capacity(200))
        .tool(limited)
        .tool(cheap_call)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use fastmcp::auth::testing::caller;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_caller_is_told_when_it_is_too_much_and_others_are_not() {
        let server = server().build().unwrap();
        let ada = Client::connect_as(&server, caller("ada").build())
            .await
            .unwrap();
        let ask = json!({"query": "x"});
        for _ in 0..10 {
            ada.call_tool("rate_limited_api_call", ask.clone())
                .await
                .unwrap();
        }
        let refused = ada
            .call_tool("rate_limited_api_call", ask.clone())
            .await
            .unwrap_err();
        assert!(
            refused.message().contains("Rate limit exceeded"),
            "{refused}"
        );
        ada.call_tool("cheap_call", json!({})).await.unwrap();
        let grace = Client::connect_as(&server, caller("grace").build())
            .await
            .unwrap();
        grace
            .call_tool("rate_limited_api_call", ask.clone())
            .await
            .unwrap();
        tokio::time::advance(Duration::from_secs(61)).await;
        ada.call_tool("rate_limited_api_call", ask).await.unwrap();
    }
}
