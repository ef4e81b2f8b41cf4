//! A tool whose every run is logged and measured.
//!
//! Run with: `cargo run -p fastmcp-examples --bin monitored_tool`

use std::sync::Arc;

use fastmcp::{
    IntoTool as _,
    middleware::{Layer, MetricsMiddleware, log_tool_execution},
    prelude::*,
};

/// Processes data, and is watched doing so.
#[tool]
async fn monitored_tool(data: String) -> String {
    format!("Processed: {data}")
}

fn server(metrics: &Arc<MetricsMiddleware>) -> FastMcp {
    FastMcp::new("Monitored")
        .middleware(Layer::shared(Arc::clone(metrics)))
        .tool(monitored_tool.into_tool().middleware(log_tool_execution()))
}

#[tokio::main]
#[expect(
    clippy::print_stderr,
    reason = "standard output belongs to the protocol"
)]
async fn main() -> Result<()> {
    let metrics = Arc::new(MetricsMiddleware::new());
    server(&metrics).run().await?;
    // Standard output belongs to the protocol.
    eprintln!("{}", metrics.encode());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_are_counted() {
        let metrics = Arc::new(MetricsMiddleware::new());
        let client = Client::connect(&server(&metrics).build().unwrap())
            .await
            .unwrap();
        for _ in 0..3 {
            client
                .call_tool("monitored_tool", json!({"data": "x"}))
                .await
                .unwrap();
        }
        assert_eq!(metrics.calls("monitored_tool"), 3);
        assert!(metrics.encode().contains("mcp_tool_calls_total"));
    }
}
