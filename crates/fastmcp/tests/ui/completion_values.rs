//~ `u64` cannot be returned by a completion
//~ return `Vec<String>`
//~ this completes nothing
//~ put `#[completion(prompt = "...", argument = "...")]` on the function
use fastmcp::prelude::*;

#[completion]
async fn count(value: &str) -> u64 {
    value.len() as u64
}

pub fn server() -> FastMcp {
    FastMcp::new("x").completion(1)
}
