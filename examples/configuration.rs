//! Configuration, and pattern 4: settings come from the environment, are read once, and are checked whole.
//!
//! Run with: `cargo run -p fastmcp-examples --bin configuration`
//! With `MCP_SERVER_NAME=Demo LOG_LEVEL=DEBUG`, or `ENV_FILE=.env`.

use fastmcp::{
    config::{ServerConfig, dotenv},
    prelude::*,
};

/// Fetches data.
#[tool(read_only)]
async fn fetch_data(query: String, config: State<ServerConfig>) -> String {
    format!("{query}, kept for {} s", config.cache_ttl.as_secs())
}

/// A file of settings first, where there is one, and the variables of the process over it.
#[expect(
    clippy::disallowed_methods,
    reason = "a program may read its environment"
)]
fn config() -> Result<ServerConfig> {
    let file = match std::env::var("ENV_FILE") {
        Ok(path) => dotenv(&std::fs::read_to_string(path)?)?,
        Err(_) => Vec::new(),
    };
    let config = ServerConfig::from_vars(file.into_iter().chain(std::env::vars()))?;
    config.validate()?;
    Ok(config)
}

fn server(config: &ServerConfig) -> FastMcp {
    config.server().state(config.clone()).tool(fetch_data)
}

#[tokio::main]
async fn main() -> Result<()> {
    server(&config()?).run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settings_reach_the_tools() {
        let config = ServerConfig::from_vars([("CACHE_TTL", "60")]).unwrap();
        let client = Client::connect(&server(&config).build().unwrap())
            .await
            .unwrap();
        let told = client
            .call_tool("fetch_data", json!({"query": "x"}))
            .await
            .unwrap();
        assert_eq!(told.text(), "x, kept for 60 s");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = [("CACHE_TTL", "soon"), ("RATE_LIMIT", "-1"), ("PORT", "x")];
        let error = ServerConfig::from_vars(wrong).unwrap_err();
        assert_eq!(error.problems().len(), 3, "{error}");
    }
}
