//! The process: how it starts, what it refuses to start with, how it ends.

use std::os::unix::fs::PermissionsExt as _;
use std::{fs, path::Path, process::Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::support::{Home, PATIENCE, modern, until, within};

/// A period of grace that no test sees the end of.
const GRACE: [(&str, &str); 1] = [("FASTMCP_SHUTDOWN_GRACE_SEC", "60")];
/// A statement that takes some seconds.
const SLOW: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1500000) SELECT count(*) AS n FROM c";

#[tokio::test]
async fn a_termination_finishes_what_runs_and_leaves_in_peace() {
    let home = Home::new();
    let mut gateway = home.start_with(&GRACE).await;
    let token = home.role("agent-1", "data-analyst").await;
    let call = gateway
        .invoke(&token, "database:executeQuery", &json!({"query": SLOW}))
        .header("x-correlation-id", "slow")
        .send();
    let terminate = async {
        until("the call to run", async || {
            home.audit_of("slow")
                .iter()
                .any(|r| r["phase"] == "intent")
                .then_some(())
        })
        .await;
        gateway.signal(Signal::TERM);
    };
    let (reply, ()) = futures_util::future::join(call, terminate).await;
    assert_eq!(reply.ok()["result"]["rows"], json!([{"n": 1_500_000}]));
    let status = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    let phases: Vec<_> = home
        .audit_of("slow")
        .iter()
        .map(|r| r["phase"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(phases, ["intent", "outcome"]);
    assert_eq!(home.audit().last().unwrap()["action"], "audit.closed");
    assert!(gateway.is_silent().await, "nobody listens any more");
}

#[tokio::test]
async fn an_interrupt_ends_it_as_well() {
    let home = Home::new();
    let mut gateway = home.start().await;
    gateway.signal(Signal::INT);
    let status = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
}

#[tokio::test]
async fn the_banner_says_what_a_person_needs_next() {
    let home = Home::new();
    let mut gateway = home.start().await;
    let url = format!("http://{}", gateway.address());
    gateway.signal(Signal::TERM);
    gateway.ended().await;
    let banner = gateway.banner().await;
    for needed in [
        &url,
        "token mint",
        "curl",
        "/tool-catalog",
        "/invoke",
        "/confirm",
        "/mcp",
        "Authorization",
    ] {
        assert!(banner.contains(needed), "{needed}\n{banner}");
    }
}

#[tokio::test]
async fn nothing_is_needed_to_start_and_secrets_are_its_owners_alone() {
    let home = Home::new();
    let gateway = home.start().await;
    gateway.stop().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.data()), 0o700);
    let keys = home.data().join("keys");
    assert_eq!(mode(&keys), 0o700);
    let mut secrets = 0;
    for entry in fs::read_dir(&keys).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            secrets += 1;
        }
    }
    assert!(secrets > 0);
    let jwks: Value = serde_json::from_slice(&fs::read(keys.join("jwks.json")).unwrap()).unwrap();
    assert_eq!(
        (&jwks["keys"][0]["kid"], jwks["keys"][0].get("d")),
        (&json!("dev-key"), None)
    );
    assert!(home.data().join("audit.vkey").is_file() && home.policies().is_file());
}

#[tokio::test]
async fn a_second_gateway_on_the_same_folder_is_refused() {
    let home = Home::new();
    let gateway = home.start().await;
    let second = home.run(&["serve", "--bind", "127.0.0.1:0"], &[]).await;
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("in use"), "{said}");
    assert_eq!(gateway.get("/health").await.status, 200);
}

#[tokio::test]
async fn development_keys_do_not_leave_this_machine() {
    let home = Home::new();
    for bind in ["0.0.0.0:0", "[::]:0"] {
        let output = home.run(&["serve", "--bind", bind], &[]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("development keys") && said.contains("JWT_JWKS_URL"),
            "{said}"
        );
        assert!(!String::from_utf8_lossy(&output.stdout).contains("listening on"));
    }
}

#[tokio::test]
async fn settings_that_cannot_be_kept_stop_the_start() {
    let home = Home::new();
    for (name, value) in [
        ("REQUIRE_MTLS", "true"),
        ("ENABLE_AUTH", "false"),
        ("DATABASE_URL", "postgres://ada:hunter2@localhost"),
        ("ACTION_TOKEN_BYTES", "8"),
        ("JWT_ALG", "HS256"),
        ("RATE_LIMIT_DEFAULT_RPS", "fast"),
    ] {
        let output = home
            .run(&["serve", "--bind", "127.0.0.1:0"], &[(name, value)])
            .await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains(name) && !said.contains("hunter2"),
            "{name}: {} {said}",
            output.status
        );
    }
    fs::write(home.folder().join("fastmcp.yaml"), "confirm_ttl_sek: 5\n").unwrap();
    let output = home
        .run(
            &["serve", "--bind", "127.0.0.1:0", "--config", "fastmcp.yaml"],
            &[],
        )
        .await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success()
            && said.contains("confirm_ttl_sek")
            && said.contains("confirm_ttl_sec"),
        "{said}"
    );
}

#[tokio::test]
async fn print_config_shows_every_value_its_source_and_no_secret() {
    let home = Home::new();
    fs::write(
        home.folder().join("fastmcp.yaml"),
        "confirm_ttl_sec: 77\nidempotency_ttl_sec: 78\n",
    )
    .unwrap();
    fs::write(
        home.folder().join(".env"),
        "RATE_BUCKET_BURST=79\nJWT_TTL_MIN=9\n",
    )
    .unwrap();
    let vars = [
        ("IDEMPOTENCY_TTL_SEC", "80"),
        ("RATE_LIMIT_DEFAULT_RPS", "81"),
        ("PIPEDRIVE_API_TOKEN", "hunter2-hunter2"),
    ];
    let output = home
        .run(
            &[
                "serve",
                "--print-config",
                "--config",
                "fastmcp.yaml",
                "--bind",
                "127.0.0.1:4711",
            ],
            &vars,
        )
        .await;
    let (shown, said) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{said}");
    let line = |name: &str| {
        let found = shown.lines().find(|l| l.to_lowercase().contains(name));
        found
            .unwrap_or_else(|| panic!("`{name}` is not shown:\n{shown}"))
            .to_lowercase()
    };
    for (name, value, source) in [
        ("confirm_ttl_sec", "77", "fastmcp.yaml"),
        ("idempotency_ttl_sec", "80", "environment"),
        ("rate_bucket_burst", "79", ".env"),
        ("rate_limit_default_rps", "81", "environment"),
        ("port", "4711", "flag"),
        ("jwt_issuer", "https://idp.local", "default"),
    ] {
        let line = line(name);
        assert!(line.contains(value) && line.contains(source), "{line}");
    }
    assert!(
        !shown.contains("hunter2") && !said.contains("hunter2"),
        "{shown}{said}"
    );
    assert!(!home.data().join("state.db").exists(), "nothing is started");
}

#[tokio::test]
async fn stdio_speaks_to_a_local_client() {
    let home = Home::new();
    let mut child = home
        .fastmcp(&["serve", "--stdio", "--role", "data-analyst"], &[])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = BufReader::new(stdout).lines();
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "black-box", "version": "1"}});
    let messages = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "database_listTables", "arguments": {}}}),
    ];
    let mut answers: Vec<Value> = Vec::new();
    for message in messages {
        stdin
            .write_all(format!("{message}\n").as_bytes())
            .await
            .unwrap();
        if message.get("id").is_some() {
            let line = within("an answer", lines.next_line())
                .await
                .unwrap()
                .expect("an answer");
            answers.push(serde_json::from_str(&line).expect("stdout is for the protocol alone"));
        }
    }
    assert_eq!(answers[0]["result"]["protocolVersion"], "2025-11-25");
    let names: Vec<_> = answers[1]["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"database_listTables") && !names.contains(&"ads_createCampaign"),
        "{names:?}"
    );
    assert!(
        answers[2]["result"]["structuredContent"]["tables"].is_array(),
        "{}",
        answers[2]
    );
    drop(stdin);
    let status = within("the end", child.wait()).await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(home.audit().last().unwrap()["action"], "audit.closed");
    let (passed, said) = home.verify().await;
    assert!(passed, "{said}");
}

#[tokio::test]
async fn a_termination_waits_for_nobody_who_only_holds_the_line() {
    let home = Home::new();
    let mut gateway = home.start_with(&GRACE).await;
    let token = home.role("agent-1", "data-analyst").await;
    let idle = tokio::net::TcpStream::connect(gateway.address())
        .await
        .unwrap();
    let mut half = tokio::net::TcpStream::connect(gateway.address())
        .await
        .unwrap();
    half.write_all(b"POST /tools/database:listTables/invoke HTTP/1.1\r\nHost: local")
        .await
        .unwrap();
    let listen = modern(
        "subscriptions/listen",
        json!({"notifications": {"toolsListChanged": true}}),
        &json!({}),
    );
    let mut events = gateway.modern(&token, &listen).open().await;
    events.next().await.unwrap();
    gateway.signal(Signal::TERM);
    let closed = events.next().await.unwrap();
    assert_eq!(
        closed["result"]["resultType"], "complete",
        "the stream ends with its result: {closed}"
    );
    // Nobody waits here for as long as the period of grace is.
    const { assert!(PATIENCE.as_secs() < 60) };
    let status = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    drop((idle, half));
}
