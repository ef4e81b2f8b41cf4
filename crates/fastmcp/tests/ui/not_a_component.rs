//~ `Plain` has no components
//~ put `#[tools]` on an `impl` block of `Plain`
//~ is not a tool
//~ put `#[tool]` on the function
use fastmcp::prelude::*;

pub struct Plain;

fn double(a: i64) -> i64 {
    2 * a
}

pub fn server() -> FastMcp {
    FastMcp::new("x").tools(Plain).tool(double)
}
