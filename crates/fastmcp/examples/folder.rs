//! A folder of prompts and resources, which may be edited while the server runs.
//!
//! Run with: `cargo run -p fastmcp --example folder`

use fastmcp::{folder::Folder, prelude::*};

#[tokio::main]
async fn main() -> Result<()> {
    let content = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/content");
    let folder = Folder::open(content)?;
    FastMcp::new("library").provider(folder).run().await
}
