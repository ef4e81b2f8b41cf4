//! Several servers as one: a process, addresses, one in this process, and some that are not there.

use std::time::Duration;

use fastmcp::{
    ToolBuilder,
    client::{ClientGroup, McpConfig},
    error::ErrorKind,
    prelude::*,
    protocol::ProtocolVersion,
    transport::http::HttpConfig,
};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::task::TaskTracker;

use super::child::demo;

/// Adds.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Fails.
#[tool]
async fn fails() -> Result<String> {
    Err(ToolError::new("on purpose").into())
}

/// A tool that says which server it is of.
fn says(tool: &'static str, server: &'static str) -> ToolBuilder {
    ToolBuilder::new(tool, move |(): (), _: Context| async move { server })
}

fn server(name: &'static str) -> Server {
    let server = FastMcp::new(name).tool(add).tool(fails);
    server.tool(says("whoami", name)).build().unwrap()
}

/// Serves on a port of its own until the server is told to shut down.
async fn address(server: &Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    serve(server, listener);
    url
}

fn serve(server: &Server, listener: TcpListener) {
    let serving = server.clone();
    TaskTracker::new().spawn(async move {
        serving
            .serve_http(listener, HttpConfig::default())
            .await
            .unwrap();
    });
}

fn config(servers: &Value) -> McpConfig {
    McpConfig::from_value(json!({"mcpServers": servers})).unwrap()
}

/// A port that nobody listens on, nor anybody else gets.
fn nobody() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/mcp", socket.local_addr().unwrap());
    (socket, url)
}

#[tokio::test]
async fn servers_of_all_kinds_are_one_and_dead_ones_take_nobody_down() {
    let remote = server("remote");
    let url = address(&remote).await;
    let (_closed, dead) = nobody();
    let config = config(&json!({
        "dead": {"url": dead},
        "gone": {"command": "/nowhere/at/all"},
        "process": {"command": demo().program.to_str().unwrap(), "args": [], "env": {"A": "b"}},
        "remote": {"url": url, "transport": "http", "headers": {"X-Key": "k"}, "timeout": 30_000},
    }));
    let here = server("here");
    let local = Client::builder().revision(ProtocolVersion::V2025_11_25);
    let local = local.connect_server(&here).await.unwrap();
    let group = ClientGroup::connect(&config).await;
    let group = group.with("here", local).unwrap();

    let names: Vec<_> = group.names().collect();
    assert_eq!(names, ["dead", "gone", "process", "remote", "here"]);
    let failures: Vec<_> = group.failures().collect();
    let failed: Vec<_> = failures.iter().map(|(name, _)| *name).collect();
    assert_eq!(failed, ["dead", "gone"]);
    for (name, why) in failures {
        let begins = format!("server `{name}`: ");
        assert!(why.message().starts_with(&begins), "{why}");
    }
    let versions: Vec<_> = group.protocol_versions().collect();
    let (new, old) = (ProtocolVersion::V2026_07_28, ProtocolVersion::V2025_11_25);
    assert_eq!(
        versions,
        [("process", new), ("remote", new), ("here", old)],
        "each its own"
    );

    let found = group.list_tools().await;
    let mut tools: Vec<_> = found.tools.iter().map(|tool| tool.name.as_str()).collect();
    tools.retain(|name| !name.starts_with("process_") || *name == "process_add");
    assert_eq!(
        tools,
        [
            "process_add",
            "remote_add",
            "remote_fails",
            "remote_whoami",
            "here_add",
            "here_fails",
            "here_whoami"
        ]
    );
    let failed: Vec<_> = found.failures.iter().map(|f| f.server.as_str()).collect();
    assert_eq!(failed, ["dead", "gone"]);

    for name in ["process", "remote", "here"] {
        let tool = format!("{name}_add");
        let sum = group.call_tool(&tool, json!({"a": 2, "b": 3})).await;
        assert_eq!(sum.unwrap().data::<i64>().unwrap(), 5, "{name}");
    }
    let who = group.call_tool("remote_whoami", json!({})).await.unwrap();
    assert_eq!(who.data::<String>().unwrap(), "remote");
    let failed = group.call_tool("here_fails", json!({})).await.unwrap_err();
    assert_eq!(failed.message(), "on purpose");
    let away = group.call_tool("dead_add", json!({})).await.unwrap_err();
    assert!(away.message().starts_with("server `dead`: "), "{away}");
    for unknown in ["add", "nobody_add", "here_", "here", ""] {
        let error = group.call_tool(unknown, json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{unknown}: {error}");
        assert!(error.message().contains("dead, gone, process"), "{error}");
    }
    assert!(group.client("remote").unwrap().ping().await.is_ok());
    assert!(group.client("dead").is_err() && group.client("none").is_err());
    group.close().await;
    remote.shutdown().cancel();
}

#[tokio::test]
async fn a_server_that_comes_back_is_connected_to_again() {
    let (closed, url) = nobody();
    let config = config(&json!({"late": {"url": url}}));
    let mut group = ClientGroup::connect(&config).await;
    assert_eq!(group.failures().count(), 1);
    let server = server("late");
    serve(&server, closed.listen(128).unwrap());
    let connected = tokio::time::timeout(Duration::from_secs(30), group.reconnect());
    assert_eq!(connected.await.unwrap(), 1);
    assert_eq!(group.failures().count(), 0);
    let who = group.call_tool("late_whoami", json!({})).await.unwrap();
    assert_eq!(who.data::<String>().unwrap(), "late");
    assert_eq!(group.reconnect().await, 0, "who is there is left alone");
    server.shutdown().cancel();
}

#[tokio::test]
async fn names_that_could_be_two_tools_are_one() {
    let [short, long] = [
        FastMcp::new("short").tool(add),
        FastMcp::new("long").tool(add),
    ];
    // `b_c` of `a`, and `c` of `a_b`.
    let short = short
        .tool(says("b_c", "short"))
        .tool(says("b_only", "short"));
    let long = long.tool(says("c", "long"));
    let [short, long] = [short.build().unwrap(), long.build().unwrap()];
    let group = ClientGroup::new()
        .with("a", Client::connect(&short).await.unwrap())
        .unwrap()
        .with("a_b", Client::connect(&long).await.unwrap())
        .unwrap();
    let found = group.list_tools().await;
    let tools: Vec<_> = found.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(tools, ["a_add", "a_b_only", "a_b_add", "a_b_c"]);
    let whose = async |tool: &str| {
        let said = group.call_tool(tool, json!({})).await.unwrap();
        said.data::<String>().unwrap()
    };
    assert_eq!(whose("a_b_c").await, "long");
    assert_eq!(whose("a_b_only").await, "short");
    let (_, tool) = group.resolve_tool("a_b_add").await.unwrap();
    assert_eq!(tool, "add");
    let twice = group.with("a", Client::connect(&short).await.unwrap());
    assert!(twice.unwrap_err().message().contains("there already"));
}
