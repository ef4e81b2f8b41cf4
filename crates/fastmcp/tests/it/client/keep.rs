//! Answers that are used again, and those that are not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastmcp::{
    Client,
    client::ResponseCache,
    protocol::elicit::ElicitResult,
    transport::{WireError, WireKind},
};
use fastmcp_guard::clock::ManualClock;
use serde_json::{Map, Value, json};

use super::fake::{Answer, Fake, status};

fn list(scope: &str) -> Value {
    json!({"resultType": "complete", "tools": [], "ttlMs": 1_000, "cacheScope": scope})
}

/// A server whose list of tools has this scope.
fn server(scope: &'static str) -> Arc<Fake> {
    Fake::new(WireKind::Http, move |sent| match sent.method() {
        "server/discover" => sent.described(),
        _ => sent.result(list(scope)),
    })
}

#[tokio::test]
async fn what_is_public_is_shared_and_what_is_private_is_not() {
    for (scope, asked) in [("public", 1), ("private", 2), ("nonsense", 2)] {
        let clock = Arc::new(ManualClock::default());
        let cache = Arc::new(ResponseCache::new(clock.clone()));
        let fake = server(scope);
        let builder = |who: &'static str| Client::builder().cache(Arc::clone(&cache), who);
        let ann = fake.connect(builder("ann")).await.unwrap();
        let bob = fake.connect(builder("bob")).await.unwrap();
        for client in [&ann, &bob, &ann, &bob] {
            client.list_tools().await.unwrap();
        }
        assert_eq!(fake.of("tools/list").len(), asked, "{scope}");
        clock.advance(Duration::from_millis(999));
        ann.list_tools().await.unwrap();
        assert_eq!(fake.of("tools/list").len(), asked, "{scope}");
        clock.advance(Duration::from_millis(1));
        ann.list_tools().await.unwrap();
        assert_eq!(fake.of("tools/list").len(), asked + 1, "{scope}");
    }
}

#[tokio::test]
async fn clients_that_share_no_cache_share_nothing() {
    let fake = server("public");
    let one = fake.connect(Client::builder()).await.unwrap();
    let other = fake.connect(Client::builder()).await.unwrap();
    one.list_tools().await.unwrap();
    one.list_tools().await.unwrap();
    other.list_tools().await.unwrap();
    assert_eq!(fake.of("tools/list").len(), 2);
    one.forget_answers();
    one.list_tools().await.unwrap();
    assert_eq!(fake.of("tools/list").len(), 3);
}

#[tokio::test]
async fn what_was_asked_for_in_rounds_is_not_kept() {
    let fake = Fake::new(WireKind::Http, |sent| match sent.method() {
        "server/discover" => sent.described(),
        _ if sent.params().get("inputResponses").is_none() => sent.result(json!({
            "resultType": "input_required", "ttlMs": 1_000,
            "inputRequests": {"a": {"method": "elicitation/create", "params": {
                "message": "m", "requestedSchema": {"type": "object", "properties": {}},
            }}},
        })),
        _ => sent.result(json!({
            "resultType": "complete", "contents": [], "ttlMs": 1_000, "cacheScope": "public",
        })),
    });
    let builder = Client::builder().on_elicit(|_| async { Ok(ElicitResult::accept(Map::new())) });
    let client = fake.connect(builder).await.unwrap();
    client.read_resource("a:1").await.unwrap();
    client.read_resource("a:1").await.unwrap();
    assert_eq!(fake.of("resources/read").len(), 4);
}

#[tokio::test]
async fn a_change_is_believed_at_once() {
    let fake = Fake::new(WireKind::Http, |sent| {
        match sent.method() {
        "server/discover" => sent.described(),
        "tools/list" => sent.result(list("private")),
        "resources/read" => sent.result(json!({
            "resultType": "complete", "contents": [{"uri": sent.params()["uri"], "text": "t"}], "ttlMs": 1_000,
        })),
        _ => Answer::Messages(vec![
            json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}),
            json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "a:1"}}),
            sent.response(json!({"resultType": "complete", "content": []})),
        ]),
    }
    });
    let changes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&changes);
    let builder = Client::builder().on_change(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let client = fake.connect(builder).await.unwrap();
    let use_all = async || {
        client.list_tools().await.unwrap();
        client.read_resource("a:1").await.unwrap();
        client.read_resource("a:2").await.unwrap();
    };
    use_all().await;
    use_all().await;
    assert_eq!(fake.of("resources/read").len(), 2);
    client.call_tool("t", json!({})).await.unwrap();
    assert_eq!(changes.load(Ordering::SeqCst), 2);
    use_all().await;
    assert_eq!(fake.of("tools/list").len(), 2);
    let read: Vec<_> = fake
        .of("resources/read")
        .iter()
        .map(|sent| sent.params()["uri"].clone())
        .collect();
    assert_eq!(read, ["a:1", "a:2", "a:1"]);
}

#[tokio::test]
async fn a_stale_answer_stands_in_where_the_server_is_away() {
    let clock = Arc::new(ManualClock::default());
    let away = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&away);
    let fake = Fake::new(WireKind::Http, move |sent| {
        match (sent.method(), state.load(Ordering::SeqCst)) {
            ("server/discover", _) => sent.described(),
            (_, 1) => status(503),
            (_, 2) => Answer::Fails(WireError::Unreachable("refused".to_owned())),
            (_, 3) => sent.error(-32603, Value::Null),
            _ => sent.result(list("private")),
        }
    });
    let cache = ResponseCache::new(clock.clone()).stale_if_error(Duration::from_secs(60));
    let builder = Client::builder().cache(Arc::new(cache), "ann");
    let client = fake.connect(builder).await.unwrap();
    client.list_tools().await.unwrap();
    clock.advance(Duration::from_secs(2));
    for trouble in [1, 2] {
        away.store(trouble, Ordering::SeqCst);
        client.list_tools().await.unwrap();
    }
    assert_eq!(fake.of("tools/list").len(), 3, "it is asked all the same");
    assert!(
        client.list_prompts().await.is_err(),
        "nothing is kept of these"
    );
    away.store(3, Ordering::SeqCst);
    assert!(client.list_tools().await.is_err(), "an answer is an answer");
    away.store(1, Ordering::SeqCst);
    clock.advance(Duration::from_secs(60));
    assert!(client.list_tools().await.is_err(), "too old");
    away.store(0, Ordering::SeqCst);
    client.list_tools().await.unwrap();
    let strict = fake.connect(Client::builder()).await.unwrap();
    strict.list_tools().await.unwrap();
    away.store(1, Ordering::SeqCst);
    strict.forget_answers();
    assert!(strict.list_tools().await.is_err());
}
