//! Both eras at one door, message by message.

use std::sync::Arc;

use fastmcp::{
    prelude::*,
    transport::{Door, Reply, Step, memory::Memory},
};
use serde_json::Value;

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

#[tool]
async fn visit(ctx: Context) -> Result<String> {
    let city: City = ctx.elicit("city", "Which city?").await?;
    Ok(city.name)
}

/// Adds.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn server() -> Server {
    FastMcp::new("eras").tool(add).tool(visit).build().unwrap()
}

pub(crate) async fn send<D: Door>(memory: &Memory<D>, message: Value) -> (Vec<Value>, Value) {
    let mut exchange = memory.send(&message.to_string().into());
    let mut frames = Vec::new();
    loop {
        match exchange.next().await {
            Step::Frame(frame) => frames.push(serde_json::from_str(&frame.data).unwrap()),
            Step::Done(Reply::Message { body, .. }) => {
                return (frames, serde_json::from_str(&body).unwrap());
            }
            Step::Done(other) => return (frames, json!(format!("{other:?}"))),
        }
    }
}

pub(crate) fn modern(method: &str, mut params: Value, capabilities: &Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

#[tokio::test]
async fn a_modern_result_carries_what_the_era_demands() {
    let memory = server().memory();
    let (_, reply) = send(
        &memory,
        modern(
            "tools/call",
            json!({"name": "add", "arguments": {"a": 1, "b": 2}}),
            &json!({}),
        ),
    )
    .await;
    assert_eq!(
        reply["result"],
        json!({
            "resultType": "complete",
            "_meta": {"fastmcp": {"wrap_result": true}, "io.modelcontextprotocol/serverInfo": {"name": "eras", "version": "0.1.0"}},
            "content": [{"type": "text", "text": "3"}],
            "structuredContent": {"result": 3},
        })
    );
    let (_, list) = send(&memory, modern("tools/list", json!({}), &json!({}))).await;
    assert_eq!(list["result"]["ttlMs"], 0);
    assert_eq!(list["result"]["cacheScope"], "private");
    let (_, unknown) = send(&memory, modern("ping", json!({}), &json!({}))).await;
    assert_eq!(unknown["error"]["code"], -32601);
    let (_, initialize) = send(&memory, modern("initialize", json!({}), &json!({}))).await;
    assert_eq!(initialize["error"]["code"], -32601);
}

#[tokio::test]
async fn a_modern_question_is_answered_by_calling_again() {
    let memory = server().memory();
    let call = |extra: Value| {
        let mut params = json!({"name": "visit", "arguments": {}});
        params
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        modern("tools/call", params, &json!({"elicitation": {}}))
    };
    let (_, asked) = send(&memory, call(json!({}))).await;
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required");
    assert_eq!(
        result["inputRequests"]["city"]["method"],
        "elicitation/create"
    );
    assert!(result.get("_meta").is_none() || result["ttlMs"].is_null());
    let state = result["requestState"].as_str().unwrap().to_owned();
    let answers = json!({"city": {"action": "accept", "content": {"name": "Rome"}}});

    let (_, done) = send(
        &memory,
        call(json!({"inputResponses": answers, "requestState": state})),
    )
    .await;
    assert_eq!(done["result"]["structuredContent"]["result"], "Rome");
    let (_, tampered) = send(
        &memory,
        call(json!({"inputResponses": answers, "requestState": format!("{state}x")})),
    )
    .await;
    assert_eq!(tampered["error"]["code"], -32602);
    let (_, stateless) = send(&memory, call(json!({"inputResponses": answers}))).await;
    assert_eq!(stateless["result"]["structuredContent"]["result"], "Rome");
    let (_, wrong_key) = send(
        &memory,
        call(json!({"inputResponses": {"town": {"action": "accept"}}, "requestState": state})),
    )
    .await;
    assert_eq!(wrong_key["result"]["resultType"], "input_required");
    let (_, ill_typed) = send(&memory, call(json!({"inputResponses": {"city": null}}))).await;
    assert_eq!(ill_typed["error"]["code"], -32602);

    let other = modern(
        "tools/call",
        json!({"name": "add", "arguments": {"a": 1, "b": 1}, "requestState": state}),
        &json!({"elicitation": {}}),
    );
    assert_eq!(
        send(&memory, other).await.1["error"]["code"],
        -32602,
        "a state is bound to its call"
    );
    let cannot = modern("tools/call", json!({"name": "visit"}), &json!({}));
    let (_, refused) = send(&memory, cannot).await;
    assert_eq!(refused["error"]["code"], -32021);
    assert_eq!(
        refused["error"]["data"],
        json!({"requiredCapabilities": {"elicitation": {}}})
    );
}

#[tokio::test]
async fn a_legacy_client_shakes_hands_and_is_asked_on_its_stream() {
    let memory = Arc::new(server().memory());
    let request = |id: i64, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let hello = request(
        1,
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "t", "version": "1"}}),
    );
    let (_, hello) = send(&memory, hello).await;
    assert_eq!(hello["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(hello["result"]["serverInfo"]["name"], "eras");
    assert_eq!(
        send(&memory, request(2, "ping", json!({}))).await.1["result"],
        json!({})
    );
    let (_, sum) = send(
        &memory,
        request(
            3,
            "tools/call",
            json!({"name": "add", "arguments": {"a": 1, "b": 2}}),
        ),
    )
    .await;
    assert!(sum["result"].get("resultType").is_none(), "{sum}");
    assert_eq!(sum["result"]["structuredContent"], json!({"result": 3}));

    let mut call = memory.send(
        &request(4, "tools/call", json!({"name": "visit", "arguments": {}}))
            .to_string()
            .into(),
    );
    let Step::Frame(frame) = call.next().await else {
        panic!("nothing was asked")
    };
    let asked: Value = serde_json::from_str(&frame.data).unwrap();
    assert_eq!(asked["method"], "elicitation/create");
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"name": "Oslo"}}});
    assert_eq!(send(&memory, answer).await.1, json!("Accepted"));
    let Step::Done(Reply::Message { body, .. }) = call.next().await else {
        panic!("no answer")
    };
    assert!(body.contains("Oslo"), "{body}");

    let (_, discover) = send(&memory, request(5, "server/discover", json!({}))).await;
    assert_eq!(discover["error"]["code"], -32601, "no claim, so legacy");
    let (_, modern) = send(&memory, modern("server/discover", json!({}), &json!({}))).await;
    assert_eq!(
        modern["result"]["supportedVersions"],
        json!(["2026-07-28"]),
        "both eras at one door"
    );
}

#[tokio::test]
async fn icons_and_cache_hints_are_told_where_they_are_set() {
    use fastmcp::{
        PromptBuilder, ResourceBuilder, ToolBuilder,
        protocol::{
            content::{Annotations, Icon},
            wire::{CacheHint, CacheScope},
        },
        registry::Kind,
    };

    let icon = |name: &str| Icon::new(format!("https://a.example/{name}.png"));
    let hint = |ttl_ms, scope| CacheHint { ttl_ms, scope };
    let server = FastMcp::new("shown")
        .icon(icon("server"))
        .tool(ToolBuilder::new("t", |(): (), _: Context| async { "t" }).icon(icon("tool")))
        .prompt(PromptBuilder::new("p", |(): (), _: Context| async { "p" }).icon(icon("prompt")))
        .resource(
            ResourceBuilder::new("a://r", "r", |(): (), _: Context| async { "text" })
                .icon(icon("resource"))
                .annotations(Annotations {
                    priority: Some(1.0),
                    ..Annotations::default()
                })
                .size(4)
                .cache_hint(hint(7, CacheScope::Public)),
        )
        .cache_hint(hint(5, CacheScope::Private))
        .list_cache_hint(Kind::Tool, hint(6, CacheScope::Public))
        .build()
        .unwrap();
    let memory = server.memory();
    let ask = async |method: &str, params: Value| {
        let (_, reply) = send(&memory, modern(method, params, &json!({}))).await;
        reply["result"].clone()
    };
    let hinted = |result: &Value| (result["ttlMs"].clone(), result["cacheScope"].clone());

    let discovered = ask("server/discover", json!({})).await;
    assert_eq!(hinted(&discovered), (json!(5), json!("private")));
    let info = &discovered["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(info["icons"][0]["src"], "https://a.example/server.png");

    let tools = ask("tools/list", json!({})).await;
    assert_eq!(hinted(&tools), (json!(6), json!("public")));
    assert_eq!(
        tools["tools"][0]["icons"][0]["src"],
        "https://a.example/tool.png"
    );

    let prompts = ask("prompts/list", json!({})).await;
    assert_eq!(hinted(&prompts), (json!(5), json!("private")));
    assert_eq!(
        prompts["prompts"][0]["icons"][0]["src"],
        "https://a.example/prompt.png"
    );

    let resources = ask("resources/list", json!({})).await;
    let resource = &resources["resources"][0];
    assert_eq!(
        resource["icons"][0]["src"],
        "https://a.example/resource.png"
    );
    assert_eq!(resource["annotations"]["priority"], json!(1.0));
    assert_eq!(resource["size"], json!(4));

    let read = ask("resources/read", json!({"uri": "a://r"})).await;
    assert_eq!(hinted(&read), (json!(7), json!("public")));
}
