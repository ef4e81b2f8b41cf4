use fastmcp::prelude::*;

struct Shop;

impl Shop {
    #[tool]
    async fn price(&self) -> i64 {
        1
    }
}

fn main() {}
