//! What one session shows and hides.

use std::sync::{Arc, Mutex};

use fastmcp::{
    client::Change,
    prelude::*,
    protocol::{
        ProtocolVersion,
        completion::{CompleteResult, Reference},
    },
    registry::{Filter, Kind},
    transform::ToolSearch,
    transport::http::HttpConfig,
};
use serde_json::Value;

use crate::{
    eras::{modern, send},
    http::Running,
};

/// Shows what has a tag.
#[tool]
async fn show(ctx: Context, tag: String) -> Result<()> {
    ctx.enable_components(Filter::new().tag(tag)).await
}

/// Hides what has a name.
#[tool]
async fn hide(ctx: Context, name: String) -> Result<()> {
    ctx.disable_components(Filter::new().name(name)).await
}

/// Shows and hides what the server does.
#[tool]
async fn reset(ctx: Context) -> Result<()> {
    ctx.reset_visibility().await
}

/// Names the tools that a handler sees.
#[tool]
async fn seen(ctx: Context) -> Result<Vec<String>> {
    let tools = ctx.list_tools().await?;
    Ok(tools.into_iter().map(|tool| tool.name).collect())
}

/// Calls a tool as a handler.
#[tool]
async fn through(ctx: Context, name: String) -> Result<String> {
    let called = ctx.call_tool(&name, json!({})).await?;
    Ok(json!(called)["content"][0]["text"].to_string())
}

#[tool]
async fn plain() -> &'static str {
    "plain"
}

#[tool(tags("admin"))]
async fn wipe() -> &'static str {
    "wiped"
}

#[tool(tags("admin"), scopes("root"))]
async fn format() -> &'static str {
    "formatted"
}

#[resource("data://open")]
async fn open() -> &'static str {
    "open"
}

#[resource("data://{id}/secret", tags("admin"))]
async fn secret(id: String) -> String {
    format!("secret of {id}")
}

async fn topics(_: String, _: Context) -> Vec<String> {
    vec!["weather".to_owned()]
}

#[prompt]
async fn report(#[arg(complete = topics)] topic: String) -> String {
    topic
}

fn builder() -> FastMcp {
    FastMcp::new("visible")
        .tool(show)
        .tool(hide)
        .tool(reset)
        .tool(seen)
        .tool(through)
        .tool(plain)
        .tool(wipe)
        .tool(format)
        .resource(open)
        .resource(secret)
        .prompt(report)
        .exclude_tags(["admin"])
}

/// A client of the last revision with sessions, and what it is told of.
async fn client(server: &Server) -> (Client, Arc<Mutex<Vec<Change>>>) {
    let heard: Arc<Mutex<Vec<Change>>> = Arc::default();
    let hears = Arc::clone(&heard);
    let client = Client::builder()
        .revision(ProtocolVersion::LATEST_LEGACY)
        .on_change(move |change| hears.lock().unwrap().push(change.clone()));
    (client.connect_server(server).await.unwrap(), heard)
}

fn take(heard: &Mutex<Vec<Change>>) -> Vec<Change> {
    std::mem::take(&mut *heard.lock().unwrap())
}

async fn tools(client: &Client) -> Vec<String> {
    let tools = client.list_tools().await.unwrap();
    tools.into_iter().map(|tool| tool.name).collect()
}

async fn call(client: &Client, tool: &str, args: Value) -> std::result::Result<String, String> {
    let called = client.call_tool(tool, args).await;
    match called {
        Ok(result) if !result.is_error() => Ok(result.text().to_owned()),
        Ok(result) => Err(result.text().to_owned()),
        Err(error) => Err(error.message().to_owned()),
    }
}

const OWN: [&str; 6] = ["show", "hide", "reset", "seen", "through", "plain"];

#[tokio::test]
async fn a_session_is_shown_what_it_enables_and_no_other_is() {
    // Whoever calls locally has every scope.
    let server = builder().build().unwrap();
    let (ada, heard) = client(&server).await;
    let (bob, others) = client(&server).await;
    assert_eq!(tools(&ada).await, OWN);
    assert!(call(&ada, "wipe", json!({})).await.is_err(), "hidden");
    call(&ada, "show", json!({"tag": "admin"})).await.unwrap();
    assert_eq!(take(&heard), [Change::Tools, Change::Resources]);
    let all = [&OWN[..], &["wipe", "format"]].concat();
    assert_eq!(tools(&ada).await, all);
    assert_eq!(call(&ada, "wipe", json!({})).await.unwrap(), "wiped");
    assert_eq!(ada.list_resource_templates().await.unwrap().len(), 1);
    let read = ada.read_resource("data://7/secret").await.unwrap();
    assert!(
        serde_json::to_string(&read)
            .unwrap()
            .contains("secret of 7")
    );
    let seen = call(&ada, "seen", json!({})).await.unwrap();
    assert!(seen.contains("wipe"), "{seen}");
    let through = call(&ada, "through", json!({"name": "wipe"})).await;
    assert_eq!(through.unwrap(), "\"wiped\"");

    assert_eq!(tools(&bob).await, OWN);
    assert!(call(&bob, "wipe", json!({})).await.is_err());
    assert!(
        call(&bob, "through", json!({"name": "wipe"}))
            .await
            .is_err()
    );
    assert!(bob.read_resource("data://7/secret").await.is_err());
    assert!(bob.list_resource_templates().await.unwrap().is_empty());
    assert_eq!(take(&others), []);

    // The same again changes nothing, and nobody is told.
    call(&ada, "show", json!({"tag": "admin"})).await.unwrap();
    assert_eq!(take(&heard), []);
    call(&ada, "reset", json!({})).await.unwrap();
    assert_eq!(take(&heard), [Change::Tools, Change::Resources]);
    assert_eq!(tools(&ada).await, OWN);
}

#[tokio::test]
async fn what_a_session_disables_is_unknown_in_it() {
    let server = builder().build().unwrap();
    let (ada, heard) = client(&server).await;
    let (bob, _) = client(&server).await;
    for name in ["plain", "data://open", "report"] {
        call(&ada, "hide", json!({"name": name})).await.unwrap();
    }
    let wanted = [Change::Tools, Change::Resources, Change::Prompts];
    assert_eq!(take(&heard), wanted);
    assert!(!tools(&ada).await.contains(&"plain".to_owned()));
    let unknown = call(&ada, "plain", json!({})).await.unwrap_err();
    assert!(unknown.contains("unknown tool `plain`"), "{unknown}");
    assert!(ada.list_resources().await.unwrap().is_empty());
    assert!(ada.read_resource("data://open").await.is_err());
    assert!(ada.list_prompts().await.unwrap().is_empty());
    assert!(
        ada.get_prompt("report", json!({"topic": "x"}))
            .await
            .is_err()
    );
    let prompt = || Reference::Prompt {
        name: "report".into(),
    };
    assert!(ada.complete(prompt(), "topic", "w", None).await.is_err());
    let completed = bob.complete(prompt(), "topic", "w", None).await.unwrap();
    assert_eq!(completed.values, ["weather"]);
    assert_eq!(call(&bob, "plain", json!({})).await.unwrap(), "plain");
    // What the server does later reaches every session, unless it said otherwise.
    server.disable(Filter::new().name("through")).unwrap();
    server.enable(Filter::new().name("plain")).unwrap();
    assert!(!tools(&ada).await.contains(&"through".to_owned()));
    assert!(!tools(&ada).await.contains(&"plain".to_owned()));
    assert!(tools(&bob).await.contains(&"plain".to_owned()));
}

#[tokio::test]
async fn a_session_is_shown_nothing_that_checks_hide() {
    let server = builder()
        .tool(
            fastmcp::ToolBuilder::new("owned", |(): (), _: Context| async { "owned" })
                .tag("admin")
                .auth(|_, _| fastmcp::component::Decision::Hide),
        )
        .build()
        .unwrap();
    let (ada, _) = client(&server).await;
    call(&ada, "show", json!({"tag": "admin"})).await.unwrap();
    let shown = tools(&ada).await;
    assert!(shown.contains(&"wipe".to_owned()) && !shown.contains(&"owned".to_owned()));
    assert!(call(&ada, "owned", json!({})).await.is_err());
}

#[tokio::test]
async fn the_rules_of_a_session_are_bounded() {
    let server = builder().build().unwrap();
    let (ada, _) = client(&server).await;
    for number in 0..64 {
        let name = format!("none{number}");
        call(&ada, "hide", json!({"name": name})).await.unwrap();
    }
    let refused = call(&ada, "hide", json!({"name": "plain"})).await;
    let refused = refused.unwrap_err();
    assert!(refused.contains("at most 64 rules"), "{refused}");
    assert!(tools(&ada).await.contains(&"plain".to_owned()));
}

#[tokio::test]
async fn names_are_those_of_the_server_that_was_called() {
    let child = builder().build().unwrap();
    let server = FastMcp::new("main")
        .mount(&child, "in")
        .tool(wipe)
        .exclude_tags(["admin"])
        .build()
        .unwrap();
    let (ada, heard) = client(&server).await;
    call(&ada, "in_show", json!({"tag": "admin"}))
        .await
        .unwrap();
    assert_eq!(take(&heard), [Change::Tools]);
    let shown = tools(&ada).await;
    assert!(shown.contains(&"wipe".to_owned()), "{shown:?}");
    let still_hidden = "in_wipe".to_owned();
    assert!(!shown.contains(&still_hidden), "its own server hides it");
    call(&ada, "in_hide", json!({"name": "in_plain"}))
        .await
        .unwrap();
    assert!(call(&ada, "in_plain", json!({})).await.is_err());
    // Within the child nothing is hidden by names of its parent.
    let through = call(&ada, "in_through", json!({"name": "plain"})).await;
    assert_eq!(through.unwrap(), "\"plain\"");
}

#[tokio::test]
async fn what_is_searched_goes_by_the_session_too() {
    let server = builder()
        .transform(ToolSearch::bm25().always_visible(["show", "hide"]))
        .build()
        .unwrap();
    let (ada, _) = client(&server).await;
    let found = async |query: &str| {
        let args = json!({"query": query});
        call(&ada, "search_tools", args).await.unwrap()
    };
    assert!(!found("wipe").await.contains("\"wipe\""));
    call(&ada, "show", json!({"tag": "admin"})).await.unwrap();
    assert!(found("wipe").await.contains("\"wipe\""));
    call(&ada, "hide", json!({"name": "plain"})).await.unwrap();
    assert!(!found("plain").await.contains("\"plain\""));
    let called = json!({"name": "plain", "arguments": {}});
    assert!(call(&ada, "call_tool", called).await.is_err());
}

#[tokio::test]
async fn over_http_the_session_that_changed_is_told_on_the_stream_of_its_call() {
    let running = Running::start(builder().build().unwrap(), HttpConfig::default()).await;
    const POST: &str = "POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream";
    let hello = r#"{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}"#;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let (_, opened) = running.send(POST, hello).await;
        let id = opened
            .lines()
            .find_map(|l| l.strip_prefix("mcp-session-id: "));
        sessions.push(id.unwrap().to_owned());
    }
    let ask = async |session: &str, method: &str, params: Value| {
        let head =
            format!("{POST}\r\nMCP-Protocol-Version: 2025-11-25\r\nMCP-Session-Id: {session}");
        let body = json!({"jsonrpc": "2.0", "id": 2, "method": method, "params": params});
        running.send(&head, &body.to_string()).await.1
    };
    let params = json!({"name": "show", "arguments": {"tag": "admin"}});
    let answer = ask(&sessions[0], "tools/call", params).await;
    assert!(
        answer.contains("notifications/tools/list_changed"),
        "{answer}"
    );
    let list = ask(&sessions[0], "tools/list", json!({})).await;
    assert!(list.contains("\"wipe\""), "{list}");
    let list = ask(&sessions[1], "tools/list", json!({})).await;
    assert!(
        !list.contains("\"wipe\"") && !list.contains("list_changed"),
        "{list}"
    );
}

#[tokio::test]
async fn since_2026_07_28_there_is_no_session_to_change() {
    let server = builder().build().unwrap();
    // Not even where one connection carries everything.
    let memory = server.memory();
    let call = |name: &str, arguments: Value| {
        let params = json!({"name": name, "arguments": arguments});
        modern("tools/call", params, &json!({}))
    };
    let calls = [
        call("show", json!({"tag": "admin"})),
        call("hide", json!({"name": "plain"})),
        call("reset", json!({})),
    ];
    for message in calls {
        let (frames, answer) = send(&memory, message).await;
        assert!(frames.is_empty());
        assert_eq!(answer["result"]["isError"], true);
        let why = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(why.contains("every request stands alone"), "{why}");
    }
    let (_, plain) = send(&memory, call("plain", json!({}))).await;
    assert_eq!(plain["result"]["content"][0]["text"], "plain");
    let completes = modern(
        "completion/complete",
        json!({"ref": {"type": "ref/prompt", "name": "report"}, "argument": {"name": "topic", "value": "w"}}),
        &json!({}),
    );
    let (_, completed) = send(&memory, completes).await;
    let completed: CompleteResult = serde_json::from_value(completed["result"].clone()).unwrap();
    assert_eq!(completed.completion.values, ["weather"]);
}

#[tokio::test]
async fn a_server_that_hides_all_of_a_kind_has_an_empty_list_of_it() {
    let server = FastMcp::new("x").tool(wipe).exclude_tags(["admin"]);
    let server = server.build().unwrap();
    assert!(!server.registry().snapshot().has(Kind::Tool));
    assert_eq!(server.registry().snapshot().all().count(), 0);
    let client = Client::connect(&server).await.unwrap();
    assert!(client.list_tools().await.unwrap().is_empty());
    let copied = FastMcp::new("y")
        .import_server(&server, None)
        .build()
        .unwrap();
    assert_eq!(copied.registry().snapshot().all().count(), 0);
}
