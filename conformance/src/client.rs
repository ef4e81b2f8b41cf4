//! The client that the official conformance suite runs: one scenario per process, which the suite
//! names in the environment.
//!
//! Run with: `conformance client --command target/debug/conformance-client --requirements 2026-07-28`

mod auth;
mod scenario;

use clap::Parser;
use fastmcp::{Error, Result, protocol::ProtocolVersion};
use serde_json::Value;

/// Plays one scenario of the suite against the server at a URL.
#[derive(Debug, Parser)]
#[command(name = "conformance-client")]
struct Options {
    /// The server.
    url: String,
    /// The scenario.
    #[arg(long, env = "MCP_CONFORMANCE_SCENARIO")]
    scenario: String,
    /// The revision that the suite checks; whichever the server knows, where it is not given.
    #[arg(long, env = "MCP_CONFORMANCE_PROTOCOL_VERSION")]
    revision: Option<String>,
    /// What the scenario needs to know, a JSON object.
    #[arg(long, env = "MCP_CONFORMANCE_CONTEXT")]
    context: Option<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .init();
    let context = match options.context.as_deref() {
        None | Some("") => Value::Null,
        Some(text) => serde_json::from_str(text)?,
    };
    let revision = match options.revision.as_deref() {
        None | Some("") => None,
        Some(name) => Some(ProtocolVersion::parse(name).ok_or_else(|| {
            Error::validation(format!("`--revision`: `{name}` is not known here"))
        })?),
    };
    scenario::play(&options.scenario, &options.url, revision, &context).await
}
