//! Those that serve HTTP.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
    time::Duration,
};

use fastmcp::{
    guard::http::{Config, UrlFetcher},
    prelude::*,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// Starts an example on a free port; it says where it listens.
async fn start(program: &str) -> (Child, String) {
    let mut child = Command::new(program)
        .env("PORT", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, url)) = line.split_once("listening on ") {
            return (child, url.to_owned());
        }
    }
    panic!("{program} does not say where it listens");
}

/// An address that is free now, of those that the system gives to nobody who asks for any (with Linux they begin at 32768) and
/// that no other test takes for its servers.
fn free_address() -> SocketAddr {
    loop {
        let [high, low, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
        let port = 10_000 + u16::from_be_bytes([high, low]) % 9_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

#[tokio::test]
async fn tokens_decide_what_is_seen() {
    let (_child, url) = start(env!("CARGO_BIN_EXE_security")).await;
    let shown = async |token: &str| {
        let client = Client::builder()
            .bearer(token)
            .unwrap()
            .connect_url(&url)
            .await?;
        Ok::<_, Error>(client.list_tools().await?.len())
    };
    assert_eq!(shown("service-a-0123456789abcdef").await.unwrap(), 2);
    assert_eq!(shown("service-b-0123456789abcdef").await.unwrap(), 3);
    assert!(shown("nobody-0123456789abcdef").await.is_err());
}

#[tokio::test]
async fn a_production_server_says_how_it_is() {
    // It is told a port, as a deployment tells it one.
    let address = free_address();
    let _child = Command::new(env!("CARGO_BIN_EXE_production_server"))
        .envs([("TRANSPORT", "http"), ("PORT", &address.port().to_string())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let at = |path: &str| format!("http://{address}{path}").parse().unwrap();
    let fetcher = UrlFetcher::new(&Config::upstream(&at("/")).unwrap()).unwrap();
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let health = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            looks.tick().await;
            if let Ok(answer) = fetcher.get(&at("/health")).await {
                return answer;
            }
        }
    });
    assert_eq!(health.await.unwrap().status, 200);
    assert_eq!(fetcher.get(&at("/ready")).await.unwrap().status, 200);
    let client = Client::builder()
        .connect_url(at("/mcp").as_str())
        .await
        .unwrap();
    client.call_tool("health_check", json!({})).await.unwrap();
    // What the image asks: it must say the same.
    let check = crate::deploy::health_check();
    let asked = Command::new(&check[0])
        .args(&check[1..])
        .env("PORT", address.port().to_string())
        .status();
    assert!(asked.await.unwrap().success(), "{check:?}");
    let metrics = fetcher.get(&at("/metrics")).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        metrics.contains("mcp_tool_calls_total{tool_name=\"health_check\"} 1"),
        "{metrics}"
    );
}
