//! Tasks of the extension, message by message.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastmcp::{
    Class, Component, Gate, Input, Leaf, Outcome, Target, TaskLimits, ToolBuilder,
    auth::caller::{Caller, LocalIdentity},
    gate::Asks,
    prelude::*,
    protocol::{
        RpcError,
        elicit::{BooleanSchema, ElicitParams, ElicitSchema},
        mrtr::InputRequest,
        tool::TaskSupport,
    },
    store::{KeyValueStore, MemoryLimits, MemoryStore},
    transport::{Door, Exchange, Reply, Step, memory::Memory},
};
use fastmcp_guard::clock::{Clock, ManualClock, SystemClock, Timestamp};
use serde_json::Value;
use tokio::sync::{Notify, watch};

pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Name {
    name: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Nod {
    ok: bool,
}

/// Adds, as a task where it may.
#[tool(task)]
pub(crate) async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Waits until it is called off.
#[tool(task)]
pub(crate) async fn wait(ctx: Context) -> Result<String> {
    ctx.cancellation().cancelled().await;
    Err(Error::cancelled())
}

/// Runs as a task alone.
#[tool(task_required)]
pub(crate) async fn job() -> Result<String> {
    Err(ToolError::new("the job failed").into())
}

/// Is never a task.
#[tool]
pub(crate) async fn plain() -> &'static str {
    "plain"
}

/// Asks two things at once, then a third.
#[tool(task)]
pub(crate) async fn ask(ctx: Context) -> Result<String> {
    let (name, nod) = tokio::try_join!(
        ctx.elicit::<Name>("name", "Who?"),
        ctx.elicit::<Nod>("nod", "Fine?"),
    )?;
    let again: Name = ctx.elicit("again", "And who else?").await?;
    Ok(format!("{} {} {}", name.name, nod.ok, again.name))
}

/// Asks first and is a task then.
#[tool(task_required, begins_task)]
async fn later(ctx: Context) -> Result<String> {
    let name: Name = ctx.elicit("name", "Who?").await?;
    assert_eq!(ctx.task_id(), None);
    ctx.begin_task().await?;
    let nod: Nod = ctx.elicit("nod", "Fine?").await?;
    assert!(ctx.task_id().is_some());
    Ok(format!("{} {}", name.name, nod.ok))
}

pub(crate) fn caller(name: &str) -> Caller {
    Caller::local_as(LocalIdentity {
        subject: name.to_owned(),
        ..LocalIdentity::default()
    })
}

pub(crate) fn connect(server: &Server, name: &str) -> Memory<impl Door + use<>> {
    Memory::connect(Arc::clone(server.door()), caller(name))
}

pub(crate) fn request(id: i64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// A request of a client that knows tasks.
pub(crate) fn knowing(method: &str, params: Value) -> Value {
    declaring(
        method,
        params,
        &json!({"elicitation": {}, "extensions": {EXTENSION: {}}}),
    )
}

fn declaring(method: &str, mut params: Value, capabilities: &Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities.clone();
    request(1, method, &params)
}

pub(crate) async fn send<D: Door>(memory: &Memory<D>, message: Value) -> Value {
    let mut exchange = memory.send(&message.to_string().into());
    match exchange.next().await {
        Step::Done(Reply::Message { body, .. }) => serde_json::from_str(&body).unwrap(),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn call<D: Door>(memory: &Memory<D>, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    let reply = send(memory, knowing("tools/call", params)).await;
    reply.get("result").unwrap_or(&reply).clone()
}

pub(crate) async fn begin<D: Door>(memory: &Memory<D>, tool: &str, arguments: Value) -> String {
    let task = call(memory, tool, arguments).await;
    assert_eq!(task["resultType"], "task", "{task}");
    task["taskId"].as_str().unwrap().to_owned()
}

pub(crate) async fn on_task<D: Door>(memory: &Memory<D>, method: &str, id: &str) -> Value {
    let params = json!({"taskId": id, "inputResponses": {}});
    let reply = send(memory, knowing(method, params)).await;
    reply.get("result").unwrap_or(&reply).clone()
}

pub(crate) async fn get<D: Door>(memory: &Memory<D>, id: &str) -> Value {
    on_task(memory, "tasks/get", id).await
}

pub(crate) async fn update<D: Door>(memory: &Memory<D>, id: &str, responses: Value) -> Value {
    let params = json!({"taskId": id, "inputResponses": responses});
    send(memory, knowing("tasks/update", params)).await
}

/// Looks until `found` holds, within a bound.
pub(crate) async fn until<F, Fut>(mut look: F, found: impl Fn(&Value) -> bool) -> Value
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Value>,
{
    let mut last = Value::Null;
    for _ in 0..100 {
        last = look().await;
        if found(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never happened: {last}");
}

pub(crate) async fn status<D: Door>(memory: &Memory<D>, id: &str, wanted: &str) -> Value {
    until(|| get(memory, id), |task| task["status"] == wanted).await
}

/// What a stream says next.
pub(crate) async fn told(stream: &mut Exchange) -> Value {
    let Step::Frame(frame) = stream.next().await else {
        panic!("the stream ended")
    };
    serde_json::from_str(&frame.data).unwrap()
}

pub(crate) fn accept(content: &Value) -> Value {
    json!({"action": "accept", "content": content})
}

#[tokio::test(start_paused = true)]
async fn a_call_is_a_task_for_who_knows_tasks() {
    let server = FastMcp::new("tasks").tool(add).tool(job).build().unwrap();
    let memory = connect(&server, "alice");
    let discovered = send(&memory, knowing("server/discover", json!({}))).await;
    let capabilities = &discovered["result"]["capabilities"];
    assert_eq!(capabilities["extensions"], json!({EXTENSION: {}}));
    assert_eq!(capabilities.get("tasks"), None);
    let listed = send(&memory, knowing("tools/list", json!({}))).await;
    assert_eq!(listed["result"]["tools"][0].get("execution"), None);

    let begun = call(&memory, "add", json!({"a": 1, "b": 2})).await;
    let mut members: Vec<_> = begun.as_object().unwrap().keys().cloned().collect();
    members.sort();
    assert_eq!(
        members,
        [
            "_meta",
            "createdAt",
            "lastUpdatedAt",
            "pollIntervalMs",
            "resultType",
            "status",
            "taskId",
            "ttlMs"
        ]
    );
    assert_eq!(
        (&begun["resultType"], &begun["status"]),
        (&json!("task"), &json!("working"))
    );
    assert_eq!(
        (&begun["ttlMs"], &begun["pollIntervalMs"]),
        (&json!(3_600_000), &json!(1_000))
    );
    let id = begun["taskId"].as_str().unwrap();
    assert!(id.len() >= 43, "nobody guesses it: {id}");
    let done = status(&memory, id, "completed").await;
    assert_eq!(done["resultType"], "complete");
    assert_eq!(done["result"]["structuredContent"], json!({"result": 3}));
    assert_eq!(
        done["result"]["_meta"],
        json!({"fastmcp": {"wrap_result": true}})
    );

    let failed = begin(&memory, "job", json!({})).await;
    let failed = status(&memory, &failed, "completed").await;
    assert_eq!(
        failed["result"]["isError"], true,
        "the tool failed, the call did not"
    );

    for removed in ["tasks/list", "tasks/result"] {
        assert_eq!(on_task(&memory, removed, id).await["error"]["code"], -32601);
    }
    let none = FastMcp::new("none").tool(plain).build().unwrap().memory();
    assert_eq!(get(&none, "x").await["error"]["code"], -32601);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_a_call_for_who_does_not_know_tasks() {
    let server = FastMcp::new("tasks").tool(add).tool(job).build().unwrap();
    let memory = connect(&server, "alice");
    let id = begin(&memory, "add", json!({"a": 1, "b": 2})).await;
    let stranger = json!({});
    let params = json!({"name": "add", "arguments": {"a": 1, "b": 2}, "task": {"ttl": 5}});
    let at_once = send(&memory, declaring("tools/call", params, &stranger)).await;
    assert_eq!(at_once["result"]["resultType"], "complete");
    assert_eq!(at_once["result"]["structuredContent"], json!({"result": 3}));
    let missing = json!({"requiredCapabilities": {"extensions": {EXTENSION: {}}}});
    for (method, params) in [
        ("tools/call", json!({"name": "job"})),
        ("tasks/get", json!({"taskId": id})),
        ("tasks/cancel", json!({"taskId": id})),
        ("tasks/update", json!({"taskId": id, "inputResponses": {}})),
        (
            "subscriptions/listen",
            json!({"notifications": {"taskIds": [id]}}),
        ),
    ] {
        let refused = send(&memory, declaring(method, params, &stranger)).await;
        assert_eq!(refused["error"]["code"], -32021, "{method}: {refused}");
        assert_eq!(refused["error"]["data"], missing);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_its_callers_alone() {
    let server = FastMcp::new("tasks").tool(wait).build().unwrap();
    let (alice, bob) = (connect(&server, "alice"), connect(&server, "bob"));
    let id = begin(&alice, "wait", json!({})).await;
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let foreign = on_task(&bob, method, &id).await;
        assert_eq!(foreign["error"]["code"], -32602, "{method}");
        assert_eq!(
            foreign,
            on_task(&bob, method, "unknown").await,
            "they look the same"
        );
        assert_eq!(foreign, on_task(&alice, method, "unknown").await);
    }
    assert_eq!(
        get(&alice, &id).await["status"],
        "working",
        "bob called nothing off"
    );

    let listen = json!({"notifications": {"taskIds": [id, "unknown"]}});
    let mut stream = bob.send(&knowing("subscriptions/listen", listen).to_string().into());
    let Step::Frame(frame) = stream.next().await else {
        panic!("no acknowledgement")
    };
    let acknowledged: Value = serde_json::from_str(&frame.data).unwrap();
    assert_eq!(acknowledged["params"]["notifications"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_task_asks_and_is_told_of() {
    let server = FastMcp::new("tasks").tool(ask).build().unwrap();
    let memory = connect(&server, "alice");
    let id = begin(&memory, "ask", json!({})).await;
    let asked = status(&memory, &id, "input_required").await;
    let asked = asked["inputRequests"].as_object().unwrap();
    assert_eq!(asked.keys().collect::<Vec<_>>(), ["name", "nod"]);
    assert_eq!(asked["nod"]["method"], "elicitation/create");

    let listen = json!({"notifications": {"taskIds": [id]}});
    let mut stream = memory.send(&knowing("subscriptions/listen", listen).to_string().into());
    let first = told(&mut stream).await;
    assert_eq!(first["params"]["notifications"], json!({"taskIds": [id]}));
    let second = told(&mut stream).await;
    assert_eq!(second["method"], "notifications/tasks");
    assert_eq!(second["params"]["status"], "input_required");
    let tag = &second["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!(tag, 1);

    let answers =
        json!({"nod": accept(&json!({"ok": "yes"})), "name": accept(&json!({"name": "A"}))});
    let misfit = update(&memory, &id, answers).await;
    assert_eq!(misfit["error"]["code"], -32602);
    let message = misfit["error"]["message"].as_str().unwrap();
    assert!(message.contains("`inputResponses.nod`"), "{message}");
    let ignored = update(&memory, &id, json!({"never": {}})).await;
    assert_eq!(ignored["result"]["resultType"], "complete");
    assert_eq!(ignored["result"].get("taskId"), None);
    let part = update(&memory, &id, json!({"nod": accept(&json!({"ok": true}))})).await;
    assert_eq!(part["result"]["resultType"], "complete");
    let rest = get(&memory, &id).await;
    let open = rest["inputRequests"].as_object().unwrap();
    assert_eq!(open.keys().collect::<Vec<_>>(), ["name"]);
    update(
        &memory,
        &id,
        json!({"name": accept(&json!({"name": "A"})), "nod": accept(&json!({"ok": false}))}),
    )
    .await;
    let third = until(
        || get(&memory, &id),
        |task| task["inputRequests"].get("again").is_some(),
    )
    .await;
    assert_eq!(third["inputRequests"].as_object().unwrap().len(), 1);
    update(
        &memory,
        &id,
        json!({"again": accept(&json!({"name": "B"}))}),
    )
    .await;
    let done = status(&memory, &id, "completed").await;
    assert_eq!(done["result"]["structuredContent"]["result"], "A true B");
    assert_eq!(done.get("inputRequests"), None);

    let mut last = Value::Null;
    while last["params"]["status"] != "completed" {
        last = told(&mut stream).await;
        assert_eq!(last["method"], "notifications/tasks");
    }
    assert_eq!(
        last["params"]["result"], done["result"],
        "whole, as `tasks/get` has it"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_before_a_task_is_asked_before_it() {
    let server = FastMcp::new("tasks").tool(later).build().unwrap();
    let memory = connect(&server, "alice");
    let first = call(&memory, "later", json!({})).await;
    assert_eq!(first["resultType"], "input_required");
    assert_eq!(first.get("taskId"), None);
    let params = json!({
        "name": "later",
        "arguments": {},
        "requestState": first["requestState"],
        "inputResponses": {"name": accept(&json!({"name": "Ada"}))},
    });
    let begun = send(&memory, knowing("tools/call", params)).await["result"].clone();
    assert_eq!(begun["resultType"], "task");
    assert_eq!(begun.get("requestState"), None);
    let id = begun["taskId"].as_str().unwrap();
    let asked = status(&memory, id, "input_required").await;
    assert_eq!(asked.get("requestState"), None);
    let keys: Vec<_> = asked["inputRequests"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["nod"], "what was answered before is not asked again");
    update(&memory, id, json!({"nod": accept(&json!({"ok": true}))})).await;
    let done = status(&memory, id, "completed").await;
    assert_eq!(done["result"]["structuredContent"]["result"], "Ada true");
}

#[tokio::test(start_paused = true)]
async fn calling_off_is_heard_and_what_was_done_is_told() {
    let released = Arc::new(Notify::new());
    let hold = Arc::clone(&released);
    let stubborn = ToolBuilder::new("stubborn", move |(), _: Context| {
        let hold = Arc::clone(&hold);
        async move {
            hold.notified().await;
            "done all the same"
        }
    })
    .task(TaskSupport::Optional);
    let server = FastMcp::new("tasks")
        .tool(wait)
        .tool(ask)
        .tool(stubborn)
        .build()
        .unwrap();
    let memory = connect(&server, "alice");
    let ack = |reply: Value| {
        let mut members: Vec<_> = reply.as_object().unwrap().keys().cloned().collect();
        members.sort();
        assert_eq!(members, ["_meta", "resultType"]);
    };
    for tool in ["wait", "ask"] {
        let id = begin(&memory, tool, json!({})).await;
        ack(on_task(&memory, "tasks/cancel", &id).await);
        let over = status(&memory, &id, "cancelled").await;
        assert_eq!(
            (over.get("result"), over.get("inputRequests")),
            (None, None)
        );
        ack(on_task(&memory, "tasks/cancel", &id).await);
        assert_eq!(get(&memory, &id).await["status"], "cancelled");
    }
    let id = begin(&memory, "stubborn", json!({})).await;
    ack(on_task(&memory, "tasks/cancel", &id).await);
    assert_eq!(
        get(&memory, &id).await["status"],
        "working",
        "it did not stop"
    );
    released.notify_one();
    let done = status(&memory, &id, "completed").await;
    assert_eq!(
        done["result"]["structuredContent"]["result"],
        "done all the same"
    );
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_protocol_and_panics_are_failures() {
    let broken = ToolBuilder::new("broken", |(), _: Context| async {
        Err::<String, _>(Error::protocol(RpcError::internal("rate limit")))
    });
    let panics = ToolBuilder::new("panics", |(), _: Context| async {
        assert!(std::env::args().next().is_none(), "on purpose");
        "never"
    });
    let large = ToolBuilder::new("large", |(), _: Context| async { "x".repeat(2_000) });
    let limits = TaskLimits {
        max_result_bytes: 1_024,
        ..TaskLimits::default()
    };
    let server = [broken, panics, large]
        .into_iter()
        .fold(FastMcp::new("tasks"), |server, tool| {
            server.tool(tool.task(TaskSupport::Optional))
        })
        .tasks(limits)
        .build()
        .unwrap();
    let memory = connect(&server, "alice");
    for (tool, message) in [("broken", "rate limit"), ("large", "at most 1024 are kept")] {
        let id = begin(&memory, tool, json!({})).await;
        let failed = status(&memory, &id, "failed").await;
        assert_eq!(failed["error"]["code"], -32603);
        assert!(
            failed["error"]["message"]
                .as_str()
                .unwrap()
                .contains(message),
            "{failed}"
        );
        assert_eq!(failed["statusMessage"], failed["error"]["message"]);
        assert_eq!(failed.get("result"), None);
    }
    // A handler that panics has failed as a tool does: the client is told nothing of why.
    let id = begin(&memory, "panics", json!({})).await;
    let failed = until(|| get(&memory, &id), |task| task["status"] != "working").await;
    assert_eq!(failed["result"]["isError"], true);
    assert_eq!(
        failed["result"]["content"][0]["text"],
        "an internal error occurred"
    );
}

#[tokio::test(start_paused = true)]
async fn progress_is_a_message_and_nothing_else_is_sent() {
    let (go, gone) = watch::channel(0);
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
        1_785_196_800,
    )));
    let chatty = ToolBuilder::new("chatty", move |(), ctx: Context| {
        let mut gone = gone.clone();
        async move {
            for (step, message) in (1..).zip(["half", "unseen", "nearly"]) {
                ctx.report_progress(f64::from(step), None, Some(message))
                    .await;
                ctx.info("logged").await;
                gone.wait_for(|now| *now >= step).await.unwrap();
            }
        }
    })
    .task(TaskSupport::Optional);
    let server = FastMcp::new("tasks")
        .tool(chatty)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build()
        .unwrap();
    let memory = connect(&server, "alice");
    let mut params = json!({"name": "chatty"});
    params["_meta"] = json!({"progressToken": "p", "io.modelcontextprotocol/logLevel": "debug"});
    let begun = send(&memory, knowing("tools/call", params)).await;
    let id = begun["result"]["taskId"].as_str().unwrap().to_owned();
    let said = |wanted: &'static str| {
        let (memory, id) = (&memory, &id);
        async move { until(|| get(memory, id), |task| task["statusMessage"] == wanted).await }
    };
    let half = said("half").await;
    assert_eq!(half["createdAt"], "2026-07-28T00:00:00Z");
    go.send_replace(1);
    clock.advance(Duration::from_secs(1));
    // The second message falls into the first one's second only by the clock of the server.
    said("unseen").await;
    clock.advance(Duration::from_secs(1));
    go.send_replace(2);
    let last = said("nearly").await;
    assert_eq!(last["lastUpdatedAt"], "2026-07-28T00:00:02Z");
    go.send_replace(3);
    status(&memory, &id, "completed").await;
}

#[tokio::test(start_paused = true)]
async fn tasks_are_bounded_and_expire() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
        1_785_196_800,
    )));
    let limits = TaskLimits {
        max_per_caller: 2,
        max_total: 3,
        ttl: Duration::from_secs(600),
        ..TaskLimits::default()
    };
    let server = FastMcp::new("tasks")
        .tool(wait)
        .tool(add)
        .tasks(limits)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build()
        .unwrap();
    let (alice, bob) = (connect(&server, "alice"), connect(&server, "bob"));
    let id = begin(&alice, "wait", json!({})).await;
    begin(&alice, "add", json!({"a": 1, "b": 1})).await;
    let refused = call(&alice, "wait", json!({})).await;
    assert_eq!(refused["error"]["code"], -32603);
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("too many tasks")
    );
    begin(&bob, "wait", json!({})).await;
    assert_eq!(
        call(&bob, "wait", json!({})).await["error"]["code"],
        -32603,
        "in all"
    );

    clock.advance(Duration::from_secs(599));
    assert_eq!(get(&alice, &id).await["status"], "working", "not earlier");
    clock.advance(Duration::from_secs(1));
    assert_eq!(get(&alice, &id).await["error"]["code"], -32602);
    assert_eq!(get(&alice, &id).await, get(&alice, "unknown").await);
    begin(&alice, "add", json!({"a": 1, "b": 1})).await;
    // What still ran was called off once its lease could not be renewed, so that nothing is left.
    assert!(server.finish(Duration::from_secs(120)).await);

    let bad = TaskLimits {
        max_total: 0,
        ..TaskLimits::default()
    };
    assert!(FastMcp::new("bad").tasks(bad).build().is_err());
}

/// A server in a process of its own, which ends when the runtime is dropped.
fn process() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

#[test]
fn a_task_whose_process_ended_is_found_as_failed() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
        1_785_196_800,
    )));
    let store: Arc<dyn KeyValueStore> = Arc::new(
        MemoryStore::new(
            MemoryLimits::default(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        )
        .unwrap(),
    );
    let server = || {
        FastMcp::new("tasks")
            .tool(add)
            .tool(wait)
            .tool(ask)
            .store(Arc::clone(&store))
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .build()
            .unwrap()
    };
    let first = process();
    let (done, lost, off) = first.block_on(async {
        let memory = connect(&server(), "alice");
        let done = begin(&memory, "add", json!({"a": 1, "b": 2})).await;
        status(&memory, &done, "completed").await;
        let lost = begin(&memory, "ask", json!({})).await;
        status(&memory, &lost, "input_required").await;
        (done, lost, begin(&memory, "wait", json!({})).await)
    });
    drop(first);
    process().block_on(async {
        let memory = connect(&server(), "alice");
        let kept = get(&memory, &done).await;
        assert_eq!(kept["result"]["structuredContent"], json!({"result": 3}));
        assert_eq!(
            get(&memory, &lost).await["status"],
            "input_required",
            "its lease runs"
        );
        on_task(&memory, "tasks/cancel", &off).await;
        clock.advance(Duration::from_secs(60));
        let found = get(&memory, &lost).await;
        assert_eq!(found["status"], "failed");
        assert_eq!(found["error"]["code"], -32603);
        assert_eq!(found.get("inputRequests"), None);
        assert_eq!(
            get(&memory, &off).await["status"],
            "cancelled",
            "it was called off"
        );
        assert_eq!(get(&memory, &lost).await, found, "and stays so");
    });
}

#[tokio::test(start_paused = true)]
async fn another_process_answers_for_a_task() {
    let store: Arc<dyn KeyValueStore> =
        Arc::new(MemoryStore::new(MemoryLimits::default(), Arc::new(SystemClock)).unwrap());
    let server = || {
        let server = FastMcp::new("tasks")
            .tool(ask)
            .tool(wait)
            .store(Arc::clone(&store));
        server.build().unwrap()
    };
    let (one, two) = (connect(&server(), "alice"), connect(&server(), "alice"));
    let id = begin(&one, "ask", json!({})).await;
    let asked = status(&two, &id, "input_required").await;
    assert_eq!(asked["inputRequests"].as_object().unwrap().len(), 2);
    let answers =
        json!({"name": accept(&json!({"name": "A"})), "nod": accept(&json!({"ok": true}))});
    update(&two, &id, answers).await;
    until(
        || get(&two, &id),
        |task| task["inputRequests"].get("again").is_some(),
    )
    .await;
    update(&two, &id, json!({"again": accept(&json!({"name": "B"}))})).await;
    let done = until(|| get(&two, &id), |task| task["status"] == "completed").await;
    assert_eq!(done["result"]["structuredContent"]["result"], "A true B");

    let id = begin(&one, "wait", json!({})).await;
    on_task(&two, "tasks/cancel", &id).await;
    // The process that runs it hears of it with its next lease.
    tokio::time::sleep(Duration::from_secs(60)).await;
    status(&two, &id, "cancelled").await;
}

/// Lets in who is not `mallory`, once the user has nodded.
#[derive(Debug, Default)]
struct Guarded {
    asked: AtomicUsize,
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Gate for Guarded {
    fn class(&self, _: &Caller) -> Class {
        Class::default()
    }

    fn visible(&self, _: &Caller, _: &Component) -> bool {
        true
    }

    fn invoke(
        &self,
        context: Context,
        _: Target,
        input: Input,
        leaf: Leaf,
    ) -> futures_util::future::BoxFuture<'_, Result<Outcome>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if context.caller().subject() == "mallory" {
                return Err(Error::forbidden("not you"));
            }
            if context.gate_state().is_none() {
                let form = ElicitSchema::default().required("ok", BooleanSchema::default());
                let mut asks = Asks::default();
                asks.requests.set(
                    "permit",
                    InputRequest::Elicit(ElicitParams::form("May it?", form)),
                );
                asks.state = Some(json!("seen"));
                return Ok(Outcome::InputRequired(asks));
            }
            self.begun.fetch_add(1, Ordering::SeqCst);
            let outcome = leaf.run(context, input).await;
            self.ended.fetch_add(1, Ordering::SeqCst);
            outcome
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_gate_is_asked_before_there_is_a_task() {
    let gate = Arc::new(Guarded::default());
    let server = FastMcp::new("tasks")
        .tool(ask)
        .gate(Arc::clone(&gate) as Arc<dyn Gate>)
        .build()
        .unwrap();
    let denied = call(&connect(&server, "mallory"), "ask", json!({})).await;
    assert_eq!(
        denied["isError"], true,
        "answered at once, as any call is: {denied}"
    );
    assert_eq!(denied["content"][0]["text"], "not you");

    let memory = connect(&server, "alice");
    let asked = call(&memory, "ask", json!({})).await;
    assert_eq!(asked["resultType"], "input_required");
    let params = json!({
        "name": "ask",
        "arguments": {},
        "requestState": asked["requestState"],
        "inputResponses": {"permit": accept(&json!({"ok": true}))},
    });
    let begun = send(&memory, knowing("tools/call", params)).await["result"].clone();
    assert_eq!(begun["resultType"], "task");
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    assert_eq!(
        (count(&gate.asked), count(&gate.begun), count(&gate.ended)),
        (3, 1, 0)
    );
    let id = begun["taskId"].as_str().unwrap();
    status(&memory, id, "input_required").await;
    let answers =
        json!({"name": accept(&json!({"name": "A"})), "nod": accept(&json!({"ok": true}))});
    update(&memory, id, answers).await;
    until(
        || get(&memory, id),
        |task| task["inputRequests"].get("again").is_some(),
    )
    .await;
    update(&memory, id, json!({"again": accept(&json!({"name": "B"}))})).await;
    status(&memory, id, "completed").await;
    assert_eq!(
        (count(&gate.asked), count(&gate.begun), count(&gate.ended)),
        (3, 1, 1),
        "one permit, and the gate sees its call end"
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_tasks_and_ends_their_questions() {
    let slow = ToolBuilder::new("slow", |(), _: Context| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        "done"
    })
    .task(TaskSupport::Optional);
    let server = FastMcp::new("tasks").tool(slow).tool(ask).build().unwrap();
    let memory = connect(&server, "alice");
    let slow = begin(&memory, "slow", json!({})).await;
    let asks = begin(&memory, "ask", json!({})).await;
    status(&memory, &asks, "input_required").await;
    server.shutdown().cancel();
    assert!(!server.finish(Duration::from_secs(2)).await);
    assert!(server.finish(Duration::from_secs(8)).await);
    assert_eq!(get(&memory, &slow).await["status"], "completed");
    let ended = get(&memory, &asks).await;
    assert_eq!(
        ended["result"]["content"][0]["text"],
        "the server is shutting down"
    );
}
