//! Answers that are kept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastmcp::{
    ResourceBuilder, ToolBuilder,
    auth::caller::{Caller, LocalIdentity},
    middleware::{
        AuthMiddleware, CallToolSettings, Counts, ListToolsSettings, ReadResourceSettings,
        ResponseCachingMiddleware, cached_resource, prelude::*,
    },
    prelude::*,
    protocol::elicit::ElicitResult,
    registry::Change,
    store::{MemoryLimits, MemoryStore},
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use serde_json::Value;

/// A tool that says which of its calls this is.
fn counting(name: &str) -> (ToolBuilder, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let tool = ToolBuilder::new(name, move |args: Args, _| {
        let n = counted.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            if args.fail {
                return Err(Error::tool("no"));
            }
            Ok(format!("call {n} {}", args.query.unwrap_or_default()))
        }
    });
    (tool, calls)
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    query: Option<String>,
    #[serde(default)]
    fail: bool,
}

fn caller(subject: &str, tenant: &str, scopes: &[&str]) -> Caller {
    Caller::local_as(LocalIdentity {
        subject: subject.to_owned(),
        tenant: Some(tenant.to_owned()),
        roles: Vec::new(),
        scopes: Some(scopes.iter().map(|s| (*s).to_owned()).collect()),
    })
}

async fn text(client: &Client, tool: &str, arguments: Value) -> String {
    let answer = client.call_tool(tool, arguments).await.unwrap();
    // What is kept still says that the value stands under `result`.
    assert_eq!(answer.data::<String>().unwrap(), answer.text());
    answer.text().to_owned()
}

const fn counts(hits: u64, misses: u64) -> Counts {
    Counts { hits, misses }
}

#[tokio::test]
async fn results_of_tools_that_change_nothing_are_kept_by_arguments() {
    let (read, _) = counting("read");
    let (write, _) = counting("write");
    let (excluded, _) = counting("excluded");
    let settings = CallToolSettings::new().excluded_tools(["excluded"]);
    let cache = ResponseCachingMiddleware::new().call_tool_settings(settings);
    let server = FastMcp::new("cached")
        .tool(read.read_only())
        .tool(write)
        .tool(excluded.read_only())
        .middleware(cache.clone())
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    for _ in 0..2 {
        assert_eq!(
            text(&client, "read", json!({"query": "a"})).await,
            "call 1 a"
        );
    }
    assert_eq!(
        text(&client, "read", json!({"query": "b"})).await,
        "call 2 b"
    );
    for n in 1..3 {
        assert_eq!(
            text(&client, "write", json!({})).await,
            format!("call {n} ")
        );
        assert_eq!(
            text(&client, "excluded", json!({})).await,
            format!("call {n} ")
        );
    }
    // What failed is not kept.
    for _ in 0..2 {
        let failed = client.call_tool("read", json!({"fail": true})).await;
        assert_eq!(failed.unwrap_err().message(), "no");
    }
    let statistics = cache.statistics();
    assert_eq!(statistics.call_tool, counts(1, 4));
    assert_eq!((statistics.hits(), statistics.misses()), (1, 4));
}

#[tokio::test]
async fn nothing_crosses_from_one_caller_to_another() {
    let (tool, calls) = counting("read");
    let server = FastMcp::new("cached")
        .tool(tool.read_only())
        .middleware(ResponseCachingMiddleware::new())
        .build()
        .unwrap();
    let callers = [
        caller("ada", "acme", &["read"]),
        caller("bob", "acme", &["read"]),
        caller("ada", "other", &["read"]),
        caller("ada", "acme", &["read", "admin"]),
        caller("ada", "acme", &["read admin"]),
        Caller::local(),
        Caller::anonymous(),
    ];
    for _ in 0..2 {
        for (index, caller) in callers.iter().enumerate() {
            let client = Client::connect_as(&server, caller.clone()).await.unwrap();
            let wanted = format!("call {} ", index + 1);
            assert_eq!(text(&client, "read", json!({})).await, wanted);
        }
    }
    assert_eq!(calls.load(Ordering::Relaxed), callers.len());
}

#[tokio::test]
async fn what_is_kept_is_forgotten_in_time_and_when_it_changes() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
    let store = MemoryStore::new(MemoryLimits::default(), Arc::clone(&clock) as _).unwrap();
    let reads = Arc::new(AtomicUsize::new(0));
    let resource = {
        let reads = Arc::clone(&reads);
        ResourceBuilder::new("data://x", "x", move |(), _| {
            let n = reads.fetch_add(1, Ordering::Relaxed) + 1;
            async move { format!("read {n}") }
        })
    };
    let settings = ReadResourceSettings::new().ttl(Duration::from_secs(60));
    let cache = ResponseCachingMiddleware::new()
        .cache_storage(Arc::new(store))
        .read_resource_settings(settings);
    let server = FastMcp::new("cached")
        .resource(resource)
        .middleware(cache)
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    let read = async || {
        let read = client.read_resource("data://x").await.unwrap();
        json!(read)["contents"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(read().await, "read 1");
    assert_eq!(read().await, "read 1");
    clock.advance(Duration::from_secs(60));
    assert_eq!(read().await, "read 2");
    server
        .registry()
        .notify(Change::Resource("data://x".to_owned()));
    assert_eq!(read().await, "read 3");
    assert_eq!(read().await, "read 3");
}

/// Counts how often a list is made, and adds to it.
struct Slow(Arc<AtomicUsize>);

impl Middleware for Slow {
    async fn on_list_tools(
        &self,
        context: MiddlewareContext<ListTools>,
        next: Next<'_, ListTools>,
    ) -> Result<Vec<Listed<Tool>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        next.run(context).await
    }
}

#[tokio::test]
async fn lists_are_kept_until_they_change_and_are_filtered_all_the_same() {
    let made = Arc::new(AtomicUsize::new(0));
    let cache = ResponseCachingMiddleware::new();
    let revoked = Arc::new(AtomicUsize::new(0));
    let auth = {
        let revoked = Arc::clone(&revoked);
        AuthMiddleware::new(move |_, component| {
            let private = component.tags().contains("private");
            if private && revoked.load(Ordering::Relaxed) > 0 {
                return Err(Error::forbidden("not any more"));
            }
            Ok(())
        })
    };
    let server = FastMcp::new("cached")
        .tool(counting("open").0)
        .tool(counting("private").0.tag("private"))
        .middleware(auth)
        .middleware(cache.clone())
        .middleware(Slow(Arc::clone(&made)))
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.list_tools().await.unwrap().len(), 2);
    }
    assert_eq!(made.load(Ordering::Relaxed), 1);
    // What is kept still names its components to the layers around.
    revoked.store(1, Ordering::Relaxed);
    assert_eq!(client.list_tools().await.unwrap().len(), 1);
    server.registry().edit(|all| drop(all.pop())).unwrap();
    assert_eq!(client.list_tools().await.unwrap().len(), 1);
    assert_eq!(made.load(Ordering::Relaxed), 2);
    assert_eq!(cache.statistics().list_tools, counts(3, 2));
}

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

#[tokio::test]
async fn questions_and_what_answers_them_are_not_kept() {
    let asked = Arc::new(AtomicUsize::new(0));
    let visit = ToolBuilder::new("visit", |(), ctx: Context| async move {
        let city: City = ctx.elicit("city", "Which?").await?;
        Ok::<_, Error>(city.name)
    });
    let cache = ResponseCachingMiddleware::new();
    let server = FastMcp::new("cached")
        .tool(visit.read_only())
        .middleware(cache.clone())
        .build()
        .unwrap();
    let counted = Arc::clone(&asked);
    let client = Client::connect(&server)
        .await
        .unwrap()
        .on_elicit(move |_, _| {
            let n = counted.fetch_add(1, Ordering::Relaxed);
            let name = format!("city {n}");
            ElicitResult::accept(json!({"name": name}).as_object().unwrap().clone())
        });
    assert_eq!(text(&client, "visit", json!({})).await, "city 0");
    assert_eq!(text(&client, "visit", json!({})).await, "city 1");
    assert_eq!(cache.statistics().hits(), 0);
}

#[tokio::test]
async fn what_is_large_or_switched_off_is_not_kept() {
    let (tool, calls) = counting("read");
    let cache = ResponseCachingMiddleware::new()
        .max_item_size(100)
        .list_tools_settings(ListToolsSettings::new().enabled(false));
    let server = FastMcp::new("cached")
        .tool(tool.read_only())
        .middleware(cache.clone())
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    let long = json!({"query": "x".repeat(100)});
    for _ in 0..2 {
        text(&client, "read", long.clone()).await;
        client.list_tools().await.unwrap();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(cache.statistics().list_tools, Counts::default());
}

#[tokio::test]
async fn one_resource_may_be_kept() {
    let reads = Arc::new(AtomicUsize::new(0));
    let item = |uri: &'static str| {
        let reads = Arc::clone(&reads);
        ResourceBuilder::new(uri, "x", move |(), _| {
            let n = reads.fetch_add(1, Ordering::Relaxed) + 1;
            async move { format!("read {n}") }
        })
    };
    let server = FastMcp::new("cached")
        .resource(item("data://kept").middleware(cached_resource(Duration::from_secs(300))))
        .resource(item("data://fresh"))
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    let read = async |uri| {
        let read = client.read_resource(uri).await.unwrap();
        json!(read)["contents"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(read("data://kept").await, "read 1");
    assert_eq!(read("data://fresh").await, "read 2");
    assert_eq!(read("data://kept").await, "read 1");
    assert_eq!(read("data://fresh").await, "read 3");
}
