//! Compressed answers, read with decoders that are not the encoders' own.

use std::io::Read as _;

use bytes::Bytes;
use fastmcp_transport::http::{Compression, HttpConfig};
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::support::{Running, message, soon};

async fn compressing() -> Running {
    let config = HttpConfig {
        compression: Some(Compression::default()),
        ..HttpConfig::default()
    };
    Running::start(config).await
}

/// The answer of `size` characters to a client that accepts `accept`: its headers and its bytes.
async fn answer(running: &Running, size: usize, accept: &str) -> (http::HeaderMap, Bytes) {
    let mut request = running.request_of(&message("large", &json!({"size": size})), "large");
    if !accept.is_empty() {
        request
            .headers_mut()
            .insert("accept-encoding", accept.parse().unwrap());
    }
    let response = soon(running.h2().await.send_request(request))
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let (parts, body) = response.into_parts();
    (
        parts.headers,
        soon(body.collect()).await.unwrap().to_bytes(),
    )
}

fn decoded(encoding: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    match encoding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text),
        "br" => brotli_decompressor::Decompressor::new(bytes, 4_096).read_to_string(&mut text),
        "zstd" => ruzstd::decoding::StreamingDecoder::new(bytes)
            .unwrap()
            .read_to_string(&mut text),
        other => panic!("encoding {other}"),
    }
    .unwrap();
    text
}

#[tokio::test]
async fn every_encoding_is_decoded() {
    let running = compressing().await;
    // Below and above what leaves the connection's task.
    for size in [6_000, 600_000] {
        let (headers, plain) = answer(&running, size, "").await;
        assert!(headers.get("content-encoding").is_none());
        assert_eq!(
            headers["vary"], "accept-encoding",
            "a cache must know even so"
        );
        for encoding in ["gzip", "br", "zstd"] {
            let (headers, bytes) = answer(&running, size, encoding).await;
            assert_eq!(headers["content-encoding"], encoding);
            assert_eq!(headers["content-length"], bytes.len().to_string());
            assert_eq!(headers["vary"], "accept-encoding");
            assert!(
                bytes.len() * 10 < plain.len(),
                "{encoding}: {} of {}",
                bytes.len(),
                plain.len()
            );
            let text = decoded(encoding, &bytes);
            assert!(text == plain && said(&text).len() == size, "{encoding}");
        }
    }
}

#[tokio::test]
async fn what_is_small_or_not_accepted_stays_as_it_is() {
    let running = compressing().await;
    for (size, accept) in [
        (600, "gzip"),
        (6_000, "identity"),
        (6_000, "gzip;q=0"),
        (6_000, "identity;q=0, *;q=0"),
    ] {
        let (headers, bytes) = answer(&running, size, accept).await;
        assert!(headers.get("content-encoding").is_none(), "{size} {accept}");
        assert_eq!(
            said(std::str::from_utf8(&bytes).unwrap()).len(),
            size,
            "{accept}"
        );
        assert_eq!(headers.get("vary").is_some(), size > 1_024);
    }
    let running = Running::start(HttpConfig::default()).await;
    let (headers, _) = answer(&running, 6_000, "gzip").await;
    assert!(
        headers.get("content-encoding").is_none() && headers.get("vary").is_none(),
        "off by default"
    );
}

#[tokio::test]
async fn a_frame_arrives_before_the_next_is_made() {
    let running = compressing().await;
    let mut request = running.request("stream");
    request
        .headers_mut()
        .insert("accept-encoding", "gzip, br, zstd".parse().unwrap());
    let large = "x".repeat(10_000);
    running.frames.send(large.clone()).await.unwrap();
    let response = soon(running.h2().await.send_request(request))
        .await
        .unwrap();
    assert!(
        response.headers().get("content-encoding").is_none(),
        "streams are not compressed"
    );
    let mut body = response.into_body();
    let mut seen = String::new();
    for next in [large.as_str(), "small", "", "end"] {
        // Nothing further is sent until this one is here.
        while seen.matches("\n\n").count() == 0 {
            let frame = soon(body.frame()).await.unwrap().unwrap();
            seen.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        seen.clear();
        if next != "end" {
            running.frames.send(next.to_owned()).await.unwrap();
        }
    }
}

/// A text as the JSON text of a reply has it.
fn said(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    value["result"]["said"].as_str().unwrap().into()
}
