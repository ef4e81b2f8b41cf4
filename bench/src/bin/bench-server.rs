//! The server of this framework that the bench measures: two tools, defaults throughout.

use fastmcp::{prelude::*, transport::http::HttpConfig};
use fastmcp_bench::serve::{listen, terminated};

/// Says what it is told.
#[tool]
async fn echo(message: String) -> String {
    message
}

/// Adds two numbers.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a.saturating_add(b)
}

#[tokio::main]
async fn main() -> Result<()> {
    let server = FastMcp::new("bench").tool(echo).tool(add).build()?;
    let listener = listen().await?;
    tokio::select! {
        served = server.serve_http(listener, HttpConfig::default()) => served?,
        ended = terminated() => ended?,
    }
    Ok(())
}
