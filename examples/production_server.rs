//! A production server: settings, health and readiness, metrics, layers, an end in peace.
//!
//! Run with: `cargo run -p fastmcp-examples --bin production_server`
//! With `PORT=8000 TRANSPORT=http`, look at `/health`, `/ready` and `/metrics`.

use std::sync::Arc;

use fastmcp::{
    BaseServer,
    config::ServerConfig,
    middleware::{
        ErrorHandlingMiddleware, Layer, MetricsMiddleware, RateLimitingMiddleware,
        StructuredLoggingMiddleware,
    },
    prelude::*,
};

/// Says that it works.
#[tool(read_only, inline)]
fn health_check() -> &'static str {
    "healthy"
}

fn server(config: ServerConfig) -> Result<BaseServer> {
    let metrics = Arc::new(MetricsMiddleware::new());
    let shown = Arc::clone(&metrics);
    let rate = config.rate_limit;
    Ok(BaseServer::new(config)?
        .configure(|server| {
            server
                .middleware(ErrorHandlingMiddleware::new())
                .middleware(RateLimitingMiddleware::new(rate))
                .middleware(Layer::shared(metrics))
                .middleware(StructuredLoggingMiddleware::new())
                .custom_route(http::Method::GET, "/metrics", move |_| {
                    let text = shown.encode();
                    async move { text }
                })
                .tool(health_check)
        })
        .check("database", || async { Ok(()) }))
}

#[tokio::main]
async fn main() -> Result<()> {
    server(ServerConfig::from_vars(std::env::vars())?)?
        .run()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_healthy() {
        let config = ServerConfig::from_vars([("TRANSPORT", "http")]).unwrap();
        let (server, _drain) = super::server(config).unwrap().build().unwrap();
        let client = Client::connect(&server).await.unwrap();
        let health = client.call_tool("health_check", json!({})).await.unwrap();
        assert_eq!(health.text(), "healthy");
    }
}
