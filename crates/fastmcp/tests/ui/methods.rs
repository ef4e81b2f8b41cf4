//~ #[tool] goes on a function without `self`; put `#[tools]` on the `impl` block of a method
//~ calls run at the same time and share the value: write `&self` or `self: Arc<Self>`
//~ no method here is a component
use fastmcp::prelude::*;

pub struct Counter(u64);

impl Counter {
    #[tool]
    async fn outside(&self) -> u64 {
        self.0
    }
}

#[tools]
impl Counter {
    #[tool]
    async fn count(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

#[tools]
impl Counter {
    pub fn nothing(&self) {}
}
