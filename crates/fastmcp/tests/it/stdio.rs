//! Lines on byte streams.

use std::sync::Arc;

use fastmcp::{
    auth::Caller,
    prelude::*,
    transport::{Limits, stdio::Stdio},
};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex, split};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Adds.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[tool]
async fn wait(ctx: Context) -> &'static str {
    ctx.report_progress(1.0, None, None).await;
    ctx.cancellation().cancelled().await;
    std::future::pending::<()>().await;
    "never"
}

fn start(limits: Limits) -> (tokio::task::JoinHandle<std::io::Result<()>>, DuplexStream) {
    let server = FastMcp::new("stdio").tool(add).tool(wait).build().unwrap();
    let (ours, theirs) = duplex(64 * 1024);
    let (input, output) = split(theirs);
    let stdio = Stdio::new(Arc::clone(server.door()), Caller::local(), limits);
    (
        TaskTracker::new().spawn(stdio.run(input, output, CancellationToken::new())),
        ours,
    )
}

fn meta() -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}, "progressToken": 1})
}

#[tokio::test]
async fn both_eras_on_one_stream_until_it_ends() {
    let (running, stream) = start(Limits::default());
    let (read, mut write) = split(stream);
    let mut lines = BufReader::new(read).lines();
    let messages = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}),
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "add", "arguments": {"a": 1, "b": 2}, "_meta": meta()}}),
    ];
    for (index, message) in messages.iter().enumerate() {
        write
            .write_all(format!("{message}\n").as_bytes())
            .await
            .unwrap();
        let answer: Value =
            serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(answer["id"], index + 1);
        match index {
            0 => assert_eq!(answer["result"]["protocolVersion"], "2025-06-18"),
            1 => assert_eq!(answer["result"], json!({})),
            _ => assert_eq!(answer["result"]["resultType"], "complete"),
        }
    }
    drop(write);
    drop(lines);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_subscription_does_not_outlast_the_input() {
    let (running, stream) = start(Limits::default());
    let (read, mut write) = split(stream);
    let mut lines = BufReader::new(read).lines();
    let listen = json!({"jsonrpc": "2.0", "id": "s", "method": "subscriptions/listen", "params": {"notifications": {"toolsListChanged": true}, "_meta": meta()}});
    write
        .write_all(format!("{listen}\n").as_bytes())
        .await
        .unwrap();
    let first: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    write.shutdown().await.unwrap();
    // Less than what calls are given to finish.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(9), running).await;
    ended.unwrap().unwrap().unwrap();
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_cancelled_call_gets_no_answer() {
    let (_running, stream) = start(Limits::default());
    let (read, mut write) = split(stream);
    let mut lines = BufReader::new(read).lines();
    let waits = json!({"jsonrpc": "2.0", "id": "w", "method": "tools/call", "params": {"name": "wait", "arguments": {}, "_meta": meta()}});
    write
        .write_all(format!("{waits}\n").as_bytes())
        .await
        .unwrap();
    assert!(
        lines
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .contains("notifications/progress")
    );
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "w"}});
    let adds = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"name": "add", "arguments": {"a": 1, "b": 2}, "_meta": meta()}});
    write
        .write_all(format!("{cancel}\n{adds}\n").as_bytes())
        .await
        .unwrap();
    let next: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(next["id"], "a");
}

#[tokio::test]
async fn a_line_over_the_limit_is_refused_and_the_next_is_served() {
    let (_running, stream) = start(Limits {
        message_bytes: 200,
        ..Limits::default()
    });
    let (read, mut write) = split(stream);
    let mut lines = BufReader::new(read).lines();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    write
        .write_all(format!("{}\nnot json\n{ping}\n", "x".repeat(201)).as_bytes())
        .await
        .unwrap();
    assert!(
        lines
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .contains("longer than 200 bytes")
    );
    assert!(lines.next_line().await.unwrap().unwrap().contains("-32700"));
    assert!(
        lines
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .contains(r#""result":{}"#)
    );
}

/// Fails in a way that nobody foresaw.
#[tool]
async fn explodes() -> &'static str {
    let nothing: Vec<&'static str> = Vec::new();
    nothing[0]
}

fn call(id: i64, tool: &str) -> String {
    let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {}, "_meta": meta()}});
    format!("{call}\n")
}

#[tokio::test]
async fn a_panic_is_the_failure_of_its_call_alone() {
    for older in [false, true] {
        let server = FastMcp::new("stdio").tool(explodes).build().unwrap();
        let memory = server.memory();
        let mut params = json!({"name": "explodes", "arguments": {}});
        if !older {
            params["_meta"] = meta();
        }
        let message = |id: i64, method: &str, params: &Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let (_, failed) = crate::eras::send(&memory, message(1, "tools/call", &params)).await;
        assert_eq!(failed["result"]["isError"], true, "{failed}");
        assert!(failed.to_string().contains("an internal error occurred"));
        let (_, next) = crate::eras::send(&memory, message(2, "ping", &json!({}))).await;
        assert_eq!(next["result"], json!({}));
    }
}

#[tokio::test]
async fn an_id_is_used_once_at_a_time() {
    let (_running, stream) = start(Limits::default());
    let (read, mut write) = split(stream);
    let mut lines = BufReader::new(read).lines();
    write.write_all(call(1, "wait").as_bytes()).await.unwrap();
    assert!(
        lines
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .contains("progress")
    );
    write.write_all(call(1, "wait").as_bytes()).await.unwrap();
    let refused: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(1), &json!(-32600))
    );
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    write
        .write_all(format!("{cancel}\n").as_bytes())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_makes_calls_wait() {
    let limits = Limits {
        concurrent_calls: 4,
        ..Limits::default()
    };
    let (_running, stream) = start(limits);
    let (read, mut write) = split(stream);
    let ping = |id: usize| {
        format!(
            "{}\n",
            json!({"jsonrpc": "2.0", "id": id, "method": "ping"})
        )
    };
    let mut written = 0;
    // Nobody reads: at some point the server reads no further, and so nothing more can be written.
    while let Ok(done) = tokio::time::timeout(
        std::time::Duration::from_secs(5),
        write.write_all(ping(written).as_bytes()),
    )
    .await
    {
        done.unwrap();
        written += 1;
        assert!(written < 100_000, "everything was taken");
    }
    let mut lines = BufReader::new(read).lines();
    let mut answered = 0;
    while answered < written {
        let line: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert!(line["id"].is_number(), "{line}");
        answered += 1;
    }
}
