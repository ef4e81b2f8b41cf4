//~ #[tool] knows no `readonly` in this form; it knows name = "..."
//~ #[arg] knows description, title, min, max
//~ `timeout` is above zero: seconds as in 30 or 1.5
//~ #[resource] needs a URI: #[resource("data://config")]
use fastmcp::prelude::*;

#[tool(readonly)]
async fn one() -> i64 {
    1
}

#[tool]
async fn two(#[arg(minimum = 1)] a: i64) -> i64 {
    a
}

#[tool(timeout = "soon")]
async fn three() -> i64 {
    3
}

#[resource]
async fn four() -> String {
    String::new()
}
