//! A production server: settings, a log for programs, health and readiness, metrics, layers, an end in peace.
//!
//! Run with: `cargo run -p fastmcp-examples --bin production_server`
//! With `TRANSPORT=http PORT=8000`, look at `/health`, `/ready` and `/metrics`. `deploy/` puts this program into a container.

use fastmcp::{
    BaseServer,
    config::{LogFormat, LogOutput, Logging, ServerConfig},
    middleware::{MetricsMiddleware, standard},
    prelude::*,
    registry::Kind,
};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Says how large the server is, and that it works.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Health {
    status: String,
    tools_count: usize,
    resources_count: usize,
}

/// Says that it works.
#[tool(read_only)]
async fn health_check(ctx: Context) -> Result<Health> {
    let server = ctx.server()?;
    let components = server.registry().snapshot();
    Ok(Health {
        status: "healthy".to_owned(),
        tools_count: components.of_kind(Kind::Tool).count(),
        resources_count: components.of_kind(Kind::Resource).count(),
    })
}

fn create_production_server(config: ServerConfig) -> Result<BaseServer> {
    let metrics = MetricsMiddleware::new();
    let shown = metrics.clone();
    // Errors, limits, times, a line for each message, and answers that were kept.
    let layers = standard(&config);
    Ok(BaseServer::new(config)?
        .configure(|server| {
            let server = layers.into_iter().fold(server, FastMcp::middleware);
            server
                .middleware(metrics)
                .custom_route(http::Method::GET, "/metrics", move |_| {
                    let text = shown.encode();
                    async move { text }
                })
                .tool(health_check)
        })
        .on_startup(|life| async move {
            tracing::info!(server = life.server_name(), "starts");
            Ok(())
        })
        .on_shutdown(|| async { tracing::info!("ended") })
        .check("database", || async { Ok(()) }))
}

/// Only a program installs a subscriber. Where standard output is the wire, it logs to standard error.
fn setup_production_logging(logging: Logging) {
    let output = match logging.output {
        LogOutput::Stdout => BoxMakeWriter::new(std::io::stdout),
        LogOutput::Stderr => BoxMakeWriter::new(std::io::stderr),
    };
    let lines = tracing_subscriber::fmt()
        .with_writer(output)
        .with_max_level(logging.level);
    match logging.format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Text => lines.init(),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let config = ServerConfig::from_vars(std::env::vars())?;
    setup_production_logging(config.logging());
    create_production_server(config)?.run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_healthy() {
        let config = ServerConfig::from_vars([("TRANSPORT", "http")]).unwrap();
        let (server, _drain) = create_production_server(config).unwrap().build().unwrap();
        let client = Client::connect(&server).await.unwrap();
        let health = client.call_tool("health_check", json!({})).await.unwrap();
        let health: Health = health.data().unwrap();
        assert_eq!((health.status.as_str(), health.tools_count), ("healthy", 1));
    }
}
