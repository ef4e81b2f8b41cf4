//! HTTP/2 on the port of HTTP/1.1, with prior knowledge.

use std::{pin::pin, time::Duration};

use fastmcp_transport::http::HttpConfig;
use futures_util::future::join_all;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Running, message, read_until, soon, status, whole};

async fn text(body: Incoming) -> String {
    let body = soon(body.collect()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn both_versions_are_spoken_on_one_port() {
    let running = Running::start(HttpConfig::default()).await;
    let mut two = running.h2().await;
    let response = soon(two.send_request(running.request("hello")))
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, Version::HTTP_2)
    );
    assert!(
        text(response.into_body())
            .await
            .contains(r#""said":"hello""#)
    );
    let one = running.raw(whole("hello").as_bytes()).await;
    assert!(
        status(&one) == 200 && one.ends_with(r#""said":"hello"}}"#),
        "{one}"
    );
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    let mut running = Running::start(HttpConfig::default()).await;
    let connection = running.h2().await;
    let waiting = connection.clone().send_request(running.request("stubborn"));
    let mut waiting = pin!(waiting);
    tokio::select! {
        _ = &mut waiting => panic!("answered too early"),
        told = running.told() => assert_eq!(told, "begun"),
    }
    // 500 at once where 128 may be under way: the client waits with the others, and all are answered
    // while the first one is still waiting.
    let calls = (0..500).map(|_| {
        let mut connection = connection.clone();
        let request = running.request("hello");
        async move {
            let response = connection.send_request(request).await.unwrap();
            assert_eq!(response.status().as_u16(), 200);
            text(response.into_body()).await
        }
    });
    let answers = soon(join_all(calls)).await;
    assert!(answers.iter().all(|a| a.contains(r#""said":"hello""#)));
    running.led.end.notify_one();
    assert_eq!(soon(waiting).await.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_stream_and_calls_share_one_connection() {
    let running = Running::start(HttpConfig::default()).await;
    let mut connection = running.h2().await;
    running.frames.send("first".to_owned()).await.unwrap();
    let stream = soon(connection.send_request(running.request("stream")))
        .await
        .unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut stream = stream.into_body();
    for next in ["second", ""] {
        let frame = soon(stream.frame())
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        assert!(frame.starts_with(b"data: "), "{frame:?}");
        let beside = soon(connection.send_request(running.request("hello")))
            .await
            .unwrap();
        assert_eq!(beside.status().as_u16(), 200);
        running.frames.send(next.to_owned()).await.unwrap();
    }
    assert!(text(stream).await.contains(r#""said":"stream""#));
}

#[tokio::test]
async fn a_reset_cancels_the_call_and_nothing_else() {
    let mut running = Running::start(HttpConfig::default()).await;
    let mut connection = running.h2().await;
    {
        let call = connection.send_request(running.request("wait"));
        let mut call = pin!(call);
        tokio::select! {
            _ = &mut call => panic!("answered"),
            told = running.told() => assert_eq!(told, "begun"),
        }
        // Dropped, the client sends RST_STREAM.
    }
    assert_eq!(running.told().await, "cancelled");
    let response = soon(connection.send_request(running.request("hello")))
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 200, "the connection lives on");
}

#[tokio::test]
async fn a_call_counts_until_it_has_ended_and_not_until_it_was_reset() {
    let mut config = HttpConfig::default();
    config.limits.concurrent_calls = 4;
    let mut running = Running::start(config).await;
    let mut connection = running.h2().await;
    for _ in 0..4 {
        let call = connection.send_request(running.request("stubborn"));
        let mut call = pin!(call);
        tokio::select! {
            _ = &mut call => panic!("answered"),
            told = running.told() => assert_eq!(told, "begun"),
        }
    }
    let refused = soon(connection.send_request(running.request("hello")))
        .await
        .unwrap();
    assert_eq!(
        refused.status().as_u16(),
        503,
        "four calls are still at work"
    );
    running.led.end.notify_waiters();
    for _ in 0..4 {
        assert_eq!(running.told().await, "ended");
    }
    // The last one gives its place back a moment after it has told.
    let answered = async {
        loop {
            let response = connection
                .send_request(running.request("hello"))
                .await
                .unwrap();
            if response.status().as_u16() == 200 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(answered).await;
}

#[tokio::test]
async fn headers_are_bounded_in_bytes_and_number() {
    let mut config = HttpConfig::default();
    config.limits.header_bytes = 8 * 1_024;
    config.limits.headers = 20;
    let running = Running::start(config).await;
    let mut connection = running.h2().await;
    let with = |count: usize, size: usize| {
        let mut request = running.request("hello");
        for nth in 0..count {
            let name: http::HeaderName = format!("x-{nth}").parse().unwrap();
            request
                .headers_mut()
                .insert(name, "x".repeat(size).parse().unwrap());
        }
        request
    };
    for (count, size, wanted) in [
        (10, 10, 200),
        (30, 10, 431),
        (5, 2_000, 431),
        (1, 1_000, 200),
    ] {
        let response = soon(connection.send_request(with(count, size)))
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), wanted, "{count} of {size}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_ends_its_stream_alone() {
    let mut config = HttpConfig::default();
    config.limits.message_bytes = 100_000;
    let running = Running::start(config).await;
    let mut connection = running.h2().await;
    let large = running.request_of(&"x".repeat(1_000_000), "hello");
    let response = soon(connection.send_request(large)).await.unwrap();
    assert_eq!(response.status().as_u16(), 413);
    assert!(
        text(response.into_body())
            .await
            .contains("larger than 100000 bytes")
    );
    let response = soon(connection.send_request(running.request("hello")))
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 200);
}

#[tokio::test]
async fn hosts_are_checked_in_the_authority_too() {
    let running = Running::start(HttpConfig::default()).await;
    let mut connection = running.h2().await;
    for (authority, host) in [
        ("evil.test", None),
        ("evil.test", Some("localhost")),
        ("localhost", Some("evil.test")),
    ] {
        let mut request = Request::post(format!("http://{authority}/mcp"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request
            .body(Full::from(message("hello", &serde_json::json!({}))))
            .unwrap();
        let response = soon(connection.send_request(request)).await.unwrap();
        assert_eq!(response.status().as_u16(), 403, "{authority} {host:?}");
    }
}

#[tokio::test]
async fn a_client_that_only_connects_is_let_go() {
    let mut config = HttpConfig::default();
    config.limits.header_timeout = Duration::from_millis(50);
    let running = Running::start(config).await;
    // Neither a beginning of HTTP/2 alone nor one with its preface holds a connection for ever.
    for beginning in [
        &b"PRI * HTT"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"",
    ] {
        let mut stream = running.connect().await;
        stream.write_all(beginning).await.unwrap();
        let mut rest = Vec::new();
        // However it ends, it ends.
        let _ended = soon(stream.read_to_end(&mut rest)).await;
    }
}

/// One frame. Source: RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn a_flood_of_resets_closes_the_connection() {
    let running = Running::start(HttpConfig::default()).await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(4, 0, 0, &[]));
    // GET http://localhost/, asked and taken back in one breath, before the server looks.
    let head = b"\x82\x86\x84\x01\x09localhost";
    for stream in (1..2_001).step_by(2) {
        flood.extend(frame(1, 0x05, stream, head));
        flood.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let mut stream = running.connect().await;
    // The end may come while we are still at it.
    let _closed = stream.write_all(&flood).await;
    let mut seen = Vec::new();
    let _reset = soon(stream.read_to_end(&mut seen)).await;
    let calm = frame(7, 0, 0, &[])[3..].to_vec();
    assert!(
        seen.windows(calm.len()).any(|window| window == calm),
        "no GOAWAY: {seen:?}"
    );
}

#[tokio::test]
async fn shutdown_lets_streams_of_both_versions_end() {
    let mut running = Running::start(HttpConfig::default()).await;
    let mut two = running.h2().await;
    let call = two.send_request(running.request("stubborn"));
    let mut call = pin!(call);
    tokio::select! {
        _ = &mut call => panic!("answered"),
        told = running.told() => assert_eq!(told, "begun"),
    }
    let mut one = running.connect().await;
    one.write_all(whole("stubborn").as_bytes()).await.unwrap();
    assert_eq!(running.told().await, "begun");
    running.shutdown.cancel();
    running.led.end.notify_waiters();
    assert_eq!(soon(call).await.unwrap().status().as_u16(), 200);
    assert!(
        read_until(&mut one, r#""said":"stubborn""#)
            .await
            .starts_with("HTTP/1.1 200")
    );
    running.ended().await;
}
