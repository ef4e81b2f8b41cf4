//! Pattern 2, middleware: what every call has in common is written once.
//!
//! Run with: `cargo run -p fastmcp-examples --bin middleware`

use fastmcp::{
    guard::clock::Timestamp,
    middleware::{ResponseCachingMiddleware, prelude::*},
    prelude::*,
};

/// Lets in who knows the key. Where there is no HTTP there are no headers: the process that started this one needs none.
struct AuthMiddleware {
    api_key: &'static str,
}

impl Middleware for AuthMiddleware {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let headers = context.fastmcp_context().headers();
        let provided_key = headers.get("x-api-key");
        if !headers.is_empty() && provided_key.is_none_or(|key| key != self.api_key) {
            return Err(Error::forbidden("Invalid API key"));
        }
        next.run(context).await
    }
}

/// Says of each message when it came, whence, and how it ended.
struct LoggingMiddleware;

impl LoggingMiddleware {
    fn ended(timestamp: Timestamp, method: &str, result: &Result<Response>) {
        match result {
            Ok(_) => tracing::info!(%timestamp, method, "completed"),
            Err(error) => tracing::info!(%timestamp, method, %error, "failed"),
        }
    }
}

impl Middleware for LoggingMiddleware {
    async fn on_message(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let (timestamp, method) = (context.timestamp(), context.method().to_owned());
        tracing::info!(%timestamp, method, source = context.source().as_str(), "begins");
        let result = next.run(context).await;
        Self::ended(timestamp, &method, &result);
        result
    }
}

/// Keeps out who calls what is tagged as private.
struct TagBasedMiddleware;

impl Middleware for TagBasedMiddleware {
    async fn on_call_tool(
        &self,
        context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> Result<Outcome<CallToolResult>> {
        let tool = context.message.component();
        if tool.is_some_and(|tool| tool.tags().contains("private")) {
            return Err(Error::tool("Access denied: private tool"));
        }
        next.run(context).await
    }
}

/// What was found.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Found {
    result: String,
}

/// Looks something up.
#[tool(read_only)]
async fn get_data(query: String) -> Found {
    Found {
        result: format!("Data for {query}"),
    }
}

/// What nobody may call.
#[tool(tags("private"))]
async fn secret_data() -> &'static str {
    "secret"
}

fn server() -> (FastMcp, ResponseCachingMiddleware) {
    let caching = ResponseCachingMiddleware::new();
    let server = FastMcp::new("Protected")
        // The first is the outermost: auth, then logging, then what was kept.
        .middleware(AuthMiddleware {
            api_key: "secret-key",
        })
        .middleware(LoggingMiddleware)
        .middleware(TagBasedMiddleware)
        .middleware(caching.clone())
        .tool(get_data)
        .tool(secret_data);
    (server, caching)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().0.run().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp::transport::memory::Memory;
    use http::{HeaderMap, HeaderValue};

    use super::*;

    /// A client whose requests have headers, as over HTTP.
    async fn client_with_key(key: &str) -> Result<Client> {
        let server = server().0.build()?;
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::try_from(key)?);
        let caller = server.local_caller().clone();
        let memory = Memory::connect(Arc::clone(server.door()), caller).with_headers(headers);
        Client::builder()
            .connect_wire(Arc::new(memory), "Protected")
            .await
    }

    #[tokio::test]
    async fn a_key_opens_the_door() {
        let client = client_with_key("secret-key").await.unwrap();
        let found = client
            .call_tool("get_data", json!({"query": "x"}))
            .await
            .unwrap();
        assert_eq!(found.data::<Found>().unwrap().result, "Data for x");
        let refused = match client_with_key("another-key").await {
            Ok(client) => client.list_tools().await.unwrap_err(),
            Err(refused) => refused,
        };
        assert!(refused.message().contains("Invalid API key"), "{refused}");
    }

    #[tokio::test]
    async fn what_was_looked_up_is_kept() {
        let (server, caching) = server();
        let client = Client::connect(&server.build().unwrap()).await.unwrap();
        for _ in 0..2 {
            client
                .call_tool("get_data", json!({"query": "x"}))
                .await
                .unwrap();
        }
        let kept = caching.statistics().call_tool;
        assert_eq!((kept.hits, kept.misses), (1, 1));
    }

    #[tokio::test]
    async fn a_layer_may_refuse_by_the_tags_of_a_tool() {
        let client = Client::connect(&server().0.build().unwrap()).await.unwrap();
        let refused = client
            .call_tool("secret_data", json!({}))
            .await
            .unwrap_err();
        assert_eq!(refused.message(), "Access denied: private tool");
    }
}
