//! An endpoint of HTTP with SSE, found by its URL alone.

use std::sync::Arc;

use fastmcp::{Client, protocol::ProtocolVersion};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::broadcast,
};
use tokio_util::task::TaskTracker;

/// Reads one request: its first line and its body.
async fn read(stream: &mut TcpStream) -> (String, String) {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let named = name.eq_ignore_ascii_case("content-length");
                named.then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                let first = head.lines().next().unwrap().to_owned();
                return (first, body.to_owned());
            }
        }
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "the request ended early: {text}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
}

fn answer(message: &Value) -> Option<Value> {
    let result = match message["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "oldest", "version": "1"},
        }),
        "tools/call" => json!({"content": [{"type": "text", "text": "done"}]}),
        _ => json!({}),
    };
    let id = message.get("id")?;
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

async fn serve(mut stream: TcpStream, events: broadcast::Sender<String>) {
    let (first, body) = read(&mut stream).await;
    let mut heard = events.subscribe();
    if first.starts_with("GET /sse") {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        let endpoint = format!("{head}event: endpoint\ndata: /messages?session=1\n\n");
        stream.write_all(endpoint.as_bytes()).await.unwrap();
        while let Ok(event) = heard.recv().await {
            let event = format!("event: message\ndata: {event}\n\n");
            if stream.write_all(event.as_bytes()).await.is_err() {
                return;
            }
        }
        return;
    }
    let status = if first.starts_with("POST /messages?session=1") {
        if let Some(answer) = answer(&serde_json::from_str(&body).unwrap()) {
            events.send(answer.to_string()).unwrap();
        }
        "202 Accepted"
    } else {
        "405 Method Not Allowed"
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_takes_no_messages_is_one_of_http_with_sse() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Arc::new(TaskTracker::new());
    let serving = Arc::clone(&tasks);
    tasks.spawn(async move {
        let events = broadcast::Sender::new(16);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            serving.spawn(serve(stream, events.clone()));
        }
    });
    let url = format!("http://{address}/sse");
    let client = Client::builder().connect_url(&url).await.unwrap();
    assert_eq!(client.server_info().unwrap().name, "oldest");
    assert_eq!(client.protocol_version(), ProtocolVersion::V2025_03_26);
    let result = client.call_tool("t", json!({})).await.unwrap();
    assert_eq!(result.text(), "done");
    client.close().await;

    let nothing = format!("http://{address}/elsewhere");
    let error = Client::builder().connect_url(&nothing).await.unwrap_err();
    assert!(error.message().contains("405"), "{error}");
    let newest = Client::builder().revision(ProtocolVersion::LATEST);
    assert!(newest.connect_url(&url).await.is_err(), "too old");
}
