//! Lists that do not end, and cursors that are forgotten.

use std::sync::atomic::{AtomicUsize, Ordering};

use fastmcp::{Client, transport::WireKind};
use serde_json::{Value, json};

use super::fake::Fake;

fn tool(name: &str) -> Value {
    json!({"name": name, "inputSchema": {"type": "object"}})
}

/// A list whose pages `next` names, by their cursors.
async fn client(
    next: impl Fn(Option<&str>) -> Option<String> + Send + Sync + 'static,
) -> (std::sync::Arc<Fake>, Client) {
    let fake = Fake::new(WireKind::Http, move |sent| match sent.method() {
        "server/discover" => sent.described(),
        _ => {
            let cursor = sent.params().get("cursor").map(|c| c.as_str().unwrap());
            let mut page =
                json!({"resultType": "complete", "tools": [tool(cursor.unwrap_or("first"))]});
            if let Some(next) = next(cursor) {
                page["nextCursor"] = json!(next);
            }
            sent.result(page)
        }
    });
    let client = fake.connect(Client::builder()).await.unwrap();
    (fake, client)
}

#[tokio::test]
async fn a_circle_of_cursors_is_an_error() {
    let (fake, circle) =
        client(|cursor| Some(if cursor == Some("a") { "b" } else { "a" }.to_owned())).await;
    let error = circle.list_tools().await.unwrap_err();
    assert!(error.message().contains("same cursor"), "{error}");
    assert_eq!(fake.of("tools/list").len(), 3);
}

#[tokio::test]
async fn there_is_an_end_to_pages() {
    let count = AtomicUsize::new(0);
    let (fake, endless) =
        client(move |_| Some(count.fetch_add(1, Ordering::SeqCst).to_string())).await;
    let error = endless.list_tools().await.unwrap_err();
    assert!(error.message().contains("250 pages"), "{error}");
    assert_eq!(fake.of("tools/list").len(), 250);
}

#[tokio::test]
async fn an_empty_cursor_is_a_cursor() {
    let (_, client) = client(|cursor| cursor.is_none().then(String::new)).await;
    let names: Vec<_> = client.list_tools().await.unwrap();
    assert_eq!(names.len(), 2);
}

#[tokio::test]
async fn a_list_whose_cursor_was_forgotten_is_read_again() {
    let forgotten = AtomicUsize::new(0);
    let fake = Fake::new(WireKind::Http, move |sent| {
        let page = |name: &str, next: Option<&str>| {
            sent.result(json!({
                "resultType": "complete", "tools": [tool(name)], "nextCursor": next,
                "ttlMs": 60_000, "cacheScope": "public",
            }))
        };
        match sent.params().get("cursor").and_then(Value::as_str) {
            _ if sent.method() == "server/discover" => sent.described(),
            None if forgotten.load(Ordering::SeqCst) == 0 => page("old", Some("1")),
            None => page("new", Some("2")),
            Some("1") => {
                forgotten.fetch_add(1, Ordering::SeqCst);
                sent.error(-32602, Value::Null)
            }
            _ => page("last", None),
        }
    });
    let client = fake.connect(Client::builder()).await.unwrap();
    let tools = client.list_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["new", "last"], "no page of before is kept");
    let before = fake.sent().len();
    client.list_tools().await.unwrap();
    assert_eq!(fake.sent().len(), before, "the pages were kept");
}
