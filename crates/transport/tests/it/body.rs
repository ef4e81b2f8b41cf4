//! Bodies that are not read: the answer comes all the same.

use std::time::Duration;

use fastmcp_transport::http::HttpConfig;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::support::{
    Running, head, message, read_to_end, read_until, soon, status, whole, with_body,
};

fn bounded() -> HttpConfig {
    let mut config = HttpConfig::default();
    config.limits.message_bytes = 10_000;
    config
}

#[tokio::test]
async fn a_client_that_sends_first_reads_the_refusal_of_a_large_body() {
    let running = Running::start(bounded()).await;
    // More than the sockets hold: only who reads it lets the client come to the answer.
    let body = "x".repeat(16 * 1_024 * 1_024);
    for chunked in [false, true] {
        let request = if chunked {
            format!(
                "{}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                head("hello"),
                body.len()
            )
        } else {
            format!(
                "{}Content-Length: {}\r\n\r\n{body}",
                head("hello"),
                body.len()
            )
        };
        let response = soon(running.raw(request.as_bytes())).await;
        assert_eq!(status(&response), 413, "{response}");
        assert!(response.contains("connection: close"), "{response}");
        assert!(
            response.contains("body is larger than 10000 bytes"),
            "{response}"
        );
    }
}

#[tokio::test]
async fn what_is_thrown_away_is_bounded_too() {
    let mut config = bounded();
    config.limits.discarded_bytes = 20_000;
    let running = Running::start(config).await;
    let request = format!("{}Content-Length: 1000000\r\n\r\nx", head("hello"));
    let response = running.raw(request.as_bytes()).await;
    assert_eq!(
        status(&response),
        413,
        "answered at once: the end is too far away"
    );
    let mut config = bounded();
    config.limits.discard_timeout = Duration::from_millis(20);
    let running = Running::start(config).await;
    let request = format!("{}Content-Length: 20000\r\n\r\nx", head("hello"));
    assert_eq!(
        status(&running.raw(request.as_bytes()).await),
        413,
        "answered in time"
    );
}

#[tokio::test]
async fn who_asks_first_is_answered_without_sending() {
    let running = Running::start(bounded()).await;
    let request = format!(
        "{}Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n",
        head("hello")
    );
    assert_eq!(status(&running.raw(request.as_bytes()).await), 413);
}

#[tokio::test]
async fn a_refused_caller_with_a_body_reads_why_and_may_go_on() {
    let running = Running::start(HttpConfig::default()).await;
    let body = format!("\"{}\"", "x".repeat(500_000));
    let mut stream = running.connect().await;
    let refused = format!(
        "{}Authorization: wrong\r\nContent-Length: {}\r\n\r\n{body}",
        head("hello"),
        body.len()
    );
    stream.write_all(refused.as_bytes()).await.unwrap();
    let response = read_until(&mut stream, "who are you").await;
    assert_eq!(status(&response), 401, "{response}");
    stream.write_all(whole("hello").as_bytes()).await.unwrap();
    assert_eq!(
        status(&read_to_end(&mut stream).await),
        200,
        "on the same connection"
    );
}

#[tokio::test]
async fn a_body_that_is_framed_badly_is_a_bad_request() {
    let running = Running::start(HttpConfig::default()).await;
    let request = format!(
        "{}Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        head("hello")
    );
    let response = running.raw(request.as_bytes()).await;
    assert_eq!(status(&response), 400, "{response}");
    assert!(
        response.contains("-32700") && response.contains("could not be read"),
        "{response}"
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_in_its_body_leaves_nothing_behind() {
    let running = Running::start(HttpConfig::default()).await;
    let mut stream = running.connect().await;
    let request = format!("{}Content-Length: 1000\r\n\r\n{{", head("hello"));
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    let response = running
        .raw(with_body(&head("hello"), &message("hello", &json!({}))).as_bytes())
        .await;
    assert_eq!(status(&response), 200);
    running.ended().await;
}
