//! Pattern 1, in-memory testing: a client talks to a server of the same process. No socket, no child, no waiting.
//!
//! Run with: `cargo run -p fastmcp-examples --bin in_memory_testing`
//! Run the tests with `cargo test -p fastmcp-examples in_memory_testing`.

use fastmcp::prelude::*;

/// Adds two numbers.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Divides two numbers.
#[tool]
async fn divide(a: f64, b: f64) -> Result<f64, ToolError> {
    if b == 0.0 {
        return Err(ToolError::new("Division by zero"));
    }
    Ok(a / b)
}

fn server() -> FastMcp {
    FastMcp::new("TestServer").tool(add).tool(divide)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn client() -> Client {
        Client::connect(&server().build().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn adds() {
        let client = client().await;
        for (a, b, expected) in [(1, 2, 3), (0, 0, 0), (-5, 5, 0), (100, 200, 300)] {
            let sum = client
                .call_tool("add", json!({"a": a, "b": b}))
                .await
                .unwrap();
            assert_eq!(sum.data::<i64>().unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn refuses_to_divide_by_zero() {
        let refused = client()
            .await
            .call_tool("divide", json!({"a": 10, "b": 0}))
            .await;
        assert_eq!(refused.unwrap_err().message(), "Division by zero");
    }

    #[tokio::test]
    async fn names_the_argument_that_is_wrong() {
        let refused = client()
            .await
            .call_tool("add", json!({"a": "five", "b": 3}))
            .await;
        assert!(refused.unwrap_err().message().contains("`a`"));
    }
}
