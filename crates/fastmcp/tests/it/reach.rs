//! What a handler reaches from its context, and from where it was not passed.

use std::sync::Arc;

use fastmcp::transport::http::HttpConfig;
use fastmcp::{
    auth::{
        Authenticator, Challenger,
        verifier::{StaticIdentity, StaticTokens},
    },
    dependencies::{
        check_permission, check_tenant_access, get_access_token, get_context, get_http_headers,
        get_http_request, get_server, get_token_scopes,
    },
    prelude::*,
    protocol::{content::ResourceContents, prompt::PromptMessage, sampling::CreateMessageResult},
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use serde_json::Value;

use crate::http::{Running, call as body, modern};

#[resource("data://greeting")]
async fn greeting() -> &'static str {
    "hello"
}

#[resource("data://secret", scopes("secrets"))]
async fn secret() -> &'static str {
    "hidden"
}

#[resource("data://{depth}/down")]
async fn down(depth: u32, ctx: Context) -> Result<String> {
    let read = ctx
        .read_resource(format!("data://{}/down", depth + 1))
        .await?;
    Ok(format!("{:?}", read.contents.len()))
}

#[prompt]
fn describe(what: String) -> PromptMessage {
    PromptMessage::user(format!("Describe {what}"))
}

#[tool(tags("maths"))]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// A tool: it reads a resource of its own server, tells how far it is, and asks the model.
#[tool]
async fn process_file(file_uri: String, ctx: Context) -> Result<String> {
    ctx.info(format!("Processing {file_uri}")).await;
    let resource = ctx.read_resource(&*file_uri).await?;
    let text = match resource.contents.first() {
        Some(ResourceContents::Text(contents)) => contents.text.clone(),
        _ => return Err(ToolError::new("no text").into()),
    };
    ctx.report_progress(50.0, Some(100.0), None).await;
    let summary = ctx.sample("summary", format!("Summarise: {text}")).await?;
    Ok(summary.as_text().unwrap_or_default().to_owned())
}

#[tool]
async fn looks_around(ctx: Context) -> Result<Value> {
    let names = |tools: Vec<fastmcp::protocol::tool::Tool>| {
        tools.into_iter().map(|t| t.name).collect::<Vec<_>>()
    };
    let prompt = ctx.get_prompt("describe", json!({"what": "tea"})).await?;
    let sum = ctx.call_tool("add", json!({"a": 1, "b": 2})).await?;
    let server = ctx.server()?;
    let tags = server.get_tool("add").map(|tool| tool.tags().clone());
    Ok(json!({
        "tools": names(ctx.list_tools().await?).len(),
        "resources": ctx.list_resources().await?.len(),
        "templates": ctx.list_resource_templates().await?.len(),
        "prompts": ctx.list_prompts().await?.len(),
        "prompt": prompt.messages[0].content.as_text(),
        "sum": sum.structured_content.map(|raw| raw.as_str().to_owned()),
        "server": server.name(),
        "tags": tags,
        "unknown": ctx.read_resource("data://nope").await.unwrap_err().message(),
        "own": get_server()?.name() == server.name(),
    }))
}

#[tool]
async fn state(ctx: Context) -> Result<Vec<String>> {
    let mut seen = vec![ctx.get_state_or("role", "user".to_owned())];
    ctx.set_state("role", "admin")?;
    seen.push(ctx.get_state_or("role", "user".to_owned()));
    seen.push(ctx.delete_state("role").to_string());
    seen.push(ctx.delete_state("role").to_string());
    seen.push(format!("{:?}", ctx.get_state::<String>("role")));
    Ok(seen)
}

#[tool]
async fn permits(ctx: Context) -> Result<Vec<bool>> {
    let mut said = vec![check_permission(&ctx, "read:documents").await];
    ctx.set_state("scopes", ["read:documents"])?;
    said.push(check_permission(&ctx, "read:documents").await);
    said.push(check_permission(&ctx, "write:documents").await);
    said.push(check_tenant_access(&ctx, "acme").await);
    ctx.set_state("tenant_id", "acme")?;
    said.push(check_tenant_access(&ctx, "acme").await);
    said.push(check_tenant_access(&ctx, "other").await);
    Ok(said)
}

#[tool]
async fn who() -> Value {
    json!({
        "token": get_access_token().is_some(),
        "scopes": get_token_scopes(),
        "http": get_http_request().is_some(),
        "headers": get_http_headers().len(),
        "context": get_context().is_ok(),
    })
}

#[tool]
async fn heads() -> Vec<String> {
    get_http_headers().keys().map(ToString::to_string).collect()
}

#[tool]
async fn tells(ctx: Context) -> Result<String> {
    ctx.send_notification("notifications/com.example/moved", json!({"x": 1}))
        .await?;
    let refused = ctx.send_notification("tools/call", json!({})).await;
    Ok(refused.unwrap_err().message().to_owned())
}

fn server() -> Server {
    FastMcp::new("reach")
        .tool(add)
        .tool(process_file)
        .tool(looks_around)
        .tool(state)
        .tool(permits)
        .tool(who)
        .tool(tells)
        .resource(greeting)
        .resource(secret)
        .resource(down)
        .prompt(describe)
        .build()
        .unwrap()
}

async fn client() -> Client {
    Client::connect(&server()).await.unwrap()
}

async fn call(client: &Client, name: &str) -> Value {
    let result = client.call_tool(name, json!({})).await.unwrap();
    result.structured_content().unwrap()
}

#[tokio::test]
async fn a_handler_uses_its_own_server_as_its_caller_would() {
    let client = client().await;
    assert_eq!(
        call(&client, "looks_around").await,
        json!({
            "tools": 7, "resources": 2, "templates": 1, "prompts": 1,
            "prompt": "Describe tea", "sum": "{\"result\":3}",
            "server": "reach", "tags": ["maths"],
            "unknown": "`data://nope` is unknown here", "own": true,
        })
    );
}

#[tokio::test]
async fn the_seeds_tool_reads_top_to_bottom() {
    let client = client().await.on_sample(|_, params| {
        let asked = params.messages[0].content[0].as_text().unwrap();
        CreateMessageResult::text(format!("{asked}!"), "model")
    });
    let summary = client
        .call_tool("process_file", json!({"file_uri": "data://greeting"}))
        .await
        .unwrap();
    assert_eq!(summary.text(), "Summarise: hello!");
}

#[tokio::test]
async fn handlers_that_call_one_another_come_to_an_end() {
    let client = client().await;
    let error = client.read_resource("data://0/down").await.unwrap_err();
    assert_eq!(error.message(), "an internal error occurred");
}

#[tokio::test]
async fn state_has_defaults_and_can_be_forgotten() {
    let seen = call(&client().await, "state").await;
    assert_eq!(
        seen["result"],
        json!(["user", "admin", "true", "false", "None"])
    );
}

#[tokio::test]
async fn permissions_and_tenants_come_from_state_or_the_caller() {
    let said = call(&client().await, "permits").await;
    assert_eq!(
        said["result"],
        json!([true, true, false, false, true, false])
    );
}

#[tokio::test]
async fn what_no_request_has_is_not_there() {
    assert_eq!(
        call(&client().await, "who").await,
        json!({"token": false, "scopes": [], "http": false, "headers": 0, "context": true})
    );
    assert!(get_context().is_err() && get_server().is_err());
    assert!(get_access_token().is_none() && get_http_headers().is_empty());
}

#[tokio::test]
async fn notifications_of_ones_own_reach_the_client() {
    let client = client().await;
    let refused = client.call_tool("tells", json!({})).await.unwrap();
    assert!(refused.text().contains("`notifications/...`"));
    let methods: Vec<_> = client
        .take_notifications()
        .into_iter()
        .map(|n| n.method)
        .collect();
    assert_eq!(methods, ["notifications/com.example/moved"]);
}

#[tokio::test]
async fn the_token_and_the_headers_of_a_request_are_found() {
    const TOKEN: &str = "the-token-of-the-reader";
    let identity = StaticIdentity {
        subject: "ada".to_owned(),
        scopes: Some(vec!["notes:read".to_owned()]),
        ..StaticIdentity::default()
    };
    let verifier = StaticTokens::new()
        .token(TOKEN, identity)
        .unwrap()
        .build(Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1))))
        .unwrap();
    let server = FastMcp::new("door")
        .tool(who)
        .tool(heads)
        .tool(permits)
        .auth(Authenticator::new(Arc::new(verifier), Challenger::new()))
        .build()
        .unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    let send = async |name: &str| {
        let head = format!(
            "{}\r\nAuthorization: Bearer {TOKEN}\r\nCookie: a=b\r\nX-Forwarded-For: 10.0.0.1",
            modern(name)
        );
        running.send(&head, &body(name, &json!({}))).await.1
    };
    let found = send("who").await;
    assert!(
        found.contains(r#""token":true"#) && found.contains(r#""scopes":["notes:read"]"#),
        "{found}"
    );
    let headers = send("heads").await;
    assert!(headers.contains("x-forwarded-for"), "{headers}");
    for secret in ["authorization", "cookie"] {
        assert!(!headers.contains(&format!("\\\"{secret}")), "{headers}");
    }
    // This caller is not local: it has what its token names.
    let said = send("permits").await;
    assert!(
        said.contains("[false,true,false,false,true,false]"),
        "{said}"
    );
}
