use fastmcp::prelude::*;

#[tool(readonly)]
async fn now() -> String {
    "now".to_owned()
}

fn main() {}
