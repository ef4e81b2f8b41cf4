//! What a server remembers of one caller.

use std::{sync::Arc, time::Duration};

use fastmcp::{
    UserSession,
    auth::{Caller, testing},
    prelude::*,
    protocol::ProtocolVersion,
    store::{MemoryLimits, MemoryStore},
    transport::http::HttpConfig,
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use futures_util::future::join_all;

use crate::http::Running;

/// Counts calls.
#[tool]
async fn count(session: UserSession) -> Result<u64> {
    let count = session.update("count", |before: Option<u64>| before.unwrap_or(0) + 1);
    tokio::task::yield_now().await;
    count.await
}

/// Keeps a text in a cart of this name.
#[tool]
async fn keep(cart: String, text: String, ctx: Context) -> Result<Option<String>> {
    let cart = ctx.user_session()?.part(cart)?;
    let before = cart.get("text").await?;
    cart.set("text", &text).await?;
    Ok(before)
}

/// Forgets a key, then everything.
#[tool]
async fn forget(session: UserSession) -> Result<Vec<bool>> {
    let session = session.keep_for(Duration::from_secs(60));
    session.set("other", &1).await?;
    Ok(vec![
        session.delete("other").await?,
        session.delete("other").await?,
        session.clear().await?,
        session.clear().await?,
    ])
}

struct Shop {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
}

impl Shop {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
        let store = MemoryStore::new(MemoryLimits::default(), clock.clone()).unwrap();
        Self {
            clock,
            store: Arc::new(store),
        }
    }

    /// One replica.
    fn server(&self) -> Server {
        let server = FastMcp::new("shop").tool(count).tool(keep).tool(forget);
        let server = server.store(self.store.clone()).clock(self.clock.clone());
        server.build().unwrap()
    }
}

fn caller(name: &str) -> Caller {
    testing::caller(name).build()
}

async fn counted(server: &Server, caller: Caller) -> u64 {
    let client = Client::connect_as(server, caller).await.unwrap();
    let counted = client.call_tool("count", json!({})).await.unwrap();
    counted.data().unwrap()
}

#[tokio::test]
async fn each_caller_has_one_wherever_they_call() {
    let shop = Shop::new();
    let (first, second) = (shop.server(), shop.server());
    assert_eq!(counted(&first, caller("ada")).await, 1);
    assert_eq!(counted(&first, caller("bob")).await, 1);
    assert_eq!(counted(&second, caller("ada")).await, 2, "another replica");
    let older = Client::builder().revision(ProtocolVersion::LATEST_LEGACY);
    let older = older.connect_server(&first).await.unwrap();
    let local: u64 = older
        .call_tool("count", json!({}))
        .await
        .unwrap()
        .data()
        .unwrap();
    assert_eq!(local, 1);
    assert_eq!(counted(&second, first.local_caller().clone()).await, 2);
    let client = Client::connect_as(&first, caller("bob")).await.unwrap();
    let forgot = client.call_tool("forget", json!({})).await.unwrap();
    let forgot: Vec<bool> = forgot.data().unwrap();
    assert_eq!(forgot, [true, false, true, false]);
    assert_eq!(counted(&first, caller("bob")).await, 1);
    assert_eq!(counted(&first, caller("ada")).await, 3);
}

#[tokio::test]
async fn writes_at_the_same_time_are_all_done() {
    let shop = Shop::new();
    let server = shop.server();
    let all = join_all((0..20).map(|_| counted(&server, caller("ada")))).await;
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_unstable();
    assert_eq!(all, (1..=20).collect::<Vec<u64>>());
}

#[tokio::test]
async fn it_is_forgotten_some_time_after_the_last_write() {
    let shop = Shop::new();
    let server = shop.server();
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(counted(&server, caller("ada")).await, 1);
    shop.clock.advance(day / 2);
    assert_eq!(counted(&server, caller("ada")).await, 2);
    shop.clock.advance(day / 2);
    assert_eq!(counted(&server, caller("ada")).await, 3);
    shop.clock.advance(day);
    assert_eq!(counted(&server, caller("ada")).await, 1);
}

#[tokio::test]
async fn parts_are_apart_and_bounded() {
    let shop = Shop::new();
    let server = shop.server();
    let keep = async |name: &str, cart: &str, text: &str| {
        let client = Client::connect_as(&server, caller(name)).await.unwrap();
        let args = json!({"cart": cart, "text": text});
        client.call_tool_raw("keep", args).await.unwrap()
    };
    let before = async |name: &str, cart: &str| {
        let kept = keep(name, cart, cart).await;
        kept.data::<Option<String>>().unwrap()
    };
    assert_eq!(before("ada", "a").await, None);
    assert_eq!(before("ada", "b").await, None);
    assert_eq!(before("ada", "a").await.as_deref(), Some("a"));
    assert_eq!(before("bob", "a").await, None, "a handle of somebody else");
    let large = keep("ada", "a", &"x".repeat(256 * 1024)).await;
    assert!(
        large.is_error() && large.text().contains("room for"),
        "{large:?}"
    );
    assert_eq!(before("ada", "a").await.as_deref(), Some("a"));
}

#[tokio::test]
async fn nobody_in_particular_has_one_only_for_a_session() {
    let shop = Shop::new();
    let server = shop.server();
    let newest = Client::connect_as(&server, Caller::anonymous())
        .await
        .unwrap();
    let refused = newest.call_tool("count", json!({})).await.unwrap_err();
    assert!(
        refused.message().contains("who is authenticated"),
        "{refused}"
    );
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "count", "arguments": {}}});
    let running = Running::start(server, HttpConfig::default()).await;
    const POST: &str = "POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream";
    for _ in 0..2 {
        let (_, opened) = running.send(POST, &hello.to_string()).await;
        let session = opened
            .lines()
            .find_map(|line| line.strip_prefix("mcp-session-id: "));
        let head = format!("{POST}\r\nMCP-Session-Id: {}", session.unwrap());
        for wanted in 1..=2 {
            let (_, answer) = running.send(&head, &call.to_string()).await;
            let counted = format!(r#""structuredContent":{{"result":{wanted}}}"#);
            assert!(answer.contains(&counted), "{answer}");
        }
    }
}
