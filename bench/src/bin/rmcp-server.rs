//! The same two tools on rmcp, as its examples write them: macros, axum, stateless JSON answers,
//! and results that hold what ours hold, apart from `_meta`, which is the framework's own.

use std::sync::Arc;

use axum::{Router, serve::ListenerExt as _};
use fastmcp_bench::serve::{listen, terminated};
use rmcp::{
    ServerHandler,
    handler::server::{router::tool::ToolRouter, wrapper::Parameters},
    model::{CallToolResult, ContentBlock, Implementation, ServerCapabilities, ServerConfig},
    schemars, tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Echo {
    message: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Add {
    a: i64,
    b: i64,
}

/// The router is made once: by default the attribute makes one for every call, at twice the cost.
#[derive(Clone)]
struct Bench {
    router: Arc<ToolRouter<Self>>,
}

/// What our attributes make of a value that is no object.
fn result(text: String, value: Value) -> CallToolResult {
    let mut result = CallToolResult::default();
    result.content = vec![ContentBlock::text(text)];
    result.structured_content = Some(Map::from_iter([("result".to_owned(), value)]).into());
    result
}

#[tool_router]
impl Bench {
    /// Says what it is told.
    #[tool]
    async fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> CallToolResult {
        result(message.clone(), Value::String(message))
    }

    /// Adds two numbers.
    #[tool]
    async fn add(&self, Parameters(Add { a, b }): Parameters<Add>) -> CallToolResult {
        let sum = a.saturating_add(b);
        result(sum.to_string(), sum.into())
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for Bench {
    fn get_info(&self) -> ServerConfig {
        let mut config = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        config.server_info = Implementation::new("bench", "0.1.0");
        config
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let bench = Bench {
        router: Arc::new(Bench::tool_router()),
    };
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .enforce_origin_validation();
    let service: StreamableHttpService<Bench, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(bench.clone()), Arc::default(), config);
    let router = Router::new().nest_service("/mcp", service);
    let listener = listen().await?.tap_io(|stream| {
        // A connection that cannot have it is served all the same.
        let _without = stream.set_nodelay(true);
    });
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        ended = terminated() => ended?,
    }
    Ok(())
}
