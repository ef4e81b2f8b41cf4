//! Calls that are answered later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastmcp::{
    client::ClientBuilder,
    error::ErrorKind,
    prelude::*,
    protocol::{ProtocolVersion, content::JsonObject, elicit::ElicitResult, task::TaskStatus},
    transport::{WireError, WireKind},
};
use serde_json::Value;
use tokio::{sync::Notify, time::Instant};
use tokio_util::task::TaskTracker;

use super::fake::{Answer, Fake, Sent};

fn task(status: &str, more: &Value) -> Value {
    let mut task = json!({
        "resultType": "complete", "taskId": "t-1", "status": status, "ttlMs": null, "pollIntervalMs": 3_000,
        "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z",
    });
    let more = more.as_object().unwrap().clone();
    task.as_object_mut().unwrap().extend(more);
    task
}

/// A server whose calls become a task, and whose `looks`th look at it `look` answers.
fn server(look: impl Fn(&Sent, usize) -> Answer + Send + Sync + 'static) -> Arc<Fake> {
    let looks = AtomicUsize::new(0);
    Fake::new(WireKind::Http, move |sent| match sent.method() {
        "server/discover" => sent.described(),
        "tools/call" => sent.result(task("working", &json!({"resultType": "task"}))),
        "tasks/get" => look(sent, looks.fetch_add(1, Ordering::SeqCst)),
        _ => sent.result(json!({"resultType": "complete"})),
    })
}

fn done(sent: &Sent) -> Answer {
    let result = json!({"content": [{"type": "text", "text": "done"}], "resultType": "complete"});
    sent.result(task("completed", &json!({"result": result})))
}

fn asking(key: &str) -> Value {
    let schema =
        json!({"type": "object", "properties": {"name": {"type": "string", "default": "Rome"}}});
    let params = json!({"message": "m", "requestedSchema": schema});
    json!({"inputRequests": {key: {"method": "elicitation/create", "params": params}}})
}

fn answering() -> ClientBuilder {
    Client::builder()
        .tasks()
        .on_elicit(|_| async { Ok(ElicitResult::accept(JsonObject::new())) })
}

#[tokio::test(start_paused = true)]
async fn a_task_is_looked_at_as_often_as_it_wants_and_asks_once() {
    let fake = server(|sent, look| match look {
        0 => sent.result(task("working", &json!({}))),
        1 => Answer::Fails(WireError::Broken("reset".to_owned())),
        2 | 3 => sent.result(task("input_required", &asking("city"))),
        _ => done(sent),
    });
    let client = fake.connect(answering()).await.unwrap();
    let started = Instant::now();
    let result = client.call_tool("slow", json!({})).await.unwrap();
    assert_eq!(result.text(), "done");
    let waited = started.elapsed();
    let looks = Duration::from_secs(4 * 3);
    assert!(
        waited >= looks && waited < looks + Duration::from_secs(1),
        "{waited:?}"
    );
    let update = fake.of("tasks/update");
    assert_eq!(update.len(), 1, "a key is answered once");
    assert_eq!(
        update[0].params()["inputResponses"],
        json!({"city": {"action": "accept", "content": {"name": "Rome"}}})
    );
    assert_eq!(update[0].header("mcp-name"), Some("t-1"));
    assert!(fake.of("tasks/cancel").is_empty());
    let call = &fake.of("tools/call")[0];
    let declared = &call.params()["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(
        declared["extensions"],
        json!({"io.modelcontextprotocol/tasks": {}})
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_in_more_ways_than_one() {
    let ends = [
        (
            task(
                "failed",
                &json!({"error": {"code": -32603, "message": "broke"}}),
            ),
            "broke",
        ),
        (task("cancelled", &json!({})), "cancelled"),
        (task("completed", &json!({})), "without its result"),
        (task("sleeping", &json!({})), "sleeping"),
    ];
    for (end, part) in ends {
        let fake = server(move |sent, _| sent.result(end.clone()));
        let client = fake.connect(answering()).await.unwrap();
        let error = client.call_tool("slow", json!({})).await.unwrap_err();
        assert!(error.message().contains(part), "{error}");
    }
    let forgotten = server(|sent, _| sent.error(-32602, Value::Null));
    let client = forgotten.connect(answering()).await.unwrap();
    let error = client.call_tool("slow", json!({})).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Protocol(_)));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_waited_for_is_called_off() {
    let fake = server(|sent, _| sent.result(task("working", &json!({}))));
    let client = fake.connect(answering()).await.unwrap();
    let caller = client.clone();
    let call = TaskTracker::new().spawn(async move { caller.call_tool("slow", json!({})).await });
    fake.until("tasks/get", 2).await;
    call.abort();
    let cancelled = fake.until("tasks/cancel", 1).await;
    assert_eq!(cancelled[0].params()["taskId"], "t-1");
}

/// Asks which city, as a task where it may.
#[tool(task)]
async fn visit(ctx: Context) -> Result<String> {
    #[derive(Debug, Deserialize, JsonSchema)]
    struct City {
        name: String,
    }
    let city: City = ctx.elicit("city", "Which city?").await?;
    Ok(city.name)
}

#[tokio::test(start_paused = true)]
async fn a_task_of_ours_ends_and_is_called_off() {
    let stopped = Arc::new(Notify::new());
    let tell = Arc::clone(&stopped);
    let endless = fastmcp::ToolBuilder::new("endless", move |(), ctx: Context| {
        let tell = Arc::clone(&tell);
        async move {
            ctx.cancellation().cancelled().await;
            tell.notify_one();
        }
    });
    let server = FastMcp::new("tasks")
        .tool(visit)
        .tool(endless.task(fastmcp::protocol::tool::TaskSupport::Optional))
        .build()
        .unwrap();
    for revision in [ProtocolVersion::V2026_07_28, ProtocolVersion::V2025_11_25] {
        let builder = Client::builder()
            .tasks()
            .revision(revision)
            .on_elicit(|_| async {
                let content = JsonObject::from_iter([("name".to_owned(), json!("Rome"))]);
                Ok(ElicitResult::accept(content))
            });
        let client = builder.connect_server(&server).await.unwrap();
        let city = client.call_tool("visit", json!({})).await.unwrap();
        assert_eq!(city.data::<String>().unwrap(), "Rome", "{revision}");
    }
    let client = Client::builder().tasks();
    let client = client.connect_server(&server).await.unwrap();
    let call = client.call_tool("endless", json!({}));
    let waited = tokio::time::timeout(Duration::from_secs(10), call).await;
    assert!(waited.is_err(), "it has no end of its own");
    stopped.notified().await;
}

#[tokio::test(start_paused = true)]
async fn a_handle_shows_how_far_a_task_is_and_its_result() {
    let fake = server(|sent, look| match look {
        0 | 1 => sent.result(task("working", &json!({"statusMessage": "half"}))),
        2 => sent.result(task("input_required", &asking("city"))),
        _ => done(sent),
    });
    // Without `tasks()`: this call alone declares that it takes one.
    let builder =
        Client::builder().on_elicit(|_| async { Ok(ElicitResult::accept(JsonObject::new())) });
    let client = fake.connect(builder).await.unwrap();
    let mut handle = client.call_tool_as_task("slow", json!({})).await.unwrap();
    assert_eq!(handle.id(), Some("t-1"));
    assert!(fake.of("tasks/get").is_empty(), "nobody waits yet");
    assert_eq!(handle.changed().await.unwrap(), TaskStatus::Working);
    assert_eq!(
        handle.task().unwrap().status_message.as_deref(),
        Some("half")
    );
    assert_eq!(handle.changed().await.unwrap(), TaskStatus::InputRequired);
    assert_eq!(
        fake.of("tasks/get").len(),
        3,
        "what did not change is no news"
    );
    let result = handle.result().await.unwrap();
    assert_eq!(result.text(), "done");
    assert_eq!(fake.of("tasks/update").len(), 1);
    let call = &fake.of("tools/call")[0];
    let declared = &call.params()["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(
        declared["extensions"],
        json!({"io.modelcontextprotocol/tasks": {}})
    );
}

#[tokio::test(start_paused = true)]
async fn a_handle_is_dropped_without_an_end_and_found_again() {
    let fake = server(|sent, _| done(sent));
    let client = fake.connect(answering()).await.unwrap();
    let handle = client.call_tool_as_task("slow", json!({})).await.unwrap();
    let id = handle.id().unwrap().to_owned();
    drop(handle);
    let mut again = client.task("slow", &id).await.unwrap();
    assert_eq!(again.status().await.unwrap(), TaskStatus::Completed);
    assert_eq!(again.result().await.unwrap().text(), "done");
    assert!(fake.of("tasks/cancel").is_empty());
    let handle = client.call_tool_as_task("slow", json!({})).await.unwrap();
    handle.cancel().await.unwrap();
    assert_eq!(fake.of("tasks/cancel")[0].params()["taskId"], "t-1");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_answered_at_once_has_a_handle_all_the_same() {
    let answered = |is_error: bool| {
        Fake::new(WireKind::Http, move |sent| {
            match sent.method() {
            "server/discover" => sent.described(),
            _ => sent.result(json!({
                "resultType": "complete", "isError": is_error, "content": [{"type": "text", "text": "at once"}],
            })),
        }
        })
    };
    let fake = answered(false);
    let client = fake.connect(Client::builder()).await.unwrap();
    let mut handle = client.call_tool_as_task("quick", json!({})).await.unwrap();
    assert!(handle.id().is_none() && handle.task().is_none());
    assert_eq!(handle.status().await.unwrap(), TaskStatus::Completed);
    assert_eq!(handle.changed().await.unwrap(), TaskStatus::Completed);
    handle.cancel().await.unwrap();
    assert_eq!(handle.result().await.unwrap().text(), "at once");
    assert_eq!(fake.methods(), ["server/discover", "tools/call"]);
    let client = answered(true).connect(Client::builder()).await.unwrap();
    let failed = client.call_tool_as_task("quick", json!({})).await.unwrap();
    assert_eq!(failed.result().await.unwrap_err().kind(), ErrorKind::Tool);
    let failed = client.call_tool_as_task("quick", json!({})).await.unwrap();
    assert!(failed.result_raw().await.unwrap().is_error());
}
