//! Pattern 6, errors in one place: a layer logs them, counts them, decides what clients read, and tries again what may pass.
//!
//! Run with: `cargo run -p fastmcp-examples --bin error_middleware`
//! With `ENV=production`, errors that were not meant for clients are masked.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use fastmcp::{
    error::ErrorKind,
    middleware::{ErrorHandlingMiddleware, RetryMiddleware},
    prelude::*,
};

/// Divides two whole numbers.
#[tool(inline)]
fn divide(a: i64, b: i64) -> Result<f64> {
    if b == 0 {
        // What was not made for a client is for the log.
        return Err(Error::internal("division by zero in `divide`"));
    }
    Ok(a as f64 / b as f64)
}

/// How often the flaky service was asked.
#[derive(Default)]
struct Attempts(AtomicU32);

/// Asks a service that answers at the third attempt.
#[tool(read_only)]
async fn fetch_quote(attempts: State<Attempts>) -> Result<String> {
    match attempts.0.0.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Err(Error::timeout()),
        _ => Ok("42".to_owned()),
    }
}

fn server(mask_errors: bool) -> (FastMcp, ErrorHandlingMiddleware) {
    let errors = ErrorHandlingMiddleware::new()
        .mask_errors(mask_errors)
        .error_callback(|error, context| tracing::warn!(method = context.method(), %error));
    let server = FastMcp::new("ErrorDemo")
        .middleware(errors.clone())
        .middleware(
            RetryMiddleware::new()
                .max_retries(3)
                .base_delay(Duration::from_secs(1))
                .retry_if(|error| error.kind() == ErrorKind::Timeout),
        )
        .state(Attempts::default())
        .tool(divide)
        .tool(fetch_quote);
    (server, errors)
}

#[tokio::main]
#[expect(
    clippy::disallowed_methods,
    reason = "a program may read its environment"
)]
async fn main() -> Result<()> {
    let production = std::env::var("ENV").is_ok_and(|env| env == "production");
    server(production).0.run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(mask_errors: bool) -> String {
        let server = server(mask_errors).0.build().unwrap();
        let client = Client::connect(&server).await.unwrap();
        let refused = client.call_tool("divide", json!({"a": 1, "b": 0})).await;
        refused.unwrap_err().message().to_owned()
    }

    #[tokio::test]
    async fn production_masks_what_development_shows() {
        assert!(told(false).await.contains("division by zero"));
        assert!(!told(true).await.contains("division by zero"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again() {
        let (server, errors) = server(true);
        let client = Client::connect(&server.build().unwrap()).await.unwrap();
        let quote = client.call_tool("fetch_quote", json!({})).await.unwrap();
        assert_eq!(quote.text(), "42");
        assert!(
            errors.statistics().is_empty(),
            "what passed in the end is no error"
        );
        client
            .call_tool("divide", json!({"a": 1, "b": 0}))
            .await
            .unwrap_err();
        assert_eq!(errors.statistics().values().sum::<u64>(), 1);
    }
}
