//! Tasks of 2025-11-25, which clients ask for.

use fastmcp::{
    prelude::*,
    transport::{Door, Reply, Step, memory::Memory},
};
use serde_json::Value;

use super::tasks::{EXTENSION, add, ask, connect, job, plain, request, send, until, wait};

fn server() -> Server {
    FastMcp::new("tasks")
        .tool(add)
        .tool(ask)
        .tool(job)
        .tool(plain)
        .tool(wait)
        .build()
        .unwrap()
}

async fn initialize<D: Door>(memory: &Memory<D>, version: &str) -> Value {
    let hello = json!({
        "protocolVersion": version,
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "t", "version": "1"},
    });
    send(memory, request(0, "initialize", &hello)).await["result"].clone()
}

async fn ask_for<D: Door>(memory: &Memory<D>, method: &str, params: Value) -> Value {
    let reply = send(memory, request(1, method, &params)).await;
    reply.get("result").unwrap_or(&reply).clone()
}

async fn begin<D: Door>(memory: &Memory<D>, tool: &str, arguments: Value) -> String {
    let params = json!({"name": tool, "arguments": arguments, "task": {"ttl": 60_000}});
    let begun = ask_for(memory, "tools/call", params).await;
    assert_eq!(begun["task"]["status"], "working", "{begun}");
    assert_eq!(
        (&begun["task"]["ttl"], &begun["task"]["pollInterval"]),
        (&json!(60_000), &json!(1_000))
    );
    assert_eq!(begun.get("resultType"), None);
    begun["task"]["taskId"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_client_asks_for_a_task_and_waits_for_its_result() {
    let server = server();
    let memory = connect(&server, "alice");
    let told = initialize(&memory, "2025-11-25").await;
    assert_eq!(
        told["capabilities"]["tasks"],
        json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}})
    );
    assert_eq!(told["capabilities"].get("extensions"), None);
    let tools = ask_for(&memory, "tools/list", json!({})).await["tools"].clone();
    let support: Vec<_> = tools
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["execution"]["taskSupport"])
        .collect();
    assert_eq!(
        support,
        [
            &json!("optional"),
            &json!("optional"),
            &json!("required"),
            &Value::Null,
            &json!("optional")
        ]
    );

    let id = begin(&memory, "add", json!({"a": 1, "b": 2})).await;
    let result = ask_for(&memory, "tasks/result", json!({"taskId": id})).await;
    assert_eq!(result["structuredContent"], json!({"result": 3}));
    assert_eq!(
        result["_meta"]["io.modelcontextprotocol/related-task"],
        json!({"taskId": id})
    );
    let task = ask_for(&memory, "tasks/get", json!({"taskId": id})).await;
    assert_eq!(task["status"], "completed");
    assert_eq!((task.get("result"), task.get("ttlMs")), (None, None));
    let id = begin(&memory, "job", json!({})).await;
    let result = ask_for(&memory, "tasks/result", json!({"taskId": id})).await;
    assert_eq!(result["isError"], true);

    let plainly = ask_for(
        &memory,
        "tools/call",
        json!({"name": "add", "arguments": {"a": 1, "b": 2}}),
    )
    .await;
    assert_eq!(plainly["structuredContent"], json!({"result": 3}));
    for params in [json!({"name": "job"}), json!({"name": "plain", "task": {}})] {
        let refused = ask_for(&memory, "tools/call", params).await;
        assert_eq!(refused["error"]["code"], -32601);
    }
    let wrong = json!({"name": "add", "arguments": {"a": 1, "b": 2}, "task": {"ttl": -1}});
    let wrong = ask_for(&memory, "tools/call", wrong).await;
    assert_eq!(wrong["error"]["code"], -32602);
    assert!(
        wrong["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("`params.task`")
    );
    let update = json!({"taskId": id, "inputResponses": {}});
    assert_eq!(
        ask_for(&memory, "tasks/update", update).await["error"]["code"],
        -32601
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_asks_on_the_stream_that_waits_for_its_result() {
    let server = server();
    let memory = connect(&server, "alice");
    initialize(&memory, "2025-11-25").await;
    let id = begin(&memory, "ask", json!({})).await;
    let get = || ask_for(&memory, "tasks/get", json!({"taskId": id}));
    until(get, |task| task["status"] == "input_required").await;

    let wait = request(7, "tasks/result", &json!({"taskId": id}));
    let mut waiting = memory.send(&wait.to_string().into());
    let mut statuses = Vec::new();
    let mut asked = Vec::new();
    let result = loop {
        match waiting.next().await {
            Step::Frame(frame) => {
                let message: Value = serde_json::from_str(&frame.data).unwrap();
                if message["method"] == "notifications/tasks/status" {
                    assert_eq!(message["params"]["taskId"], *id);
                    statuses.push(message["params"]["status"].clone());
                    continue;
                }
                assert_eq!(message["method"], "elicitation/create");
                assert_eq!(
                    message["params"]["_meta"]["io.modelcontextprotocol/related-task"],
                    json!({"taskId": id})
                );
                let text = message["params"]["message"].as_str().unwrap().to_owned();
                let content = match text.as_str() {
                    "Fine?" => json!({"ok": true}),
                    _ => json!({"name": text}),
                };
                asked.push(text);
                let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"action": "accept", "content": content}});
                let mut taken = memory.send(&answer.to_string().into());
                assert!(matches!(taken.next().await, Step::Done(Reply::Accepted)));
            }
            Step::Done(Reply::Message { body, .. }) => {
                break serde_json::from_str::<Value>(&body).unwrap();
            }
            Step::Done(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(asked, ["Who?", "Fine?", "And who else?"]);
    assert_eq!(
        result["result"]["structuredContent"]["result"],
        "Who? true And who else?"
    );
    assert!(
        statuses
            .iter()
            .all(|s| s == "working" || s == "input_required"),
        "{statuses:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn cancelled_is_cancelled_at_once_and_once() {
    let server = server();
    let memory = connect(&server, "alice");
    initialize(&memory, "2025-11-25").await;
    let id = begin(&memory, "wait", json!({})).await;
    let wait = request(7, "tasks/result", &json!({"taskId": id}))
        .to_string()
        .into();
    let mut waiting = memory.send(&wait);
    assert!(futures_util::poll!(Box::pin(waiting.next())).is_pending());
    let cancelled = ask_for(&memory, "tasks/cancel", json!({"taskId": id})).await;
    assert_eq!(
        (&cancelled["status"], &cancelled["taskId"]),
        (&json!("cancelled"), &json!(id))
    );
    let Step::Done(Reply::Message { body, .. }) = waiting.next().await else {
        panic!("no answer")
    };
    assert!(body.contains("was cancelled"), "{body}");
    let again = ask_for(&memory, "tasks/cancel", json!({"taskId": id})).await;
    assert_eq!(again["error"]["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn lists_show_a_callers_own_and_the_two_kinds_do_not_meet() {
    let server = server();
    let (alice, bob) = (connect(&server, "alice"), connect(&server, "bob"));
    initialize(&alice, "2025-11-25").await;
    initialize(&bob, "2025-11-25").await;
    let mut begun = vec![
        begin(&alice, "wait", json!({})).await,
        begin(&alice, "wait", json!({})).await,
    ];
    begin(&bob, "wait", json!({})).await;
    let listed = ask_for(&alice, "tasks/list", json!({})).await;
    let mut ids: Vec<_> = listed["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["taskId"].as_str().unwrap().to_owned())
        .collect();
    begun.sort();
    ids.sort();
    assert_eq!(ids, begun);
    assert_eq!(listed.get("nextCursor"), None);
    let wrong = ask_for(&alice, "tasks/list", json!({"cursor": "x"})).await;
    assert_eq!(wrong["error"]["code"], -32602);
    let foreign = ask_for(&bob, "tasks/get", json!({"taskId": ids[0]})).await;
    assert_eq!(
        foreign,
        ask_for(&bob, "tasks/get", json!({"taskId": "unknown"})).await
    );

    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
    });
    let other = ask_for(
        &alice,
        "tasks/get",
        json!({"taskId": ids[0], "_meta": meta}),
    )
    .await;
    assert_eq!(other["error"]["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn older_clients_hear_of_no_tasks() {
    let server = server();
    let memory = connect(&server, "alice");
    let told = initialize(&memory, "2025-06-18").await;
    assert_eq!(told["capabilities"].get("tasks"), None);
    let tools = ask_for(&memory, "tools/list", json!({})).await;
    assert!(!tools.to_string().contains("taskSupport"));
    let params = json!({"name": "plain", "task": {"ttl": 5}});
    let ignored = ask_for(&memory, "tools/call", params).await;
    assert_eq!(ignored["structuredContent"]["result"], "plain");
    assert_eq!(
        ask_for(&memory, "tasks/list", json!({})).await["error"]["code"],
        -32601
    );
}
