//! Pattern 4, the environment: what differs between deployments is no part of the code.
//!
//! Run with: `cargo run -p fastmcp-examples --bin environment`
//! It wants `API_ENDPOINT=http://localhost:8080`, and takes `MCP_SERVER_NAME`, `LOG_LEVEL`, `API_TIMEOUT`, `CACHE_TTL`, `RATE_LIMIT`, or `ENV_FILE=.env` for a file of them.

use fastmcp::{
    config::{ServerConfig, dotenv},
    guard::http::{Config, UrlFetcher},
    middleware::{ListToolsSettings, RateLimitingMiddleware, ResponseCachingMiddleware},
    prelude::*,
};
use url::Url;

/// The API behind this server: its requests go to this one host and nowhere else.
struct Api {
    data: Url,
    client: UrlFetcher,
}

impl Api {
    fn new(config: &ServerConfig) -> Result<Self> {
        let endpoint = config.api_endpoint.as_ref();
        let endpoint = endpoint.ok_or_else(|| Error::internal("`API_ENDPOINT` must be set"))?;
        let mut http = Config::upstream(endpoint)?;
        http.total_timeout = config.api_timeout;
        let base = endpoint.as_str().trim_end_matches('/');
        Ok(Self {
            data: format!("{base}/data").parse()?,
            client: UrlFetcher::new(&http)?,
        })
    }
}

/// Fetches data.
#[tool(read_only)]
async fn fetch_data(query: String, api: State<Api>) -> Result<serde_json::Value> {
    let mut url = api.data.clone();
    url.query_pairs_mut().append_pair("q", &query);
    let response = api.client.get(&url).await?;
    if !response.status.is_success() {
        return Err(ToolError::new(format!("the API answered {}", response.status)).into());
    }
    Ok(serde_json::from_slice(&response.body)?)
}

/// A file of settings first, where one is named, and the variables of the process over it.
#[expect(
    clippy::disallowed_methods,
    reason = "a program may read its environment"
)]
fn config() -> Result<ServerConfig> {
    let file = match std::env::var("ENV_FILE") {
        Ok(path) => dotenv(&std::fs::read_to_string(path)?)?,
        Err(_) => Vec::new(),
    };
    let variables = file.into_iter().chain(std::env::vars());
    Ok(ServerConfig::from_vars(variables)?)
}

fn server(config: &ServerConfig) -> Result<FastMcp> {
    let lists = ListToolsSettings::new().ttl(config.cache_ttl);
    Ok(FastMcp::new(&config.name)
        .middleware(RateLimitingMiddleware::new(config.rate_limit))
        .middleware(ResponseCachingMiddleware::new().list_tools_settings(lists))
        .state(Api::new(config)?)
        .tool(fetch_data))
}

#[tokio::main]
async fn main() -> Result<()> {
    server(&config()?)?.run().await
}

#[cfg(test)]
mod tests {
    use fastmcp::transport::http::HttpConfig;
    use http::Method;
    use tokio::net::TcpListener;

    use super::*;

    const PRODUCTION: &str = "\
        MCP_SERVER_NAME=\"ProdServer\"\n\
        MCP_LOG_LEVEL=\"WARNING\"\n\
        API_ENDPOINT=\"https://api.production.com\"\n\
        API_TIMEOUT=\"30\"\n\
        CACHE_TTL=\"300\"\n\
        RATE_LIMIT=\"10.0\"\n";

    #[test]
    fn a_file_holds_the_settings_of_a_deployment() {
        let config = ServerConfig::from_dotenv(PRODUCTION).unwrap();
        assert_eq!(config.name, "ProdServer");
        let api = Api::new(&config).unwrap();
        assert_eq!(api.data.as_str(), "https://api.production.com/data");
        let nameless = ServerConfig::from_vars([("MCP_SERVER_NAME", "x")]).unwrap();
        let missing = server(&nameless).unwrap_err();
        assert_eq!(missing.message(), "`API_ENDPOINT` must be set");
    }

    #[tokio::test]
    async fn the_endpoint_is_asked() {
        let api = FastMcp::new("api").custom_route(Method::GET, "/data", |request| async move {
            Json(json!({"asked": request.uri().query()}))
        });
        let api = api.build().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asking = async {
            let config = ServerConfig::from_vars([("API_ENDPOINT", endpoint)]).unwrap();
            let server = server(&config).unwrap().build().unwrap();
            let client = Client::connect(&server).await.unwrap();
            client
                .call_tool("fetch_data", json!({"query": "a b&c"}))
                .await
                .unwrap()
        };
        let answer = tokio::select! {
            ended = api.serve_http(listener, HttpConfig::default()) => panic!("{ended:?}"),
            answer = asking => answer,
        };
        let answer: serde_json::Value = answer.data().unwrap();
        assert_eq!(answer, json!({"asked": "q=a+b%26c"}));
    }
}
