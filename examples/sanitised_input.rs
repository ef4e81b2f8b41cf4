//! Input that is checked before a handler sees it: by its type, by bounds, and by checks of one's own.
//!
//! Run with: `cargo run -p fastmcp-examples --bin sanitised_input`

use fastmcp::prelude::*;

/// Refuses what looks like a piece of SQL.
fn harmless(query: &str) -> Result<(), String> {
    const DANGEROUS: [&str; 6] = ["--", ";", "/*", "*/", "xp_", "sp_"];
    let lower = query.to_lowercase();
    match DANGEROUS.iter().find(|pattern| lower.contains(**pattern)) {
        Some(pattern) => Err(format!("Query contains dangerous pattern: {pattern}")),
        None => Ok(()),
    }
}

/// Refuses what a browser would run.
fn plain_text(message: &str) -> Result<(), &'static str> {
    const SUSPICIOUS: [&str; 4] = ["<script", "javascript:", "data:text/html", "vbscript:"];
    let lower = message.to_lowercase();
    if SUSPICIOUS.iter().any(|pattern| lower.contains(pattern)) {
        return Err("Message contains potentially dangerous content");
    }
    Ok(())
}

/// Searches.
#[tool(read_only)]
async fn search(
    /// What to look for.
    #[arg(min_length = 1, max_length = 500, check = harmless)]
    query: String,
    #[arg(min = 1, max = 100, default = 10)] limit: u32,
) -> Vec<String> {
    (1..=limit.min(3))
        .map(|n| format!("result {n} for {query}"))
        .collect()
}

/// Sends a message.
#[tool]
async fn secure_send_message(
    #[arg(min_length = 1, max_length = 1000, check = plain_text)] message: String,
    #[arg(pattern = r"^[a-zA-Z0-9_.-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$")] recipient: String,
) -> String {
    format!(
        "{} characters sent securely to {recipient}",
        message.chars().count()
    )
}

fn server() -> FastMcp {
    FastMcp::new("Careful")
        .tool(search)
        .tool(secure_send_message)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_unfit_is_refused_by_its_name() {
        let client = Client::connect(&server().build().unwrap()).await.unwrap();
        let cases = [
            (
                "search",
                json!({"query": "x; DROP TABLE y"}),
                "dangerous pattern",
            ),
            ("search", json!({"query": ""}), "`query`"),
            ("search", json!({"query": "x", "limit": 101}), "`limit`"),
            (
                "secure_send_message",
                json!({"message": "<script>", "recipient": "a@example.com"}),
                "dangerous content",
            ),
            (
                "secure_send_message",
                json!({"message": "hello", "recipient": "nobody"}),
                "`recipient`",
            ),
        ];
        for (tool, arguments, expected) in cases {
            let refused = client.call_tool(tool, arguments).await.unwrap_err();
            assert!(refused.message().contains(expected), "{refused}");
        }
        let found = client
            .call_tool("search", json!({"query": "rust"}))
            .await
            .unwrap();
        assert_eq!(found.data::<Vec<String>>().unwrap().len(), 3);
    }
}
