//! Tasks of several processes over one Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastmcp::{
    TaskLimits, ToolBuilder,
    prelude::*,
    protocol::tool::TaskSupport,
    store::{RedisConfig, RedisStore},
    transport::{Door, memory::Memory},
};
use fastmcp_services::Redis;
use serde_json::Value;
use tokio::{runtime::Runtime, sync::Notify, time::Instant};

use crate::tasks::{
    accept, add, ask, begin, call, connect, get, knowing, on_task, told, update, wait,
};

fn limits() -> TaskLimits {
    TaskLimits {
        poll_interval: Duration::from_millis(20),
        lease: Duration::from_secs(4),
        ..TaskLimits::default()
    }
}

/// With a lease that ends in no test.
fn patient() -> TaskLimits {
    TaskLimits {
        lease: Duration::from_secs(60),
        ..limits()
    }
}

/// A server with a connection of its own, as another process has.
async fn replica(redis: &Redis) -> FastMcp {
    let fast = RedisConfig {
        timeout: Duration::from_secs(5),
        ..RedisConfig::default()
    };
    let store = RedisStore::connect_with(&redis.url(), fast).await.unwrap();
    let server = FastMcp::new("replica").tool(add).tool(ask).tool(wait);
    server.store(store).tasks(limits())
}

/// Looks until `found` holds. Time is real here, and the machine may be busy.
async fn until<D: Door>(memory: &Memory<D>, id: &str, found: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let task = get(memory, id).await;
        if found(&task) {
            return task;
        }
        assert!(Instant::now() < until, "it never happened: {task}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn status<D: Door>(memory: &Memory<D>, id: &str, wanted: &str) -> Value {
    until(memory, id, |task| task["status"] == wanted).await
}

/// What ends at once when it is dropped, with everything that it ran.
fn process() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_task_is_seen_answered_and_called_off_through_another_process() {
    let redis = Redis::start().unwrap();
    let [first, second] = [
        replica(&redis).await.tasks(patient()).build().unwrap(),
        replica(&redis).await.tasks(patient()).build().unwrap(),
    ];
    let (one, two) = (connect(&first, "alice"), connect(&second, "alice"));
    let id = begin(&one, "ask", json!({})).await;
    let both = |task: &Value| {
        let asked = task["inputRequests"].as_object();
        asked.is_some_and(|asked| asked.len() == 2)
    };
    let asked = until(&two, &id, both).await;
    assert_eq!(asked["status"], "input_required");
    let foreign = get(&connect(&second, "bob"), &id).await;
    assert_eq!(foreign["error"]["code"], -32602, "it is its caller's alone");

    // Who listens to the process that does not run it is told all the same.
    let listen = json!({"notifications": {"taskIds": [id]}});
    let mut stream = two.send(&knowing("subscriptions/listen", listen).to_string().into());
    let first_told = told(&mut stream).await;
    assert_eq!(
        first_told["params"]["notifications"]["taskIds"],
        json!([id])
    );

    let misfit = json!({"nod": accept(&json!({"ok": "yes"}))});
    assert_eq!(update(&two, &id, misfit).await["error"]["code"], -32602);
    let answers =
        json!({"name": accept(&json!({"name": "A"})), "nod": accept(&json!({"ok": true}))});
    update(&two, &id, answers).await;
    until(&two, &id, |task| {
        task["inputRequests"].get("again").is_some()
    })
    .await;
    update(&two, &id, json!({"again": accept(&json!({"name": "B"}))})).await;
    let done = status(&two, &id, "completed").await;
    assert_eq!(done["result"]["structuredContent"]["result"], "A true B");
    assert_eq!(get(&one, &id).await, done, "one record for both");
    let mut last = Value::Null;
    while last["params"]["status"] != "completed" {
        last = told(&mut stream).await;
        assert_eq!(last["method"], "notifications/tasks");
    }
    assert_eq!(last["params"]["result"], done["result"]);

    let id = begin(&one, "wait", json!({})).await;
    let begun = Instant::now();
    on_task(&two, "tasks/cancel", &id).await;
    status(&two, &id, "cancelled").await;
    assert!(
        begun.elapsed() < patient().lease / 3,
        "the process that runs it looks as often as clients do: {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_task_stands_in_the_store_before_it_is_answered() {
    let redis = Redis::start().unwrap();
    let first = process();
    // The process is gone with its answer: it has no time to write anything after it.
    let (waits, done, begun) = first.block_on(async {
        let server = replica(&redis).await.build().unwrap();
        let memory = connect(&server, "alice");
        let done = begin(&memory, "add", json!({"a": 1, "b": 2})).await;
        status(&memory, &done, "completed").await;
        // The lease runs from the moment at which the task begins.
        let begun = std::time::SystemTime::now();
        (begin(&memory, "wait", json!({})).await, done, begun)
    });
    first.shutdown_background();
    process().block_on(async {
        let server = replica(&redis).await.build().unwrap();
        let memory = connect(&server, "alice");
        let found = get(&memory, &done).await;
        assert_eq!(found["result"]["structuredContent"], json!({"result": 3}));
        let found = get(&memory, &waits).await;
        assert!(
            found["status"] == "working" || begun.elapsed().unwrap() >= limits().lease,
            "{found}"
        );

        // Nobody renews its lease any more.
        let listen = json!({"notifications": {"taskIds": [waits]}});
        let mut stream = memory.send(&knowing("subscriptions/listen", listen).to_string().into());
        let failed = status(&memory, &waits, "failed").await;
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(message.contains("the process that ran the task ended"));
        assert_eq!(failed["statusMessage"], failed["error"]["message"]);
        let mut last = Value::Null;
        while last["params"]["status"] != "failed" {
            last = told(&mut stream).await;
        }
        assert_eq!(get(&memory, &waits).await, failed, "and stays so");
        let late = on_task(&memory, "tasks/cancel", &waits).await;
        assert_eq!(late.get("error"), None, "{late}");
        assert_eq!(get(&memory, &waits).await, failed);
    });
}

#[tokio::test]
async fn an_outage_is_told_and_what_runs_outlives_it() {
    let mut redis = Redis::start().unwrap();
    let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, gone) = (Arc::clone(&begun), Arc::clone(&go));
    let slow = ToolBuilder::new("slow", move |(), _: Context| {
        count.fetch_add(1, Ordering::SeqCst);
        let gone = Arc::clone(&gone);
        async move {
            gone.notified().await;
            "done"
        }
    })
    .task(TaskSupport::Optional);
    let server = replica(&redis).await.tool(slow).tasks(patient());
    let server = server.build().unwrap();
    let memory = connect(&server, "alice");
    let id = begin(&memory, "slow", json!({})).await;
    status(&memory, &id, "working").await;

    redis.stop();
    let refused = call(&memory, "slow", json!({})).await;
    let text = refused.to_string();
    assert!(text.contains("could not be stored"), "{text}");
    assert_eq!(
        begun.load(Ordering::SeqCst),
        1,
        "what cannot be stored is not begun"
    );
    let looked = get(&memory, &id).await;
    assert_eq!(looked["error"]["code"], -32603, "{looked}");
    assert!(
        !looked.to_string().contains("127.0.0.1"),
        "clients hear nothing of our servers"
    );
    // It ends while nothing can be written down, and that is written once it can be.
    go.notify_one();
    redis.start_again().unwrap();
    let done = status(&memory, &id, "completed").await;
    assert_eq!(done["result"]["structuredContent"]["result"], "done");
    let again = begin(&memory, "slow", json!({})).await;
    go.notify_one();
    status(&memory, &again, "completed").await;
}
