use fastmcp::prelude::*;

#[tool]
async fn greet(name: &str) -> String {
    format!("hello {name}")
}

fn main() {}
