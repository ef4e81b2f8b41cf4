//! A folder of prompts and resources, which may be edited while the server runs.
//!
//! Run with: `cargo run -p fastmcp --example folder`

use fastmcp::{folder::Folder, prelude::*};

#[tokio::main]
async fn main() -> Result<()> {
    let content = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/content");
    let server = FastMcp::new("library").build()?;
    Folder::open(content)?.follow(&server).await?;
    server.serve_stdio().await
}
