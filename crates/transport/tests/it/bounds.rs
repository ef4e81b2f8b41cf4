//! Every limit of a door, and what is said when it is met. Those of HTTP/2 are beside its tests.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fastmcp_transport::{Limits, http::HttpConfig, stdio::Stdio};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Running, head, message, read_to_end, read_until, soon, status, whole, with_body,
};

async fn with(change: impl FnOnce(&mut Limits)) -> Running {
    let mut config = HttpConfig::default();
    change(&mut config.limits);
    Running::start(config).await
}

#[tokio::test]
async fn message_bytes() {
    let fits = message("hello", &json!({"text": "x".repeat(500)}));
    let running = with(|limits| limits.message_bytes = fits.len()).await;
    let response = running
        .raw(with_body(&head("hello"), &fits).as_bytes())
        .await;
    assert_eq!(status(&response), 200, "{response}");
    let response = running
        .raw(with_body(&head("hello"), &format!("{fits} ")).as_bytes())
        .await;
    assert_eq!(status(&response), 413);
    assert!(
        response.contains(&format!("body is larger than {} bytes", fits.len())),
        "{response}"
    );
}

#[tokio::test]
async fn json_depth() {
    let running = with(|limits| limits.json_depth = 8).await;
    for (depth, wanted) in [(4, 200), (8, 400)] {
        let deep = format!(r#"{}1{}"#, "[".repeat(depth), "]".repeat(depth));
        let body = message("hello", &json!({"deep": 1}))
            .replace(r#""deep":1"#, &format!(r#""deep":{deep}"#));
        let response = running
            .raw(with_body(&head("hello"), &body).as_bytes())
            .await;
        assert_eq!(status(&response), wanted, "{response}");
        assert_eq!(
            wanted == 400,
            response.contains("nests deeper than 8 levels"),
            "{response}"
        );
    }
}

#[tokio::test]
async fn header_bytes() {
    let running = with(|limits| limits.header_bytes = 8 * 1_024).await;
    for (size, wanted) in [(1_000, 200), (9_000, 431)] {
        let padded = format!("{}X-Pad: {}\r\n", head("hello"), "x".repeat(size));
        let response = running
            .raw(with_body(&padded, &message("hello", &json!({}))).as_bytes())
            .await;
        assert_eq!(status(&response), wanted, "{size}: {response}");
    }
}

#[tokio::test]
async fn headers() {
    for most in [20, 200] {
        let running = with(|limits| limits.headers = most).await;
        for (count, wanted) in [(most - 12, 200), (most, 431)] {
            let mut padded = head("hello");
            for nth in 0..count {
                padded.push_str(&format!("X-{nth}: x\r\n"));
            }
            let response = running
                .raw(with_body(&padded, &message("hello", &json!({}))).as_bytes())
                .await;
            assert_eq!(status(&response), wanted, "{count} of {most}: {response}");
        }
    }
}

#[tokio::test]
async fn header_timeout() {
    let running = with(|limits| limits.header_timeout = Duration::from_millis(50)).await;
    for beginning in ["", "P", "POST /mcp HTTP/1.1\r\nHost: local"] {
        let mut stream = running.connect().await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        // A close is all that can be said to half a request.
        assert_eq!(read_to_end(&mut stream).await, "", "{beginning:?}");
    }
    let mut kept = running.connect().await;
    let request = whole("hello").replace("Connection: close\r\n", "");
    kept.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(
        status(&read_to_end(&mut kept).await),
        200,
        "closed some time after its answer"
    );
}

#[tokio::test]
async fn body_timeout() {
    let running = with(|limits| limits.body_timeout = Duration::from_millis(50)).await;
    let request = format!("{}Content-Length: 100\r\n\r\n{{", head("hello"));
    let response = running.raw(request.as_bytes()).await;
    assert_eq!(status(&response), 408);
    assert!(
        response.contains("body took longer than 0.05 s"),
        "{response}"
    );
    assert!(response.contains("connection: close"), "{response}");
}

#[tokio::test]
async fn concurrent_calls() {
    let mut running = with(|limits| limits.concurrent_calls = 2).await;
    let mut call = running.connect().await;
    call.write_all(whole("stubborn").as_bytes()).await.unwrap();
    assert_eq!(running.told().await, "begun");
    let mut stream = running.connect().await;
    running.frames.send("one".to_owned()).await.unwrap();
    stream.write_all(whole("stream").as_bytes()).await.unwrap();
    read_until(&mut stream, "data: one").await;
    let response = running.raw(whole("hello").as_bytes()).await;
    assert_eq!(status(&response), 503, "a call and a stream are two");
    assert!(
        response.contains("retry-after: 1") && response.contains("too many calls"),
        "{response}"
    );
    running.frames.send(String::new()).await.unwrap();
    assert!(
        read_to_end(&mut stream)
            .await
            .contains(r#""said":"stream""#)
    );
    assert_eq!(status(&running.raw(whole("hello").as_bytes()).await), 200);
}

#[tokio::test]
async fn a_call_whose_client_hung_up_counts_until_it_has_ended() {
    let mut running = with(|limits| limits.concurrent_calls = 1).await;
    let mut call = running.connect().await;
    call.write_all(whole("stubborn").as_bytes()).await.unwrap();
    assert_eq!(running.told().await, "begun");
    drop(call);
    // The server may still be learning that it has gone; either way there is no place.
    for _ in 0..20 {
        assert_eq!(status(&running.raw(whole("hello").as_bytes()).await), 503);
    }
    running.led.end.notify_waiters();
    assert_eq!(running.told().await, "ended");
    let served = async {
        while status(&running.raw(whole("hello").as_bytes()).await) != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon(served).await;
}

#[tokio::test]
async fn connections() {
    let mut running = with(|limits| limits.connections = 1).await;
    let mut first = running.connect().await;
    first.write_all(whole("stubborn").as_bytes()).await.unwrap();
    assert_eq!(running.told().await, "begun");
    let mut second = running.connect().await;
    second.write_all(whole("wait").as_bytes()).await.unwrap();
    // The second waits in the listen queue: nobody reads what it sent.
    assert!(running.told.try_recv().is_err());
    running.led.end.notify_waiters();
    assert_eq!(running.told().await, "ended");
    assert_eq!(status(&read_to_end(&mut first).await), 200);
    assert_eq!(running.told().await, "begun", "now the second one is read");
}

#[tokio::test]
async fn keep_alive() {
    let running = with(|limits| limits.keep_alive = Duration::from_millis(10)).await;
    let mut stream = running.connect().await;
    running.frames.send("one".to_owned()).await.unwrap();
    stream.write_all(whole("stream").as_bytes()).await.unwrap();
    read_until(&mut stream, ": keep-alive").await;
}

#[tokio::test]
async fn recheck() {
    let running = with(|limits| limits.recheck = Duration::from_millis(10)).await;
    let mut stream = running.connect().await;
    running.frames.send("one".to_owned()).await.unwrap();
    stream.write_all(whole("stream").as_bytes()).await.unwrap();
    read_until(&mut stream, "data: one").await;
    running.frames.send("two".to_owned()).await.unwrap();
    read_until(&mut stream, "data: two").await;
    running.led.shut_out.store(true, Ordering::Relaxed);
    let rest = read_to_end(&mut stream).await;
    assert!(
        !rest.contains("result"),
        "the stream ends, not its call: {rest}"
    );
    running.frames.send(String::new()).await.unwrap();
    running.ended().await;
}

#[tokio::test]
async fn write_timeout() {
    let running = with(|limits| limits.write_timeout = Duration::from_millis(200)).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stream = soon(socket.connect(running.address)).await.unwrap();
    // More than the buffers of both sides hold.
    let size = 12 * 1024 * 1024;
    let request = with_body(&head("large"), &message("large", &json!({"size": size})));
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "200 OK").await;
    // From here on nobody reads: without a bound the answer would be under way for ever.
    running.ended().await;
    let mut rest = Vec::new();
    let cut = soon(stream.read_to_end(&mut rest)).await.is_err() || rest.len() < size;
    assert!(cut, "all of it came");
}

#[tokio::test]
async fn a_line_on_stdio_and_its_depth() {
    let mut running = Running::start(HttpConfig::default()).await;
    let limits = Limits {
        message_bytes: 1_000,
        json_depth: 8,
        concurrent_calls: 1,
        ..Limits::default()
    };
    let (mut client, server) = tokio::io::duplex(64 * 1_024);
    let (input, output) = tokio::io::split(server);
    let stdio = Stdio::new(Arc::clone(&running.led), (), limits);
    let serving = running.spawn(stdio.run(input, output, CancellationToken::new()));
    let line = |text: &str| format!("{text}\n");
    let hello = json!({"jsonrpc": "2.0", "id": 7, "method": "hello"}).to_string();
    let cases = [
        (
            line(&"x".repeat(1_001)),
            "message is longer than 1000 bytes",
        ),
        (
            line(&format!("{}{}", "[".repeat(9), "]".repeat(9))),
            "nests deeper than 8 levels",
        ),
        (line(&hello), r#""said":"hello""#),
    ];
    let mut seen = String::new();
    let mut chunk = [0; 4_096];
    for (sent, wanted) in cases {
        client.write_all(sent.as_bytes()).await.unwrap();
        while !seen.contains(wanted) {
            let read = soon(client.read(&mut chunk)).await.unwrap();
            assert!(read > 0, "ended before {wanted}: {seen}");
            seen.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
    }
    let busy = json!({"jsonrpc": "2.0", "id": 8, "method": "stubborn"}).to_string();
    client.write_all(line(&busy).as_bytes()).await.unwrap();
    assert_eq!(running.told().await, "begun");
    client.write_all(line(&hello).as_bytes()).await.unwrap();
    while !seen.contains("too many calls are under way") {
        let read = soon(client.read(&mut chunk)).await.unwrap();
        seen.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    running.led.end.notify_waiters();
    client.shutdown().await.unwrap();
    soon(serving).await.unwrap().unwrap();
}
