//! Those that serve HTTP.

use std::process::Stdio;

use fastmcp::prelude::*;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// Starts an example on a free port; it says where it listens.
async fn start(program: &str) -> (Child, String) {
    let mut child = Command::new(program)
        .env("PORT", "0")
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
    assert_eq!(shown("service-a-0123456789abcdef").await.unwrap(), 1);
    assert_eq!(shown("service-b-0123456789abcdef").await.unwrap(), 2);
    assert!(shown("nobody-0123456789abcdef").await.is_err());
}
