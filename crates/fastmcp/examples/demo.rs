//! The smallest server: one tool on standard input and output.
//!
//! Run with: `cargo run -p fastmcp --example demo`

use fastmcp::prelude::*;

/// Adds two numbers.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[tokio::main]
async fn main() -> Result<()> {
    FastMcp::new("demo").tool(add).run().await
}
