//! Clients that are still there, and those that are not.

use std::time::Duration;

use fastmcp::{
    ToolBuilder,
    middleware::PingMiddleware,
    prelude::*,
    transport::{Exchange, Reply, Step, http::HttpConfig, memory::Memory},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::{
    eras::{modern, send},
    http::Running,
};

const HELLO: &str = r#"{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}"#;

fn pinging() -> PingMiddleware {
    PingMiddleware::new()
        .interval(Duration::from_secs(30))
        .answer_within(Duration::from_secs(5))
}

/// A server with a tool that says when its call is cancelled.
fn server(ended: mpsc::Sender<()>) -> Server {
    let waits = ToolBuilder::new("waits", move |(): (), ctx: Context| {
        let ended = ended.clone();
        async move {
            ctx.cancellation().cancelled().await;
            ended.send(()).await.unwrap();
            "ended"
        }
    });
    let server = FastMcp::new("pings").tool(waits).middleware(pinging());
    server.build().unwrap()
}

async fn frame(stream: &mut Exchange) -> Value {
    match stream.next().await {
        Step::Frame(frame) => serde_json::from_str(&frame.data).unwrap(),
        Step::Done(reply) => panic!("ended: {reply:?}"),
    }
}

async fn tell<D: fastmcp::transport::Door>(memory: &Memory<D>, message: &Value) {
    let answer = memory.send(&message.to_string().into()).next().await;
    assert!(matches!(answer, Step::Done(Reply::Accepted)), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn who_answers_is_pinged_again_and_who_does_not_loses_the_session() {
    let (ended, mut was_ended) = mpsc::channel(1);
    let server = server(ended);
    let memory = server.memory();
    let mut stream = memory.listen();
    // Without a session nobody is pinged.
    assert!(
        timeout(Duration::from_secs(300), stream.next())
            .await
            .is_err()
    );
    memory.send(&HELLO.to_owned().into()).next().await;
    let mut before = Instant::now();
    for round in 0..3 {
        let ping = frame(&mut stream).await;
        assert_eq!(ping["method"], "ping", "{ping}");
        assert!(before.elapsed() <= Duration::from_secs(30));
        assert!(round == 0 || before.elapsed() == Duration::from_secs(30));
        before = Instant::now();
        // An error is an answer too.
        let mut answer = json!({"jsonrpc": "2.0", "id": ping["id"]});
        match round {
            0 => answer["error"] = json!({"code": -32601, "message": "what?"}),
            _ => answer["result"] = json!({}),
        }
        tell(&memory, &answer).await;
    }
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "waits", "arguments": {}}});
    let mut call = memory.send(&call.to_string().into());
    let called = async { drop(call.next().await) };
    let silent = async {
        assert_eq!(frame(&mut stream).await["method"], "ping");
        let asked = Instant::now();
        // The stream is what pings, so it is read on.
        tokio::select! {
            ended = was_ended.recv() => ended.unwrap(),
            step = stream.next() => panic!("{step:?}"),
        }
        assert_eq!(asked.elapsed(), Duration::from_secs(5));
    };
    tokio::join!(called, silent);
    // The connection is still there, and begins anew.
    let (_, hello) = send(&memory, serde_json::from_str(HELLO).unwrap()).await;
    assert_eq!(hello["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(frame(&mut stream).await["method"], "ping");
}

#[tokio::test(start_paused = true)]
async fn who_has_no_session_is_never_pinged() {
    let (ended, _was_ended) = mpsc::channel(1);
    let server = server(ended);
    let memory = server.memory();
    let mut general = memory.listen();
    let listen = modern(
        "subscriptions/listen",
        json!({"notifications": {"toolsListChanged": true}}),
        &json!({}),
    );
    let mut newer = memory.send(&listen.to_string().into());
    frame(&mut newer).await;
    let patience = Duration::from_secs(3_600);
    assert!(timeout(patience, general.next()).await.is_err());
    assert!(timeout(patience, newer.next()).await.is_err());
}

/// Reads the stream until `wanted` has come.
async fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut seen, mut piece) = (String::new(), [0; 1_024]);
    while !seen.contains(wanted) {
        let read = timeout(Duration::from_secs(60), stream.read(&mut piece)).await;
        let read = read.unwrap().unwrap();
        assert_ne!(read, 0, "ended without {wanted}: {seen}");
        seen.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    seen
}

#[tokio::test]
async fn over_http_the_stream_of_who_does_not_answer_ends_with_the_session() {
    let ping = PingMiddleware::new()
        .interval(Duration::ZERO)
        .answer_within(Duration::from_secs(10));
    let server = FastMcp::new("pings").middleware(ping).build().unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    const POST: &str = "POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream";
    let (_, opened) = running.send(POST, HELLO).await;
    let session = opened
        .lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "))
        .unwrap();
    let head = |first: &str| {
        format!("{first}\r\nMCP-Protocol-Version: 2025-11-25\r\nMCP-Session-Id: {session}")
    };
    let mut stream = TcpStream::connect(("127.0.0.1", running.port))
        .await
        .unwrap();
    let get = head("GET /mcp HTTP/1.1\r\nAccept: text/event-stream");
    let get = running.request(&get, "");
    stream.write_all(get.as_bytes()).await.unwrap();
    let asked = until(&mut stream, r#""method":"ping""#).await;
    let id = asked.split(r#""id":"#).nth(1).unwrap();
    let id: i64 = id.split([',', '}']).next().unwrap().parse().unwrap();
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": {}}).to_string();
    let (status, _) = running.send(&head(POST), &answer).await;
    assert_eq!(status, 202);
    let mut rest = String::new();
    timeout(Duration::from_secs(60), stream.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.contains(r#""method":"ping""#), "{rest}");
    let (status, _) = running
        .send(&head(POST), r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#)
        .await;
    assert_eq!(status, 404, "the session is gone");
}
