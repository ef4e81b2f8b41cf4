//~ `Plain` has no components
//~ put `#[tools]` on an `impl` block of `Plain`
//~ this is not a tool
//~ put `#[tool]` on the function
use fastmcp::prelude::*;

pub struct Plain;

pub fn server() -> FastMcp {
    FastMcp::new("x").tools(Plain).tool(Plain)
}
