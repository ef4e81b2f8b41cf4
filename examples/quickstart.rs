//! The first page: a tool, a resource template and a prompt, on standard input and output.
//!
//! Run with: `cargo run -p fastmcp-examples --bin quickstart`
//! Or give that command to an MCP client.

use fastmcp::prelude::*;

/// Adds two numbers.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// A greeting for somebody.
#[resource("greeting://{name}")]
async fn greeting(name: String) -> String {
    format!("Hello, {name}!")
}

/// Asks for a greeting in a style.
#[prompt]
fn greet_user(name: String, #[arg(default = "friendly".to_owned())] style: String) -> String {
    format!("Please write a {style} greeting for someone named {name}.")
}

#[tokio::main]
async fn main() -> Result<()> {
    FastMcp::new("Demo")
        .tool(add)
        .resource(greeting)
        .prompt(greet_user)
        .run()
        .await
}
