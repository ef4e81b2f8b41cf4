//! A resource that is computed seldom and read often.
//!
//! Run with: `cargo run -p fastmcp-examples --bin timed_cache`

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fastmcp::{IntoResource as _, middleware::cached_resource, prelude::*};

/// How often the computation ran.
#[derive(Default)]
struct Runs(AtomicUsize);

/// The result of a long computation.
#[resource("computation://{param}")]
async fn expensive_computation(param: String, runs: State<Runs>) -> String {
    let run = runs.0.0.fetch_add(1, Ordering::Relaxed) + 1;
    format!("Computed result for {param}, run {run}")
}

fn server() -> FastMcp {
    let cached = expensive_computation
        .into_resource()
        .middleware(cached_resource(Duration::from_secs(300)));
    FastMcp::new("Cached")
        .state(Runs::default())
        .resource(cached)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_is_not_computed_twice() {
        let client = Client::connect(&server().build().unwrap()).await.unwrap();
        let read = async |uri: &str| {
            let read = client.read_resource(uri).await.unwrap();
            serde_json::to_value(&read.contents[0]).unwrap()["text"].clone()
        };
        let first = read("computation://a").await;
        assert_eq!(first, "Computed result for a, run 1");
        assert_eq!(read("computation://a").await, first);
        assert_eq!(
            read("computation://b").await,
            "Computed result for b, run 2"
        );
    }
}
