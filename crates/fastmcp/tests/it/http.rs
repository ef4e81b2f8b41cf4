//! Streamable HTTP over real sockets.

use std::{future::poll_fn, task::Poll, time::Duration};

use fastmcp::{prelude::*, transport::http::HttpConfig};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Adds.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[tool]
async fn chatty(ctx: Context) -> &'static str {
    ctx.report_progress(1.0, None, None).await;
    "done"
}

pub(crate) struct Running {
    pub(crate) port: u16,
    pub(crate) server: Server,
}

impl Running {
    pub(crate) async fn start(server: Server, config: HttpConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = server.clone();
        tokio_util::task::TaskTracker::new()
            .spawn(async move { serving.serve_http(listener, config).await.unwrap() });
        Self { port, server }
    }

    /// Sends one request and reads the response to its end.
    pub(crate) async fn send(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream
            .write_all(self.request(head, body).as_bytes())
            .await
            .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        (status, response)
    }

    pub(crate) fn request(&self, head: &str, body: &str) -> String {
        let host = if head.to_ascii_lowercase().contains("\nhost:")
            || head.to_ascii_lowercase().contains("\r\nhost:")
        {
            String::new()
        } else {
            format!("Host: localhost:{}\r\n", self.port)
        };
        format!(
            "{head}\r\n{host}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.shutdown().cancel();
    }
}

/// Works until it is told that nobody waits.
#[tool]
async fn endless(ctx: Context) -> &'static str {
    ctx.cancellation().cancelled().await;
    "told"
}

fn server() -> Server {
    FastMcp::new("http").tool(add).tool(chatty).build().unwrap()
}

pub(crate) const POST: &str = "POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream";

pub(crate) fn call(name: &str, arguments: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "arguments": arguments, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}, "progressToken": "p",
    }}})
    .to_string()
}

pub(crate) fn modern(name: &str) -> String {
    format!(
        "{POST}\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {name}"
    )
}

#[tokio::test]
async fn one_answer_is_json_and_progress_makes_a_stream() {
    let running = Running::start(server(), HttpConfig::default()).await;
    let (status, response) = running
        .send(&modern("add"), &call("add", &json!({"a": 1, "b": 2})))
        .await;
    assert_eq!(status, 200);
    assert!(
        response.contains("content-type: application/json"),
        "{response}"
    );
    assert!(
        response.contains(r#""structuredContent":{"result":3}"#),
        "{response}"
    );
    let (status, response) = running
        .send(&modern("chatty"), &call("chatty", &json!({})))
        .await;
    assert_eq!(status, 200);
    assert!(
        response.contains("content-type: text/event-stream"),
        "{response}"
    );
    let events: Vec<_> = response
        .lines()
        .filter_map(|l| l.strip_prefix("data: "))
        .collect();
    assert!(
        events[0].contains("notifications/progress") && events[1].contains(r#""id":7"#),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_call_past_its_time_is_cancelled_and_answered() {
    let mut config = HttpConfig::default();
    config.limits.call_timeout = Duration::ZERO;
    let server = FastMcp::new("http").tool(endless).build().unwrap();
    let running = Running::start(server, config).await;
    let (status, response) = running
        .send(&modern("endless"), &call("endless", &json!({})))
        .await;
    assert_eq!(status, 504, "{response}");
    assert!(
        response.contains(r#""id":7"#) && response.contains("took longer"),
        "{response}"
    );
}

#[tokio::test]
async fn refusals_have_their_status_and_echo_the_id() {
    let running = Running::start(server(), HttpConfig::default()).await;
    let good = call("add", &json!({"a": 1, "b": 2}));
    let modern = modern("add");
    let cases = [
        (
            modern.replace("Mcp-Name: add", "Mcp-Name: delete"),
            good.clone(),
            400,
            -32020,
        ),
        (
            modern.replace("\r\nMcp-Name: add", ""),
            good.clone(),
            400,
            -32020,
        ),
        (
            modern.replace("tools/call", "tools/list"),
            good.clone(),
            400,
            -32020,
        ),
        (
            modern.replace("2026-07-28", "2099-01-01"),
            good.replace("2026-07-28", "2099-01-01"),
            400,
            -32022,
        ),
        (
            format!("{modern}\r\nMcp-Name: add"),
            good.clone(),
            400,
            -32020,
        ),
        (
            modern.replace("tools/call", "no/such"),
            good.replace("tools/call", "no/such"),
            404,
            -32601,
        ),
        (modern.clone(), "{".to_owned(), 400, -32700),
        (modern.clone(), "[]".to_owned(), 400, -32600),
    ];
    for (head, body, status, code) in cases {
        let (got, response) = running.send(&head, &body).await;
        assert_eq!(got, status, "{head}\n{response}");
        assert!(
            response.contains(&format!(r#""code":{code}"#)),
            "{head}\n{response}"
        );
    }
    let (status, _) = running
        .send("POST /mcp HTTP/1.1\r\nContent-Type: text/plain", &good)
        .await;
    assert_eq!(status, 415);
    for evil in [
        "Host: evil.test",
        "Host: localhost\r\nOrigin: https://evil.test",
        "Host: localhost\r\nOrigin: null",
    ] {
        let (status, _) = running.send(&format!("{modern}\r\n{evil}"), &good).await;
        assert_eq!(status, 403, "{evil}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let mut config = HttpConfig::default();
    config.limits.message_bytes = 1_000;
    config.limits.json_depth = 8;
    let running = Running::start(server(), config).await;
    let (status, response) = running.send(&modern("add"), &"x".repeat(1_001)).await;
    assert_eq!(status, 413);
    assert!(response.contains("larger than 1000 bytes"), "{response}");
    let (status, response) = running
        .send(
            &modern("add"),
            &format!("{}{}", "[".repeat(9), "]".repeat(9)),
        )
        .await;
    assert_eq!(status, 400);
    assert!(
        response.contains("nests deeper than 8 levels"),
        "{response}"
    );
}

#[tokio::test]
async fn a_legacy_session_opens_serves_and_ends() {
    let running = Running::start(server(), HttpConfig::default()).await;
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}).to_string();
    let (status, response) = running.send(POST, &hello).await;
    assert_eq!(status, 200);
    let session = response
        .lines()
        .find_map(|l| l.strip_prefix("mcp-session-id: "))
        .unwrap()
        .trim()
        .to_owned();
    assert!(session.len() >= 43 && session.bytes().all(|b| (0x21..0x7f).contains(&b)));
    let head = format!("{POST}\r\nMcp-Session-Id: {session}\r\nMCP-Protocol-Version: 2025-11-25");
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}).to_string();
    assert!(
        running
            .send(&head, &ping)
            .await
            .1
            .ends_with(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#)
    );
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    assert_eq!(running.send(&head, &initialized).await.0, 202);
    let delete = format!("DELETE /mcp HTTP/1.1\r\nMcp-Session-Id: {session}");
    assert_eq!(running.send(&delete, "").await.0, 204);
    assert_eq!(running.send(&head, &ping).await.0, 404);
    assert_eq!(
        running.send(&head.replace(&session, "nope"), &ping).await.0,
        404
    );
    assert_eq!(running.send("PUT /mcp HTTP/1.1", "").await.0, 405);
}

/// Begins, waits until another task goes on with the call, and tells whether it was cancelled then.
///
/// A connection polls its calls itself: only a call whose client went away moves to another task.
fn moved(begun: mpsc::Sender<()>, ended: mpsc::Sender<bool>) -> Server {
    #[derive(Debug, Deserialize, JsonSchema)]
    struct None {}
    let wait = fastmcp::ToolBuilder::new("wait", move |_: None, ctx: Context| {
        let (begun, ended) = (begun.clone(), ended.clone());
        async move {
            let connection = tokio::task::id();
            begun.send(()).await.unwrap();
            poll_fn(|_| {
                if tokio::task::id() == connection {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            ended.send(ctx.cancellation().is_cancelled()).await.unwrap();
        }
    });
    FastMcp::new("wait").tool(wait).build().unwrap()
}

#[tokio::test]
async fn a_modern_disconnect_cancels_and_a_legacy_one_does_not() {
    for (modern_era, cancels) in [(true, true), (false, false)] {
        let ((begun, mut has_begun), (ended, mut has_ended)) = (mpsc::channel(1), mpsc::channel(1));
        let running = Running::start(moved(begun, ended), HttpConfig::default()).await;
        let legacy = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait", "arguments": {}}}).to_string();
        let (head, body) = if modern_era {
            (modern("wait"), call("wait", &json!({})))
        } else {
            (POST.to_owned(), legacy)
        };
        let mut stream = TcpStream::connect(("127.0.0.1", running.port))
            .await
            .unwrap();
        stream
            .write_all(running.request(&head, &body).as_bytes())
            .await
            .unwrap();
        has_begun.recv().await.unwrap();
        drop(stream);
        assert_eq!(
            has_ended.recv().await,
            Some(cancels),
            "modern: {modern_era}"
        );
    }
}

#[tokio::test]
async fn a_subscription_is_acknowledged_and_told_of_changes() {
    let running = Running::start(server(), HttpConfig::default()).await;
    let listen = json!({"jsonrpc": "2.0", "id": "listen:0", "method": "subscriptions/listen", "params": {"notifications": {"toolsListChanged": true, "promptsListChanged": true}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
    }}})
    .to_string();
    let head =
        format!("{POST}\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen");
    let mut stream = TcpStream::connect(("127.0.0.1", running.port))
        .await
        .unwrap();
    stream
        .write_all(running.request(&head, &listen).as_bytes())
        .await
        .unwrap();
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "subscriptions/acknowledged").await;
    assert!(
        seen.contains(r#""notifications":{"toolsListChanged":true}"#),
        "prompts are not offered: {seen}"
    );
    running
        .server
        .registry()
        .edit(|components| drop(components.pop()))
        .unwrap();
    read_until(&mut stream, &mut seen, "notifications/tools/list_changed").await;
    running.server.shutdown().cancel();
    read_until(&mut stream, &mut seen, r#""resultType":"complete""#).await;
    assert_eq!(
        seen.matches(r#""io.modelcontextprotocol/subscriptionId":"listen:0""#)
            .count(),
        3,
        "{seen}"
    );
}

pub(crate) async fn read_until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let mut chunk = [0; 1024];
    while !seen.contains(wanted) {
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "the stream ended before {wanted}: {seen}");
        seen.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
}

#[tokio::test]
async fn every_header_that_is_missing_is_named() {
    /// Looks somewhere.
    #[tool]
    async fn look(#[schemars(extend("x-mcp-header" = "Region"))] region: String) -> String {
        region
    }
    let server = FastMcp::new("headers")
        .tool(look)
        .prompt(fastmcp::PromptBuilder::new(
            "greet",
            |(), _: Context| async { "hi" },
        ))
        .resource(fastmcp::ResourceBuilder::new(
            "data://x",
            "x",
            |(), _: Context| async { "x" },
        ))
        .build()
        .unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let cases = [
        (
            "tools/call",
            json!({"name": "look", "arguments": {"region": "eu"}}),
            vec!["Mcp-Name: look", "Mcp-Param-Region: eu"],
        ),
        (
            "prompts/get",
            json!({"name": "greet"}),
            vec!["Mcp-Name: greet"],
        ),
        (
            "resources/read",
            json!({"uri": "data://x"}),
            vec!["Mcp-Name: data://x"],
        ),
        ("tools/list", json!({}), vec![]),
    ];
    for (method, mut params, own) in cases {
        params["_meta"] = meta.clone();
        let body =
            json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
        let named = format!("Mcp-Method: {method}");
        let mut all = vec!["MCP-Protocol-Version: 2026-07-28", &named];
        all.extend(own);
        let head = |headers: &[&str]| format!("{POST}\r\n{}", headers.join("\r\n"));
        assert_eq!(running.send(&head(&all), &body).await.0, 200, "{method}");
        for missing in 0..all.len() {
            let mut headers = all.clone();
            let name = headers.remove(missing).split(':').next().unwrap();
            let (status, response) = running.send(&head(&headers), &body).await;
            assert_eq!(status, 400, "{method} without {name}: {response}");
            assert!(
                response.contains(r#""code":-32020"#)
                    && response.contains(r#""id":7"#)
                    && response.to_lowercase().contains(&name.to_lowercase()),
                "{method} without {name}: {response}"
            );
        }
    }
}

#[tokio::test]
async fn a_quiet_stream_is_kept_open_by_comments() {
    let mut config = HttpConfig::default();
    config.limits.keep_alive = Duration::from_millis(1);
    let running = Running::start(server(), config).await;
    let listen = json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {"notifications": {}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
    }}})
    .to_string();
    let head =
        format!("{POST}\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen");
    let mut stream = TcpStream::connect(("127.0.0.1", running.port))
        .await
        .unwrap();
    stream
        .write_all(running.request(&head, &listen).as_bytes())
        .await
        .unwrap();
    let mut seen = String::new();
    for _ in 0..3 {
        let before = seen.matches(": keep-alive\n\n").count();
        while seen.matches(": keep-alive\n\n").count() == before {
            let mut chunk = [0; 256];
            let read = stream.read(&mut chunk).await.unwrap();
            assert!(read > 0, "{seen}");
            seen.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
    }
    assert_eq!(
        seen.matches("data: ").count(),
        1,
        "the acknowledgement alone: {seen}"
    );
}

#[tokio::test]
async fn one_endpoint_serves_both_eras_in_any_order() {
    let running = Running::start(server(), HttpConfig::default()).await;
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}).to_string();
    let (_, opened) = running.send(POST, &hello).await;
    let session = opened
        .lines()
        .find(|l| l.starts_with("mcp-session-id: "))
        .unwrap()
        .trim();
    let older = format!("{POST}\r\n{session}\r\nMCP-Protocol-Version: 2025-11-25");
    let add = json!({"a": 1, "b": 2});
    let plain = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "add", "arguments": add}}).to_string();
    for _ in 0..2 {
        let (_, response) = running.send(&older, &plain).await;
        assert!(!response.contains("resultType"), "{response}");
        // A modern request on a session's headers is modern all the same, and echoes no session.
        let head = format!("{}\r\n{session}\r\nLast-Event-ID: 0-0", modern("add"));
        let (status, response) = running.send(&head, &call("add", &add)).await;
        assert_eq!(status, 200);
        assert!(
            response.contains(r#""resultType":"complete""#),
            "{response}"
        );
        assert!(!response.contains("mcp-session-id"), "{response}");
    }
    // What claims one era and is sent as the other is refused, not guessed.
    let mixed = older.replace("2025-11-25", "2026-07-28");
    let (status, response) = running.send(&mixed, &plain).await;
    assert!(
        status == 400 && response.contains(r#""code":-32602"#),
        "{response}"
    );
    let (status, response) = running.send(&older, &call("add", &add)).await;
    assert!(
        status == 400 && response.contains(r#""code":-32020"#),
        "{response}"
    );
    let (status, response) = running.send(&mixed, &hello).await;
    assert!(
        status == 400 && response.contains(r#""code":-32020"#),
        "{response}"
    );
    let batch = format!("[{plain}]");
    assert_eq!(running.send(&older, &batch).await.0, 400);
}

#[tokio::test]
async fn without_sessions_any_replica_answers_an_older_client() {
    let replica = || {
        let server = FastMcp::new("http")
            .tool(add)
            .tool(chatty)
            .stateless_http(true);
        Running::start(server.build().unwrap(), HttpConfig::default())
    };
    let (one, two) = (replica().await, replica().await);
    let head = format!("{POST}\r\nMCP-Protocol-Version: 2025-11-25");
    let request = |method: &str, params: Value| {
        json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string()
    };
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "older", "version": "1"}});
    let (status, welcome) = one.send(POST, &request("initialize", hello)).await;
    assert_eq!(status, 200, "{welcome}");
    assert!(
        welcome.contains(r#""capabilities":{"tools":{}}"#),
        "{welcome}"
    );
    assert!(
        !welcome.to_ascii_lowercase().contains("mcp-session-id"),
        "{welcome}"
    );
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(two.send(&head, initialized).await.0, 202);
    for replica in [&two, &one] {
        let sum = json!({"name": "add", "arguments": {"a": 2, "b": 3}});
        let (status, sum) = replica.send(&head, &request("tools/call", sum)).await;
        assert!(status == 200 && sum.contains(r#""text":"5""#), "{sum}");
    }
    let chatty = json!({"name": "chatty", "arguments": {}, "_meta": {"progressToken": "p"}});
    let (_, told) = two.send(&head, &request("tools/call", chatty)).await;
    assert!(
        told.contains("notifications/progress") && told.contains(r#""text":"done""#),
        "{told}"
    );
    let get = "GET /mcp HTTP/1.1\r\nAccept: text/event-stream\r\nMCP-Protocol-Version: 2025-11-25";
    assert_eq!(one.send(get, "").await.0, 405);
    let strange = format!("{head}\r\nMcp-Session-Id: of-another-server");
    assert_eq!(
        one.send(&strange, &request("tools/list", json!({})))
            .await
            .0,
        404
    );
    let level = one
        .send(
            &head,
            &request("logging/setLevel", json!({"level": "debug"})),
        )
        .await;
    assert!(level.1.contains("-32601"), "{}", level.1);
}
