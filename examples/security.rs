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
                .role("reader", ["read"])
                .permission("read_customer", "read")
                .permission("delete_customer", "write"),
        )
        .middleware(SanitiseMiddleware::new())
        .tool(read_customer)
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
        assert_eq!(reader.list_tools().await.unwrap().len(), 1);
        reader
            .call_tool("delete_customer", json!({"name": "x"}))
            .await
            .unwrap_err();
        let admin = client("admin").await;
        assert_eq!(admin.list_tools().await.unwrap().len(), 2);
        admin
            .call_tool("delete_customer", json!({"name": "x"}))
            .await
            .unwrap();
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
