//! Performance: what is asked at once, what is answered from memory, and what is not sent at all.
//!
//! Run with: `cargo run -p fastmcp-examples --bin performance`

use std::{collections::BTreeMap, time::Duration};

use fastmcp::{
    middleware::{CallToolSettings, DetailedTimingMiddleware, ResponseCachingMiddleware},
    prelude::*,
};
use futures_util::future::join_all;

async fn fetch_source(source: String) -> (String, String) {
    let answer = format!("data of {source}");
    (source, answer)
}

/// Fetches several sources at once.
#[tool(read_only)]
async fn fetch_multiple_sources(sources: Vec<String>) -> BTreeMap<String, String> {
    join_all(sources.into_iter().map(fetch_source))
        .await
        .into_iter()
        .collect()
}

/// A dataset that is named instead of sent.
#[resource("data://large-dataset", mime_type = "application/json")]
async fn large_dataset() -> String {
    json!({"url": "https://storage.example.com/dataset.parquet", "size": "10GB", "format": "parquet"}).to_string()
}

/// One page of a list.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Page {
    items: Vec<u32>,
    page: u32,
    page_size: u32,
    has_more: bool,
}

/// Lists items, page by page.
#[tool(read_only)]
async fn list_items(
    #[arg(min = 1, default = 1)] page: u32,
    #[arg(min = 1, max = 100, default = 50)] page_size: u32,
) -> Page {
    const ALL: u32 = 120;
    let first = (page - 1).saturating_mul(page_size);
    let items: Vec<u32> = (first..ALL.min(first.saturating_add(page_size))).collect();
    Page {
        has_more: items.last().is_some_and(|last| last + 1 < ALL),
        items,
        page,
        page_size,
    }
}

/// Computes something for a long time.
#[tool(read_only)]
async fn expensive_query(of: String) -> String {
    format!("{of}: {}", of.len())
}

fn server() -> (FastMcp, ResponseCachingMiddleware) {
    let caching = ResponseCachingMiddleware::new().call_tool_settings(
        CallToolSettings::default()
            .ttl(Duration::from_secs(300))
            .included_tools(["expensive_query"]),
    );
    let server = FastMcp::new("Fast")
        .middleware(DetailedTimingMiddleware::new())
        .middleware(caching.clone())
        .tool(fetch_multiple_sources)
        .tool(list_items)
        .tool(expensive_query)
        .resource(large_dataset);
    (server, caching)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().0.run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_follow_each_other() {
        let client = Client::connect(&server().0.build().unwrap()).await.unwrap();
        let mut seen = 0;
        for page in 1..=3 {
            let told = client
                .call_tool("list_items", json!({"page": page}))
                .await
                .unwrap();
            let told: Page = told.data().unwrap();
            seen += told.items.len();
            assert_eq!(told.has_more, page < 3);
        }
        assert_eq!(seen, 120);
    }

    #[tokio::test]
    async fn the_second_answer_comes_from_the_cache() {
        let (server, caching) = server();
        let client = Client::connect(&server.build().unwrap()).await.unwrap();
        for _ in 0..2 {
            client
                .call_tool("expensive_query", json!({"of": "x"}))
                .await
                .unwrap();
        }
        let statistics = caching.statistics();
        assert_eq!(
            (statistics.call_tool.hits, statistics.call_tool.misses),
            (1, 1)
        );
    }
}
