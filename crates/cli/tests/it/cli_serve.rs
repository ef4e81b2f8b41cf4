//! `serve` as a process: signals, refusals and log lines.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Home, until};

/// A statement that takes some seconds.
const SLOW: &str = r#"{"query": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50000000) SELECT count(*) FROM c"}"#;

#[tokio::test]
async fn a_second_interrupt_ends_it_at_once() {
    let home = Home::new();
    let mut gateway = home.start().await;
    let token = home.role("agent-1", "data-analyst").await;
    let mut call = tokio::net::TcpStream::connect(gateway.address())
        .await
        .unwrap();
    let request = format!(
        "POST /tools/database:executeQuery/invoke HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         X-Correlation-Id: slow\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{SLOW}",
        SLOW.len()
    );
    call.write_all(request.as_bytes()).await.unwrap();
    until("the call to run", async || {
        (!home.audit_of("slow").is_empty()).then_some(())
    })
    .await;
    gateway.signal(Signal::INT);
    until("the shutdown to begin", async || {
        gateway.stderr().contains("shutting down").then_some(())
    })
    .await;
    gateway.signal(Signal::INT);
    assert_eq!(gateway.ended().await.code(), Some(130));
    let (passed, said) = home.verify().await;
    assert!(passed, "what was recorded stays whole: {said}");
}

#[tokio::test]
async fn an_address_in_use_is_refused_with_the_fix_and_the_log_is_closed() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap().to_string();
    let output = home.run(&["serve", "--bind", &bind], &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains(&format!(
            "cannot listen at {bind}; name another address with --bind"
        )),
        "{said}"
    );
    assert!(output.stdout.is_empty());
    assert_eq!(home.audit().last().unwrap()["action"], "audit.closed");
}

#[tokio::test]
async fn log_lines_are_json_where_that_is_asked_for() {
    let home = Home::new();
    let gateway = home
        .start_with(&[("LOG_FORMAT", "json"), ("CACHE_TTL", "60")])
        .await;
    gateway.get("/health").await.ok();
    let lines = gateway.stderr();
    gateway.stop().await;
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said = |level: &str, text: &str| {
        lines
            .iter()
            .any(|line| line["level"] == level && line["message"].as_str().unwrap().contains(text))
    };
    assert!(
        said("WARN", "`CACHE_TTL` (environment) has no effect"),
        "{lines:?}"
    );
    assert!(said("INFO", "listening"), "{lines:?}");
}

#[tokio::test]
async fn settings_are_printed_for_scripts_too() {
    let home = Home::new();
    let vars = [("AUTH_SECRET", "hunter2")];
    let output = home
        .run(&["serve", "--print-config", "--json"], &vars)
        .await;
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let settings = shown["settings"].as_array().unwrap();
    let of = |name: &str| {
        settings
            .iter()
            .find(|setting| setting["name"] == name)
            .unwrap()
    };
    assert_eq!(of("AUTH_SECRET")["value"], "[redacted]");
    assert_eq!(of("FASTMCP_DATA_DIR")["source"], "flag --data-dir");
    assert!(
        shown["warnings"][0]
            .as_str()
            .unwrap()
            .contains("AUTH_SECRET"),
        "{shown}"
    );
    assert!(!home.data().exists(), "printing leaves the disk as it is");
}
