//! Extensions: skills and MCP Apps.

use fastmcp::{
    Skill,
    auth::{Caller, testing},
    prelude::*,
    protocol::app::{Csp, ResourceUi, ToolUi},
    transport::{Reply, Step, memory::Memory},
};
use serde_json::Value;

use crate::eras::{modern, send};

fn skills() -> Server {
    let plain = |name: &str| {
        Skill::new(format!(
            "---\nname: {name}\ndescription: About {name}.\n---\n# {name}\n"
        ))
        .unwrap()
    };
    let refunds = plain("refunds")
        .file("forms/a.md", "a")
        .unwrap()
        .file("forms/more/b.md", "b")
        .unwrap()
        .file("logo.png", vec![0x89, 0xff])
        .unwrap();
    let secret = plain("secret")
        .within("staff")
        .unwrap()
        .require_scope("staff");
    FastMcp::new("skills")
        .skill(refunds)
        .skill(plain("vat").within("eu").unwrap())
        .skill(secret)
        .list_page_size(2)
        .build()
        .unwrap()
}

fn as_caller(server: &Server, scopes: &[&str]) -> Memory<fastmcp::server::Engine> {
    let caller: Caller = testing::caller("ada")
        .scopes(scopes.iter().copied())
        .build();
    Memory::connect(server.door().clone(), caller)
}

async fn ask(memory: &Memory<fastmcp::server::Engine>, method: &str, params: Value) -> Value {
    send(memory, modern(method, params, &json!({}))).await.1
}

fn uris(list: &Value) -> Vec<&str> {
    let entries = list.as_array().unwrap();
    entries.iter().map(|e| e["uri"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn skills_are_listed_described_and_read_by_who_may_see_them() {
    let server = skills();
    let staff = as_caller(&server, &["staff"]);
    let discovered = ask(&staff, "server/discover", json!({})).await;
    assert_eq!(
        discovered["result"]["capabilities"]["extensions"],
        json!({"io.modelcontextprotocol/skills": {"directoryRead": true}})
    );
    let first = ask(&staff, "skills/list", json!({})).await;
    let result = &first["result"];
    assert_eq!(
        uris(&result["skills"]),
        ["skill://refunds/SKILL.md", "skill://eu/vat/SKILL.md"]
    );
    assert_eq!(
        (
            &result["ttlMs"],
            &result["cacheScope"],
            &result["resultType"]
        ),
        (&json!(0), &json!("private"), &json!("complete"))
    );
    let next = json!({"cursor": result["nextCursor"]});
    let second = ask(&staff, "skills/list", next.clone()).await;
    assert_eq!(
        uris(&second["result"]["skills"]),
        ["skill://staff/secret/SKILL.md"]
    );
    assert!(second["result"]["nextCursor"].is_null());

    let outsider = as_caller(&server, &[]);
    let all = ask(&outsider, "skills/list", json!({})).await;
    assert_eq!(all["result"]["skills"].as_array().unwrap().len(), 2);
    assert!(all["result"]["nextCursor"].is_null());
    let beyond = ask(&outsider, "skills/list", next).await;
    assert_eq!(beyond["error"]["code"], -32602);
    let secret = json!({"uri": "skill://staff/secret/SKILL.md"});
    for method in ["skills/get", "resources/read"] {
        assert!(ask(&staff, method, secret.clone()).await["error"].is_null());
        assert!(ask(&outsider, method, secret.clone()).await["result"].is_null());
    }
    let folder = json!({"uri": "skill://staff"});
    assert_eq!(
        ask(&outsider, "resources/directory/read", folder).await["error"]["code"],
        -32602
    );
}

#[tokio::test]
async fn files_of_skills_are_read_though_lists_do_not_show_them() {
    let memory = as_caller(&skills(), &[]);
    let got = ask(
        &memory,
        "skills/get",
        json!({"uri": "skill://refunds/SKILL.md"}),
    )
    .await;
    let files = got["result"]["skill"]["resources"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(files.len(), 4);
    for file in files {
        let read = ask(&memory, "resources/read", json!({"uri": file["uri"]})).await;
        let contents = &read["result"]["contents"][0];
        let bytes = contents["text"].as_str().map_or(2, str::len);
        assert_eq!(file["size"], bytes, "{contents}");
    }
    let listed = ask(&memory, "resources/list", json!({})).await;
    assert_eq!(
        uris(&listed["result"]["resources"]),
        ["skill://refunds/SKILL.md", "skill://eu/vat/SKILL.md"]
    );
    for (method, uri) in [
        ("skills/get", "skill://refunds/forms/a.md"),
        ("skills/get", "skill://nowhere/SKILL.md"),
        ("resources/directory/read", "skill://refunds/SKILL.md"),
        ("resources/directory/read", "skill://"),
        ("resources/directory/read", "skill://refund"),
        ("resources/directory/read", ""),
    ] {
        let refused = ask(&memory, method, json!({"uri": uri})).await;
        assert_eq!(refused["error"]["code"], -32602, "{method} {uri}");
        assert_eq!(refused["error"]["data"]["uri"], uri);
    }
    let folder = ask(
        &memory,
        "resources/directory/read",
        json!({"uri": "skill://refunds/"}),
    )
    .await;
    let result = &folder["result"];
    assert_eq!(
        uris(&result["resources"]),
        ["skill://refunds/SKILL.md", "skill://refunds/forms"]
    );
    assert_eq!(result["resources"][1]["mimeType"], "inode/directory");
    let next = json!({"uri": "skill://refunds", "cursor": result["nextCursor"]});
    let folder = ask(&memory, "resources/directory/read", next).await;
    assert_eq!(
        uris(&folder["result"]["resources"]),
        ["skill://refunds/logo.png"]
    );
}

#[tokio::test]
async fn older_clients_have_skills_too() {
    let memory = skills().memory();
    let request = |id: i64, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let (_, hello) = send(&memory, request(1, "initialize", hello)).await;
    assert_eq!(
        hello["result"]["capabilities"]["extensions"]["io.modelcontextprotocol/skills"],
        json!({"directoryRead": true})
    );
    let (_, list) = send(&memory, request(2, "skills/list", json!({}))).await;
    assert_eq!(list["result"]["skills"].as_array().unwrap().len(), 2);
    assert!(list["result"].get("ttlMs").is_none());
    let none = FastMcp::new("none").build().unwrap().memory();
    let (_, refused) = send(&none, request(1, "skills/list", json!({}))).await;
    assert_eq!(refused["error"]["code"], -32601);
}

/// Shows a chart.
#[tool]
async fn chart() -> &'static str {
    "up"
}

/// For the chart alone.
#[tool]
async fn refresh() -> &'static str {
    "still up"
}

#[resource("ui://chart", name = "Chart", inline)]
fn document() -> &'static str {
    "<p>up</p>"
}

fn apps() -> FastMcp {
    use fastmcp::{IntoResource, IntoTool};
    let ui = ResourceUi {
        csp: Some(Csp {
            resource_domains: vec!["https://cdn.example".to_owned()],
            ..Csp::default()
        }),
        ..ResourceUi::default()
    };
    FastMcp::new("apps")
        .tool(chart.into_tool().ui(ToolUi::new("ui://chart")))
        .tool(refresh.into_tool().ui(ToolUi::app_only()))
        .resource(document.into_resource().ui(ui))
}

fn names(reply: &Value) -> Vec<&str> {
    let tools = reply["result"]["tools"].as_array().unwrap();
    tools.iter().map(|t| t["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn tools_name_their_documents_and_documents_their_sandbox() {
    let memory = apps().build().unwrap().memory();
    let shows = json!({"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}});
    let (_, discovered) = send(&memory, modern("server/discover", json!({}), &shows)).await;
    assert_eq!(
        discovered["result"]["capabilities"]["extensions"],
        json!({"io.modelcontextprotocol/ui": {}})
    );
    let list = |capabilities: Value| modern("tools/list", json!({}), &capabilities);
    let (_, plain) = send(&memory, list(json!({}))).await;
    assert_eq!(names(&plain), ["chart"], "a model would see the other");
    assert_eq!(
        plain["result"]["tools"][0]["_meta"]["ui"],
        json!({"resourceUri": "ui://chart"})
    );
    let (_, full) = send(&memory, list(shows)).await;
    assert_eq!(names(&full), ["chart", "refresh"]);
    let call = modern("tools/call", json!({"name": "refresh"}), &json!({}));
    assert!(send(&memory, call).await.1["error"].is_null());

    let read = modern("resources/read", json!({"uri": "ui://chart"}), &json!({}));
    let contents = send(&memory, read).await.1["result"]["contents"][0].clone();
    assert_eq!(contents["mimeType"], "text/html;profile=mcp-app");
    assert_eq!(
        contents["_meta"]["ui"],
        json!({"csp": {"resourceDomains": ["https://cdn.example"]}})
    );
    let list = modern("resources/list", json!({}), &json!({}));
    let listed = send(&memory, list).await.1["result"]["resources"][0].clone();
    assert_eq!(listed["_meta"]["ui"], contents["_meta"]["ui"]);
}

#[tokio::test]
async fn a_session_that_shows_documents_sees_their_tools() {
    for (extensions, expected) in [
        (json!({}), vec!["chart"]),
        (
            json!({"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}),
            vec!["chart", "refresh"],
        ),
    ] {
        let memory = apps().build().unwrap().memory();
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {"extensions": extensions}, "clientInfo": {"name": "t", "version": "1"}}});
        let mut begun = memory.send(&hello.to_string().into());
        assert!(matches!(
            begun.next().await,
            Step::Done(Reply::Message { .. })
        ));
        let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
        assert_eq!(names(&send(&memory, list).await.1), expected);
    }
}

#[test]
fn what_does_not_belong_is_refused_when_the_server_is_built() {
    use fastmcp::{IntoResource, IntoTool, protocol::content::Icon};
    #[resource("data://chart", name = "Chart", inline)]
    fn elsewhere() -> &'static str {
        ""
    }
    let refused = |server: FastMcp| server.build().unwrap_err().message().to_owned();
    let named = chart.into_tool().ui(ToolUi::new("https://chart"));
    assert!(refused(FastMcp::new("x").tool(named)).contains("must begin with `ui://`"));
    let document = elsewhere.into_resource().ui(ResourceUi::default());
    assert!(refused(FastMcp::new("x").resource(document)).contains("must begin with `ui://`"));
    let icon = || Icon::new("http://icons.example/i.png");
    assert!(refused(FastMcp::new("x").icon(icon())).contains("https:"));
    assert!(
        refused(FastMcp::new("x").tool(chart.into_tool().icon(icon()))).contains("tool `chart`")
    );
}
