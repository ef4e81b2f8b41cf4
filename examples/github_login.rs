//! Logging people in with GitHub, which registers no MCP clients: this server is an authorization server towards them.
//!
//! Enter an OAuth app at GitHub with the callback URL `http://127.0.0.1:8080/auth/callback`, and put its id and secret into
//! `GITHUB_CLIENT_ID` and `GITHUB_CLIENT_SECRET`.
//!
//! Run with: `cargo run -p fastmcp-examples --bin github_login`

use std::sync::Arc;

use fastmcp::{
    auth::{
        oauth::Secret,
        provider::GitHubProvider,
        proxy::{Backing, OAuthProxy, ProxyKeys},
    },
    guard::{clock::SystemClock, random::OsRandom},
    prelude::*,
    store::{MemoryLimits, MemoryStore},
    transport::http::HttpConfig,
};
use tokio::net::TcpListener;

/// Who is calling, as GitHub knows them.
#[derive(Serialize, JsonSchema)]
struct User {
    number: String,
    login: Option<String>,
    scopes: Vec<String>,
}

/// Says who is calling.
#[tool(read_only)]
async fn whoami(ctx: Context) -> User {
    let caller = ctx.caller();
    let login = caller
        .claims()
        .get("login")
        .and_then(|login| login.as_str());
    User {
        number: caller.subject().to_owned(),
        login: login.map(str::to_owned),
        scopes: caller.scopes().unwrap_or_default().to_vec(),
    }
}

/// The app, and where GitHub is: `enterprise` for GitHub Enterprise Server.
struct App {
    client_id: String,
    client_secret: Secret,
    enterprise: Option<String>,
}

/// What logs people in, for a server that is reached at `base_url`.
fn login(app: App, base_url: &str, keys: ProxyKeys) -> Result<OAuthProxy> {
    // In production a `RedisStore` or a `DiskStore`: with this one everybody logs in again when it starts anew.
    let store = MemoryStore::new(MemoryLimits::default(), Arc::new(SystemClock))?;
    let mut github = GitHubProvider::new((app.client_id, app.client_secret), base_url)
        .required_scopes(["read:user"])
        .scopes(["repo"]);
    if let Some(url) = app.enterprise {
        github = github.enterprise(url);
    }
    Ok(github.build(Backing::new(keys, Arc::new(store)))?)
}

#[tokio::main]
#[expect(
    clippy::print_stderr,
    reason = "standard output belongs to the protocol"
)]
#[expect(
    clippy::disallowed_methods,
    reason = "a program may read its environment"
)]
async fn main() -> Result<()> {
    let app = App {
        client_id: std::env::var("GITHUB_CLIENT_ID")?,
        client_secret: std::env::var("GITHUB_CLIENT_SECRET")?.into(),
        enterprise: std::env::var("GITHUB_ENTERPRISE_URL").ok(),
    };
    // `openssl rand -base64 32` makes one that outlives the process.
    let keys = match std::env::var("PROXY_KEY") {
        Ok(key) => ProxyKeys::parse(&key.into())?,
        Err(_) => ProxyKeys::ephemeral(&OsRandom)?,
    };
    let port = std::env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    let server = FastMcp::new("GitHub login")
        .tool(whoami)
        .auth_provider(login(app, &base_url, keys)?)
        .build()?;
    eprintln!("listening on {base_url}/mcp");
    server.serve_http(listener, HttpConfig::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_without_an_id_is_refused() {
        let app = App {
            client_id: String::new(),
            client_secret: "secret".into(),
            enterprise: None,
        };
        let keys = ProxyKeys::ephemeral(&OsRandom).unwrap();
        let refused = login(app, "https://tools.example", keys).unwrap_err();
        assert!(refused.message().contains("client_id"), "{refused}");
    }
}
