//! Configuration: settings come from outside, are read once, checked whole, and never change.
//!
//! Run with: `cargo run -p fastmcp-examples --bin configuration`
//! With `TRANSPORT=http PORT=8000`, or wrong ones, such as `RATE_LIMIT=-1 PORT=x`, to see all that is wrong at once.

use fastmcp::{
    config::ServerConfig,
    middleware::{ErrorHandlingMiddleware, RateLimitingMiddleware, ResponseCachingMiddleware},
    prelude::*,
};

/// What a server is told.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Told {
    name: String,
    version: String,
    rate_limit: f64,
    cache_ttl_seconds: u64,
    pool_size: u32,
    caching: bool,
    /// Whether there is a database; where, is a secret.
    database: bool,
}

/// Tells the settings of the server, without its secrets.
#[tool(read_only)]
async fn show_configuration(config: State<ServerConfig>) -> Told {
    Told {
        name: config.name.clone(),
        version: config.version.clone(),
        rate_limit: config.rate_limit,
        cache_ttl_seconds: config.cache_ttl.as_secs(),
        pool_size: config.connection_pool_size,
        caching: config.enable_caching,
        database: config.database_url.is_some(),
    }
}

fn server(config: &ServerConfig) -> FastMcp {
    let server = FastMcp::new(&config.name)
        .version(&config.version)
        .middleware(ErrorHandlingMiddleware::new().mask_errors(config.mask_errors))
        .middleware(RateLimitingMiddleware::new(config.rate_limit))
        .state(config.clone())
        .tool(show_configuration);
    if config.enable_caching {
        server.middleware(ResponseCachingMiddleware::new())
    } else {
        server
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // Only a program reads its environment, and in one place.
    let config = ServerConfig::from_vars(std::env::vars())?;
    let server = server(&config).build()?;
    server.run(config.transport(), config.http_config()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settings_reach_the_tools() {
        let variables = [
            ("MCP_SERVER_NAME", "Demo"),
            ("CACHE_TTL", "60"),
            ("ENABLE_CACHING", "false"),
            ("DATABASE_URL", "postgres://user:password@host/db"),
        ];
        let config = ServerConfig::from_vars(variables).unwrap();
        let client = Client::connect(&server(&config).build().unwrap())
            .await
            .unwrap();
        let told = client
            .call_tool("show_configuration", json!({}))
            .await
            .unwrap();
        assert!(!told.text().contains("password"));
        let expected = Told {
            name: "Demo".to_owned(),
            version: "1.0.0".to_owned(),
            rate_limit: 10.0,
            cache_ttl_seconds: 60,
            pool_size: 20,
            caching: false,
            database: true,
        };
        assert_eq!(told.data::<Told>().unwrap(), expected);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = [
            ("TRANSPORT", "http"),
            ("PORT", "80"),
            ("RATE_LIMIT", "-1"),
            ("ENABLE_AUTH", "true"),
        ];
        let error = ServerConfig::from_vars(wrong).unwrap_err();
        let named: Vec<_> = error.problems().iter().map(|p| p.variable()).collect();
        assert_eq!(named.len(), 3, "{error}");
        assert!(named.contains(&"AUTH_SECRET"), "{error}");
    }
}
