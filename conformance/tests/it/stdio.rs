//! Lines on standard input and output, in both eras.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// What a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_conformance-server"))
            .arg("--stdio")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    async fn write(&mut self, text: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(text.as_bytes()).await.unwrap();
    }

    async fn say(&mut self, message: &Value) {
        self.write(&format!("{message}\n")).await;
    }

    /// The next line, which is a message whatever else happens.
    async fn hear(&mut self) -> Value {
        let line = timeout(PATIENCE, self.lines.next_line()).await.unwrap();
        let message: Value = serde_json::from_str(&line.unwrap().expect("output ended")).unwrap();
        assert_eq!(message["jsonrpc"], "2.0");
        message
    }

    async fn ask(&mut self, message: &Value) -> Value {
        self.say(message).await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], message["id"], "{answer}");
        answer
    }

    /// Ends input; the rest of the output, and whether the server ended well.
    async fn end(mut self) -> (Vec<Value>, bool) {
        drop(self.input.take());
        let mut rest = Vec::new();
        while let Some(line) = timeout(PATIENCE, self.lines.next_line())
            .await
            .unwrap()
            .unwrap()
        {
            rest.push(serde_json::from_str(&line).unwrap());
        }
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        (rest, status.success())
    }
}

fn older(id: i64, method: &str, params: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params.into()})
}

fn newer(id: i64, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        "progressToken": id,
    });
    older(id, method, params)
}

fn hello(id: i64) -> Value {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "t", "version": "1"}});
    older(id, "initialize", params)
}

#[tokio::test]
async fn an_older_client_shakes_hands_is_asked_and_subscribes() {
    let mut server = Server::start();
    let welcome = server.ask(&hello(1)).await;
    assert_eq!(welcome["result"]["protocolVersion"], "2025-11-25");
    server
        .say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    let level = server
        .ask(&older(2, "logging/setLevel", json!({"level": "error"})))
        .await;
    assert_eq!(level["result"], json!({}));
    let quiet = server
        .ask(&older(
            3,
            "tools/call",
            json!({"name": "test_tool_with_logging"}),
        ))
        .await;
    assert!(quiet["result"].get("resultType").is_none(), "{quiet}");

    let call = json!({"name": "test_elicitation", "arguments": {"message": "Who?"}});
    server.say(&older(4, "tools/call", call)).await;
    let asked = server.hear().await;
    assert_eq!(asked["method"], "elicitation/create");
    let answer =
        json!({"action": "accept", "content": {"username": "ada", "email": "ada@example.com"}});
    server
        .say(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": answer}))
        .await;
    let done = server.hear().await;
    assert!(
        done["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("ada")
    );

    let change = older(5, "tools/call", json!({"name": "test_trigger_tool_change"}));
    server.say(&change).await;
    let mut heard = [server.hear().await, server.hear().await];
    heard.sort_by_key(|message| message["method"].is_null());
    assert_eq!(heard[0]["method"], "notifications/tools/list_changed");
    assert_eq!(heard[1]["id"], 5);
    let (rest, well) = server.end().await;
    assert!(well && rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_newer_client_needs_no_handshake_and_subscribes_by_a_request() {
    let mut server = Server::start();
    let found = server.ask(&newer(1, "server/discover", json!({}))).await;
    assert_eq!(found["result"]["supportedVersions"], json!(["2026-07-28"]));
    server
        .say(&newer(
            2,
            "tools/call",
            json!({"name": "test_tool_with_progress"}),
        ))
        .await;
    let mut last = -1.0;
    let done = loop {
        let message = server.hear().await;
        if message["id"] == 2 {
            break message;
        }
        assert_eq!(message["params"]["progressToken"], 2);
        let progress = message["params"]["progress"].as_f64().unwrap();
        assert!(progress > last, "{message}");
        last = progress;
    };
    assert_eq!(done["result"]["resultType"], "complete");
    let asks = newer(
        3,
        "tools/call",
        json!({"name": "test_input_required_result_elicitation"}),
    );
    assert_eq!(
        server.ask(&asks).await["result"]["resultType"],
        "input_required"
    );

    let listen = newer(
        4,
        "subscriptions/listen",
        json!({"notifications": {"toolsListChanged": true}}),
    );
    server.say(&listen).await;
    let acknowledged = server.hear().await;
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    server
        .say(&newer(
            5,
            "tools/call",
            json!({"name": "test_trigger_tool_change"}),
        ))
        .await;
    let heard = [server.hear().await, server.hear().await];
    let told = heard
        .iter()
        .find(|m| m["method"] == "notifications/tools/list_changed");
    assert_eq!(
        told.unwrap()["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        4
    );
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 4}});
    server.say(&cancel).await;
    let (rest, well) = server.end().await;
    assert!(
        well && rest.is_empty(),
        "a cancelled request gets no answer: {rest:?}"
    );
}

#[tokio::test]
async fn one_process_serves_both_and_ends_with_its_input() {
    let mut server = Server::start();
    assert!(server.ask(&hello(1)).await["error"].is_null());
    let newer_list = server.ask(&newer(2, "tools/list", json!({}))).await;
    assert_eq!(newer_list["result"]["resultType"], "complete");
    let older_list = server.ask(&older(3, "tools/list", json!({}))).await;
    assert!(older_list["result"].get("resultType").is_none());
    assert!(server.ask(&older(4, "server/discover", json!({}))).await["result"].is_null());
    assert_eq!(
        server.ask(&newer(5, "ping", json!({}))).await["error"]["code"],
        -32601
    );
    // What was asked before the end is answered.
    server.say(&older(6, "ping", json!({}))).await;
    server
        .say(&newer(7, "tools/call", json!({"name": "test_simple_text"})))
        .await;
    let (rest, well) = server.end().await;
    let mut ids: Vec<_> = rest.iter().map(|m| m["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!((ids, well), (vec![6, 7], true));
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_next_line_is_served() {
    let mut server = Server::start();
    for (line, code) in [
        ("not json\n", -32700),
        ("[]\n", -32600),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}\n",
            -32600,
        ),
    ] {
        server.write(line).await;
        assert_eq!(server.hear().await["error"]["code"], code, "{line}");
    }
    // Over the limit of 4 MiB, in pieces: it is thrown away as it comes.
    let piece = "x".repeat(1024 * 1024);
    for _ in 0..5 {
        server.write(&piece).await;
    }
    server.write("\n\n  \n").await;
    let refused = server.hear().await;
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("longer than 4194304 bytes")
    );
    assert_eq!(
        server.ask(&older(1, "ping", json!({}))).await["result"],
        json!({})
    );
}

#[tokio::test]
async fn a_server_that_nobody_reads_ends() {
    let mut server = Server::start();
    assert!(server.ask(&older(1, "ping", json!({}))).await["error"].is_null());
    let Server {
        mut child,
        input,
        lines,
    } = server;
    drop(lines);
    let mut input = input.unwrap();
    // The first line that cannot be written tells it; input stays open.
    let ping = format!("{}\n", older(2, "ping", json!({})));
    while child.try_wait().unwrap().is_none() {
        if input.write_all(ping.as_bytes()).await.is_err() {
            break;
        }
    }
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(!status.success(), "it says that something is wrong");
}
