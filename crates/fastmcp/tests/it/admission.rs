//! Who is let in over HTTP, and what the others are told.

use std::sync::Arc;

use fastmcp::{
    auth::{
        Authenticator, Challenger, ResourceMetadata,
        verifier::{StaticIdentity, StaticTokens},
    },
    prelude::*,
    transport::http::HttpConfig,
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use serde_json::Value;

use crate::http::{POST, Running, call, modern};

const RESOURCE: &str = "https://api.example/mcp";
const METADATA: &str =
    "resource_metadata=\"https://api.example/.well-known/oauth-protected-resource/mcp\"";
const READER: &str = "the-token-of-the-reader";
const WRITER: &str = "the-token-of-the-writer";
const OUTSIDER: &str = "the-token-of-an-outsider";
const EXPIRED: &str = "the-token-of-yesterday";

/// Open to all that are let in.
#[tool]
async fn look() -> &'static str {
    "seen"
}

/// Needs more than to be let in.
#[tool(scopes("notes:read", "notes:write"))]
async fn write(text: String) -> String {
    text
}

async fn start() -> Running {
    let metadata = ResourceMetadata::new(RESOURCE, ["https://idp.example"])
        .unwrap()
        .with_scopes(["notes:read", "notes:write"])
        .unwrap();
    let challenger = Challenger::new()
        .with_resource_metadata(&metadata.url())
        .unwrap()
        .with_scopes(["notes:read"])
        .unwrap();
    let now = Timestamp::from_unix_seconds(1_000);
    let identity = |scopes: &[&str], expires_at| StaticIdentity {
        subject: "ada".to_owned(),
        scopes: Some(scopes.iter().map(|s| (*s).to_owned()).collect()),
        expires_at,
        ..StaticIdentity::default()
    };
    let verifier = StaticTokens::new()
        .required_scopes(["notes:read".to_owned()])
        .token(READER, identity(&["notes:read"], None))
        .and_then(|t| t.token(WRITER, identity(&["notes:read", "notes:write"], None)))
        .and_then(|t| t.token(OUTSIDER, identity(&["mail"], None)))
        .and_then(|t| t.token(EXPIRED, identity(&["notes:read"], Some(now))))
        .unwrap()
        .build(Arc::new(ManualClock::new(now)))
        .unwrap();
    let server = FastMcp::new("door")
        .tool(look)
        .tool(write)
        .auth(Authenticator::new(Arc::new(verifier), challenger))
        .resource_metadata(metadata)
        .build()
        .unwrap();
    Running::start(server, HttpConfig::default()).await
}

fn challenge(response: &str) -> &str {
    let line = response
        .lines()
        .find_map(|l| l.strip_prefix("www-authenticate: "));
    line.unwrap_or_else(|| panic!("no challenge: {response}"))
}

fn with(head: &str, token: &str) -> String {
    format!("{head}\r\nAuthorization: Bearer {token}")
}

#[tokio::test]
async fn who_brings_no_good_token_is_told_where_to_get_one() {
    let running = start().await;
    let head = modern("look");
    let body = call("look", &json!({}));
    let (status, response) = running.send(&head, &body).await;
    assert_eq!(status, 401);
    assert_eq!(
        challenge(&response),
        format!("Bearer scope=\"notes:read\",{METADATA}")
    );
    for token in ["never-heard-of-this-token", EXPIRED] {
        let (status, response) = running.send(&with(&head, token), &body).await;
        assert_eq!(status, 401, "{response}");
        let challenge = challenge(&response);
        assert!(challenge.contains("error=\"invalid_token\"") && challenge.contains(METADATA));
    }
    let (status, response) = running.send(&with(&head, OUTSIDER), &body).await;
    assert_eq!(status, 403);
    let challenge = challenge(&response).to_owned();
    assert!(
        challenge.contains("error=\"insufficient_scope\"")
            && challenge.contains("scope=\"notes:read\"")
            && challenge.contains(METADATA),
        "{challenge}"
    );
    let (status, response) = running.send(&with(&head, READER), &body).await;
    assert!(status == 200 && response.contains("seen"), "{response}");
    // The door comes before everything else: methods, versions, bodies.
    for head in [POST, "GET /mcp HTTP/1.1", "DELETE /mcp HTTP/1.1"] {
        assert_eq!(running.send(head, "no message").await.0, 401, "{head}");
    }
    let in_query = head.replace("POST /mcp", &format!("POST /mcp?access_token={READER}"));
    assert_eq!(running.send(&in_query, &body).await.0, 401);
}

#[tokio::test]
async fn a_tool_that_needs_more_names_all_scopes_that_it_takes() {
    let running = start().await;
    let arguments = json!({"text": "noted"});
    let older = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "write", "arguments": arguments}}).to_string();
    for (head, body) in [
        (modern("write"), call("write", &arguments)),
        (POST.to_owned(), older),
    ] {
        let (status, response) = running.send(&with(&head, READER), &body).await;
        assert_eq!(status, 403, "{response}");
        let challenge = challenge(&response);
        assert!(
            challenge.contains("error=\"insufficient_scope\"")
                && challenge.contains("scope=\"notes:read notes:write\"")
                && challenge.contains(METADATA),
            "{challenge}"
        );
        assert!(
            response.contains(r#""id":7"#),
            "the id is echoed: {response}"
        );
        let (status, response) = running.send(&with(&head, WRITER), &body).await;
        assert!(status == 200 && response.contains("noted"), "{response}");
    }
}

#[tokio::test]
async fn the_metadata_is_there_for_everybody() {
    let running = start().await;
    let get = "GET /.well-known/oauth-protected-resource/mcp HTTP/1.1";
    let (status, response) = running.send(get, "").await;
    assert_eq!(status, 200, "{response}");
    assert!(response.contains("content-type: application/json"));
    let body = response.split_once("\r\n\r\n").unwrap().1;
    let document: Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["resource"], RESOURCE);
    assert_eq!(
        document["authorization_servers"],
        json!(["https://idp.example"])
    );
    assert_eq!(
        document["scopes_supported"],
        json!(["notes:read", "notes:write"])
    );
    let root = "GET /.well-known/oauth-protected-resource HTTP/1.1";
    assert_eq!(running.send(root, "").await.0, 401, "it is not there");
    assert_eq!(running.send(&get.replace("GET", "DELETE"), "").await.0, 401);
}
