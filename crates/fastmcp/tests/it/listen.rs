//! Streams of changes: what is told, to whom, and until when.

use std::{sync::Arc, time::Duration};

use fastmcp::{
    Context,
    auth::{Caller, testing},
    gate::{Class, Gate, Input, Leaf, Outcome, Target},
    prelude::*,
    registry::{Change, Kind},
    server::Engine,
    transport::{Exchange, Reply, Step, memory::Memory},
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::eras::modern;

#[resource("data://open", name = "Open", inline)]
fn open() -> &'static str {
    "open"
}

#[resource("data://closed", name = "Closed", inline)]
fn closed() -> &'static str {
    "closed"
}

/// Shows everything but what is closed, once it is told to.
#[derive(Debug, Default)]
struct Doorkeeper(std::sync::atomic::AtomicBool);

impl Gate for Doorkeeper {
    fn class(&self, _: &Caller) -> Class {
        Class::default()
    }

    fn visible(&self, _: &Caller, component: &fastmcp::Component) -> bool {
        !self.0.load(std::sync::atomic::Ordering::SeqCst) || component.key() != "data://closed"
    }

    fn invoke(
        &self,
        context: Context,
        _: Target,
        input: Input,
        leaf: Leaf,
    ) -> BoxFuture<'_, Result<Outcome>> {
        leaf.run(context, input)
    }
}

fn server() -> FastMcp {
    FastMcp::new("listen").resource(open).resource(closed)
}

fn listen(memory: &Memory<Engine>, wanted: impl Into<Value>) -> Exchange {
    let params = json!({"notifications": wanted.into()});
    let message = modern("subscriptions/listen", params, &json!({}));
    memory.send(&message.to_string().into())
}

async fn frame(exchange: &mut Exchange) -> Value {
    match exchange.next().await {
        Step::Frame(frame) => serde_json::from_str(&frame.data).unwrap(),
        Step::Done(reply) => panic!("ended: {reply:?}"),
    }
}

async fn last(exchange: &mut Exchange) -> Value {
    match exchange.next().await {
        Step::Done(Reply::Message { body, .. }) => serde_json::from_str(&body).unwrap(),
        other => panic!("goes on: {other:?}"),
    }
}

fn changed(server: &Server, uri: &str) {
    server.registry().notify(Change::Resource(uri.to_owned()));
}

#[tokio::test]
async fn a_subscriber_hears_of_what_it_asked_for_and_may_see() {
    let keeper = Arc::new(Doorkeeper::default());
    let server = server().gate(keeper.clone()).build().unwrap();
    let memory = server.memory();
    let wanted = json!({"resourceSubscriptions": ["data://open", "data://closed", "data://none"], "toolsListChanged": true});
    let mut stream = listen(&memory, wanted);
    let acknowledged = frame(&mut stream).await;
    assert_eq!(
        acknowledged["params"]["notifications"],
        json!({"resourceSubscriptions": ["data://open", "data://closed"]}),
        "there are no tools"
    );
    changed(&server, "data://none");
    server.registry().notify(Change::List(Kind::Resource));
    changed(&server, "data://closed");
    let updated = frame(&mut stream).await;
    assert_eq!(updated["method"], "notifications/resources/updated");
    assert_eq!(updated["params"]["uri"], "data://closed");
    assert_eq!(
        updated["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        1
    );
    keeper.0.store(true, std::sync::atomic::Ordering::SeqCst);
    changed(&server, "data://closed");
    changed(&server, "data://open");
    assert_eq!(frame(&mut stream).await["params"]["uri"], "data://open");
    server.shutdown().cancel();
    let result = last(&mut stream).await["result"].clone();
    assert_eq!(
        result,
        json!({"resultType": "complete", "_meta": {"io.modelcontextprotocol/subscriptionId": 1}})
    );
}

#[tokio::test]
async fn a_reader_that_missed_changes_is_told_that_all_may_have_changed() {
    let server = server().build().unwrap();
    let memory = server.memory();
    let wanted = json!({"resourceSubscriptions": ["data://open"], "resourcesListChanged": true});
    let mut stream = listen(&memory, wanted);
    frame(&mut stream).await;
    for _ in 0..1_000 {
        changed(&server, "data://closed");
    }
    let both = [frame(&mut stream).await, frame(&mut stream).await];
    assert_eq!(both[0]["method"], "notifications/resources/list_changed");
    assert_eq!(both[1]["params"]["uri"], "data://open");
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_callers_token_does() {
    let start = Timestamp::from_unix_seconds(1_000);
    let clock = Arc::new(ManualClock::new(start));
    let server = server().clock(clock.clone()).build().unwrap();
    let ada = testing::caller("ada")
        .expires_at(start.saturating_add(Duration::from_secs(300)))
        .build();
    let memory = Memory::connect(server.door().clone(), ada);
    let mut newer = listen(&memory, json!({"resourcesListChanged": true}));
    frame(&mut newer).await;
    let mut older = memory.listen();
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    memory.send(&hello.to_string().into()).next().await;
    // Time passes on its own while everybody waits; the clock of the day stands still.
    let patience = Duration::from_secs(3_600);
    assert!(tokio::time::timeout(patience, newer.next()).await.is_err());
    assert!(tokio::time::timeout(patience, older.next()).await.is_err());
    clock.advance(Duration::from_secs(300));
    assert_eq!(last(&mut newer).await["result"]["resultType"], "complete");
    assert!(matches!(older.next().await, Step::Done(Reply::Status(200))));
}

#[tokio::test]
async fn there_are_so_many_subscriptions_and_no_more() {
    let server = server().subscriptions(1).build().unwrap();
    let memory = server.memory();
    let mut first = listen(&memory, json!({}));
    frame(&mut first).await;
    let refused = last(&mut listen(&memory, json!({}))).await;
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("too many subscriptions")
    );
    drop(first);
    memory.close().await;
    frame(&mut listen(&memory, json!({}))).await;
}
