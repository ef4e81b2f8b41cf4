//! What clients may keep open on a server, and what they are told beyond that.

use std::time::Duration;

use fastmcp::{prelude::*, transport::http::HttpConfig};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::http::{POST, Running, read_until};

#[resource("note://{id}")]
async fn note(id: String) -> String {
    id
}

fn initialize() -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    }})
    .to_string()
}

fn session(response: &str) -> String {
    response
        .lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "))
        .unwrap_or_else(|| panic!("no session: {response}"))
        .trim()
        .to_owned()
}

#[tokio::test]
async fn sessions() {
    let server = FastMcp::new("bounds")
        .sessions(2, Duration::from_secs(600))
        .build()
        .unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    let first = session(&running.send(POST, &initialize()).await.1);
    session(&running.send(POST, &initialize()).await.1);
    let (_, refused) = running.send(POST, &initialize()).await;
    assert!(
        refused.contains("too many sessions are open; try again later")
            && !refused.contains("mcp-session-id"),
        "{refused}"
    );
    let end = format!("DELETE /mcp HTTP/1.1\r\nMcp-Session-Id: {first}");
    assert_eq!(running.send(&end, "").await.0, 204);
    session(&running.send(POST, &initialize()).await.1);
}

#[tokio::test]
async fn subscriptions() {
    let server = FastMcp::new("bounds")
        .resource(note)
        .subscriptions(1)
        .build()
        .unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    let listen = json!({"jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen", "params": {"notifications": {"resourcesListChanged": true}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
    }}})
    .to_string();
    let head =
        format!("{POST}\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen");
    let open = || async {
        let mut stream = TcpStream::connect(("127.0.0.1", running.port))
            .await
            .unwrap();
        let request = running.request(&head, &listen);
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let mut first = open().await;
    let mut seen = String::new();
    read_until(&mut first, &mut seen, "subscriptions/acknowledged").await;
    let (_, refused) = running.send(&head, &listen).await;
    assert!(
        refused.contains("too many subscriptions are open; try again later")
            && refused.contains(r#""id":"l""#),
        "{refused}"
    );
    drop(first);
    // Its place comes free once the server has seen that it is gone.
    let again = async {
        loop {
            let mut next = open().await;
            let mut seen = String::new();
            read_until(&mut next, &mut seen, r#""jsonrpc""#).await;
            if seen.contains("subscriptions/acknowledged") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .expect("the place never came free");
}

#[tokio::test]
async fn subscriptions_of_one_session() {
    let server = FastMcp::new("bounds").resource(note).build().unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    let id = session(&running.send(POST, &initialize()).await.1);
    let head = format!("{POST}\r\nMcp-Session-Id: {id}\r\nMCP-Protocol-Version: 2025-11-25");
    let subscribe = |nth: usize| {
        json!({"jsonrpc": "2.0", "id": nth, "method": "resources/subscribe", "params": {"uri": format!("note://{nth}")}})
            .to_string()
    };
    for nth in 0..1_024 {
        let (_, response) = running.send(&head, &subscribe(nth)).await;
        assert!(response.contains(r#""result":{}"#), "{nth}: {response}");
    }
    let (_, refused) = running.send(&head, &subscribe(1_024)).await;
    assert!(
        refused.contains("a session subscribes to at most 1024 resources"),
        "{refused}"
    );
}
