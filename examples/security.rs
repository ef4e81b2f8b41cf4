//! Security: who is calling, what they may do, and what leaves the server.
//!
//! Run with: `cargo run -p fastmcp-examples --bin security`

use std::sync::Arc;

use fastmcp::{
    auth::{
        Authenticator, Challenger, StaticTokenVerifier,
        verifier::{StaticIdentity, StaticTokens},
    },
    authorize::{require_roles, require_scopes},
    guard::clock::SystemClock,
    middleware::{RbacMiddleware, SanitiseMiddleware},
    prelude::*,
    transport::http::HttpConfig,
};
use tokio::net::TcpListener;

/// A customer, with what must not leave the server.
#[derive(Serialize, JsonSchema)]
struct Customer {
    name: String,
    api_key: String,
}

/// Reads a customer.
#[tool(read_only)]
async fn read_customer(name: String) -> Customer {
    Customer {
        name,
        api_key: "sk-live-1234".to_owned(),
    }
}

/// What to look for.
#[derive(Deserialize, JsonSchema)]
struct SearchQuery {
    #[schemars(length(min = 1, max = 500))]
    query: String,
    #[schemars(range(min = 1, max = 100))]
    limit: u32,
}

impl Validate for SearchQuery {
    fn validate(&mut self) -> Result<(), Invalid> {
        const DANGEROUS: [&str; 6] = ["--", ";", "/*", "*/", "xp_", "sp_"];
        let lower = self.query.to_lowercase();
        match DANGEROUS.iter().find(|pattern| lower.contains(**pattern)) {
            Some(pattern) => {
                let told = format!("Query contains dangerous pattern: {pattern}");
                Err(Invalid::new(told).at("query"))
            }
            None => Ok(()),
        }
    }
}

/// Searches customers.
#[tool(read_only)]
async fn search(query: SearchQuery) -> Vec<String> {
    let names = ["acme", "globex", "initech"].into_iter();
    names
        .filter(|name| name.contains(query.query.as_str()))
        .take(query.limit as usize)
        .map(str::to_owned)
        .collect()
}

/// Deletes a customer.
#[tool(destructive)]
async fn delete_customer(name: String) -> String {
    format!("{name} is gone")
}

fn server() -> FastMcp {
    use fastmcp::IntoTool as _;
    FastMcp::new("Secured")
        .middleware(
            RbacMiddleware::new()
                .role("admin", ["*"])
                .role("writer", ["read", "write"])
                .role("reader", ["read"])
                // Tools that are marked read-only need `read`, others `write`, unless it is said.
                .permission("delete_customer", "delete"),
        )
        .middleware(SanitiseMiddleware::new())
        .tool(read_customer)
        .tool(search)
        // Who may not call it does not see it.
        .tool(delete_customer.into_tool().auth(require_roles(["admin"])))
        .authorize(require_scopes(["customers"]))
}

/// Tokens of machines; people come with a JWT of their issuer (`JwtVerifier`).
fn tokens() -> Result<StaticTokenVerifier> {
    let key = |role: &str| StaticIdentity {
        subject: format!("service-{role}"),
        roles: vec![role.to_owned()],
        scopes: Some(vec!["customers".to_owned()]),
        ..StaticIdentity::default()
    };
    let tokens = StaticTokens::new()
        .token("service-a-0123456789abcdef", key("reader"))?
        .token("service-b-0123456789abcdef", key("admin"))?;
    Ok(tokens.build(Arc::new(SystemClock))?)
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
    let door = Authenticator::new(Arc::new(tokens()?), Challenger::new());
    let port = std::env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    eprintln!("listening on http://{}/mcp", listener.local_addr()?);
    let server = server().auth(door).build()?;
    server.serve_http(listener, HttpConfig::default()).await
}

#[cfg(test)]
mod tests {
    use fastmcp::testing::caller;

    use super::*;

    async fn client(role: &str) -> Client {
        let caller = caller("ada").roles([role]).scopes(["customers"]).build();
        Client::connect_as(&server().build().unwrap(), caller)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn roles_decide_who_sees_and_calls_what() {
        let reader = client("reader").await;
        assert_eq!(reader.list_tools().await.unwrap().len(), 2);
        reader
            .call_tool("delete_customer", json!({"name": "x"}))
            .await
            .unwrap_err();
        let admin = client("admin").await;
        assert_eq!(admin.list_tools().await.unwrap().len(), 3);
        admin
            .call_tool("delete_customer", json!({"name": "x"}))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn queries_are_looked_at_before_they_are_searched_for() {
        let reader = client("reader").await;
        let query = |query: &str, limit: u32| json!({"query": {"query": query, "limit": limit}});
        let found = reader.call_tool("search", query("e", 2)).await.unwrap();
        assert_eq!(found.data::<Vec<String>>().unwrap(), ["acme", "globex"]);
        for (unfit, part) in [
            (query("x; DROP TABLE y", 1), "dangerous pattern: ;"),
            (query("", 1), "query"),
            (query("x", 101), "limit"),
        ] {
            let refused = reader.call_tool("search", unfit).await.unwrap_err();
            assert!(refused.message().contains(part), "{refused}");
        }
    }

    #[tokio::test]
    async fn secrets_do_not_leave() {
        let told = client("reader")
            .await
            .call_tool("read_customer", json!({"name": "acme"}))
            .await;
        let told = told.unwrap().structured_content().unwrap();
        assert_eq!(told, json!({"name": "acme", "api_key": "[REDACTED]"}));
    }
}
